# SPDX-License-Identifier: Apache-2.0
"""Rows of a text, some at a time, and which of them are neither a record of the file nor an empty line at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TextIO, TypeVar

from airflow_provider_wxbank.wechatpay.errors import InvalidInput

CHUNK_ROWS = 5500

Row = TypeVar("Row", str, list[str])
Rows = Iterator[tuple[Sequence[int], Sequence[Row]]]
"""Some rows at a time, and the number of the line that each ends with."""

RECORD = (
    "if it is a record of the file, with a date or a number of rows, say how many lines it has with "
    'dialect={"skip_rows": 1} at the beginning or {"skip_footer": 1} at the end'
)
"""What is told of a row that does not look like the others."""


def lines_of(text: TextIO, before: int) -> Rows[str]:
    """The lines of a text without their ends.

    :param text: lines that end with a line feed and keep it. A carriage return before that belongs to the end.
    :param before: lines that were read before.
    """
    while lines := [line.removesuffix("\n").removesuffix("\r") for line in islice(text, CHUNK_ROWS)]:
        yield range(before + 1, before + 1 + len(lines)), lines
        before += len(lines)


def body(rows: Rows[Row], footer: int, place: str) -> Rows[Row]:
    """Rows without some at the end, and without the empty lines that may follow them.

    :param footer: how many rows at the end are none of the list.
    :param place: what positions count.
    """
    held: list[tuple[Sequence[int], Sequence[Row]]] = []
    for part in rows:
        held.append(part)
        # All that belongs to the end may be in the last parts, so one is given as soon as enough is known to follow it.
        if _filled(held[1:]) >= max(footer, 1):
            yield held.pop(0)
        elif len(held) > 2 + footer // CHUNK_ROWS:
            raise InvalidInput(f"{place} {held[-1][0][-1]} is empty, and so are thousands before it. Correct the file")
    end = _filled(held) - footer
    for positions, some in held:
        if end > 0:
            yield positions[:end], some[:end]
        end -= len(some)


def _filled(parts: Sequence[tuple[Sequence[int], Sequence[Row]]]) -> int:
    """How many rows there are up to the last one that is not empty."""
    count = sum(len(rows) for _, rows in parts)
    for _, rows in reversed(parts):
        for row in reversed(rows):
            # A row of columns that are all empty is a row.
            if (not isinstance(row, str) and len(row) > 1) or "".join(row).strip():
                return count
            count -= 1
    return count
