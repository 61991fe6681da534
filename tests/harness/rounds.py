# SPDX-License-Identifier: Apache-2.0
"""Somebody else in an event loop, who sees each of its rounds, and work that keeps it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter


@asynccontextmanager
async def in_each_round(work: Callable[[], None]) -> AsyncIterator[None]:
    """Do something in each round of the loop while the block runs."""

    async def go_on() -> None:
        while True:
            work()
            await asyncio.sleep(0)

    task = asyncio.create_task(go_on())
    try:
        yield
    finally:
        task.cancel()


def spin(seconds: float) -> None:
    """Keep the loop, as work does."""
    until = perf_counter() + seconds
    while perf_counter() < until:
        pass
