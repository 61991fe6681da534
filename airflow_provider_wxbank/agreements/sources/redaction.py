# SPDX-License-Identifier: Apache-2.0
"""Keeps rows out of errors and logs, where a database, its driver and SQLAlchemy would write them."""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.exc import DBAPIError, StatementError

from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater, WxBankError

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine

log = logging.getLogger(__name__)

T = TypeVar("T")

NO_CODE = "no code"

MAX_WORDS = 5
"""Words of a query that an error quotes."""

# Runs of letters and digits with a digit in them, whatever separates their groups.
_NUMBER = re.compile(r"(?:[^\W\d]|[-./:])*\d[\w\-./:]*(?: [\w\-./:]*\d[\w\-./:]*)*")
_LITERAL = re.compile(r"'[^']*'")
_WORD = re.compile(r"[^\W\d]\w{2,}")
_CODE = re.compile(r"[A-Z0-9]{5}|[A-Z][A-Z_]{2,40}|[A-Z]{2,4}-\d{1,5}")
# In the text of a failed connection: the URL of a JDBC driver and the string of an ODBC driver may have a password.
_JDBC_URL = re.compile(r"jdbc:[^\s,]+", re.IGNORECASE)
_PASSWORD = re.compile(
    r"\b(pwd|passwd|password|passphrase|passcode|token|secret)\s*=\s*(?:\{[^}]*\}|[^;&\s]+)", re.IGNORECASE
)
_USER = re.compile(r"(?<=://)[^/@\s]*:[^@\n]*(?=@)")
_MAX_CODE = 999_999
"""Of a database's own. A longer one may be a value."""
# Of psycopg, psycopg2, sqlite3, MySQL's own driver, Trino, and oracledb, whose first argument has it.
_CODE_NAMES = ("sqlstate", "pgcode", "sqlite_errorname", "errno", "error_name", "full_code")
_SQLSTATE = re.compile(r"[0-9A-Z]{5}")
# pyodbc ends its text with the database's own code and the function that failed.
_NATIVE = re.compile(r"\((-?\d{1,9})\) \(SQL[A-Za-z]+\)$")
_CLIENT_OF_MYSQL = re.compile(r"2\d{3}")

_PASSING = ("08", "40", "53", "57", "HYT0")
"""Beginnings of an SQLSTATE: no connection, a transaction rolled back, resources, an operator, a timeout."""

_LASTING = ("07", "0A", "21", "22", "23", "28", "3D", "3F", "42", "IM")
"""The same: parameters, features, values, who connects, names, the query, and ODBC's own, such as an unknown DSN."""

_LASTING_OF_SQLITE = sqlite3.SQLITE_ERROR
"""An unknown table or column, or no SQL. The class of the error is that of a lost connection."""

_LASTING_OF_MYSQL = ("1044", "1045", "1049", "1054", "1142", "1143", "1227", "1370")
"""The same of MySQL, with rights and databases that are not there. Its drivers in Python have no SQLSTATE."""

_OF_DBAPI = (
    "DataError", "IntegrityError", "InternalError", "NotSupportedError", "OperationalError", "ProgrammingError",
    "InterfaceError", "DatabaseError", "Error",
)  # fmt: skip
_PASSING_CLASSES = frozenset(
    {
        "OperationalError",
        "InterfaceError",
        "java.sql.SQLTransientException",
        "java.sql.SQLRecoverableException",
        "java.sql.SQLNonTransientConnectionException",
        # Of Hive's and Impala's drivers.
        "TTransportException",
        # Of a driver that finds its connection broken: HSQLDB's when its server has ended.
        "java.lang.RuntimeException",
    }
)


def connected(connect: Callable[[], T]) -> T:
    """What ``connect`` opens, a connection to the database.

    :raises TryLater: it was not reached.
    :raises InvalidInput: it refuses the connection, or the driver cannot make one.
    """
    try:
        return connect()
    except WxBankError:
        raise
    except Exception as failure:
        orig = failure.orig if isinstance(failure, DBAPIError) else failure
        # No row was read yet, and only the text says why there is no connection.
        text = _PASSWORD.sub(r"\1=***", _USER.sub("***", _JDBC_URL.sub("jdbc:***", str(orig)[:2000])))
        kind = InvalidInput if "No suitable driver" in text else _kind(orig)
        code = f" ({found})" if (found := _code(orig)) != NO_CODE else ""
        raise kind(
            f"the database answered {_class_of(orig)} to the connection{code}: {_NUMBER.sub('***', text)[:500]}"
        ) from None


@contextmanager
def values_kept_out_of_errors(sql: str) -> Iterator[None]:
    """Turn the errors of any driver into ours, with class and code in place of a text that may quote rows."""
    try:
        yield
    except WxBankError:
        raise
    except (UnicodeError, ArithmeticError) as failure:
        raise InvalidInput(f"a value of the query's result cannot be read: {type(failure).__name__}") from None
    except Exception as failure:
        orig = failure.orig if isinstance(failure, DBAPIError) else failure
        if isinstance(orig, StatementError):  # the base class of DBAPIError: the statement did not reach the database
            raise InvalidInput(f"sql and parameters do not fit: {type(orig.orig).__name__}") from None
        words = _words_of(sql, str(orig))
        name, of_dbapi = type(orig).__name__, _class_of(orig)
        raise _kind(orig)(
            f"the database answered {of_dbapi} ({'' if name == of_dbapi else f'{name}, '}{_code(orig)})"
            f"{f'; of the words of sql it names {words}' if words else ''}. Its text may quote rows, so it is left "
            "out: run the query in a client of the database to read it"
        ) from None


def sqlstate(failure: object) -> str | None:
    """The SQLSTATE of a driver's error: an attribute, Java's method, or the first of several arguments, as ODBC has."""
    arguments = getattr(failure, "args", ())
    first = next(iter(arguments), None)
    # JayDeBeApi raises an error of its own, with Java's in it.
    for source in (failure, first):
        found = getattr(source, "sqlstate", None) or getattr(source, "pgcode", None)
        if callable(of_java := getattr(source, "getSQLState", None)):
            found = of_java()
        if isinstance(found, str) and _SQLSTATE.fullmatch(found):
            return found
    return first if len(arguments) > 1 and isinstance(first, str) and _SQLSTATE.fullmatch(first) else None


def _kind(failure: object) -> type[InvalidInput | TryLater]:
    """Whether the same may succeed later: by the SQLSTATE, or else by the class."""
    state = sqlstate(failure) or ""
    if state.startswith(_LASTING) or getattr(failure, "sqlite_errorcode", None) == _LASTING_OF_SQLITE:
        return InvalidInput
    if type(failure).__module__.startswith(("pymysql", "MySQLdb")) and _native_code(failure) in _LASTING_OF_MYSQL:
        return InvalidInput
    # MySQL's own driver for ODBC has no state of its own for a connection that is lost.
    is_lost = state == "HY000" and _CLIENT_OF_MYSQL.fullmatch(_native_code(failure))
    classes = {one.__name__ for one in type(failure).__mro__}
    if state.startswith(_PASSING) or is_lost or classes & _PASSING_CLASSES:
        return TryLater
    # What a driver leaves to the network: sockets, and requests, whose errors are of this class, too.
    is_of_network = isinstance(failure, OSError) and not isinstance(failure, FileNotFoundError | PermissionError)
    return TryLater if is_of_network else InvalidInput


def _class_of(failure: object) -> str:
    """The class of an error that DB-API knows; its own name if it has none."""
    names = [one.__name__ for one in type(failure).__mro__]
    return next((name for name in names if name in _OF_DBAPI), names[0])


def _native_code(failure: object) -> str:
    """The database's own code beside the SQLSTATE; empty if there is none."""
    if callable(of_java := getattr(failure, "getErrorCode", None)):
        return str(int(of_java()))
    first, second = (*tuple(getattr(failure, "args", ())), None, None)[:2]
    if (
        isinstance(first, int) and abs(first) <= _MAX_CODE and second is not None
    ):  # MySQL's; a single argument may be a value
        return str(first)
    found = _NATIVE.search(second) if isinstance(second, str) else None
    return found[1] if found else ""


def _code(orig: object) -> str:
    state, native = sqlstate(orig), _native_code(orig)
    if state:
        return f"code {state} {native}".rstrip()
    first = next(iter(getattr(orig, "args", ())), None)
    for source, name in [(orig, name) for name in _CODE_NAMES] + [(first, "full_code")]:
        code = getattr(source, name, None)
        if (isinstance(code, int) and abs(code) <= _MAX_CODE) or (isinstance(code, str) and _CODE.fullmatch(code)):
            return f"code {code}"
    # A single text may be a value.
    if not native and len(getattr(orig, "args", ())) > 1 and _CODE.fullmatch(str(first)):
        native = str(first)
    return f"code {native}" if native else NO_CODE


def _words_of(sql: str, text: str) -> str:
    """The names in a query that the first line of an error has, too: the user wrote them, so they are no row's."""
    # Without texts in quotes, which may be a customer's data. Some databases tell names in capital letters.
    known = {word.upper(): word for word in _WORD.findall(_LITERAL.sub(" ", sql))}
    found = [known.get(word.upper()) for word in _WORD.findall(text.partition("\n")[0])]
    told = dict.fromkeys(word for word in found if word)
    return ", ".join(word for word in list(told)[:MAX_WORDS] if not re.search(r"\d{5}", word))


@contextmanager
def rows_kept_out_of_logs(engine: Engine) -> Iterator[None]:
    """SQLAlchemy logs every row at DEBUG, and parameters at INFO. In this block it does neither.

    This is done by a filter and not by a level: it holds whatever sets levels meanwhile, ``echo="debug"`` included, and
    each of several exports takes only its own away again.
    """
    logger = engine.logger if isinstance(engine.logger, logging.Logger) else engine.logger.logger
    if engine.logger.isEnabledFor(logging.DEBUG):
        log.warning(
            "The logger %s is at DEBUG, which prints every row; while this query is read, it is not", logger.name
        )
    hidden, engine.hide_parameters = engine.hide_parameters, True

    def is_above_debug(record: logging.LogRecord) -> bool:
        return record.levelno > logging.DEBUG

    logger.addFilter(is_above_debug)
    try:
        yield
    finally:
        logger.removeFilter(is_above_debug)
        engine.hide_parameters = hidden
