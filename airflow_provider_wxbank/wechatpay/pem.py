"""PEM texts as people paste them: real newlines, ``\\n`` written out, or everything on one line."""

from __future__ import annotations

import re

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials

MIN_KEY_BITS = 2048
MAX_KEY_BITS = 8192
MAX_PEM_CHARACTERS = 64_000
MAX_BLOCK_BYTES = 6_500
"""A private key of 8192 bits has 6,392. The check of a longer one could take hours."""

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----([A-Za-z0-9+/=\s]*)-----END \1-----")


def normalized(text: str, what: str) -> bytes:
    """The one PEM block in a text, laid out as RFC 7468 wants it.

    :param what: how messages name the text, for example ``merchant_private_key``.
    :raises InvalidCredentials: there is no PEM block, or more than one.
    """
    if len(text) > MAX_PEM_CHARACTERS:
        raise InvalidCredentials(f"{what} is longer than {MAX_PEM_CHARACTERS} characters: it is no PEM key")
    if text.strip() == "***":
        raise InvalidCredentials(f"{what} is ***, what Airflow shows in the place of a secret: fill in the key itself")
    blocks = _BLOCK.findall(text.replace("\\r", "").replace("\\n", "\n"))
    if len(blocks) != 1:
        raise InvalidCredentials(
            f"{what} must hold exactly one PEM block (-----BEGIN ...----- to -----END ...-----), "
            f"but {len(blocks)} were found; paste the whole file, first and last line included"
        )
    label, body = blocks[0]
    base64 = "".join(body.split())
    lines = [base64[start : start + 64] for start in range(0, len(base64), 64)]
    block = "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""]).encode()
    if len(block) > MAX_BLOCK_BYTES:
        raise InvalidCredentials(f"{what} is longer than an RSA key of {MAX_KEY_BITS} bits")
    return block


def load_private_key(text: str, what: str) -> RSAPrivateKey:
    """The merchant's private key from ``apiclient_key.pem``, PKCS#8 or PKCS#1, without a passphrase.

    :raises InvalidCredentials: it cannot be read, or is not an RSA key of 2048 bits or more.
    """
    pem = normalized(text, what)
    try:
        key = load_pem_private_key(pem, password=None)
    except Exception:
        # The library's own text is left out: it may quote what it could not read.
        raise InvalidCredentials(
            f"{what} is not a readable private key: expected apiclient_key.pem without a passphrase (PKCS#8 or PKCS#1)"
        ) from None
    if not isinstance(key, RSAPrivateKey):
        raise InvalidCredentials(f"{what} is not an RSA key")
    _check_size(key.key_size, what)
    return key


def load_public_key(text: str, what: str) -> RSAPublicKey:
    """WeChat Pay's public key from ``pub_key.pem``.

    :raises InvalidCredentials: it cannot be read, or is not an RSA key of 2048 bits or more.
    """
    pem = normalized(text, what)
    try:
        key = load_pem_public_key(pem)
    except Exception:
        raise InvalidCredentials(
            f"{what} is not a readable public key: expected pub_key.pem of WeChat Pay (-----BEGIN PUBLIC KEY-----)"
        ) from None
    return _rsa_public_key(key, what)


def load_certificate(pem: bytes, what: str) -> tuple[x509.Certificate, RSAPublicKey]:
    """A certificate and its public key.

    :raises InvalidCredentials: it cannot be read, or its key is not an RSA key of 2048 bits or more.
    """
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key = certificate.public_key()
    except Exception:
        raise InvalidCredentials(f"{what} is not a readable certificate") from None
    return certificate, _rsa_public_key(key, what)


def _rsa_public_key(key: object, what: str) -> RSAPublicKey:
    if not isinstance(key, RSAPublicKey):
        raise InvalidCredentials(f"{what} is not an RSA key")
    _check_size(key.key_size, what)
    return key


def _check_size(bits: int, what: str) -> None:
    if not MIN_KEY_BITS <= bits <= MAX_KEY_BITS:
        raise InvalidCredentials(f"{what} has {bits} bits; WeChat Pay uses RSA keys of {MIN_KEY_BITS} bits or more")
