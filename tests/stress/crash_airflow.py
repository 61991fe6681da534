# SPDX-License-Identifier: Apache-2.0
"""Uploads, exports and the triggerer of a real Airflow, killed again and again."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_provider_wxbank.simulator import SimulatorSettings, serve
from tests.harness.airflow_parts import Airflow
from tests.harness.bank import Bank
from tests.harness.waiting import PATIENCE, until
from tests.stress.crash_checks import (
    Row,
    check_killed_export,
    check_package,
    check_result,
    import_export,
    merchant_key,
    note_end,
)
from tests.stress.crash_runs import Runs, bank_of, connections, export_arguments, upload
from tests.stress.crash_watch import Moment, Watch, export_moment, upload_moment, watched

SMALL = (600, 10)
"""Rows of what is uploaded, and of its files."""

LARGE = (12_000, 200)
"""Rows of what is exported, and of its files."""

UPLOAD_KILLS = 100
EXPORT_KILLS = 30
TRIGGERER_KILLS = 8
LATE_KILLS = 3
"""Of the kills of the triggerer, those after the tasks are finished, while events are on their way."""

UPLOAD_PACKAGES = [str(60_000_000 + number) for number in range(10)]
EXPORTS = 8
MIN_KILLS = 4
"""Kills of each export, at least, if there are kills left."""

SENSORS = 50
SENSOR_PACKAGE = "50000000"

PHASE_SECONDS = 1200.0
RESTART_SECONDS = PATIENCE

DAGS = """
from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.sensors import TaskFinishedSensor

options = dict(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False,
               default_args={{"retries": 200, "retry_delay": timedelta(0)}})
with DAG(dag_id="crash_upload", **options):
    UploadTaskOperator.partial(
        task_id="task", manifest={manifest!r}, max_workers=4, max_active_tis_per_dag=3,
    ).expand(package_id={packages!r})
with DAG(dag_id="crash_export", **options):
    ExportUsersOperator.partial(
        task_id="task", max_active_tis_per_dag=1, **{export!r},
    ).expand(output_path={folders!r})
with DAG(dag_id="crash_wait", **options):
    TaskFinishedSensor.partial(
        task_id="task", package_id={package!r}, deferrable=True, poke_interval=2.0, timeout=3600.0,
    ).expand(filenames={filenames!r})
"""


def kill_in_airflow(folder: Path, pids: list[int], dice: random.Random, *, tasks: bool = True) -> list[Row]:
    """Kill uploads, exports and the triggerer of a real Airflow; a row each.

    :param tasks: whether uploads and exports are killed, too.
    :param pids: takes the processes that were started; each part of Airflow leads a session.
    """
    folder.mkdir(mode=0o700)
    small, large = bank_of(folder / "small.db", SMALL[0]), bank_of(folder / "large.db", LARGE[0])
    rows = [Row(f"{what}, Airflow") for what in ("upload", "export", f"triggerer, {SENSORS} sensors")]
    settings = SimulatorSettings(latency_seconds=0.05, processing_seconds=3600.0, unmatched_ratio=0.3)
    with serve(settings) as simulator, watched(simulator) as watch:
        runs = Runs(folder / "runs.log", connections(simulator, small))
        # Some uploads take longer than Airflow takes to try again.
        watch.seconds_to_take = lambda: 5.0 if dice.random() < 0.03 else 0.0
        try:
            for name, rows_per_file in (("once", SMALL[1]), ("waited-for", SMALL[0] // SENSORS)):
                exported = runs.run("ExportUsersOperator", export_arguments(folder / name, rows_per_file, name))
                note_end(rows[0], "the export", exported)
            note_end(
                rows[2], "the upload", runs.run("UploadTaskOperator", upload(folder / "waited-for", SENSOR_PACKAGE))
            )
            filenames = [task.meta.filename for task in simulator.app.ledger.packages[SENSOR_PACKAGE].values()]
            folders = [folder / f"export-{number}" for number in range(EXPORTS)]
            with Airflow(folder, connections(simulator, large), pids) as real:
                export = export_arguments(folder, LARGE[1], "killed")
                del export["output_path"]
                real.write_dags(
                    DAGS.format(
                        manifest=str(folder / "once" / "manifest.json"),
                        packages=UPLOAD_PACKAGES,
                        export=export,
                        folders=list(map(str, folders)),
                        package=SENSOR_PACKAGE,
                        filenames=[[filename] for filename in filenames],
                    )
                )
                real.start("crash_wait")
                if tasks:
                    kill_tasks(real, watch, rows[0], rows[1], folder / "once", folders, large, dice)
                kill_triggerer(real, watch, rows[2], dice)
                if not tasks:
                    return [rows[2]]
                for package_id, result in zip(UPLOAD_PACKAGES, real.results("crash_upload"), strict=True):
                    check_result(rows[0], watch, package_id, result)
            for package_id in UPLOAD_PACKAGES:
                check_package(rows[0], watch, package_id, small)
            for number, exported_to in enumerate(folders):
                import_export(rows[1], runs, watch, large, exported_to, str(61_000_000 + number))
        finally:
            pids += runs.pids
    return rows


def kill_tasks(
    real: Airflow,
    watch: Watch,
    upload_row: Row,
    export_row: Row,
    exported: Path,
    folders: Sequence[Path],
    bank: Bank,
    dice: random.Random,
) -> None:
    """Run an upload into each package and an export into each folder, and kill their processes at random moments."""
    files = len(list(exported.glob("*.csv")))
    key = merchant_key(watch.simulator)

    def killed_export(index: int) -> None:
        check_killed_export(export_row, folders[index], key, len(bank.numbers))

    def next_export(index: int) -> Moment:
        # One that comes too late ends the kills of its folder.
        is_late = len(watch.kills[str(folders[index])]) >= MIN_KILLS and dice.random() < 1 / 3
        return export_moment(folders[index], -(-len(bank.numbers) // LARGE[1]), dice, is_late=is_late)

    uploads = _Killing(
        "crash_upload", upload_row, UPLOAD_KILLS, UPLOAD_PACKAGES,
        lambda index: upload_moment(watch, UPLOAD_PACKAGES[index], files, dice), lambda _: None,
    )  # fmt: skip
    exports = _Killing(
        "crash_export", export_row, EXPORT_KILLS, list(map(str, folders)),
        next_export, killed_export,
    )  # fmt: skip
    for killing in (uploads, exports):
        real.trigger(killing.dag_id)
    deadline = time.monotonic() + PHASE_SECONDS
    looked = told = 0.0
    while time.monotonic() < deadline:
        if time.monotonic() - looked > 0.1:
            looked = time.monotonic()
            over = [killing.look(real) for killing in (uploads, exports)]
            if all(over):
                break
        if time.monotonic() - told > 20:
            told = time.monotonic()
            print(f"{upload_row.kills} uploads and {export_row.kills} exports killed", file=sys.stderr, flush=True)
        for killing in (uploads, exports):
            killing.kill_what_is_due(watch)
        time.sleep(0.002)
    for killing in (uploads, exports):
        killing.count_ends(real)


class _Killing:
    """The tries of a DAG's mapped tasks, each killed at its moment as long as there are kills left."""

    def __init__(
        self,
        dag_id: str,
        row: Row,
        kills: int,
        names: Sequence[str],
        moment: Callable[[int], Moment],
        killed: Callable[[int], None],
    ) -> None:
        self.dag_id = dag_id
        self._row = row
        self._kills = kills
        self._names = names
        self._moment = moment
        self._killed = killed
        self._met: set[tuple[int, int]] = set()
        self._alive: dict[int, int] = {}
        # Each is chosen before its try can have begun.
        self._moments = list(map(moment, range(len(names))))

    def look(self, real: Airflow) -> bool:
        """Take note of new tries; whether all have ended."""
        instances = real.instances(self.dag_id)
        for one in instances:
            if one.state != "running" or one.pid is None:
                self._alive.pop(one.map_index, None)
            elif (one.map_index, one.try_number) not in self._met:
                self._met.add((one.map_index, one.try_number))
                self._alive[one.map_index] = one.pid
        return len(instances) == len(self._names) and all(one.state in ("success", "failed") for one in instances)

    def kill_what_is_due(self, watch: Watch) -> None:
        """Kill the tries whose moment has come."""
        for index, pid in list(self._alive.items()):
            if self._row.kills < self._kills and self._moments[index].has_come():
                del self._alive[index]
                with contextlib.suppress(ProcessLookupError):
                    watch.kill(lambda: kill_and_wait(pid), self._names[index])  # noqa: B023  # called at once
                    self._row.kills += 1
                    self._moments[index] = self._moment(index)
                    self._killed(index)

    def count_ends(self, real: Airflow) -> None:
        """Count the tries, and what did not end well."""
        for one in real.instances(self.dag_id):
            self._row.runs += one.try_number
            if one.state == "failed":
                self._row.add_wrong(f"{self.dag_id} {one.map_index} failed")
            elif one.state != "success":
                self._row.hung += 1
                self._row.notes.append(f"{self.dag_id} {one.map_index} is {one.state}")
        if self._row.kills < self._kills:
            self._row.add_wrong(f"only {self._row.kills} kills, not {self._kills}")


def kill_and_wait(pid: int) -> None:
    """End a process with SIGKILL, and wait until it is gone.

    :raises ProcessLookupError: it has ended already.
    """
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while (
            time.monotonic() < deadline and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        ):
            time.sleep(0.001)


def kill_triggerer(real: Airflow, watch: Watch, row: Row, dice: random.Random) -> None:
    """Let sensors wait in the triggerer, kill that again and again, let their tasks finish, and kill it some more."""
    app = watch.simulator.app
    real.trigger("crash_wait")

    def in_state(state: str) -> int:
        return sum(one.state == state for one in real.instances("crash_wait"))

    try:
        until(lambda: in_state("deferred") == SENSORS, PHASE_SECONDS, "the sensors are not deferred")
        for kill in range(TRIGGERER_KILLS):
            if kill == TRIGGERER_KILLS - LATE_KILLS:
                app.ledger.settings = replace(app.ledger.settings, processing_seconds=0.0)
            polls = watch.requests(SENSOR_PACKAGE)
            waiting = in_state("deferred")
            if waiting:
                # The triggers are with the new one only when the old one's last sign of life is some seconds old.
                until(
                    lambda polls=polls: watch.requests(SENSOR_PACKAGE) > polls + 3 or not in_state("deferred"),  # type: ignore[misc]
                    RESTART_SECONDS,
                    "the triggerer does not poll",
                )
            if kill < TRIGGERER_KILLS - LATE_KILLS:
                time.sleep(dice.uniform(0, 2.5))
            else:
                # Killed while the events of the sensors come in.
                until(lambda waiting=waiting: in_state("deferred") < max(waiting, 1), RESTART_SECONDS, "no event came")  # type: ignore[misc]
                time.sleep(dice.uniform(0, 0.3))
                if not in_state("deferred"):
                    break
            real.kill_triggerer()
            row.kills += 1
            print(f"triggerer killed {row.kills} times", file=sys.stderr, flush=True)
            real.start_triggerer()
        until(lambda: in_state("success") + in_state("failed") == SENSORS, PHASE_SECONDS, "the sensors have not ended")
    except TimeoutError as failure:
        row.hung += SENSORS - in_state("success") - in_state("failed")
        row.add_wrong(str(failure))
    row.runs = SENSORS
    for one in real.instances("crash_wait"):
        if one.state == "failed":
            row.add_wrong(f"sensor {one.map_index} failed: {last_error(Path(real.env['AIRFLOW_HOME']), one.map_index)}")
    compare_counts(row, watch, real.results("crash_wait"))


def last_error(home: Path, map_index: int) -> str:
    """The last error in the log of a sensor, and in its trigger's."""
    logs = sorted((home / "logs").glob(f"dag_id=crash_wait/*/*/map_index={map_index}/*"))
    errors = [line for log in logs for line in log.read_text().splitlines() if "rror" in line]
    return errors[-1][-2000:] if errors else f"no error in {len(logs)} logs"


def compare_counts(row: Row, watch: Watch, results: Sequence[Any]) -> None:
    """Compare what the sensors returned with what the package has."""
    tasks = watch.simulator.report()["packages"][SENSOR_PACKAGE]["tasks"]
    if len(results) != len(tasks):
        row.add_wrong(f"{len(results)} sensors returned something, not {len(tasks)}")
        return
    for number, (task, result) in enumerate(zip(tasks, results, strict=True)):
        names = ("success_count", "fail_count", "success_user_count")
        # The sensors know of no export, so there are no rows to account for.
        unknown = dict.fromkeys(("rows", "unaccounted"))
        wanted = {"package_id": SENSOR_PACKAGE, "tasks": 1, **unknown, **{name: task[name] for name in names}}
        if result != wanted:
            row.add_wrong(f"sensor {number} returned {result}, not {wanted}")
            told = result["success_count"] + result["fail_count"]
            row.lost += max(0, task["rows"] - told)
            row.doubled += max(0, told - task["rows"])
