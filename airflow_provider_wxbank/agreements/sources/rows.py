# SPDX-License-Identifier: Apache-2.0
"""The lines of a text that are rows of the list: without records at its ends, and without empty lines after the last.

They are handed on as blocks of whole lines: what is done with a block at once takes half the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from airflow_provider_wxbank.wechatpay.errors import InvalidInput

_EMPTY = " \r\n\x1a"
"""What a line has that is no row after the last one. DOS ends a text with \\x1a."""

MAX_EMPTY = 1 << 20
"""Characters of empty lines that may follow each other."""

MAX_LEFT_OUT = 3
"""Lines at an end that are remembered."""

Blocks = Iterator[tuple[int, str]]
"""Some whole lines at a time, with the number of the first of them."""

Rows = Iterator[tuple[Sequence[int], Sequence[str]]]
"""Some values at a time, with the number of the line that each one's row ends with."""

RECORD = (
    "if it is a record of the file, with a date or a number of rows, say how many lines it has with "
    'dialect={"skip_rows": 1} at the beginning or {"skip_footer": 1} at the end'
)
"""What is told of a row that does not look like the others."""


def body(text: Iterable[str], skip_rows: int, skip_footer: int, place: str, left_out: list[tuple[int, str]]) -> Blocks:
    """Blocks of lines, each of which ends with a line feed alone; the last one of all may have no end.

    :param text: in pieces.
    :param skip_rows: lines at the beginning that are no rows.
    :param skip_footer: lines at the end that are none, before empty ones that may follow.
    :param place: what positions count.
    :param left_out: gets some of the lines that are no rows, with their numbers.
    """
    line, held = 1, ""
    for piece in chain(text, [None]):
        held += piece or ""
        # Of the last piece the last line may have no end.
        whole = len(held) if piece is None else held.rfind("\n") + 1
        # A blank may be a part of a row; from the line feed on it is an empty line.
        filled = _filled(held, whole)
        if whole - filled > MAX_EMPTY:
            at = line + held.count("\n", 0, filled) + bool(filled)
            raise InvalidInput(f"{place} {at} is empty, and so are thousands after it. Correct the file")
        end = _end(held, held.find("\n", filled, whole) + 1 or whole if filled else 0, skip_footer)
        if not end:
            continue
        skipped, start = _skip(held, skip_rows, end)
        left_out += islice(enumerate(held[:start].split("\n")[:skipped], line), MAX_LEFT_OUT)
        line, skip_rows = line + skipped, skip_rows - skipped
        rows, held = held[start:end], held[end:]
        if rows:
            yield line, _without_returns(rows, is_last=piece is None) if "\r" in rows else rows
            line += rows.count("\n")
    left_out += islice(enumerate(held.split("\n"), line), MAX_LEFT_OUT)


def _without_returns(rows: str, *, is_last: bool) -> str:
    """Without the carriage returns at the ends of lines. Any other stays, and is told by those who read on."""
    rows = rows.replace("\r\n", "\n")
    return rows.removesuffix("\r") if is_last else rows


def _filled(text: str, whole: int) -> int:
    """Where the last character is, before a place, that is none of an empty line."""
    # Nearly always the last few characters show it.
    start = max(whole - 256, 0)
    length = len(text[start:whole].rstrip(_EMPTY))
    return start + length if length else len(text[:start].rstrip(_EMPTY))


def _end(text: str, end: int, skip_footer: int) -> int:
    """Where the rows end.

    :param end: where the last line ends that is not empty.
    """
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
