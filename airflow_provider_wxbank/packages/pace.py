# SPDX-License-Identifier: Apache-2.0
"""How fast WeChat Pay processes numbers: a guide, not a promise."""

from __future__ import annotations

FILE_SECONDS = 40 * 60
"""WeChat Pay's time for one full file (FAQ 4015182386: about 40 minutes)."""

NUMBERS_AN_HOUR = 1_300_000
"""Numbers that WeChat Pay processes (FAQ 4015182386: 1.3 million an hour)."""


def processing_seconds(rows: int) -> int:
    """About how long WeChat Pay takes to process numbers, if no others come before them."""
    return max(FILE_SECONDS, round(rows * 3600 / NUMBERS_AN_HOUR))
