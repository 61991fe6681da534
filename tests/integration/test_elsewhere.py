"""How often WeChat Pay is asked about packages that were filled elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.simulator import Fault
from airflow_provider_wxbank.ui.elsewhere import Packages
from airflow_provider_wxbank.wechatpay.errors import TryLater
from tests.conftest import PACKAGE, NewSimulator, numbers

INTERVAL = 60.0
PROCESSING = 100.0


def upload(first: int, files: int) -> None:
    """Fill the package as someone else would, a number a file."""
    hook = WxBankHook()
    with closing(hook.get_conn()):
        for index, number in enumerate(numbers(files, first), first):
            hook.create_task(PACKAGE, f"{hook.encrypt(number)}\n".encode(), "ICBC_DEBIT", f"elsewhere-{index:03}.csv")


def test_a_list_is_read_once_and_watched_with_one_call_a_minute(
    new_simulator: NewSimulator, connect: Callable[..., None]
) -> None:
    theirs, ours = [0.0], [0.0]
    simulator = new_simulator(processing_seconds=PROCESSING, clock=lambda: time.time() + theirs[0])
    connect(simulator)
    packages = Packages(INTERVAL, lambda: ours[0])
    upload(0, 45)

    def look(seconds: float) -> tuple[int, Any]:
        """The calls that a look costs some seconds later, and what it shows."""
        ours[0] += seconds
        before = simulator.report()["requests"]["list"]
        listed = packages.listed("wxbank_default", PACKAGE)
        return simulator.report()["requests"]["list"] - before, listed

    calls, listed = look(0.0)
    assert (calls, len(listed.tasks), listed.processing) == (3, 45, 45)  # 20 a call
    assert look(INTERVAL - 1)[0] == 0
    assert look(1)[0] == 1
    theirs[0] = PROCESSING + 1
    calls, listed = look(INTERVAL)
    assert (calls, listed.processing, listed.tasks[0].success_count) == (1 + 3, 0, 1)
    assert look(INTERVAL)[0] == 1
    upload(45, 1)
    calls, listed = look(INTERVAL)
    assert (calls, len(listed.tasks), listed.processing) == (1 + 3, 46, 1)


def test_what_failed_is_not_asked_again_before_its_time(
    new_simulator: NewSimulator, connect: Callable[..., None]
) -> None:
    simulator = new_simulator()
    connect(simulator)
    now = [0.0]
    packages = Packages(INTERVAL, lambda: now[0])
    upload(0, 1)
    simulator.add_fault(Fault("unavailable", on="list"))
    with pytest.raises(TryLater):
        packages.listed("wxbank_default", PACKAGE)
    asked = simulator.report()["requests"]["list"]
    with pytest.raises(TryLater):
        packages.listed("wxbank_default", PACKAGE)
    assert simulator.report()["requests"]["list"] == asked
