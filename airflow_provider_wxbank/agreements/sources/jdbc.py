# SPDX-License-Identifier: Apache-2.0
"""A database behind a JDBC driver, as a DB-API connection.

Why not JayDeBeApi's own cursor, through which Airflow's hook reaches the driver: it makes 64 bits of a DECIMAL of any
length, so that a number of 19 digits or more silently becomes another one; it does not tell the driver to stream before
the query runs, nor does the one of JPype; and it asks Java for the type of each value anew. What is here calls
``java.sql`` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from typing import Any

paramstyle = "qmark"
"""How parameters are marked, where DB-API modules say it."""

_PYTHON: dict[str, Callable[[Any], object]] = {
    "java.lang.String": str,
    "java.lang.Character": str,
    "java.lang.Boolean": bool,
    "java.lang.Byte": int,
    "java.lang.Short": int,
    "java.lang.Integer": int,
    "java.lang.Long": int,
    "java.lang.Float": float,
    "java.lang.Double": float,
    "java.math.BigInteger": lambda value: int(str(value)),
    "java.math.BigDecimal": lambda value: Decimal(str(value)),
}
"""What becomes of Java's values. Others stay as they are: they are no numbers, and are told by their class."""


class JdbcConnection:
    """A connection.

    :param java: the ``java.sql.Connection``.
    """

    def __init__(self, java: Any) -> None:
        self._java = java

    def cursor(self) -> JdbcCursor:
        """A cursor, which is to be closed."""
        return JdbcCursor(self._java)

    def rollback(self) -> None:
        """Undo what was changed."""
        self._java.rollback()

    def close(self) -> None:
        """End the connection."""
        self._java.close()


class JdbcCursor:
    """A query and its result.

    :ivar arraysize: rows that the driver is asked to fetch at a time. HSQLDB's does from a server, and as its maker
        says PostgreSQL's while autocommit is off, and MySQL's with ``useCursorFetch=true`` in the URL. Where it does
        not, the whole result is in the memory of the JVM.
    :ivar description: of each column a tuple with its name first; None before a query and after what is none.
    """

    def __init__(self, java: Any) -> None:
        self._java = java
        self._statement: Any = None
        self._result: Any = None
        self.arraysize = 1
        self.description: Sequence[tuple[str, ...]] | None = None

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> None:
        """Run a query. Without parameters a question mark in it means nothing special."""
        self._statement = self._java.prepareStatement(sql) if parameters else self._java.createStatement()
        with suppress(Exception):  # a hint, which not every driver takes
            self._statement.setFetchSize(self.arraysize)
        for position, value in enumerate(parameters, 1):
            self._statement.setObject(position, _to_java(value))
        if self._statement.execute(*(() if parameters else (sql,))):
            self._result = self._statement.getResultSet()
            columns = self._result.getMetaData()
            self.description = [
                (str(columns.getColumnLabel(position)),) for position in range(1, columns.getColumnCount() + 1)
            ]

    def fetchmany(self, size: int) -> list[tuple[object, ...]]:
        """The next rows, at most so many; none at the end."""
        result, positions = self._result, range(1, len(self.description or ()) + 1)
        rows: list[tuple[object, ...]] = []
        while len(rows) < size and result.next():
            rows.append(tuple(_to_python(result.getObject(position)) for position in positions))
        return rows

    def cancel(self) -> None:
        """Let the database stop, so that the rest of the result need not be read."""
        if self._statement is not None:
            self._statement.cancel()

    def close(self) -> None:
        """End the query, and its result with it."""
        if self._statement is not None:
            self._statement.close()


def _to_python(value: Any) -> object:
    convert = _PYTHON.get(type(value).__name__)
    return value if convert is None else convert(value)


def _to_java(value: object) -> object:
    """A parameter that JPype does not convert by itself; of a Decimal it would make a double."""
    if not isinstance(value, (date, Decimal)):
        return value
    from jpype import JClass  # there is a connection, so it is installed

    if isinstance(value, Decimal):
        return JClass("java.math.BigDecimal")(str(value))
    if isinstance(value, datetime):
        return JClass("java.sql.Timestamp").valueOf(value.strftime("%Y-%m-%d %H:%M:%S.%f"))
    return JClass("java.sql.Date").valueOf(value.isoformat())
