# SPDX-License-Identifier: Apache-2.0
"""Observers: who hears of what happens, and what becomes of one that fails."""

from __future__ import annotations

import pytest

from airflow_provider_wxbank.packages.endpoints import list_tasks_page
from airflow_provider_wxbank.reporting.events import (
    AnswerReceived,
    Began,
    CallMade,
    CallRepeated,
    Ended,
    Event,
    all_of,
)
from airflow_provider_wxbank.simulator import Fault, Simulator
from airflow_provider_wxbank.wechatpay.errors import WxBankError
from tests.conftest import NewClient
from tests.harness.waiting import PATIENCE


def test_an_observer_that_fails_hears_of_nothing_more_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Event] = []
    asked = 0

    def fails(event: Event) -> None:
        nonlocal asked
        asked += 1
        raise RuntimeError("the disk is full")

    tell = all_of(fails, heard.append)
    tell(Began("export"))
    tell(Ended("export"))
    assert heard == [Began("export"), Ended("export")]
    assert asked == 1
    assert caplog.text.count("is told nothing more: RuntimeError: the disk is full") == 1


def test_a_client_tells_of_answers_and_of_what_it_sends_again(simulator: Simulator, new_client: NewClient) -> None:
    heard: list[Event] = []
    client = new_client(simulator, tell=heard.append)
    client.encryption_key()
    simulator.add_fault(Fault("internal-error", on="list", times=1))
    also: list[Event] = []
    with client.observed(also.append):
        client.request("GET", "/v3/marketing/bank/packages/8473295/tasks", params={"offset": 0, "limit": 1})
    heard = heard[-len(also) :]
    assert heard == also
    kinds = [(type(event), getattr(event, "status", None)) for event in also]
    assert kinds == [
        (AnswerReceived, 500), (CallMade, None), (CallRepeated, None), (AnswerReceived, 200), (CallMade, None),
    ]  # fmt: skip
    made = [event for event in also if isinstance(event, CallMade)]
    assert [(event.endpoint, event.outcome) for event in made] == [("other", "server_error"), ("other", "ok")]
    assert all(0 < event.seconds < PATIENCE for event in made)
    (again,) = [event for event in also if isinstance(event, CallRepeated)]
    assert (again.trouble, again.attempt) == ("SERVER_ERROR", 2)
    told = len(also)
    client.request("GET", "/v3/certificates")
    assert len(also) == told


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("too-many-requests", "limited"),
        ("quota-reached", "quota_reached"),
        ("forbidden", "refused"),
        ("unsigned-sign-error", "unauthorized"),
        ("drop", "broken"),
        ("hang", "timed_out"),
        ("unsigned", "unverified"),
        ("bad-gateway", "server_error"),
    ],
)
def test_every_attempt_is_told_with_what_became_of_it(
    simulator: Simulator, new_client: NewClient, fault: str, outcome: str
) -> None:
    heard: list[Event] = []
    client = new_client(simulator, {"read_timeout": 0.5}, tell=heard.append, max_attempts=1)
    client.encryption_key()
    heard.clear()
    simulator.add_fault(Fault(fault, on="list", seconds=2.0))
    with pytest.raises(WxBankError):
        list_tasks_page(client, "8473295")
    (made,) = [event for event in heard if isinstance(event, CallMade)]
    assert (made.endpoint, made.outcome) == ("list_tasks", outcome)
