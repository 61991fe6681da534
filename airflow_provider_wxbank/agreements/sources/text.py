# SPDX-License-Identifier: Apache-2.0
"""Text files: lines of one number each, columns with a delimiter between them, or columns of fixed width."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_provider_wxbank.agreements.numbers import BLANKS, Values, problem
from airflow_provider_wxbank.agreements.records import MIN_DIGITS, shape_of
from airflow_provider_wxbank.agreements.sources.columns import column_of_text
from airflow_provider_wxbank.agreements.sources.dialect import Column, Dialect, Seen
from airflow_provider_wxbank.agreements.sources.lines import lines_of, slices, whole_lines
from airflow_provider_wxbank.agreements.sources.rows import body
from airflow_provider_wxbank.wechatpay.errors import InvalidInput


def read_text(
    text: Iterator[str], column: Column | None, dialect: Dialect, seen: Seen, place: str, what: str
) -> Iterator[Values]:
    """The values of one column of a text.

    :param text: in pieces.
    :param place: what positions count.
    :param what: the file, for messages.
    :raises InvalidInput: the text is not as column and dialect say; it says what the text seems to be.
    """
    # A header that is no header of columns is one line more that is left out.
    has_columns = isinstance(column, (str, int))
    skip_rows = (dialect.skip_rows or 0) + (not has_columns and dialect.has_header(column))
    left_out: list[tuple[int, str]] = []
    blocks = body(text, skip_rows, dialect.skip_footer or 0, place, left_out)
    if isinstance(column, (str, int)):
        read = column_of_text(blocks, column, dialect, seen, place, what)
    elif column is None:
        read = whole_lines(lines_of(blocks), place, what)
    else:
        read = slices(lines_of(blocks), *column, dialect.encoding, place)
    shapes: set[str | int] = set()
    for positions, values in read:
        shapes |= {shape_of(values[at].strip(BLANKS)) for at in ((0, -1) if not shapes else (-1,))}
        yield Values(place, positions, values, dialect.skip_rows is None, dialect.skip_footer is None)
    for line, row in left_out:
        value = _value(row, column, dialect, seen)
        # Of several files perhaps not each one has such a line.
        if shape_of(value) in shapes and len(value) >= MIN_DIGITS and problem(value) is None:
            raise InvalidInput(
                f"{place} {line} is left out because of skip_rows, skip_footer or header, and has what looks like one "
                "of the numbers: does this file have such a line? Nothing was sent"
            )


def _value(row: str, column: Column | None, dialect: Dialect, seen: Seen) -> str:
    """What would be the value of a line that is left out."""
    if isinstance(column, tuple):
        row = row[column[0] - 1 : column[1]]
    elif column is not None:
        fields = row.split(dialect.delimiter or ",")
        row = fields[seen.index] if len(fields) == seen.width else ""
    return row.strip(BLANKS + "\r" + (dialect.quotechar or ""))
