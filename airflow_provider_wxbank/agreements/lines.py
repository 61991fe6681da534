# SPDX-License-Identifier: Apache-2.0
"""Checks a file whose lines are encrypted already."""

from __future__ import annotations

import binascii
import re

from airflow_provider_wxbank.agreements.files import MAX_BYTES, MAX_ROWS
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

MIN_BLOCK_BYTES = 256
"""Bytes of an RSA block of 2048 bits."""

MAX_TEXT_BYTES = 100
"""Different bytes that a block of text, padded or not, has at most: printable ASCII has 95, and there is a padding.

An encrypted block is random and has 162 of 256 on average. The probability that it has 100 or fewer is below
C(256, 100) * (100 / 256)**256 < 1e-31. The probability that among the 1.5 million bytes of a file 13 in a row are ASCII
digits is below 1.5e6 * (10 / 256)**13 < 1e-12.
"""

_DIGITS = re.compile(rb"[0-9]{13}")


def check_encrypted(content: bytes, what: str) -> int:
    """Check what can be seen of an agreement file without the key that decrypts it.

    :return: the number of rows.
    :raises InvalidInput: the file is empty or too long, or a line is not Base64 of one RSA block, is Base64 of text, or
        comes twice.
    """
    if not content:
        raise InvalidInput(f"{what} is empty")
    if content.startswith(b"\xef\xbb\xbf"):
        raise InvalidInput(f"{what} starts with a byte order mark (BOM); save it without")
    lines = content.removesuffix(b"\n").split(b"\n")
    if len(lines) > MAX_ROWS or len(content) > MAX_BYTES:
        raise InvalidInput(
            f"{what} has {len(lines)} rows and {len(content)} bytes; an encrypted file is sent as it is and has at "
            f"most {MAX_ROWS} rows and {MAX_BYTES} bytes"
        )
    length = len(_block(lines[0]) or b"")
    seen: dict[bytes, int] = {}
    for number, line in enumerate(lines, 1):
        if b"\r" in line:
            raise InvalidInput(f"{what} line {number} has a carriage return (\\r); lines end with \\n alone")
        if not line:
            raise InvalidInput(f"{what} line {number} is empty")
        block = _block(line)
        if block is None or len(block) < MIN_BLOCK_BYTES or len(block) != length:
            raise InvalidInput(
                f"{what} line {number} is not an encrypted number: expected Base64 of one RSA block "
                "(344 characters for a 2048-bit key)"
            )
        # Base64 alone hides nothing: anybody could read such numbers.
        if len(set(block)) <= MAX_TEXT_BYTES or _DIGITS.search(block):
            raise InvalidInput(
                f"{what} line {number} is Base64 of text that is not encrypted: encrypt the numbers with WeChat Pay's "
                "key (RSAES-OAEP), or leave out encrypted=True for a file of plain numbers"
            )
        if line in seen:
            raise InvalidInput(
                f"{what} line {number} is the same as line {seen[line]}: OAEP makes another line of the same number "
                "each time, so it is a copy or not encrypted with OAEP"
            )
        seen[line] = number
    return len(lines)


def _block(line: bytes) -> bytes | None:
    # Strict, since otherwise the decoder skips what is not Base64.
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        return None
