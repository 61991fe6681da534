# SPDX-License-Identifier: Apache-2.0
"""Text files whose columns have a delimiter between them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice

from airflow_provider_wxbank.agreements.numbers import BLANKS, delimiter, problem
from airflow_provider_wxbank.agreements.records import MIN_DIGITS
from airflow_provider_wxbank.agreements.sources.dialect import Dialect, Seen, column_index, columns, folded
from airflow_provider_wxbank.agreements.sources.rows import RECORD, Blocks, Rows
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

_MARK = "\x00"
"""Stands for a delimiter of several characters."""

CSV_ROWS = 500
"""Rows of ``csv`` at a time. With more of them Python's collector of garbage looks at each."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the column is.

    :param mark: what parts the columns.
    :param index: of the column, from 0.
    :param width: how many columns each row has.
    :param place: what positions count, for messages.
    :param first: which row has told the width, for messages.
    """

    mark: str
    quotechar: str | None
    index: int
    width: int
    place: str
    first: str

    @property
    def is_csv(self) -> bool:
        """Whether quotation marks make a difference. ``csv`` knows delimiters of one character alone."""
        return self.quotechar is not None and len(self.mark) == 1


def column_of_text(blocks: Blocks, column: str | int, dialect: Dialect, seen: Seen, place: str, what: str) -> Rows:
    """The values of one column.

    :param place: what positions count.
    :raises InvalidInput: the text does not have such a column in each row.
    """
    line, text = next(blocks, (1, ""))
    if not text:
        return
    mark = dialect.delimiter or ","
    first, lines = _first_row(text, mark, dialect.quotechar, f"{place} {line}")
    index = _index(first, column, dialect, mark, f"{place} {line}")
    if has_header := dialect.has_header(column):
        seen.check(first[index], column, what)
    told = f"the header has {len(first)}" if has_header else f"{place} {line} has {len(first)}"
    seen.index, seen.width = index, len(first)
    layout = _Layout(mark, dialect.quotechar, index, len(first), place, told)
    if has_header:
        *_, rest = text.split("\n", lines) if text.count("\n") >= lines else [""]
        line, text = line + lines, rest
    for positions, values in _rows(chain([(line, text)] if text else [], blocks), layout):
        if has_header and (at := _again(first[index], values)) is not None:
            raise InvalidInput(
                f"{place} {positions[at]} is the header once more, as in files that were put together: remove it. "
                "Nothing was sent"
            )
        yield positions, values


def _again(name: str, values: Sequence[str]) -> int | None:
    """Where a column's name is among its values."""
    if name in values:
        return values.index(name)
    # Another one would be no number, but for a name with a digit in it.
    if problem(name.strip(BLANKS)) is None:
        return next((at for at, value in enumerate(values) if folded(value) == folded(name)), None)
    return None


def _first_row(text: str, mark: str, quotechar: str | None, where: str) -> tuple[list[str], int]:
    """The first row of a text, and how many lines it has."""
    if len(mark) > 1:
        row = text.partition("\n")[0].split(mark)
        return [_unquoted(value, quotechar) for value in row], 1
    reader = csv.reader(io.StringIO(text, newline="\n"), delimiter=mark, quotechar=quotechar, strict=True)
    try:
        return next(reader), reader.line_num
    except csv.Error as failure:
        raise _not_csv(failure, where, quotechar) from None


def _rows(blocks: Blocks, layout: _Layout) -> Rows:
    for line, text in blocks:
        # A value in quotes may have lines in it, and go on in the next block: from here on only csv knows the rows.
        if layout.is_csv and layout.quotechar in text:  # type: ignore[operator]  # is_csv says that there is one
            yield from _csv(chain([(line, text)], blocks), layout)
            return
        text = text if text.endswith("\n") else f"{text}\n"
        count = text.count("\n")
        positions, values = range(line, line + count), _column(text, count, layout)
        if values is None:
            # Most often one of these is told.
            rows = [row.split(layout.mark) for row in text.removesuffix("\n").split("\n")]
            _check_rows(positions, rows, layout)
            values = [row[layout.index] for row in rows]
        if layout.quotechar and layout.quotechar in text:
            values = [_unquoted(value, layout.quotechar) for value in values]
        yield positions, values


def _column(text: str, count: int, layout: _Layout) -> list[str] | None:
    """The values of the column in a text without quotation marks; None if its rows have to be looked at one by one.

    All fields of all rows come into one list. The line feed before each row tells whether all rows begin where they
    should. That takes two thirds of the time of splitting each line.

    :param text: whole lines.
    :param count: how many lines it has.
    """
    if "\r" in text or _MARK in text:
        return None
    # The end of a row and a delimiter of several characters behind it may look like another one that begins earlier.
    mark = layout.mark if len(layout.mark) == 1 else _MARK
    fields = text.replace(layout.mark, mark).replace("\n", f"{mark}\n").split(mark)
    begins = "".join(fields[:: layout.width])
    if len(fields) != count * layout.width + 1 or begins.count("\n") != count:
        return None
    return fields[layout.index : -1 : layout.width] if layout.index else begins.removesuffix("\n").split("\n")


def _check_rows(positions: Sequence[int], rows: Sequence[Sequence[str]], layout: _Layout) -> None:
    """:raises InvalidInput: a row is empty, has a carriage return, or another number of columns."""
    for position, row in zip(positions, rows, strict=False):
        where = f"{layout.place} {position}"
        if row in ([], [""]):
            raise InvalidInput(f"{where} is empty. Nothing was sent. Correct the file")
        if any("\r" in field for field in row):
            raise InvalidInput(f"{where} has a carriage return (\\r) in the middle. Nothing was sent. Correct the file")
        if len(row) != layout.width:
            raise InvalidInput(f"{where} has {columns(len(row))}, but {layout.first}: {RECORD}. Nothing was sent")


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
    # A name may look like a number, such as AGREEMENT_NO2, but not have digits alone.
    is_digits = _is_number(first[index]) and first[index].strip().isdigit() and dialect.header
    if is_digits or (dialect.header is None and isinstance(column, int) and _is_no_name(first[index])):
        raise InvalidInput(
            f'{where} should be the header, and has what looks like a number in column {column}: dialect={{"header": '
            "False} says that there is none, and True that it is one, if it has letters. Nothing was sent"
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


def _is_no_name(text: str) -> bool:
    return _is_number(text) or not any(map(str.isalpha, text))


def _is_number(text: str) -> bool:
    return len(text.strip()) >= MIN_DIGITS and problem(text) is None


def _csv(blocks: Blocks, layout: _Layout) -> Rows:
    """Rows as ``csv`` reads them: a value in quotes may have delimiters and line breaks in it."""
    line, text = next(blocks)
    lines = chain.from_iterable(io.StringIO(text, newline="\n") for _, text in chain([(line, text)], blocks))
    reader = csv.reader(lines, delimiter=layout.mark, quotechar=layout.quotechar, strict=True)
    end = 0
    try:
        while rows := list(islice(reader, CSV_ROWS)):
            start, end = end, reader.line_num
            positions: Sequence[int] = range(line + start, line + end)
            if len(positions) != len(rows):
                ends = accumulate(1 + sum(value.count("\n") for value in row) for row in rows)
                positions = [line + start + of_row - 1 for of_row in ends]
                _check_swallowed(positions, rows, layout)
            if set(map(len, rows)) != {layout.width} or "\r" in "".join(map("".join, rows)):
                _check_rows(positions, rows, layout)
            yield positions, [row[layout.index] for row in rows]
    except csv.Error as failure:
        raise _not_csv(failure, f"{layout.place} {line + reader.line_num - 1}", layout.quotechar) from None


def _not_csv(failure: csv.Error, where: str, quotechar: str | None) -> InvalidInput:
    if "new-line character" in str(failure):
        return InvalidInput(f"{where} has a carriage return (\\r) in the middle. Nothing was sent. Correct the file")
    quoted = '; if no value is quoted, say so with dialect={"quotechar": None}' if quotechar else ""
    return InvalidInput(f"{where} is not CSV: {failure}{quoted}. Nothing was sent")


def _unquoted(value: str, quotechar: str | None) -> str:
    """A value that may be in quotes, where the delimiter has several characters."""
    is_quoted = quotechar and len(value) > 1 and value.startswith(quotechar) and value.endswith(quotechar)
    return value[1:-1] if is_quoted else value


def _check_swallowed(positions: Sequence[int], rows: Sequence[list[str]], layout: _Layout) -> None:
    """:raises InvalidInput: a row of several lines has other rows in it: a quotation mark is one too many."""
    for position, row in zip(positions, rows, strict=True):
        if len(row) <= layout.index or not any("\n" in field for field in row):
            continue
        index, kind = layout.index, _KIND.sub("9", row[layout.index].strip(BLANKS))
        parts = (
            part
            for field in [*row[:index], *row[index + 1 :]]
            for part in re.split(f"[\n{re.escape(layout.mark)}]", field)
        )
        is_alike = len(kind) >= MIN_DIGITS and any(_KIND.sub("9", part.strip(BLANKS)) == kind for part in parts)
        # A field that has as many delimiters as a row, and about as many digits in a run, is no text of somebody's.
        is_row = any(
            2 * len(kind) <= 3 * len(run) <= 4.5 * len(kind)
            for field in row
            if "\n" in field and field.count(layout.mark) >= layout.width - 1
            for run in _DIGITS.findall(field)
        )
        if is_alike or is_row:
            raise InvalidInput(
                f"{layout.place} {position} ends a row of several lines, and another of its fields has what looks like "
                "a number, too: a quotation mark is missing or one too many. Nothing was sent. Correct the file, or if "
                'no value is quoted, say so with dialect={"quotechar": None}'
            )


_KIND = re.compile("[A-Za-z0-9]")
_DIGITS = re.compile(r"\b[0-9]{4,}\b")
