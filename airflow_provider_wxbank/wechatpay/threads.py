# SPDX-License-Identifier: Apache-2.0
"""A few threads of our own beside an event loop: for what blocks, but has to be short.

The loop's own executor is shared by everything that runs in it, in Airflow's triggerer by the triggers of everybody.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Literal, ParamSpec, TypeVar

MAX_THREADS = 4
"""Of each kind."""

Kind = Literal["files", "names", "proxies", "signatures"]
"""What a thread is for. A name that is looked up, or a device that signs, may hang for long, and must keep nobody from
reading a file."""

P = ParamSpec("P")
R = TypeVar("R")


@cache
def _executor(kind: Kind) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MAX_THREADS, f"wxbank-{kind}")


# A process that forks has its threads for itself.
os.register_at_fork(after_in_child=_executor.cache_clear)


async def off_loop(kind: Kind, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function in one of our own threads. A caller that is cancelled does not wait for it."""
    return await asyncio.get_running_loop().run_in_executor(_executor(kind), partial(function, *args, **kwargs))
