# SPDX-License-Identifier: Apache-2.0
"""The observer of metrics in a task, over Airflow's own client for StatsD; and what the documentation says of it."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from airflow.providers.common.compat.sdk import Stats

from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.operators import UploadTaskOperator
from airflow_provider_wxbank.reporting.events import FileNotUploaded, FileUploaded, QuotaAsked, all_of
from airflow_provider_wxbank.reporting.metrics import METRICS, Metrics
from airflow_provider_wxbank.sensors import TaskFinishedSensor
from airflow_provider_wxbank.simulator import Fault, Simulator
from airflow_provider_wxbank.triggers import TaskFinishedTrigger
from airflow_provider_wxbank.wechatpay.errors import QuotaReached
from tests.airflow.conftest import context
from tests.conftest import PACKAGE, NewSimulator, numbers
from tests.harness.metrics_receivers import Received, statsd
from tests.harness.pages import ROOT
from tests.harness.waiting import PATIENCE, until

Connect = Callable[..., None]

HAS_INITIALIZE = hasattr(Stats, "initialize")
"""Whether Airflow's client has to be set up in each process (from 3.2)."""


def use_client(make: Callable[[], Any] | None) -> None:
    """Let this process's Airflow make its client so, or as its configuration says."""
    if HAS_INITIALIZE:
        from airflow.sdk.observability.metrics.stats_utils import get_stats_factory

        Stats.initialize(factory=make or get_stats_factory(), export_legacy_names=False)
    else:
        kind: Any = Stats
        # As Airflow 2 does once, when it is imported.
        kind.instance = None if make is None else make()


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    """What a StatsD server receives of this process."""
    with statsd() as received:
        for name, value in {"HOST": "127.0.0.1", "PORT": str(received.port), "INFLUXDB_ENABLED": "True"}.items():
            monkeypatch.setenv(f"AIRFLOW__METRICS__STATSD_{name}", value)
        # Airflow 2.11 warns of its own default.
        monkeypatch.setenv("AIRFLOW__METRICS__METRICS_USE_PATTERN_MATCH", "True")
        made = []

        def make() -> Any:
            made.append(statsd_logger())
            return made[-1]

        use_client(make)
        try:
            yield received
        finally:
            use_client(None)
            for one in made:
                one.statsd.close()


def statsd_logger() -> Any:
    """Airflow's client for StatsD, as the configuration is now."""
    if HAS_INITIALIZE:
        from airflow.sdk.observability.metrics.statsd_logger import get_statsd_logger

        return get_statsd_logger()
    module = import_module("airflow.metrics.statsd_logger")
    return module.get_statsd_logger(Stats)


def upload(tmp_path: Path, **options: Any) -> dict[str, Any]:
    (tmp_path / "users.txt").write_text("\n".join(numbers(3)))
    file, bank_type = str(tmp_path / "users.txt"), "ICBC_DEBIT"
    operator = UploadTaskOperator(task_id="upload", package_id=PACKAGE, file=file, bank_type=bank_type, **options)
    return operator.execute(context())


def test_what_an_id_may_have_cannot_end_a_name_or_a_tag(received: Received) -> None:
    Metrics("prod:wxbank/1 |#2")(QuotaAsked(PACKAGE, 7))
    until(lambda: bool(received.raw), PATIENCE, "nothing came")
    assert received.wrong == []
    (sample,) = received.ours()
    assert sample.tags == {("connection", "prod_wxbank_1___2"), ("package", PACKAGE)}


def test_the_quota_that_is_left_goes_down_with_every_file_and_is_nothing_once_refused(received: Received) -> None:
    metrics = Metrics("wxbank_default")
    metrics(QuotaAsked(PACKAGE, 3))
    for adopted in (False, True, False):
        metrics(FileUploaded(PACKAGE, "a.csv", "1", 5, adopted, 1, 5, 2400))
    metrics(FileNotUploaded(PACKAGE, "b.csv", "QuotaReached", "the day's quota is used up"))
    until(lambda: any(one.value == 0 for one in received.ours()), PATIENCE, "not all came")
    assert received.total("wxbank.upload.files") == 4
    assert [one.value for one in received.ours() if one.name == "wxbank.quota.left"] == [3, 2, 1, 0]


def test_a_poke_counts_its_calls_and_the_result(
    received: Received, new_simulator: NewSimulator, connect: Connect, tmp_path: Path
) -> None:
    simulator = new_simulator()
    connect(simulator)
    simulator.add_fault(Fault("lost-rows", on="upload"))
    result = upload(tmp_path)
    TaskFinishedSensor(task_id="finished", upload=result, poke_interval=0.1).execute(context())
    # It is sent last.
    until(lambda: any(one.name == "wxbank.wait.processing" for one in received.ours()), PATIENCE, "no result came")
    assert received.total("wxbank.wait.matched") == 2
    assert received.total("wxbank.wait.unaccounted", package=PACKAGE) == 1
    for step, endpoint in (("upload", "create_task"), ("find", "find_task"), ("list", "list_tasks")):
        asked = simulator.report()["requests"][step]
        assert received.total("wxbank.calls", endpoint=endpoint, outcome="ok") == asked > 0
        durations = [
            one.value
            for one in received.ours()
            if one.name == "wxbank.calls.duration" and ("endpoint", endpoint) in one.tags
        ]
        assert len(durations) == asked
        assert all(0 < duration < 1000 * PATIENCE for duration in durations)


def test_a_refused_quota_is_counted_as_that(
    received: Received, simulator: Simulator, connect: Connect, tmp_path: Path
) -> None:
    connect(simulator)
    simulator.add_fault(Fault("quota-reached", on="upload"))
    with pytest.raises(QuotaReached):
        upload(tmp_path)
    until(lambda: any(one.name == "wxbank.quota.left" for one in received.ours()), PATIENCE, "no failure came")
    assert received.total("wxbank.upload.files", outcome="failed") == 1
    assert received.total("wxbank.calls", outcome="quota_reached") == 1
    assert [one.value for one in received.ours() if one.name == "wxbank.quota.left"] == [0]


def test_a_trigger_sends_from_its_event_loop(
    received: Received, simulator: Simulator, connect: Connect, tmp_path: Path
) -> None:
    connect(simulator)
    result = upload(tmp_path)
    received.samples.clear()
    simulator.add_fault(Fault("internal-error", on="list", times=1))

    async def event() -> Any:
        trigger = TaskFinishedTrigger(PACKAGE, [task["task_id"] for task in result["tasks"]], poll_interval=0.01)
        return (await anext(trigger.run())).payload

    assert asyncio.run(event())["status"] == "finished"
    until(lambda: received.total("wxbank.wait.polls", outcome="failed") == 1, PATIENCE, "no poll came")
    until(lambda: received.total("wxbank.calls", outcome="ok") >= 2, PATIENCE, "no call came")
    assert received.total("wxbank.calls", endpoint="list_tasks", outcome="server_error") == 1


class Broken:
    """A client whose every method fails."""

    def __getattr__(self, name: str) -> Any:
        raise OSError("no route to the StatsD server")


def test_an_import_succeeds_although_its_metrics_cannot_be_sent(
    simulator: Simulator, connect: Connect, tmp_path: Path, logged: Callable[[], str]
) -> None:
    connect(simulator)
    use_client(Broken)
    try:
        result = upload(tmp_path)
        told = TaskFinishedSensor(task_id="finished", upload=result, poke_interval=0.1).execute(context())
        assert WxBankHook().find_task(PACKAGE, result["tasks"][0]["filename"]) is not None
    finally:
        use_client(None)
    assert (told["success_count"], told["unaccounted"]) == (3, 0)
    assert "Metrics is told nothing more: OSError: no route to the StatsD server" in logged()


def test_one_observer_that_fails_is_left_out_alone(received: Received) -> None:
    def fail(event: object) -> None:
        raise RuntimeError

    tell = all_of(fail, Metrics("wxbank_default"))
    tell(QuotaAsked(PACKAGE, 5))
    tell(QuotaAsked(PACKAGE, 4))
    until(lambda: received.total("wxbank.quota.left") == 9, PATIENCE, "not both came")


@pytest.mark.parametrize("page", ["metrics.md", "zh/metrics.md"])
def test_the_table_of_the_documentation_has_every_metric(page: str) -> None:
    text = (ROOT / "docs" / page).read_text("utf-8")
    rows = re.findall(r"^\| `(wxbank\.[a-z._]+)` \| (\w+) \| ([^|]+) \|", text, re.MULTILINE)
    assert {name: (kind, tuple(re.findall(r"`(\w+)`", tags))) for name, kind, tags in rows} == {
        name: (metric.kind, metric.tags) for name, metric in METRICS.items()
    }
    assert len(rows) == len(METRICS)


RULES = yaml.safe_load((ROOT / "docs/wxbank-prometheus-rules.yaml").read_text("utf-8"))["groups"][0]["rules"]
DASHBOARD = json.loads((ROOT / "docs/wxbank-grafana-dashboard.json").read_text("utf-8"))

# What Prometheus makes of a timer.
OF_TIMERS = ("_sum", "_count")


def asked(expression: str) -> dict[str, set[str]]:
    """The metrics that an expression asks for, by our names, each with the labels that choose or group."""
    found: dict[str, set[str]] = {}
    for match in re.finditer(
        r"(\{__name__=~\")?(airflow_wxbank_\w+?)(\([^)]*\)\?)?(_sum|_count)?(?:\"|\b)", expression
    ):
        name = match[2]
        names = {metric.replace(".", "_"): metric for metric in METRICS}
        if name.endswith(OF_TIMERS):
            name = name.rpartition("_")[0]
        own = names[name.removeprefix("airflow_")]
        rest = expression[match.end() :].partition("}")[0] if expression[match.end() : match.end() + 1] in ",{" else ""
        found.setdefault(own, set()).update(re.findall(r'(\w+)=~?"', rest))
        is_counter = METRICS[own].kind == "counter"
        assert (match[3] == "(_total)?") == is_counter, expression
    return found


def expressions() -> list[str]:
    of_dashboard = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    variables = [one["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    return [*(rule["expr"] for rule in RULES), *of_dashboard, *variables]


@pytest.mark.parametrize("expression", expressions())
def test_dashboard_and_alerts_ask_for_what_is_sent(expression: str) -> None:
    metrics = asked(expression)
    assert metrics
    for name, labels in metrics.items():
        assert labels <= set(METRICS[name].tags), name
    # What is grouped by is a label of each of them.
    for grouped in re.findall(r"by \(([\w, ]+)\)", expression):
        for name in metrics:
            assert set(grouped.split(", ")) <= set(METRICS[name].tags), name
    for outcome in re.findall(r'outcome=~?"([\w|]+)"', expression):
        page = (ROOT / "docs/metrics.md").read_text("utf-8")
        assert all(f"`{one}`" in page for one in outcome.split("|"))


def test_the_dashboard_shows_every_metric() -> None:
    shown = {name for panel in DASHBOARD["panels"] for target in panel["targets"] for name in asked(target["expr"])}
    assert shown == set(METRICS)


def test_alerts_are_there_for_what_a_bank_must_notice_and_say_what_to_do() -> None:
    asked_for = {name for rule in RULES for name in asked(rule["expr"])}
    assert asked_for >= {
        "wxbank.quota.left", "wxbank.wait.fail_ratio", "wxbank.wait.processing", "wxbank.calls",
        "wxbank.calls.repeated", "wxbank.wait.unaccounted",
    }  # fmt: skip
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        labels = re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"]))
        groups = re.findall(r"by \(([\w, ]+)\)", rule["expr"])
        assert set(labels) <= set(groups[0].split(", "))
        assert len(rule["annotations"]["description"]) > 20


@pytest.mark.parametrize("otel_on", ["maybe", "True"])
def test_metrics_that_cannot_be_sent_take_no_result_from_a_task(
    simulator: Simulator, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    logged: Callable[[], str], otel_on: str,
) -> None:  # fmt: skip
    connect(simulator)
    (tmp_path / "users.csv").write_text("\n".join(numbers(7)))
    upload = UploadTaskOperator(
        task_id="upload", package_id=PACKAGE, file=str(tmp_path / "users.csv"), bank_type="ICBC_DEBIT"
    )
    monkeypatch.setenv("AIRFLOW__METRICS__OTEL_ON", otel_on)
    if otel_on == "True":
        # As without Airflow's extra.
        monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
    result = upload.execute(context())
    waiting = TaskFinishedSensor(task_id="finished", upload=result, poke_interval=0.05, timeout=PATIENCE)
    assert waiting.execute(context(task_id="finished"))["success_count"] == 7
    assert "Metrics were not sent: " in logged()
