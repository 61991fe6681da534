# SPDX-License-Identifier: Apache-2.0
"""What the waits of one connection in one process share: a client, its platform keys, and what polls have seen."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from threading import Lock

from airflow_provider_wxbank.packages.poll import SharedPages
from airflow_provider_wxbank.packages.wait import Look, Seen, looked
from airflow_provider_wxbank.wechatpay.client import Client

SHARED_FOR = 0.8
"""Share of the poll interval for which what one wait saw serves the others of its package."""


class Shared:
    """What the waits of one connection in one triggerer share: a client with its platform keys, and polls."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.pages = SharedPages(client)
        self.users = 0

    async def looked(self, look: Look, package_id: str, poll_interval: float) -> Seen:
        """What a look sees, or how it fails. It runs in a thread, since the client blocks."""
        max_age = SHARED_FOR * poll_interval
        return await asyncio.to_thread(looked, look, self.client, lambda: self.pages.processing(package_id, max_age))


_SHARED: dict[Hashable, Shared] = {}
"""By connection."""

_SHARED_LOCK = Lock()


@contextmanager
def shared_by(client: Client) -> Iterator[Shared]:
    """What the waits of the client's connection share; its client is closed when the last wait leaves it."""
    identity = client.settings.identity
    with _SHARED_LOCK:
        shared = _SHARED.setdefault(identity, Shared(client))
        shared.users += 1
    # Another wait has come first.
    if shared.client is not client:
        client.close()
    try:
        yield shared
    finally:
        with _SHARED_LOCK:
            shared.users -= 1
            if not shared.users:
                del _SHARED[identity]
                shared.client.close()
