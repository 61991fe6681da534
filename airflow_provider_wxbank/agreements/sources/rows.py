# SPDX-License-Identifier: Apache-2.0
"""The lines of a text that are rows of the list: without records at its ends, and without empty lines after the last.

They are handed on as blocks of whole lines: what is done with a block at once takes half the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from airflow_provider_wxbank.wechatpay.errors import InvalidInput

_EMPTY = " \r\n\x1a"
"""What a line has that is no row after the last one. DOS ends a text with \\x1a."""

MAX_EMPTY = 1 << 20
"""Characters of empty lines that may follow each other."""

Blocks = Iterator[tuple[int, str]]
"""Some whole lines at a time, with the number of the first of them."""

Rows = Iterator[tuple[Sequence[int], Sequence[str]]]
"""Some values at a time, with the number of the line that each one's row ends with."""

RECORD = (
    "if it is a record of the file, with a date or a number of rows, say how many lines it has with "
    'dialect={"skip_rows": 1} at the beginning or {"skip_footer": 1} at the end'
)
"""What is told of a row that does not look like the others."""


def body(text: Iterable[str], skip_rows: int, skip_footer: int, place: str) -> Blocks:
    """Blocks of lines, each of which ends with a line feed alone; the last one of all may have no end.

    :param text: in pieces.
    :param skip_rows: lines at the beginning that are no rows.
    :param skip_footer: lines at the end that are none, before empty ones that may follow.
    :param place: what positions count.
    """
    line, held = 1, ""
    for piece in chain(text, [None]):
        held += piece or ""
        # Of the last piece the last line may have no end.
        whole = len(held) if piece is None else held.rfind("\n") + 1
        end = _end(held, whole, skip_footer)
        if not end:
            if len(held) > MAX_EMPTY and not held.strip():
                raise InvalidInput(f"{place} {line} is empty, and so are thousands after it. Correct the file")
            continue
        skipped, start = _skip(held, skip_rows, end)
        line, skip_rows = line + skipped, skip_rows - skipped
        rows, held = held[start:end], held[end:]
        if rows:
            yield line, _without_returns(rows, is_last=piece is None) if "\r" in rows else rows
            line += rows.count("\n")


def _without_returns(rows: str, *, is_last: bool) -> str:
    """Without the carriage returns at the ends of lines. Any other stays, and is told by those who read on."""
    rows = rows.replace("\r\n", "\n")
    return rows.removesuffix("\r") if is_last else rows


def _end(text: str, whole: int, skip_footer: int) -> int:
    """Where the rows end.

    :param whole: where the last whole line ends.
    """
    end = whole
    while end:
        start = text.rfind("\n", 0, end - 1) + 1
        if text[start:end].strip(_EMPTY):
            break
        end = start
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
