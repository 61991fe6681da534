# SPDX-License-Identifier: Apache-2.0
"""What a database tells of rows is in no error and no log: PostgreSQL, SQLite, and MariaDB where one is installed."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
import sqlalchemy
from sqlalchemy.engine import Engine

from airflow_provider_wxbank.agreements.sources.databases import read_sql
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater
from tests.conftest import numbers
from tests.harness.databases import NEEDS_MARIADB, ROWS

pytestmark = pytest.mark.slow

MARIADB = pytest.param("mariadb", marks=NEEDS_MARIADB)
ENGINES = ["postgres", "sqlite", MARIADB]

Database = Callable[..., Engine]


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """Makes engines of a database by its name."""
    engines = []

    def make(name: str, **options: Any) -> Engine:
        found = request.getfixturevalue(name)
        if name == "postgres":
            uri = f"postgresql+psycopg2://{found['login']}:@/{found['schema']}?host={quote_plus(found['host'])}"
        else:
            uri = found if name == "mariadb" else f"sqlite:///{found['host']}"
        engines.append(sqlalchemy.create_engine(uri, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


def told(engine: Engine, sql: str, **parameters: object) -> str:
    """What a query is refused with, and what that says first."""
    with pytest.raises((InvalidInput, TryLater)) as raised:
        list(read_sql(engine, sql, parameters or None, None))
    return str(raised.value)


@pytest.mark.parametrize(
    ("name", "sql", "code"),
    [
        ("postgres", "SELECT CAST('Zhang San 6202-6100-0000-0001' AS INTEGER)", "22P02"),
        ("postgres", "SELECT CAST('x' || agreement_no AS INTEGER) FROM users", "22P02"),
        ("postgres", "SELECT CAST(agreement_no || 'Zhang San' AS INTEGER) FROM users", "22003"),
        ("postgres", "SELECT 1 / (id - 700) FROM users", "22012"),
        ("postgres", "SELECT CAST('2024.13.77 ' || agreement_no AS DATE) FROM users", "22007"),
        ("sqlite", "SELECT json_extract(agreement_no || 'Zhang San', '$.a') FROM users", "SQLITE_ERROR"),
        ("sqlite", "SELECT json_extract('{}', agreement_no || 'Zhang San') FROM users", "SQLITE_ERROR"),
        pytest.param(
            "mariadb", "INSERT INTO users SELECT id, agreement_no, 1 FROM users WHERE id = 7 RETURNING id", "1062",
            marks=MARIADB.marks,
        ),
        pytest.param(
            "mariadb", "SELECT CONCAT(agreement_no, ST_GeomFromText(agreement_no)) FROM users, nowhere", "1146",
            marks=MARIADB.marks,
        ),
    ],
)  # fmt: skip
def test_an_error_has_the_database_s_code_and_no_value(database: Database, name: str, sql: str, code: str) -> None:
    message = told(database(name), sql)
    assert "the database answered" in message
    # Newer versions of PyMySQL tell the SQLSTATE, too.
    assert re.search(rf"code (?:\w{{5}} )?{code}\)", message)
    assert "run the query in a client of the database" in message
    for value in ("2024000", "6202", "6100", "Zhang San", "700", "'7'"):
        assert value not in message


@pytest.mark.parametrize("name", ENGINES)
def test_an_error_names_what_the_query_names(database: Database, name: str) -> None:
    engine = database(name)
    assert "of the words of sql it names no_such_table" in told(engine, "SELECT agreement_no FROM no_such_table")
    assert "no_such_column" in told(engine, "SELECT no_such_column FROM users")
    number = "a20240000000000000001"
    assert number not in told(engine, f"SELECT {number} FROM users")


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("sql", ["SELECT nothing FROM users", "SELECT 1 FROM nothing", "SELECT FROM WHERE"])
def test_a_wrong_query_is_not_tried_again(database: Database, name: str, sql: str) -> None:
    with pytest.raises(InvalidInput):
        list(read_sql(database(name), sql, None, None))


@pytest.mark.parametrize("name", ENGINES)
def test_a_parameter_that_is_missing_is_named_by_its_name(database: Database, name: str) -> None:
    sql = "SELECT agreement_no FROM users WHERE id > :low AND id < :high"
    message = told(database(name), sql, low=1, more=numbers(1)[0])
    assert message == "sql and parameters do not fit: there is no parameter 'high'"


def test_a_value_that_the_driver_cannot_decode_is_not_quoted(database: Database) -> None:
    message = told(database("sqlite"), "SELECT CAST(X'5A68616E67D5C5' AS TEXT)")
    assert "Zhang" not in message


def test_why_there_is_no_connection_is_told(database: Database, tmp_path: Path) -> None:
    lost = sqlalchemy.create_engine(f"postgresql+psycopg2://bank@/bank?host={quote_plus(str(tmp_path))}&port=6543")
    with pytest.raises(TryLater, match=r"OperationalError to the connection: .*No such file or directory") as raised:
        list(read_sql(lost, "SELECT 1", None, None))
    assert "6543" not in str(raised.value)
    refused = database("postgres").url.set(database="no_such_database")
    with pytest.raises(TryLater, match='to the connection: .*"no_such_database" does not exist'):
        list(read_sql(sqlalchemy.create_engine(refused), "SELECT 1", None, None))


DEBUG_LOGGERS = ("sqlalchemy", "sqlalchemy.engine", "sqlalchemy.engine.Engine")


@pytest.fixture
def levels() -> Iterator[Callable[[str, int], None]]:
    """Sets levels of loggers, for one test."""
    before = {name: logging.getLogger(name).level for name in DEBUG_LOGGERS}
    for name in DEBUG_LOGGERS[1:]:
        # Airflow may have set it.
        logging.getLogger(name).setLevel(logging.NOTSET)
    yield lambda name, level: logging.getLogger(name).setLevel(level)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


QUERY = "SELECT agreement_no FROM users WHERE agreement_no > :low ORDER BY id"


def read(engine: Engine) -> None:
    values = [value for some in read_sql(engine, QUERY, {"low": numbers(1)[0]}, None) for value in some.values]
    assert len(values) == ROWS - 1


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("logger", DEBUG_LOGGERS)
def test_rows_are_in_no_log_whichever_logger_is_at_debug(
    database: Database, levels: Callable[[str, int], None], caplog: pytest.LogCaptureFixture, name: str, logger: str
) -> None:
    caplog.handler.setLevel(0)
    engine = database(name)
    levels(logger, logging.DEBUG)
    read(engine)
    _no_number(caplog)


@pytest.mark.parametrize("options", [{"echo": "debug"}, {"echo": "debug", "logging_name": "bank"}, {"echo": True}])
def test_rows_are_in_no_log_of_an_engine_that_echoes(
    database: Database, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], options: dict[str, Any]
) -> None:
    caplog.handler.setLevel(0)
    read(database("sqlite", **options))
    _no_number(caplog, warned=options["echo"] == "debug")
    assert numbers(ROWS)[5] not in "".join(capfd.readouterr())
    # How the statement came about is still told.
    assert "SELECT agreement_no FROM users" in caplog.text


def test_rows_are_in_no_log_if_the_level_is_set_while_they_are_read(
    database: Database, levels: Callable[[str, int], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.setLevel(0)
    engine = database("postgres")
    levels("sqlalchemy.engine", logging.INFO)
    with closing(read_sql(engine, QUERY, {"low": "0"}, None)) as values:
        next(values)
        levels("sqlalchemy.engine", logging.DEBUG)
        list(values)
    _no_number(caplog, warned=False)


def test_the_log_of_others_is_theirs_again_afterwards(
    database: Database, levels: Callable[[str, int], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Two exports at a time, of which the second ends first."""
    caplog.handler.setLevel(0)
    engine = database("sqlite")
    levels("sqlalchemy.engine", logging.DEBUG)
    outer = read_sql(engine, QUERY, {"low": "0"}, None)
    next(outer)
    read(database("sqlite"))
    list(outer)
    _no_number(caplog, warnings=2)
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT agreement_no FROM users WHERE id = 4")).all()
    assert numbers(ROWS)[4] in caplog.text
    with pytest.raises(InvalidInput):
        list(read_sql(engine, "SELECT id, agreement_no FROM users", None, None))
    assert logging.getLogger("sqlalchemy.engine").level == logging.DEBUG


def _no_number(caplog: pytest.LogCaptureFixture, *, warned: bool = True, warnings: int = 1) -> None:
    found = [record for record in caplog.records if "2024000" in record.getMessage()]
    assert not found, f"{len(found)} records, the first of {found[0].name}"
    assert caplog.text.count("which prints every row") == (warnings if warned else 0)
