# SPDX-License-Identifier: Apache-2.0
"""How a step's failure becomes an event."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    TaskDeferred,
    redact,
)

from airflow_provider_wxbank.reporting.events import Failed, FailureKind, Observer, Step
from airflow_provider_wxbank.reporting.fields import MAX_TEXT
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidCredentials,
    InvalidInput,
    Refused,
    TryLater,
    UnverifiedAnswer,
    WaitFailed,
    WxBankError,
    is_lasting,
)

_KINDS: tuple[tuple[type[BaseException], FailureKind], ...] = (
    # First, since an Unauthorized is a Refused, too, and it is the connection that has to be corrected.
    (InvalidCredentials, "InvalidCredentials"),
    (InvalidInput, "InvalidInput"),
    (Refused, "Refused"),
    (TryLater, "TryLater"),
    (UnverifiedAnswer, "UnverifiedAnswer"),
    (WaitFailed, "WaitFailed"),
    (AirflowSensorTimeout, "Timeout"),
    (AirflowTaskTimeout, "Timeout"),
)

_GOES_ON = (TaskDeferred, AirflowRescheduleException, AirflowSkipException)
"""With these a task tells Airflow what it does next."""


@contextmanager
def failing(step: Step, tell: Observer) -> Iterator[None]:
    """Tell of what fails inside, and let it fail."""
    try:
        yield
    except _GOES_ON:
        raise
    # Airflow's timeouts are no Exceptions.
    except (Exception, AirflowTaskTimeout) as failure:
        tell(failed(step, failure))
        raise


def failed(step: Step, failure: BaseException) -> Failed:
    """What observers are told of a failure. Errors that are not ours may quote anything, so theirs is not told."""
    kind: FailureKind = next((kind for of, kind in _KINDS if isinstance(failure, of)), "Other")
    text = str(redact(str(failure))) if isinstance(failure, WxBankError) else None
    if text is not None and len(text) > MAX_TEXT:
        text = f"{text[: MAX_TEXT - 1]}…"
    return Failed(step, type(failure).__name__, kind, text, is_lasting(failure))
