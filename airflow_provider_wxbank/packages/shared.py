# SPDX-License-Identifier: Apache-2.0
"""What the waits of one connection in one event loop share: a client, its platform keys, and what polls have seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from airflow_provider_wxbank.packages.poll import Memory
from airflow_provider_wxbank.packages.wait import Look, Seen, looked
from airflow_provider_wxbank.wechatpay.loop import AsyncClient
from airflow_provider_wxbank.wechatpay.settings import Settings
from airflow_provider_wxbank.wechatpay.sockets import sockets

SHARED_FOR = 0.8
"""Share of the poll interval for which what one wait saw serves the others of its package."""


class Shared:
    """What the waits for one package share.

    :param client: shared by the waits of its connection.
    """

    def __init__(self, client: AsyncClient, package_id: str) -> None:
        self.client = client
        self._memory = Memory(client, package_id)

    async def looked(self, look: Look, poll_interval: float) -> Seen:
        """What a look sees, or how it fails."""
        return await looked(look, self.client, memory=self._memory, max_age=SHARED_FOR * poll_interval)


T = TypeVar("T")

_IN_USE: dict[Hashable, tuple[Any, int]] = {}
"""What is shared, and how many share it, by event loop and connection, and by package."""


@contextmanager
def _shared(place: Hashable, new: Callable[[], T]) -> Iterator[T]:
    """What everybody in a place has, from the first who comes to the last who goes."""
    shared: T = _IN_USE[place][0] if place in _IN_USE else new()
    _IN_USE[place] = shared, _IN_USE.get(place, (shared, 0))[1] + 1
    try:
        yield shared
    finally:
        users = _IN_USE.pop(place)[1] - 1
        if users:
            _IN_USE[place] = shared, users


@asynccontextmanager
async def shared_by(settings: Settings, package_id: str) -> AsyncIterator[Shared]:
    """What the waits for a package over a connection share, until the last of them leaves it."""
    place = asyncio.get_running_loop(), settings.identity
    # Each poll is tried once: the next one is the retry.
    with (
        _shared(place, lambda: AsyncClient(settings, max_attempts=1)) as client,
        _shared((place, package_id), lambda: Shared(client, package_id)) as shared,
    ):
        # Held open, so that a poll finds the connection of the last one.
        async with sockets():
            yield shared
