# SPDX-License-Identifier: Apache-2.0
"""What tests with Airflow have: databases and an S3 server, connections to them, and what a task is told of its run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_wxbank.simulator import Simulator
from tests.conftest import numbers
from tests.harness.databases import (  # noqa: F401  # fixtures
    duck,
    mariadb,
    mariadb_socket,
    odbc_on_mariadb,
    odbc_on_sqlite,
    postgres,
    s3,
    sftp,
    sqlite,
)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process: its exit code, and what it printed on stdout and stderr."""
    from airflow_provider_wxbank.__main__ import main

    def make(*arguments: str) -> tuple[int, str, str]:
        code: Any = 0
        capsys.readouterr()
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return make


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A file of 12 plain numbers."""
    path = tmp_path / "users.csv"
    path.write_text("".join(f"{number}\n" for number in numbers(12)))
    return path


@pytest.fixture
def connected(simulator: Simulator, connect: Callable[..., None]) -> Simulator:
    """A simulator to which ``wxbank_default`` leads."""
    connect(simulator)
    return simulator


def posts(simulator: Simulator) -> int:
    """How many uploads a simulator was asked for."""
    count = simulator.report()["requests"]["upload"]
    assert isinstance(count, int)
    return count


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
