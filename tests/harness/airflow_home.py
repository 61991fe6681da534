# SPDX-License-Identifier: Apache-2.0
"""An isolated Airflow for the demo and the system tests: its environment, its database, its commands."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

STOP_SECONDS = 60.0


def environment(home: Path, dags: Path, connections: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The environment of commands in an isolated Airflow home, with connections as variables.

    :param connections: id to the JSON form of a connection.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        # Nothing of the caller's own Airflow, and no proxy, may reach the isolated one.
        if not name.startswith("AIRFLOW") and not name.lower().endswith("_proxy")
    }
    return {
        **kept,
        "AIRFLOW_HOME": str(home),
        # What tasks keep for the next one.
        "TMPDIR": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        # Airflow 2.11 warns of its own default.
        "AIRFLOW__METRICS__TIMER_UNIT_CONSISTENCY": "True",
        "NO_PROXY": "127.0.0.1,localhost",
        **{f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections.items()},
    }


def airflow(*arguments: str) -> list[str]:
    """An ``airflow`` command of this interpreter's own environment."""
    return [sys.executable, "-m", "airflow", *arguments]


@contextlib.contextmanager
def running(
    command: Sequence[str], env: Mapping[str, str], output: int | IO[str] = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """A process that never outlives the block, nor do its children: it leads a session of its own."""
    process = subprocess.Popen(
        command, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        # First as Ctrl-C does, so that it can clean up after itself: a database that it started is in another session.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if _group_is_gone(process.pid):
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        if process.stdout is not None:
            process.stdout.close()


def _group_is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def run(command: Sequence[str], env: Mapping[str, str]) -> tuple[int, str]:
    """Run a command to its end.

    :return: exit code, and what it printed.
    """
    with running(command, env) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        return process.wait(), output
