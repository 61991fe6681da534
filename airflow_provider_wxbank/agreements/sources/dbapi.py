# SPDX-License-Identifier: Apache-2.0
"""Queries of a bank's database through a plain DB-API connection (PEP 249), where there is no SQLAlchemy engine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal, cast, get_args

from sqlalchemy.engine.default import DefaultDialect

from airflow_provider_wxbank.agreements.numbers import CHUNK_ROWS, Values
from airflow_provider_wxbank.agreements.sources.databases import RESULT, check_is_query, statement_of
from airflow_provider_wxbank.agreements.sources.dialect import Column, column_index
from airflow_provider_wxbank.agreements.sources.redaction import connected, values_kept_out_of_errors
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

Paramstyle = Literal["qmark", "numeric", "named", "format", "pyformat"]
PARAMSTYLES = get_args(Paramstyle)
"""Ways in which a driver marks the parameters in a query: ``?``, ``:1``, ``:name``, ``%s``, ``%(name)s``."""


def read_cursor(
    connect: Callable[[], Any],
    sql: str,
    parameters: Mapping[str, object] | None,
    column: Column | None,
    placeholder: str = "%s",
) -> Generator[Values, None, None]:
    """The values of one column of a query's result, taken from a cursor some rows at a time.

    Whether that bounds the memory is the driver's affair. SQLite's fetches as it is asked, and JDBC's if it can (see
    jdbc.py). Those of psycopg and MySQL, and ODBC's for MariaDB and SQLite, have the whole result in memory before the
    first row: 40 to 50 MB for a million rows of 18 characters.

    Close it if it is not read to its end: that drops the connection.

    :param connect: opens the connection, which is closed in the end. Nothing is ever committed.
    :param sql: a query, as for :func:`.databases.read_sql`.
    :param placeholder: what marks a parameter, ``?`` or ``%s``, if the driver does not say.
    :raises InvalidInput: as for :func:`.databases.read_sql`, or the connection has no cursor.
    :raises TryLater: the database was not reached, or went away.
    """
    statement_of(sql, parameters)  # what is missing is told before anything is opened
    connection = connected(connect)
    with values_kept_out_of_errors(sql), _closed(connection) as cursor:
        cursor.execute(*executed(sql, parameters, paramstyle_of(connection, placeholder)))
        check_is_query(sql, bool(cursor.description))
        index = column_index([str(one[0]) for one in cursor.description], column, RESULT)
        first = 1
        for rows in map(_as_rows, _parts(cursor)):
            yield Values("row", range(first, first + len(rows)), [row[index] for row in rows])
            first += len(rows)


def executed(sql: str, parameters: Mapping[str, object] | None, paramstyle: Paramstyle) -> tuple[Any, ...]:
    """What a cursor is given to execute a query with parameters ``:name``. Without any, ``sql`` goes as it is."""
    if not parameters:
        return (sql,)
    compiled = statement_of(sql, parameters).compile(dialect=DefaultDialect(paramstyle=paramstyle))
    # SQLAlchemy 1.4 has an empty list where there are names.
    if compiled.positional:
        return str(compiled), tuple(parameters[name] for name in compiled.positiontup or ())
    return str(compiled), {name: parameters[name] for name in compiled.params}


def paramstyle_of(connection: object, placeholder: str) -> Paramstyle:
    """How the driver of a connection marks parameters, which the module says that the connection's class is of."""
    for one in type(connection).__mro__:
        name = one.__module__
        while name:
            style = getattr(sys.modules.get(name), "paramstyle", None)
            if style in PARAMSTYLES:
                return cast("Paramstyle", style)
            # psycopg2.extensions.connection is psycopg2's.
            name = name.rpartition(".")[0]
    return "qmark" if placeholder == "?" else "format"


def _parts(cursor: Any) -> Iterator[Sequence[Any]]:
    """The rows of a result, some at a time."""
    try:
        while rows := cursor.fetchmany(CHUNK_ROWS):
            yield rows
    except NotImplementedError:
        # Of Airflow's cursor for Elasticsearch, which has all rows or one.
        yield cursor.fetchall()


def _as_rows(rows: Sequence[Any]) -> Sequence[Sequence[Any]]:
    """Rows as tuples. Cursors of dictionaries give each value by the name of its column."""
    if isinstance(rows[0], str | bytes) or not hasattr(rows[0], "__getitem__"):
        raise InvalidInput("the connection's cursor gives no rows: leave its class out of the connection's extra")
    return [tuple(row.values()) for row in rows] if isinstance(rows[0], Mapping) else rows


@contextmanager
def _closed(connection: Any) -> Iterator[Any]:
    """A cursor of a connection, both of which are gone afterwards, with all that ``sql`` may have changed."""
    cursor = None
    is_read = False
    try:
        if not hasattr(connection, "cursor"):
            raise InvalidInput(
                f"the connection ({type(connection).__name__}) has no DB-API cursor: install the SQLAlchemy dialect of "
                "its database"
            )
        cursor = connection.cursor()
        with suppress(Exception):  # how many rows a driver fetches at a time, if it has a choice
            cursor.arraysize = CHUNK_ROWS
        if hasattr(cursor, "begin"):  # DuckDB's is a connection of its own, which else commits each statement
            cursor.begin()
        yield cursor
        is_read = True
    finally:
        # Some drivers read the rest of a result, perhaps millions of rows, when it is closed before its end.
        ends = [] if is_read else [(cursor, "cancel")]
        # A rollback first: Oracle's JDBC driver commits what is closed. A few have it for a cursor.
        _end([*ends, (cursor, "rollback"), (cursor, "close"), (connection, "rollback"), (connection, "close")])


def _end(calls: Sequence[tuple[object, str]]) -> None:
    """Call what is there. A failure, of a database without transactions for example, must not hide the reason."""
    for one, name in calls:
        with suppress(Exception):
            getattr(one, name)()
