# SPDX-License-Identifier: Apache-2.0
"""What hooks return goes from one task to the next, in a real Airflow and with its usual configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.conftest import PACKAGE, NewSimulator, numbers

NewAirflow = Callable[..., Any]

DAG = '''
"""Tasks of a package in one task, what is to be told of them in the next."""

from airflow.providers.common.compat.sdk import dag, task

from airflow_provider_wxbank.hooks import WxBankHook


@dag(schedule=None)
def wxbank_tasks():
    @task
    def of_package():
        return WxBankHook().list_tasks("PACKAGE")

    @task
    def page_of_package():
        return WxBankHook().list_tasks_page("PACKAGE", limit=2)

    @task
    def told(tasks, page):
        for one in tasks:
            print(f"told: {one.filename} {one.is_finished} {one.success_count} {one.create_time.utcoffset()}")
        assert set(page.tasks) <= set(tasks)
        print(f"told: {len(page.tasks)} of {page.total_count}")

    told(of_package(), page_of_package())


wxbank_tasks()
'''


def test_upload_tasks_go_from_task_to_task(
    new_simulator: NewSimulator, new_forked_airflow: NewAirflow, connect: Callable[..., None]
) -> None:
    from airflow_provider_wxbank.hooks import WxBankHook

    simulator = new_simulator()
    airflow = new_forked_airflow(simulator)
    connect(simulator)
    hook = WxBankHook()
    for name in ("one.csv", "two.csv", "three.csv"):
        lines = "".join(f"{hook.encrypt(number)}\n" for number in numbers(3))
        hook.create_task(PACKAGE, lines.encode(), "ICBC_DEBIT", name)
    airflow.dags.mkdir(exist_ok=True)
    (airflow.dags / "wxbank_tasks.py").write_text(DAG.replace("PACKAGE", PACKAGE))
    code, output = airflow.test_dag("wxbank_tasks")
    assert code == 0, output[-5000:]
    for name in ("one.csv", "two.csv", "three.csv"):
        assert f"told: {name} True 3 8:00:00" in output
    assert "told: 2 of 3" in output
