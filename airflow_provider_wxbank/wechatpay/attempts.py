# SPDX-License-Identifier: Apache-2.0
"""One attempt at a call, observed: how it ended, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from airflow_provider_wxbank.reporting.events import CallMade, Observer
from airflow_provider_wxbank.wechatpay.calls import Call
from airflow_provider_wxbank.wechatpay.errors import QuotaReached, Refused, Unauthorized, WxBankError
from airflow_provider_wxbank.wechatpay.retries import Trouble


class Failed(Exception):
    """An attempt failed in a way that another may mend. It carries what to raise if there is no other."""

    def __init__(self, trouble: Trouble, error: WxBankError) -> None:
        super().__init__()
        self.trouble = trouble
        self.error = error
        self.cause = error.__cause__

    def last(self) -> WxBankError:
        """The error, to be raised since there is no other attempt; it is kept here no longer.

        While it is raised it holds this failure, and all frames between. If this held it too, only the collector could
        free them: in an outage thousands of times a minute, while everybody in the event loop waits.
        """
        error = self.error
        del self.error
        return error


class Attempt:
    """Tells of an attempt when its block ends; one that was cancelled is not told.

    :param clock: seconds that only grow.
    """

    def __init__(self, call: Call, tell: Observer, clock: Callable[[], float] = time.perf_counter) -> None:
        self._call = call
        self._tell = tell
        self._clock = clock
        self._started = clock()

    def sends(self) -> None:
        """Only now is it sent: until now it had to wait for others, or for its signature."""
        self._started = self._clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, failure: BaseException | None, trace: TracebackType | None) -> None:
        if failure is None or isinstance(failure, Exception):
            self._tell(CallMade(self._call.endpoint, _outcome(failure), self._clock() - self._started))


def _outcome(failure: Exception | None) -> str:
    if isinstance(failure, Failed):
        return failure.trouble.name.lower()
    kinds = ((QuotaReached, "quota_reached"), (Unauthorized, "unauthorized"), (Refused, "refused"))
    return "ok" if failure is None else next((name for kind, name in kinds if isinstance(failure, kind)), "failed")
