# SPDX-License-Identifier: Apache-2.0
"""Text files whose columns have a delimiter between them."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from itertools import accumulate, chain, islice
from typing import TextIO

from airflow_provider_wxbank.agreements.numbers import BLANKS, delimiter, problem
from airflow_provider_wxbank.agreements.records import MIN_DIGITS
from airflow_provider_wxbank.agreements.sources.dialect import Dialect, column_index, columns
from airflow_provider_wxbank.agreements.sources.rows import CHUNK_ROWS, RECORD, Rows, body, lines_of
from airflow_provider_wxbank.wechatpay.errors import InvalidInput


def column_of_text(text: TextIO, before: int, column: str | int, dialect: Dialect, place: str) -> Rows[str]:
    """The values of one column.

    :param before: lines that were read before.
    :raises InvalidInput: the text does not have such a column in each row.
    """
    mark = dialect.delimiter or ","
    split = _csv if len(mark) == 1 else _split
    parts = body(split(text, before, mark, dialect.quotechar, place), dialect.skip_footer or 0, place)
    positions, rows = next(parts, ((), []))
    if not rows:
        return
    width, header = len(rows[0]), rows[0] if dialect.has_header(column) else None
    index = _index(rows[0], column, dialect, mark, f"{place} {positions[0]}")
    first = f"the header has {width}" if header else f"{place} {positions[0]} has {width}"
    name = None if header is None else header[index]
    if header is not None:
        positions, rows = positions[1:], rows[1:]
    for where, some in chain([(positions, rows)] if rows else [], parts):
        if set(map(len, some)) != {width}:
            _check_columns(where, some, width, first, place)
        values = [row[index] for row in some]
        if name in values:
            raise InvalidInput(
                f"{place} {where[values.index(name)]} is the header once more, as in files that were put together: "
                "remove it. Nothing was sent"
            )
        # Positions that were counted, and are no range, are those of rows of which some have several lines.
        if not isinstance(where, range):
            _check_swallowed(where, some, index, mark, place)
        yield where, values


def _check_columns(positions: Sequence[int], rows: Sequence[Sequence[str]], width: int, first: str, place: str) -> None:
    for position, row in zip(positions, rows, strict=True):
        if not row:
            raise InvalidInput(f"{place} {position} is empty. Nothing was sent. Correct the file")
        if len(row) != width:
            raise InvalidInput(f"{place} {position} has {columns(len(row))}, but {first}: {RECORD}. Nothing was sent")


def _index(first: list[str], column: str | int, dialect: Dialect, mark: str, where: str) -> int:
    """The index of the column, by the first row of a text.

    :raises InvalidInput: it is not there, or the row is no header although it should be one.
    """
    if not "".join(first).strip():
        raise InvalidInput(f"{where} is empty; the first line must be the header, or a row. Nothing was sent")
    hint = _hint(first, dialect, mark)
    try:
        index = column_index(first, column, where)
    except InvalidInput as failure:
        raise InvalidInput(f"{failure}{hint}. Nothing was sent") from None
    if dialect.header is None and isinstance(column, int) and _is_number(first[index]):
        raise InvalidInput(
            f'{where} should be the header, and has what looks like a number in column {column}: dialect={{"header": '
            "False} says that there is none, and True that it is one. Nothing was sent"
        )
    return index


def _hint(first: Sequence[str], dialect: Dialect, mark: str) -> str:
    """What is to be said of a first row that does not have the column."""
    if len(first) == 1 and (other := delimiter(first[0].strip(BLANKS))) and other != repr(mark):
        return f': {other} seems to part its columns, and not {mark!r}; say so with dialect={{"delimiter": {other}}}'
    if dialect.header is None and any(map(_is_number, first)):
        return (
            ": it has what looks like a number, so it may be no header. If there is none, say so with "
            'dialect={"header": False}, and give the number of the column, from 1; ' + RECORD
        )
    return f"; {RECORD}" if len(first) < 3 and len(set(first)) == len(first) and dialect.skip_rows is None else ""


def _is_number(text: str) -> bool:
    return len(text.strip()) >= MIN_DIGITS and problem(text) is None


def _csv(text: TextIO, before: int, mark: str, quotechar: str | None, place: str) -> Rows[list[str]]:
    """Rows as ``csv`` reads them: a value in quotes may have delimiters and line breaks in it."""
    reader = csv.reader(text, delimiter=mark, quotechar=quotechar, strict=True)
    end = 0
    try:
        while rows := list(islice(reader, CHUNK_ROWS)):
            start, end = end, reader.line_num
            if end - start == len(rows):
                yield range(before + start + 1, before + end + 1), rows
            else:
                ends = accumulate(1 + sum(value.count("\n") for value in row) for row in rows)
                yield [before + start + line for line in ends], rows
    except csv.Error as failure:
        where = f"{place} {before + reader.line_num}"
        if "new-line character" in str(failure):
            raise InvalidInput(f"{where} has a carriage return (\\r) in the middle. Correct the file") from None
        quoted = '; if no value is quoted, say so with dialect={"quotechar": None}' if quotechar else ""
        raise InvalidInput(f"{where} is not CSV: {failure}{quoted}. Nothing was sent") from None


def _split(text: TextIO, before: int, mark: str, quotechar: str | None, place: str) -> Rows[list[str]]:
    """Rows whose delimiter has several characters. Such values are never quoted because of it, but may all be."""
    for positions, lines in lines_of(text, before):
        rows = [line.split(mark) if line else [] for line in lines]
        if quotechar and any(quotechar in line for line in lines):
            rows = [[_unquoted(value, quotechar) for value in row] for row in rows]
        yield positions, rows


def _unquoted(value: str, quotechar: str) -> str:
    is_quoted = len(value) > 1 and value.startswith(quotechar) and value.endswith(quotechar)
    return value[1:-1] if is_quoted else value


def _check_swallowed(positions: Sequence[int], rows: Sequence[list[str]], index: int, mark: str, place: str) -> None:
    """:raises InvalidInput: a row of several lines has other rows in it: a quotation mark is one too many."""
    for position, row in zip(positions, rows, strict=True):
        kind = _KIND.sub("9", row[index].strip(BLANKS))
        if len(kind) < MIN_DIGITS or not any("\n" in field for field in row):
            continue
        parts = (
            part for field in [*row[:index], *row[index + 1 :]] for part in re.split(f"[\n{re.escape(mark)}]", field)
        )
        if any(_KIND.sub("9", part.strip(BLANKS)) == kind for part in parts):
            raise InvalidInput(
                f"{place} {position} ends a row of several lines, and another of its fields has what looks like a "
                "number, too: a quotation mark is missing or one too many. Nothing was sent. Correct the file, or if "
                'no value is quoted, say so with dialect={"quotechar": None}'
            )


_KIND = re.compile("[A-Za-z0-9]")
