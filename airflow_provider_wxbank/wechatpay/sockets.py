# SPDX-License-Identifier: Apache-2.0
"""The sockets of an event loop, which all calls from it share: a few, bounded in what they read, without a thread."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import defaultdict
from collections.abc import Hashable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from aiohttp import ClientSession, DummyCookieJar, TCPConnector, TraceConfig
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from urllib3.util.ssl_ import create_urllib3_context

from airflow_provider_wxbank.wechatpay.rounds import FewARound
from airflow_provider_wxbank.wechatpay.sending import (
    MAX_ANSWER_BYTES,
    MAX_IDLE,
    UNSENT_BYTES,
    NotSent,
    ca_file,
    too_long,
    unusable_ca_file,
)
from airflow_provider_wxbank.wechatpay.sharing import shared_in
from airflow_provider_wxbank.wechatpay.threads import off_loop

MAX_SOCKETS = 64
"""Calls that are under way at once in an event loop, each with a socket. Whoever makes one more waits."""

MAX_SOCKETS_A_HOST = 48
"""Of these, to one host: one that hangs leaves some for the others."""

MAX_TLS_AGE = 3600.0
"""Seconds after which the file of CA certificates is read again."""


class Stage(Protocol):
    """Hears how far a request has come that is made with it as ``trace_request_ctx``."""

    def connecting(self) -> None:
        """It has got one of the sockets, and connects."""

    def connected(self) -> None:
        """From here on it is sent."""


class Pool:
    """The sockets of an event loop, and the turns of those who have something to do in it."""

    def __init__(self) -> None:
        self._turns: defaultdict[tuple[Hashable, ...], FewARound] = defaultdict(FewARound)
        self._tls: tuple[str, float, ssl.SSLContext] | None = None
        self._reading_tls = asyncio.Lock()
        self._all = asyncio.Semaphore(MAX_SOCKETS)
        self._of_host: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(MAX_SOCKETS_A_HOST))
        # Nothing is left to the session: no redirects, cookies, credentials, unpacking, and no time limits but ours.
        self.session = ClientSession(
            connector=_Connector(
                resolver=_Resolver(),
                # Whoever waits for a socket waits in enter().
                limit=0,
                keepalive_timeout=MAX_IDLE,
                socket_factory=_new_socket,
            ),
            cookie_jar=DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            auto_decompress=False,
            trust_env=False,
            trace_configs=[_stages()],
        )
        # It would send a GET again by itself if a connection that was kept has been closed; the exchange decides that.
        self.session._retry_connection = False

    async def enter(self, base_url: str) -> None:
        """Wait for room for one call to a host."""
        taken: list[asyncio.Semaphore] = []
        try:
            for limit in (self._of_host[base_url], self._all):
                await limit.acquire()
                taken.append(limit)
            await self.turn("enter")
        except BaseException:
            for limit in taken:
                limit.release()
            raise

    async def leave(self, base_url: str, *, at_once: bool) -> None:
        """Make room for another call."""
        try:
            if not at_once:
                await self.turn("leave")
        finally:
            self._all.release()
            self._of_host[base_url].release()

    async def turn(self, *kind: Hashable) -> None:
        """Wait until something may be done in the loop without holding it for long.

        :param kind: what is done. It takes about as long each time.
        """
        await self._turns[kind].turn()

    async def tls(self) -> ssl.SSLContext:
        """How hosts prove who they are.

        :raises NotSent: the file of CA certificates cannot be read.
        """
        path = ca_file()
        async with self._reading_tls:
            if self._tls is None or self._tls[0] != path or time.monotonic() - self._tls[1] > MAX_TLS_AGE:
                # It takes some ten milliseconds, so not in the loop.
                self._tls = path, time.monotonic(), await off_loop("files", _tls_context, path)
            return self._tls[2]


_POOLS: dict[asyncio.AbstractEventLoop, tuple[Pool, int]] = {}


class sockets:  # noqa: N801  # used as contextlib's own are
    """The sockets of the running event loop. They stay open as long as anybody uses them."""

    __slots__ = ("_loop", "_pool", "_sharing")

    async def __aenter__(self) -> Pool:
        self._loop = asyncio.get_running_loop()
        self._sharing = shared_in(_POOLS, self._loop, Pool)
        self._pool = self._sharing.__enter__()
        return self._pool

    async def __aexit__(self, *_: object) -> None:
        # First, so that nobody comes to one that is being closed.
        self._sharing.__exit__()
        if self._loop not in _POOLS:
            await self._pool.session.close()


class room:  # noqa: N801  # used as contextlib's own are
    """Room for one call to a host, among the sockets of the running event loop: its block begins once there is any.

    A class for the same reason as :class:`.shared_in`: in an outage a thousand polls wait here.
    """

    __slots__ = ("_base_url", "_pool", "_sockets")

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._sockets = sockets()

    async def __aenter__(self) -> None:
        self._pool = await self._sockets.__aenter__()
        try:
            await self._pool.enter(self._base_url)
        except BaseException:
            await self._sockets.__aexit__()
            raise

    async def __aexit__(self, _kind: object, failure: BaseException | None, _trace: object) -> None:
        try:
            # Whoever is cancelled is gone at once.
            await self._pool.leave(self._base_url, at_once=not isinstance(failure, Exception | None))
        finally:
            await self._sockets.__aexit__()


class _BoundedHandler(ResponseHandler):
    """Reads an answer that ends, even if its status line, headers or body never do. aiohttp has no hook for that."""

    _bytes_left = MAX_ANSWER_BYTES
    is_idle = False
    """Nothing was asked since the last answer."""

    def set_response_params(self, **options: Any) -> None:
        """A request is about to be sent."""
        self._bytes_left = MAX_ANSWER_BYTES
        self.is_idle = False
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        # The library itself calls this without data. Anything else would be taken for the answer to the next question.
        if data and self.is_idle:
            self.abort()
            return
        self._bytes_left -= len(data)
        if self._bytes_left >= 0:
            super().data_received(data)
            return
        # To those who wait for headers, and to those who wait for the body.
        self.set_exception(too_long())
        if self._payload is not None:
            self._payload.set_exception(too_long())
        self._parser = None
        if self.transport is not None:
            self.transport.abort()


class _Connector(TCPConnector):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # mypy takes it for a class of its own.
        self._factory = partial(_BoundedHandler, loop=self._loop)  # type: ignore[assignment]

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        super()._release(key, protocol, should_close=should_close)
        assert isinstance(protocol, _BoundedHandler)
        protocol.is_idle = True


class _Resolver(AbstractResolver):
    """Looks up hosts in our own threads; aiohttp's own does it in those that all share."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await off_loop("names", socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=family,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for family, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """There is nothing to close."""


def _new_socket(address: Any) -> socket.socket:
    family, kind, proto, _, _ = address
    new = socket.socket(family, kind, proto)
    new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    return new


def _stages() -> TraceConfig:
    """Tells each exchange how far it is."""

    async def connecting(_session: ClientSession, traced: SimpleNamespace, _: Any) -> None:
        stage: Stage = traced.trace_request_ctx
        stage.connecting()

    async def connected(_session: ClientSession, traced: SimpleNamespace, _: Any) -> None:
        stage: Stage = traced.trace_request_ctx
        stage.connected()

    config = TraceConfig()
    config.on_connection_create_start.append(connecting)
    config.on_connection_create_end.append(connected)
    config.on_connection_reuseconn.append(connected)
    return config


def _tls_context(path: str) -> ssl.SSLContext:
    """As urllib3 has it, so that both transports trust the same hosts."""
    context = create_urllib3_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.check_hostname = True
    try:
        if Path(path).is_dir():
            context.load_verify_locations(capath=path)
        else:
            context.load_verify_locations(cafile=path)
    except OSError as failure:
        raise NotSent(unusable_ca_file(path, failure)) from None
    return context
