# SPDX-License-Identifier: Apache-2.0
"""Keys as people have them: PEM texts and files in any layout. If a text is no usable key, errors say what it is."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from cryptography import x509

from airflow_provider_wxbank.wechatpay.crypto.der import FIRST, members
from airflow_provider_wxbank.wechatpay.crypto.keys import read_private_key, read_public_key
from airflow_provider_wxbank.wechatpay.crypto.pem_blocks import (
    CERTIFICATE,
    LINE,
    MIN_LINE,
    PRIVATE,
    PUBLIC,
    Block,
    blocks_of,
    der_of,
    der_size,
    in_lines,
    is_pkcs12,
    repaired,
    told_by_labels,
    told_without_blocks,
)
from airflow_provider_wxbank.wechatpay.crypto.suites import NeedsPackage, PrivateKey, PublicKey, UnusableKey
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials

MAX_PEM_CHARACTERS = 64_000
MAX_PEM_BYTES = 2 * MAX_PEM_CHARACTERS + 2
"""Bytes of a file, in UTF-16 with its byte order mark."""
MAX_BLOCK_BASE64 = 6_300
"""A private key of 8192 bits has some 6,250 characters. Checking a longer one could take hours."""
_BODY = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_RUN = re.compile(r"[A-Za-z0-9+/=]{17,}")
_PLACE_OF_KEY = 5
"""After serial number, algorithm, issuer, validity and subject (RFC 5280)."""

_SM2_CURVE = bytes.fromhex("06082a811ccf5501822d")

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A kind of key: its labels, and what a person is advised to take."""

    labels: tuple[str, ...]
    name: str
    advice: str


_PRIVATE_KEY = _Wanted(
    PRIVATE, "private key", "take the whole apiclient_key.pem as it was downloaded (BEGIN PRIVATE KEY)"
)
_PUBLIC_KEY = _Wanted(PUBLIC, "public key", "take the whole pub_key.pem of WeChat Pay (BEGIN PUBLIC KEY)")
_CERTIFICATE = _Wanted(
    CERTIFICATE,
    "certificate",
    "take WeChat Pay's root certificate as PEM (BEGIN CERTIFICATE); a .p7b file becomes PEM by openssl pkcs7 "
    "-inform der -print_certs",
)


def load_private_key(text: str, what: str) -> PrivateKey:
    """The merchant's private key from ``apiclient_key.pem``, PKCS#8 or PKCS#1, without a passphrase.

    :param what: how messages name the text, for example ``merchant_private_key``.
    :raises InvalidCredentials: it does not hold exactly one readable key of a suite, of a length that this suite has.
    """
    return _load(text, what, _PRIVATE_KEY, read_private_key)


def load_public_key(text: str, what: str) -> PublicKey:
    """WeChat Pay's public key from ``pub_key.pem``; otherwise like :func:`load_private_key`."""
    return _load(text, what, _PUBLIC_KEY, read_public_key)


def load_certificate(pem: bytes, what: str) -> tuple[x509.Certificate, PublicKey]:
    """A certificate and its public key.

    :raises InvalidCredentials: it cannot be read, or its key is none of a suite.
    """
    try:
        return _with_key(x509.load_pem_x509_certificate(pem))
    except UnusableKey as failure:
        raise InvalidCredentials(f"{what} {failure}") from None
    except Exception:
        raise InvalidCredentials(f"{what} is not a readable certificate") from None


def load_certificates(text: str, what: str) -> list[tuple[x509.Certificate, PublicKey]]:
    """All certificates in a text, each with its public key; otherwise like :func:`load_private_key`."""

    def load(der: bytes) -> tuple[x509.Certificate, PublicKey]:
        return _with_key(x509.load_der_x509_certificate(der))

    return [_read(block, what, _CERTIFICATE, load) for block in _blocks(text, what, _CERTIFICATE)]


def _with_key(certificate: x509.Certificate) -> tuple[x509.Certificate, PublicKey]:
    # The library does not read keys of every suite, and so does not give their bytes either.
    fields = [one.der for one in members(certificate.tbs_certificate_bytes) if one.tag != FIRST]
    return certificate, read_public_key(fields[_PLACE_OF_KEY])


def decoded(data: bytes, what: str) -> str:
    """The text of a key file, in whichever encoding it is; for DER, its Base64.

    :raises InvalidCredentials: it is too long.
    """
    if len(data) > MAX_PEM_BYTES:
        raise InvalidCredentials(f"{what} is longer than {MAX_PEM_BYTES} bytes: it is no PEM key")
    if is_pkcs12(data) or der_size(data) == len(data):
        return b64encode(data).decode()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        # Perhaps a comment in another encoding. The PEM itself is ASCII.
        return data.decode("latin-1")


def key_lines(text: str) -> set[str]:
    """Pieces of a text that would give a key away: its lines as they are written, and as a PEM has them."""
    text = repaired(text[:MAX_PEM_CHARACTERS])
    lines = {line for block in blocks_of(text) for line in in_lines(block.base64) if len(line) >= MIN_LINE}
    return lines.union(_RUN.findall(text))


def _load(text: str, what: str, wanted: _Wanted, load: Callable[[bytes], Key]) -> Key:
    """The one key of the wanted kind in a text."""
    found = _blocks(text, what, wanted)
    if len(found) > 1:
        raise InvalidCredentials(f"{what} has {len(found)} different {wanted.name}s: leave the one that is meant")
    return _read(found[0], what, wanted, load)


def _blocks(text: str, what: str, wanted: _Wanted) -> list[Block]:
    """The different blocks of the wanted kind in a text, one or more."""
    if len(text) > MAX_PEM_CHARACTERS:
        raise InvalidCredentials(f"{what} is longer than {MAX_PEM_CHARACTERS} characters: it is no PEM key")
    text = repaired(text)
    blocks = blocks_of(text)
    found = list({block.base64: block for block in blocks if block.label in wanted.labels}.values())
    if not found:
        told = told_by_labels(blocks) if blocks else told_without_blocks(text)
        raise InvalidCredentials(f"{what} {told}: {wanted.advice}")
    return found


def _read(block: Block, what: str, wanted: _Wanted, load: Callable[[bytes], Key]) -> Key:
    """What a block holds. The library's own errors are left out: they may quote what could not be read."""
    if len(block.base64) > MAX_BLOCK_BASE64:
        raise InvalidCredentials(f"{what} is longer than the longest key, an RSA key of 8192 bits")
    try:
        return load(block.der())
    except NeedsPackage as failure:
        raise InvalidCredentials(f"{what} {failure}") from None
    except UnusableKey as failure:
        raise InvalidCredentials(f"{what} {failure}: {wanted.advice}") from None
    except Exception:
        told = _damage(block, load)
    raise InvalidCredentials(f"{what} is not a readable {wanted.name}: {told}: {wanted.advice}")


def _damage(block: Block, load: Callable[[bytes], object]) -> str:
    """Why a block of the right kind cannot be read."""
    base64 = block.base64
    if not _BODY.fullmatch(base64):
        return "it has characters that no key has"
    if _has_blanks_for_plus(block, load):
        return 'its "+" have become blanks, as in a URL or a web form'
    der = der_of(base64[: len(base64) // 4 * 4])
    if der is not None and _SM2_CURVE in der:
        return "it is an SM2 key that was changed, or is not in the form in which WeChat Pay hands them out"
    size = der_size(der or b"")
    if size is None or size > MAX_BLOCK_BASE64:
        return "its first line is missing or was changed"
    have, want = len(base64), -(-size // 3) * 4
    if have < want:
        return f"{-(-(want - have) // LINE)} line(s) or a part of one are missing"
    if have > want:
        return "a line is there twice, or something was added"
    return "it was changed, or is of another kind"


def _has_blanks_for_plus(block: Block, load: Callable[[bytes], object]) -> bool:
    lines = block.body.strip("\r\n").splitlines()
    if len(lines) == 1:
        # Its line breaks have become blanks, too.
        lines = [lines[0].strip(" ")[start : start + LINE] for start in range(0, len(lines[0]), LINE + 1)]
    if not any(" " in line for line in lines):
        return False
    try:
        load(Block(block.label, "\n".join(line.replace(" ", "+") for line in lines)).der())
    except Exception:
        return False
    return True
