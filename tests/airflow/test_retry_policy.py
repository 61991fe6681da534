# SPDX-License-Identifier: Apache-2.0
"""Which failures are worth another try, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_wxbank._compat import HAS_RETRY_POLICIES
from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.packages.quota import seconds_to_next_day
from airflow_provider_wxbank.retry_policy import (
    AFTER_MIDNIGHT_SECONDS,
    WxBankRetryPolicy,
)
from airflow_provider_wxbank.sensors import TaskFinishedSensor
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidCredentials,
    InvalidInput,
    OutcomeUnknown,
    QuotaReached,
    RateLimited,
    Refusal,
    Refused,
    Replayed,
    TryLater,
    Unauthorized,
    UnsignedRefusal,
    UnverifiedAnswer,
    WaitFailed,
)

needs_policies = pytest.mark.skipif(not HAS_RETRY_POLICIES, reason="Airflow before 3.3 has no retry policies")
SIGNED = Refusal(404, "RESOURCE_NOT_EXISTS", "no such package", verified=True)
UNSIGNED = Refusal(403, "", "blocked by the gateway")


def decision(failure: BaseException, try_number: int = 1) -> tuple[str, timedelta | None]:
    decided = WxBankRetryPolicy().evaluate(failure, try_number, 5)
    return decided.action.value, decided.retry_delay


@needs_policies
@pytest.mark.parametrize(
    "failure",
    [InvalidInput("row 7"), InvalidCredentials("no key"), Refused(SIGNED), WaitFailed("few")],
    ids=lambda failure: type(failure).__name__,
)
def test_what_a_person_must_mend_fails_at_once(failure: BaseException) -> None:
    assert decision(failure) == ("fail", None)


@needs_policies
@pytest.mark.parametrize(
    "failure",
    [
        TryLater("down"),
        OutcomeUnknown("lost"),
        UnverifiedAnswer("forged"),
        Replayed("again"),
        UnsignedRefusal(UNSIGNED),
        Unauthorized(UNSIGNED),
        OSError("no disk"),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_what_may_pass_is_left_to_the_retries_of_the_task(failure: BaseException) -> None:
    assert decision(failure) == ("default", None)


@needs_policies
def test_a_limit_of_the_rate_is_waited_for_longer_each_time() -> None:
    for try_number, minutes in ((1, 5), (2, 10), (5, 25), (12, 60), (40, 60)):
        action, delay = decision(RateLimited("429"), try_number)
        assert action == "retry"
        assert delay is not None
        assert timedelta(minutes=minutes) <= delay <= timedelta(minutes=minutes * 1.2)


@needs_policies
def test_a_used_up_quota_is_waited_for_until_the_next_day_in_shanghai() -> None:
    before = datetime.now(UTC)
    action, delay = decision(QuotaReached("6,000 files"))
    assert action == "retry"
    assert delay is not None
    midnight = (before.astimezone(ZoneInfo("Asia/Shanghai")) + timedelta(days=1)).replace(hour=0, minute=0, second=0)
    earliest, latest = ((now + delay - midnight).total_seconds() for now in (before, datetime.now(UTC)))
    assert AFTER_MIDNIGHT_SECONDS[0] - 2 <= latest
    assert earliest <= AFTER_MIDNIGHT_SECONDS[1] + 2


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("2026-11-24T00:00:00+08:00", 86_400),
        ("2026-11-24T00:00:01+08:00", 86_399),
        ("2026-11-24T23:59:59+08:00", 1),
        ("2026-11-24T15:59:00+00:00", 60),
        ("2026-12-31T12:00:00-05:00", 23 * 3600),
    ],
)
def test_the_day_is_that_of_shanghai(moment: str, seconds: float) -> None:
    assert seconds_to_next_day(datetime.fromisoformat(moment).timestamp()) == seconds


def test_every_operator_has_the_policy_where_there_is_one() -> None:
    operators = [
        ExportUsersOperator(task_id="export", bank_type="ICBC_DEBIT", output_path="/tmp/out"),
        UploadTaskOperator(task_id="upload", package_id="8473295"),
        TaskFinishedSensor(task_id="finished", package_id="8473295"),
    ]
    for operator in operators:
        assert isinstance(getattr(operator, "retry_policy", None), WxBankRetryPolicy) is HAS_RETRY_POLICIES


@needs_policies
def test_a_policy_of_ones_own_is_kept() -> None:
    from airflow.providers.common.compat.sdk import ExceptionRetryPolicy

    own = ExceptionRetryPolicy(rules=[])
    operator = UploadTaskOperator(task_id="upload", package_id="8473295", retry_policy=own)
    assert operator.retry_policy is own
    with DAG("import", schedule=None, default_args={"retry_policy": own}):
        by_default = TaskFinishedSensor(task_id="finished", package_id="8473295")
    assert by_default.retry_policy is own
