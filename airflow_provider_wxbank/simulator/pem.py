# SPDX-License-Identifier: Apache-2.0
"""Keys and certificates as text."""

from __future__ import annotations

from base64 import b64encode
from textwrap import fill

LINE = 64
"""Characters of Base64 in a line (RFC 7468)."""


def pem(label: str, der: bytes) -> str:
    """What WeChat Pay hands out: a block with its label."""
    return f"-----BEGIN {label}-----\n{fill(b64encode(der).decode(), LINE)}\n-----END {label}-----\n"
