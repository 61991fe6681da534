# SPDX-License-Identifier: Apache-2.0
"""Decides which failures are worth another try of a task, and when (Airflow 3.3 and later)."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_wxbank._compat import HAS_RETRY_POLICIES, RetryDecision, RetryPolicy
from airflow_provider_wxbank.packages.quota import seconds_to_next_day
from airflow_provider_wxbank.wechatpay.errors import QuotaReached, RateLimited, is_lasting

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

LIMITED_SECONDS = 5 * 60
"""The pause after HTTP 429, for which the task has backed off already. After each try it is longer by as much."""

MAX_LIMITED_SECONDS = 60 * 60
AFTER_MIDNIGHT_SECONDS = (5 * 60, 20 * 60)
"""The daily quota counts from midnight. Clocks differ a little, and tasks should not all start at once."""


class WxBankRetryPolicy(RetryPolicy):
    """Retries what can succeed, when it can. The operators and the sensor have it unless they are given another one.

    ========================================================= ========================================================
    failure                                                   decision
    ========================================================= ========================================================
    ``InvalidInput``, ``InvalidCredentials``, ``WaitFailed``, fail at once: a person has to correct something
    and ``Refused``, but not ``Unauthorized``
    ``RateLimited``                                           retry after 5 minutes, 10 after the second try, and so on
                                                              up to an hour; each is up to a fifth longer
    ``QuotaReached``                                          retry after midnight, Asia/Shanghai
    anything else                                             as the task's ``retries`` and ``retry_delay`` say
    ========================================================= ========================================================

    A retry counts against the task's ``retries``, as always in Airflow.
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
        """The settings, of which there are none."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> WxBankRetryPolicy:
        """The policy again."""
        return cls()


def with_retry_policy(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of an operator with our retry policy, unless they or their ``default_args`` name one.

    Where Airflow has no retry policies, the arguments stay as they are.
    """
    # Airflow merges the defaults into the arguments only after this.
    named = (arguments, arguments.get("default_args") or {})
    if not HAS_RETRY_POLICIES or any(some.get("retry_policy") is not None for some in named):
        return arguments
    return {**arguments, "retry_policy": WxBankRetryPolicy()}
