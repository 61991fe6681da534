# SPDX-License-Identifier: Apache-2.0
"""What the waits of one connection in one event loop share: a client, its platform keys, and what polls have seen."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import Any

from airflow_provider_wxbank.packages.poll import Memory
from airflow_provider_wxbank.packages.wait import Look, Seen, looked
from airflow_provider_wxbank.reporting.events import Observer, nobody
from airflow_provider_wxbank.wechatpay.kept import kept_list
from airflow_provider_wxbank.wechatpay.loop import AsyncClient
from airflow_provider_wxbank.wechatpay.settings import Settings
from airflow_provider_wxbank.wechatpay.sharing import shared_in
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
        # After the loop was held by somebody, a thousand may be due at once.
        async with sockets() as pool:
            await pool.turn("look")
        return await looked(look, self.client, memory=self._memory, max_age=SHARED_FOR * poll_interval)


_IN_USE: dict[Hashable, tuple[Any, int]] = {}
"""By event loop and connection, and by package."""


class shared_by:  # noqa: N801  # used as contextlib's own are
    """What the waits for a package over a connection share, until the last of them leaves it.

    :param tell: hears of the calls, if this wait is the first.
    """

    __slots__ = ("_client", "_package_id", "_place", "_shared", "_sockets")

    def __init__(self, settings: Settings, package_id: str, tell: Observer = nobody) -> None:
        self._place = asyncio.get_running_loop(), settings.identity
        self._package_id = package_id
        self._client = shared_in(_IN_USE, self._place, lambda: _client(settings, tell))
        # Held open, so that a poll finds the connection of the last one.
        self._sockets = sockets()

    async def __aenter__(self) -> Shared:
        client: AsyncClient = self._client.__enter__()
        package_id = self._package_id
        self._shared = shared_in(_IN_USE, (self._place, package_id), lambda: Shared(client, package_id))
        shared: Shared = self._shared.__enter__()
        await self._sockets.__aenter__()
        return shared

    async def __aexit__(self, *_: object) -> None:
        self._shared.__exit__()
        self._client.__exit__()
        await self._sockets.__aexit__()


def _client(settings: Settings, tell: Observer) -> AsyncClient:
    # Each poll is tried once: the next one is the retry.
    return AsyncClient(settings, max_attempts=1, tell=tell, kept=kept_list(settings))
