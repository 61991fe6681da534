# SPDX-License-Identifier: Apache-2.0
"""The client: every call signed, every answer verified, retried by kind, failed over once. It blocks its thread."""

from __future__ import annotations

import random as random_module
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from threading import Lock
from typing import Any, Protocol

from airflow_provider_wxbank.reporting.events import Observer, nobody
from airflow_provider_wxbank.wechatpay.calls import Answer, Call, SignedCall, call_of, parsed, sign
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import PlatformKey, check_serial_no
from airflow_provider_wxbank.wechatpay.crypto.signing import Merchant
from airflow_provider_wxbank.wechatpay.crypto.verification import BELIEVED, Nonces
from airflow_provider_wxbank.wechatpay.exchange import Exchange
from airflow_provider_wxbank.wechatpay.flows import run
from airflow_provider_wxbank.wechatpay.kept import KeptList
from airflow_provider_wxbank.wechatpay.retries import MAX_LIMITED_ATTEMPTS
from airflow_provider_wxbank.wechatpay.settings import Settings
from airflow_provider_wxbank.wechatpay.tracebacks import forgets_locals
from airflow_provider_wxbank.wechatpay.transport import Transport


class Sender(Protocol):
    """What sends signed calls; see :class:`.Transport`."""

    def exchange(self, base_url: str, signed: SignedCall) -> Answer:
        """Send a call once."""

    def close(self) -> None:
        """Close what is idle."""


class Client:
    """Signed and verified calls for one merchant; safe to use from many threads.

    :param settings: see :func:`~airflow_provider_wxbank.wechatpay.settings.read_settings`.
    :param clock: unix seconds.
    :param sleep: waits some seconds.
    :param random: uniform in [0, 1), for the jitter of pauses.
    :param max_attempts: attempts at a call, for callers that do not want to wait longer; with 1 it stays at one host.
    :param believed: the nonces of answers, each of which is accepted once.
    :param tell: hears of answers and of repeated calls, in whichever thread makes the call.
    :param sender: sends the calls; by default connections of urllib3.
    :param kept: keeps the list of certificates for the next process, and has that of the last one.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = random_module.random,
        max_attempts: int = MAX_LIMITED_ATTEMPTS,
        believed: Nonces = BELIEVED,
        tell: Observer = nobody,
        sender: Sender | None = None,
        kept: KeptList | None = None,
    ) -> None:
        self.settings = settings
        self._sender = sender or Transport(settings)
        self._exchange = Exchange(
            settings,
            _Blocking(self._sender, sleep),
            clock=clock,
            random=random,
            max_attempts=max_attempts,
            believed=believed,
            tell=tell,
            kept=kept,
        )
        self.keys = self._exchange.keys

    def close(self) -> None:
        """Close the idle connections."""
        self._sender.close()

    @contextmanager
    def observed(self, observer: Observer) -> Iterator[None]:
        """Let one more observer hear of what happens, for a while."""
        with self._exchange.observed(observer):
            yield

    @forgets_locals
    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        json: object = None,
        serial_no: str | None = None,
        repeatable: bool | None = None,
    ) -> Any:
        """A signed and verified call of any APIv3 endpoint.

        :param path: path without host, for example ``/v3/certificates``; percent-encode what needs it.
        :param params: query, encoded here.
        :param json: body; sent, and signed, as compact UTF-8 JSON.
        :param serial_no: ``Wechatpay-Serial``; needed when the body holds encrypted fields.
        :param repeatable: whether the call may be sent again if it was perhaps taken; by default only a GET may.
        :return: the parsed JSON; None for an empty body.
        :raises WxBankError: see :mod:`airflow_provider_wxbank.wechatpay.errors`.
        """
        if serial_no is not None:
            check_serial_no(serial_no)
        return parsed(self.send(call_of(method, path, params, json, serial_no or self.keys.request_serial, repeatable)))

    def send(self, call: Call) -> Answer:
        """Send a call until it is answered with a verified 2xx; see :meth:`.Exchange.asend` for what it raises."""
        return run(self._exchange.asend(call))

    async def asend(self, call: Call) -> Answer:
        """:meth:`send` as a coroutine, which blocks as well: for code that is written for both kinds of clients."""
        return self.send(call)

    @property
    def patient(self) -> Client:
        """This client: whoever takes another number of attempts wants it for long lists, too."""
        return self

    @forgets_locals
    def encryption_key(self) -> PlatformKey:
        """The platform key to encrypt with now; see :meth:`.PlatformKeys.encryption_key`."""
        return run(self.keys.encryption_key())

    def refresh_keys(self) -> None:
        """Download the platform certificates now; see :meth:`.PlatformKeys.refresh`."""
        run(self.keys.refresh())


class _Blocking:
    """Sends and waits in the thread of its caller."""

    def __init__(self, sender: Sender, sleep: Callable[[float], None]) -> None:
        self._sender = sender
        self._sleep = sleep

    async def sign(self, call: Call, merchant: Merchant, clock: Callable[[], float]) -> SignedCall:
        return sign(call, merchant, clock())

    def line(self, base_url: str) -> AbstractAsyncContextManager[None]:  # there is always room
        return nullcontext()

    async def exchange(self, base_url: str, signed: SignedCall) -> Answer:
        return self._sender.exchange(base_url, signed)

    async def sleep(self, seconds: float) -> None:
        self._sleep(seconds)

    def new_turn(self) -> _Turn:
        return _Turn()


class _Turn:
    """One thread at a time."""

    def __init__(self) -> None:
        self._lock = Lock()

    async def take(self, *, wait: bool) -> bool:
        return self._lock.acquire(blocking=wait)

    def give_back(self) -> None:
        self._lock.release()
