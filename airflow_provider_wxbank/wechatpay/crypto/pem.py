# SPDX-License-Identifier: Apache-2.0
"""Keys as people have them: PEM texts and files in any layout. If a text is no usable key, errors say what it is."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar
from urllib.parse import unquote_plus

from cryptography import x509

from airflow_provider_wxbank.wechatpay.crypto.der import FIRST, members
from airflow_provider_wxbank.wechatpay.crypto.keys import read_private_key, read_public_key
from airflow_provider_wxbank.wechatpay.crypto.suites import NeedsPackage, PrivateKey, PublicKey, UnusableKey
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials
from airflow_provider_wxbank.wechatpay.fields import visible

MAX_PEM_CHARACTERS = 64_000
MAX_PEM_BYTES = 2 * MAX_PEM_CHARACTERS + 2
"""Bytes of a file, in UTF-16 with its byte order mark."""
MAX_BLOCK_BASE64 = 6_300
"""A private key of 8192 bits has some 6,250 characters. Checking a longer one could take hours."""
LINE = 64
"""Characters of Base64 in a line (RFC 7468)."""
MIN_LINE = 8
"""A shorter last line would be found in any text."""

# Autocorrection makes dashes longer and fewer; whoever copies by hand may miss one.
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−﹘﹣－", "-"))
_BORDER = re.compile(r"-{2,10}\s{0,3}(BEGIN|END)\s{1,3}([A-Z0-9 ]{1,40}?)\s{0,3}-{2,10}")
_HEADER = re.compile(r"^[A-Za-z-]+: .*$", re.MULTILINE)
_BODY = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_RUN = re.compile(r"[A-Za-z0-9+/=]{17,}")
_PLACE_OF_KEY = 5
"""After serial number, algorithm, issuer, validity and subject (RFC 5280)."""

_SM2_CURVE = bytes.fromhex("06082a811ccf5501822d")

_PRIVATE = ("PRIVATE KEY", "RSA PRIVATE KEY")
_PUBLIC = ("PUBLIC KEY", "RSA PUBLIC KEY")
_PKCS12 = "is a PKCS#12 file (.p12, .pfx)"
# What an unwanted block is, by its label, the most telling first.
_LABELS = (
    (("ENCRYPTED PRIVATE KEY",), "is encrypted, and no passphrase is taken"),
    (("EC PRIVATE KEY", "SM2 PRIVATE KEY"), "is an elliptic curve's key, not an RSA key, nor an SM2 key in PKCS#8"),
    (("OPENSSH PRIVATE KEY",), "is a key of SSH"),
    (_PRIVATE, "is a private key"),
    (_PUBLIC, "is a public key"),
    (("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"), "is a certificate"),
    (("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"), "is a request for a certificate"),
)

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A kind of key: its labels, and what a person is advised to take."""

    labels: tuple[str, ...]
    name: str
    advice: str


_PRIVATE_KEY = _Wanted(
    _PRIVATE, "private key", "take the whole apiclient_key.pem as it was downloaded (BEGIN PRIVATE KEY)"
)
_PUBLIC_KEY = _Wanted(_PUBLIC, "public key", "take the whole pub_key.pem of WeChat Pay (BEGIN PUBLIC KEY)")


@dataclass(frozen=True, slots=True)
class _Block:
    """A block of a PEM: its label, and its body as it was found."""

    label: str
    body: str

    @property
    def base64(self) -> str:
        return "".join(self.body.split())

    def der(self) -> bytes:
        """:raises ValueError: it is not Base64."""
        return b64decode(self.base64, validate=True)


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
        certificate = x509.load_pem_x509_certificate(pem)
        # The library does not read keys of every suite, and so does not give their bytes either.
        fields = [one.der for one in members(certificate.tbs_certificate_bytes) if one.tag != FIRST]
        return certificate, read_public_key(fields[_PLACE_OF_KEY])
    except UnusableKey as failure:
        raise InvalidCredentials(f"{what} {failure}") from None
    except Exception:
        raise InvalidCredentials(f"{what} is not a readable certificate") from None


def decoded(data: bytes, what: str) -> str:
    """The text of a key file, in whichever encoding it is; for DER, its Base64.

    :raises InvalidCredentials: it is too long.
    """
    if len(data) > MAX_PEM_BYTES:
        raise InvalidCredentials(f"{what} is longer than {MAX_PEM_BYTES} bytes: it is no PEM key")
    if _is_pkcs12(data) or _der_size(data) == len(data):
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
    text = _repaired(text[:MAX_PEM_CHARACTERS])
    lines = {line for block in _blocks(text) for line in _in_lines(block.base64) if len(line) >= MIN_LINE}
    return lines.union(_RUN.findall(text))


def _load(text: str, what: str, wanted: _Wanted, load: Callable[[bytes], Key]) -> Key:
    """The one key of the wanted kind in a text.

    The library's own errors are left out: they may quote what could not be read.
    """
    if len(text) > MAX_PEM_CHARACTERS:
        raise InvalidCredentials(f"{what} is longer than {MAX_PEM_CHARACTERS} characters: it is no PEM key")
    text = _repaired(text)
    blocks = _blocks(text)
    found = list({block.base64: block for block in blocks if block.label in wanted.labels}.values())
    if len(found) > 1:
        raise InvalidCredentials(f"{what} has {len(found)} different {wanted.name}s: leave the one that is meant")
    if not found:
        told = _told_by_labels(blocks) if blocks else _told_without_blocks(text)
        raise InvalidCredentials(f"{what} {told}: {wanted.advice}")
    if len(found[0].base64) > MAX_BLOCK_BASE64:
        raise InvalidCredentials(f"{what} is longer than the longest key, an RSA key of 8192 bits")
    try:
        return load(found[0].der())
    except NeedsPackage as failure:
        raise InvalidCredentials(f"{what} {failure}") from None
    except UnusableKey as failure:
        raise InvalidCredentials(f"{what} {failure}: {wanted.advice}") from None
    except Exception:
        told = _damage(found[0], load)
    raise InvalidCredentials(f"{what} is not a readable {wanted.name}: {told}: {wanted.advice}")


def _repaired(text: str) -> str:
    """Line breaks that are written out, escaped once or more often, become real ones; dashes become plain."""
    text = re.sub(r"(?<!\\)\\+[nr]", "\n", visible(text))
    # Any other backslash escapes a slash, or the end of a line.
    return text.replace("\\", "").translate(_DASHES)


def _blocks(text: str) -> list[_Block]:
    """Every complete block; what stands around them, such as comments and bag attributes, is left out."""
    borders = list(_BORDER.finditer(text))
    blocks = []
    for begin, end in pairwise(borders):
        if (begin[1], end[1]) == ("BEGIN", "END") and begin[2] == end[2]:
            label, body = begin[2], text[begin.end() : end.start()]
            # PKCS#1 says so in a header of the body, under its usual label.
            if "ENCRYPTED" in body:
                label = "ENCRYPTED PRIVATE KEY"
            blocks.append(_Block(label, _HEADER.sub("", body)))
    return blocks


def _told_by_labels(blocks: Sequence[_Block]) -> str:
    labels = {block.label for block in blocks}
    return next((told for some, told in _LABELS if labels.intersection(some)), "is another kind of PEM")


def _told_without_blocks(text: str) -> str:
    """What a text without a whole block is."""
    stripped = text.strip()
    ends = {border[1] for border in _BORDER.finditer(text)}
    if stripped == "***":
        return "is ***, what Airflow shows in the place of a secret"
    if ends:
        first, last = "the line -----BEGIN ...-----", "the line -----END ...-----"
        return f"lacks {last if ends == {'BEGIN'} else first if ends == {'END'} else 'a line of dashes that fits'}"
    if "%" in text and _BORDER.search(unquote_plus(text)):
        return "is in a URL's form, with %0A and %2B"
    if len(stripped) < 400 and stripped.endswith((".pem", ".key", ".p12", ".pfx")):
        return "looks like a path, which belongs into the field whose name ends with _file; or"
    der = _der("".join(stripped.split()))
    if der is None:
        return "holds no PEM"
    return _PKCS12 if _is_pkcs12(der) else "is DER, or Base64 without the lines of dashes"


def _in_lines(base64: str) -> list[str]:
    return [base64[start : start + LINE] for start in range(0, len(base64), LINE)]


def _damage(block: _Block, load: Callable[[bytes], object]) -> str:
    """Why a block of the right kind cannot be read."""
    base64 = block.base64
    if not _BODY.fullmatch(base64):
        return "it has characters that no key has"
    if _has_blanks_for_plus(block, load):
        return 'its "+" have become blanks, as in a URL or a web form'
    der = _der(base64[: len(base64) // 4 * 4])
    if der is not None and _SM2_CURVE in der:
        return "it is an SM2 key that was changed, or is not in the form in which WeChat Pay hands them out"
    size = _der_size(der or b"")
    if size is None or size > MAX_BLOCK_BASE64:
        return "its first line is missing or was changed"
    have, want = len(base64), -(-size // 3) * 4
    if have < want:
        return f"{-(-(want - have) // LINE)} line(s) or a part of one are missing"
    if have > want:
        return "a line is there twice, or something was added"
    return "it was changed, or is of another kind"


def _has_blanks_for_plus(block: _Block, load: Callable[[bytes], object]) -> bool:
    lines = block.body.strip("\r\n").splitlines()
    if len(lines) == 1:
        # Its line breaks have become blanks, too.
        lines = [lines[0].strip(" ")[start : start + LINE] for start in range(0, len(lines[0]), LINE + 1)]
    if not any(" " in line for line in lines):
        return False
    try:
        load(_Block(block.label, "\n".join(line.replace(" ", "+") for line in lines)).der())
    except Exception:
        return False
    return True


def _der(base64: str) -> bytes | None:
    """What Base64 holds if it is a key, a certificate or a store of these."""
    try:
        data = b64decode(base64, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if data[:1] == b"\x30" else None


def _der_size(der: bytes) -> int | None:
    """How many bytes a DER sequence says it has."""
    if len(der) < 4 or der[:1] != b"\x30":
        return None
    count = der[1] - 0x80
    if count < 0:
        return 2 + der[1]
    return 2 + count + int.from_bytes(der[2 : 2 + count], "big") if count in (1, 2, 3) else None


def _is_pkcs12(data: bytes) -> bool:
    """Whether DER begins as a PKCS#12 store does: a sequence whose first member is the number 3 (RFC 7292)."""
    if len(data) < 8 or data[:1] != b"\x30":
        return False
    start = 2 + max(data[1] - 0x80, 0)
    return data[start : start + 4] == b"\x02\x01\x03\x30"
