# SPDX-License-Identifier: Apache-2.0
"""Faults do what they say, to the requests that they are for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.client import HTTPException, LineTooLong

import pytest

from airflow_provider_wxbank.simulator import Fault
from airflow_provider_wxbank.simulator.faults import BEFORE_ANSWER, KINDS, parse_fault
from tests.harness.raw_client import (
    CERTIFICATES,
    tasks_path,
)
from tests.harness.simulators import Bank, NewBank, set_faults
from tests.simulator.fault_checks import FAULTS, opened_socket


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_does_what_it_says(bank: Bank, package: str, kind: str) -> None:
    bank.put(package)
    done = bank.client.report()["faults"].get(kind, 0)
    set_faults(bank, {"kind": kind, "seconds": 0.2})
    FAULTS[kind](bank, package)
    assert bank.client.report()["faults"][kind] > done


@pytest.mark.parametrize("commit", [False, True], ids=["without commit", "with commit"])
@pytest.mark.parametrize("kind", sorted(BEFORE_ANSWER))
def test_a_fault_in_place_of_the_answer_commits_only_if_asked(
    bank: Bank, package: str, kind: str, commit: bool
) -> None:
    set_faults(bank, {"kind": kind, "on": "upload", "seconds": 0.1, "commit": commit})
    try:
        answer = bank.client.upload(package, bank.file())
        assert answer.status != 200 or (kind == "replay" and package.encode() not in answer.body)
    except (HTTPException, OSError):
        assert kind in ("reset", "drop", "hang")
    assert (package in bank.client.committed()) is commit


def test_an_upload_whose_answer_trickles_is_committed(bank: Bank, package: str) -> None:
    set_faults(bank, {"kind": "trickle-headers", "on": "upload"})
    upload, url = bank.file(), tasks_path(package)
    headers = bank.client.signed("POST", url, upload.meta_bytes()) | upload.headers()
    with opened_socket(bank, "POST", url, headers, upload.body()) as connection:
        assert connection.recv(100) == b"H"
    assert bank.client.committed()[package] == ["file-0001.csv"]


@pytest.mark.parametrize("kind", sorted(set(KINDS) - BEFORE_ANSWER - {"trickle-headers"}))
def test_a_fault_that_spoils_the_answer_commits(bank: Bank, package: str, kind: str) -> None:
    set_faults(bank, {"kind": kind, "on": "upload", "seconds": 0.1})
    upload, url = bank.file(), tasks_path(package)
    headers = bank.client.signed("POST", url, upload.meta_bytes()) | upload.headers()
    try:
        with bank.client.opened("POST", url, headers, upload.body()) as response:
            assert response.status == 200
    except LineTooLong:
        assert kind == "huge-header"
    assert bank.client.committed()[package] == ["file-0001.csv"]


def test_an_unsigned_fault_leaves_errors_unsigned_too(bank: Bank, package: str) -> None:
    set_faults(bank, {"kind": "unsigned"})
    answer = bank.client.tasks(package, "limit=21")
    assert answer.status == 400
    assert not answer.is_signed


def test_a_fault_meets_a_client_behind_a_proxy(bank: Bank, package: str) -> None:
    set_faults(bank, {"kind": "reset"})
    with pytest.raises(ConnectionResetError):
        bank.client.call("GET", tasks_path(package), {"X-Forwarded-For": "192.0.2.1"})


def test_a_changing_page_changes_in_front_if_the_newest_come_first(new_bank: NewBank) -> None:
    bank = new_bank(newest_first=True)
    bank.put("8473295")
    bank.simulator.add_fault(Fault("changing-page"))
    assert bank.listed("8473295")[1:] == ["file-0001.csv"]


def statuses(bank: Bank, package: str, count: int) -> list[int]:
    return [bank.client.tasks(package).status for _ in range(count)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, [500, 500, 500, 500, 500, 500], id="always"),
        pytest.param({"every": 2}, [200, 500, 200, 500, 200, 500], id="every second"),
        pytest.param({"times": 2}, [500, 500, 200, 200, 200, 200], id="twice"),
        pytest.param({"after": 4}, [200, 200, 200, 200, 500, 500], id="after four"),
        pytest.param({"after": 1, "every": 2, "times": 2}, [200, 200, 500, 200, 500, 200], id="all of it"),
    ],
)
def test_a_fault_meets_the_requests_that_it_is_for(
    bank: Bank, package: str, options: Mapping[str, object], expected: list[int]
) -> None:
    set_faults(bank, {"kind": "internal-error"} | dict(options))
    assert statuses(bank, package, 6) == expected


@pytest.mark.parametrize("on", ["any", "upload", "find", "list", "certificates"])
def test_a_fault_meets_the_step_that_it_is_for(bank: Bank, package: str, on: str) -> None:
    set_faults(bank, {"kind": "internal-error", "on": on})
    answers = {
        "upload": bank.client.upload(package, bank.file()),
        "find": bank.client.tasks(package, "filename=file-0001.csv"),
        "list": bank.client.tasks(package),
        "certificates": bank.client.call("GET", CERTIFICATES),
    }
    met = {step for step, answer in answers.items() if answer.status == 500}
    assert met == (set(answers) if on == "any" else {on})


def test_of_two_faults_that_are_due_the_first_happens(bank: Bank, package: str) -> None:
    set_faults(bank, {"kind": "internal-error", "times": 1}, {"kind": "forbidden", "times": 1})
    assert statuses(bank, package, 3) == [500, 403, 200]


def test_new_faults_take_the_place_of_the_old(bank: Bank, package: str) -> None:
    set_faults(bank, {"kind": "internal-error"})
    set_faults(bank, {"kind": "forbidden"})
    assert statuses(bank, package, 1) == [403]


def test_faults_can_be_deleted(bank: Bank, package: str) -> None:
    set_faults(bank, {"kind": "internal-error"})
    answer = bank.client.send("DELETE", "/simulator/faults")
    assert (answer.status, answer.value) == (200, {"faults": 0})
    assert statuses(bank, package, 1) == [200]


def test_a_fault_with_every_field_is_accepted(bank: Bank) -> None:
    faults = [{"kind": "hang", "on": "list", "every": 2, "times": 1, "after": 3, "commit": True, "seconds": 1}]
    answer = bank.client.send("POST", "/simulator/faults", body=json.dumps(faults).encode())
    assert (answer.status, answer.value) == (200, {"faults": 1})


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no JSON",
        "5",
        "null",
        '{"kind": "reset"}',
        "{}",
        '["reset"]',
        "[{}]",
        "[" * 100_000,
        '[{"kind": "explode"}]',
        '[{"kind": 1}]',
        '[{"kind": "reset", "on": "everything"}]',
        '[{"kind": "reset", "every": 0}]',
        '[{"kind": "reset", "every": 1.5}]',
        '[{"kind": "reset", "every": true}]',
        '[{"kind": "reset", "times": -1}]',
        '[{"kind": "reset", "after": -1}]',
        '[{"kind": "reset", "after": "1"}]',
        '[{"kind": "reset", "commit": "true"}]',
        '[{"kind": "reset", "seconds": -1}]',
        '[{"kind": "reset", "seconds": NaN}]',
        '[{"kind": "reset", "seconds": Infinity}]',
        '[{"kind": "reset", "often": 1}]',
        '[{"kind": "forbidden"}, {"kind": "explode"}]',
    ],
)
def test_bad_faults_are_refused_and_change_nothing(bank: Bank, package: str, body: str) -> None:
    set_faults(bank, {"kind": "internal-error"})
    answer = bank.client.send("POST", "/simulator/faults", body=body.encode())
    assert answer.status == 400
    assert answer.value["error"]
    assert statuses(bank, package, 1) == [500]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("reset", Fault("reset")),
        (
            "drop:on=upload,every=3,commit=true",
            Fault("drop", on="upload", every=3, commit=True),
        ),
        ("hang:seconds=0.5,times=2,after=1", Fault("hang", seconds=0.5, times=2, after=1)),
        ("drop:commit=false", Fault("drop")),
    ],
)
def test_a_fault_can_be_written_as_text(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    "text", ["", "explode", "reset:often=1", "reset:every", "reset:every=x", "reset:kind=drop", "drop:commit=yes"]
)
def test_a_fault_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_fault(text)
