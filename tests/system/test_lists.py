# SPDX-License-Identifier: Apache-2.0
"""Several lists of customers in one DAG run: each reaches its own package, or the run fails and says why."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_wxbank.simulator import numbers_digest
from tests.conftest import NewSimulator, numbers

NewAirflow = Callable[..., Any]

ROWS = 90
PACKAGES = {"8473201": (1, 30), "8473202": (31, 60), "8473203": (61, 90)}
"""The packages, and the users that are to be in each, by their ids."""

TASKS = """\
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.sensors import TaskFinishedSensor

with DAG("three_lists", schedule=None, params={"output": "/tmp"}, render_template_as_native_obj=%(native)s):
    for package_id, (first, last) in %(packages)s.items():
        export = ExportUsersOperator(
            task_id=f"export_{package_id}",
            sql="SELECT agreement_no FROM users WHERE id BETWEEN :first AND :last ORDER BY id",
            sql_conn_id="bank_db", parameters={"first": first, "last": last}, bank_type="ICBC_DEBIT",
            output_path="{{ params.output }}/%(folder)s",
        )
        upload = UploadTaskOperator(task_id=f"upload_{package_id}", package_id=package_id, manifest=export.output)
        wait = TaskFinishedSensor(task_id=f"wait_{package_id}", upload=upload.output, poke_interval=0.3)
        export >> upload >> wait
"""

GROUP = """\
from airflow.providers.common.compat.sdk import DAG
from airflow.%(decorators)s import task_group
from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.sensors import TaskFinishedSensor

with DAG("three_lists", schedule=None, params={"output": "/tmp"}, render_template_as_native_obj=%(native)s):

    @task_group
    def one(package_id, parameters):
        export = ExportUsersOperator(
            task_id="export", sql="SELECT agreement_no FROM users WHERE id BETWEEN :first AND :last ORDER BY id",
            sql_conn_id="bank_db", parameters=parameters, bank_type="ICBC_DEBIT",
            output_path="{{ params.output }}/%(folder)s",
        )
        upload = UploadTaskOperator(task_id="upload", package_id=package_id, manifest=export.output)
        wait = TaskFinishedSensor(task_id="wait", upload=upload.output, poke_interval=0.3)
        export >> upload >> wait

    one.expand_kwargs([
        {"package_id": package_id, "parameters": {"first": first, "last": last}}
        for package_id, (first, last) in %(packages)s.items()
    ])
"""


def run(airflow: Any, kind: str, folder: str, tmp_path: Path, *, native: bool = False) -> tuple[int, str]:
    """Run a DAG of three exports into a folder each, or into one."""
    from importlib.util import find_spec

    decorators = "sdk" if find_spec("airflow.sdk") else "decorators"
    text = {"tasks": TASKS, "group": GROUP}[kind]
    airflow.dags.mkdir(exist_ok=True)
    (airflow.dags / "three_lists.py").write_text(
        text % {"packages": PACKAGES, "folder": folder, "native": native, "decorators": decorators}
    )
    code, output = airflow.test_dag("three_lists", output=str(tmp_path / "out"))
    return code, output


@pytest.mark.parametrize(
    ("kind", "folder", "native"),
    [
        ("tasks", "{{ run_id }}/{{ ti.task_id }}", False),
        ("tasks", "{{ run_id }}/{{ ti.task_id }}", True),
        ("group", "{{ run_id }}/{{ ti.task_id }}/{{ ti.map_index }}", False),
    ],
)
def test_three_exports_in_three_folders_are_three_lists(
    new_simulator: NewSimulator, new_forked_airflow: NewAirflow, tmp_path: Path, kind: str, folder: str, native: bool
) -> None:
    simulator = new_simulator()
    code, output = run(new_forked_airflow(simulator, rows=ROWS), kind, folder, tmp_path, native=native)
    assert code == 0, output[-5000:]
    packages = simulator.report()["packages"]
    assert {name: package["numbers_digest"] for name, package in packages.items()} == {
        name: numbers_digest(numbers(30, first - 1)) for name, (first, _) in PACKAGES.items()
    }


@pytest.mark.parametrize("kind", ["tasks", "group"])
def test_three_exports_in_one_folder_are_refused(
    new_simulator: NewSimulator, new_forked_airflow: NewAirflow, tmp_path: Path, kind: str
) -> None:
    simulator = new_simulator()
    code, output = run(new_forked_airflow(simulator, rows=ROWS), kind, "{{ run_id }}", tmp_path)
    assert code == 1, output[-5000:]
    told = re.sub(r"\s+", " ", output)
    assert "Give each export an output_path of its own, for example ending in {{ run_id }}/{{ ti.task_id }}" in told
    assert not re.search(r"2024\d{14}", output)
    # Which one came first is Airflow's choice. Whatever has arrived is where it belongs.
    for name, package in simulator.report()["packages"].items():
        assert package["numbers_digest"] == numbers_digest(numbers(30, PACKAGES[name][0] - 1))
