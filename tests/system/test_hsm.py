# SPDX-License-Identifier: Apache-2.0
"""The main job of a merchant whose key is on a token of SoftHSM, in a real Airflow. Its PIN is left nowhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_wxbank.simulator import Fault, Simulator, numbers_digest
from tests.conftest import PACKAGE, NewSimulator
from tests.harness.softhsm import PIN, Hsm, in_hsm, needs_python_pkcs11, needs_softhsm, uri
from tests.stress.fuzz_targets import private_key
from tests.system.conftest import active
from tests.system.test_secrets import AIRFLOWS_OWN, Secrets, impatient, logging_environment, rows_of

pytestmark = [needs_softhsm, needs_python_pkcs11]

NewAirflow = Callable[..., Any]
ROWS = 12_000


@pytest.fixture
def merchants(hsm: Hsm) -> Hsm:
    """A token with the merchant's key."""
    hsm.add_token("merchants")
    hsm.import_key(private_key("merchant_private_pkcs8"), "merchants", "merchant-2026")
    return hsm


class KeyInHsm:
    """A simulator, whose merchant has the key in an HSM."""

    def __init__(self, simulator: Simulator, pin: str = PIN) -> None:
        self._simulator, self._pin = simulator, pin

    def airflow_connection(self) -> dict[str, Any]:
        """As the simulator's, without a key."""
        return in_hsm(self._simulator.airflow_connection(), uri("merchants", "merchant-2026"), self._pin)


def places(airflow: Any, secrets: Secrets, printed: str, *folders: Path) -> list[str]:
    """Where something secret is."""
    database = airflow.home / "airflow.db"
    # A search of nothing finds nothing: what is searched must be there.
    for table in ("rendered_task_instance_fields", "dag_run", "task_instance", "log"):
        assert rows_of(database, table) > 0, table
    return [
        *(f"{what} in what was printed" for what in secrets.in_bytes(AIRFLOWS_OWN.sub("", printed).encode())),
        *secrets.in_database(database),
        *(place for folder in (airflow.home, *folders) for place in secrets.in_files(folder)),
    ]


def test_the_sample_dag_runs_with_a_key_that_never_leaves_its_token(
    new_simulator: NewSimulator, new_forked_airflow: NewAirflow, merchants: Hsm, tmp_path: Path
) -> None:
    simulator = new_simulator(processing_seconds=1.0)
    simulator.add_fault(Fault("drop", on="upload", every=3, commit=True))
    airflow = new_forked_airflow(KeyInHsm(simulator), rows=ROWS)
    airflow.env.update(logging_environment(airflow.home))
    assert merchants.configuration.as_posix() == airflow.env["SOFTHSM2_CONF"]
    assert "PRIVATE KEY" not in airflow.env["AIRFLOW_CONN_WXBANK_DEFAULT"]
    airflow.add_dag("wxbank_export_and_import.py", impatient)
    code, output = airflow.test_dag("wxbank_export_and_import", package_id=PACKAGE, output=str(tmp_path / "out"))
    assert code == 0, output[-5000:]
    report = simulator.report()
    package = report["packages"][PACKAGE]
    assert package["numbers_digest"] == numbers_digest(active(ROWS))
    assert package["lines"] == package["distinct_numbers"] == len(active(ROWS))
    assert report["requests"]["upload"] == len(package["tasks"]) == 2
    secrets = Secrets(simulator.airflow_connection()["password"].encode(), pin=PIN.encode())
    assert places(airflow, secrets, output, tmp_path / "out") == []


def test_a_wrong_pin_is_told_and_left_nowhere(
    new_simulator: NewSimulator, new_forked_airflow: NewAirflow, merchants: Hsm, tmp_path: Path
) -> None:
    simulator, wrong = new_simulator(), "Wrong-314159-pin"
    airflow = new_forked_airflow(KeyInHsm(simulator, wrong), rows=10)
    airflow.env.update(logging_environment(airflow.home))
    airflow.add_dag("wxbank_export_and_import.py", impatient)
    code, output = airflow.test_dag("wxbank_export_and_import", package_id=PACKAGE, output=str(tmp_path / "out"))
    assert code != 0
    assert "the token merchants does not take the PIN of the connection" in output
    assert sum(simulator.report()["requests"].values()) == 0
    secrets = Secrets(simulator.airflow_connection()["password"].encode(), pin=wrong.encode())
    assert places(airflow, secrets, output) == []
