"""The signature of an answer (P/4013053249, P/4013053420)."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from airflow_provider_wxbank.wechatpay.errors import UnverifiedAnswer, WrongSignature
from airflow_provider_wxbank.wechatpay.signing import SCHEME

MAX_CLOCK_DIFFERENCE = 300
"""Seconds that an answer's time may differ from ours (P/4013053420: at most 5 minutes)."""

_SERIAL = re.compile(r"[0-9A-Za-z_]{1,128}")
_HEADERS = ("Wechatpay-Timestamp", "Wechatpay-Nonce", "Wechatpay-Serial", "Wechatpay-Signature")


def verify(
    headers: Mapping[str, str],
    body: bytes,
    key_of: Callable[[str], RSAPublicKey],
    now: float,
) -> None:
    """Verify an answer over its raw bytes. Signature probes (SIGNTEST) fail like any other wrong signature.

    :param headers: the answer's headers; names are matched without regard to case by the mapping itself.
    :param body: the body as received; empty for 204.
    :param key_of: gives the platform key of a serial; raises :class:`UnverifiedAnswer` if there is none.
    :param now: unix seconds.
    :raises UnverifiedAnswer: the answer must not be believed; the text says why.
    """
    missing = [name for name in _HEADERS if name not in headers]
    if missing:
        raise UnverifiedAnswer(
            f"the answer is not signed ({', '.join(missing)} missing); a proxy or gateway may have answered, "
            "or stripped the headers"
        )
    timestamp, nonce, serial, signature = (headers[name] for name in _HEADERS)
    scheme = headers.get("Wechatpay-Signature-Type", SCHEME)
    if scheme != SCHEME:
        raise UnverifiedAnswer(f"the answer is signed with {scheme[:40]!r}; only {SCHEME} is supported")
    _check_time(timestamp, now)
    if not _SERIAL.fullmatch(serial):
        raise UnverifiedAnswer("the answer's Wechatpay-Serial is no serial number")
    key = key_of(serial)
    message = f"{timestamp}\n{nonce}\n".encode("latin-1", "replace") + body + b"\n"
    try:
        key.verify(b64decode(signature, validate=True), message, PKCS1v15(), SHA256())
    except (binascii.Error, ValueError, InvalidSignature):
        raise WrongSignature(
            f"the answer's signature does not verify with the platform key {serial[:64]}: the answer was "
            "altered on its way, it is a signature probe of WeChat Pay, or the connection holds another key "
            "under this serial"
        ) from None


def _check_time(timestamp: str, now: float) -> None:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise UnverifiedAnswer("the answer's Wechatpay-Timestamp is not a time in unix seconds")
    difference = int(timestamp) - now
    if abs(difference) > MAX_CLOCK_DIFFERENCE:
        raise UnverifiedAnswer(
            f"the answer was signed {abs(difference):.0f} s {'after' if difference > 0 else 'before'} this "
            f"machine's time; at most {MAX_CLOCK_DIFFERENCE} s are allowed: check this machine's clock"
        )
