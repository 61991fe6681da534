# SPDX-License-Identifier: Apache-2.0
"""A campaign's DAG is run by finished imports, in a real Airflow: our own, and those of somebody else.

``dags/wxbank_campaign_on_import.py`` is scheduled on two packages. ``dags/wxbank_export_and_import.py`` fills the
first; the second is filled from outside while a watcher looks, and the triggerer is killed in between. The exit code is
0 only if each import ran the campaign's DAG once, with its own counts.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from airflow_provider_wxbank.packages.endpoints import create_task
from airflow_provider_wxbank.simulator import Simulator, SimulatorSettings, serve
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.settings import read_settings
from tests.harness.airflow_parts import Airflow
from tests.harness.bank import make_bank
from tests.harness.terminal import end_with, say
from tests.harness.waiting import until

DAGS = Path(__file__).resolve().parents[2] / "dags"
IMPORT, CAMPAIGN = "wxbank_export_and_import", "wxbank_campaign_on_import"
OWN, WATCHED = "8473295", "8473296"
USERS = 6_000
SECONDS = 90.0


def main() -> int:
    """Exit code: 0 if every import ran the campaign's DAG once."""
    with (
        tempfile.TemporaryDirectory(prefix="wxbank-campaigns-", ignore_cleanup_errors=True) as name,
        serve(SimulatorSettings(processing_seconds=3.0)) as simulator,
    ):
        folder = Path(name)
        bank = make_bank(folder / "bank.db", [(f"2024{row:014d}", True) for row in range(USERS)])
        (folder / "dags").mkdir()
        for dag_id in (IMPORT, CAMPAIGN):
            shutil.copy(DAGS / f"{dag_id}.py", folder / "dags")
        connections = {
            "wxbank_default": simulator.airflow_connection(),
            "bank_db": bank.connection,
        }
        settings = {"WXBANK_PACKAGE_ID": OWN, "WXBANK_WATCHED_PACKAGE_ID": WATCHED, "WXBANK_POLL_SECONDS": "1"}
        with Airflow(folder, connections, [], settings) as airflow:
            say("Starting Airflow")
            airflow.start(CAMPAIGN)
            return check(airflow, simulator, folder)


def check(airflow: Airflow, simulator: Simulator, folder: Path) -> int:
    """Import three times, and compare what the campaign's DAG was run with."""
    expected = [(OWN, 2, USERS), (WATCHED, 2, 30), (WATCHED, 1, 20)]
    say(f"Importing {USERS:,} numbers with {IMPORT} into package {OWN}")
    airflow.trigger(IMPORT, output=str(folder / "out"), package_id=OWN)
    wait_for_runs(airflow, 1)
    say(f"Somebody else uploads two files into package {WATCHED}")
    upload(simulator, {"others-1.csv": 10, "others-2.csv": 20})
    wait_for_runs(airflow, 2)
    wait_for_polls(simulator)
    say("Killing the triggerer, and starting another")
    airflow.kill_triggerer()
    airflow.start_triggerer()
    wait_for_polls(simulator)
    wait_for_runs(airflow, 2)
    say(f"Somebody else uploads one more file into package {WATCHED}")
    upload(simulator, {"others-3.csv": 20})
    wait_for_runs(airflow, 3)
    wait_for_polls(simulator)
    seen = events(airflow)
    print(f"\n{'package':<10} {'tasks':>5} {'numbers':>8}")
    for package_id, tasks, count in seen:
        print(f"{package_id:<10} {tasks:>5} {count:>8,}")
    runs = [run["state"] for run in campaign_runs(airflow)]
    print(f"\nruns of {CAMPAIGN}: {', '.join(runs)}")
    good = seen == expected and runs == ["success"] * 3
    say("Every import ran the campaign's DAG once" if good else f"Expected: {expected}")
    return 0 if good else 1


def campaign_runs(airflow: Airflow) -> list[dict[str, Any]]:
    """The runs of the campaign's DAG, oldest first."""
    runs: list[dict[str, Any]] = airflow.get(f"dags/{CAMPAIGN}/dagRuns", order_by="id")["dag_runs"]
    return runs


def events(airflow: Airflow) -> list[tuple[str, int, int]]:
    """Package, tasks and numbers of each event that ran the campaign's DAG."""
    seen = []
    for run in campaign_runs(airflow):
        for event in airflow.get(f"dags/{CAMPAIGN}/dagRuns/{run['dag_run_id']}/upstreamAssetEvents")["asset_events"]:
            extra = event["extra"].get("payload", event["extra"])
            seen.append((extra["package_id"], extra["tasks"], extra["success_count"] + extra["fail_count"]))
    return seen


def wait_for_runs(airflow: Airflow, count: int) -> None:
    """Wait until the campaign's DAG was run so often; more are seen at the end."""
    done = {"success", "failed"}
    until(
        lambda: len(runs := campaign_runs(airflow)) >= count and all(run["state"] in done for run in runs),
        SECONDS,
        f"{CAMPAIGN} was not run {count} times",
    )


def wait_for_polls(simulator: Simulator, polls: int = 4) -> None:
    """Wait until the watcher has looked some more times."""
    seen = simulator.report()["requests"].get("list", 0)
    until(lambda: simulator.report()["requests"].get("list", 0) >= seen + polls, SECONDS, "The watcher does not poll")


def upload(simulator: Simulator, files: dict[str, int]) -> None:
    """Upload files of so many numbers, as somebody else would."""
    connection = simulator.airflow_connection()
    settings = read_settings(connection["login"], connection["password"], connection["host"], connection["extra"])
    with closing(Client(settings)) as client:
        key = client.encryption_key()
        for filename, rows in files.items():
            numbers = [f"2024{filename[7]}{index:013d}" for index in range(rows)]
            content = key.public_key.encrypt_lines(numbers)
            create_task(client, WATCHED, content, "ICBC_DEBIT", filename, key.serial_no)


if __name__ == "__main__":
    end_with(main)
