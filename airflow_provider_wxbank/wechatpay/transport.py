"""One signed request to one host: sent once, its answer read within bounds, nothing decided."""

from __future__ import annotations

import os
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
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
from urllib3.util import parse_url

from airflow_provider_wxbank import __version__
from airflow_provider_wxbank.wechatpay.settings import Settings, is_loopback
from airflow_provider_wxbank.wechatpay.signing import authorization, random_nonce, string_to_sign
from airflow_provider_wxbank.wechatpay.wire import NoAnswer, NotSent, bounded, broken_exchange

MAX_IDLE = 7.0
"""Seconds after which an idle connection is not used again; WeChat Pay closes it after 8 (Keep-Alive: timeout=8)."""

USER_AGENT = f"airflow-provider-wxbank/{__version__} Python/{python_version()} requests/{requests.__version__}"


@dataclass(frozen=True, slots=True)
class Call:
    """What to send, the same for every attempt.

    :param target: path and query, percent-encoded.
    :param signed_body: what the signature covers: the body, or the ``meta`` part of an upload.
    :param serial_no: the platform key that encrypted something in the body, or that should sign the answer.
    :param repeatable: whether sending it twice is the same as once.
    """

    method: str
    target: str
    signed_body: bytes = field(default=b"", repr=False)
    body: bytes | None = field(default=None, repr=False)
    content_type: str | None = None
    serial_no: str | None = None
    repeatable: bool = True

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as received; nothing in it is to be believed before it is verified.

    :param signed_message: the string that the request was signed over, for error messages.
    :param unverifiable: why its signature says nothing, whatever it is; empty if it may be checked.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    signed_message: bytes = field(default=b"", repr=False)
    unverifiable: str = ""

    @property
    def request_id(self) -> str:
        """WeChat Pay's name for this request, for its support."""
        return "".join(filter(str.isprintable, self.headers.get("Request-ID", "")))[:100]

    def clock_difference(self, now: float) -> float | None:
        """Seconds by which this machine's clock is ahead of the answer's ``Date``; None if it has none.

        :param now: unix seconds.
        """
        try:
            return now - parsedate_to_datetime(self.headers["Date"]).timestamp()
        except (KeyError, ValueError, TypeError, OverflowError):
            return None


class Transport:
    """Sends calls over connections that are re-used while fresh; safe to use from many threads.

    Of requests only the choice of proxy and CA file is used. Its sessions follow or read redirects and keep cookies.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        # By host, in the order of their last use. A pool is one connection here.
        self._idle: defaultdict[str, deque[tuple[HTTPConnectionPool, float]]] = defaultdict(deque)

    def exchange(self, base_url: str, call: Call) -> Answer:
        """Sign and send a call once.

        :raises NotSent: no connection.
        :raises NoAnswer: no whole answer, or a redirect, of which nothing more than its status is read.
        """
        # As urllib3 will write it.
        target = parse_url(call.target).request_uri
        timestamp, nonce = int(self._clock()), random_nonce()
        message = string_to_sign(call.method, target, timestamp, nonce, call.signed_body)
        headers = _headers(call, authorization(self._settings.merchant, message, timestamp, nonce))
        with self._connection(base_url) as connection:
            try:
                with self._response(connection, call, target, headers) as response:
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
        return Answer(response.status, received, body, message, _why_unverifiable(response.headers))

    def close(self) -> None:
        """Close the idle connections."""
        for idle in list(self._idle.values()):
            while idle:
                idle.pop()[0].close()

    def _response(
        self, connection: HTTPConnectionPool, call: Call, target: str, headers: Mapping[str, str]
    ) -> BaseHTTPResponse:
        """An answer whose head was read."""
        return connection.urlopen(
            call.method,
            target,
            body=call.body,
            headers=headers,
            timeout=Timeout(connect=self._settings.connect_timeout, read=self._settings.read_timeout),
            retries=False,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )

    @contextmanager
    def _connection(self, base_url: str) -> Iterator[HTTPConnectionPool]:
        """A connection to a host; kept for the next call unless something fails."""
        connection = self._idle_connection(base_url) or self._new_connection(base_url)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._idle[base_url].append((connection, time.monotonic()))
        self._close_stale()

    def _idle_connection(self, base_url: str) -> HTTPConnectionPool | None:
        """The one to this host that was used last, if it is fresh."""
        self._close_stale()
        try:
            return self._idle[base_url].pop()[0]
        except IndexError:
            return None

    def _close_stale(self) -> None:
        """Close those that are too old, so that a long wait keeps no more of them than it uses."""
        for idle in list(self._idle.values()):
            while True:
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
        request = PreparedRequest()
        request.url = base_url
        certificates = (
            os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH
        )
        proxies = proxies_for(base_url, self._settings.proxies)
        try:
            pool: Any = HTTPAdapter().get_connection_with_tls_context(request, certificates, proxies)
        except Exception:
            # Its own text may quote a proxy with its password.
            raise NotSent(
                "the host, or a proxy of the connection or of the environment, is not a URL that can be used; for a "
                "socks proxy, install PySocks"
            ) from None
        assert isinstance(pool, HTTPConnectionPool)
        pool.ConnectionCls = bounded(type(pool).ConnectionCls, self._settings.read_timeout)
        return pool


def proxies_for(base_url: str, own: Mapping[str, str] | None) -> dict[str, str]:
    """The proxies for a host, by scheme. This machine is asked directly, and so is whatever is asked by plain http.

    :param own: the connection's; None for the environment's.
    """
    parts = urlsplit(base_url)
    if parts.scheme == "http" or is_loopback(parts.hostname or ""):
        return {}
    return get_environ_proxies(base_url) if own is None else dict(own)


def _headers(call: Call, signed: str) -> dict[str, str]:
    headers = {
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        # WeChat Pay's own texts, as its documentation and support use them.
        "Accept-Language": "zh-CN",
        # A signature covers the body's raw bytes; nothing may be packed on the way.
        "Accept-Encoding": "identity",
        "Authorization": signed,
    }
    if call.content_type is not None:
        headers["Content-Type"] = call.content_type
    if call.serial_no is not None:
        headers["Wechatpay-Serial"] = call.serial_no
    return headers


def _read(response: BaseHTTPResponse) -> bytes:
    """The raw body, never unpacked; how it is read bounds it in size and time.

    :raises NoAnswer: it is a redirect, or no last answer.
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
