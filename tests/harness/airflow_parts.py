# SPDX-License-Identifier: Apache-2.0
"""An Airflow in a home of its own, whose parts can be killed.

They are started one by one, each the leader of a session of its own, so that the triggerer can be killed and started
again, and so that everything that a part started can be found: Airflow gives each task a process group.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import requests

from tests.harness.airflow_home import airflow, environment, run, running
from tests.harness.ports import free_ports
from tests.harness.waiting import PATIENCE, until

READY_SECONDS = PATIENCE


@dataclass(frozen=True, slots=True)
class Instance:
    """A task instance, as Airflow's database has it."""

    map_index: int
    try_number: int
    state: str | None
    pid: int | None


class Airflow:
    """The parts of an Airflow; nothing of them is left when the block ends."""

    def __init__(
        self,
        folder: Path,
        conns: Mapping[str, Any],
        pids: list[int],
        settings: Mapping[str, str] | None = None,
        *,
        port: int | None = None,
        sign_in: tuple[str, str] | None = None,
    ) -> None:
        """Nothing is started yet.

        :param pids: takes the processes that were started; each part leads a session.
        :param settings: more variables of the environment.
        :param port: of the API server; None for a free one.
        :param sign_in: user name and password for the REST API; None if everybody is an admin.
        """
        self._folder = folder
        self._pids = pids
        self.parts: dict[int, str] = {}
        """Pids of the parts that were started, each the leader of a session, and what they are."""
        self._stack = contextlib.ExitStack()
        self._triggerer: subprocess.Popen[str] | None = None
        self._triggerer_stack = contextlib.ExitStack()
        self._sign_in = sign_in
        port = port or free_ports(1)[0]
        self.url = f"http://127.0.0.1:{port}"
        self._session = requests.Session()
        self._session.trust_env = False
        self.env: Mapping[str, str] = {
            **environment(folder / "home", folder / "dags", conns),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "50",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            # A triggerer that was killed is given up after so many seconds, and its triggers go to the next.
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
            **(settings or {}),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._triggerer_stack.close()
        self._stack.close()
        self._session.close()

    def write_dags(self, text: str) -> None:
        """Write a file of DAGs."""
        (self._folder / "dags").mkdir()
        (self._folder / "dags" / "crash.py").write_text(text)

    def start(self, dag_id: str) -> None:
        """Start everything, and wait until it is healthy and knows a DAG."""
        code, output = run(airflow("db", "migrate"), self.env)
        if code:
            raise RuntimeError(f"airflow db migrate failed: {output[-2000:]}")
        for name in ("api-server", "scheduler", "dag-processor"):
            self.start_part(name)
        self.start_triggerer()
        try:
            until(self._is_ready, READY_SECONDS, "Airflow is not ready")
        except TimeoutError as failure:
            logs = sorted(self._folder.glob("*.log"))
            raise TimeoutError(
                "\n".join([str(failure), *(f"{log.name}: {log.read_text()[-1500:]}" for log in logs)])
            ) from None
        self._session.headers["Authorization"] = f"Bearer {self.token(self._sign_in)}"
        until(lambda: self._knows(dag_id), READY_SECONDS, f"Airflow does not know {dag_id}")

    def token(self, sign_in: tuple[str, str] | None) -> str:
        """A token for the REST API.

        :param sign_in: user name and password; None if everybody is an admin.
        """
        if sign_in is None:
            answer = self._session.get(f"{self.url}/auth/token", timeout=PATIENCE)
        else:
            credentials = dict(zip(("username", "password"), sign_in, strict=True))
            answer = self._session.post(f"{self.url}/auth/token", json=credentials, timeout=PATIENCE)
        answer.raise_for_status()
        token: str = answer.json()["access_token"]
        return token

    def _is_ready(self) -> bool:
        try:
            health = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=60).json()
        except (requests.RequestException, ValueError):
            return False
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all(health[part]["status"] == "healthy" for part in parts)

    def _knows(self, dag_id: str) -> bool:
        return self._session.get(f"{self.url}/api/v2/dags/{dag_id}", timeout=PATIENCE).ok

    def start_part(self, name: str, *command: str) -> int:
        """Start a part, which leads a session; its pid.

        :param command: of ``airflow``; default the name.
        """
        process = self._stack.enter_context(self._part(name, *command))
        return process.pid

    def start_triggerer(self) -> None:
        """Start the triggerer."""
        self._triggerer = self._triggerer_stack.enter_context(self._part("triggerer"))

    def kill_triggerer(self) -> None:
        """End the triggerer and what it started, with SIGKILL."""
        assert self._triggerer is not None
        end_session(self._triggerer.pid)
        self._triggerer_stack.close()

    @contextlib.contextmanager
    def _part(self, name: str, *command: str) -> Iterator[subprocess.Popen[str]]:
        # Servers of logs would listen on every address.
        skip = ["--skip-serve-logs"] if name in ("scheduler", "triggerer") else []
        arguments = airflow(*(command or (name, *skip)))
        with (self._folder / f"{name}.log").open("a") as log, running(arguments, self.env, log) as process:
            self._pids.append(process.pid)
            self.parts[process.pid] = name
            try:
                yield process
            finally:
                # What is in process groups of its own, too.
                end_session(process.pid)

    def trigger(self, dag_id: str, **params: Any) -> str:
        """Start a run of a DAG; its id."""
        run_id: str = self.post(f"dags/{dag_id}/dagRuns", {"logical_date": None, "conf": params})["dag_run_id"]
        return run_id

    def post(self, path: str, value: Mapping[str, Any]) -> Any:
        """What the REST API answers to a POST.

        :param path: below ``/api/v2/``.
        """
        answer = self._session.post(f"{self.url}/api/v2/{path}", json=value, timeout=PATIENCE)
        answer.raise_for_status()
        return answer.json()

    def get(self, path: str, **params: Any) -> Any:
        """What the REST API answers.

        :param path: below ``/api/v2/``.
        """
        answer = self._session.get(f"{self.url}/api/v2/{path}", params=params, timeout=PATIENCE)
        answer.raise_for_status()
        return answer.json()

    def instances(self, dag_id: str) -> list[Instance]:
        """The mapped task instances of a DAG."""
        query = "SELECT map_index, try_number, state, pid FROM task_instance WHERE dag_id = ? AND map_index >= 0"
        return [Instance(*row) for row in self._select(f"{query} ORDER BY map_index", dag_id)]

    def results(self, dag_id: str) -> list[Any]:
        """What the mapped task instances of a DAG returned."""
        query = "SELECT value FROM xcom WHERE dag_id = ? AND key = 'return_value' AND map_index >= 0"
        values = [value for (value,) in self._select(f"{query} ORDER BY map_index", dag_id)]
        while any(isinstance(value, str) and value[:1] in '{"' for value in values):
            values = [json.loads(value) for value in values]
        return values

    def _select(self, query: str, *values: object) -> list[Any]:
        uri = f"file:{self._folder}/home/airflow.db?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE)) as database:
            return database.execute(query, values).fetchall()


def end_session(leader: int) -> None:
    """End every process of a session with SIGKILL, whatever its process group is."""

    def is_gone() -> bool:
        shown = subprocess.run(["ps", "-eo", "pid=,sess=,stat="], capture_output=True, text=True, check=True).stdout
        members = [line.split() for line in shown.splitlines()]
        alive = [int(pid) for pid, session, stat in members if session == str(leader) and not stat.startswith("Z")]
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not alive

    until(is_gone, PATIENCE, f"session {leader} is not gone")
