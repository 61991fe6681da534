# SPDX-License-Identifier: Apache-2.0
"""The main job of a merchant with an SM2 key, in a real Airflow."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_provider_wxbank.simulator import Fault, numbers_digest
from tests.conftest import PACKAGE, NewSimulator
from tests.system.conftest import active

NewAirflow = Callable[..., Any]
ROWS = 20_000


def test_export_and_import_with_lost_answers(
    new_simulator: NewSimulator, new_forked_airflow: NewAirflow, tmp_path: Path
) -> None:
    simulator = new_simulator(suite="sm2", processing_seconds=3.0)
    simulator.add_fault(Fault("drop", on="upload", every=3, commit=True))
    airflow = new_forked_airflow(simulator, rows=ROWS)
    airflow.add_dag("wxbank_export_and_import.py")
    code, output = airflow.test_dag("wxbank_export_and_import", package_id=PACKAGE, output=str(tmp_path / "out"))
    assert code == 0, output[-5000:]
    report = simulator.report()
    package = report["packages"][PACKAGE]
    assert package["numbers_digest"] == numbers_digest(active(ROWS))
    assert package["lines"] == package["distinct_numbers"] == len(active(ROWS))
    assert sorted(task["rows"] for task in package["tasks"]) == [1500, 5500, 5500, 5500]
    assert report["requests"]["upload"] == 4
    assert set(report["whole_bodies"].values()) == {1}
    written = "".join(file.read_text() for file in (tmp_path / "out").rglob("*.*") if file.is_file())
    assert not re.search(r"2024\d{14}", written + output)
    # The library writes so when a signature is wrong.
    assert "GmSSL" not in output
