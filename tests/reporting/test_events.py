# SPDX-License-Identifier: Apache-2.0
"""Observers: who hears of what happens, and what becomes of one that fails."""

from __future__ import annotations

import pytest

from airflow_provider_wxbank.reporting.events import AnswerReceived, Began, CallRepeated, Ended, Event, all_of
from airflow_provider_wxbank.simulator import Fault, Simulator
from tests.conftest import NewClient


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
    assert heard[1:] == also
    kinds = [(type(event), getattr(event, "status", None)) for event in also]
    assert kinds == [(AnswerReceived, 500), (CallRepeated, None), (AnswerReceived, 200)]
    (again,) = [event for event in also if isinstance(event, CallRepeated)]
    assert (again.trouble, again.attempt) == ("SERVER_ERROR", 2)
    client.request("GET", "/v3/certificates")
    assert also == heard[1 : 1 + len(also)]
    assert len(heard) > len(also) + 1
