# SPDX-License-Identifier: Apache-2.0
"""Waits of one event loop read once what several of them need."""

from __future__ import annotations

import asyncio

from airflow_provider_wxbank.packages.shared import shared_by
from airflow_provider_wxbank.packages.wait import Look, wait
from airflow_provider_wxbank.packages.wanted import wanted
from airflow_provider_wxbank.simulator import Simulator
from airflow_provider_wxbank.simulator.checks import Meta
from airflow_provider_wxbank.simulator.ledger import Task
from airflow_provider_wxbank.wechatpay.settings import Settings, read_settings
from tests.conftest import PACKAGE

WAITS = 60


def settings_of(simulator: Simulator) -> Settings:
    connection = simulator.airflow_connection()
    return read_settings(connection["login"], connection["password"], connection["host"], connection["extra"])


def test_tasks_that_one_wait_has_read_are_not_read_by_another(simulator: Simulator) -> None:
    ledger = simulator.app.ledger.packages.setdefault(PACKAGE, {})
    for index in range(1000):
        meta = Meta(f"file_{index:04d}.csv", "", "ICBC_DEBIT")
        ledger[meta.filename] = Task(f"9{index:04d}", PACKAGE, meta, 10, 3450, "1", 1_700_000_000.0 + 60 * index)
    settings = settings_of(simulator)

    async def one(task_id: str) -> str:
        async with shared_by(settings) as shared:
            waiting = wait(wanted(PACKAGE, [task_id]))
            step = next(waiting)
            assert isinstance(step, Look)
            seen = await shared.looked(step, PACKAGE, 60.0)
        assert not isinstance(seen, Exception)
        assert seen is not None
        (task,) = seen.tasks or ()
        return task.task_id

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(one(f"9{index:04d}") for index in range(1000 - WAITS, 1000)))

    assert asyncio.run(all_of_them()) == [f"9{index:04d}" for index in range(1000 - WAITS, 1000)]
    requests = simulator.report()["requests"]
    assert requests["certificates"] == 1
    # What is processing, and the list from its newer end, in part again by those who need more of it.
    assert requests["list"] <= 1 + 3 * (WAITS // 20 + 2)
