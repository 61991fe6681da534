# SPDX-License-Identifier: Apache-2.0
"""Number packages as assets: who may be scheduled on them, and what their events say."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.openlineage.utils.utils import translate_airflow_asset
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException, Asset

from airflow_provider_wxbank.assets import (
    FINISHED_IMPORTS,
    finished_imports,
    number_package,
    watched_number_package,
)
from airflow_provider_wxbank.get_provider_info import get_provider_info
from airflow_provider_wxbank.packages.endpoints import create_task, list_tasks
from airflow_provider_wxbank.packages.known import Known
from airflow_provider_wxbank.packages.poll import poll_new
from airflow_provider_wxbank.sensors import TaskFinishedSensor
from airflow_provider_wxbank.simulator import Fault, Simulator
from airflow_provider_wxbank.triggers import HAS_WATCHERS, REPORTED, ImportFinishedTrigger, TaskFinishedTrigger
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, WaitFailed
from airflow_provider_wxbank.wechatpay.flows import run
from tests.airflow.conftest import context
from tests.conftest import PACKAGE, NewClient, NewSimulator
from tests.harness.files import agreement_file
from tests.harness.garbage import left_to_the_collector
from tests.harness.waiting import PATIENCE

if HAS_WATCHERS:
    from airflow.sdk.execution_time.context import OutletEventAccessors
else:
    from airflow.utils.context import OutletEventAccessors

Connect = Callable[..., None]
URI = f"wxbank://{PACKAGE}"
CAMPAIGN = Path(__file__).resolve().parents[2] / "dags" / "wxbank_campaign_on_import.py"

needs_watchers = pytest.mark.skipif(not HAS_WATCHERS, reason="Airflow 2 has no watchers")


def fill(client: Client, *indexes: int, package_id: str = PACKAGE) -> list[str]:
    """Upload a file of two numbers for each index; their task ids."""
    return [create_task(client, package_id, *agreement_file(client, index)).task_id for index in indexes]


@pytest.fixture
def connected(simulator: Simulator, connect: Connect) -> Simulator:
    connect(simulator)
    return simulator


# The asset.


@pytest.mark.parametrize("uri", [URI, f"{URI}/", f"WXBANK://{PACKAGE}"])
def test_a_package_is_one_asset_however_it_is_written(uri: str) -> None:
    assert Asset(uri=uri).uri == number_package(PACKAGE).uri == URI


@pytest.mark.parametrize("uri", ["wxbank://1", f"{URI}/tasks", f"{URI}?a=b", "wxbank://", "wxbank://84 73 295"])
@pytest.mark.filterwarnings("error")
def test_what_is_no_package_is_no_asset(uri: str) -> None:
    # Airflow 2 only warns, unless it is told to be strict.
    with pytest.raises((ValueError, UserWarning), match="8473295"):
        Asset(uri=uri)


def test_a_wrong_package_id_is_told() -> None:
    with pytest.raises(InvalidInput, match="package_id"):
        number_package("1")


def test_airflow_makes_a_package_of_its_id() -> None:
    info = get_provider_info()
    assert info["dataset-uris"] == info["asset-uris"]
    (uris,) = info["asset-uris"]
    module, _, name = uris["factory"].rpartition(".")
    assert getattr(import_module(module), name)(package_id=PACKAGE, extra={"a": 1}) == Asset(uri=URI, extra={"a": 1})


def test_openlineage_finds_a_package_by_its_asset() -> None:
    dataset = translate_airflow_asset(number_package(PACKAGE), None)
    assert dataset is not None
    assert (dataset.namespace, dataset.name) == ("wxbank://api.mch.weixin.qq.com", PACKAGE)


# The event of a sensor.


def sensor(**options: Any) -> TaskFinishedSensor:
    return TaskFinishedSensor(task_id="finished", **{"package_id": PACKAGE, "poke_interval": 0.05, **options})


def events_of(task: TaskFinishedSensor, run: Callable[[Any], Any]) -> list[tuple[str, dict[str, Any]]]:
    """URI and extra of the events that Airflow would write if the task succeeded."""
    accessors = OutletEventAccessors()
    with suppress(WaitFailed):
        run({**context(), "outlet_events": accessors})
    found = []
    for outlet in task.outlets:
        accessor: Any = accessors[outlet]
        if outlet != FINISHED_IMPORTS:
            found.append((outlet.uri, accessor.extra))
        else:
            found += [(event.dest_asset_key.uri, event.extra) for event in accessor.asset_alias_events]
    return found


@pytest.mark.parametrize("outlets", [None, [number_package(PACKAGE)], [number_package("8473296")]])
def test_a_finished_import_is_one_event_with_the_counts(
    connected: Simulator, new_client: NewClient, outlets: list[Asset] | None
) -> None:
    fill(new_client(connected), 1, 2)
    results = []
    poking, deferred = sensor(outlets=outlets), sensor(outlets=outlets, deferrable=True)
    event = asyncio.run(first_payload(TaskFinishedTrigger(PACKAGE, poll_interval=0.01)))
    seen = [
        events_of(poking, lambda context: results.append(poking.execute(context))),
        events_of(deferred, lambda context: results.append(deferred.execute_complete(context, event))),
    ]
    assert results[0] == results[1]
    assert results[0]["success_count"] == 4
    for events in seen:
        assert [extra for uri, extra in events if uri == URI] == [results[0]]
        # Another asset of the user is left alone.
        assert [extra for uri, extra in events if uri != URI] == [{}] * len(events[1:])


def test_an_import_of_which_too_little_matched_is_no_event(
    new_simulator: NewSimulator, connect: Connect, new_client: NewClient
) -> None:
    simulator = new_simulator(unmatched_ratio=1.0)
    connect(simulator)
    fill(new_client(simulator), 1)
    failing = sensor(max_fail_ratio=0.5)
    assert events_of(failing, failing.execute) == []


# The watcher.


class AssetState:
    """Keeps what Airflow's store of an asset's state keeps, over restarts of the triggerer."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    async def aget(self, key: str) -> Any:
        return self.kept.get(key)

    async def aset(self, key: str, value: Any) -> None:
        self.kept[key] = value


def watch(store: AssetState | None = None) -> ImportFinishedTrigger:
    """A trigger as the triggerer makes it: from what it was serialized to."""
    path, options = ImportFinishedTrigger(PACKAGE, 0.02).serialize()
    assert path == "airflow_provider_wxbank.triggers.ImportFinishedTrigger"
    trigger = ImportFinishedTrigger(**options)
    trigger.asset_state_store = store  # type: ignore[assignment]
    return trigger


async def first_payload(trigger: Any) -> Any:
    async with aclosing(trigger.run()) as stream:
        return await payload(stream)


async def payload(stream: AsyncIterator[Any]) -> Any:
    return (await asyncio.wait_for(anext(stream), PATIENCE)).payload


@asynccontextmanager
async def polling(simulator: Simulator, stream: AsyncIterator[Any]) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """A watcher that polls, and raises no event; what is yielded waits for so many more polls."""
    waiting = asyncio.ensure_future(anext(stream))

    async def more(count: int) -> None:
        seen = simulator.report()["requests"].get("list", 0)
        while simulator.report()["requests"].get("list", 0) < seen + count:
            assert not waiting.done()
            await asyncio.sleep(0.01)

    yield more
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting


async def polls(simulator: Simulator, stream: AsyncIterator[Any]) -> None:
    """Let a watcher poll some times, and see that it raises no event."""
    async with polling(simulator, stream) as more:
        await more(5)


def told(result: Any, tasks: int) -> bool:
    """Whether an event tells of so many tasks of two numbers each."""
    users = result.pop("success_user_count")
    counts = {"success_count": 2 * tasks, "fail_count": 0, "rows": None, "unaccounted": None}
    return bool(result == {"package_id": PACKAGE, "tasks": tasks, **counts} and users)


@needs_watchers
def test_each_import_of_somebody_else_is_told_of_with_its_own_counts(
    new_simulator: NewSimulator, connect: Connect, new_client: NewClient
) -> None:
    simulator = new_simulator(processing_seconds=0.3)
    connect(simulator)
    client = new_client(simulator)

    async def run() -> None:
        async with aclosing(watch().run()) as stream:  # type: ignore[type-var]
            await polls(simulator, stream)
        fill(client, 1, 2)
        async with aclosing(watch().run()) as stream:  # type: ignore[type-var]
            assert told(await payload(stream), 2)
            assert all(task["status"] == "FINISHED" for task in simulator.report()["packages"][PACKAGE]["tasks"])
            fill(client, 3)
            assert told(await payload(stream), 1)

    asyncio.run(run())


@needs_watchers
def test_a_restart_tells_of_nothing_again_where_the_asset_has_a_state(
    connected: Simulator, new_client: NewClient
) -> None:
    client, store = new_client(connected), AssetState()

    async def run() -> None:
        fill(client, 1, 2)
        async with aclosing(watch(store).run()) as stream:  # type: ignore[type-var]
            assert told(await payload(stream), 2)
            # It is kept only when Airflow had the time to write the event.
            assert store.kept == {}
            await polls(connected, stream)
        assert store.kept[REPORTED]["tasks"] == 2
        async with aclosing(watch(store).run()) as stream:  # type: ignore[type-var]
            await polls(connected, stream)
        fill(client, 3)
        async with aclosing(watch(store).run()) as stream:  # type: ignore[type-var]
            assert told(await payload(stream), 1)
        # Without a state, the whole package is told of.
        async with aclosing(watch().run()) as stream:  # type: ignore[type-var]
            assert told(await payload(stream), 3)

    asyncio.run(run())


def known_of(client: Client, tasks: int) -> Known:
    """What a watch knows that has seen the first tasks of the package."""
    return Known().plus(sorted(list_tasks(client, PACKAGE), key=lambda task: int(task.task_id))[:tasks])


def test_looking_for_what_is_new_is_one_call_while_nothing_is(connected: Simulator, new_client: NewClient) -> None:
    client = new_client(connected)
    fill(client, *range(25))
    known = known_of(client, 25)
    before = connected.report()["requests"].get("list", 0)
    assert run(poll_new(client, PACKAGE, known)).tasks is None
    assert connected.report()["requests"]["list"] == before + 1
    seen = run(poll_new(client, PACKAGE, known_of(client, 24)))
    assert len(seen.tasks or ()) == (25 if seen.are_all else 1)


@needs_watchers
@pytest.mark.parametrize("kind", ["unsigned", "forbidden"])
def test_a_watch_goes_on_after_an_outage_and_after_a_refusal(
    connected: Simulator, new_client: NewClient, kind: str, logged: Callable[[], str]
) -> None:
    fill(new_client(connected), 1)
    connected.add_fault(Fault(kind, on="list", times=3))
    assert told(asyncio.run(first_payload(watch())), 1)
    text = logged()
    assert ("cannot be watched now" in text) == (kind == "forbidden")


@needs_watchers
@pytest.mark.parametrize("kind", ["unsigned", "forbidden", "unsigned-sign-error"])
def test_a_watch_that_fails_leaves_nothing_to_the_collector(connected: Simulator, kind: str) -> None:
    connected.add_fault(Fault(kind, on="list"))

    async def run() -> list[str]:
        async with aclosing(watch().run()) as stream, polling(connected, stream) as more:  # type: ignore[type-var]
            await more(5)
            with left_to_the_collector() as left:
                await more(10)
            return left

    assert asyncio.run(run()) == []


@needs_watchers
def test_a_watch_reads_a_connection_anew_that_was_wrong(
    connected: Simulator, new_client: NewClient, connect: Connect, logged: Callable[[], str]
) -> None:
    fill(new_client(connected), 1)
    connect(connected, login="")

    async def run() -> Any:
        async with aclosing(watch().run()) as stream:  # type: ignore[type-var]
            waiting = asyncio.ensure_future(payload(stream))
            while "merchant id" not in "".join(text):
                await asyncio.sleep(0.01)
                text.append(logged())
            connect(connected)
            return await waiting

    text: list[str] = []
    assert told(asyncio.run(run()), 1)


@needs_watchers
def test_a_watched_package_has_a_watcher() -> None:
    from airflow.sdk import AssetWatcher

    asset = watched_number_package(PACKAGE, 30)
    assert asset.uri == URI
    (watcher,) = asset.watchers
    assert isinstance(watcher, AssetWatcher)
    assert watcher.trigger.serialize()[1] == {
        "package_id": PACKAGE,
        "poll_interval": 30,
        "wxbank_conn_id": "wxbank_default",
    }
    with pytest.raises(InvalidInput, match="package_id"):
        watched_number_package("1")


@pytest.mark.skipif(HAS_WATCHERS, reason="Airflow 3 has watchers")
def test_airflow_2_says_that_it_has_no_watchers() -> None:
    with pytest.raises(InvalidInput, match="needs Airflow 3"):
        watched_number_package(PACKAGE)


# The campaign.


def triggered_by(*extras: dict[str, Any]) -> dict[str, Any]:
    """The context of a DAG run that was triggered by events, the first of which is the latest."""
    now = datetime.now(UTC)
    if not HAS_WATCHERS:
        events = [SimpleNamespace(extra=extra, timestamp=now - index * MINUTE) for index, extra in enumerate(extras)]
        others = [SimpleNamespace(extra={"other": True}, timestamp=now)]
        return {"triggering_dataset_events": {URI: events, "s3://bucket/key": others}}
    from airflow.sdk.execution_time.comms import AssetEventDagRunReferenceResult
    from airflow.sdk.execution_time.context import TriggeringAssetEventsAccessor

    def event(uri: str, extra: dict[str, Any], timestamp: datetime) -> Any:
        aliases = [{"name": FINISHED_IMPORTS.name}] if uri == URI else []
        asset = {"name": uri, "uri": uri, "extra": {}}
        return AssetEventDagRunReferenceResult.model_validate(
            {"asset": asset, "extra": extra, "source_aliases": aliases, "timestamp": timestamp, **NO_SOURCE}
        )

    listed = [event(URI, extra, now - index * MINUTE) for index, extra in enumerate(extras)]
    listed.append(event("s3://bucket/key", {"other": True}, now))
    return {"triggering_asset_events": TriggeringAssetEventsAccessor.build(listed)}


MINUTE = timedelta(minutes=1)
NO_SOURCE = {"source_task_id": None, "source_dag_id": None, "source_run_id": None, "source_map_index": None}


def imported(package_id: str, success: int, fail: int) -> dict[str, Any]:
    return {
        "package_id": package_id,
        "tasks": 1,
        "success_count": success,
        "fail_count": fail,
        "success_user_count": success + 1,
    }


def prepare_campaign(triggering: dict[str, Any]) -> Any:
    dag = runpy.run_path(str(CAMPAIGN))["dag"]
    return dag.get_task("prepare_campaign").python_callable(**triggering, params={"min_match_rate": 0.5})


def test_the_imports_that_triggered_a_run_come_in_their_order() -> None:
    late, early = imported(PACKAGE, 8, 2), imported(PACKAGE, 5, 5)
    from_watcher = {"from_trigger": True, "payload": early}
    assert finished_imports(triggered_by(late, from_watcher)) == [early, late]  # type: ignore[arg-type]
    assert finished_imports({}) == []


def test_the_campaign_gets_what_it_may_use() -> None:
    assert prepare_campaign(triggered_by(imported(PACKAGE, 8, 2))) == [
        {"package_id": PACKAGE, "users": 9, "match_rate": 0.8}
    ]


def test_a_campaign_is_not_prepared_with_too_few_matches_or_by_hand() -> None:
    with pytest.raises(AirflowFailException, match=r"Only 40\.0%"):
        prepare_campaign(triggered_by(imported(PACKAGE, 4, 6)))
    with pytest.raises(AirflowSkipException, match="No import"):
        prepare_campaign(triggered_by())
