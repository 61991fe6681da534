# SPDX-License-Identifier: Apache-2.0
"""What a page says of the question must fit it; and an answer's nonce is believed once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_provider_wxbank.packages.endpoints import find_task, list_tasks, list_tasks_page
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.crypto.verification import MAX_CLOCK_DIFFERENCE, Nonces
from airflow_provider_wxbank.wechatpay.errors import (
    OutcomeUnknown,
    RateLimited,
    Refused,
    Replayed,
    TryLater,
    UnverifiedAnswer,
)
from airflow_provider_wxbank.wechatpay.retries import MAX_ATTEMPTS, MAX_LIMITED_ATTEMPTS
from tests.harness.clock import Clock
from tests.stress.fuzz_targets import canned_client

PACKAGE = "8473295"


def task(number: int, **changes: Any) -> dict[str, Any]:
    return {"task_id": str(number), "package_id": PACKAGE, "filename": f"file_{number:05d}.csv", **changes}


def page(tasks: Iterable[dict[str, Any]], total: int, **echo: Any) -> bytes:
    return b"200 signed\n\n" + json.dumps({"data": list(tasks), "total_count": total, **echo}).encode()


def answered(*pages: bytes) -> Client:
    """A client that gets these signed answers."""
    return canned_client(pages)


@pytest.mark.parametrize("total", [0, 1, 2])
def test_a_page_with_more_tasks_than_there_are_in_all_is_not_believed(total: int) -> None:
    """A wait that believed it would end with these tasks alone."""
    with pytest.raises(UnverifiedAnswer, match=f"3 of {total} tasks"):
        list(list_tasks(answered(*[page(map(task, range(3)), total)] * 4), PACKAGE))


@pytest.mark.parametrize(
    "echo",
    [
        {"offset": 0, "limit": 20},
        {"offset": 0},
        {"limit": 20},
        {},
        {"offset": None, "limit": None},
        {"offset": "0", "limit": "twenty"},
        {"offset": True, "limit": []},
    ],
)
@pytest.mark.parametrize("count", [0, 3])
def test_a_page_that_does_not_say_what_was_asked_is_believed(echo: dict[str, Any], count: int) -> None:
    client = answered(page(map(task, range(count)), count, **echo))
    assert [one.task_id for one in list_tasks(client, PACKAGE)] == [str(number) for number in range(count)]


@pytest.mark.parametrize(
    "echo", [{"limit": 1}, {"limit": 0}, {"limit": -20}, {"offset": 1}, {"offset": 20}, {"offset": 0, "limit": 10**9}]
)
@pytest.mark.parametrize("count", [0, 1])
def test_a_first_page_that_says_that_something_else_was_asked_is_not_believed(echo: dict[str, Any], count: int) -> None:
    with pytest.raises(UnverifiedAnswer, match="is to another question"):
        list(list_tasks(answered(page(map(task, range(count)), count, **echo)), PACKAGE))


@pytest.mark.parametrize(
    "echo", [{"offset": 1}, {"offset": 20}, {"offset": 7}, {"limit": 5}, {"offset": 2, "limit": 40}]
)
def test_a_later_page_with_tasks_is_believed_whatever_it_says(echo: dict[str, Any]) -> None:
    """Nobody has seen one of WeChat Pay's."""
    client = answered(page(map(task, range(20)), 25, offset=0, limit=20), page(map(task, range(20, 25)), 25, **echo))
    assert len(list(list_tasks(client, PACKAGE))) == 25


@pytest.mark.parametrize(("echo", "fits"), [({"offset": 1}, True), ({"offset": 20}, True), ({"offset": 7}, False)])
def test_an_empty_later_page_is_believed_if_it_fits(echo: dict[str, Any], fits: bool) -> None:
    client = answered(page([], 20, limit=20, **echo))
    if fits:
        assert list_tasks_page(client, PACKAGE, offset=1).tasks == ()
    else:
        with pytest.raises(UnverifiedAnswer, match="is to another question"):
            list_tasks_page(client, PACKAGE, offset=1)


def test_a_later_page_cannot_make_a_list_shorter() -> None:
    """It may be the answer to a question for one file, of which there is one."""
    pages = [
        page(map(task, range(20)), 25, offset=0, limit=20),
        page([task(3)], 1, offset=0, limit=1),
        page(map(task, range(20)), 25, offset=0, limit=20),
        page(map(task, range(20, 25)), 25, offset=1, limit=20),
    ]
    assert len(list(list_tasks(answered(*pages), PACKAGE))) == 25


def test_a_first_page_without_tasks_has_none_in_all() -> None:
    with pytest.raises(UnverifiedAnswer, match="0 of 3 tasks"):
        find_task(answered(page([], 3, offset=0, limit=1)), PACKAGE, "file_00001.csv")


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"package_id": "8473296"}, {}),
        ({"status": "FINISHED"}, {"status": "PROCESSING"}),
        ({"status": "PROCESSING"}, {"status": "FINISHED"}),
        ({"status": "processing"}, {"status": "PROCESSING"}),
        ({"filename": "file_00009.csv"}, {"filename": "file_00001.csv"}),
        ({"filename": "FILE_00001.csv"}, {"filename": "file_00001.csv"}),
    ],
)
def test_a_page_with_one_task_that_does_not_fit_is_not_believed(changes: dict[str, Any], asked: dict[str, Any]) -> None:
    fitting = {**task(1), **asked}
    client = answered(page([fitting, {**fitting, "task_id": "2", **changes}], 2, offset=0, limit=20))
    with pytest.raises(UnverifiedAnswer, match="about other tasks|has a task that is"):
        list_tasks_page(client, PACKAGE, **asked)


def test_a_task_may_leave_its_status_out() -> None:
    client = answered(page([task(1), task(2, status=None)], 2))
    assert len(list_tasks_page(client, PACKAGE, "PROCESSING").tasks) == 2


# Nonces


@pytest.mark.parametrize("step", [1, 299, 600, 601])
def test_a_nonce_is_remembered_as_long_as_its_answer_can_verify(step: int) -> None:
    """An answer that is dated five minutes ahead verifies for ten minutes."""
    clock = Clock(0.0)
    nonces = Nonces(clock=clock)
    nonces.take("first")
    while clock.now + step <= 2 * MAX_CLOCK_DIFFERENCE:
        clock.now += step
        nonces.take(f"at {clock.now}")
        with pytest.raises(Replayed):
            nonces.take("first")


def test_nonces_are_forgotten_in_the_end() -> None:
    clock = Clock(0.0)
    nonces = Nonces(limit=10, clock=clock)
    for number in range(200):
        clock.now += 2 * MAX_CLOCK_DIFFERENCE / 4
        nonces.take(str(number))


def test_what_there_is_no_room_to_remember_is_not_believed() -> None:
    clock = Clock(0.0)
    nonces = Nonces(limit=2, clock=clock)
    nonces.take("1")
    nonces.take("2")
    with pytest.raises(UnverifiedAnswer, match="make fewer calls") as raised:
        nonces.take("3")
    assert not isinstance(raised.value, Replayed)
    with pytest.raises(Replayed):
        nonces.take("1")
    clock.now += 5 * MAX_CLOCK_DIFFERENCE
    nonces.take("3")


def test_of_many_threads_one_takes_a_nonce() -> None:
    nonces = Nonces()

    def take(number: int) -> bool:
        try:
            nonces.take(str(number % 50))
        except Replayed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(2000))) == 50


# The status, which no signature covers


ERROR = b'{"code":"RESOURCE_NOT_EXISTS","message":"x"}'


@pytest.mark.parametrize("status", [202, 400, 401, 403, 404, 413, 429, 500, 503])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_right_answer_with_another_status_is_none(status: int, method: str) -> None:
    """It may pass, it is no refusal, and after a POST nothing is known."""
    whole = page([task(1)], 1).partition(b"\n\n")[2]
    client = canned_client([b"%d signed\n\n%s" % (status, whole)] * MAX_LIMITED_ATTEMPTS)
    expected: type[TryLater] = TryLater if method == "GET" else OutcomeUnknown
    with pytest.raises(expected) as raised:
        client.request(method, "/v3/x", json=None if method == "GET" else {})
    assert not isinstance(raised.value, RateLimited)
    for advice in ("permission", "package id", "merchant_serial_no", "was not taken"):
        assert advice not in str(raised.value)


def test_an_error_is_no_success_whatever_its_status_says() -> None:
    client = canned_client([b"200 signed\n\n" + ERROR] * MAX_ATTEMPTS)
    with pytest.raises(UnverifiedAnswer, match="its status 200 says success, but what is signed is an error"):
        client.request("GET", "/v3/x")
    with pytest.raises(OutcomeUnknown, match="what is signed is an error"):
        canned_client([b"200 signed\n\n" + ERROR]).request("POST", "/v3/x", json={})


def test_a_success_may_have_a_code_and_a_message_among_others() -> None:
    client = canned_client([b'200 signed\n\n{"code":"A_B","message":"x","data":1}'])
    assert client.request("GET", "/v3/x")["data"] == 1


def test_an_error_with_its_own_status_is_what_it_is() -> None:
    with pytest.raises(Refused, match="404 RESOURCE_NOT_EXISTS"):
        canned_client([b"404 signed\n\n" + ERROR]).request("GET", "/v3/x")
