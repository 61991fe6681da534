# SPDX-License-Identifier: Apache-2.0
"""Waiting is cheap, and sees every task, whatever ``offset`` counts and whoever else uses the package."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from airflow_provider_wxbank.packages.counts import Counts, count
from airflow_provider_wxbank.packages.endpoints import (
    counts_rows,
    create_task,
    find_task,
    list_tasks,
    list_tasks_page,
)
from airflow_provider_wxbank.packages.poll import Poll, poll
from airflow_provider_wxbank.packages.wanted import wanted
from airflow_provider_wxbank.simulator import Fault, Simulator
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater
from airflow_provider_wxbank.wechatpay.flows import run
from tests.conftest import PACKAGE, NewClient, NewSimulator
from tests.harness.clock import Clock
from tests.harness.files import agreement_file


def fill(client: Client, count: int, start: int = 0) -> list[str]:
    """Upload some files; their task ids."""
    return [
        create_task(client, PACKAGE, *agreement_file(client, index, rows=1)).task_id
        for index in range(start, start + count)
    ]


@pytest.fixture
def slow(new_simulator: NewSimulator, clock: Clock) -> Simulator:
    """A simulator whose tasks take 100 seconds of a clock that stands."""
    return new_simulator(processing_seconds=100.0, clock=clock)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("unit", ["page", "row"])
@pytest.mark.parametrize("count", [0, 1, 19, 20, 21, 40, 41, 61])
def test_a_walk_sees_every_task_once(
    new_simulator: NewSimulator, new_client: NewClient, unit: str, newest_first: bool, count: int
) -> None:
    simulator = new_simulator(offset_unit=unit, newest_first=newest_first)
    client = new_client(simulator)
    ids = fill(client, count)
    seen = [task.task_id for task in list_tasks(client, PACKAGE)]
    assert sorted(seen) == sorted(ids)
    assert simulator.report()["requests"]["list"] <= count // 20 + 3


@pytest.mark.parametrize("unit", ["page", "row"])
def test_a_package_that_grows_while_it_is_read_is_read_whole(
    new_simulator: NewSimulator, new_client: NewClient, unit: str
) -> None:
    simulator = new_simulator(offset_unit=unit)
    client = new_client(simulator)
    ids = fill(client, 50)
    simulator.add_fault(Fault("changing-page", on="list", times=5))
    seen = [task.task_id for task in list_tasks(client, PACKAGE)]
    assert set(ids) <= set(seen)
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("unit", ["page", "row"])
def test_a_package_that_grows_with_every_page_ends(
    new_simulator: NewSimulator, new_client: NewClient, unit: str, newest_first: bool
) -> None:
    simulator = new_simulator(offset_unit=unit, newest_first=newest_first)
    client = new_client(simulator)
    ids = fill(client, 45)
    simulator.add_fault(Fault("changing-page", on="list"))
    with suppress(TryLater):
        assert set(ids) <= {task.task_id for task in list_tasks(client, PACKAGE)}
    assert simulator.report()["requests"]["list"] < 30


def test_rows_are_told_from_pages() -> None:
    assert counts_rows(("1", "2", "3"), ("2", "3", "4"))
    assert counts_rows(("1", "2", "3"), ("2", "3"))
    assert not counts_rows(("1", "2", "3"), ("4", "5", "6"))
    assert not counts_rows(("1", "2", "3"), ("3", "4", "5"))
    assert not counts_rows(("1",), ("2",))
    # It grew by one, and by two rows in between.
    assert counts_rows(("1", "2", "3"), ("1", "2", "3"))
    assert counts_rows(("1", "2", "3"), ("0", "1", "2"))


def test_a_page_is_asked_for_field_by_field(slow: Simulator, new_client: NewClient, clock: Clock) -> None:
    client = new_client(slow, clock=clock)
    fill(client, 3)
    page = list_tasks_page(client, PACKAGE, status="PROCESSING", filename="file_00001.csv", offset=0, limit=5)
    (task,) = page.tasks
    assert (task.filename, task.status, task.bank_type, task.success_count) == (
        "file_00001.csv",
        "PROCESSING",
        "ICBC_DEBIT",
        None,
    )
    assert task.create_time is not None
    assert task.create_time.timestamp() == clock.now
    assert (page.total_count, page.limit) == (1, 5)
    assert list_tasks_page(client, PACKAGE, status="FINISHED").tasks == ()
    assert find_task(client, PACKAGE, "file_99999.csv") is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"status": "FAILED"}, "status"),
        ({"offset": -1}, "offset"),
        ({"limit": 21}, "limit 1 to 20"),
        ({"limit": 0}, "limit"),
        ({"filename": "号码.csv"}, "filename"),
    ],
)
def test_a_wrong_question_is_not_sent(
    simulator: Simulator, new_client: NewClient, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        list_tasks_page(new_client(simulator), PACKAGE, **options)
    assert simulator.report()["requests"]["list"] == 0


def test_a_poll_is_one_call_and_the_counts_are_read_by_twenties(
    slow: Simulator, new_client: NewClient, clock: Clock
) -> None:
    client = new_client(slow, clock=clock)
    target = wanted(PACKAGE, fill(client, 90))
    before = slow.report()["requests"]
    seen = Poll(None)
    for _ in range(30):
        seen = run(poll(client, target, seen.watched))
        assert seen.tasks is None
    clock.now += 100
    seen = run(poll(client, target, seen.watched))
    assert seen.tasks is not None
    assert count(seen.tasks).tasks == 90
    after = slow.report()["requests"]
    assert sum(after.values()) - sum(before.values()) <= 31 + 90 / 20 + 3


def test_the_tasks_of_others_cost_one_call_a_poll(slow: Simulator, new_client: NewClient, clock: Clock) -> None:
    """Eighty tasks of somebody else stand before ours in the list of what is processing."""
    client = new_client(slow, clock=clock)
    fill(client, 80)
    target = wanted(PACKAGE, fill(client, 3, start=80))
    seen = run(poll(client, target))
    assert seen.watched == "file_00080.csv"
    before = sum(slow.report()["requests"].values())
    for _ in range(10):
        seen = run(poll(client, target, seen.watched))
        assert seen.tasks is None
    assert sum(slow.report()["requests"].values()) - before == 10


def test_others_may_go_on_when_ours_are_finished(slow: Simulator, new_client: NewClient, clock: Clock) -> None:
    client = new_client(slow, clock=clock)
    target = wanted(PACKAGE, fill(client, 3))
    clock.now += 100
    fill(client, 45, start=3)
    seen = run(poll(client, target, "file_00001.csv"))
    assert seen.tasks is not None
    assert sorted(task.task_id for task in seen.tasks) == sorted(target.task_ids or ())


def test_the_whole_package_is_waited_for_when_nothing_is_named(
    slow: Simulator, new_client: NewClient, clock: Clock
) -> None:
    client = new_client(slow, clock=clock)
    target = wanted(PACKAGE)
    assert run(poll(client, target)).note == "the package has no upload task yet"
    fill(client, 25)
    assert run(poll(client, target)).tasks is None
    clock.now += 100
    tasks = run(poll(client, target)).tasks
    assert tasks is not None
    assert len(tasks) == 25


def test_files_are_waited_for_by_name_even_before_they_are_there(
    slow: Simulator, new_client: NewClient, clock: Clock
) -> None:
    client = new_client(slow, clock=clock)
    fill(client, 1)
    clock.now += 100
    target = wanted(PACKAGE, filenames=["file_00000.csv", "file_00001.csv"])
    assert "1 of the tasks is not listed yet: file_00001.csv" in run(poll(client, target)).note
    fill(client, 1, start=1)
    clock.now += 100
    tasks = run(poll(client, target)).tasks
    assert tasks is not None
    assert len(tasks) == 2


def test_a_task_that_begins_between_two_questions_is_still_waited_for(
    slow: Simulator, new_client: NewClient, clock: Clock
) -> None:
    """It is not among those that process, then it is listed, processing."""
    client = new_client(slow, clock=clock)
    ids = fill(client, 2)
    target = wanted(PACKAGE, ids)
    clock.now += 100
    task = slow.app.ledger.packages[PACKAGE]["file_00001.csv"]

    class MovingClock(Clock):
        """The second task starts anew after the first question."""

        asked = 0

        def __call__(self) -> float:
            self.asked += 1
            if self.asked == 2:
                task.created = clock.now
            return clock.now

    seen = run(poll(new_client(slow, clock=MovingClock()), target))
    assert seen.tasks is None or {one.status for one in seen.tasks} == {"FINISHED"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task_ids": ["1"], "filenames": ["file.csv"]}, "not both"),
        ({"task_ids": []}, "is empty"),
        ({"filenames": []}, "is empty"),
        ({"filenames": ["号码.csv"]}, "filename"),
    ],
)
def test_what_cannot_be_waited_for_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        wanted(PACKAGE, **options)
    with pytest.raises(InvalidInput, match="package_id"):
        wanted("1")


def test_counts_are_sums_and_a_file_without_any_match_is_named(
    new_simulator: NewSimulator, new_client: NewClient
) -> None:
    simulator = new_simulator(unmatched_ratio=1.0)
    client = new_client(simulator)
    fill(client, 2)
    tasks = run(poll(client, wanted(PACKAGE))).tasks
    assert tasks is not None
    counts = count(tasks)
    assert counts == Counts(2, 0, 2, 0, ("file_00000.csv", "file_00001.csv"))
    assert counts.fail_ratio == 1.0
    assert Counts(0, 0, 0, 0).fail_ratio == 0.0
