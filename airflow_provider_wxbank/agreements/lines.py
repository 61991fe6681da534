# SPDX-License-Identifier: Apache-2.0
"""Checks a file whose lines are encrypted already."""

from __future__ import annotations

import binascii
import re

from airflow_provider_wxbank.agreements.files import MAX_BYTES, MAX_ROWS
from airflow_provider_wxbank.wechatpay.crypto.suites import Suite
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

_DIGITS = re.compile(rb"[0-9]{13}")
"""The probability that among the 1.5 million encrypted bytes of a file 13 in a row are ASCII digits is below
1.5e6 * (10 / 256)**13 < 1e-12."""


def check_encrypted(content: bytes, what: str, suite: Suite) -> int:
    """Check what can be seen of an agreement file without the key that decrypts it.

    :param suite: the merchant's, whose platform keys encrypt.
    :return: the number of rows.
    :raises InvalidInput: the file is empty or too long, or a line is not Base64 of an encrypted number, is Base64 of
        text, or comes twice.
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
    first = _block(lines[0]) or b""
    seen: dict[bytes, int] = {}
    for number, line in enumerate(lines, 1):
        if b"\r" in line:
            raise InvalidInput(f"{what} line {number} has a carriage return (\\r); lines end with \\n alone")
        if not line:
            raise InvalidInput(f"{what} line {number} is empty")
        block = _block(line)
        if block is None or not suite.is_block(block, first):
            raise InvalidInput(f"{what} line {number} is not an encrypted number: expected {suite.line}")
        # Base64 alone hides nothing: anybody could read such numbers.
        if not suite.is_random(block) or _DIGITS.search(block):
            raise InvalidInput(
                f"{what} line {number} is Base64 of text that is not encrypted: encrypt the numbers with WeChat Pay's "
                f"key ({suite.encryption}), or leave out encrypted=True for a file of plain numbers"
            )
        if line in seen:
            raise InvalidInput(f"{what} line {number} is the same as line {seen[line]}: {suite.if_twice}")
        seen[line] = number
    return len(lines)


def _block(line: bytes) -> bytes | None:
    # Strict, since otherwise the decoder skips what is not Base64.
    try:
        return binascii.a2b_base64(line, strict_mode=True)
    except binascii.Error:
        return None
