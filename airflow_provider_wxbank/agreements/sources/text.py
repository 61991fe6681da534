# SPDX-License-Identifier: Apache-2.0
"""Text files: lines of one number each, columns with a delimiter between them, or columns of fixed width."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_provider_wxbank.agreements.numbers import Values
from airflow_provider_wxbank.agreements.sources.columns import column_of_text
from airflow_provider_wxbank.agreements.sources.dialect import Column, Dialect
from airflow_provider_wxbank.agreements.sources.lines import lines_of, slices, whole_lines
from airflow_provider_wxbank.agreements.sources.rows import body


def read_text(text: Iterator[str], column: Column | None, dialect: Dialect, place: str, what: str) -> Iterator[Values]:
    """The values of one column of a text.

    :param text: in pieces.
    :param place: what positions count.
    :param what: the file, for messages.
    :raises InvalidInput: the text is not as column and dialect say; it says what the text seems to be.
    """
    # A header that is no header of columns is one line more that is left out.
    has_columns = isinstance(column, (str, int))
    skip_rows = (dialect.skip_rows or 0) + (not has_columns and dialect.has_header(column))
    blocks = body(text, skip_rows, dialect.skip_footer or 0, place)
    if isinstance(column, (str, int)):
        read = column_of_text(blocks, column, dialect, place)
    elif column is None:
        read = whole_lines(lines_of(blocks), place, what)
    else:
        read = slices(lines_of(blocks), *column, dialect.encoding, place)
    for positions, values in read:
        yield Values(place, positions, values, dialect.skip_rows is None, dialect.skip_footer is None)
