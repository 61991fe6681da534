# SPDX-License-Identifier: Apache-2.0
"""What is asked of a package costs calls by what is new or ours, not by its history."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest

from airflow_provider_wxbank.packages.counts import count
from airflow_provider_wxbank.packages.endpoints import list_tasks, list_tasks_page
from airflow_provider_wxbank.packages.known import MAX_NEWEST, Known
from airflow_provider_wxbank.packages.newest import new_tasks, newest_tasks
from airflow_provider_wxbank.packages.poll import poll, poll_new
from airflow_provider_wxbank.packages.quota import Left, files_left_today
from airflow_provider_wxbank.packages.tasks import UploadTask
from airflow_provider_wxbank.packages.upload import Upload
from airflow_provider_wxbank.packages.wait import Look, Pause, looked, watch
from airflow_provider_wxbank.packages.wanted import wanted
from airflow_provider_wxbank.simulator import Fault, Simulator
from airflow_provider_wxbank.simulator.checks import Meta
from airflow_provider_wxbank.simulator.ledger import Task
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.flows import run, run_each
from tests.conftest import PACKAGE, NewClient, NewSimulator
from tests.harness.files import outgoing

BEGIN = 1_700_000_000.0
NOW = 1_800_000_000.0
HISTORY = 700
"""Tasks of earlier days: 35 pages, of which hardly any may be read."""

ORDERS = pytest.mark.parametrize("newest_first", [False, True], ids=["oldest first", "newest first"])
UNITS = pytest.mark.parametrize("unit", ["page", "row"])


def slow(value: object) -> Any:
    """One of many cases, which the first signal can do without."""
    return pytest.param(value, marks=pytest.mark.slow)


@pytest.fixture
def new_history(new_simulator: NewSimulator, new_client: NewClient) -> Callable[..., tuple[Simulator, Client]]:
    """Makes a package with tasks of earlier days, all finished, and a client."""

    def make(tasks: int, newest_first: bool, unit: str, **options: Any) -> tuple[Simulator, Client]:
        simulator = new_simulator(newest_first=newest_first, offset_unit=unit, clock=lambda: NOW, **options)
        client = new_client(simulator, {"daily_file_quota": 50}, clock=lambda: NOW)
        add(simulator, tasks, BEGIN)
        client.encryption_key()
        return simulator, client

    return make


def add(simulator: Simulator, count: int, begin: float, step: float = 60.0, numbers: int = 10) -> list[str]:
    """Put tasks into the ledger, as if they had been uploaded at some time; their ids."""
    package = simulator.app.ledger.packages.setdefault(PACKAGE, {})
    start = len(package)
    for index in range(start, start + count):
        meta = Meta(f"old_{index:06d}.csv", "", "ICBC_DEBIT")
        created = begin + step * (index - start)
        package[meta.filename] = Task(f"9{index:06d}", PACKAGE, meta, numbers, 345 * numbers, "1", created)
    return [task.task_id for task in package.values()][start:]


def lists(simulator: Simulator) -> int:
    found: int = simulator.report()["requests"]["list"]
    return found


@ORDERS
@UNITS
@pytest.mark.parametrize("tasks", [0, 1, 19, 20, 21, 38, 40, 41, *(slow(one) for one in (380, 399, 400))])
def test_every_task_comes_once_and_the_newest_first(
    new_history: Any, tasks: int, newest_first: bool, unit: str
) -> None:
    simulator, client = new_history(tasks, newest_first, unit)
    found = [task.task_id for task in run_each(newest_tasks(client, PACKAGE))]
    ids = [f"9{index:06d}" for index in range(tasks)]
    assert sorted(found) == ids
    if tasks > 20:
        assert found[:20] == ids[::-1][:20]
    assert lists(simulator) <= tasks // 20 + 5


@ORDERS
@UNITS
@pytest.mark.parametrize("new", [1, *(slow(one) for one in (19, 20, 21)), 45])
def test_new_tasks_cost_two_calls_and_their_pages(new_history: Any, new: int, newest_first: bool, unit: str) -> None:
    simulator, client = new_history(HISTORY, newest_first, unit)
    known = Known().plus(list_tasks(client, PACKAGE))
    ids = add(simulator, new, NOW - 5000)
    before = lists(simulator)
    assert [task.task_id for task in found_new(client, known) or ()] == ids[::-1]
    # In rows, which no source says, one call more.
    assert lists(simulator) - before <= 3 + (new - 1) // 20 + (unit == "row")


def found_new(client: Client, known: Known) -> list[UploadTask] | None:
    first = list_tasks_page(client, PACKAGE)
    more = first.total_count - known.counts.tasks
    return run(new_tasks(client, PACKAGE, first, more, known.is_new, MAX_NEWEST))


def test_a_list_without_an_order_is_read_as_a_whole(new_history: Any) -> None:
    simulator, client = new_history(90, False, "page")
    for task in simulator.app.ledger.packages[PACKAGE].values():
        task.created = BEGIN
    known = Known().plus(list_tasks(client, PACKAGE))
    add(simulator, 1, BEGIN)
    assert found_new(client, known) is None
    found = {task.task_id for task in run_each(newest_tasks(client, PACKAGE))}
    assert found == {task.task_id for task in list_tasks(client, PACKAGE)}


ORDERS_OF_LISTS: dict[str, Callable[[Task], Any]] = {
    "by filename": lambda task: task.meta.filename,
    "by filename, backwards": lambda task: tuple(-ord(one) for one in task.meta.filename),
    "by number": lambda task: task.task_id,
    "by digest": lambda task: sha256(task.task_id.encode()).digest(),
    "by time, ties by id": lambda task: (task.created, task.task_id),
    "newest first, ties by id": lambda task: (-task.created, task.task_id),
    "newest first, ties by id backwards": lambda task: (-task.created, -int(task.task_id)),
}


@pytest.mark.parametrize("order", ORDERS_OF_LISTS.values(), ids=ORDERS_OF_LISTS)
@pytest.mark.parametrize("seconds", [slow(-100), -3, slow(0), slow(50)], ids="made {} s after the newest known".format)
def test_a_watch_tells_each_task_once_in_whatever_order_they_are_listed(
    new_history: Any, order: Callable[[Task], Any], seconds: int
) -> None:
    """What is told cannot be taken back, so what is new must be known, not guessed from the order of a list."""
    simulator, client = new_history(0, False, "page")
    ledger = simulator.app.ledger.packages.setdefault(PACKAGE, {})

    def put(names: str, begin: float, numbers: int, count: int) -> None:
        for index in range(count):
            meta = Meta(f"{names}_{index:04d}.csv", "", "ICBC_DEBIT")
            task_id = f"9{len(ledger):06d}"
            ledger[meta.filename] = Task(task_id, PACKAGE, meta, numbers, 345 * numbers, "1", begin + index)
        for task in sorted(ledger.values(), key=order):
            ledger[task.meta.filename] = ledger.pop(task.meta.filename)

    put("aa", NOW - 9e6, 10, 130)
    put("zz", NOW - 5e6, 1000, 30)
    watching = watch(PACKAGE, Known.read(Known().plus(list_tasks(client, PACKAGE)).write()))
    put("mm", NOW - 5e6 + 29 + seconds, 7, 1)
    step = next(watching)
    assert isinstance(step, Look)
    told = watching.send(run(looked(step, client)))
    assert isinstance(told, Known)
    assert told.counts == count(list_tasks(client, PACKAGE))
    assert (told.counts.tasks, told.counts.success_count + told.counts.fail_count) == (161, 31_307)


@pytest.mark.parametrize("count", [1, MAX_NEWEST, MAX_NEWEST + 1, 3 * MAX_NEWEST])
@pytest.mark.parametrize("step", [0, 60])
def test_a_watch_takes_no_known_task_for_new_however_many_there_are(count: int, step: int) -> None:
    def task(number: int, seconds: float) -> UploadTask:
        made = datetime.fromtimestamp(BEGIN + seconds, UTC)
        return UploadTask(f"9{number}", PACKAGE, f"{number:06d}.csv", made, made, "FINISHED", None, 1, 0, 1)

    tasks = [task(index, step * index) for index in range(count)]
    known = Known()
    for start in range(0, count, 70):
        known = Known.read(json.loads(json.dumps(known.plus(tasks[start : start + 70]).write())))
    assert not [one for one in tasks if known.is_new(one)]
    assert known.is_new(task(count, step * count + 1))
    assert known.counts.tasks == count
    assert len(known.newest) <= MAX_NEWEST


@ORDERS
def test_a_list_that_grows_while_it_is_read_loses_nothing(new_history: Any, newest_first: bool) -> None:
    simulator, client = new_history(150, newest_first, "page")
    simulator.add_fault(Fault("changing-page", on="list", times=4))
    found = [task.task_id for task in run_each(newest_tasks(client, PACKAGE))]
    assert {f"9{index:06d}" for index in range(150)} <= set(found)
    assert len(set(found)) == len(found)


@ORDERS
@UNITS
def test_the_quota_costs_calls_by_the_files_of_today(new_history: Any, newest_first: bool, unit: str) -> None:
    simulator, client = new_history(HISTORY, newest_first, unit)
    add(simulator, 45, NOW - 3000, step=1.0)
    assert files_left_today(client, PACKAGE, 20, NOW) == Left(5, is_enough=False)
    assert lists(simulator) <= 45 // 20 + 4 + (unit == "row")
    # What has room for these files is no limit, and nothing is said of it.
    assert files_left_today(client, PACKAGE, 5, NOW) == Left(5, is_enough=True)


@ORDERS
@UNITS
@pytest.mark.parametrize("by", ["task_ids", "filenames"])
@pytest.mark.parametrize("ours", [20, 60])
def test_the_end_of_a_wait_costs_calls_by_our_files(
    new_history: Any, newest_first: bool, unit: str, by: str, ours: int
) -> None:
    simulator, client = new_history(HISTORY, newest_first, unit)
    ids = add(simulator, ours, NOW - 5000, step=1.0)
    names = [task.meta.filename for task in simulator.app.ledger.packages[PACKAGE].values()][-ours:]
    add(simulator, 30, NOW - 4000, step=1.0)
    target = wanted(PACKAGE, task_ids=ids) if by == "task_ids" else wanted(PACKAGE, filenames=names)
    seen = run(poll(client, target))
    assert seen.tasks is not None
    assert sorted(task.task_id for task in seen.tasks) == ids
    assert lists(simulator) <= (22 if ours == 20 else 1 + 2 + (ours + 30) // 20 + 2)


@ORDERS
@UNITS
def test_a_watch_costs_calls_by_what_is_new(new_history: Any, newest_first: bool, unit: str) -> None:
    simulator, client = new_history(HISTORY, newest_first, unit)
    known = Known().plus(list_tasks(client, PACKAGE))
    assert known.counts.tasks == HISTORY
    before = lists(simulator)
    assert run(poll_new(client, PACKAGE, known)).note == "no new task"
    assert lists(simulator) - before == 1
    add(simulator, 20, NOW - 5000, step=1.0)
    before = lists(simulator)
    watching = watch(PACKAGE, known)
    step = next(watching)
    assert isinstance(step, Look)
    more = watching.send(run(looked(step, client)))
    assert isinstance(more, Known)
    assert lists(simulator) - before <= 4 + (unit == "row")
    assert more.counts == count(list_tasks(client, PACKAGE))
    assert more.counts.since(known.counts).tasks == 20
    assert isinstance(watching.send(None), Pause)


def test_a_watch_of_a_package_that_is_not_known_counts_all_of_it(new_history: Any) -> None:
    _, client = new_history(90, False, "page")
    watching = watch(PACKAGE, Known())
    step = next(watching)
    assert isinstance(step, Look)
    all_of_it = watching.send(run(looked(step, client)))
    assert isinstance(all_of_it, Known)
    assert all_of_it.counts == count(list_tasks(client, PACKAGE))


@ORDERS
def test_one_file_needs_no_question_about_the_quota(new_history: Any, newest_first: bool) -> None:
    simulator, client = new_history(HISTORY, newest_first, "page")
    before = sum(simulator.report()["requests"].values())
    Upload(client, PACKAGE).run(outgoing(client, 1))
    assert sum(simulator.report()["requests"].values()) - before == 2
