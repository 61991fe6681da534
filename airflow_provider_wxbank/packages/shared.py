# SPDX-License-Identifier: Apache-2.0
"""What the waits of one connection in one event loop share: a client, its platform keys, and what polls have seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

from airflow_provider_wxbank.packages.poll import Memory
from airflow_provider_wxbank.packages.wait import Look, Seen, looked
from airflow_provider_wxbank.wechatpay.loop import AsyncClient
from airflow_provider_wxbank.wechatpay.settings import Settings
from airflow_provider_wxbank.wechatpay.sockets import sockets

SHARED_FOR = 0.8
"""Share of the poll interval for which what one wait saw serves the others of its package."""


class Shared:
    """What the waits of one connection in one triggerer share."""

    def __init__(self, settings: Settings) -> None:
        # Each poll is tried once: the next one is the retry.
        self.client = AsyncClient(settings, max_attempts=1)
        self.users = 0
        self._memories: dict[str, Memory] = {}

    async def looked(self, look: Look, package_id: str, poll_interval: float) -> Seen:
        """What a look sees, or how it fails."""
        if package_id not in self._memories:
            self._memories[package_id] = Memory(self.client, package_id)
        return await looked(look, self.client, memory=self._memories[package_id], max_age=SHARED_FOR * poll_interval)


_SHARED: dict[tuple[asyncio.AbstractEventLoop, Hashable], Shared] = {}
"""By event loop and connection."""


@asynccontextmanager
async def shared_by(settings: Settings) -> AsyncIterator[Shared]:
    """What the waits of a connection share, until the last of them leaves it."""
    place = asyncio.get_running_loop(), settings.identity
    shared = _SHARED.setdefault(place, Shared(settings))
    shared.users += 1
    try:
        # Held open, so that a poll finds the connection of the last one.
        async with sockets():
            yield shared
    finally:
        shared.users -= 1
        if not shared.users:
            del _SHARED[place]
