"""A whole Airflow of its own for each test: real commands, real database, the sample DAGs."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_wxbank.simulator import Simulator
from tests.conftest import numbers
from tools.airflow_home import airflow, environment, run

DAGS = Path(__file__).resolve().parents[2] / "dags"


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Airflow home whose database is made."""
    home = tmp_path_factory.mktemp("airflow")
    code, output = run(airflow("db", "migrate"), environment(home, DAGS, {}))
    assert code == 0, output
    return home


class Airflow:
    """An isolated Airflow."""

    def __init__(self, home: Path, connections: Mapping[str, Any]) -> None:
        self.home = home
        self.dags = home / "dags"
        self.env = {**environment(home, self.dags, connections), "WXBANK_POLL_SECONDS": "0.3"}

    def add_dag(self, name: str, change: Callable[[str], str] = lambda text: text) -> None:
        """Put a sample DAG into the DAGs folder, changed or as it is."""
        self.dags.mkdir(exist_ok=True)
        (self.dags / name).write_text(change((DAGS / name).read_text("utf-8")), "utf-8")

    def command(self, *arguments: str) -> tuple[int, str]:
        """Run an ``airflow`` command; its exit code, and what it printed, without colours."""
        code, output = run(airflow(*arguments), self.env)
        return code, re.sub(r"\x1b\[[0-9;]*m", "", output)

    def test_dag(self, dag_id: str, **params: Any) -> tuple[int, str]:
        """Run a DAG to its end with ``airflow dags test``."""
        return self.command("dags", "test", dag_id, "--conf", json.dumps(params))


@pytest.fixture
def new_airflow(migrated: Path, tmp_path: Path) -> Callable[..., Airflow]:
    """Makes an Airflow with connections to a simulator and to a bank's database in SQLite."""

    def make(simulator: Simulator, rows: int = 0) -> Airflow:
        home = tmp_path / "home"
        shutil.copytree(migrated, home)
        bank(tmp_path / "bank.db", rows)
        return Airflow(home, connections(simulator, tmp_path / "bank.db"))

    return make


def bank(path: Path, rows: int) -> None:
    """A bank's database in SQLite; every tenth user is inactive."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, agreement_no TEXT, active BOOLEAN)")
        connection.executemany(
            "INSERT INTO users VALUES (?, ?, ?)",
            [(index + 1, number, index % 10 != 0) for index, number in enumerate(numbers(rows))],
        )
    connection.close()


def connections(simulator: Simulator, database: Path) -> dict[str, Any]:
    """Airflow's connections to a simulator and to a bank's database."""
    return {
        "wxbank_default": simulator.airflow_connection(),
        "bank_db": {"conn_type": "sqlite", "host": str(database)},
    }


def active(rows: int) -> list[str]:
    """The numbers of the active users in the bank's database."""
    return [number for index, number in enumerate(numbers(rows)) if index % 10]
