# SPDX-License-Identifier: Apache-2.0
"""What OpenLineage is told of exports and uploads, and that nothing of it is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openlineage.client.serde import Serde

from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.reporting.openlineage import place
from airflow_provider_wxbank.sensors import TaskFinishedSensor
from airflow_provider_wxbank.simulator import Fault, Simulator
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, Refused
from tests.airflow.conftest import context
from tests.conftest import PACKAGE, numbers
from tests.harness.waiting import PATIENCE

Connect = Callable[..., None]


@pytest.fixture(autouse=True)
def connected(simulator: Simulator, connect: Connect) -> Simulator:
    connect(simulator)
    return simulator


def export(folder: Path, **options: Any) -> ExportUsersOperator:
    return ExportUsersOperator(task_id="export", bank_type="ICBC_DEBIT", output_path=str(folder / "out"), **options)


def users(folder: Path, rows: int, *more: str) -> str:
    (folder / "users.csv").write_text("".join(f"{line}\n" for line in [*numbers(rows), *more]))
    return str(folder / "users.csv")


def names(datasets: Any) -> list[tuple[str, str]]:
    return [(dataset.namespace, dataset.name) for dataset in datasets]


@pytest.mark.parametrize(
    ("uri", "namespace", "name"),
    [
        ("/var/lib/wxbank/", "file", "/var/lib/wxbank"),
        ("file:///var/lib/wxbank", "file", "/var/lib/wxbank"),
        ("/data/users-*.csv", "file", "/data"),
        ("/data/a#b%20c://d", "file", "/data/a#b%20c://d"),
        ("s3://aws_default@lake/a#b/c", "s3://lake", "a#b/c"),
        ("s3://aws_default@bank-exports/wxbank/run 1", "s3://bank-exports", "wxbank/run 1"),
        ("s3a://lake/users/2026-??/[ab].csv", "s3://lake", "users"),
        ("s3://lake/*.csv", "s3://lake", "/"),
        ("gcs://lake/users.parquet", "gs://lake", "users.parquet"),
    ],
)
def test_places_are_named_as_openlineage_says(uri: str, namespace: str, name: str) -> None:
    assert place(uri) == (namespace, name)


def test_a_query_is_told_with_its_tables_and_without_its_values(
    postgres: dict[str, Any], airflow_connection: Connect, tmp_path: Path
) -> None:
    airflow_connection("bank_db", postgres)
    sql = "SELECT agreement_no FROM users WHERE agreement_no >= :least AND active = 1 ORDER BY agreement_no"
    least = numbers(1, start=4)[0]
    exporting = export(tmp_path, sql=sql, sql_conn_id="bank_db", parameters={"least": least})
    exporting.execute(context())
    lineage = exporting.get_openlineage_facets_on_complete(None)
    ((namespace, name),) = names(lineage.inputs)
    assert namespace.startswith("postgres://")
    assert name == f"{postgres['schema']}.public.users"
    assert lineage.job_facets["sql"].query == sql
    told = json.dumps([Serde.to_dict(one) for one in [*lineage.inputs, *lineage.outputs, *lineage.job_facets.values()]])
    assert least not in told
    assert (postgres["password"] or "password") not in told


def test_a_database_whose_dialect_nobody_knows_is_not_told_as_another(
    airflow_connection: Connect, tmp_path: Path
) -> None:
    """The hook of ODBC takes SQL Server's."""
    airflow_connection("bank_db", {"conn_type": "odbc", "host": "127.0.0.1"})
    lineage = export(tmp_path, sql="SELECT 1 FROM users", sql_conn_id="bank_db").get_openlineage_facets_on_start()
    assert lineage.inputs == []
    assert lineage.job_facets["sql"].query == "SELECT 1 FROM users"


def test_a_database_that_is_away_leaves_the_rest_of_the_lineage(
    airflow_connection: Connect, tmp_path: Path, logged: Callable[[], str]
) -> None:
    airflow_connection("bank_db", {"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "password": "secret"})
    lineage = export(tmp_path, sql="SELECT 1 FROM users", sql_conn_id="bank_db").get_openlineage_facets_on_start()
    assert lineage.inputs == []
    assert names(lineage.outputs) == [("file", str(tmp_path / "out"))]
    assert lineage.job_facets["sql"].query == "SELECT 1 FROM users"
    assert "not told to OpenLineage: OperationalError" in logged()


def test_an_export_tells_what_it_skipped_and_a_failed_one_tells_no_counts(tmp_path: Path) -> None:
    source = users(tmp_path, 7, "not a number")
    failing, skipping = export(tmp_path, source=source), export(tmp_path, source=source, on_invalid="skip")
    with pytest.raises(InvalidInput):
        failing.execute(context())
    skipping.execute(context())
    failed = failing.get_openlineage_facets_on_failure(None)
    lineage = skipping.get_openlineage_facets_on_complete(None)
    for one in (failed, lineage):
        assert names(one.inputs) == [("file", source)]
        assert names(one.outputs) == [("file", str(tmp_path / "out"))]
    assert failed.run_facets == {}
    facet = lineage.run_facets["wxbank_counts"]
    assert (facet.numbers, facet.files, facet.skippedRows) == (7, 1, 1)


def test_an_upload_that_fails_tells_how_much_is_with_wechat_pay(connected: Simulator, tmp_path: Path) -> None:
    exporting = export(tmp_path, source=users(tmp_path, 12), max_rows_per_file=5)
    uploading = UploadTaskOperator(
        task_id="upload", package_id=PACKAGE, manifest=exporting.execute(context()), max_workers=1
    )
    started = uploading.get_openlineage_facets_on_start()
    connected.add_fault(Fault("forbidden", on="upload", every=3))
    with pytest.raises(Refused):
        uploading.execute(context())
    failed = uploading.get_openlineage_facets_on_failure(None)
    for one in (started, failed):
        assert names(one.inputs) == [("file", str(tmp_path / "out"))]
        assert names(one.outputs) == [("wxbank://api.mch.weixin.qq.com", PACKAGE)]
    assert started.run_facets == {}
    facet = failed.run_facets["wxbank_counts"]
    assert (facet.numbers, facet.files) == (10, 2)


def test_one_file_is_an_input(tmp_path: Path) -> None:
    file = users(tmp_path, 1)
    uploading = UploadTaskOperator(task_id="upload", package_id=PACKAGE, file=file, bank_type="ICBC_DEBIT")
    assert names(uploading.get_openlineage_facets_on_start().inputs) == [("file", file)]


def test_a_wait_that_has_not_begun_tells_its_package_alone() -> None:
    waiting = TaskFinishedSensor(task_id="finished", upload={"package_id": PACKAGE, "tasks": [{"task_id": "1"}]})
    lineage = waiting.get_openlineage_facets_on_start()
    assert names(lineage.outputs) == [("wxbank://api.mch.weixin.qq.com", PACKAGE)]
    assert (lineage.inputs, lineage.run_facets) == ([], {})


WITHOUT_OPENLINEAGE = """
import sys
sys.modules["openlineage"] = None  # an import of it fails
from types import SimpleNamespace
from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.sensors import TaskFinishedSensor
context = {"ti": SimpleNamespace(dag_id="import_users", run_id="manual__1", task_id="export", map_index=-1)}
source, output, package = sys.argv[1:]
manifest = ExportUsersOperator(
    task_id="export", bank_type="ICBC_DEBIT", source=source, output_path=output
).execute(context)
upload = UploadTaskOperator(task_id="upload", package_id=package, manifest=manifest).execute(context)
print(TaskFinishedSensor(task_id="finished", upload=upload).execute(context)["success_count"])
"""


def test_nothing_of_openlineage_is_needed(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", WITHOUT_OPENLINEAGE, users(tmp_path, 3), str(tmp_path / "out"), PACKAGE]
    ran = subprocess.run(
        arguments, env=os.environ.copy(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.splitlines()[-1] == "3"
