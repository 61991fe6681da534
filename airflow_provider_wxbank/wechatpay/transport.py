# SPDX-License-Identifier: Apache-2.0
"""Sends a signed call to one host, once, and reads the answer within bounds. Nothing is signed or decided here."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, Timeout
from urllib3.exceptions import ReadTimeoutError

from airflow_provider_wxbank.wechatpay.calls import Answer, SignedCall
from airflow_provider_wxbank.wechatpay.sending import (
    MAX_IDLE,
    UNUSABLE_URL,
    NoAnswer,
    NotSent,
    ca_file,
    check_final,
    headers_of,
    no_answer_within,
    proxies_for,
    why_unverifiable,
)
from airflow_provider_wxbank.wechatpay.settings import Settings
from airflow_provider_wxbank.wechatpay.tracebacks import forget_frames, handled_now
from airflow_provider_wxbank.wechatpay.wire import bounded, broken_exchange


class Transport:
    """Sends calls over connections that are reused while fresh; safe to use from many threads.

    Of the library requests only the choice of proxy and CA file is used: its sessions follow or read redirects, and
    keep cookies.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # By host, in the order of their last use. Each of urllib3's pools is one connection here. There is no lock:
        # appending to a deque and popping from it are atomic.
        self._idle: defaultdict[str, deque[tuple[HTTPConnectionPool, float]]] = defaultdict(deque)

    def exchange(self, base_url: str, signed: SignedCall) -> Answer:
        """Send a call once.

        :raises NotSent: no connection.
        :raises NoAnswer: no whole answer, or a redirect, of which only the status is read.
        """
        callers_own = handled_now()
        with self._connection(base_url) as connection:
            try:
                with self._response(connection, signed) as response:
                    body = _read(response)
            except (NotSent, NoAnswer):
                raise
            except Exception as failure:
                forget_frames(failure, callers_own)
                if isinstance(failure, ReadTimeoutError):
                    raise no_answer_within(self._settings.read_timeout) from None
                raise broken_exchange(failure) from None
        received = CaseInsensitiveDict(response.headers)
        return Answer(response.status, received, body, why_unverifiable(response.headers.iteritems()))

    def close(self) -> None:
        """Close the idle connections."""
        for idle in list(self._idle.values()):
            while idle:
                idle.pop()[0].close()

    def _response(self, connection: HTTPConnectionPool, signed: SignedCall) -> BaseHTTPResponse:
        """An answer whose status and headers were read."""
        # Nothing is left to urllib3: retries are decided by the caller, a redirect could lead a signed call anywhere,
        # and the signature covers the body as it was sent.
        return connection.urlopen(
            signed.call.method,
            signed.target,
            body=signed.call.body,
            headers=headers_of(signed),
            timeout=Timeout(connect=self._settings.connect_timeout, read=self._settings.read_timeout),
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )

    @contextmanager
    def _connection(self, base_url: str) -> Iterator[HTTPConnectionPool]:
        """A connection to a host. It is kept for the next call unless something fails."""
        connection = self._idle_connection(base_url) or self._new_connection(base_url)
        try:
            yield connection
        except BaseException:
            # The rest of an answer may still come: another call must not read it as its own.
            connection.close()
            raise
        self._idle[base_url].append((connection, time.monotonic()))
        self._close_stale()

    def _idle_connection(self, base_url: str) -> HTTPConnectionPool | None:
        """The connection to this host that was used last, if it is still fresh."""
        self._close_stale()
        # Tried, not asked: another thread may take the last one in between.
        try:
            return self._idle[base_url].pop()[0]
        except IndexError:
            return None

    def _close_stale(self) -> None:
        """Close connections that are too old, so that a long wait keeps no more of them than it uses."""
        for idle in list(self._idle.values()):
            while True:
                # Taken out to be looked at: another thread could take it between a look and a pop.
                try:
                    connection, used_at = idle.popleft()
                except IndexError:
                    break
                if time.monotonic() - used_at < MAX_IDLE:
                    idle.appendleft((connection, used_at))
                    break
                connection.close()

    def _new_connection(self, base_url: str) -> HTTPConnectionPool:
        """A connection that is made when it is first used.

        :raises NotSent: there is no way to this host.
        """
        # The adapter takes nothing but the URL from it.
        request = PreparedRequest()
        request.url = base_url
        certificates = ca_file()
        proxies = proxies_for(base_url, self._settings.proxies)
        # A new adapter each time: the same one would give the same pool again.
        try:
            pool: Any = HTTPAdapter().get_connection_with_tls_context(request, certificates, proxies)
        except Exception:
            # Without the library's text, which may quote a proxy with its password.
            raise NotSent(UNUSABLE_URL) from None
        assert isinstance(pool, HTTPConnectionPool)
        pool.ConnectionCls = bounded(type(pool).ConnectionCls, self._settings.read_timeout)
        return pool


def _read(response: BaseHTTPResponse) -> bytes:
    """The raw body, never unpacked. The connection bounds it in size and time.

    :raises NoAnswer: it is a redirect, or not a final answer.
    """
    check_final(response.status)
    body = bytearray()
    while piece := response.read1(65536, decode_content=False):
        body += piece
    return bytes(body)
