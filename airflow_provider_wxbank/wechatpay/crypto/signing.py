# SPDX-License-Identifier: Apache-2.0
"""The Authorization of a request (P/4012365334, P/4012365344)."""

from __future__ import annotations

import secrets
from base64 import b64encode
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

SCHEME = "WECHATPAY2-SHA256-RSA2048"


@dataclass(frozen=True, slots=True)
class Merchant:
    """The merchant in whose name requests are signed.

    :param mchid: merchant id.
    :param serial_no: serial number of the merchant's API certificate, hexadecimal.
    :param private_key: the key of that certificate.
    """

    mchid: str
    serial_no: str
    private_key: RSAPrivateKey = field(repr=False)


def string_to_sign(method: str, url: str, timestamp: int, nonce: str, body: bytes) -> bytes:
    """The five lines that are signed, each ended by a newline (P/4012365334).

    :param url: path and query, exactly as sent.
    :param timestamp: unix seconds; WeChat Pay accepts 5 minutes around its own clock.
    :param body: the body; for an upload only the bytes of its ``meta`` part; empty for GET.
    """
    return b"%s\n%s\n%d\n%s\n%s\n" % (method.upper().encode(), url.encode(), timestamp, nonce.encode(), body)


def authorization(merchant: Merchant, message: bytes, timestamp: int, nonce: str) -> str:
    """The value of the ``Authorization`` header for a string to sign."""
    # The scheme is "SHA256 with RSA": padded by PKCS#1 v1.5, not PSS.
    signature = b64encode(merchant.private_key.sign(message, PKCS1v15(), SHA256())).decode()
    return (
        f'{SCHEME} mchid="{merchant.mchid}",nonce_str="{nonce}",signature="{signature}",'
        f'timestamp="{timestamp}",serial_no="{merchant.serial_no}"'
    )


def random_nonce() -> str:
    """32 upper-case hexadecimal characters from 16 random bytes (P/4012365334)."""
    return secrets.token_hex(16).upper()
