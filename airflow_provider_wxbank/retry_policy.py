"""Which failures are worth another try of a task, and when (Airflow 3.3 and later)."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_wxbank.wechatpay.errors import (
    InvalidCredentials,
    InvalidInput,
    QuotaReached,
    RateLimited,
    Refused,
    Unauthorized,
    WaitFailed,
)
from airflow_provider_wxbank.wechatpay.quota import seconds_to_next_day

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, RetryDecision, RetryPolicy

    HAS_RETRY_POLICIES = True
else:
    try:
        from airflow.providers.common.compat.sdk import RetryDecision, RetryPolicy
    except ImportError:
        RetryPolicy = object
        HAS_RETRY_POLICIES = False
    else:
        HAS_RETRY_POLICIES = True

LIMITED_SECONDS = 5 * 60
"""After HTTP 429, for which the task has backed off already; so much more after each try."""

MAX_LIMITED_SECONDS = 60 * 60
AFTER_MIDNIGHT_SECONDS = (5 * 60, 20 * 60)
"""The daily quota counts from midnight; clocks differ a little, and tasks should not all start at once."""


class WxBankRetryPolicy(RetryPolicy):
    """Retries what can succeed, when it can; the operators and the sensor have it unless they are given another.

    ========================================================= ========================================================
    failure                                                   decision
    ========================================================= ========================================================
    ``InvalidInput``, ``InvalidCredentials``, ``WaitFailed``, fail at once: a person has to mend something
    and ``Refused``, but not ``Unauthorized``
    ``RateLimited``                                           retry after 5 minutes, 10 after the second try, and so on
                                                              up to an hour
    ``QuotaReached``                                          retry after midnight, Asia/Shanghai
    anything else                                             as the task's ``retries`` and ``retry_delay`` say
    ========================================================= ========================================================

    A retry counts against the task's ``retries``, as Airflow has it.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide; called by Airflow in the task's process."""
        name = type(exception).__name__
        if is_lasting(exception):
            return RetryDecision.fail(f"{name}: another try would meet it again")
        if isinstance(exception, QuotaReached):
            delay = timedelta(seconds=seconds_to_next_day(time.time()) + random.uniform(*AFTER_MIDNIGHT_SECONDS))  # noqa: S311  # no secret
            return RetryDecision.retry(delay, f"{name}: uploads are taken again from midnight, Asia/Shanghai")
        if isinstance(exception, RateLimited):
            seconds = min(LIMITED_SECONDS * try_number, MAX_LIMITED_SECONDS)
            delay = timedelta(seconds=seconds * random.uniform(1, 1.2))  # noqa: S311  # no secret
            return RetryDecision.retry(delay, f"{name}: WeChat Pay is asked again later")
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """It has no settings."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> WxBankRetryPolicy:
        """The other way round."""
        return cls()


def is_lasting(failure: BaseException) -> bool:
    """Whether the same task meets a failure again, however often it is run."""
    # WeChat Pay cannot sign a 401, so that it may be a proxy's, and pass.
    lasting = InvalidInput | InvalidCredentials | Refused | WaitFailed
    return isinstance(failure, lasting) and not isinstance(failure, Unauthorized)


def with_retry_policy(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments of an operator with our retry policy, unless they or the defaults in them name one.

    Where Airflow has no retry policies, they are left as they are.
    """
    # Airflow puts its defaults in only after this.
    named = (arguments, arguments.get("default_args") or {})
    if not HAS_RETRY_POLICIES or any(some.get("retry_policy") is not None for some in named):
        return arguments
    return {**arguments, "retry_policy": WxBankRetryPolicy()}
