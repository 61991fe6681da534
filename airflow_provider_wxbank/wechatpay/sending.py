# SPDX-License-Identifier: Apache-2.0
"""What every way of sending a call has in common: its headers and bounds, its errors, and the way to the host.

What a failure means depends on when it happened, not on the class that a library raised. What fails while the
connection is made was not sent; what fails after that was perhaps taken.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from platform import python_version
from urllib.parse import urlsplit

import requests
from requests.adapters import DEFAULT_CA_BUNDLE_PATH
from requests.utils import get_environ_proxies

from airflow_provider_wxbank import __version__
from airflow_provider_wxbank.wechatpay.calls import SignedCall
from airflow_provider_wxbank.wechatpay.settings import is_loopback
from airflow_provider_wxbank.wechatpay.tracebacks import ARGUMENTS, CAUSE

MAX_IDLE = 7.0
"""Seconds after which an idle connection is not used again. WeChat Pay closes it after 8 (Keep-Alive: timeout=8)."""

USER_AGENT = f"airflow-provider-wxbank/{__version__} Python/{python_version()} requests/{requests.__version__}"

MAX_ANSWER_BYTES = 2_000_000
"""Bytes of an answer on the wire, headers included. A page of 20 tasks, or a certificate list, has 10 kB."""

MAX_ANSWER_TIMEOUTS = 4
"""Read timeouts that a whole answer may take, headers included."""

PIECE_BYTES = 16_384
"""Bytes that are sent at a time: a record of TLS."""

UNSENT_BYTES = 131_072
"""Bytes of a request that the system may hold before they leave. Without a limit it takes a whole file at once, and a
slow line would look like an answer that does not come."""


class NotSent(Exception):
    """The connection was not made, so the request was not taken."""


class NoAnswer(Exception):
    """The request, or a part of it, was sent, and no whole answer came back.

    :ivar timed_out: whether time ran out, rather than the connection breaking.
    """

    def __init__(self, message: str, *, timed_out: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out


def not_connected_within(seconds: float) -> str:
    """Why a call was not sent: the time for connecting is over."""
    return f"no connection within {seconds:g} s (connect_timeout of the connection)"


def line_is_stuck(seconds: float) -> NoAnswer:
    """What to raise when nothing more can be sent."""
    return NoAnswer(
        f"the line took nothing more of the request for {seconds:g} s; if it is a slow one, raise read_timeout in the "
        "connection",
        timed_out=True,
    )


def no_answer_within(seconds: float) -> NoAnswer:
    """What to raise when nothing more comes."""
    return NoAnswer(f"no answer within {seconds:g} s (read_timeout of the connection)", timed_out=True)


def too_slow() -> NoAnswer:
    """What to raise when an answer comes, but not to an end."""
    return NoAnswer("the answer came too slowly", timed_out=True)


def too_long() -> NoAnswer:
    """What to raise when too many bytes come."""
    return NoAnswer(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")


def unusable_ca_file(path: str, failure: BaseException) -> str:
    """Why a call was not sent: there is nothing to check the host's certificate with."""
    return (
        f"the file of CA certificates cannot be read: {path}: {reason(failure)}; correct REQUESTS_CA_BUNDLE or "
        "CURL_CA_BUNDLE"
    )


UNUSABLE_URL = (
    "the host, or a proxy of the connection or of the environment, is not a URL that can be used; for a socks proxy, "
    "install PySocks"
)
"""Why a call was not sent. The library's own text may quote a proxy with its password."""


def check_final(status: int) -> None:
    """Check that an answer's status is that of a final answer, before its body is read.

    :raises NoAnswer: it is a redirect, or not a final answer.
    """
    if 300 <= status < 400:
        raise NoAnswer(
            f"it was answered with a redirect ({status}), which is not followed; a proxy or gateway may have answered: "
            "check the host, and what lies before it"
        )
    if not 200 <= status < 600:
        raise NoAnswer(f"what was answered is no answer: status {status}")


def ca_file() -> str:
    """The file or folder of CA certificates; the same variables in the same order as requests has them."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or str(DEFAULT_CA_BUNDLE_PATH)


def proxies_for(base_url: str, own: Mapping[str, str] | None) -> dict[str, str]:
    """The proxies for a host, by scheme. There is none for this machine, nor for plain http.

    :param own: the connection's proxies; None for the environment's.
    """
    parts = urlsplit(base_url)
    if parts.scheme == "http" or is_loopback(parts.hostname or ""):
        return {}
    return get_environ_proxies(base_url) if own is None else dict(own)


def headers_of(signed: SignedCall) -> dict[str, str]:
    """The headers of a call, but for those that tell the host and the length."""
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


def why_unverifiable(headers: Iterable[tuple[str, str]]) -> str:
    """Why an answer's signature proves nothing, whatever it is; empty if it can be checked.

    :param headers: each line of the answer's headers.
    """
    lines = [(name.title(), value) for name, value in headers]
    times = Counter(name for name, _ in lines)
    # If a header is there twice, it is not known which one was signed.
    doubled = sorted(name for name, count in times.items() if name.startswith("Wechatpay-") and count > 1)
    if doubled:
        return (
            f"the answer has {', '.join(doubled)[:200]} more than once, so its signature says nothing; a proxy or "
            "gateway may have added headers"
        )
    encodings = {
        item.strip().lower() for name, value in lines if name == "Content-Encoding" for item in value.split(",")
    }
    if encodings - {"", "identity"}:
        return (
            "the answer is compressed, although that was not asked for, so its signature cannot be checked; a proxy "
            "or gateway may have done that"
        )
    return ""


def reason(failure: BaseException) -> str:
    """The class and the text of a failure, in one line that cannot forge another."""
    found = innermost(failure)
    text = "".join(character if character.isprintable() else " " for character in _text(found))
    return f"{type(found).__name__}: {text[:200]}"


def _text(failure: BaseException) -> str:
    # An alarm's, for one, may be anybody's, and what its text raises would take the place of an unknown outcome.
    try:
        return str(failure)
    except Exception as why:
        return f"its text cannot be had ({type(why).__name__})"


def innermost(failure: BaseException) -> BaseException:
    """The failure that others wrap, as their cause or as an argument. Of a circle, the last one before it closes."""
    seen = {id(failure)}
    while (inner := _wrapped(failure)) is not None and id(inner) not in seen:
        failure = inner
        seen.add(id(inner))
    return failure


def _wrapped(failure: BaseException) -> BaseException | None:
    cause: BaseException | None = CAUSE.__get__(failure)
    arguments = [one for one in ARGUMENTS.__get__(failure) if issubclass(type(one), BaseException)]
    return cause if cause is not None else arguments[-1] if arguments else None
