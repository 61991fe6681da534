# SPDX-License-Identifier: Apache-2.0
"""Reads keys of whichever suite they belong to. What kind a key is, is told by the key itself."""

from __future__ import annotations

from hashlib import sha256

from airflow_provider_wxbank.wechatpay.crypto import rsa, sm2
from airflow_provider_wxbank.wechatpay.crypto.suites import PrivateKey, PublicKey

MAX_KEYS = 64
"""Keys that are kept: a process has one for each merchant, and a triggerer starts a wait with it again and again."""

_READ: dict[bytes, PrivateKey] = {}
"""By the digest of what they were read from; the text itself is not kept."""


def read_public_key(der: bytes) -> PublicKey:
    """A public key from its ``SubjectPublicKeyInfo``, or from PKCS#1.

    :raises UnusableKey: it is of no kind that WeChat Pay uses, or too short or too long.
    :raises ValueError: it cannot be read, or is no key; also what the library raises besides.
    """
    return sm2.read_public_key(der) if sm2.CURVE in der else rsa.read_public_key(der)


def read_private_key(der: bytes) -> PrivateKey:
    """A private key without a passphrase, PKCS#8 or PKCS#1; otherwise as :func:`read_public_key`.

    It is checked when it is first read in this process: the library takes 40 ms for that.
    """
    digest = sha256(der).digest()
    key = _READ.get(digest)
    if key is None:
        key = sm2.read_private_key(der) if sm2.CURVE in der else rsa.read_private_key(der)
        if len(_READ) >= MAX_KEYS:
            # Whoever has as many merchants reads some keys again now and then.
            _READ.clear()
        _READ[digest] = key
    return key
