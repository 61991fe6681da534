# SPDX-License-Identifier: Apache-2.0
"""An export through JDBC, from HSQLDB. ``test_jdbc.py`` runs this file in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_wxbank import databases
from airflow_provider_wxbank.agreements.numbers import CHUNK_ROWS, Tally, checked_numbers
from airflow_provider_wxbank.agreements.sources.dbapi import read_cursor
from airflow_provider_wxbank.agreements.sources.dialect import Column
from airflow_provider_wxbank.agreements.sources.jdbc import JdbcConnection
from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.simulator import Simulator, numbers_digest
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater
from tests.airflow.conftest import context
from tests.conftest import PACKAGE, numbers
from tests.harness.databases import ROWS, USERS
from tests.harness.drivers_of_databases import HSQLDB, HSQLDB_CLASS, OF_JAYDEBEAPI

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(*OF_JAYDEBEAPI),
]

ACTIVE = [number for number, is_active in USERS if is_active]
LONG = 202400000000000000000000000001

Connect = Callable[..., None]

BANK: dict[str, Any] = {
    "conn_type": "jdbc",
    "host": "jdbc:hsqldb:mem:bank",
    "login": "SA",
    # Without one, Airflow's hook sends the word None.
    "password": "",
    "extra": {"driver_path": str(HSQLDB), "driver_class": HSQLDB_CLASS},
}


@pytest.fixture(autouse=True, scope="module")
def hooks() -> None:
    """Airflow has looked for hooks: the first time in a process, the oldest version warns of itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from airflow.providers_manager import ProvidersManager

        assert ProvidersManager().hooks["jdbc"]


@pytest.fixture(autouse=True)
def bank_db(simulator: Simulator, connect: Connect, airflow_connection: Connect, monkeypatch: Any) -> None:
    """The bank's database, and drivers allowed as an administrator of Airflow does."""
    monkeypatch.setenv("AIRFLOW__PROVIDERS_JDBC__ALLOW_DRIVER_PATH_IN_EXTRA", "True")
    monkeypatch.setenv("AIRFLOW__PROVIDERS_JDBC__ALLOW_DRIVER_CLASS_IN_EXTRA", "True")
    connect(simulator)
    airflow_connection("bank_db", BANK)


@pytest.fixture(autouse=True)
def own(bank_db: None) -> Iterator[Any]:
    """A cursor of the tests' own; afterwards there is no other session."""
    with closing(databases.connection_of("bank_db").get_hook().get_conn()) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'USERS'")
        if cursor.fetchone() == (0,):
            cursor.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, agreement_no VARCHAR(40), active INTEGER)")
            rows = [(index, number, int(is_active)) for index, (number, is_active) in enumerate(USERS)]
            cursor.executemany("INSERT INTO users VALUES (?, ?, ?)", rows)
        yield cursor
        cursor.execute("SELECT COUNT(*) FROM information_schema.system_sessions")
        assert cursor.fetchone() == (1,)


def read(sql: str, parameters: dict[str, object] | None = None, column: Column | None = None) -> list[object]:
    with databases.query("bank_db", sql, parameters, column) as values:
        return [value for some in values for value in some.values]


def value_of(expression: str) -> object:
    [value] = read(f"SELECT {expression} FROM users WHERE id = 0")
    return value


def refused(sql: str, kind: type[Exception] = InvalidInput, **parameters: object) -> str:
    with pytest.raises(kind) as raised:
        read(sql, parameters)
    return str(raised.value)


def test_a_query_is_exported_and_imported_once(tmp_path: Path, simulator: Simulator, logged: Callable[[], str]) -> None:
    uri = ExportUsersOperator(
        task_id="export",
        bank_type="ICBC_DEBIT",
        sql_conn_id="bank_db",
        sql="SELECT agreement_no FROM users WHERE active = :active ORDER BY agreement_no",
        parameters={"active": 1},
        output_path=str(tmp_path),
        expected_rows=len(ACTIVE),
    ).execute(context())
    UploadTaskOperator(task_id="upload", package_id=PACKAGE, manifest=uri).execute(context())
    package = simulator.report()["packages"][PACKAGE]
    assert package["numbers_digest"] == numbers_digest(ACTIVE)
    assert package["lines"] == len(ACTIVE)
    assert not [number for number in ACTIVE if number in logged()]


def test_a_query_is_read_in_its_order_some_rows_at_a_time() -> None:
    with databases.query("bank_db", "SELECT agreement_no FROM users ORDER BY id", None, None) as values:
        parts = list(values)
    assert [len(part.values) for part in parts] == [CHUNK_ROWS, CHUNK_ROWS, ROWS - 2 * CHUNK_ROWS]
    assert [value for part in parts for value in part.values] == numbers(ROWS)


def test_parameters_are_bound_by_their_names() -> None:
    sql = "SELECT agreement_no FROM users WHERE id >= :low AND id < :low + :more AND :name = 'O''Neil ?' ORDER BY id"
    assert read(sql, {"more": 3, "name": "O'Neil ?", "low": 10}) == numbers(13)[10:]
    assert read(sql, {"more": 3, "name": "x' OR '1' = '1", "low": 10}) == []


@pytest.mark.parametrize(
    ("value", "of_database"),
    [
        # JPype makes a double of it.
        (Decimal(f"{LONG}.50"), f"CAST({LONG}.50 AS DECIMAL(40, 2))"),
        (date(2026, 11, 26), "DATE '2026-11-26'"),
        (datetime(2026, 11, 26, 1, 2, 3, 500), "TIMESTAMP '2026-11-26 01:02:03.0005'"),
        (2**62, f"CAST({2**62} AS BIGINT)"),
        ("工行", "'工行'"),
        (True, "TRUE"),
    ],
)
def test_parameters_of_every_kind_are_bound(value: object, of_database: str) -> None:
    sql = f"SELECT agreement_no FROM users WHERE id = 0 AND :value = {of_database}"
    assert read(sql, {"value": value}) == numbers(1)


def test_without_parameters_nothing_in_a_query_is_special() -> None:
    sql = "SELECT agreement_no FROM users WHERE agreement_no LIKE '2024%' AND '?' <> ':low' AND id < 2 ORDER BY id"
    assert read(sql) == numbers(2)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # JayDeBeApi makes -8240070702321893375 of it.
        (f"CAST({LONG} AS DECIMAL(40))", Decimal(LONG)),
        ("CAST(2024 AS DECIMAL(10, 2))", Decimal("2024.00")),
        (f"CAST({2**62} AS BIGINT)", 2**62),
        ("id", 0),
        ("CAST(7 AS SMALLINT)", 7),
        ("CAST(1.5 AS DOUBLE)", 1.5),
        ("TRUE", True),
        ("CAST('a' AS CHAR(3))", "a  "),
        ("CAST(NULL AS VARCHAR(9))", None),
    ],
)
def test_values_of_java_become_python_s(expression: str, expected: object) -> None:
    value = value_of(expression)
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("CAST('2024' AS CLOB)", r"row 1 is a org\.hsqldb\.jdbc\.JDBCClob\w*, not a text or a whole number"),
        ("DATE '2026-11-26'", r"row 1 is a java\.sql\.Date, not a text"),
        ("X'2024'", r"row 1 is a byte\[\], not a text"),
        ("TRUE", "row 1 is a bool"),
        ("CAST(1.5 AS DOUBLE)", "row 1 is a float"),
        ("CAST(2024 AS DECIMAL(10, 2))", "row 1 is a decimal with a fraction"),
        ("CAST(NULL AS VARCHAR(9))", "row 1 is NULL"),
        ("' '", "row 1 is blank"),
    ],
)
def test_a_value_that_is_no_number_is_told_by_row_and_kind(expression: str, message: str) -> None:
    with (
        databases.query("bank_db", f"SELECT {expression} FROM users ORDER BY id", None, None) as values,
        pytest.raises(InvalidInput, match=message) as raised,
    ):
        list(checked_numbers(values, "fail", Tally()))
    assert "2024" not in str(raised.value)


def test_a_long_number_is_exported_digit_by_digit() -> None:
    sql = f"SELECT CAST({LONG} AS DECIMAL(40)) FROM users WHERE id = 0"
    with databases.query("bank_db", sql, None, None) as values:
        assert list(checked_numbers(values, "fail", Tally())) == [[str(LONG)]]


def test_a_column_is_chosen_by_name_and_by_number() -> None:
    sql = "SELECT id, agreement_no AS numbers FROM users WHERE id < 2 ORDER BY id"
    for column in ("NUMBERS", "numbers", 2):
        assert read(sql, column=column) == numbers(2)
    assert "2 columns; name the one" in refused(sql)


def test_no_rows_are_no_values() -> None:
    assert read("SELECT agreement_no FROM users WHERE id < 0") == []


def test_what_is_no_query_is_refused_and_undone() -> None:
    assert "must be a query that returns rows" in refused("DELETE FROM users")
    assert "must be a query that returns rows" in refused("DELETE FROM users WHERE id < :low", low=10)
    assert read("SELECT COUNT(*) FROM users") == [ROWS]


def test_a_reader_that_stops_early_leaves_no_session(own: Any) -> None:
    with databases.query("bank_db", "SELECT agreement_no FROM users ORDER BY id", None, None) as values:
        assert len(next(iter(values)).values) == CHUNK_ROWS
        own.execute("SELECT COUNT(*) FROM information_schema.system_sessions")
        assert own.fetchone() == (2,)


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT CAST('Zhang San' || agreement_no AS INTEGER) FROM users", "22018"),
        ("SELECT CAST(agreement_no || '000' AS INTEGER) FROM users", "22003"),
        ("INSERT INTO users VALUES (7, 'Zhang San', 1)", "23505"),
        ("SELECT agreement_no FROM no_such_table", "42501"),
    ],
)
def test_an_error_has_class_and_code_and_no_value(sql: str, code: str, logged: Callable[[], str]) -> None:
    message = refused(sql)
    assert message.startswith("the database answered java.sql.SQL")
    assert f"(code {code} " in message
    for value in ("2024000", "Zhang"):
        assert value not in message + logged()
    assert ("names no_such_table" in message) == ("no_such_table" in sql)


def test_a_connection_that_is_gone_already_can_be_closed(own: Any) -> None:
    with databases.query("bank_db", "SELECT agreement_no FROM users ORDER BY id", None, None) as values:
        next(iter(values))
        own.execute("SELECT MAX(session_id) FROM information_schema.system_sessions")
        own.execute(f"ALTER SESSION {own.fetchone()[0]} RELEASE")


def test_a_parameter_of_a_wrong_kind_is_not_quoted() -> None:
    message = refused("SELECT 1 FROM users WHERE agreement_no = :of", of=["Zhang"])
    assert "the database answered TypeError (no code)" in message
    assert "Zhang" not in message


def test_a_wrong_password_is_told(airflow_connection: Connect) -> None:
    airflow_connection("bank_db", {**BANK, "password": "not-a-secret"})
    message = refused("SELECT 1 FROM users")
    assert "SQLInvalidAuthorizationSpecException to the connection (code 28000 " in message
    assert "not-a-secret" not in message


@pytest.mark.parametrize(
    ("host", "kind", "said"),
    [
        ("jdbc:hsqldb:hsql://127.0.0.1:1/bank;password=not-a-secret", TryLater, "Connection refused"),
        ("jdbc:nosuch:bank/not-a-secret@127.0.0.1", InvalidInput, "No suitable driver found for jdbc:***"),
    ],
)
def test_a_database_that_is_not_there_is_told(
    host: str, kind: type[Exception], said: str, airflow_connection: Connect
) -> None:
    airflow_connection("bank_db", {**BANK, "host": host})
    message = refused("SELECT 1 FROM users", kind)
    assert said in message
    assert "not-a-secret" not in message


@pytest.mark.parametrize("extra", [{"driver_class": "org.nosuch.Driver"}, {}])
def test_a_driver_that_is_not_there_is_told(extra: dict[str, str], airflow_connection: Connect) -> None:
    airflow_connection("bank_db", {**BANK, "extra": extra})
    message = refused("SELECT 1 FROM users")
    assert message.startswith("sql_conn_id bank_db: the class of the JDBC driver was not found: driver_class must name")


def test_a_driver_that_airflow_does_not_allow_is_told_with_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW__PROVIDERS_JDBC__ALLOW_DRIVER_PATH_IN_EXTRA")
    monkeypatch.delenv("AIRFLOW__PROVIDERS_JDBC__ALLOW_DRIVER_CLASS_IN_EXTRA")
    assert refused("SELECT 1 FROM users").endswith(
        "Airflow ignores driver_path and driver_class in the connection's extra: set allow_driver_path_in_extra = True "
        "and allow_driver_class_in_extra = True in [providers.jdbc]"
    )


class Noted:
    """A connection of Java that keeps its last statement."""

    def __init__(self, java: Any) -> None:
        self.java = java
        self.statement: Any = None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.statement = getattr(self.java, name)(*arguments)
            return self.statement

        return call


@pytest.mark.parametrize("parameters", [None, {"low": 0}])
def test_the_driver_is_asked_for_some_rows_at_a_time(parameters: dict[str, object] | None) -> None:
    noted = Noted(databases.connection_of("bank_db").get_hook().get_conn().jconn)
    sql = f"SELECT agreement_no FROM users WHERE id >= {':low' if parameters else '0'}"
    with closing(read_cursor(lambda: JdbcConnection(noted), sql, parameters, None)) as values:
        next(values)
        assert noted.statement.getFetchSize() == CHUNK_ROWS


def test_a_dialect_in_the_connection_changes_nothing(airflow_connection: Connect) -> None:
    """Its engine would read through JayDeBeApi's cursor, which loses digits."""
    airflow_connection("bank_db", {**BANK, "extra": {**BANK["extra"], "sqlalchemy_scheme": "postgresql"}})
    connection = databases.connection_of("bank_db")
    assert connection.get_hook().get_sqlalchemy_engine() is not None
    assert databases.engine_of(connection.get_hook(), connection) is None
    assert value_of(f"CAST({LONG} AS DECIMAL(40))") == LONG


STOPPED = """
import os, signal, warnings
warnings.simplefilter("ignore")
from airflow_provider_wxbank import databases
signal.signal(signal.SIGTERM, lambda *_: print("Python has it"))
with databases.query("bank_db", "SELECT 1 FROM information_schema.system_users", None, None) as values:
    list(values)
os.kill(os.getpid(), signal.SIGTERM)
print("and goes on")
"""


def test_a_task_that_is_stopped_ends_in_order() -> None:
    """A JVM takes SIGTERM when it starts, and would end the process without a word to Python."""
    run = subprocess.run([sys.executable, "-c", STOPPED], check=False, capture_output=True, text=True)
    assert run.stdout.splitlines()[-2:] == ["Python has it", "and goes on"], run.stderr
    assert run.returncode == 0
