# SPDX-License-Identifier: Apache-2.0
"""Text files: lines of one number each, columns with a delimiter between them, or columns of fixed width."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TextIO

from airflow_provider_wxbank.agreements.numbers import Values
from airflow_provider_wxbank.agreements.sources.columns import column_of_text
from airflow_provider_wxbank.agreements.sources.dialect import Column, Dialect
from airflow_provider_wxbank.agreements.sources.lines import slices, whole_lines
from airflow_provider_wxbank.agreements.sources.rows import body, lines_of


def read_text(text: TextIO, column: Column | None, dialect: Dialect, place: str, what: str) -> Iterator[Values]:
    """The values of one column of a text.

    :param text: lines that end with a line feed and keep it.
    :param place: what positions count.
    :param what: the file, for messages.
    :raises InvalidInput: the text is not as column and dialect say; it says what the text seems to be.
    """
    before = sum(1 for _ in islice(text, dialect.skip_rows or 0))
    if isinstance(column, (str, int)):
        read = column_of_text(text, before, column, dialect, place)
    else:
        before += sum(1 for _ in islice(text, int(dialect.has_header(column))))
        rows = body(lines_of(text, before), dialect.skip_footer or 0, place)
        read = whole_lines(rows, place, what) if column is None else slices(rows, *column, dialect.encoding, place)
    for positions, values in read:
        yield Values(place, positions, values, dialect.skip_rows is None, dialect.skip_footer is None)
