"""The check of a file whose lines are encrypted already."""

from __future__ import annotations

import binascii

from airflow_provider_wxbank.wechatpay.errors import InvalidInput
from airflow_provider_wxbank.wechatpay.packages import MAX_BYTES, MAX_ROWS

MIN_BLOCK_BYTES = 256
"""Bytes of an RSA block of 2048 bits."""


def check_encrypted(content: bytes, what: str) -> int:
    """Check what can be seen of an agreement file without the key that decrypts it.

    :return: the number of rows.
    :raises InvalidInput: empty, too long, or a line is not Base64 of one RSA block.
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
    expected = _block_bytes(lines[0])
    for number, line in enumerate(lines, 1):
        if b"\r" in line:
            raise InvalidInput(f"{what} line {number} has a carriage return (\\r); lines end with \\n alone")
        if not line:
            raise InvalidInput(f"{what} line {number} is empty")
        block = _block_bytes(line)
        if block is None or block < MIN_BLOCK_BYTES or block != expected:
            raise InvalidInput(
                f"{what} line {number} is not an encrypted number: expected Base64 of one RSA block "
                "(344 characters for a 2048-bit key)"
            )
    return len(lines)


def _block_bytes(line: bytes) -> int | None:
    try:
        return len(binascii.a2b_base64(line, strict_mode=True))
    except binascii.Error:
        return None
