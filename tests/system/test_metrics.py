# SPDX-License-Identifier: Apache-2.0
"""What a StatsD server and an OpenTelemetry collector receive of an import: from tasks, triggers and commands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from airflow_provider_wxbank.reporting.metrics import METRICS
from airflow_provider_wxbank.simulator import Fault, Simulator
from tests.conftest import PACKAGE, NewSimulator, numbers
from tests.harness.airflow_home import airflow as airflow_command
from tests.harness.airflow_home import run
from tests.harness.metrics_receivers import Received, Sample, opentelemetry, statsd
from tests.harness.waiting import PATIENCE, until
from tests.system.conftest import Airflow
from tests.system.test_command_line import HAS_PROVIDER_COMMANDS, MODULE

OTHER_PACKAGE = "8473296"

OF_COMMANDS = {
    "wxbank.upload.files", "wxbank.upload.rows", "wxbank.calls", "wxbank.calls.duration", "wxbank.wait.matched",
    "wxbank.wait.failed", "wxbank.wait.users", "wxbank.wait.unaccounted", "wxbank.wait.fail_ratio",
    "wxbank.wait.processing",
}  # fmt: skip
"""An upload of one file, and a wait for what is finished."""

# Every kind of task, some of which meet a fault. The last one is refused.
DAG = f"""
from datetime import UTC, datetime
from airflow.providers.common.compat.sdk import DAG
from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.sensors import TaskFinishedSensor

with DAG("measured", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None, default_args={{"retries": 0}}):
    export = ExportUsersOperator(
        task_id="export", source="SOURCE", output_path="OUTPUT", bank_type="ICBC_DEBIT", on_invalid="skip",
        max_rows_per_file=10,
    )
    upload = UploadTaskOperator(task_id="upload", package_id="{PACKAGE}", manifest=export.output, max_workers=1)
    again = UploadTaskOperator(task_id="again", package_id="{PACKAGE}", manifest=export.output)
    finished = TaskFinishedSensor(task_id="finished", upload=upload.output, deferrable=True, poke_interval=0.3)
    refused = UploadTaskOperator(task_id="refused", package_id="{OTHER_PACKAGE}", manifest=export.output)
    upload >> again >> finished >> refused
"""

FAULTS = (
    # Two calls of the first upload, and a poll in the triggerer.
    Fault("internal-error", on="list", times=1),
    Fault("unsigned", on="list", times=1),
    Fault("internal-error", on="list", after=5, times=1),
    Fault("lost-rows", on="upload", times=1),
    Fault("forbidden", on="upload", after=3),
)

Receiver = Callable[[], AbstractContextManager[Received]]

CLIENTS: Mapping[str, tuple[Receiver, str, dict[str, str]]] = {
    "statsd": (
        statsd,
        "STATSD_PORT",
        {"STATSD_ON": "True", "STATSD_HOST": "127.0.0.1", "STATSD_INFLUXDB_ENABLED": "True"},
    ),
    "opentelemetry": (opentelemetry, "OTEL_PORT", {"OTEL_ON": "True", "OTEL_HOST": "127.0.0.1"}),
}


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def received(client: str) -> Iterator[Received]:
    with CLIENTS[client][0]() as received:
        yield received


@pytest.fixture
def simulator(new_simulator: NewSimulator) -> Simulator:
    simulator = new_simulator(processing_seconds=3600.0, unmatched_ratio=0.3)
    for fault in FAULTS:
        simulator.add_fault(fault)
    return simulator


@pytest.fixture
def airflow(
    new_airflow: Callable[..., Airflow], simulator: Simulator, client: str, received: Received, tmp_path: Path
) -> Airflow:
    airflow = new_airflow(simulator)
    _, port, settings = CLIENTS[client]
    settings = {**settings, port: str(received.port)}
    airflow.env |= {f"AIRFLOW__METRICS__{name}": value for name, value in settings.items()}
    (tmp_path / "users.txt").write_text("\n".join([*numbers(25), "NULL"]))
    airflow.dags.mkdir()
    text = DAG.replace("SOURCE", str(tmp_path / "users.txt")).replace("OUTPUT", str(tmp_path / "out"))
    (airflow.dags / "measured.py").write_text(text)
    return airflow


def check(samples: list[Sample], names: set[str], client: str) -> None:
    """Every one of some metrics has come in, of its kind, with its tags and no others."""
    assert {one.name for one in samples} == names
    for one in samples:
        metric = METRICS[one.name]
        assert {tag for tag, _ in one.tags} == set(metric.tags), one
        # OpenTelemetry has the durations of Airflow 2 as gauges.
        assert one.kind == metric.kind or (client == "opentelemetry" and metric.kind == "timer"), one
        assert ("connection", "wxbank_default") in one.tags


def check_nothing_is_disclosed(received: Received, simulator: Simulator) -> None:
    raw = b"\n".join(received.raw).decode("utf-8", "replace")
    assert received.wrong == []
    assert not re.search(r"2024\d{14}", raw)
    tasks = [task for package in simulator.report()["packages"].values() for task in package["tasks"]]
    assert tasks
    assert [task["filename"] for task in tasks if task["filename"] in raw] == []


def finish_after_polls(simulator: Simulator) -> None:
    """Let the tasks be finished once the trigger has polled: first in vain, then with an answer."""
    until(lambda: simulator.app.ledger.requests["list"] >= 8, PATIENCE, "the trigger has not polled")
    for task in simulator.app.ledger.packages[PACKAGE].values():
        task.created -= 3600.0


def test_every_metric_of_a_dag_run_is_received(
    airflow: Airflow, simulator: Simulator, client: str, received: Received
) -> None:
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(finish_after_polls, simulator)
        _, output = airflow.test_dag("measured")
        ended.result()
    assert "403 NO_AUTH" in output, output[-8000:]
    samples = received.ours()
    check(samples, set(METRICS), client)
    check_nothing_is_disclosed(received, simulator)
    seen = {(one.name, *sorted(one.tags)) for one in samples}
    upload = {"connection": "wxbank_default", "package": PACKAGE, "bank_type": "ICBC_DEBIT"}
    refused = {**upload, "package": OTHER_PACKAGE}
    assert {
        ("wxbank.upload.files", *sorted({**tags, "outcome": outcome}.items()))
        for tags, outcome in ((upload, "uploaded"), (upload, "adopted"), (refused, "failed"))
    } <= seen
    calls = {(dict(one.tags)["endpoint"], dict(one.tags)["outcome"]) for one in samples if one.name == "wxbank.calls"}
    assert calls >= {
        ("certificates", "ok"), ("create_task", "ok"), ("find_task", "ok"), ("list_tasks", "ok"),
        ("list_tasks", "server_error"), ("list_tasks", "unverified"), ("create_task", "refused"),
    }  # fmt: skip
    troubles = {dict(one.tags)["trouble"] for one in samples if one.name == "wxbank.calls.repeated"}
    assert troubles >= {"server_error", "unverified"}
    polls = {dict(one.tags)["outcome"] for one in samples if one.name == "wxbank.wait.polls"}
    assert polls == {"ok", "failed"}
    values = {name: [one.value for one in samples if one.name == name] for name in METRICS}
    # OpenTelemetry tells sums again and again, StatsD what is added; each happened once.
    assert max(values["wxbank.export.rows"]) == 25
    assert max(values["wxbank.export.skipped"]) == 1
    assert max(values["wxbank.wait.matched"]) + max(values["wxbank.wait.failed"]) == 24
    assert max(values["wxbank.wait.unaccounted"]) == 1
    assert 0 < max(values["wxbank.wait.fail_ratio"]) < 1
    assert (max(values["wxbank.wait.processing"]), values["wxbank.wait.processing"][-1]) == (3, 0)
    assert max(values["wxbank.quota.left"]) <= 6000
    assert max(values["wxbank.calls.duration"]) < 60_000


@pytest.mark.parametrize("client", ["statsd"])
def test_commands_send_metrics_too(airflow: Airflow, simulator: Simulator, received: Received, tmp_path: Path) -> None:
    simulator.app.faults.clear()
    (tmp_path / "users.txt").write_text("\n".join(numbers(25)))
    command = airflow_command("wxbank") if HAS_PROVIDER_COMMANDS else MODULE
    for arguments in (
        ["upload", PACKAGE, f"--file={tmp_path / 'users.txt'}", "--bank-type=ICBC_DEBIT", "--yes"],
        ["wait", PACKAGE, "--poke-interval=0.3"],
    ):
        code, output = run([*command, *arguments], airflow.env)
        assert code == 0, output
        for task in simulator.app.ledger.packages[PACKAGE].values():
            task.created -= 3600.0
    check(received.ours(), OF_COMMANDS, "statsd")
    check_nothing_is_disclosed(received, simulator)
