# SPDX-License-Identifier: Apache-2.0
"""Waiting for conditions. A machine may be slow and busy with other work: no wait is over because it is."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

PATIENCE = float(os.environ.get("WXBANK_PATIENCE") or 600)
"""Seconds that only a failure waits out. Where even that is too short, ``WXBANK_PATIENCE`` says how many."""


def until(is_so_far: Callable[[], bool], seconds: float = PATIENCE, otherwise: str = "nothing happened") -> None:
    """Wait.

    :raises TimeoutError: the time is over.
    """
    deadline = time.monotonic() + seconds
    while not is_so_far():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{otherwise} after {seconds:g} s")
        time.sleep(0.05)


async def auntil(is_so_far: Callable[[], bool]) -> None:
    """:func:`until` in an event loop."""
    async with asyncio.timeout(PATIENCE):
        while not is_so_far():  # noqa: ASYNC110  # nobody tells of it
            await asyncio.sleep(0.01)
