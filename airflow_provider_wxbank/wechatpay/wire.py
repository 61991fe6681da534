# SPDX-License-Identifier: Apache-2.0
"""Connections whose exchanges always end: bounded in time and in bytes, whatever the other side does.

What a failure means depends on when it happened, not on the class that the library raised. What fails while the
connection is made was not sent; what fails after that was perhaps taken.
"""

from __future__ import annotations

import time
from functools import cache
from http.client import HTTPResponse, IncompleteRead
from io import BufferedReader, RawIOBase
from socket import IPPROTO_TCP, TCP_NOTSENT_LOWAT, socket
from ssl import SSLError
from typing import Any

from urllib3.connection import HTTPConnection
from urllib3.exceptions import SSLError as UnusableCertificates

from airflow_provider_wxbank.wechatpay.sending import (
    MAX_ANSWER_BYTES,
    MAX_ANSWER_TIMEOUTS,
    PIECE_BYTES,
    UNSENT_BYTES,
    NoAnswer,
    NotSent,
    innermost,
    line_is_stuck,
    not_connected_within,
    reason,
    too_long,
    too_slow,
    unusable_ca_file,
)


@cache
def bounded(kind: type[HTTPConnection], read_timeout: float) -> type[Any]:
    """A class of urllib3's connections, with bounded exchanges.

    :param read_timeout: seconds within which each piece of a request must be taken, and something of the answer must
        come. The connection's own timeout bounds connecting: TCP, a proxy's tunnel, TLS.
    """
    # A class for each timeout: a pool of urllib3 makes its connections itself, and passes on no argument of ours.
    return type(f"Bounded{kind.__name__}", (_BoundedConnection, kind), {"read_timeout": read_timeout})


class _BoundedResponse(HTTPResponse):
    """An answer that ends, even if its status line, headers or body never do."""

    def __init__(self, sock: socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        # http.client reads status line, headers and body from this file.
        self.fp = BufferedReader(_BoundedReader(self.fp.detach(), sock))


class _BoundedConnection(HTTPConnection):
    read_timeout: float
    response_class = _BoundedResponse

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # Added to urllib3's own, which switch Nagle's algorithm off.
        self.socket_options = [*(self.socket_options or ()), (IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES)]

    def connect(self) -> None:
        """:raises NotSent: for whatever reason."""
        try:
            super().connect()
        except Exception as failure:
            raise NotSent(self._why_not_connected(failure)) from None

    def request(self, *args: Any, **options: Any) -> None:
        """Send a request, each piece within the read timeout.

        :raises NotSent: there is no connection, or HTTP has no way to write this request.
        """
        # Before the block below, which blames the request itself for what was not sent.
        if self.sock is None:
            self.connect()
        # urllib3 leaves the timeout for connecting on the socket until the whole request is sent.
        self.timeout = self.read_timeout
        self._has_sent = False
        try:
            super().request(*args, **options)
        except Exception as failure:
            if self._has_sent:
                raise
            # Without the library's text, which would quote headers.
            raise NotSent(f"HTTP cannot carry its method or one of its headers ({type(failure).__name__})") from None

    def send(self, data: Any) -> None:
        """Send in pieces, since a socket's timeout covers all that it is given at once."""
        view = memoryview(data)
        # Before the first byte: after a failure it is not known how many have left.
        self._has_sent = True
        try:
            for start in range(0, len(view), PIECE_BYTES):
                super().send(view[start : start + PIECE_BYTES])
        except TimeoutError:
            raise line_is_stuck(self.read_timeout) from None

    def _why_not_connected(self, failure: Exception) -> str:
        # First, since a timeout can come from every stage: TCP, the proxy's tunnel, TLS.
        if isinstance(innermost(failure), TimeoutError):
            return not_connected_within(self.timeout or 0)
        # urllib3 raises its own SSLError for CA files; a handshake that fails raises that of the module ssl.
        if isinstance(failure, UnusableCertificates):
            path = getattr(self, "ca_certs", None) or getattr(self, "ca_cert_dir", None)
            return unusable_ca_file(str(path), failure)
        if self.proxy is not None and not (self.has_connected_to_proxy and isinstance(failure, SSLError)):
            return f"the proxy did not connect: {reason(failure)}"
        if isinstance(failure, SSLError):
            return f"the TLS connection was refused: {reason(failure)}"
        return f"no connection: {reason(failure)}"


class _BoundedReader(RawIOBase):
    """Reads from a socket until too many bytes have come, or until :data:`MAX_ANSWER_TIMEOUTS` of its timeouts have
    passed. Each single reading is bounded by one timeout."""

    def __init__(self, raw: RawIOBase, connection: socket) -> None:
        self._raw = raw
        self._connection = connection
        self._timeout = connection.gettimeout()
        # The time of the answer begins here: http.client makes a response once the request is sent.
        self._started_at = time.monotonic()
        self._bytes_left = MAX_ANSWER_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self._read_in_time(buffer)
        self._bytes_left -= count or 0
        if self._bytes_left < 0:
            raise too_long()
        return count

    def _read_in_time(self, buffer: Any) -> int | None:
        if self._timeout is not None:
            left = MAX_ANSWER_TIMEOUTS * self._timeout - (time.monotonic() - self._started_at)
            # The socket's own timeout would let this reading go beyond the end.
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
        raise too_slow()

    def close(self) -> None:
        self._raw.close()
        super().close()


def broken_exchange(failure: Exception) -> NoAnswer:
    """Our error for an exchange that a library gave up, whatever it raised."""
    found = innermost(failure)
    if isinstance(found, IncompleteRead):
        return NoAnswer("the answer is incomplete")
    if isinstance(found, OSError):
        return NoAnswer(f"the connection broke: {reason(found)}")
    return NoAnswer(f"what was answered is not HTTP: {reason(found)}")
