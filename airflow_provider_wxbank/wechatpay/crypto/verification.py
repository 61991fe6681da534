# SPDX-License-Identifier: Apache-2.0
"""The signature of an answer (P/4013053249, P/4013053420)."""

from __future__ import annotations

import re
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from hashlib import sha256
from threading import Lock

from airflow_provider_wxbank.wechatpay.crypto.suites import PublicKey, Suite
from airflow_provider_wxbank.wechatpay.errors import Replayed, UnverifiedAnswer, WrongSignature

MAX_CLOCK_DIFFERENCE = 300
"""Seconds that an answer's time may differ from ours (P/4013053420: at most 5 minutes)."""

MAX_REMEMBERED = 1_000_000
"""Nonces that are remembered at once, in some 100 MB: enough for a steady 800 answers a second."""

_SERIAL = re.compile(r"[0-9A-Za-z_]{1,128}")
SIGNATURE_HEADERS = ("Wechatpay-Timestamp", "Wechatpay-Nonce", "Wechatpay-Serial", "Wechatpay-Signature")


def verify(
    headers: Mapping[str, str],
    body: bytes,
    key_of: Callable[[str], PublicKey],
    suite: Suite,
    now: float,
) -> None:
    """Verify an answer over its raw bytes. Signature probes (SIGNTEST) fail like any other wrong signature.

    :param headers: the answer's headers; names are matched without regard to case by the mapping itself.
    :param body: the body as received; empty for 204.
    :param key_of: gives the platform key of a serial; raises :class:`UnverifiedAnswer` if there is none.
    :param suite: the merchant's, which WeChat Pay signs with, too.
    :param now: unix seconds.
    :raises UnverifiedAnswer: the answer must not be trusted; the text says why.
    """
    check_signature(headers, body, key_of(serial_of(headers, suite, now)))


def serial_of(headers: Mapping[str, str], suite: Suite, now: float) -> str:
    """The serial of the platform key that an answer says it is signed with. Its key may have to be downloaded, so
    everything that can be checked without the key is.

    :raises UnverifiedAnswer: the answer is not signed, or too old.
    """
    missing = [name for name in SIGNATURE_HEADERS if name not in headers]
    if missing:
        raise UnverifiedAnswer(
            "the answer is unsigned; a proxy or gateway may have answered, or stripped the headers "
            f"({', '.join(missing)} missing)"
        )
    scheme = headers.get("Wechatpay-Signature-Type", suite.scheme)
    if scheme != suite.scheme:
        raise UnverifiedAnswer(
            f"the answer is signed with {scheme[:40]!r}; only {suite.scheme} goes with the merchant's {suite.name} key"
        )
    _check_time(signing_time(headers), now)
    serial = headers["Wechatpay-Serial"]
    if not _SERIAL.fullmatch(serial):
        raise UnverifiedAnswer("the answer's Wechatpay-Serial is no serial number")
    return serial


def check_signature(headers: Mapping[str, str], body: bytes, key: PublicKey) -> None:
    """Check an answer of which :func:`serial_of` gave the serial of this key.

    :raises WrongSignature: it was not signed with this key, or altered.
    """
    timestamp, nonce, serial, signature = (headers[name] for name in SIGNATURE_HEADERS)
    # Headers are decoded as latin-1, so this gives their bytes back.
    message = f"{timestamp}\n{nonce}\n".encode("latin-1", "replace") + body + b"\n"
    if not _verifies(key, message, signature):
        raise WrongSignature(
            f"the answer's signature does not verify with the platform key {serial[:64]}: the answer was "
            "altered on its way, it is a signature probe of WeChat Pay, or the connection holds another key "
            "under this serial"
        )


def _verifies(key: PublicKey, message: bytes, signature: str) -> bool:
    try:
        return key.verify(message, b64decode(signature, validate=True))
    except ValueError:  # what is not Base64
        return False


def signing_time(headers: Mapping[str, str]) -> int:
    """When an answer says that it was signed, in unix seconds.

    :raises UnverifiedAnswer: it says no time.
    """
    timestamp = headers["Wechatpay-Timestamp"]
    # int() would also take signs, blanks, underscores and the digits of other scripts.
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise UnverifiedAnswer("the answer's Wechatpay-Timestamp is not a time in unix seconds")
    return int(timestamp)


def _check_time(signed: int, now: float) -> None:
    difference = signed - now
    if abs(difference) > MAX_CLOCK_DIFFERENCE:
        raise UnverifiedAnswer(
            f"the answer was signed {abs(difference):.0f} s {'after' if difference > 0 else 'before'} this "
            f"machine's time; at most {MAX_CLOCK_DIFFERENCE} s are allowed: check this machine's clock"
        )


class Nonces:
    """The nonces of accepted answers, so that each answer is accepted once; safe to use from many threads.

    An answer verifies from 5 minutes before its time to 5 minutes after it, so its nonce is kept for at least ten
    minutes. There are two halves, of which the older is dropped as a whole. No nonce is forgotten early for lack of
    room: no more answers are accepted until there is room again.

    :param limit: nonces that are kept.
    :param clock: seconds that only grow. A clock that is set back must not let an answer in again.
    """

    def __init__(self, limit: int = MAX_REMEMBERED, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._lock = Lock()
        self._newer: set[bytes] = set()
        self._older: set[bytes] = set()
        self._begun_at = clock()

    def take(self, nonce: str) -> None:
        """Remember the nonce of a verified answer.

        :raises Replayed: it was taken before.
        :raises UnverifiedAnswer: there is no room to remember it.
        """
        # A nonce may be of any length; a digest of it is not.
        digest = sha256(nonce.encode("utf-8", "replace")).digest()[:16]
        with self._lock:
            self._forget()
            if digest in self._newer or digest in self._older:
                raise Replayed(
                    "the answer was given before: something on the way, a cache perhaps, repeats WeChat Pay's answers"
                )
            if len(self._newer) + len(self._older) >= self._limit:
                raise UnverifiedAnswer(
                    f"{self._limit} answers came within some minutes, and whether this one was given before could not "
                    "be told later: make fewer calls at a time"
                )
            self._newer.add(digest)

    def _forget(self) -> None:
        age = self._clock() - self._begun_at
        if age > 2 * MAX_CLOCK_DIFFERENCE:
            # After a long silence the newer half is too old as well.
            self._older = self._newer if age <= 4 * MAX_CLOCK_DIFFERENCE else set()
            self._newer = set()
            self._begun_at = self._clock()


BELIEVED = Nonces()
"""Those of this process. A replay must be refused whichever client has accepted the answer, and a process has many
clients for one merchant: each hook makes its own. A client can be given another store as an argument."""
