# SPDX-License-Identifier: Apache-2.0
"""Kill uploads, exports and the triggerer at random moments, and see that every number arrives once all the same.

Usage: python -m tests.stress.crash [--quick | --triggerer] [--seed N]

A real Airflow (scheduler, dag-processor, api-server, triggerer) in a home of its own runs uploads, exports and deferred
sensors; the processes of its tasks, and its triggerer, are ended with SIGKILL. More kills meet processes that call the
operators' ``execute`` without a scheduler. The exit code is 1 unless every column of failures is 0.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_wxbank.simulator import SimulatorSettings, serve
from tests.harness.airflow_home import environment
from tests.harness.terminal import end_with
from tests.stress.crash_checks import Row
from tests.stress.crash_runs import Runs, bank_of, connections, export_arguments
from tests.stress.crash_tasks import kill_exports, kill_uploads, lose_disk
from tests.stress.crash_watch import watched

LATENCY_SECONDS = 0.03
SMALL = (400, 10)
"""Rows of what is uploaded, and of its files: 40 files."""

LARGE = (4_000, 100)
"""Rows of what is exported, and of its files: 40 files."""

NAMES = ("kills", "runs", "lost", "doubled", "sent twice", "half believed", "hung", "wrong", "(sent again)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 if nothing bad happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress.crash", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="15 kills without an Airflow")
    parser.add_argument("--triggerer", action="store_true", help="kill the triggerer of an Airflow, and nothing else")
    parser.add_argument("--seed", type=int, default=None, help="of the moments; by default another one each time")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}", file=sys.stderr, flush=True)
    dice = random.Random(seed)
    rows: list[Row] = []
    pids: list[int] = []
    left: list[str] = []
    with tempfile.TemporaryDirectory(prefix="wxbank-crash-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        os.environ.update(environment(folder / "home", folder / "home", {}))
        try:
            if not options.quick:
                from tests.stress.crash_airflow import kill_in_airflow

                rows += kill_in_airflow(folder / "airflow", pids, dice, tasks=not options.triggerer)
            if not options.triggerer:
                rows += kill_forked(folder, pids, dice, *((10, 5) if options.quick else (60, 20)))
        finally:
            Runs.stop()
            left += still_there(pids, name)
            print(f"processes left: {len(left)}", *left, sep="\n", file=sys.stderr, flush=True)
    print(table(rows))
    for row in rows:
        for note in row.notes[:20]:
            print(f"{row.what}: {note}")
    print(
        f"\n{sum(row.kills for row in rows)} kills in {time.monotonic() - started:.0f} s; processes left: {len(left)}"
    )
    return 1 if left or any(row.is_bad for row in rows) else 0


def kill_forked(folder: Path, pids: list[int], dice: random.Random, uploads: int, exports: int) -> list[Row]:
    """Kill processes that execute an operator; a row each for uploads, waits, exports and lost files.

    :param pids: takes the processes that were started.
    """
    folder.mkdir(exist_ok=True)
    small, large = bank_of(folder / "small.db", SMALL[0]), bank_of(folder / "large.db", LARGE[0])
    upload = Row("upload, execute() in a process")
    receipts = Row("wait for these, and its receipt")
    export = Row("export, execute() in a process")
    lost = Row("files lost before the upload")
    settings = SimulatorSettings(latency_seconds=LATENCY_SECONDS, processing_seconds=0.0)
    with serve(settings) as simulator, watched(simulator) as watch:
        runs = Runs(folder / "small.log", connections(simulator, small))
        watch.seconds_to_take = lambda: 1.5 if dice.random() < 0.1 else 0.0
        larges = Runs(folder / "large.log", connections(simulator, large))
        try:
            exported = runs.run("ExportUsersOperator", export_arguments(folder / "once", SMALL[1], "once"))
            if exported[0] == "done":
                kill_uploads(upload, receipts, runs, watch, folder / "once", small, uploads, dice)
            else:
                upload.add_wrong(f"the export {exported}")
            kill_exports(export, larges, watch, large, folder, LARGE[1], exports, dice)
            lose_disk(lost, runs, watch, small, folder, SMALL[1])
        finally:
            pids += runs.pids + larges.pids
    return [upload, receipts, export, lost]


def still_there(pids: Sequence[int], path: str) -> list[str]:
    """What ps shows of some processes, of the sessions that they led, and of anything that names a path."""
    shown = subprocess.run(
        ["ps", "-eo", "pid=,sess=,stat=,args="], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    return [
        line
        for line in shown.splitlines()
        if (int(line.split()[0]) in pids or int(line.split()[1]) in pids or path in line)
        and not line.split()[2].startswith("Z")
    ]


def table(rows: Sequence[Row]) -> str:
    """The rows, for a person."""
    width = max(len(row.what) for row in rows)
    lines = [f"{'what':<{width}}  " + "  ".join(f"{name:>5}" for name in NAMES)]
    for row in rows:
        values = (
            row.kills, row.runs, row.lost, row.doubled, row.twice, row.half, row.hung, row.wrong, row.again,
        )  # fmt: skip
        cells = "  ".join(f"{value:>{max(len(name), 5)}}" for name, value in zip(NAMES, values, strict=True))
        lines.append(f"{row.what:<{width}}  {cells}")
    lines.append(
        "sent twice: in full, and not in flight at a kill; (sent again): in flight at a kill, refused or adopted"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    end_with(main)
