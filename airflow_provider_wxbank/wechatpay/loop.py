# SPDX-License-Identifier: Apache-2.0
"""The client for an event loop: the same calls as :class:`.Client`, within the same bounds, which block nothing.

The waits of a triggerer, thousands perhaps, share a few sockets and no thread: what waits for WeChat Pay holds nothing
that the triggers of others need.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from copy import copy
from typing import Any

from aiohttp import (
    ClientError,
    ClientPayloadError,
    ClientProxyConnectionError,
    ClientResponse,
    ClientResponseError,
    ClientTimeout,
)
from requests.structures import CaseInsensitiveDict
from requests.utils import prepend_scheme_if_needed, select_proxy
from yarl import URL

from airflow_provider_wxbank.wechatpay.calls import Answer, Call, SignedCall, sign
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import PlatformKey
from airflow_provider_wxbank.wechatpay.crypto.signing import Merchant, PemSigner
from airflow_provider_wxbank.wechatpay.exchange import Exchange
from airflow_provider_wxbank.wechatpay.retries import MAX_LIMITED_ATTEMPTS
from airflow_provider_wxbank.wechatpay.sending import (
    MAX_ANSWER_TIMEOUTS,
    PIECE_BYTES,
    UNUSABLE_URL,
    NoAnswer,
    NotSent,
    check_final,
    headers_of,
    innermost,
    line_is_stuck,
    no_answer_within,
    not_connected_within,
    proxies_for,
    reason,
    too_slow,
    why_unverifiable,
)
from airflow_provider_wxbank.wechatpay.settings import Settings
from airflow_provider_wxbank.wechatpay.sockets import room, sockets
from airflow_provider_wxbank.wechatpay.threads import off_loop
from airflow_provider_wxbank.wechatpay.tracebacks import forget_frames, handled_now
from airflow_provider_wxbank.wechatpay.transport import Transport


class AsyncClient(Exchange):
    """Signed and verified calls for one merchant, in one event loop.

    It keeps no socket: :func:`.sockets` holds those of the loop open from call to call.

    :param settings: see :func:`~airflow_provider_wxbank.wechatpay.settings.read_settings`.
    :param options: those of :class:`.Exchange`.
    """

    def __init__(self, settings: Settings, **options: Any) -> None:
        super().__init__(settings, InLoop(settings), **options)

    @property
    def patient(self) -> AsyncClient:
        """The same with all attempts at a call, whatever this one has."""
        patient = copy(self)
        patient._max_attempts = MAX_LIMITED_ATTEMPTS
        return patient

    async def encryption_key(self) -> PlatformKey:
        """The platform key to encrypt with now; see :meth:`.PlatformKeys.encryption_key`."""
        return await self.keys.encryption_key()


class InLoop:
    """Sends calls over the sockets of the running event loop, and waits in it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def sign(self, call: Call, merchant: Merchant, clock: Callable[[], float]) -> SignedCall:
        """Sign a call: here with a key in memory, which takes 1 to 5 ms; else in a thread of our own."""
        async with sockets() as pool:
            # Each kind of key takes its own time.
            await pool.turn("sign", type(merchant.signer), type(merchant.signer.public_key))
        if isinstance(merchant.signer, PemSigner):
            return sign(call, merchant, clock())
        # The time is that of its turn, since a signature is good for some minutes alone.
        return await off_loop("signatures", lambda: sign(call, merchant, clock()))

    def line(self, base_url: str) -> AbstractAsyncContextManager[None]:
        """What a call is sent within: it begins once a socket is free."""
        return room(base_url)

    async def exchange(self, base_url: str, signed: SignedCall) -> Answer:
        """Send a call once.

        :raises NotSent: no connection.
        :raises NoAnswer: no whole answer, or a redirect, of which only the status is read.
        """
        try:
            url = URL(base_url + signed.target, encoded=True)
            proxy = _proxy_for(base_url, self._settings)
        except Exception:
            raise NotSent(UNUSABLE_URL) from None
        if proxy is not None and proxy.scheme not in ("http", "https"):
            # aiohttp has no such proxies. Few have them, so a thread of our own will do.
            return await off_loop("proxies", Transport(self._settings).exchange, base_url, signed)
        async with sockets() as pool:
            tls = await pool.tls() if url.scheme == "https" or proxy is not None else True
            stage = _Stage(self._settings)
            try:
                async with (
                    asyncio.timeout(None) as stage.limit,
                    pool.session.request(
                        signed.call.method,
                        url,
                        data=None if signed.call.body is None else stage.pieces(signed.call.body),
                        headers=_all_headers(signed),
                        allow_redirects=False,
                        proxy=proxy,
                        ssl=tls,
                        timeout=ClientTimeout(total=None, sock_read=self._settings.read_timeout),
                        trace_request_ctx=stage,
                    ) as response,
                ):
                    body = await _read(response)
            except Exception as failure:
                raise stage.failed(failure, proxy) from None
        lines = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
        return Answer(response.status, _joined(lines), body, why_unverifiable(lines))

    async def sleep(self, seconds: float) -> None:
        """Wait before another attempt."""
        await asyncio.sleep(seconds)

    def new_turn(self) -> _Turn:
        """What lets one task at a time do something."""
        return _Turn()


class _Turn:
    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def take(self, *, wait: bool) -> bool:
        if self._lock.locked() and not wait:
            return False
        return await self._lock.acquire()

    def give_back(self) -> None:
        self._lock.release()


class _Stage:
    """How far an exchange has come, and how long it may take to come further: that says what a failure means."""

    limit: asyncio.Timeout

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._is_connected = False
        self._is_sending = False
        self._callers_own = handled_now()

    def connecting(self) -> None:
        self._ends_in(self._settings.connect_timeout)

    def connected(self) -> None:
        self._is_connected = True
        self._ends_in(MAX_ANSWER_TIMEOUTS * self._settings.read_timeout)

    async def pieces(self, body: bytes) -> AsyncGenerator[bytes, None]:
        """The body of a request, each piece of it within the read timeout."""
        view = memoryview(body)
        self._is_sending = True
        for start in range(0, len(view), PIECE_BYTES):
            self._ends_in(self._settings.read_timeout)
            yield bytes(view[start : start + PIECE_BYTES])
        self._is_sending = False
        self._ends_in(MAX_ANSWER_TIMEOUTS * self._settings.read_timeout)

    def failed(self, failure: Exception, proxy: URL | None) -> NotSent | NoAnswer:
        """Our error for whatever was raised: one that nothing else holds."""
        forget_frames(failure, self._callers_own)
        if isinstance(failure, NotSent | NoAnswer):
            return copy(failure)
        if not self._is_connected:
            return NotSent(self._why_not_connected(failure, proxy))
        if self.limit.expired():
            return line_is_stuck(self._settings.read_timeout) if self._is_sending else too_slow()
        if isinstance(failure, TimeoutError):
            return no_answer_within(self._settings.read_timeout)
        if isinstance(failure, ClientPayloadError):
            return NoAnswer(f"the answer is incomplete, or not HTTP: {reason(failure)}")
        if isinstance(failure, OSError):
            return NoAnswer(f"the connection broke: {reason(failure)}")
        # An error of the library for an answer quotes addresses, and perhaps their passwords.
        text = type(failure).__name__ if isinstance(failure, ClientResponseError) else reason(failure)
        return NoAnswer(f"what was answered is not HTTP: {text}")

    def _why_not_connected(self, failure: Exception, proxy: URL | None) -> str:
        if self.limit.expired():
            return not_connected_within(self._settings.connect_timeout)
        # Of what the library makes of an answer only the status is told: its text quotes the proxy with its password.
        if isinstance(failure, ClientResponseError):
            return f"the proxy did not connect: it answered {failure.status}"
        if isinstance(failure, ClientProxyConnectionError):
            return f"the proxy did not connect: {reason(failure)}"
        if isinstance(innermost(failure), ssl.SSLError | ssl.CertificateError):
            return f"the TLS connection was refused: {reason(failure)}"
        if isinstance(failure, OSError):
            return f"{'no connection' if proxy is None else 'the proxy did not connect'}: {reason(failure)}"
        if isinstance(failure, ClientError):
            return f"the proxy did not connect, or what it answered is not HTTP: {type(failure).__name__}"
        # Without the library's text, which would quote headers.
        return f"HTTP cannot carry its method or one of its headers ({type(failure).__name__})"

    def _ends_in(self, seconds: float) -> None:
        if not self.limit.expired():
            self.limit.reschedule(asyncio.get_running_loop().time() + seconds)


def _proxy_for(base_url: str, settings: Settings) -> URL | None:
    proxy = select_proxy(base_url, proxies_for(base_url, settings.proxies))
    if not proxy:
        return None
    return URL(prepend_scheme_if_needed(proxy, "http"))  # type: ignore[no-untyped-call]


def _all_headers(signed: SignedCall) -> dict[str, str]:
    headers = headers_of(signed)
    if signed.call.body is not None:
        # Otherwise a body that comes in pieces would be sent in chunks.
        headers["Content-Length"] = str(len(signed.call.body))
    return headers


async def _read(response: ClientResponse) -> bytes:
    """The raw body. What reads it is bounded in bytes, its caller in time.

    :raises NoAnswer: it is a redirect, or not a final answer.
    """
    try:
        check_final(response.status)
        return await response.read()
    except BaseException:
        # The rest of an answer may still come: another call must not read it as its own.
        response.close()
        raise


def _joined(lines: list[tuple[str, str]]) -> CaseInsensitiveDict[str]:
    headers = CaseInsensitiveDict[str]()
    for name, value in lines:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
