# SPDX-License-Identifier: Apache-2.0
"""Airflow can print the local variables of a failure; none of them is a number or a key."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_provider_wxbank.simulator import Fault
from tests.conftest import PACKAGE, NewSimulator, numbers
from tests.harness.keys import naming_key_of_pem

NewAirflow = Callable[..., Any]

BAD = "6202-6100 0000"
DAG = """\
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator

FOLDER = "{folder}"

with DAG("failing", schedule=None):
    for name, column in (("bad_row", None), ("bad_row_of_csv", "agreement_no")):
        ExportUsersOperator(
            task_id=f"export_{{name}}", bank_type="ICBC_DEBIT", output_path=f"{{FOLDER}}/{{name}}",
            source=f"{{FOLDER}}/{{name}}.csv", column=column, retries=0,
        )
    for name in ("bad_row", "good_rows"):
        UploadTaskOperator(
            task_id=f"upload_{{name}}", package_id="{package}", bank_type="ICBC_DEBIT", file=f"{{FOLDER}}/{{name}}.csv",
            retries=0, max_workers=2,
        )
"""


def test_a_failure_tells_no_number_beside_its_traceback(
    new_simulator: NewSimulator, new_airflow: NewAirflow, tmp_path: Path
) -> None:
    simulator = new_simulator()
    airflow = new_airflow(simulator)
    good = numbers(10)
    for name, rows in (
        ("bad_row", [*good, BAD]),
        ("bad_row_of_csv", ["agreement_no", *good, BAD]),
        ("good_rows", good),
    ):
        (tmp_path / f"{name}.csv").write_text("".join(f"{row}\n" for row in rows))
    simulator.add_fault(Fault("forbidden", on="upload"))
    airflow.dags.mkdir()
    (airflow.dags / "failing.py").write_text(DAG.format(folder=tmp_path, package=PACKAGE))
    airflow.env["DEV"] = "1"
    code, output = airflow.command("dags", "test", "failing")
    assert code == 1, output[-5000:]
    for told in ("bad_row.csv line 11", "bad_row_of_csv.csv line 12", "Refused"):
        assert told in re.sub(r"\s+", " ", output), output[-9000:]
    found = [*re.findall(r"2024\d{10}", output), *re.findall(re.escape(BAD), output)]
    assert not found, output[-9000:]
    pem = simulator.airflow_connection()["extra"]["merchant_private_key"]
    assert not [line for line in pem.splitlines()[1:-1] if line in output]
    assert repr(naming_key_of_pem(pem))[:16] not in output
