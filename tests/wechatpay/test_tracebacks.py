# SPDX-License-Identifier: Apache-2.0
"""A failure leaves the package with its traceback, and without the values that its functions had."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest

from airflow_provider_wxbank.wechatpay.tracebacks import forgets_locals

NUMBER = "202400000000000001"


def inner(number: str) -> None:
    held = [number]
    raise ValueError(f"row {len(held)}")


def chained(number: str) -> None:
    try:
        inner(number)
    except ValueError as failure:
        raise KeyError("again") from failure


def grouped(number: str) -> None:
    try:
        inner(number)
    except ValueError as failure:
        raise ExceptionGroup("several", [failure])  # noqa: B904  # its member is the cause


@pytest.mark.parametrize("function", [inner, chained, grouped])
def test_a_failure_holds_no_local_variables(function: Callable[[str], None]) -> None:
    with pytest.raises((ValueError, KeyError, ExceptionGroup)) as raised:
        forgets_locals(function)(NUMBER)
    told = "".join(traceback.TracebackException.from_exception(raised.value, capture_locals=True).format())
    here = told.count(f"NUMBER = {NUMBER!r}")
    assert told.count(NUMBER) == here
    assert f"in {function.__name__}" in told
    assert "held[0]" not in told


def test_what_a_function_returns_or_raises_is_its_own() -> None:
    assert forgets_locals(len)("abc") == 3
    with pytest.raises(ZeroDivisionError, match="by zero"):
        forgets_locals(divmod)(1, 0)
