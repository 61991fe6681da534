# SPDX-License-Identifier: Apache-2.0
"""What there is to see in the Airflow of ``make ui``: a bank, a WeChat Pay, and imports in every state.

WeChat Pay is the simulator. Its tasks are moved back in time, so that some imports are weeks old, and so that of one
that is being processed a file is finished every so many seconds.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from airflow_provider_wxbank.get_provider_info import FIELDS
from airflow_provider_wxbank.simulator import Fault, Simulator, SimulatorSettings
from airflow_provider_wxbank.simulator.ledger import Task
from tests.harness.airflow_parts import Airflow
from tests.harness.bank import User
from tests.harness.waiting import PATIENCE, until

SAMPLES = Path(__file__).resolve().parent.parent / "dags"
SAMPLE = "wxbank_export_and_import"

FINISHED, PROCESSING, UPLOADING, FAILED = "8473295", "8473296", "8473297", "8473298"
"""The packages, named for the state of their latest import."""

CAMPAIGNS = {
    "spring_discount": (PROCESSING, 5_500, 8),
    "summer_discount": (UPLOADING, 500, 1),
    "autumn_discount": (FAILED, 500, 1),
}
"""DAG: its package, rows in a file, uploads at a time. The sample DAG itself imports into the first package."""

PAST_IMPORTS = ((61, 6_000), (40, 14_000), (19, 9_500), (5, 22_000), (0, 16_800))
"""Imports that are over: days ago, and numbers."""

PROCESSING_SECONDS = 600.0
PROCESSING_FILES, PROCESSED_FILES = 20, 5
UPLOADING_FILES, UPLOADING_SECONDS = 40, 20.0
FAILED_FILES, UPLOADED_FILES = 12, 7
SETTINGS = SimulatorSettings(processing_seconds=PROCESSING_SECONDS, check="later", unmatched_ratio=0.013)

USERS = PROCESSING_FILES * 5_500
DAY = 86_400.0

NIGHTLY_REPORT = '''"""A DAG of somebody else."""

from __future__ import annotations

from airflow.sdk import DAG, task

with DAG("nightly_report", schedule=None, tags=["reports"]):

    @task
    def report() -> str:
        return "done"

    report()
'''


def users() -> list[User]:
    """Generated users of a bank, the same every time."""
    generator = random.Random(8473295)
    return [(f"2024{number}", True) for number in generator.sample(range(10**17, 10**18), USERS)]


def write_dags(folder: Path) -> None:
    """Write the sample DAGs as they are, and a DAG for each of the other packages."""
    folder.mkdir()
    for sample in SAMPLES.glob("*.py"):
        (folder / sample.name).write_text(sample.read_text("utf-8"), "utf-8")
    text = (SAMPLES / f"{SAMPLE}.py").read_text("utf-8")
    for dag_id, (package_id, rows, workers) in CAMPAIGNS.items():
        changes = {
            f'dag_id="{SAMPLE}"': f'dag_id="{dag_id}"',
            f'Param("{FINISHED}"': f'Param("{package_id}"',
            "manifest=export.output": f"manifest=export.output, max_workers={workers}",
            'output_path="{{ params.output }}/{{ run_id }}"': (
                f'output_path="{{{{ params.output }}}}/{{{{ run_id }}}}", max_rows_per_file={rows}'
            ),
        }
        if package_id == FAILED:
            # Before 3.3, Airflow tries again what will not mend itself, too.
            changes['"retries": 3'] = '"retries": 0'
        (folder / f"{dag_id}.py").write_text(_replaced(text, changes), "utf-8")
    (folder / "nightly_report.py").write_text(NIGHTLY_REPORT, "utf-8")


def _replaced(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        if old not in text:
            raise ValueError(f"{SAMPLE}.py has no {old}")
        text = text.replace(old, new)
    return text


class Imports:
    """Runs imports, and brings them into the states that are to be seen.

    :param exports: folder for the exported files.
    :param tell: is told what is waited for.
    """

    def __init__(
        self, airflow: Airflow, simulator: Simulator, exports: Path, tell: Callable[[str], None] = lambda _: None
    ) -> None:
        self._airflow = airflow
        self._simulator = simulator
        self._exports = exports
        self._tell = tell

    def run_all(self) -> None:
        """Run an import of each state; the first package gets its past ones, too."""
        processing = self.start("spring_discount", PROCESSING_FILES * 5_500)
        for days, rows in PAST_IMPORTS:
            self.run_in_the_past(days, rows)
        self.wait("spring_discount", processing, "upload", "success")
        self.process_slowly(self.tasks(PROCESSING))
        self._simulator.add_fault(Fault("forbidden", on="upload", after=UPLOADED_FILES))
        failing = self.start("autumn_discount", FAILED_FILES * 500)
        self.wait("autumn_discount", failing, "upload", "failed")
        self._simulator.clear_faults()
        slow = Fault("slow", on="upload", after=3, times=UPLOADING_FILES - 3, seconds=UPLOADING_SECONDS)
        self._simulator.add_fault(slow)
        uploading = self.start("summer_discount", UPLOADING_FILES * 500)
        self.wait("summer_discount", uploading, "upload", "running")

    def run_in_the_past(self, days: float, rows: int) -> None:
        """Run an import to its end, as of some days ago; no number of its last file matches."""
        known = {task.task_id for task in self.tasks(FINISHED)}
        run_id = self.start(SAMPLE, rows)
        self.wait(SAMPLE, run_id, "upload", "success")
        new = [task for task in self.tasks(FINISHED) if task.task_id not in known]
        if days == 0:
            fail_every_row(new[-1])
        for task in new:
            task.created -= days * DAY + PROCESSING_SECONDS
        self.wait(SAMPLE, run_id, "finished", "success")

    def process_slowly(self, tasks: list[Task]) -> None:
        """Let the first files be finished, and another one every so many seconds."""
        pace = PROCESSING_SECONDS / (len(tasks) - PROCESSED_FILES)
        for index, task in enumerate(tasks, 1):
            task.created = time.time() - PROCESSING_SECONDS + pace * (index - PROCESSED_FILES)

    def start(self, dag_id: str, rows: int) -> str:
        """Start an import; its run id."""
        query = f"SELECT agreement_no FROM users ORDER BY agreement_no LIMIT {rows}"
        started: list[str] = []

        def has_started() -> bool:
            try:
                started.append(self._airflow.trigger(dag_id, sql=query, output=str(self._exports / dag_id)))
            except requests.HTTPError as failure:
                # SQLite takes one writer at a time, and who waits for more than five seconds gets 500. A DAG whose file
                # has not been read yet is not found.
                if failure.response.status_code not in (404, 500):
                    raise
            return bool(started)

        until(has_started, PATIENCE, f"{dag_id} cannot be started")
        return started[0]

    def wait(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        """Wait until a task of a run is in a state.

        :raises RuntimeError: it ended in another one.
        """

        self._tell(f"Waiting until {task_id} of {dag_id} is {state}")

        def is_there() -> bool:
            path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances"
            now: str = self._airflow.get(f"{path}/{task_id}")["state"]
            if now != state and now in ("success", "failed", "upstream_failed", "up_for_retry"):
                raise RuntimeError(f"{task_id} of {dag_id}, {run_id}, is {now}, not {state}")
            return now == state

        until(is_there, PATIENCE, f"{task_id} of {dag_id} is not {state}")

    def tasks(self, package_id: str) -> list[Task]:
        """The upload tasks that a package has, as they can be changed."""
        return list(self._simulator.app.ledger.packages.get(package_id, {}).values())


def fail_every_row(task: Task) -> None:
    """As if the file had been encrypted with another key."""
    task.undecrypted, task.undecryptable = None, task.rows


def connections(simulator: Simulator, bank: Path) -> dict[str, dict[str, Any]]:
    """The connections by id, with their extras as a mapping."""
    connection = simulator.airflow_connection()
    return {
        # With its port, as the test button of Airflow 3.3 needs it, and with every field, as the form shows no other.
        "wxbank_default": {
            **connection,
            "port": urlsplit(simulator.base_url).port,
            "extra": {**dict.fromkeys(name for name, *_ in FIELDS), **connection["extra"]},
        },
        "bank_db": {"conn_type": "sqlite", "host": str(bank)},
    }
