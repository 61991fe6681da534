# SPDX-License-Identifier: Apache-2.0
"""Sends a signed call to one host, once, and reads the answer within bounds. Nothing is signed or decided here."""

from __future__ import annotations

import os
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from platform import python_version
from typing import Any
from urllib.parse import urlsplit

import requests
from requests import PreparedRequest
from requests.adapters import DEFAULT_CA_BUNDLE_PATH, HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPHeaderDict, Timeout
from urllib3.exceptions import ReadTimeoutError

from airflow_provider_wxbank import __version__
from airflow_provider_wxbank.wechatpay.calls import Answer, SignedCall
from airflow_provider_wxbank.wechatpay.settings import Settings, is_loopback
from airflow_provider_wxbank.wechatpay.wire import NoAnswer, NotSent, bounded, broken_exchange

MAX_IDLE = 7.0
"""Seconds after which an idle connection is not used again. WeChat Pay closes it after 8 (Keep-Alive: timeout=8)."""

USER_AGENT = f"airflow-provider-wxbank/{__version__} Python/{python_version()} requests/{requests.__version__}"


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
        with self._connection(base_url) as connection:
            try:
                with self._response(connection, signed) as response:
                    body = _read(response)
            except (NotSent, NoAnswer):
                raise
            except ReadTimeoutError:
                raise NoAnswer(
                    f"no answer within {self._settings.read_timeout:g} s (read_timeout of the connection)",
                    timed_out=True,
                ) from None
            except Exception as failure:
                raise broken_exchange(failure) from None
        received = CaseInsensitiveDict(response.headers)
        return Answer(response.status, received, body, _why_unverifiable(response.headers))

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
            headers=_headers(signed),
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
        # The same variables in the same order as requests has them.
        certificates = (
            os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
        )
        proxies = proxies_for(base_url, self._settings.proxies)
        # A new adapter each time: the same one would give the same pool again.
        try:
            pool: Any = HTTPAdapter().get_connection_with_tls_context(request, certificates, proxies)
        except Exception:
            # Without the library's text, which may quote a proxy with its password.
            raise NotSent(
                "the host, or a proxy of the connection or of the environment, is not a URL that can be used; for a "
                "socks proxy, install PySocks"
            ) from None
        assert isinstance(pool, HTTPConnectionPool)
        pool.ConnectionCls = bounded(type(pool).ConnectionCls, self._settings.read_timeout)
        return pool


def proxies_for(base_url: str, own: Mapping[str, str] | None) -> dict[str, str]:
    """The proxies for a host, by scheme. There is none for this machine, nor for plain http.

    :param own: the connection's proxies; None for the environment's.
    """
    parts = urlsplit(base_url)
    if parts.scheme == "http" or is_loopback(parts.hostname or ""):
        return {}
    return get_environ_proxies(base_url) if own is None else dict(own)


def _headers(signed: SignedCall) -> dict[str, str]:
    call = signed.call
    headers = {
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        # WeChat Pay's own texts, as its documentation and support use them.
        "Accept-Language": "zh-CN",
        # The signature covers the body's raw bytes, so nothing may compress them on the way.
        "Accept-Encoding": "identity",
        "Authorization": signed.authorization,
    }
    if call.content_type is not None:
        headers["Content-Type"] = call.content_type
    if call.serial_no is not None:
        headers["Wechatpay-Serial"] = call.serial_no
    return headers


def _read(response: BaseHTTPResponse) -> bytes:
    """The raw body, never unpacked. The connection bounds it in size and time.

    :raises NoAnswer: it is a redirect, or not a final answer.
    """
    if 300 <= response.status < 400:
        raise NoAnswer(
            f"it was answered with a redirect ({response.status}), which is not followed; a proxy or gateway may have "
            "answered: check the host, and what lies before it"
        )
    if not 200 <= response.status < 600:
        raise NoAnswer(f"what was answered is no answer: status {response.status}")
    body = bytearray()
    while piece := response.read1(65536, decode_content=False):
        body += piece
    return bytes(body)


def _why_unverifiable(headers: HTTPHeaderDict) -> str:
    # If a header is there twice, it is not known which one was signed.
    doubled = sorted(
        name.title()
        for name in {name.lower() for name in headers}
        if name.startswith("wechatpay-") and len(headers.getlist(name)) > 1
    )
    if doubled:
        return (
            f"the answer has {', '.join(doubled)[:200]} more than once, so its signature says nothing; a proxy or "
            "gateway may have added headers"
        )
    encodings = {item.strip().lower() for item in headers.get("Content-Encoding", "").split(",")}
    if encodings - {"", "identity"}:
        return (
            "the answer is compressed, although that was not asked for, so its signature cannot be checked; a proxy "
            "or gateway may have done that"
        )
    return ""
