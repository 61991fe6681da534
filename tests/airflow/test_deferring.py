# SPDX-License-Identifier: Apache-2.0
"""What a deferrable sensor hands to the triggerer of the arguments that every sensor has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.sensors import TaskFinishedSensor
from airflow_provider_wxbank.simulator import Simulator
from airflow_provider_wxbank.triggers import TaskFinishedTrigger
from tests.airflow.conftest import context
from tests.conftest import PACKAGE, NewSimulator

Connect = Callable[..., None]
POLLS = 7


@pytest.fixture
def processing(new_simulator: NewSimulator, connect: Connect) -> Simulator:
    """A package with a task that is not finished for an hour."""
    simulator = new_simulator(processing_seconds=3600.0)
    connect(simulator)
    hook = WxBankHook()
    hook.create_task(PACKAGE, f"{hook.encrypt('20240001')}\n".encode(), "ICBC_DEBIT", "one.csv")
    return simulator


def deferred(**options: Any) -> dict[str, Any]:
    """The arguments of the trigger that a sensor defers to, as Airflow stores them."""
    sensor = TaskFinishedSensor(task_id="finished", package_id=PACKAGE, deferrable=True, **options)
    with pytest.raises(TaskDeferred) as raised:
        sensor.execute(context())
    arguments: dict[str, Any] = raised.value.trigger.serialize()[1]
    return arguments


def pauses(monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]) -> list[float]:
    """How long a trigger sleeps before each of its first polls; no time passes."""
    slept: list[float] = []
    sleep, loops = asyncio.sleep, []

    async def note(seconds: float, *result: Any) -> None:
        # The simulator's server has a loop of its own, in which time passes.
        if asyncio.get_running_loop() not in loops:
            return await sleep(seconds, *result)
        slept.append(seconds)
        if len(slept) > POLLS:
            raise TimeoutError
        return await sleep(0)

    async def wait() -> None:
        loops.append(asyncio.get_running_loop())
        with pytest.raises(TimeoutError):
            await anext(TaskFinishedTrigger(**arguments).run())

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "sleep", note)
        asyncio.run(wait())
    return slept[:POLLS]


@pytest.mark.usefixtures("processing")
def test_a_deferred_wait_backs_off_as_its_sensor_says(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = pauses(monkeypatch, deferred(poke_interval=60, exponential_backoff=True))
    for polls, seconds in enumerate(slept, start=1):
        assert 60 * 2 ** (polls - 2) <= seconds <= 60 * 2 ** (polls - 1)


@pytest.mark.usefixtures("processing")
@pytest.mark.parametrize("max_wait", [300, 300.0, timedelta(minutes=5)])
def test_a_deferred_wait_sleeps_no_longer_than_max_wait(monkeypatch: pytest.MonkeyPatch, max_wait: Any) -> None:
    slept = pauses(monkeypatch, deferred(poke_interval=60, exponential_backoff=True, max_wait=max_wait))
    assert slept[0] <= 60
    assert all(270 <= seconds <= 300 for seconds in slept[4:])


@pytest.mark.usefixtures("processing")
def test_a_deferred_wait_that_backs_off_looks_again_before_its_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.time()
    arguments = deferred(poke_interval=60, exponential_backoff=True, timeout=1000)
    assert before + 1000 <= arguments["deadline"] <= time.time() + 1000
    assert max(pauses(monkeypatch, arguments)) <= 900


@pytest.mark.usefixtures("processing")
def test_without_backing_off_the_interval_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = pauses(monkeypatch, deferred(poke_interval=60, max_wait=5))
    assert all(54 <= seconds <= 66 for seconds in slept[1:])


@pytest.mark.usefixtures("processing")
def test_a_wait_that_an_older_version_deferred_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    older = {
        "package_id": PACKAGE, "task_ids": None, "filenames": None, "poll_interval": 60.0,
        "wxbank_conn_id": "wxbank_default",
    }  # fmt: skip
    assert older.items() <= deferred(poke_interval=60).items()
    assert all(54 <= seconds <= 66 for seconds in pauses(monkeypatch, older)[1:])
