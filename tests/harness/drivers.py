# SPDX-License-Identifier: Apache-2.0
"""Both ways in which calls are sent, so that every test of a call can be run over each of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from airflow_provider_wxbank.wechatpay.calls import Answer, SignedCall
from airflow_provider_wxbank.wechatpay.client import Sender
from airflow_provider_wxbank.wechatpay.loop import InLoop
from airflow_provider_wxbank.wechatpay.settings import Settings
from airflow_provider_wxbank.wechatpay.sockets import sockets
from airflow_provider_wxbank.wechatpay.transport import Transport

T = TypeVar("T")

BOTH_DRIVERS = pytest.mark.parametrize("driver", ["blocking", "loop"], indirect=True)
"""For a module or a test whose clients are made with the fixture ``driver``."""


class LoopSender:
    """Sends from an event loop in a thread of its own, while the caller waits: a blocking client over the other driver.

    Its sockets stay open between calls, as those of a triggerer do.
    """

    def __init__(self, settings: Settings) -> None:
        self._driver = InLoop(settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._sockets = sockets()
        self._run(self._sockets.__aenter__())

    def exchange(self, base_url: str, signed: SignedCall) -> Answer:
        """Send a call once."""
        return self._run(self._driver.exchange(base_url, signed))

    def close(self) -> None:
        """Close the sockets, and end the thread."""
        if not self._loop.is_closed():
            self._run(self._sockets.__aexit__(None, None, None))
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self, flow: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(flow, self._loop).result()


def sender_of(driver: str, settings: Settings) -> Sender:
    """What sends a client's calls: ``blocking`` or from a ``loop``."""
    return LoopSender(settings) if driver == "loop" else Transport(settings)
