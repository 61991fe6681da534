# SPDX-License-Identifier: Apache-2.0
"""A database is read through its plain DB-API connection: SQLite, DuckDB, and through ODBC SQLite and MariaDB."""

from __future__ import annotations

import importlib
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any

import duckdb
import pytest

from airflow_provider_wxbank.agreements.numbers import CHUNK_ROWS, Tally, checked_numbers
from airflow_provider_wxbank.agreements.sources.dbapi import (
    PARAMSTYLES,
    Paramstyle,
    executed,
    paramstyle_of,
    read_cursor,
)
from airflow_provider_wxbank.agreements.sources.dialect import Column
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater
from airflow_provider_wxbank.wechatpay.tracebacks import forgets_locals
from tests.conftest import numbers
from tests.harness.databases import NEEDS_MARIADB, ROWS
from tests.harness.drivers_of_databases import NEEDS_ODBC_MARIADB, NEEDS_ODBC_SQLITE, ODBC_MARIADB, ODBC_SQLITE
from tests.harness.waiting import PATIENCE, until

pytestmark = pytest.mark.slow

Connect = Callable[[], Any]

ODBC_ON_SQLITE = pytest.param("odbc on sqlite", marks=NEEDS_ODBC_SQLITE)
ODBC_ON_MARIADB = pytest.param("odbc on mariadb", marks=[*NEEDS_MARIADB, NEEDS_ODBC_MARIADB])
DRIVERS = ["sqlite", "duckdb", ODBC_ON_SQLITE, ODBC_ON_MARIADB]

ENDLESS = "FROM users a, users b, users c"


@pytest.fixture
def opened() -> list[Any]:
    """Every connection that a test has opened."""
    return []


@pytest.fixture
def connect(request: pytest.FixtureRequest, opened: list[Any]) -> Connect:
    """Opens a connection of a driver."""
    name = getattr(request, "param", "sqlite")

    def open_one() -> Any:
        opened.append(_open(name, request))
        return opened[-1]

    return open_one


def _open(name: str, request: pytest.FixtureRequest) -> Any:
    if name == "sqlite":
        return sqlite3.connect(request.getfixturevalue("sqlite")["host"])
    if name == "duckdb":
        return duckdb.connect(request.getfixturevalue("duck")["host"])
    import pyodbc

    if name == "odbc on sqlite":
        path = request.getfixturevalue("sqlite")["host"]
        return pyodbc.connect(f"DRIVER={{{ODBC_SQLITE}}};DATABASE={path};")
    socket = request.getfixturevalue("mariadb_socket")
    return pyodbc.connect(f"DRIVER={{{ODBC_MARIADB}}};SOCKET={socket};DATABASE=bank;UID=root;")


def read(connect: Connect, sql: str, parameters: dict[str, object] | None = None, column: Column | None = None) -> Any:
    return [value for some in read_cursor(connect, sql, parameters, column) for value in some.values]


def is_closed(connection: Any) -> bool:
    try:
        connection.cursor().execute("SELECT 1")
    except Exception as failure:
        return "closed" in str(failure).lower()
    return False


@pytest.mark.parametrize("connect", DRIVERS, indirect=True)
def test_a_query_is_read_in_its_order_some_rows_at_a_time(connect: Connect, opened: list[Any]) -> None:
    parts = list(read_cursor(connect, "SELECT agreement_no FROM users ORDER BY id", None, None))
    assert [len(part.values) for part in parts] == [CHUNK_ROWS, CHUNK_ROWS, ROWS - 2 * CHUNK_ROWS]
    assert [value for part in parts for value in part.values] == numbers(ROWS)
    assert [position for part in parts for position in part.positions] == list(range(1, ROWS + 1))
    assert [is_closed(one) for one in opened] == [True]


@pytest.mark.parametrize("connect", DRIVERS, indirect=True)
def test_parameters_are_bound_by_their_names(connect: Connect) -> None:
    sql = "SELECT agreement_no FROM users WHERE id >= :low AND id < :low + :more AND :name = 'O''Neil %s ?' ORDER BY id"
    name = "O'Neil %s ?"
    assert read(connect, sql, {"more": 3, "name": name, "low": 10, "not_there": 1}) == numbers(13)[10:]
    assert read(connect, sql, {"more": 3, "name": "x' OR '1' = '1", "low": 10}) == []


@pytest.mark.parametrize("connect", DRIVERS, indirect=True)
def test_without_parameters_nothing_in_a_query_is_special(connect: Connect) -> None:
    sql = "SELECT agreement_no FROM users WHERE agreement_no LIKE '2024%' AND '?' <> ':low' AND id % 2 = 0 AND id < 4"
    assert read(connect, f"{sql} ORDER BY id") == [numbers(3)[0], numbers(3)[2]]


def test_casts_are_kept(request: pytest.FixtureRequest) -> None:
    def connect() -> Any:
        return _open("duckdb", request)

    assert read(connect, "SELECT id::TEXT FROM users WHERE id = 7") == ["7"]
    assert read(connect, "SELECT id::TEXT FROM users WHERE id = :id AND id::TEXT = '7'", {"id": 7}) == ["7"]


@pytest.mark.parametrize("connect", DRIVERS, indirect=True)
def test_a_column_is_chosen_by_name_and_by_number(connect: Connect) -> None:
    sql = "SELECT id, agreement_no FROM users WHERE id < 2 ORDER BY id"
    for column in ("agreement_no", " AGREEMENT_NO", 2):
        assert read(connect, sql, column=column) == numbers(2)
    for wrong, message in ((None, "2 columns; name the one"), ("number", "none of them named"), (3, "column is 3")):
        with pytest.raises(InvalidInput, match=message):
            read(connect, sql, column=wrong)


@pytest.mark.parametrize("connect", DRIVERS, indirect=True)
def test_no_rows_are_no_values(connect: Connect) -> None:
    assert read(connect, "SELECT agreement_no FROM users WHERE id < 0") == []


@pytest.mark.parametrize(
    ("connect", "expected"),
    [
        ("sqlite", ["1", None, " ", 1.5]),
        ("duckdb", ["1", None, " ", "1.5"]),
        pytest.param("odbc on sqlite", ["1", None, " ", "1.5"], marks=NEEDS_ODBC_SQLITE),
        pytest.param("odbc on mariadb", ["1", None, " ", "1.5"], marks=[*NEEDS_MARIADB, NEEDS_ODBC_MARIADB]),
    ],
    indirect=["connect"],
)
def test_values_are_given_as_the_driver_gives_them(connect: Connect, expected: list[object]) -> None:
    sql = "SELECT '1' AS n UNION ALL SELECT NULL UNION ALL SELECT ' ' UNION ALL SELECT 1.5"
    assert read(connect, sql) == expected


@pytest.mark.parametrize("connect", [ODBC_ON_MARIADB], indirect=True)
def test_whole_numbers_of_any_length_are_kept(connect: Connect) -> None:
    long = 202400000000000000000000000001
    assert read(connect, f"SELECT CAST({long} AS DECIMAL(40))") == [Decimal(long)]
    assert read(connect, "SELECT :number", {"number": 2**62}) == [2**62]


def deleting(connect: Connect, sql: str) -> None:
    with pytest.raises(InvalidInput, match="must be a query that returns rows"):
        read(connect, sql)


@pytest.mark.parametrize("connect", DRIVERS, indirect=True)
def test_what_is_no_query_is_refused_and_undone(connect: Connect, opened: list[Any]) -> None:
    deleting(connect, "DELETE FROM users")
    assert [is_closed(one) for one in opened] == [True]
    assert read(connect, "SELECT COUNT(*) FROM users") == [ROWS]


@pytest.mark.parametrize("connect", ["sqlite", "duckdb"], indirect=True)
def test_what_a_query_changes_is_undone(connect: Connect) -> None:
    assert len(read(connect, "DELETE FROM users RETURNING agreement_no")) == ROWS
    values = read_cursor(connect, "DELETE FROM users RETURNING agreement_no", None, None)
    next(values)
    values.close()
    assert read(connect, "SELECT COUNT(*) FROM users") == [ROWS]


@pytest.mark.parametrize("connect", DRIVERS, indirect=True)
def test_a_reader_that_stops_early_closes_the_connection(connect: Connect, opened: list[Any]) -> None:
    with closing(read_cursor(connect, "SELECT agreement_no FROM users ORDER BY id", None, None)) as values:
        next(values)
        assert not is_closed(opened[0])
    assert is_closed(opened[0])


BROKEN = """SELECT json_extract(CASE WHEN id = 7000 THEN 'Zhang San ' || agreement_no ELSE '{"a": "1"}' END, '$.a')
FROM users ORDER BY id"""


@pytest.mark.parametrize(
    ("connect", "before"),
    # The driver has the whole result in memory before it gives the first row.
    [("sqlite", [CHUNK_ROWS]), pytest.param("odbc on sqlite", [], marks=NEEDS_ODBC_SQLITE)],
    indirect=["connect"],
)
def test_a_failure_in_the_middle_closes_the_connection_and_tells_no_value(
    connect: Connect, before: list[int], opened: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    seen: list[int] = []

    @forgets_locals
    def run() -> None:
        with closing(read_cursor(connect, BROKEN, None, None)) as values:
            seen.extend(len(part.values) for part in values)

    with pytest.raises((InvalidInput, TryLater), match="the database answered .*code") as raised:
        run()
    assert seen == before
    assert [is_closed(one) for one in opened] == [True]
    shown = traceback.TracebackException.from_exception(raised.value, capture_locals=True)
    told = "".join(shown.format(chain=True)) + caplog.text
    assert numbers(7001)[-1] not in told
    assert "Zhang San 2" not in told
    assert numbers(1)[0] not in told


def test_a_wrong_row_closes_the_connection(connect: Connect, opened: list[Any]) -> None:
    sql = "SELECT CASE WHEN id = 6000 THEN NULL ELSE agreement_no END FROM users ORDER BY id"
    with (
        closing(read_cursor(connect, sql, None, None)) as values,
        pytest.raises(InvalidInput, match="row 6001 is NULL"),
    ):
        list(checked_numbers(values, "fail", Tally()))
    assert is_closed(opened[0])


@pytest.mark.parametrize(
    ("connect", "sql", "code"),
    [
        ("sqlite", "SELECT json_extract(agreement_no || 'Zhang San', '$.a') FROM users", "code SQLITE_ERROR"),
        ("duckdb", "SELECT CAST(agreement_no || 'Zhang San' AS INTEGER) FROM users", "ConversionException, no code"),
        pytest.param(
            "odbc on mariadb", "INSERT INTO users SELECT id, agreement_no, 1 FROM users WHERE id = 7",
            "code 23000 1062", marks=[*NEEDS_MARIADB, NEEDS_ODBC_MARIADB],
        ),
    ],
    indirect=["connect"],
)  # fmt: skip
def test_an_error_has_class_and_code_and_no_value(connect: Connect, sql: str, code: str) -> None:
    with pytest.raises((InvalidInput, TryLater)) as raised:
        read(connect, sql)
    assert code in str(raised.value)
    for value in ("2024000", "Zhang", "'7'"):
        assert value not in str(raised.value)


@pytest.mark.parametrize("connect", DRIVERS, indirect=True)
def test_an_error_names_what_the_query_names(connect: Connect) -> None:
    with pytest.raises((InvalidInput, TryLater), match="of the words of sql it names no_such_table"):
        read(connect, "SELECT agreement_no FROM no_such_table")


def test_a_parameter_that_is_missing_is_told_before_anything_is_opened(connect: Connect, opened: list[Any]) -> None:
    with pytest.raises(InvalidInput, match="there is no parameter 'high'"):
        read(connect, "SELECT 1 FROM users WHERE id < :high", {"low": 1})
    assert opened == []


def test_a_parameter_of_a_wrong_kind_is_not_quoted(connect: Connect) -> None:
    with pytest.raises(InvalidInput, match="the database answered ") as raised:
        read(connect, "SELECT 1 FROM users WHERE id < :high", {"high": {"of": "Zhang"}})
    assert "Zhang" not in str(raised.value)


def test_a_value_that_cannot_be_decoded_is_not_quoted(connect: Connect) -> None:
    with pytest.raises((InvalidInput, TryLater)) as raised:
        read(connect, "SELECT CAST(X'5A68616E67D5C5' AS TEXT)")
    assert "Zhang" not in str(raised.value)


def running(connect: Connect) -> list[Any]:
    """The connections whose endless query the server is at."""
    with closing(connect()) as connection:
        rows = connection.cursor().execute("SHOW PROCESSLIST").fetchall()
    return [row[0] for row in rows if ENDLESS in str(row)]


def test_the_rest_of_a_result_is_not_read(connect: Connect) -> None:
    """1.7 billion rows: whoever reads them does not come back."""
    with closing(read_cursor(connect, f"SELECT a.agreement_no {ENDLESS}", None, None)) as values:
        assert len(next(values).values) == CHUNK_ROWS


@pytest.mark.parametrize("connect", [ODBC_ON_MARIADB], indirect=True)
def test_a_database_that_goes_away_is_worth_another_try(connect: Connect) -> None:
    def kill() -> None:
        until(lambda: bool(running(connect)), PATIENCE, "the query has not begun")
        with closing(connect()) as other:
            other.cursor().execute(f"KILL CONNECTION {running(connect)[0]}")

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill)
        with pytest.raises(TryLater, match="the database answered .*code"):
            read(connect, f"SELECT COUNT(*) {ENDLESS}")
        killed.result()


@pytest.mark.parametrize("connect", [ODBC_ON_MARIADB], indirect=True)
def test_why_there_is_no_connection_is_told_without_a_password(connect: Connect, tmp_path: Path) -> None:
    import pyodbc

    with pytest.raises(TryLater, match=r"Error to the connection \(code HY000 2002\): .*connect to"):
        read(
            lambda: pyodbc.connect(f"DRIVER={{{ODBC_MARIADB}}};SOCKET={tmp_path}/none;UID=bank;PWD=secret"), "SELECT 1"
        )

    def refuses() -> Any:
        raise ValueError("cannot use PWD=secret; nor jdbc:oracle:thin:bank/secret@host:1521/db, at 2026-11-26")

    with pytest.raises(InvalidInput, match="the database answered ValueError to the connection") as raised:
        read(refuses, "SELECT 1")
    assert "secret" not in str(raised.value)
    assert "1521" not in str(raised.value)
    assert "2026" not in str(raised.value)


def test_a_connection_without_a_cursor_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="has no DB-API cursor: install the SQLAlchemy dialect"):
        read(lambda: tmp_path, "SELECT 1")


def made(cursor: type[sqlite3.Cursor]) -> Connect:
    """A connection whose rows are of another kind."""

    def open_one() -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:")
        connection.row_factory = cursor
        return connection

    return open_one


TWO_ROWS = "SELECT 1 AS id, '202400000000000001' AS agreement_no UNION ALL SELECT 2, '202400000000000002'"


def test_rows_may_be_mappings() -> None:
    """As the cursors of dictionaries of MySQL's drivers give them."""
    as_dict = made(lambda cursor, row: dict(zip([one[0] for one in cursor.description], row, strict=True)))  # type: ignore[arg-type]
    assert read(as_dict, TWO_ROWS, column="AGREEMENT_NO") == ["202400000000000001", "202400000000000002"]
    assert read(made(sqlite3.Row), TWO_ROWS, column=2) == ["202400000000000001", "202400000000000002"]  # type: ignore[arg-type]


def test_rows_that_are_single_values_are_no_rows() -> None:
    """The first character of a text would be encrypted as a number."""
    with pytest.raises(InvalidInput, match="gives no rows"):
        read(made(lambda _, row: row[1]), TWO_ROWS, column="agreement_no")  # type: ignore[arg-type]


@pytest.mark.parametrize("connect", ["sqlite", "duckdb"], indirect=True)
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1; SELECT 2",
        "INSERT INTO users SELECT * FROM users; COMMIT; SELECT agreement_no FROM users",
        "BEGIN NOT ATOMIC SELECT 1; SELECT 2; END",
        "SELECT 'a;b' ; -- c;d\n SELECT 2",
        "SELECT 'it''s'; SELECT 'x'",
    ],
)
def test_several_statements_are_refused_before_anything_is_opened(
    connect: Connect, opened: list[Any], sql: str
) -> None:
    with pytest.raises(InvalidInput, match="sql has several statements: give one query"):
        read(connect, sql)
    assert opened == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 'a;b'",
        "SELECT ';' -- c;d",
        "SELECT '/* ; */' /* ; */;",
        "SELECT 'it''s; so';\n",
        "SELECT ';' AS \"a;b\"",
        "SELECT 'C:\\'  || ';'",
    ],
)
def test_a_semicolon_that_parts_nothing_is_none(sql: str) -> None:
    assert len(read(made(sqlite3.Row), sql)) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("connect", ["duckdb"], indirect=True)
@pytest.mark.parametrize(
    "sql",
    [
        "WITH x AS (SELECT 1 AS a) INSERT INTO users SELECT id + 100000, agreement_no, active FROM users WHERE id < 5",
        "-- monthly\nINSERT INTO users SELECT id + 100000, agreement_no, active FROM users WHERE id < 5",
        "/* x */ UPDATE users SET active = 1",
        "INSERT INTO users SELECT id + 100000, agreement_no, active FROM users WHERE id < 5 -- output",
    ],
)
def test_how_many_rows_were_changed_is_no_number(connect: Connect, sql: str) -> None:
    with pytest.raises(InvalidInput, match="must be a query that returns rows"):
        read(connect, sql)


class CursorOfElasticsearch:
    """As Airflow's: it has no ``fetchmany`` of its own."""

    description = (("agreement_no", "text"),)

    def execute(self, statement: str) -> None:
        """Run a query."""

    def fetchmany(self, size: int | None = None) -> Any:
        """As there."""
        raise NotImplementedError

    def fetchall(self) -> Any:
        """All rows."""
        return [[one] for one in numbers(3)]


class ConnectionOfElasticsearch:
    """As Airflow's: it has no ``rollback``."""

    is_closed = False

    def cursor(self) -> CursorOfElasticsearch:
        """A cursor."""
        return CursorOfElasticsearch()

    def close(self) -> None:
        """Close it."""
        self.is_closed = True


class Streaming:
    """A connection and its cursor, of a driver that would read a result to its end when it is closed."""

    description = (("agreement_no",),)

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.arraysize = 1
        self.rows = [(one,) for one in numbers(2 * CHUNK_ROWS)]

    def cursor(self) -> Streaming:
        """Itself."""
        return self

    def fetchmany(self, size: int) -> Any:
        """The next rows."""
        rows, self.rows = self.rows[:size], self.rows[size:]
        return rows

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: self.calls.append(name)


def test_a_result_that_is_not_read_to_its_end_is_cancelled_before_it_is_closed() -> None:
    given_up, read_on = Streaming(), Streaming()
    with closing(read_cursor(lambda: given_up, "SELECT 1", None, None)) as values:
        next(values)
    assert given_up.calls == ["begin", "execute", "cancel", "rollback", "close", "rollback", "close"]
    list(read_cursor(lambda: read_on, "SELECT 1", None, None))
    assert "cancel" not in read_on.calls
    assert read_on.arraysize == CHUNK_ROWS
    assert read_on.calls[-2:] == ["rollback", "close"]


def test_a_driver_that_has_all_rows_or_one_is_read(opened: list[Any]) -> None:
    def connect() -> Any:
        opened.append(ConnectionOfElasticsearch())
        return opened[-1]

    assert read(connect, "SELECT agreement_no FROM users") == numbers(3)
    assert opened[0].is_closed


@pytest.mark.parametrize(
    ("paramstyle", "sql", "parameters"),
    [
        ("qmark", "SELECT a::int, '5%' FROM t WHERE a = ? AND b < ? AND c > ?", ("x", 2, "x")),
        ("format", "SELECT a::int, '5%%' FROM t WHERE a = %s AND b < %s AND c > %s", ("x", 2, "x")),
        ("named", "SELECT a::int, '5%' FROM t WHERE a = :a AND b < :b AND c > :a", {"a": "x", "b": 2}),
        ("pyformat", "SELECT a::int, '5%%' FROM t WHERE a = %(a)s AND b < %(b)s AND c > %(a)s", {"a": "x", "b": 2}),
    ],
)
def test_parameters_are_marked_as_the_driver_marks_them(paramstyle: Paramstyle, sql: str, parameters: object) -> None:
    written = "SELECT a::int, '5%' FROM t WHERE a = :a AND b < :b AND c > :a"
    assert executed(written, {"b": 2, "a": "x", "more": 1}, paramstyle) == (sql, parameters)


def test_numbered_parameters_are_in_the_order_of_their_numbers() -> None:
    sql, parameters = executed("SELECT 1 FROM t WHERE a = :a AND b < :b AND c > :a", {"b": 2, "a": "x"}, "numeric")
    # SQLAlchemy 1.4 numbers each mark.
    assert (sql.count(":1"), *parameters[:2]) in ((2, "x", 2), (1, "x", 2))
    assert len(parameters) == (2 if sql.count(":1") == 2 else 3)


@pytest.mark.parametrize("paramstyle", PARAMSTYLES)
def test_a_query_without_parameters_is_executed_as_it_is(paramstyle: Paramstyle) -> None:
    sql = "SELECT a::int, ':a', '5%', x ? 'y' FROM t"
    assert executed(sql, None, paramstyle) == (sql,)
    assert executed(sql, {}, paramstyle) == (sql,)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("sqlite3", "Connection"),
        ("duckdb", "DuckDBPyConnection"),
        ("psycopg2", "extensions.connection"),
        ("pymysql", "connections.Connection"),
    ],
)
def test_the_module_of_a_connection_says_how_parameters_are_marked(module: str, name: str) -> None:
    of_driver = importlib.import_module(module)
    kind = attrgetter(name)(of_driver)
    connection = duckdb.connect() if module == "duckdb" else kind.__new__(kind)
    assert paramstyle_of(connection, "x") == of_driver.paramstyle


def test_a_driver_that_does_not_say_has_its_hook_s_placeholder() -> None:
    assert paramstyle_of(ConnectionOfElasticsearch(), "?") == "qmark"
    assert paramstyle_of(ConnectionOfElasticsearch(), "%s") == "format"


class Failure(Exception):
    """An error of a driver."""

    def __init__(self, *arguments: object, **attributes: object) -> None:
        super().__init__(*arguments)
        self.__dict__.update(attributes)


class OperationalError(Failure):
    """As DB-API has it."""


class InterfaceError(Failure):
    """As DB-API has it."""


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (OperationalError("gone"), TryLater),
        (InterfaceError("gone"), TryLater),
        (ConnectionResetError("gone"), TryLater),
        (TimeoutError("gone"), TryLater),
        (Failure("08S01", "[08S01] gone"), TryLater),
        (Failure("40001", "[40001] deadlock"), TryLater),
        (Failure("HYT00", "[HYT00] timeout"), TryLater),
        (Failure("HYT01", "[HYT01] timeout"), TryLater),
        (Failure("x", sqlstate="57P01"), TryLater),
        (Failure("HY000", "[HY000] [ma-3.1.15]gone (2013) (SQLFetch)"), TryLater),
        (Failure("HY000", "[HY000] [SQLite]malformed JSON (1) (1) (SQLExecDirectW)"), InvalidInput),
        (Failure("x", pgcode="22P02"), InvalidInput),
        (InterfaceError("28000", "[28000] wrong password"), InvalidInput),
        (InterfaceError("IM002", "[IM002] no data source"), InvalidInput),
        (OperationalError("x", sqlstate="42S22"), InvalidInput),
        (FileNotFoundError("there is no library"), InvalidInput),
        (
            type("ArrayIndexOutOfBoundsException", (type("java.lang.RuntimeException", (Exception,), {}),), {})(),
            TryLater,
        ),
        (KeyError("x"), InvalidInput),
    ],
)
def test_an_error_is_worth_another_try_if_it_may_pass(failure: Exception, kind: type[Exception]) -> None:
    def fail() -> Any:
        raise failure

    with pytest.raises(kind, match="to the connection"):
        read(fail, "SELECT 1")

    class Connection(ConnectionOfElasticsearch):
        def cursor(self) -> Any:
            return fail()

    with pytest.raises(kind, match="Its text may quote rows"):
        read(Connection, "SELECT 1")


@pytest.mark.parametrize(
    "failure",
    [
        Failure(202400000000000007, "bad"),
        Failure("bad", errno=202400000000000007),
        Failure("bad"),
    ],
)
def test_a_code_that_may_be_a_value_is_not_told(failure: Exception) -> None:
    class Connection(ConnectionOfElasticsearch):
        def cursor(self) -> Any:
            raise failure

    with pytest.raises(InvalidInput) as raised:
        read(Connection, "SELECT 1")
    assert "2024" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "PWD={a b;c}; no route", "passwd=abc; no route", "secret = abc", "postgresql://bank:a-b c@host/db: no route",
        "could not connect to mysql://bank:abc@host", "password=abc",
    ],
)  # fmt: skip
def test_a_password_in_the_text_of_a_connection_is_not_told(text: str) -> None:
    def fail() -> Any:
        raise OperationalError(text)

    with pytest.raises(TryLater) as raised:
        read(fail, "SELECT 1")
    assert not [one for one in ("abc", "b;c", "a-b c", " b;") if one in str(raised.value)]


@pytest.fixture(autouse=True)
def nothing_is_left_open(opened: list[Any]) -> Iterator[None]:
    """Whatever a test does."""
    yield
    assert all(is_closed(one) for one in opened if not isinstance(one, ConnectionOfElasticsearch))
