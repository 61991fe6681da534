# SPDX-License-Identifier: Apache-2.0
"""Text files whose lines are one number each, or have columns of fixed width."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_wxbank.agreements.numbers import BLANKS, WORD_FOR_NULL, delimiter, problem
from airflow_provider_wxbank.agreements.sources.rows import RECORD, Blocks, Rows
from airflow_provider_wxbank.wechatpay.errors import InvalidInput


def lines_of(blocks: Blocks) -> Rows:
    """The lines of a text without their ends."""
    for line, text in blocks:
        lines = text.removesuffix("\n").split("\n")
        yield range(line, line + len(lines)), lines


def whole_lines(rows: Rows, place: str, what: str) -> Rows:
    """Lines that are one number each."""
    is_first = True
    for positions, lines in rows:
        if not "".join(lines).isdigit():
            _check_lines(positions, lines, place, what, is_first=is_first)
        is_first = False
        yield positions, lines


def _check_lines(positions: Sequence[int], lines: Sequence[str], place: str, what: str, *, is_first: bool) -> None:
    """:raises InvalidInput: a line has several columns, or the first one is a header."""
    for position, line in zip(positions, lines, strict=True):
        if not line.isdigit() and (mark := delimiter(line.strip(BLANKS))):
            raise InvalidInput(
                f"{place} {position} has {mark} in it, so {what} is not one number a line. {_of_columns(mark)}"
            )
    first = lines[0].strip(BLANKS)
    if is_first and first and first.isprintable() and not any(map(str.isdigit, first)):
        if problem(first) == WORD_FOR_NULL:
            return
        raise InvalidInput(
            f"{place} {positions[0]} has no digit in it, so it looks like a header, not a number: if it is one, "
            'say so with dialect={"header": True}, or give its text as column'
        )


def _of_columns(mark: str) -> str:
    """What to write for a file that has a mark between its columns, or around its values."""
    if '"' in mark[1:-1] and "," not in mark:
        return 'If its values are quoted, give column=1 and dialect={"header": False}'
    comma = "" if mark == "','" else f'"delimiter": {mark}, '
    return (
        "If that parts columns, give the name of the column with the numbers as column"
        f"{f' and dialect={{{comma[:-2]}}}' if comma else ''}; without a header its number, from 1, and "
        f'dialect={{{comma}"header": False}}'
    )


def slices(rows: Rows, first: int, last: int, encoding: str, place: str) -> Rows:
    """The characters from ``first`` to ``last`` of each line."""
    lengths: set[tuple[int, int]] = set()
    for positions, lines in rows:
        for position, line in zip(positions, lines, strict=True):
            if len(line) < last:
                raise InvalidInput(
                    f"{place} {position} has {len(line)} characters, and the column ends at {last}: it may be cut off; "
                    f"{RECORD}"
                )
        if not "".join(lines).isascii():
            _check_widths(positions, lines, last, encoding, lengths, place)
        yield positions, [line[first - 1 : last] for line in lines]


def _check_widths(
    positions: Sequence[int],
    lines: Sequence[str],
    last: int,
    encoding: str,
    lengths: set[tuple[int, int]],
    place: str,
) -> None:
    """:raises InvalidInput: positions may be meant in bytes, which mainframes count, and would be others."""
    lengths |= {(len(line), len(line.encode(encoding))) for line in lines}
    # If lines of equally many characters have not equally many bytes, it is characters that the file counts.
    are_characters = len({characters for characters, _ in lengths}) == 1 and len(lengths) > 1
    for position, line in zip(positions, lines, strict=True):
        beginning = line[:last]
        if not are_characters and len(beginning.encode(encoding)) != len(beginning):
            raise InvalidInput(
                f"{place} {position} has characters of several bytes before the end of the column, so it is not clear "
                "whether its positions count bytes or characters. If they are bytes, say so with "
                'dialect={"encoding": "latin-1"}; else export the list with a delimiter'
            )
