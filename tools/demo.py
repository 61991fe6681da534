# SPDX-License-Identifier: Apache-2.0
"""The main job on real input: 20,000 users in a database, the active ones exported, encrypted, imported, compared.

The bank's database is SQLite, WeChat Pay is the simulator with throwaway keys, Airflow has a home of its own; all of it
is in ``.demo`` and nothing of it keeps running.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import time
from pathlib import Path
from typing import Any

from airflow_provider_wxbank.simulator import SimulatorSettings, numbers_digest, serve
from airflow_provider_wxbank.simulator.settings import SuiteName
from tests.harness.airflow_home import airflow, environment, run, running
from tests.harness.bank import User, make_bank
from tests.harness.terminal import end_with, say

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".demo"
USERS = 20_000
PACKAGE_ID = "8473295"
PROCESSING_SECONDS = 3.0

# 2026-11-23T12:00:00.000000Z [info     ] Exported ... [airflow_provider_wxbank.agreements] loc=...
_OUR_LINE = re.compile(r"\[(info|warning|error) *\] (.*?) +\[\S*airflow_provider_wxbank")


def main() -> int:
    """Run it, in the suite that the variable ``SUITE`` names: ``rsa`` or ``sm2``.

    Exit code: 0 if the set of numbers that WeChat Pay has is exactly the set of active users."""
    suite = _suite(os.environ.get("SUITE", "rsa"))
    started = time.monotonic()
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(mode=0o700)
    say(f"Making the bank's database with {USERS:,} users in {shown(HOME / 'bank.db')}")
    bank = make_bank(HOME / "bank.db", users())
    active = set(bank.numbers)
    say(f"{len(active):,} of them are active")
    with serve(SimulatorSettings(processing_seconds=PROCESSING_SECONDS, suite=suite)) as simulator:
        say(f"The simulator of WeChat Pay is at {simulator.base_url}, with fresh throwaway keys of {suite.upper()}")
        connections = {
            "wxbank_default": simulator.airflow_connection(),
            "bank_db": bank.connection,
        }
        env = {**environment(HOME, ROOT / "dags", connections), "WXBANK_POLL_SECONDS": "1"}
        say("Making an Airflow home")
        code, output = run(airflow("db", "migrate"), env)
        if code:
            print(output)
            return 1
        say("Running the DAG wxbank_export_and_import: export, encrypt, upload, wait")
        params = {"output": str(HOME / "export"), "package_id": PACKAGE_ID}
        code = run_dag(airflow("dags", "test", "wxbank_export_and_import", "--conf", json.dumps(params)), env)
        report = simulator.report()
    if code:
        print(f"The DAG run failed; its whole output is in {shown(HOME / 'airflow.log')}")
        return 1
    return show(report, active, time.monotonic() - started)


def _suite(name: str) -> SuiteName:
    """:raises SystemExit: there is no such suite."""
    match name.lower():
        case "rsa" | "sm2" as suite:
            return suite
    raise SystemExit(f"SUITE={name}: there are rsa and sm2")


def users() -> list[User]:
    """The bank's users, the same every time; nine of ten are active."""
    generator = random.Random(20261123)
    numbers = generator.sample(range(10**17, 10**18), USERS)
    return [(f"2024{number}", generator.random() < 0.9) for number in numbers]


def run_dag(command: list[str], env: dict[str, str]) -> int:
    """Run the DAG; its output goes into a file, what our operators say is shown as it comes."""
    with (HOME / "airflow.log").open("w") as log, running(command, env) as process:
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            if match := _OUR_LINE.search(re.sub(r"\x1b\[[0-9;]*m", "", line)):
                print(f"    {match[2]}", flush=True)
        return process.wait()


def show(report: dict[str, Any], active: set[str], seconds: float) -> int:
    """Print what happened, for a person."""
    package = report["packages"].get(PACKAGE_ID, {"tasks": [], "lines": 0, "distinct_numbers": 0, "numbers_digest": ""})
    manifests = sorted((HOME / "export").glob("*/manifest.json"))
    print(f"\nThe files: {shown(manifests[0].parent) if manifests else 'none'}\n")
    print(f"{'file':<74} {'rows':>5} {'bytes':>9} {'task':>6} {'status':<10} {'success':>7} {'fail':>5}")
    for task in package["tasks"]:
        print(
            f"{task['filename']:<74} {task['rows']:>5} {task['bytes']:>9} {task['task_id']:>6} {task['status']:<10} "
            f"{task['success_count']:>7} {task['fail_count']:>5}"
        )
    lines, distinct = package["lines"], package["distinct_numbers"]
    equal = package["numbers_digest"] == numbers_digest(active) and lines == len(active)
    print(f"\n{'generated users':<28} {USERS:>7,}\n{'active, so exported':<28} {len(active):>7,}")
    print(f"{'imported':<28} {lines:>7,}\n{'of them distinct':<28} {distinct:>7,}")
    files, requests = len(package["tasks"]), report["requests"]["upload"]
    print(f"{'uploads, one a file':<28} {files:>7,}")
    if requests != files:
        print(f"{'requests, some sent again':<28} {requests:>7,}")
    print(f"{'digests of both sets':<28} {'equal' if equal else 'NOT EQUAL':>7}\n")
    done = f"Done in {seconds:.0f} s. Next: docs/try.md, in Chinese docs/zh/try.md, does the same by hand"
    say(done if equal else "The import is NOT what was exported")
    return 0 if equal else 1


def shown(path: Path) -> str:
    """A path as seen from here."""
    return str(path.relative_to(ROOT))


if __name__ == "__main__":
    end_with(main)
