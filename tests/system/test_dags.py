# SPDX-License-Identifier: Apache-2.0
"""The sample DAGs run to their end in a real Airflow, and every number arrives once."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from airflow_provider_wxbank._compat import HAS_PAGE, HAS_RETRY_POLICIES
from airflow_provider_wxbank.simulator import Fault, numbers_digest
from tests.conftest import PACKAGE, NewSimulator, numbers
from tests.harness.airflow_home import run
from tests.harness.pages import ROOT
from tests.system.conftest import active

DEFERRABLE = "deferrable=True,"
RESCHEDULE = 'mode="reschedule",'
POKE = 'mode="poke",'

NewAirflow = Callable[..., Any]


def test_export_and_import_with_lost_answers(
    new_simulator: NewSimulator, new_forked_airflow: NewAirflow, tmp_path: Path
) -> None:
    """Eight uploads at a time, and every third answer is lost after the file was taken."""
    simulator = new_simulator(processing_seconds=3.0)
    simulator.add_fault(Fault("drop", on="upload", every=3, commit=True))
    airflow = new_forked_airflow(simulator, rows=36_000)
    airflow.add_dag("wxbank_export_and_import.py")
    code, output = airflow.test_dag("wxbank_export_and_import", package_id=PACKAGE, output=str(tmp_path / "out"))
    assert code == 0, output[-5000:]
    report = simulator.report()
    package = report["packages"][PACKAGE]
    assert package["numbers_digest"] == numbers_digest(active(36_000))
    assert package["lines"] == package["distinct_numbers"] == len(active(36_000))
    assert [task["rows"] for task in sorted(package["tasks"], key=lambda task: -task["rows"])] == [5500] * 5 + [4900]
    assert report["requests"]["upload"] == len(package["tasks"]) == 6
    assert set(report["whole_bodies"].values()) == {1}
    lost = report["faults"]["drop"]
    assert lost == 2
    assert f"{6 - lost} files uploaded, {lost} adopted, 0 failed" in output
    adopted = set(re.findall(r"Adopted (\S+): it is there already as task (\d+)", output))
    assert adopted <= {(task["filename"], task["task_id"]) for task in package["tasks"]}
    assert len(adopted) == lost
    assert f"6 tasks finished; {len(active(36_000))} numbers matched" in output
    # Only ciphertext was written, and no number was printed.
    written = "".join(file.read_text() for file in (tmp_path / "out").rglob("*.*") if file.is_file())
    assert not re.search(r"2024\d{14}", written + output)


def test_the_sample_dag_leaves_a_receipt_that_is_verified(
    new_simulator: NewSimulator, new_forked_airflow: NewAirflow, tmp_path: Path
) -> None:
    simulator = new_simulator(processing_seconds=2.0)
    airflow = new_forked_airflow(simulator, rows=200)
    airflow.add_dag("wxbank_export_and_import.py")
    code, output = airflow.test_dag("wxbank_export_and_import", package_id=PACKAGE, output=str(tmp_path / "out"))
    assert code == 0, output[-5000:]
    (receipt,) = (tmp_path / "out").rglob("receipt.json")
    says = json.loads(receipt.read_bytes())
    jsonschema.validate(says, json.loads((ROOT / "docs/receipt.schema.json").read_text("utf-8")))
    assert (says["run"]["dag_id"], says["run"]["task_id"]) == ("wxbank_export_and_import", "finished")
    assert says["run"]["try_number"] == 1
    assert says["run"]["run_type"] == "manual"
    # The user of airflow dags test; Airflow 2 tells its tasks of none.
    assert says["run"]["triggered_by"] == ("dag_test" if HAS_PAGE else None)
    assert (says["sums"]["rows"], says["sums"]["agree"]) == (180, True)
    assert says["files"][0]["sha256"] is not None

    def command(*arguments: str) -> tuple[int, str]:
        return run([sys.executable, "-m", "airflow_provider_wxbank", *arguments], airflow.env)

    code, output = command("verify", str(receipt), "--online")
    assert code == 0, output
    assert "180 rows were sent: 180 matched and 0 did not" in " ".join(output.split())
    receipt.write_bytes(receipt.read_bytes().replace(b'"rows": 180', b'"rows": 181', 1))
    assert command("verify", str(receipt))[0] == 10


# As it is, it defers: see the test above.
@pytest.mark.parametrize("mode", [POKE, RESCHEDULE], ids=["poke", "reschedule"])
def test_export_and_import_in_the_other_modes_of_the_sensor(
    new_simulator: NewSimulator, new_forked_airflow: NewAirflow, tmp_path: Path, mode: str
) -> None:
    simulator = new_simulator(processing_seconds=4.0)
    airflow = new_forked_airflow(simulator, rows=200)
    airflow.add_dag("wxbank_export_and_import.py", lambda text: text.replace(DEFERRABLE, mode))
    code, output = airflow.test_dag("wxbank_export_and_import", package_id=PACKAGE, output=str(tmp_path / "out"))
    assert code == 0, output[-5000:]
    assert simulator.report()["packages"][PACKAGE]["numbers_digest"] == numbers_digest(active(200))
    assert "1 tasks finished; 180 numbers matched, 0 did not" in output


@pytest.mark.parametrize("mode", [POKE, RESCHEDULE, DEFERRABLE], ids=["poke", "reschedule", "deferrable"])
def test_upload_file_in_every_mode_of_the_sensor(
    new_simulator: NewSimulator, new_forked_airflow: NewAirflow, tmp_path: Path, mode: str
) -> None:
    simulator = new_simulator(processing_seconds=4.0, key_mode="public-key")
    airflow = new_forked_airflow(simulator)
    airflow.add_dag("wxbank_upload_file.py", lambda text: text.replace(RESCHEDULE, mode))
    (tmp_path / "active_user.csv").write_text("\n".join(numbers(100)))
    code, output = airflow.test_dag("wxbank_upload_file", package_id=PACKAGE, file=str(tmp_path / "active_user.csv"))
    assert code == 0, output[-5000:]
    assert simulator.report()["packages"][PACKAGE]["numbers_digest"] == numbers_digest(numbers(100))
    assert "1 tasks finished; 100 numbers matched, 0 did not" in output


@pytest.mark.skipif(not HAS_RETRY_POLICIES, reason="Airflow before 3.3 tries again whatever the error was")
def test_what_a_person_must_mend_is_not_tried_again(
    new_simulator: NewSimulator, new_forked_airflow: NewAirflow, tmp_path: Path
) -> None:
    airflow = new_forked_airflow(new_simulator())
    airflow.add_dag("wxbank_upload_file.py")
    (tmp_path / "users.csv").write_text("".join(f"{number}\n" for number in [*numbers(10), "not a number"]))
    code, output = airflow.test_dag("wxbank_upload_file", package_id=PACKAGE, file=str(tmp_path / "users.csv"))
    assert code == 1, output[-5000:]
    assert output.count("InvalidInput: another try would meet it again") == 1
    assert "up_for_retry" not in output.lower()


@pytest.mark.skipif(not HAS_RETRY_POLICIES, reason="Airflow before 3.3 has no state of tasks either")
def test_what_was_uploaded_is_kept_in_the_state_of_the_task(
    new_simulator: NewSimulator, new_forked_airflow: NewAirflow, tmp_path: Path
) -> None:
    simulator = new_simulator()
    airflow = new_forked_airflow(simulator)
    airflow.add_dag("wxbank_upload_file.py")
    (tmp_path / "users.csv").write_text("".join(f"{number}\n" for number in numbers(10)))
    code, output = airflow.test_dag("wxbank_upload_file", package_id=PACKAGE, file=str(tmp_path / "users.csv"))
    assert code == 0, output[-5000:]
    with closing(sqlite3.connect(airflow.home / "airflow.db")) as database:
        kept = dict(database.execute("SELECT key, value FROM task_state_store").fetchall())
    (task,) = simulator.report()["packages"][PACKAGE]["tasks"]
    assert json.loads(kept["uploaded-0"]) == {"package_id": PACKAGE, "tasks": {task["filename"]: task["task_id"]}}


def test_a_large_import_in_partitions(
    new_simulator: NewSimulator, new_forked_airflow: NewAirflow, tmp_path: Path
) -> None:
    simulator = new_simulator(processing_seconds=2.0)
    airflow = new_forked_airflow(simulator, rows=400)
    airflow.env["WXBANK_PARTITIONS"] = "3"
    airflow.add_dag("wxbank_import_large.py")
    code, output = airflow.test_dag("wxbank_import_large", package_id=PACKAGE, output=str(tmp_path / "out"))
    assert code == 0, output[-5000:]
    package = simulator.report()["packages"][PACKAGE]
    assert package["numbers_digest"] == numbers_digest(active(400))
    assert package["repeated_numbers"] == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*/*")) == ["part-0", "part-1", "part-2"]
    assert "3 tasks finished; 360 numbers matched, 0 did not" in output
