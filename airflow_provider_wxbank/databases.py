# SPDX-License-Identifier: Apache-2.0
"""The bank's database behind an Airflow connection: which way its hook offers to read it, and why it offers none."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from importlib.metadata import entry_points
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowNotFoundException,
    AirflowOptionalProviderFeatureException,
    BaseHook,
    conf,
)

from airflow_provider_wxbank.agreements.numbers import Values
from airflow_provider_wxbank.agreements.sources.databases import read_sql
from airflow_provider_wxbank.agreements.sources.dbapi import read_cursor
from airflow_provider_wxbank.agreements.sources.dialect import Column
from airflow_provider_wxbank.agreements.sources.jdbc import JdbcConnection
from airflow_provider_wxbank.agreements.sources.redaction import sqlstate
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection
    from sqlalchemy.engine import Engine

log = logging.getLogger(__name__)

PROVIDERS = {
    "drill": "apache-airflow-providers-apache-drill",
    "druid": "apache-airflow-providers-apache-druid",
    "duckdb": "airflow-provider-duckdb",
    "elasticsearch": "apache-airflow-providers-elasticsearch",
    "exasol": "apache-airflow-providers-exasol",
    "gcpbigquery": "apache-airflow-providers-google",
    "hiveserver2": "apache-airflow-providers-apache-hive",
    "impala": "apache-airflow-providers-apache-impala",
    "jdbc": "apache-airflow-providers-jdbc",
    "mssql": "apache-airflow-providers-microsoft-mssql",
    "mysql": "apache-airflow-providers-mysql",
    "odbc": "apache-airflow-providers-odbc",
    "oracle": "apache-airflow-providers-oracle",
    "pinot": "apache-airflow-providers-apache-pinot",
    "postgres": "apache-airflow-providers-postgres",
    "presto": "apache-airflow-providers-presto",
    "redshift": "apache-airflow-providers-amazon",
    "snowflake": "apache-airflow-providers-snowflake",
    "sqlite": "apache-airflow-providers-sqlite",
    "teradata": "apache-airflow-providers-teradata",
    "trino": "apache-airflow-providers-trino",
    "vertica": "apache-airflow-providers-vertica",
}
"""What to install for a type of connection."""

IGNORED = {
    "jdbc": {"driver_path": "allow_driver_path_in_extra", "driver_class": "allow_driver_class_in_extra"},
    "odbc": {"driver": "allow_driver_in_extra"},
}
"""Keys of a connection's extra that Airflow ignores, by its type, unless a setting of ``[providers.<type>]`` allows."""

_NO_ODBC_DRIVER = ("IM002", "IM003", "01000")
"""SQLSTATEs of unixODBC: no such data source, nor a driver; a driver that cannot be loaded, or not be opened."""


@contextmanager
def query(
    conn_id: str, sql: str, parameters: Mapping[str, Any] | None, column: Column | None
) -> Iterator[Iterable[Values]]:
    """The values of a query's result, as a stream. The connection to the database is gone at the end of the block.

    :raises InvalidInput: nothing can be read through this connection, or as for :func:`.databases.read_sql`.
    :raises TryLater: the database was not reached, or went away.
    """
    connection = connection_of(conn_id)
    hook = _hook(connection)
    engine = engine_of(hook, connection)
    if engine is None:
        values = read_cursor(
            lambda: _connect(hook, connection), sql, parameters, column, getattr(hook, "placeholder", "%s")
        )
        with closing(values):
            yield values
        return
    try:
        # Closed even if it was not read to its end: that drops the connection to the database.
        with closing(read_sql(engine, sql, parameters, column)) as values:
            yield values
    finally:
        # The hook has made this engine for us alone.
        engine.dispose()


def connection_of(conn_id: str) -> Connection:
    """An Airflow connection.

    :raises InvalidInput: there is none of this id.
    """
    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise InvalidInput(f"sql_conn_id {conn_id}: Airflow has no connection of this id") from None


def engine_of(hook: Any, connection: Connection) -> Engine | None:
    """The SQLAlchemy engine of a hook; None where it makes none, or only one for another database."""
    # Its engine would read through JayDeBeApi's cursor (see jdbc.py), and streams no better.
    if connection.conn_type == "jdbc":
        return None
    # Unless it is told the dialect, it is the one of SQL Server.
    if connection.conn_type == "odbc" and "sqlalchemy_scheme" not in _extra(connection):
        return None
    try:
        engine: Engine = hook.get_sqlalchemy_engine()
    except Exception as failure:
        # Its text may have the password in it.
        log.info(
            "The hook of %s makes no SQLAlchemy engine (%s): its DB-API connection is read, which may hold the whole "
            "result in memory",
            connection.conn_id,
            type(failure).__name__,
        )
        return None
    if engine.dialect.name == "postgresql":
        _take_for_postgresql(engine.dialect)
    return engine


def _take_for_postgresql(dialect: Any) -> None:
    """Let databases that speak PostgreSQL's protocol connect, whatever they call themselves; SQLAlchemy does not."""
    ask = dialect._get_server_version_info

    def version_of(connection: Any) -> tuple[int, ...]:
        try:
            version: tuple[int, ...] = ask(connection)
        except AssertionError:
            # openGauss and GaussDB, which began as this one, answer with names of their own.
            return (9, 2)
        return version

    dialect._get_server_version_info = version_of


def _hook(connection: Connection) -> Any:
    """The hook of a database.

    :raises InvalidInput: there is none.
    """
    try:
        hook = connection.get_hook()
    except (AirflowException, ImportError, AttributeError) as failure:  # the last for types that have no hook at all
        why = _why_no_hook(str(connection.conn_type)) or str(failure)
        raise InvalidInput(f"sql_conn_id {connection.conn_id}: {why}") from None
    if not hasattr(hook, "get_sqlalchemy_engine"):  # every hook of a database inherits it
        raise InvalidInput(
            f"sql_conn_id {connection.conn_id} is not the connection of an SQL database: its type is "
            f"{connection.conn_type}"
        )
    return hook


def _why_no_hook(conn_type: str) -> str | None:
    """Why Airflow has no hook for a type of connection; None if it has one."""
    for entry in entry_points(group="apache_airflow_provider"):
        with suppress(Exception):  # of another provider
            info = entry.load()()
            for one in info.get("connection-types", ()):
                if one["connection-type"] == conn_type:
                    return _why_not_imported(one["hook-class-name"], info["package-name"])
    if conn_type in PROVIDERS:
        return f"connections of type {conn_type} need a provider: pip install {PROVIDERS[conn_type]}"
    return f"no provider that is installed has connections of type {conn_type!r}"


def _why_not_imported(hook_class: str, package: str) -> str | None:
    try:
        import_module(hook_class.rpartition(".")[0])
    except ImportError as failure:
        lacks = f"there is no module {failure.name}" if failure.name else str(failure)
        return f"the hook of {package} cannot be imported, since {lacks}: pip install {package} installs its driver"
    except Exception as failure:
        return f"the hook of {package} cannot be imported: {type(failure).__name__}: {failure}"
    return None


def _connect(hook: Any, connection: Connection) -> Any:
    """The DB-API connection of a hook, without autocommit.

    :raises InvalidInput: its driver cannot be used.
    """
    try:
        opened = hook.get_conn()
    except Exception as failure:
        if why := _why_no_driver(failure, connection):
            raise InvalidInput(f"sql_conn_id {connection.conn_id}: {why}{_ignored(connection)}") from None
        raise
    finally:
        _take_signals_back()
    # A database without transactions has nothing to switch off. Other failures are met again by the query.
    with suppress(Exception):
        if hook.supports_autocommit:
            hook.set_autocommit(opened, False)
    return JdbcConnection(opened.jconn) if hasattr(opened, "jconn") else opened


def _take_signals_back() -> None:
    """Let Python handle signals as before. A JVM takes them when it starts, and would end a task that Airflow stops at
    once: without removing the files that it has written.
    """
    if current_thread() is main_thread():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if (handler := signal.getsignal(number)) is not None:
                signal.signal(number, handler)


def _why_no_driver(failure: Exception, connection: Connection) -> str | None:
    """What to do about a driver that is missing; None if it is the database that refuses."""
    if isinstance(failure, ImportError | AirflowOptionalProviderFeatureException):
        package = PROVIDERS.get(str(connection.conn_type))
        return f"its driver is not installed: {failure}{f' (pip install {package})' if package else ''}"
    # JPype's own errors of this, whose module is a private one.
    if type(failure).__name__.startswith("JVM"):
        return "there is no Java here: install a JRE (Java 11 or newer), or let JAVA_HOME name one"
    if connection.conn_type == "jdbc" and isinstance(failure, TypeError):
        return (
            "the class of the JDBC driver was not found: driver_class must name it, and driver_path its jar. A process "
            "keeps the jars that its first JDBC connection named"
        )
    if connection.conn_type == "odbc" and sqlstate(failure) in _NO_ODBC_DRIVER:
        return (
            f"the ODBC driver manager has no such driver or data source (SQLSTATE {sqlstate(failure)}): driver must "
            "name one of odbcinst.ini or the path of a library, or dsn one of odbc.ini"
        )
    return None


def _ignored(connection: Connection) -> str:
    """What to add if the connection names a driver, and Airflow does not allow it to."""
    section = f"providers.{connection.conn_type}"
    keys = {
        key: setting
        for key, setting in IGNORED.get(str(connection.conn_type), {}).items()
        if key in _extra(connection) and not conf.getboolean(section, setting, fallback=False)
    }
    if not keys:
        return ""
    settings = " and ".join(f"{setting} = True" for setting in keys.values())
    return f". Airflow ignores {' and '.join(keys)} in the connection's extra: set {settings} in [{section}]"


def _extra(connection: Connection) -> dict[str, Any]:
    """The extra of a connection by keys in lower case, as hooks read it."""
    return {str(key).lower(): value for key, value in connection.extra_dejson.items()}
