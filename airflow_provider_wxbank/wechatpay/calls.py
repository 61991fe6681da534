# SPDX-License-Identifier: Apache-2.0
"""A call, its signed form, and its answer, as values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlencode

from urllib3.util import parse_url

from airflow_provider_wxbank.wechatpay.crypto.signing import Merchant, authorization, random_nonce, string_to_sign
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, UnverifiedAnswer

_PATH = re.compile(r"/[A-Za-z0-9_.~!$&'()*+,;=:@%/-]*")


@dataclass(frozen=True, slots=True)
class Call:
    """What to send, the same for every attempt.

    :param target: path and query, percent-encoded.
    :param signed_body: what the signature covers: the body, or the ``meta`` part of an upload.
    :param serial_no: the platform key that encrypted something in the body, or that should sign the answer.
    :param repeatable: whether sending it twice has the same effect as sending it once.
    :param endpoint: which of the endpoints that this package knows it is for: a name for metrics.
    """

    method: str
    target: str
    signed_body: bytes = field(default=b"", repr=False)
    body: bytes | None = field(default=None, repr=False)
    content_type: str | None = None
    serial_no: str | None = None
    repeatable: bool = True
    endpoint: str = "other"

    def __str__(self) -> str:
        return f"{self.method} {self.target}"


@dataclass(frozen=True, slots=True)
class SignedCall:
    """A call as one attempt sends it.

    :param target: path and query as they go over the wire.
    :param message: the string that was signed, for error messages.
    :param authorization: the value of the header.
    :param signed_at: unix seconds.
    """

    call: Call
    target: str
    message: bytes = field(repr=False)
    authorization: str = field(repr=False)
    signed_at: int


def sign(call: Call, merchant: Merchant, now: float) -> SignedCall:
    """Sign a call, with a nonce of its own.

    :param now: unix seconds.
    """
    # urllib3 normalizes what it sends, so its form has to be signed.
    target = parse_url(call.target).request_uri
    timestamp, nonce = int(now), random_nonce()
    message = string_to_sign(call.method, target, timestamp, nonce, call.signed_body)
    return SignedCall(call, target, message, authorization(merchant, message, timestamp, nonce), timestamp)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as received. Nothing in it can be trusted before it is verified.

    :param unverifiable: why its signature proves nothing, whatever it is; empty if it can be checked.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    unverifiable: str = ""

    @property
    def is_success(self) -> bool:
        """Whether its status says that the call was processed; 202 says that it is not processed yet."""
        return 200 <= self.status < 300 and self.status != 202

    @property
    def request_id(self) -> str:
        """WeChat Pay's name for this request, for its support."""
        # Errors quote it before anything is verified, so it must be a short text in one line.
        return "".join(filter(str.isprintable, self.headers.get("Request-ID", "")))[:100]

    def clock_difference(self, now: float) -> float | None:
        """Seconds by which this machine's clock is ahead of the answer's ``Date``; None if it has none.

        :param now: unix seconds.
        """
        # The Date of any answer will do: it is only used for advice about the clock.
        try:
            return now - parsedate_to_datetime(self.headers["Date"]).timestamp()
        except (KeyError, ValueError, TypeError, OverflowError):
            return None


def compact_json(value: object) -> bytes:
    """UTF-8 JSON without spaces: the bytes that are signed and sent."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def target(path: str, params: Mapping[str, object] | None = None) -> str:
    """Path and query as they go over the wire; parameters that are None are left out.

    :raises InvalidInput: the path is not one, or has its own query.
    """
    # What follows two slashes would be taken for a host.
    if not _PATH.fullmatch(path) or path.startswith("//"):
        raise InvalidInput(f"{path[:100]!r} is not a path like /v3/certificates (query goes into params)")
    query = urlencode({name: value for name, value in (params or {}).items() if value is not None}, quote_via=quote)
    return f"{path}?{query}" if query else path


def call_of(
    method: str,
    path: str,
    params: Mapping[str, object] | None,
    value: object,
    serial_no: str | None,
    repeatable: bool | None,
) -> Call:
    """A call of any endpoint.

    :param value: what its body says as JSON; None for no body.
    :param repeatable: by default whether it is a GET.
    """
    method = method.upper()
    body = b"" if value is None else compact_json(value)
    return Call(
        method,
        target(path, params),
        body,
        None if value is None else body,
        None if value is None else "application/json",
        serial_no,
        method == "GET" if repeatable is None else repeatable,
    )


def parsed(answer: Answer) -> Any:
    """The JSON of a verified answer; None for an empty body.

    :raises UnverifiedAnswer: it is not JSON.
    """
    if not answer.body:
        return None
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):  # the latter for endless opening brackets
        raise UnverifiedAnswer(f"the answer is not JSON [Request-ID {answer.request_id}]") from None
