# SPDX-License-Identifier: Apache-2.0
"""The loop of all waits, without any I/O: what is to be done next, and what becomes of what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from airflow_provider_wxbank.packages.counts import Counts
from airflow_provider_wxbank.packages.known import Known
from airflow_provider_wxbank.packages.poll import Poll
from airflow_provider_wxbank.packages.tasks import UploadTask
from airflow_provider_wxbank.packages.wait import MAX_UNAUTHORIZED, Look, Pause, wait, watch
from airflow_provider_wxbank.packages.wanted import wanted
from airflow_provider_wxbank.reporting.events import Event, PollFailed, PollMade
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidCredentials,
    Refusal,
    Refused,
    TryLater,
    Unauthorized,
    UnverifiedAnswer,
    WxBankError,
)

PACKAGE = "8473295"
REFUSED = Unauthorized(Refusal(401, "SIGN_ERROR", "x"))
PROCESSING = Poll(None, "file_1.csv", "1 task is processing", 1)
DONE = Poll((UploadTask("1", PACKAGE, "file_1.csv", status="FINISHED", success_count=3, fail_count=0),))


def run(seen: Sequence[Poll | WxBankError], looks: int = 0) -> tuple[Any, list[Any], list[Event]]:
    """What comes of some looks: the tasks, the failure or None; what was to be done; what was told."""
    told: list[Event] = []
    done: list[Any] = []
    waiting = wait(wanted(PACKAGE), told.append, looks=looks)
    answers = iter(seen)
    answer: Any = None
    while True:
        try:
            step = waiting.send(answer)
        except StopIteration as finished:
            return finished.value, done, told
        except WxBankError as failure:
            return failure, done, told
        done.append(step)
        answer = None
        if isinstance(step, Look):
            answer = next(answers, None)
            if answer is None:
                return None, done, told


def test_a_wait_looks_and_pauses_until_all_is_finished() -> None:
    tasks, done, told = run([PROCESSING, TryLater("x"), UnverifiedAnswer("y"), DONE])
    assert tasks == DONE.tasks
    assert [type(step) for step in done] == [Look, Pause, Look, Pause, Look, Pause, Look]
    # What was seen processing is asked for first, also after a look that failed.
    assert [step.watched for step in done if isinstance(step, Pause)] == ["file_1.csv"] * 3
    assert [step.looks for step in done if isinstance(step, Pause)] == [1, 2, 3]
    assert told == [
        PollMade(PACKAGE, None, 1, "1 task is processing"),
        PollFailed(PACKAGE, "x"),
        PollFailed(PACKAGE, "y"),
    ]


def test_whoever_has_looked_before_pauses_first() -> None:
    _, done, _ = run([DONE], looks=1)
    assert [type(step) for step in done] == [Pause, Look]


@pytest.mark.parametrize("failure", [InvalidCredentials("x"), Refused(Refusal(404, "RESOURCE_NOT_EXISTS", "x"))])
def test_what_waiting_does_not_mend_ends_the_wait(failure: WxBankError) -> None:
    assert run([PROCESSING, failure])[0] is failure


def test_a_refused_signature_ends_a_wait_that_has_seen_nothing_yet() -> None:
    assert run([REFUSED])[0] is REFUSED
    assert run([TryLater("x"), REFUSED])[0] is REFUSED


@pytest.mark.parametrize("looks", [0, 1])
def test_some_refused_signatures_are_waited_through_once_one_was_accepted(looks: int) -> None:
    """WeChat Pay can sign no 401: a gateway may have given it."""
    first = [] if looks else [PROCESSING]
    few = [REFUSED] * MAX_UNAUTHORIZED
    assert run([*first, *few, DONE], looks)[0] == DONE.tasks
    assert run([*first, *few, PROCESSING, *few, DONE], looks)[0] == DONE.tasks
    assert run([*first, *few, REFUSED, DONE], looks)[0] is REFUSED
    # An outage between them is no success.
    assert run([*first, REFUSED, TryLater("x"), *few, DONE], looks)[0] is REFUSED


def test_a_watch_gives_the_counts_each_time_and_pauses_after_them() -> None:
    watching = watch(PACKAGE, Known())
    assert isinstance(next(watching), Look)
    assert getattr(watching.send(DONE), "counts", None) == Counts(1, 3, 0, 0)
    assert isinstance(watching.send(None), Pause)
    assert isinstance(watching.send(None), Look)
    assert isinstance(watching.send(Poll(None, None, "no new task")), Pause)
