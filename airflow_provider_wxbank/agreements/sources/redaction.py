# SPDX-License-Identifier: Apache-2.0
"""Keeps rows out of errors and logs, where a database, its driver and SQLAlchemy would write them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, StatementError

from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

log = logging.getLogger(__name__)

MAX_WORDS = 5
"""Words of a query that an error quotes."""

# Runs of letters and digits with a digit in them, whatever separates their groups.
_NUMBER = re.compile(r"(?:[^\W\d]|[-./:])*\d[\w\-./:]*(?: [\w\-./:]*\d[\w\-./:]*)*")
_LITERAL = re.compile(r"'[^']*'")
_WORD = re.compile(r"[^\W\d]\w{2,}")
_CODE = re.compile(r"[A-Z0-9]{5}|[A-Z][A-Z_]{2,40}|[A-Z]{2,4}-\d{1,5}")
# Of psycopg, psycopg2, sqlite3, MySQL's own driver, Trino, and oracledb, whose first argument has it.
_CODE_NAMES = ("sqlstate", "pgcode", "sqlite_errorname", "errno", "error_name", "full_code")


def connected(engine: Engine) -> Connection:
    """A connection to the database.

    :raises TryLater: it was not reached.
    :raises InvalidInput: it refuses the connection.
    """
    try:
        return engine.connect()
    except DBAPIError as failure:
        # No row was read yet, and only the text says why there is no connection.
        text = _NUMBER.sub("***", str(failure.orig)[:2000])[:500]
        raise _kind(failure)(f"the database answered {type(failure).__name__} to the connection: {text}") from None


@contextmanager
def values_kept_out_of_errors(sql: str) -> Iterator[None]:
    """Turn the database's errors into ours, with class and code in place of a text that may quote rows."""
    try:
        yield
    except DBAPIError as failure:
        orig = failure.orig
        words = _words_of(sql, str(orig))
        raise _kind(failure)(
            f"the database answered {type(failure).__name__} ({type(orig).__name__}, {_code(orig)})"
            f"{f'; of the words of sql it names {words}' if words else ''}. Its text may quote rows, so it is left "
            "out: run the query in a client of the database to read it"
        ) from None
    except (UnicodeError, ArithmeticError) as failure:
        raise InvalidInput(f"a value of the query's result cannot be read: {type(failure).__name__}") from None
    except StatementError as failure:  # the base class of DBAPIError: the statement did not reach the database
        raise InvalidInput(f"sql and parameters do not fit: {type(failure.orig).__name__}") from None


def _kind(failure: DBAPIError) -> type[InvalidInput | TryLater]:
    return TryLater if isinstance(failure, (OperationalError, InterfaceError)) else InvalidInput


def _code(orig: object) -> str:
    first = next(iter(getattr(orig, "args", ())), None)
    for source, name in [(orig, name) for name in _CODE_NAMES] + [(first, "full_code")]:
        code = getattr(source, name, None)
        if isinstance(code, int) or (isinstance(code, str) and _CODE.fullmatch(code)):
            return f"code {code}"
    # The first of several arguments is MySQL's number or ODBC's SQLSTATE. A single text may be a value.
    if len(getattr(orig, "args", ())) > 1 and (isinstance(first, int) or _CODE.fullmatch(str(first))):
        return f"code {first}"
    return "no code"


def _words_of(sql: str, text: str) -> str:
    """The names in a query that the first line of an error has, too: the user wrote them, so they are no row's."""
    # Without texts in quotes, which may be a customer's data.
    known = set(_WORD.findall(_LITERAL.sub(" ", sql)))
    told = dict.fromkeys(word for word in _WORD.findall(text.partition("\n")[0]) if word in known)
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
