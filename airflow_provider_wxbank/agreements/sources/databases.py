# SPDX-License-Identifier: Apache-2.0
"""Queries of a bank's database through an SQLAlchemy engine."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import text

from airflow_provider_wxbank.agreements.numbers import CHUNK_ROWS, Values
from airflow_provider_wxbank.agreements.sources.dialect import Column, column_index
from airflow_provider_wxbank.agreements.sources.redaction import (
    connected,
    rows_kept_out_of_logs,
    values_kept_out_of_errors,
)
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.sql.elements import TextClause

RESULT = "the query's result"

# DuckDB and Snowflake answer with a row that has the number of rows changed, and that is nobody's agreement number.
_COUNTED = re.compile(
    r"(?is)(?:(?:INSERT|UPDATE|DELETE|MERGE|COPY|CREATE|EXPORT|SUMMARIZE)\b"
    r"|WITH\b.*\b(?:INSERT\s+INTO|UPDATE\s+\S+\s+SET|DELETE\s+FROM|MERGE\s+INTO)\b)(?!.*\b(?:RETURNING|OUTPUT)\b)"
)
# Whether a backslash hides a quotation mark is the database's affair.
_TEXTS = ("'(?:[^']|'')*'", r"'(?:[^'\\]|\\.|'')*'")
_QUIET = [re.compile(rf"{one}|\"[^\"]*\"|`[^`]*`|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$", re.DOTALL) for one in _TEXTS]


def read_sql(
    engine: Engine, sql: str, parameters: Mapping[str, object] | None, column: Column | None
) -> Generator[Values, None, None]:
    """The values of one column of a query's result, streamed with the database's own cursor where it has one.

    Close it if it is not read to its end: that drops the connection.

    :param sql: a query; its parameters are written ``:name``, in the same way for every database.
    :param parameters: values by name. Without any, colons in ``sql`` mean nothing special.
    :param column: the column, if the result has several.
    :raises InvalidInput: the query gives no rows at all, several columns and no ``column``, or not the named one; it
        lacks a parameter; or the database refuses it.
    :raises TryLater: the database was not reached, or went away.
    """
    statement = statement_of(sql, parameters)
    with (
        rows_kept_out_of_logs(engine),
        values_kept_out_of_errors(sql),
        connected(engine.connect) as connection,
        _never_committed(connection),
    ):
        streaming = connection.execution_options(stream_results=True, max_row_buffer=CHUNK_ROWS)
        result = streaming.execute(statement, dict(parameters or {}))
        check_is_query(sql, result.returns_rows)
        index = column_index(list(result.keys()), column, RESULT)
        first = 1
        for rows in result.partitions(CHUNK_ROWS):
            yield Values("row", range(first, first + len(rows)), [row[index] for row in rows])
            first += len(rows)


def statement_of(sql: str, parameters: Mapping[str, object] | None) -> TextClause:
    """A query with parameters ``:name``; without any, colons mean nothing special.

    :raises InvalidInput: a parameter is missing.
    """
    # Of several results only one would be read; and a COMMIT among them would change the database.
    if all(";" in one.rstrip("; \t\r\n") for one in _bare(sql)):
        raise InvalidInput("sql has several statements: give one query, whose result has all numbers")
    statement = text(sql if parameters else sql.replace(":", r"\:"))
    missing = statement.compile().params.keys() - dict(parameters or {}).keys()
    if missing:
        raise InvalidInput(
            f"sql and parameters do not fit: there is no parameter {', '.join(map(repr, sorted(missing)))}"
        )
    return statement


def check_is_query(sql: str, has_rows: bool) -> None:
    """:raises InvalidInput: what was executed gives no rows, or none of the database's own."""
    if not has_rows or any(_COUNTED.match(one.lstrip(" \t\r\n(")) for one in _bare(sql)):
        raise InvalidInput("sql must be a query that returns rows")


def _bare(sql: str) -> list[str]:
    """A query without its texts, quoted names and comments, in each way in which a database may read it."""
    return [quiet.sub(" ", sql) for quiet in _QUIET]


@contextmanager
def _never_committed(connection: Connection) -> Iterator[None]:
    """A transaction that is rolled back: an export changes nothing in the bank's database, whatever ``sql`` says."""
    transaction = connection.begin()
    try:
        yield
    except BaseException:
        # A database rolls back what it hears no more of. For an orderly rollback MySQL's drivers would first have to
        # read the rest of the result, which may be millions of rows.
        connection.invalidate()
        raise
    transaction.rollback()
