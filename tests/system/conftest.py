# SPDX-License-Identifier: Apache-2.0
"""A whole Airflow of its own for each test: real commands, real database, the sample DAGs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_wxbank.simulator import Simulator
from tests.conftest import numbers
from tests.harness.airflow_forks import serving
from tests.harness.airflow_home import airflow, environment, run
from tests.harness.bank import Bank, make_bank
from tests.harness.pages import ROOT

DAGS = ROOT / "dags"


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the Airflow of every test is, one after the other: its command has read its configuration there."""
    return tmp_path_factory.mktemp("airflow") / "home"


@pytest.fixture(scope="session")
def forks(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a command ``airflow`` that is started at once: see :mod:`tests.harness.airflow_forks`."""
    folder = tmp_path_factory.mktemp("command")
    with serving(folder, {**environment(home, home / "dags", {}), "PYTHONPATH": str(ROOT)}):
        yield folder


@pytest.fixture(scope="session")
def migrated(home: Path, forks: Path) -> Path:
    """A copy of an Airflow home whose database is made."""
    code, output = run([str(forks / "airflow"), "db", "migrate"], environment(home, home / "dags", {}))
    assert code == 0, output
    return shutil.copytree(home, home.with_name("migrated"))


def copy_home(migrated: Path, home: Path) -> None:
    """Begin anew with a home whose database is made."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(migrated, home)


class Airflow:
    """An isolated Airflow."""

    def __init__(self, home: Path, connections: Mapping[str, Any], forks: Path | None = None) -> None:
        self.home = home
        self.dags = home / "dags"
        self.env = {**environment(home, self.dags, connections), "WXBANK_POLL_SECONDS": "0.3"}
        self.forks = forks

    def add_dag(self, name: str, change: Callable[[str], str] = lambda text: text) -> None:
        """Put a sample DAG into the DAGs folder, changed or as it is."""
        self.dags.mkdir(exist_ok=True)
        (self.dags / name).write_text(change((DAGS / name).read_text("utf-8")), "utf-8")

    def command(self, *arguments: str) -> tuple[int, str]:
        """Run an ``airflow`` command; its exit code, and what it printed, without colours."""
        command = airflow(*arguments) if self.forks is None else [str(self.forks / "airflow"), *arguments]
        code, output = run(command, self.env)
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
        return Airflow(home, connections(simulator, bank(tmp_path / "bank.db", rows)))

    return make


@pytest.fixture
def new_forked_airflow(migrated: Path, home: Path, forks: Path, tmp_path: Path) -> Callable[..., Airflow]:
    """As ``new_airflow``, with commands that have Airflow imported already, and settings as in ``forks``."""

    def make(simulator: Simulator, rows: int = 0) -> Airflow:
        copy_home(migrated, home)
        return Airflow(home, connections(simulator, bank(tmp_path / "bank.db", rows)), forks)

    return make


def bank(path: Path, rows: int) -> Bank:
    """A bank's database in SQLite; every tenth user is inactive."""
    return make_bank(path, [(number, index % 10 != 0) for index, number in enumerate(numbers(rows))])


def connections(simulator: Simulator, bank: Bank) -> dict[str, Any]:
    """Airflow's connections to a simulator and to a bank's database."""
    return {"wxbank_default": simulator.airflow_connection(), "bank_db": bank.connection}


def active(rows: int) -> list[str]:
    """The numbers of the active users in the bank's database."""
    return [number for index, number in enumerate(numbers(rows)) if index % 10]
