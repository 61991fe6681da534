# SPDX-License-Identifier: Apache-2.0
"""What WeChat Pay answers is read leniently where its pages differ, and refused where it makes no sense."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_wxbank.packages.tasks import parse_time, read_page, read_task
from airflow_provider_wxbank.wechatpay.calls import Answer, Call, parsed, target
from airflow_provider_wxbank.wechatpay.errors import UnverifiedAnswer
from airflow_provider_wxbank.wechatpay.refusals import read_refusal, shown_message
from airflow_provider_wxbank.wechatpay.retries import (
    MAX_ATTEMPTS,
    MAX_LIMITED_ATTEMPTS,
    Again,
    Trouble,
    next_attempt,
    pause,
)

BEIJING = timezone(timedelta(hours=8))
TASK = {"task_id": "101", "package_id": "8473295", "filename": "active_user.csv"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2020-05-20T13:29:35+08:00", datetime(2020, 5, 20, 13, 29, 35, tzinfo=BEIJING)),
        ("2020-05-20T13:29:35.120+08:00", datetime(2020, 5, 20, 13, 29, 35, 120_000, tzinfo=BEIJING)),
        ("2015-05-20T13:29:35.+08:00", datetime(2015, 5, 20, 13, 29, 35, tzinfo=BEIJING)),
        ("2020-05-20T05:29:35Z", datetime(2020, 5, 20, 5, 29, 35, tzinfo=UTC)),
        ("2020-05-20 13:29:35", datetime(2020, 5, 20, 13, 29, 35, tzinfo=BEIJING)),
        ("2020-05-20T13:29:35.123456789+0800", datetime(2020, 5, 20, 13, 29, 35, 123_456, tzinfo=BEIJING)),
        ("2020-13-20T13:29:35+08:00", None),
        ("yesterday", None),
        ("", None),
        (None, None),
        (7, None),
        ("2020-05-20T13:29:35" + "0" * 100, None),
    ],
)
def test_times_are_read_as_the_pages_show_them(text: object, expected: datetime | None) -> None:
    assert parse_time(text) == expected


@given(st.text(max_size=80))
def test_no_text_makes_reading_a_time_fail(text: str) -> None:
    assert parse_time(text) is None or isinstance(parse_time(text), datetime)


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)), st.integers(-14, 14))
def test_every_rfc_3339_time_is_read(moment: datetime, hours: int) -> None:
    moment = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    assert parse_time(moment.isoformat()) == moment


def test_only_what_the_pages_require_has_to_be_there() -> None:
    task = read_task({**TASK, "success_count": None, "something": "new"})
    assert (task.status, task.success_count, task.is_finished) == (None, None, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"task_id": 101},
        {"task_id": ""},
        {"filename": None},
        {"package_id": "8" * 300},
        {"success_count": "7"},
        {"success_count": -1},
        {"fail_count": True},
        {"status": 1},
    ],
)
def test_a_task_that_makes_no_sense_is_not_believed(changes: dict[str, Any]) -> None:
    with pytest.raises(UnverifiedAnswer):
        read_task({**TASK, **changes})


@pytest.mark.parametrize(
    "value", [None, [], "x", {}, {"total_count": "1"}, {"total_count": 1, "data": {}}, {"total_count": 1, "data": [1]}]
)
def test_a_page_that_makes_no_sense_is_not_believed(value: Any) -> None:
    with pytest.raises(UnverifiedAnswer):
        read_page(value)


def test_an_empty_page_may_leave_its_data_out() -> None:
    page = read_page({"total_count": 0, "offset": 0, "limit": 20})
    assert (page.tasks, page.total_count) == ((), 0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.slow
@given(json_values)
def test_no_json_makes_reading_a_page_fail_in_another_way(value: Any) -> None:
    for read in (read_page, read_task):
        with pytest.raises(UnverifiedAnswer):
            read(value)


@given(st.binary(max_size=300), st.integers(300, 599))
def test_any_error_answer_can_be_told(body: bytes, status: int) -> None:
    unsigned = UnverifiedAnswer("the answer is unsigned; a proxy or gateway may have answered")
    refusal = read_refusal(Call("GET", "/v3/x"), Answer(status, {}, body), unsigned)
    assert refusal.status == status
    assert "The answer is unsigned; a proxy or gateway may have answered" in str(refusal)


def test_the_value_that_was_refused_is_not_told() -> None:
    body = (
        '{"code":"PARAM_ERROR","message":"m","detail":{"field":"/x","value":"622588","issue":"bad","location":"body"}}'
    )
    refusal = read_refusal(Call("GET", "/v3/x"), Answer(400, {}, body.encode()))
    assert refusal.detail == "field: /x, location: body, issue: bad"
    assert "622588" not in str(refusal)


def test_a_signed_message_is_shown_without_its_body() -> None:
    shown = shown_message(b'POST\n/v3/x\n1\nN\n{"secret":1}\n')
    assert shown == "'POST\\n/v3/x\\n1\\nN' and a body of 12 bytes"


def test_an_answer_without_a_body_is_none() -> None:
    assert parsed(Answer(204, {}, b"")) is None
    with pytest.raises(UnverifiedAnswer):
        parsed(Answer(200, {}, b"<html>"))


def test_a_query_is_percent_encoded() -> None:
    assert target("/v3/x", {"filename": "a b+c.csv", "status": None}) == "/v3/x?filename=a%20b%2Bc.csv"


HALF = 0.5


def decide(trouble: Trouble, attempts: int = 1, repeatable: bool = True, other: bool = False) -> Again | None:
    return next_attempt(trouble, attempts, repeatable=repeatable, other_host_untried=other, random=lambda: HALF)


def test_what_was_perhaps_taken_is_repeated_only_if_that_is_harmless() -> None:
    unclear = [Trouble.TIMED_OUT, Trouble.BROKEN, Trouble.SERVER_ERROR, Trouble.UNVERIFIED]
    assert all(decide(trouble, repeatable=False) is None for trouble in unclear)
    assert all(decide(trouble) is not None for trouble in unclear)
    assert decide(Trouble.NOT_SENT, repeatable=False) is not None
    assert decide(Trouble.LIMITED, repeatable=False) is not None


def test_only_timeouts_and_missing_connections_change_the_host() -> None:
    changes = {trouble for trouble in Trouble if (again := decide(trouble, other=True)) and again.other_host}
    assert changes == {Trouble.NOT_SENT, Trouble.TIMED_OUT}
    assert decide(Trouble.TIMED_OUT, other=True) == Again(0.0, other_host=True)


def test_attempts_end() -> None:
    for trouble in Trouble:
        last = MAX_LIMITED_ATTEMPTS if trouble is Trouble.LIMITED else MAX_ATTEMPTS
        assert decide(trouble, last - 1) is not None
        assert decide(trouble, last) is None


def test_a_signature_probe_is_asked_again_at_once_and_then_with_pauses() -> None:
    assert decide(Trouble.UNVERIFIED, 1) == Again(0.0)
    again = decide(Trouble.UNVERIFIED, 2)
    assert again is not None
    assert again.pause > 0


@given(st.integers(1, 50), st.floats(0, 1, exclude_max=True))
def test_pauses_are_bounded(attempts: int, random: float) -> None:
    assert 0.25 <= pause(attempts, random) <= 20.0
