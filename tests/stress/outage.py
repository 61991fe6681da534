# SPDX-License-Identifier: Apache-2.0
"""WeChat Pay hangs for some minutes while a real triggerer has 200 of our waits and a trigger of somebody else.

Usage: python -m tests.stress.outage [--seconds N] [--waits N]

One more wait is for 6,000 tasks of a package. With Airflow 2, Airflow's database is a real MariaDB, whose columns of
text hold 64 kB; with Airflow 3 it is SQLite. The exit code is 0 only if all waits end well and the other trigger never
waited long for a thread.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote_plus

import sqlalchemy
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_wxbank.simulator import Fault, Simulator, SimulatorSettings, serve
from airflow_provider_wxbank.simulator.checks import Meta
from airflow_provider_wxbank.simulator.ledger import Task
from tests.harness.airflow_home import airflow, run
from tests.harness.airflow_parts import Airflow
from tests.harness.mariadb_server import mariadb_server, mariadbd
from tests.harness.terminal import end_with, say
from tests.harness.waiting import until

States = Callable[[], "Counter[str]"]

LARGE = 6000
"""Tasks of the large wait."""

LARGE_PACKAGE = "50000000"
FIRST_PACKAGE = 60_000_000
POKE_SECONDS = 20.0
ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 1800.0
LONGEST_PAUSE = 1.0
"""Seconds; before, it was more than a minute."""

DAGS = """
from datetime import UTC, datetime

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_wxbank.sensors import TaskFinishedSensor
from tests.stress.outage_trigger import ThreadOperator

options = dict(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False)
waits = dict(deferrable=True, poke_interval={poke}, timeout=7200.0)
with DAG(dag_id="others", **options):
    ThreadOperator(task_id="task", folder={folder!r})
with DAG(dag_id="large", **options):
    TaskFinishedSensor(task_id="task", package_id={large!r}, task_ids=[str(one) for one in range({tasks})], **waits)
with DAG(dag_id="waits", max_active_tasks=1000, **options):
    TaskFinishedSensor.partial(task_id="task", **waits).expand(package_id={packages!r})
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 if nobody was harmed."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress.outage", description=__doc__)
    parser.add_argument("--seconds", type=float, default=180.0, help="for which WeChat Pay hangs")
    parser.add_argument("--waits", type=int, default=200)
    options = parser.parse_args(arguments)
    packages = [str(FIRST_PACKAGE + index) for index in range(options.waits)]
    with (
        tempfile.TemporaryDirectory(prefix="wxbank-outage-", ignore_cleanup_errors=True) as name,
        serve(SimulatorSettings(processing_seconds=1e9)) as simulator,
        started(Path(name), simulator, packages) as states,
    ):
        folder = Path(name)
        everything = options.waits + 2
        until(lambda: states()["deferred"] == everything, WAIT_SECONDS, f"not all are deferred: {states()}")
        say(f"{everything} tasks are deferred; WeChat Pay hangs for {options.seconds:g} s")
        begin = time.time()
        simulator.add_fault(Fault("hang", on="list", seconds=options.seconds))
        time.sleep(options.seconds)
        end = time.time()
        simulator.clear_faults()
        app = simulator.app
        app.ledger.settings = replace(app.ledger.settings, processing_seconds=0.0)
        say("It answers again, and all is finished")
        until(lambda: states()["success"] + states()["failed"] >= everything - 1, WAIT_SECONDS, f"{states()}")
        (folder / "stop").touch()
        until(lambda: states()["success"] + states()["failed"] == everything, WAIT_SECONDS, f"{states()}")
        pauses = [tuple(map(float, line.split())) for line in (folder / "pauses").read_text().splitlines()]
        found = states()
    before = max(pause for at, pause in pauses if at < begin)
    during = max(pause for at, pause in pauses if begin <= at <= end)
    gap = max(later[0] - earlier[0] for earlier, later in pairwise(pauses) if later[0] > begin)
    print(f"longest that another trigger waited for a thread: {before:.3f} s before, {during:.3f} s during the outage")
    print(f"longest between two of its rounds of a second since then: {gap:.1f} s")
    print(f"tasks: {dict(found)}")
    return int(found["success"] != everything or during > LONGEST_PAUSE)


@contextmanager
def started(folder: Path, simulator: Simulator, packages: Sequence[str]) -> Iterator[States]:
    """An Airflow that runs everything; what gives how many tasks there are of each state."""
    for package_id in packages:
        fill(simulator, package_id, 1)
    fill(simulator, LARGE_PACKAGE, LARGE)
    with ExitStack() as stack:
        settings = {"PYTHONPATH": str(ROOT), "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120"}
        uri = f"sqlite:///{folder}/home/airflow.db"
        if not AIRFLOW_V_3_0_PLUS:
            program = mariadbd()
            if program is None:
                raise SystemExit("there is no MariaDB here: apt-get install mariadb-server-core")
            (folder / "db").mkdir()
            socket = stack.enter_context(mariadb_server(program, folder / "db"))
            uri = f"mysql+pymysql://root@localhost/bank?unix_socket={quote_plus(str(socket))}&charset=utf8mb4"
            settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = uri
        real = stack.enter_context(Airflow(folder, {"wxbank_default": simulator.airflow_connection()}, [], settings))
        real.write_dags(
            DAGS.format(
                poke=POKE_SECONDS, folder=str(folder), large=LARGE_PACKAGE, tasks=LARGE, packages=list(packages)
            )
        )
        say("Starting Airflow")
        if AIRFLOW_V_3_0_PLUS:
            real.start("waits")
            for dag_id in ("others", "large", "waits"):
                real.trigger(dag_id)
        else:
            for command in (("db", "migrate"), ("dags", "reserialize")):
                code, output = run(airflow(*command), real.env)
                if code:
                    raise RuntimeError(f"airflow {' '.join(command)} failed: {output[-2000:]}")
            real.start_part("scheduler")
            real.start_triggerer()
            for dag_id in ("others", "large", "waits"):
                run(airflow("dags", "trigger", dag_id), real.env)
        engine = sqlalchemy.create_engine(uri)
        stack.callback(engine.dispose)

        def states() -> Counter[str]:
            with engine.connect() as connection:
                query = sqlalchemy.text("SELECT state, count(*) FROM task_instance GROUP BY state")
                return Counter({str(state): count for state, count in connection.execute(query)})

        yield states


def fill(simulator: Simulator, package_id: str, tasks: int) -> None:
    """Put tasks into a package that are processing."""
    package = simulator.app.ledger.packages.setdefault(package_id, {})
    for index in range(tasks):
        meta = Meta(f"file_{index:06d}.csv", "", "ICBC_DEBIT")
        package[meta.filename] = Task(str(index), package_id, meta, 1, 345, "1", time.time())


if __name__ == "__main__":
    end_with(main)
