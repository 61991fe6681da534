# SPDX-License-Identifier: Apache-2.0
"""Blocks of PEM in texts as people have them, and what a text is that has no block of the wanted kind."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import unquote_plus

from airflow_provider_wxbank.wechatpay.fields import visible

LINE = 64
"""Characters of Base64 in a line (RFC 7468)."""
MIN_LINE = 8
"""A shorter last line would be found in any text."""

# Autocorrection makes dashes longer and fewer; whoever copies by hand may miss one.
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−﹘﹣－", "-"))
_BORDER = re.compile(r"-{2,10}\s{0,3}(BEGIN|END)\s{1,3}([A-Z0-9 ]{1,40}?)\s{0,3}-{2,10}")
_HEADER = re.compile(r"^[A-Za-z-]+: .*$", re.MULTILINE)

PRIVATE = ("PRIVATE KEY", "RSA PRIVATE KEY")
PUBLIC = ("PUBLIC KEY", "RSA PUBLIC KEY")
CERTIFICATE = ("CERTIFICATE", "X509 CERTIFICATE")
_PKCS12 = "is a PKCS#12 file (.p12, .pfx)"
# What an unwanted block is, by its label, the most telling first.
_LABELS = (
    (("ENCRYPTED PRIVATE KEY",), "is encrypted, and no passphrase is taken"),
    (("EC PRIVATE KEY", "SM2 PRIVATE KEY"), "is an elliptic curve's key, not an RSA key, nor an SM2 key in PKCS#8"),
    (("OPENSSH PRIVATE KEY",), "is a key of SSH"),
    (PRIVATE, "is a private key"),
    (PUBLIC, "is a public key"),
    ((*CERTIFICATE, "TRUSTED CERTIFICATE"), "is a certificate"),
    (("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"), "is a request for a certificate"),
)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a PEM: its label, and its body as it was found."""

    label: str
    body: str

    @property
    def base64(self) -> str:
        return "".join(self.body.split())

    def der(self) -> bytes:
        """:raises ValueError: it is not Base64."""
        return b64decode(self.base64, validate=True)


def repaired(text: str) -> str:
    """Line breaks that are written out, escaped once or more often, become real ones; dashes become plain."""
    text = re.sub(r"(?<!\\)\\+[nr]", "\n", visible(text))
    # Any other backslash escapes a slash, or the end of a line.
    return text.replace("\\", "").translate(_DASHES)


def blocks_of(text: str) -> list[Block]:
    """Every complete block; what stands around them, such as comments and bag attributes, is left out."""
    borders = list(_BORDER.finditer(text))
    blocks = []
    for begin, end in pairwise(borders):
        if (begin[1], end[1]) == ("BEGIN", "END") and begin[2] == end[2]:
            label, body = begin[2], text[begin.end() : end.start()]
            # PKCS#1 says so in a header of the body, under its usual label.
            if "ENCRYPTED" in body:
                label = "ENCRYPTED PRIVATE KEY"
            blocks.append(Block(label, _HEADER.sub("", body)))
    return blocks


def told_by_labels(blocks: Sequence[Block]) -> str:
    labels = {block.label for block in blocks}
    return next((told for some, told in _LABELS if labels.intersection(some)), "is another kind of PEM")


def told_without_blocks(text: str) -> str:
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
    der = der_of("".join(stripped.split()))
    if der is None:
        return "holds no PEM"
    return _PKCS12 if is_pkcs12(der) else "is DER, or Base64 without the lines of dashes"


def in_lines(base64: str) -> list[str]:
    return [base64[start : start + LINE] for start in range(0, len(base64), LINE)]


def der_of(base64: str) -> bytes | None:
    """What Base64 holds if it is a key, a certificate or a store of these."""
    try:
        data = b64decode(base64, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if data[:1] == b"\x30" else None


def der_size(der: bytes) -> int | None:
    """How many bytes a DER sequence says it has."""
    if len(der) < 4 or der[:1] != b"\x30":
        return None
    count = der[1] - 0x80
    if count < 0:
        return 2 + der[1]
    return 2 + count + int.from_bytes(der[2 : 2 + count], "big") if count in (1, 2, 3) else None


def is_pkcs12(data: bytes) -> bool:
    """Whether DER begins as a PKCS#12 store does: a sequence whose first member is the number 3 (RFC 7292)."""
    if len(data) < 8 or data[:1] != b"\x30":
        return False
    start = 2 + max(data[1] - 0x80, 0)
    return data[start : start + 4] == b"\x02\x01\x03\x30"
