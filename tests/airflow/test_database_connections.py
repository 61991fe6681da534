# SPDX-License-Identifier: Apache-2.0
"""Any connection of a database is the source of an export: ODBC and DuckDB here, JDBC in test_jdbc.py; and what is told
where one cannot be."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_wxbank import databases
from airflow_provider_wxbank.agreements.manifest import split_identity
from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.simulator import Simulator, numbers_digest
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater
from tests.airflow.conftest import context
from tests.conftest import PACKAGE, numbers
from tests.harness.databases import NEEDS_MARIADB, ROWS
from tests.harness.drivers_of_databases import (
    HSQLDB,
    HSQLDB_CLASS,
    NEEDS_ODBC_MARIADB,
    NEEDS_ODBC_SQLITE,
    OF_JAYDEBEAPI,
)

pytestmark = pytest.mark.slow

ACTIVE = [number for index, number in enumerate(numbers(ROWS)) if index % 3]
QUERY = "SELECT agreement_no FROM users WHERE active = :active ORDER BY agreement_no"

Connect = Callable[..., None]

ODBC_ON_SQLITE = pytest.param("odbc_on_sqlite", marks=NEEDS_ODBC_SQLITE)
ODBC_ON_MARIADB = pytest.param("odbc_on_mariadb", marks=[*NEEDS_MARIADB, NEEDS_ODBC_MARIADB])


@pytest.fixture(autouse=True)
def wxbank_default(simulator: Simulator, connect: Connect) -> None:
    connect(simulator)


@pytest.fixture(autouse=True)
def drivers_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an administrator of Airflow sets it."""
    monkeypatch.setenv("AIRFLOW__PROVIDERS_ODBC__ALLOW_DRIVER_IN_EXTRA", "True")


def export(tmp_path: Path, **options: Any) -> str:
    given = {"sql": QUERY, "parameters": {"active": 1}, "sql_conn_id": "bank_db", **options}
    operator = ExportUsersOperator(task_id="export", bank_type="ICBC_DEBIT", output_path=str(tmp_path), **given)
    uri: str = operator.execute(context())
    return uri


def refused(tmp_path: Path, kind: type[Exception] = InvalidInput, **options: Any) -> str:
    """What an export is refused with, which leaves nothing behind."""
    with pytest.raises(kind) as raised:
        export(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []
    return str(raised.value)


@pytest.mark.parametrize("database", ["duck", ODBC_ON_SQLITE, ODBC_ON_MARIADB])
def test_a_query_is_exported_and_imported_once(
    database: str,
    request: pytest.FixtureRequest,
    airflow_connection: Connect,
    tmp_path: Path,
    simulator: Simulator,
    logged: Callable[[], str],
) -> None:
    airflow_connection("bank_db", request.getfixturevalue(database))
    uri = export(tmp_path)
    assert split_identity(uri)[0] == f"{tmp_path}/manifest.json"
    UploadTaskOperator(task_id="upload", package_id=PACKAGE, manifest=uri).execute(context())
    package = simulator.report()["packages"][PACKAGE]
    assert package["numbers_digest"] == numbers_digest(ACTIVE)
    assert package["lines"] == len(ACTIVE)
    assert not [number for number in ACTIVE if number in logged()]


@pytest.mark.parametrize("database", ["duck", ODBC_ON_SQLITE, ODBC_ON_MARIADB])
@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT agreement_no FROM users WHERE id < 0 ORDER BY 1", "no number to export"),
        ("SELECT CASE WHEN id = 7000 THEN NULL ELSE agreement_no END FROM users ORDER BY id", "row 7001 is NULL"),
        ("SELECT CASE WHEN id = 3 THEN ' ' ELSE agreement_no END FROM users ORDER BY id", "row 4 is blank"),
        ("SELECT id, agreement_no FROM users ORDER BY id", "2 columns; name the one"),
        ("SELECT agreement_no FROM no_such_table ORDER BY 1", "of the words of sql it names no_such_table"),
    ],
)
def test_a_wrong_result_exports_nothing(
    database: str, sql: str, message: str, request: pytest.FixtureRequest, airflow_connection: Connect, tmp_path: Path
) -> None:
    airflow_connection("bank_db", request.getfixturevalue(database))
    assert message in refused(tmp_path, sql=sql, parameters=None)


@pytest.mark.parametrize("database", ["duck", ODBC_ON_SQLITE, ODBC_ON_MARIADB])
def test_an_export_changes_nothing_in_the_database(
    database: str, request: pytest.FixtureRequest, airflow_connection: Connect, tmp_path: Path
) -> None:
    connection = request.getfixturevalue(database)
    # Even if the connection asks for it.
    extra = {**connection.get("extra", {}), "connect_kwargs": {"autocommit": True}}
    airflow_connection("bank_db", {**connection, "extra": extra})
    assert "must be a query" in refused(tmp_path, sql="DELETE FROM users", parameters=None)
    assert "no number to export" not in export(tmp_path, expected_rows=len(ACTIVE))


@NEEDS_ODBC_SQLITE
def test_an_odbc_connection_that_names_its_dialect_is_read_by_the_engine(
    odbc_on_sqlite: dict[str, Any], airflow_connection: Connect, tmp_path: Path
) -> None:
    """And one that names none is not read by the dialect of SQL Server, the default."""
    airflow_connection("bank_db", odbc_on_sqlite)
    connection = databases.connection_of("bank_db")
    assert databases.engine_of(connection.get_hook(), connection) is None
    extra = {**odbc_on_sqlite["extra"], "Sqlalchemy_Scheme": "mssql+pyodbc"}
    airflow_connection("bank_db", {**odbc_on_sqlite, "extra": extra})
    connection = databases.connection_of("bank_db")
    engine = databases.engine_of(connection.get_hook(), connection)
    assert engine is not None
    assert engine.dialect.name == "mssql"


def test_a_database_without_a_dialect_is_read_by_its_driver(
    duck: dict[str, Any],
    airflow_connection: Connect,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: Callable[[], str],
) -> None:
    airflow_connection("bank_db", {**duck})
    # DuckDB's dialect for SQLAlchemy is not installed.
    monkeypatch.setitem(sys.modules, "duckdb_engine", None)
    monkeypatch.setattr("sqlalchemy.dialects.registry.impls", {})
    assert refused(tmp_path, sql="SELECT 1.5::DOUBLE ORDER BY 1", parameters=None).startswith("row 1 is a float")
    export(tmp_path, expected_rows=len(ACTIVE))
    assert "makes no SQLAlchemy engine" in logged()
    export(tmp_path / "2", sql="DELETE FROM users WHERE :one = 1 RETURNING agreement_no", parameters={"one": 1})
    export(tmp_path / "3", expected_rows=len(ACTIVE))


@NEEDS_ODBC_SQLITE
def test_a_driver_that_airflow_does_not_allow_is_told_with_its_setting(
    odbc_on_sqlite: dict[str, Any], airflow_connection: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW__PROVIDERS_ODBC__ALLOW_DRIVER_IN_EXTRA")
    airflow_connection("bank_db", {**odbc_on_sqlite, "password": "not-a-secret-1"})
    message = refused(tmp_path)
    assert "sql_conn_id bank_db: the ODBC driver manager has no such driver or data source (SQLSTATE IM002)" in message
    assert "Airflow ignores driver in the connection's extra: set allow_driver_in_extra = True in " in message
    assert "[providers.odbc]" in message
    assert "not-a-secret" not in message


@NEEDS_ODBC_SQLITE
@pytest.mark.parametrize(
    "extra", [{"driver": "/no/such.so"}, {"driver": "No Such Driver"}, {"dsn": "no_such_source"}, {}]
)
def test_an_odbc_driver_that_is_not_there_is_told(
    extra: dict[str, str], airflow_connection: Connect, tmp_path: Path
) -> None:
    airflow_connection("bank_db", {"conn_type": "odbc", "extra": extra})
    message = refused(tmp_path)
    assert "has no such driver or data source" in message
    assert "Airflow ignores" not in message


@pytest.mark.parametrize("marks", [pytest.param(None, marks=[*NEEDS_MARIADB, NEEDS_ODBC_MARIADB])])
def test_a_database_that_is_not_reached_is_worth_another_try(
    marks: None, odbc_on_mariadb: dict[str, Any], airflow_connection: Connect, tmp_path: Path
) -> None:
    extra = {**odbc_on_mariadb["extra"], "SOCKET": f"{tmp_path}/none"}
    airflow_connection("bank_db", {**odbc_on_mariadb, "extra": extra})
    assert "to the connection" in refused(tmp_path, TryLater)


def test_a_connection_that_does_not_exist_is_told(tmp_path: Path) -> None:
    assert refused(tmp_path, sql_conn_id="nowhere") == "sql_conn_id nowhere: Airflow has no connection of this id"


@pytest.mark.parametrize(
    ("conn_type", "message"),
    [
        ("http", "is not the connection of an SQL database: its type is http"),
        ("aws", "is not the connection of an SQL database: its type is aws"),
        ("wxbank", "is not the connection of an SQL database: its type is wxbank"),
        ("vertica", "connections of type vertica need a provider: pip install apache-airflow-providers-vertica"),
        ("no_such_type", "no provider that is installed has connections of type 'no_such_type'"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # Flask's own, when Airflow 2.11 loads every provider's form
def test_a_connection_of_no_database_is_told(
    conn_type: str, message: str, airflow_connection: Connect, tmp_path: Path
) -> None:
    airflow_connection("bank_db", {"conn_type": conn_type, "host": "127.0.0.1"})
    assert refused(tmp_path) == f"sql_conn_id bank_db{'' if message.startswith('is') else ':'} {message}"


def test_a_driver_that_is_not_installed_is_told(
    airflow_connection: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow_connection("bank_db", {"conn_type": "odbc"})
    # Airflow keeps for good whether a hook can be imported, which is to be so for other tests.
    databases.connection_of("bank_db").get_hook()
    monkeypatch.setitem(sys.modules, "pyodbc", None)
    monkeypatch.delitem(sys.modules, "airflow.providers.odbc.hooks.odbc")
    message = refused(tmp_path)
    assert "the hook of apache-airflow-providers-odbc cannot be imported" in message
    assert "pip install apache-airflow-providers-odbc" in message


def test_a_hook_that_lacks_its_driver_is_told(
    sqlite: dict[str, Any], airflow_connection: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As hooks do that import their driver only when they connect."""
    from airflow.providers.sqlite.hooks.sqlite import SqliteHook

    def get_conn(self: SqliteHook) -> sqlite3.Connection:
        import no_such_driver  # type: ignore[import-not-found]

        raise AssertionError(no_such_driver)

    airflow_connection("bank_db", sqlite)
    monkeypatch.setattr(SqliteHook, "get_conn", get_conn)
    monkeypatch.setattr(SqliteHook, "get_sqlalchemy_engine", get_conn)
    message = refused(tmp_path)
    assert "its driver is not installed: No module named 'no_such_driver'" in message
    assert "(pip install apache-airflow-providers-sqlite)" in message


@pytest.mark.filterwarnings(*OF_JAYDEBEAPI)
def test_a_machine_without_java_is_told(
    airflow_connection: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import jpype

    def none() -> str:
        raise jpype.JVMNotFoundException("No JVM shared library file (libjvm.so) found")

    monkeypatch.setenv("AIRFLOW__PROVIDERS_JDBC__ALLOW_DRIVER_PATH_IN_EXTRA", "True")
    extra = {"driver_path": str(HSQLDB), "driver_class": HSQLDB_CLASS}
    airflow_connection("bank_db", {"conn_type": "jdbc", "host": "jdbc:hsqldb:mem:bank", "login": "SA", "extra": extra})
    monkeypatch.setattr(jpype, "getDefaultJVMPath", none)
    message = refused(tmp_path)
    assert "there is no Java here: install a JRE (Java 11 or newer), or let JAVA_HOME name one" in message
    assert "Airflow ignores driver_class in the connection's extra: set allow_driver_class_in_extra = True" in message


def test_a_hook_that_refuses_its_connection_is_told(airflow_connection: Connect, tmp_path: Path) -> None:
    airflow_connection("bank_db", {"conn_type": "duckdb", "host": "/x", "password": "secret-token"})
    message = refused(tmp_path)
    assert message.startswith("sql_conn_id bank_db: You cannot set both host and schema")
    assert "secret" not in message


VERSION = "CREATE OR REPLACE FUNCTION pg_catalog.version() RETURNS text"


@pytest.mark.parametrize("version", ["(openGauss 6.0.0 build aee4abd5)", "gaussdb (GaussDB Kernel 505.1.0)", "nothing"])
def test_a_database_that_speaks_as_postgresql_does_is_read(
    postgres: dict[str, Any], airflow_connection: Connect, tmp_path: Path, version: str
) -> None:
    """SQLAlchemy refuses one that does not call itself so. Here it is a PostgreSQL that gives another answer."""
    airflow_connection("bank_db", postgres)
    connection = databases.connection_of("bank_db")
    engine = databases.engine_of(connection.get_hook(), connection)
    assert engine is not None
    with engine.begin() as database:
        database.exec_driver_sql(f"{VERSION} AS $$SELECT '{version}'::text$$ LANGUAGE sql")
    try:
        export = ExportUsersOperator(
            task_id="export",
            bank_type="ICBC_DEBIT",
            sql=QUERY,
            parameters={"active": 1},
            sql_conn_id="bank_db",
            output_path=str(tmp_path),
        )
        assert export.execute(context())
    finally:
        with engine.begin() as database:
            database.exec_driver_sql(f"{VERSION} AS 'pgsql_version' LANGUAGE internal")
        engine.dispose()
