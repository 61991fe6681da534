"""One signed request to one host: sent once, its answer read within bounds, nothing decided."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cache
from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from platform import python_version
from socket import socket
from typing import Any

import requests
from requests import Session
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError, LocationValueError, NewConnectionError, ReadTimeoutError

from airflow_provider_wxbank import __version__
from airflow_provider_wxbank.wechatpay.settings import Settings
from airflow_provider_wxbank.wechatpay.signing import WeChatPayAuth

MAX_IDLE = 7.0
"""Seconds after which an idle connection is not used again; WeChat Pay closes it after 8 (Keep-Alive: timeout=8)."""

MAX_ANSWER_BYTES = 4_000_000
"""A page of 20 tasks has about 10 kB, a certificate list about 10 kB."""

MAX_ANSWER_TIMEOUTS = 4
"""An answer as a whole, headers included, may take this many read timeouts."""

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
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    signed_message: bytes = field(default=b"", repr=False)

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


class NotSent(Exception):
    """The connection was not made, so the request was not taken."""


class NoAnswer(Exception):
    """The request left, and no whole answer came back.

    :ivar timed_out: whether time ran out, rather than the connection breaking.
    """

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


class Transport:
    """Sends calls over connections that are re-used while fresh; safe to use from many threads."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        # In the order of their last use.
        self._idle: deque[tuple[Session, float]] = deque()

    def exchange(self, base_url: str, call: Call) -> Answer:
        """Sign and send a call once.

        :raises NotSent: no connection.
        :raises NoAnswer: no whole answer.
        """
        auth = WeChatPayAuth(self._settings.merchant, call.signed_body, self._clock)
        try:
            with self._session() as session:
                return self._exchange(session, base_url, call, auth)
        except requests.exceptions.ConnectTimeout:
            raise NotSent(f"no connection within {self._settings.connect_timeout:g} s") from None
        except requests.exceptions.SSLError as failure:
            raise NotSent(f"the TLS connection was refused: {_reason(failure)}") from None
        except requests.exceptions.ProxyError as failure:
            raise NotSent(f"the proxy did not connect: {_reason(failure)}") from None
        except (requests.exceptions.ReadTimeout, ReadTimeoutError):
            raise NoAnswer(f"no answer within {self._settings.read_timeout:g} s", timed_out=True) from None
        except requests.exceptions.ConnectionError as failure:
            if isinstance(_cause(failure), NewConnectionError):
                raise NotSent(f"no connection: {_reason(failure)}") from None
            raise NoAnswer(f"the connection broke: {_reason(failure)}") from None
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, LocationValueError):
            # Its own text may quote a proxy with its password.
            raise NotSent(
                "the host, or a proxy of the connection or of the environment, is not a URL that can be used; for a "
                "socks proxy, install PySocks"
            ) from None
        except (requests.exceptions.RequestException, HTTPError, OSError) as failure:
            raise NoAnswer(f"the answer could not be read: {_reason(failure)}") from None

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop()[0].close()

    def _exchange(self, session: Session, base_url: str, call: Call, auth: WeChatPayAuth) -> Answer:
        headers = {"Content-Type": call.content_type, "Wechatpay-Serial": call.serial_no}
        settings = self._settings
        with session.request(
            call.method,
            base_url + call.target,
            data=call.body,
            headers=headers,
            auth=auth,
            timeout=(settings.connect_timeout, settings.read_timeout),
            allow_redirects=False,
            stream=True,
        ) as response:
            body = _read(response)
            return Answer(response.status_code, CaseInsensitiveDict(response.headers), body, auth.message)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        session = self._idle_session() or self._new_session()
        try:
            yield session
        except BaseException:
            session.close()
            raise
        self._idle.append((session, time.monotonic()))
        self._close_stale()

    def _idle_session(self) -> Session | None:
        """The connection that was used last, if it is fresh."""
        self._close_stale()
        try:
            return self._idle.pop()[0]
        except IndexError:
            return None

    def _close_stale(self) -> None:
        """Close those that are too old, so that a long wait keeps no more of them than it uses."""
        while True:
            try:
                session, used_at = self._idle.popleft()
            except IndexError:
                return
            if time.monotonic() - used_at < MAX_IDLE:
                self._idle.appendleft((session, used_at))
                return
            session.close()

    def _new_session(self) -> Session:
        session = Session()
        for scheme in ("https://", "http://"):
            session.mount(scheme, _Adapter())
        session.headers.clear()
        session.headers.update(
            {
                "User-Agent": USER_AGENT,
                "Accept": "application/json",
                # WeChat Pay's own texts, as its documentation and support use them.
                "Accept-Language": "zh-CN",
                # A signature covers the body's raw bytes; nothing may be unpacked on the way.
                "Accept-Encoding": "identity",
            }
        )
        if self._settings.proxies is not None:
            session.proxies.update(self._settings.proxies)
        if self._settings.base_url.startswith("http://"):
            # Plain http is loopback only; an environment's proxy must not carry it elsewhere.
            session.trust_env = False
        return session


class _Adapter(HTTPAdapter):
    """Reads every answer, a proxy's too, through :class:`_TimedResponse`."""

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        pool.ConnectionCls = _timed(type(pool).ConnectionCls)
        return pool


@cache
def _timed(connection: type[Any]) -> type[Any]:
    """A kind of connection, with its answers bounded in time."""
    return type(f"Timed{connection.__name__}", (connection,), {"response_class": _TimedResponse})


class _TimedResponse(HTTPResponse):
    """An answer that ends, even if its status line, headers or body come a byte at a time."""

    def __init__(self, sock: socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = BufferedReader(_TimedReader(self.fp.detach(), sock))


class _TimedReader(RawIOBase):
    """Reads from a socket until some of its timeouts have passed in all; each reading is bounded by one of them."""

    def __init__(self, raw: RawIOBase, connection: socket) -> None:
        self._raw = raw
        self._connection = connection
        self._timeout = connection.gettimeout()
        self._started_at = time.monotonic()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._timeout is not None:
            left = MAX_ANSWER_TIMEOUTS * self._timeout - (time.monotonic() - self._started_at)
            if left < self._timeout:
                return self._read_last(buffer, left)
        return self._raw.readinto(buffer)

    def _read_last(self, buffer: Any, seconds: float) -> int | None:
        try:
            if seconds > 0:
                self._connection.settimeout(seconds)
                return self._raw.readinto(buffer)
        except TimeoutError:
            pass
        raise NoAnswer("the answer came too slowly", timed_out=True)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _read(response: requests.Response) -> bytes:
    """The raw body, bounded in size; in time it is by how it is read."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise NoAnswer("the answer is compressed, although that was not asked for")
    body = bytearray()
    while True:
        piece = response.raw.read1(65536, decode_content=False)
        if not piece:
            break
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise NoAnswer(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and int(length) != len(body):
        raise NoAnswer("the answer is incomplete")
    return bytes(body)


def _cause(failure: BaseException) -> object:
    inner = failure.args[0] if failure.args else None
    return getattr(inner, "reason", inner)


def _reason(failure: BaseException) -> str:
    """The kind of a failure and its system's text, without addresses of objects."""
    cause = _cause(failure)
    found = cause if isinstance(cause, BaseException) else failure
    text = str(found).rpartition(">: ")[2] or str(found)
    return f"{type(found).__name__}: {text[:200]}"
