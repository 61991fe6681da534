# SPDX-License-Identifier: Apache-2.0
"""What only Python's collector can free: while it does, everybody in an event loop waits."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

# The simulator runs in the tests' process, too, and leaves something.
_POLLS = (
    "airflow_provider_wxbank.packages", "airflow_provider_wxbank.triggers", "airflow_provider_wxbank.wechatpay", "aio",
)  # fmt: skip


@contextmanager
def left_to_the_collector() -> Iterator[list[str]]:
    """Where polls that fail in the block have left circles; they are known when it has ended."""
    found: list[str] = []
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        frames = [thing.tb_frame for thing in gc.garbage if isinstance(thing, TracebackType)]
        found += [f"{frame.f_code.co_qualname}:{frame.f_lineno}" for frame in frames if _is_of_a_poll(frame)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _is_of_a_poll(frame: FrameType) -> bool:
    name: str = frame.f_globals["__name__"]
    return name.startswith(_POLLS)
