# SPDX-License-Identifier: Apache-2.0
"""How fast WeChat Pay takes files and processes numbers: a guide, not a promise."""

from __future__ import annotations

from math import ceil

FILE_SECONDS = 40 * 60
"""WeChat Pay's time for one full file (FAQ 4015182386: about 40 minutes)."""

NUMBERS_AN_HOUR = 1_300_000
"""Numbers that WeChat Pay processes (FAQ 4015182386: 1.3 million an hour)."""

UPLOAD_SECONDS = 2.0
"""For one full file. Nobody says how fast WeChat Pay takes them; a line of 8 Mbit/s takes so long for 2 MB."""


def upload_seconds(files: int, at_a_time: int) -> int:
    """About how long files take to upload, so many at a time."""
    return ceil(ceil(files / at_a_time) * UPLOAD_SECONDS)


def processing_seconds(rows: int) -> int:
    """About how long WeChat Pay takes to process numbers, if no others come before them; 0 if there are none."""
    return max(FILE_SECONDS, round(rows * 3600 / NUMBERS_AN_HOUR)) if rows else 0
