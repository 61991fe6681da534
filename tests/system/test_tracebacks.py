"""Airflow can print the local variables of a failure; none of them is a number or a key."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from airflow_provider_wxbank.agreements.files import naming_key
from airflow_provider_wxbank.simulator import Fault
from tests.conftest import PACKAGE, NewSimulator, numbers

NewAirflow = Callable[..., Any]

BAD = "6202-6100 0000"
DAG = """\
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator

with DAG("failing", schedule=None):
    ExportUsersOperator(
        task_id="export", bank_type="ICBC_DEBIT", output_path="{out}", source="{source}", column={column}, retries=0
    )
    UploadTaskOperator(
        task_id="upload", package_id="{package}", bank_type="ICBC_DEBIT", file="{source}", retries=0, max_workers=2
    )
"""


@pytest.mark.parametrize("case", ["a bad row", "a bad row of a CSV file", "a refusal"])
def test_a_failure_tells_no_number_beside_its_traceback(
    new_simulator: NewSimulator, new_airflow: NewAirflow, tmp_path: Path, case: str
) -> None:
    simulator = new_simulator()
    airflow = new_airflow(simulator)
    source = tmp_path / "users.csv"
    rows = [*numbers(10), *([] if case == "a refusal" else [BAD])]
    header = ["agreement_no"] if case == "a bad row of a CSV file" else []
    source.write_text("".join(f"{row}\n" for row in [*header, *rows]))
    simulator.add_fault(Fault("forbidden", on="upload"))
    airflow.dags.mkdir()
    column = repr("agreement_no") if header else None
    text = DAG.format(out=tmp_path / "out", source=source, package=PACKAGE, column=column)
    (airflow.dags / "failing.py").write_text(text)
    airflow.env["DEV"] = "1"
    code, output = airflow.command("dags", "test", "failing")
    assert code == 1, output[-5000:]
    assert "InvalidInput" in output or "Refused" in output
    found = [*re.findall(r"2024\d{10}", output), *re.findall(re.escape(BAD), output)]
    assert not found, output[-9000:]
    pem = simulator.airflow_connection()["extra"]["merchant_private_key"]
    assert not [line for line in pem.splitlines()[1:-1] if line in output]
    key = load_pem_private_key(pem.encode(), None)
    assert isinstance(key, RSAPrivateKey)
    assert repr(naming_key(key))[:16] not in output
