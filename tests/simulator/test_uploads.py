# SPDX-License-Identifier: Apache-2.0
"""Uploads and lists that succeed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count

import pytest

from airflow_provider_wxbank.simulator.checks import Meta
from airflow_provider_wxbank.simulator.ledger import Ledger
from airflow_provider_wxbank.simulator.settings import SimulatorSettings
from tests.harness.simulators import COUNTS, NOON, NOON_TEXT, Bank, NewBank, start


def test_an_upload_is_answered_with_its_task(slow_shared: Bank, package: str) -> None:
    slow_shared.clock.now = NOON
    value = slow_shared.put(package)
    assert 1 <= len(value.pop("task_id")) <= 16
    assert value == {
        "package_id": package,
        "filename": "file-0001.csv",
        "create_time": f"{NOON_TEXT}+08:00",
        "update_time": f"{NOON_TEXT}+08:00",
        "status": "PROCESSING",
        "bank_type": "ICBC_DEBIT",
    }


def test_a_list_is_answered_with_its_tasks(slow_shared: Bank, package: str) -> None:
    slow_shared.clock.now = NOON
    task_id = slow_shared.put(package)["task_id"]
    assert slow_shared.client.tasks(package).value == {
        "data": [
            {
                "task_id": task_id,
                "package_id": package,
                "filename": "file-0001.csv",
                "create_time": f"{NOON_TEXT}.000+08:00",
                "update_time": f"{NOON_TEXT}.000+08:00",
                "status": "PROCESSING",
                "bank_type": "ICBC_DEBIT",
            }
        ],
        "total_count": 1,
        "offset": 0,
        "limit": 20,
    }


def test_a_package_without_tasks_is_listed_empty(bank: Bank, package: str) -> None:
    assert bank.client.tasks(package).value == {"data": [], "total_count": 0, "offset": 0, "limit": 20}


def test_task_ids_differ(bank: Bank, package: str) -> None:
    ids = {bank.put(package, name=f"file-{index}.csv")["task_id"] for index in range(3)}
    assert len(ids) == 3


def test_answers_have_a_request_id(bank: Bank, package: str) -> None:
    ids = {bank.client.tasks(package).headers["Request-ID"] for _ in range(2)}
    assert len(ids) == 2
    assert all(ids)


@pytest.mark.parametrize(("seconds", "status"), [(59.0, "PROCESSING"), (60.0, "FINISHED")])
def test_a_task_is_finished_when_its_time_is_over(slow_shared: Bank, package: str, seconds: float, status: str) -> None:
    slow_shared.put(package)
    slow_shared.clock.now += seconds
    (task,) = slow_shared.client.tasks(package).value["data"]
    assert task["status"] == status
    assert (set(COUNTS) & set(task)) == (set(COUNTS) if status == "FINISHED" else set())


@pytest.mark.parametrize("status", ["PROCESSING", "FINISHED"])
def test_a_list_can_be_of_one_status(slow_shared: Bank, package: str, status: str) -> None:
    slow_shared.put(package, name="FINISHED.csv")
    slow_shared.clock.now += 60
    slow_shared.put(package, name="PROCESSING.csv")
    assert slow_shared.listed(package, f"status={status}") == [f"{status}.csv"]


def test_a_list_can_be_of_one_filename(bank: Bank, package: str) -> None:
    for name in ("file-0001.csv", "file-0002.csv"):
        bank.put(package, name=name)
    assert bank.listed(package, "filename=file-0002.csv") == ["file-0002.csv"]
    assert bank.listed(package, "filename=file-0003.csv") == []


def test_all_numbers_match_unless_asked_otherwise(bank: Bank, package: str) -> None:
    bank.put(package, *(f"62220200{index:08}" for index in range(20)))
    (task,) = bank.client.tasks(package).value["data"]
    assert (task["success_count"], task["fail_count"]) == (20, 0)


def test_the_unmatched_ratio_of_the_numbers_fails_as_their_digests_choose(slow_shared: Bank, package: str) -> None:
    numbers = [f"62220200{index:08}" for index in range(200)]
    digests = [hashlib.sha256(number.encode()).digest() for number in numbers]
    matched = [digest for digest in digests if int.from_bytes(digest[:4], "big") >= 0.3 * 2**32]
    slow_shared.put(package, *numbers)
    slow_shared.clock.now += 60
    (task,) = slow_shared.client.tasks(package).value["data"]
    assert task["success_count"] == len(matched)
    assert task["fail_count"] == 200 - len(matched)
    assert task["success_user_count"] == len(matched) + sum(digest[4] < 13 for digest in matched)
    assert 40 <= task["fail_count"] <= 80


def test_a_task_is_listed_after_the_listing_delay(new_bank: NewBank) -> None:
    bank = new_bank(listing_delay_seconds=5.0)
    bank.put("8473295")
    bank.clock.now += 4
    assert bank.listed("8473295") == []
    bank.clock.now += 1
    assert bank.listed("8473295") == ["file-0001.csv"]


@pytest.fixture(scope="module")
def by_row() -> Iterator[Bank]:
    """A simulator whose offset counts rows, newest first, with seven files in a package."""
    with ExitStack() as stack:
        bank = start(stack, offset_unit="row", newest_first=True)
        for index in range(7):
            bank.put("8473295", name=f"file-{index}.csv")
        yield bank


@pytest.fixture(scope="module")
def by_page() -> Iterator[Bank]:
    """A simulator whose offset counts pages, with seven files in a package."""
    with ExitStack() as stack:
        bank = start(stack)
        for index in range(7):
            bank.put("8473295", name=f"file-{index}.csv")
        yield bank


def files(*indexes: int) -> list[str]:
    return [f"file-{index}.csv" for index in indexes]


def test_lists_are_in_the_order_of_the_uploads(by_page: Bank) -> None:
    assert by_page.listed("8473295") == files(0, 1, 2, 3, 4, 5, 6)


def test_lists_can_be_newest_first(by_row: Bank) -> None:
    assert by_row.listed("8473295") == files(6, 5, 4, 3, 2, 1, 0)


@pytest.mark.parametrize(
    ("offset", "expected"), [(0, files(0, 1, 2)), (1, files(3, 4, 5)), (2, files(6)), (3, [])], ids=str
)
def test_the_offset_counts_pages(by_page: Bank, offset: int, expected: Sequence[str]) -> None:
    query = f"offset={offset}&limit=3"
    assert by_page.listed("8473295", query) == expected
    value = by_page.client.tasks("8473295", query).value
    assert (value["offset"], value["limit"], value["total_count"]) == (offset, 3, 7)


@pytest.mark.parametrize(
    ("offset", "expected"), [(0, files(6, 5, 4)), (1, files(5, 4, 3)), (6, files(0)), (7, [])], ids=str
)
def test_the_offset_can_count_rows(by_row: Bank, offset: int, expected: Sequence[str]) -> None:
    assert by_row.listed("8473295", f"offset={offset}&limit=3") == expected


@pytest.mark.parametrize("status", ["PROCESSING", "FINISHED", None])
def test_a_page_shows_its_tasks_at_one_moment(status: str | None) -> None:
    """However long it takes to make: here half a second passes whenever the clock is read, and tasks end meanwhile."""
    seconds = count(NOON, 0.5)
    ledger = Ledger(SimulatorSettings(processing_seconds=10.0, clock=lambda: next(seconds)))
    for index in range(19):
        ledger.add("8473295", Meta(f"file-{index:04d}.csv", "", "ICBC_DEBIT"), 1, 345, "0A")
    page = ledger.page("8473295", None, status, 0, 20)
    found = [task["status"] for task in page["data"]]
    assert page["total_count"] == len(found) > 0
    assert found == sorted(found)
    assert set(found) <= ({status} if status else {"FINISHED", "PROCESSING"})
