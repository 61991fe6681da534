# SPDX-License-Identifier: Apache-2.0
"""Processes that execute an operator, as the process of a task does.

Each makes the operator and calls its ``execute``. It is forked from a process that has imported Airflow and the
operators already, as LocalExecutor forks a task's process, and can be ended with SIGKILL at a moment.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from airflow_provider_wxbank.agreements import manifest as manifests
from airflow_provider_wxbank.simulator import Simulator
from tests.harness.bank import Bank, make_bank
from tests.harness.waiting import PATIENCE

BANK_TYPE = "ICBC_DEBIT"
DAG_ID = "crash"
WORKERS = 4
"""Uploads at a time."""

TRY_SECONDS = PATIENCE
"""Seconds after which a run counts as hung."""

PRELOADED = [
    "tests.stress.crash_runs",
    "airflow_provider_wxbank.operators",
    "airflow_provider_wxbank.sensors",
    # What they import when they are executed; a module that this Airflow does not have is left out.
    "airflow.providers.amazon.aws.hooks.s3",
    "airflow.providers.sqlite.hooks.sqlite",
    "airflow.sdk.execution_time.supervisor",
]

_FORK = multiprocessing.get_context("forkserver")


class Moment(Protocol):
    """When to kill."""

    def has_come(self) -> bool:
        """Whether it is now or past."""


def bank_of(path: Path, rows: int) -> Bank:
    """A bank with so many users, all of them active."""
    return make_bank(path, [(f"6225880137{index:08d}", True) for index in range(rows)])


def export_arguments(folder: Path, rows_per_file: int, prefix: str) -> dict[str, Any]:
    """The arguments of an ExportUsersOperator."""
    return {
        "sql": "SELECT agreement_no FROM users ORDER BY agreement_no",
        "sql_conn_id": "bank_db",
        "output_path": str(folder),
        "bank_type": BANK_TYPE,
        "max_rows_per_file": rows_per_file,
        "prefix": prefix,
    }


def upload(folder: Path, package_id: str) -> dict[str, Any]:
    """The arguments of an UploadTaskOperator."""
    return {"manifest": str(folder / manifests.NAME), "package_id": package_id, "max_workers": WORKERS}


def connections(simulator: Simulator, bank: Bank) -> dict[str, dict[str, Any]]:
    """The Airflow connections of a run."""
    return {"wxbank_default": simulator.airflow_connection(), "bank_db": bank.connection}


Ended = tuple[str, Any]
"""``done`` and the result, ``failed`` and the message, ``died``, ``killed`` or ``hung``."""


class Runs:
    """Starts runs of the operators in processes; none is left when the block ends."""

    def __init__(self, log: Path, conns: Mapping[str, Mapping[str, Any]]) -> None:
        self._log = log
        self._variables = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in conns.items()}
        self.pids: list[int] = []
        _FORK.set_forkserver_preload(PRELOADED)

    def run(
        self,
        operator: str,
        arguments: Mapping[str, Any],
        moment: Moment | None = None,
        kill: Callable[[Callable[[], None]], None] = lambda kill: kill(),
    ) -> Ended:
        """Run an operator to its end, or until the moment to kill it has come.

        :param kill: calls what it is given, which kills.
        """
        pipe, theirs = _FORK.Pipe(duplex=False)
        process = _FORK.Process(
            target=execute, args=(operator, dict(arguments), self._variables, str(self._log), theirs), daemon=True
        )
        process.start()
        theirs.close()
        assert process.pid is not None
        self.pids.append(process.pid)

        def end() -> None:
            process.kill()
            process.join(TRY_SECONDS)

        deadline = time.monotonic() + TRY_SECONDS
        try:
            while time.monotonic() < deadline:
                if pipe.poll(0.001):
                    return self._received(pipe, process)
                if moment is not None and moment.has_come() and process.is_alive():
                    kill(end)
                    # What was sent before the kill came is how it ended.
                    return ("killed", None) if not pipe.poll(0) else self._received(pipe, process, "killed")
            return "hung", None
        finally:
            end()
            process.close()
            pipe.close()

    @staticmethod
    def _received(pipe: Connection, process: Any, otherwise: str = "died") -> Ended:
        try:
            ended: Ended = pipe.recv()
        except EOFError:
            return otherwise, None
        process.join(TRY_SECONDS)
        return ended

    @staticmethod
    def stop() -> None:
        """End the process that runs are forked from."""
        forkserver._forkserver._stop()  # type: ignore[attr-defined]  # it has no public end


def execute(operator: str, arguments: dict[str, Any], variables: Mapping[str, str], log: str, pipe: Connection) -> None:
    """What a task's process does: make the operator, and execute it."""
    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.environ.update(variables)
    from airflow_provider_wxbank import operators, sensors
    from airflow_provider_wxbank.wechatpay.errors import WxBankError

    context: Any = {"ti": SimpleNamespace(dag_id=DAG_ID, run_id="manual", task_id="export", map_index=-1)}
    try:
        kind = getattr(operators, operator, None) or getattr(sensors, operator)
        result = kind(task_id="task", **arguments).execute(context)
    except WxBankError as failure:
        pipe.send(("failed", f"{type(failure).__name__}: {failure}"))
    else:
        pipe.send(("done", result))
    sys.stdout.flush()
