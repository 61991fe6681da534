# SPDX-License-Identifier: Apache-2.0
"""The lines of a text that are rows of the list: without records at its ends, and without empty lines after the last.

They are handed on as blocks of whole lines, since a text that is split into lines first takes twice as long to read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TextIO

from airflow_provider_wxbank.wechatpay.errors import InvalidInput

BLOCK_CHARACTERS = 1 << 17
"""About 3,000 rows: enough that little is done for each, and few enough to stay in a processor's cache."""

Blocks = Iterator[tuple[int, str]]
"""Some whole lines at a time, with the number of the first of them."""

Rows = Iterator[tuple[Sequence[int], Sequence[str]]]
"""Some values at a time, with the number of the line that each one's row ends with."""

RECORD = (
    "if it is a record of the file, with a date or a number of rows, say how many lines it has with "
    'dialect={"skip_rows": 1} at the beginning or {"skip_footer": 1} at the end'
)
"""What is told of a row that does not look like the others."""


def body(text: TextIO, skip_rows: int, skip_footer: int, place: str) -> Blocks:
    """Blocks of lines. Each but the last one of a text ends with a line feed, with no carriage return before it.

    :param skip_rows: lines at the beginning that are no rows.
    :param skip_footer: lines at the end that are none, before empty ones that may follow.
    :param place: what positions count.
    """
    line, held = 1, ""
    while block := text.read(BLOCK_CHARACTERS):
        held += block
        end = _end(held, held.rfind("\n") + 1, skip_footer)
        if end:
            skipped, start = _skip(held, skip_rows, end)
            line, skip_rows = line + skipped, skip_rows - skipped
            if start < end:
                yield line, held[start:end].replace("\r\n", "\n")
                line += held.count("\n", start, end)
            held = held[end:]
        elif len(held) > 10 * BLOCK_CHARACTERS and not skip_footer:
            raise InvalidInput(f"{place} {line} is empty, and so are thousands after it. Correct the file")
    end = _end(held, len(held), skip_footer)
    skipped, start = _skip(held, skip_rows, end)
    if start < end:
        yield line + skipped, held[start:end].replace("\r\n", "\n").removesuffix("\r")


def _end(text: str, whole: int, skip_footer: int) -> int:
    """Where the rows end.

    :param whole: where the last whole line ends.
    """
    filled = len(text[:whole].rstrip(" \r\n"))
    if not filled:
        return 0
    end = text.find("\n", filled, whole) + 1 or whole
    for _ in range(skip_footer):
        if not end:
            break
        end = text.rfind("\n", 0, end - 1) + 1
    return end


def _skip(text: str, lines: int, end: int) -> tuple[int, int]:
    """How many lines are left out, and where they end."""
    start = skipped = 0
    while skipped < lines and start < end:
        start = text.find("\n", start, end) + 1 or end
        skipped += 1
    return skipped, start
