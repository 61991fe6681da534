# SPDX-License-Identifier: Apache-2.0
"""The commands as processes of their own: in Airflow's command line, and on a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_wxbank.simulator import Simulator
from tests.conftest import PACKAGE, NewClient, NewSimulator, numbers
from tests.harness.airflow_home import airflow
from tests.harness.files import outgoing_file
from tests.harness.waiting import PATIENCE

NewAirflow = Callable[..., Any]

MODULE = [sys.executable, "-m", "airflow_provider_wxbank"]
HAS_PROVIDER_COMMANDS = tuple(map(int, metadata.version("apache-airflow").split(".")[:2])) >= (3, 2)


@pytest.fixture
def processing(new_simulator: NewSimulator, new_client: NewClient) -> Simulator:
    """A simulator whose package has two tasks that are processing."""
    from airflow_provider_wxbank.packages.upload_once import upload_once

    simulator = new_simulator(processing_seconds=1000.0)
    client = new_client(simulator)
    for index in range(2):
        upload_once(client, PACKAGE, outgoing_file(client, index))
    return simulator


def store(home: Any, conn_id: str, connection: dict[str, Any]) -> None:
    """Put a connection into Airflow's database, as it is there without a Fernet key."""
    database = sqlite3.connect(home / "airflow.db")
    with database:
        database.execute(
            "INSERT INTO connection (conn_id, conn_type, host, login, password, extra, is_encrypted,"
            " is_extra_encrypted) VALUES (?, ?, ?, ?, ?, ?, 0, 0)",
            (
                conn_id,
                *(connection[name] for name in ("conn_type", "host", "login", "password")),
                json.dumps(connection["extra"]),
            ),
        )
    database.close()


def test_a_connection_in_the_database_of_airflow_is_used_and_stdout_is_the_result(
    processing: Simulator, new_airflow: NewAirflow
) -> None:
    made = new_airflow(processing)
    store(made.home, "wxbank_stored", processing.airflow_connection())
    command = airflow("wxbank") if HAS_PROVIDER_COMMANDS else MODULE
    ended = subprocess.run(
        [*command, "tasks", PACKAGE, "--wxbank-conn-id", "wxbank_stored", "--output", "json", "--verbose"],
        env=made.env, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert [task["filename"] for task in json.loads(ended.stdout)] == ["file_00000.csv", "file_00001.csv"]


@contextmanager
def on_terminal(command: list[str], env: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process on a terminal of 80 columns, and the terminal's other end."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        command, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, preexec_fn=take_terminal
    )
    os.close(theirs)
    try:
        yield process, ours
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(terminal: int, text: str | None) -> str:
    """What comes on a terminal until a text comes, or until its end; without colours."""
    seen, deadline = b"", time.monotonic() + PATIENCE
    while text is None or text not in _plain(seen):
        assert select.select([terminal], [], [], deadline - time.monotonic())[0], _plain(seen)
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # so Linux tells the end
            piece = b""
        if not piece:
            break
        seen += piece
    return _plain(seen)


def _plain(seen: bytes) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode("utf-8", "replace"))


def test_waiting_shows_a_bar_on_a_terminal_and_ends_quietly_on_ctrl_c(
    processing: Simulator, new_airflow: NewAirflow
) -> None:
    env = {**new_airflow(processing).env, "TERM": "xterm"}
    with on_terminal([*MODULE, "wait", PACKAGE, "--poke-interval", "600"], env) as (process, terminal):
        shown = read_until(terminal, "0/2 tasks")
        assert f"Package {PACKAGE}" in shown
        os.write(terminal, b"\x03")
        rest = read_until(terminal, None)
        assert process.wait(PATIENCE) == 130
    assert not re.search("traceback|error|interrupt", shown + rest, re.IGNORECASE)


def upload_of_12(folder: Path) -> list[str]:
    """The command that uploads 12 numbers."""
    users = folder / "users.csv"
    users.write_text("".join(f"{number}\n" for number in numbers(12)))
    return [*MODULE, "upload", PACKAGE, "--file", str(users), "--bank-type", "ICBC_DEBIT"]


@pytest.mark.parametrize(("answer", "code", "files"), [("y", 0, 1), ("n", 11, 0), ("", 11, 0)], ids=["y", "n", "Enter"])
def test_an_upload_asks_on_a_terminal_before_it_sends_anything(
    simulator: Simulator, new_airflow: NewAirflow, tmp_path: Path, answer: str, code: int, files: int
) -> None:
    with on_terminal(upload_of_12(tmp_path), {**new_airflow(simulator).env, "TERM": "xterm"}) as (process, terminal):
        asked = " ".join(read_until(terminal, "[y/N]").split())
        assert f"Upload 1 file with 12 numbers of ICBC_DEBIT into package {PACKAGE} (merchant 1900000001, " in asked
        assert "It has no upload task yet. This cannot be undone" in asked
        assert "numbers can never be taken out of a package again" in asked
        assert simulator.report()["requests"]["upload"] == 0
        os.write(terminal, f"{answer}\n".encode())
        rest = read_until(terminal, None)
        assert process.wait(PATIENCE) == code
    assert simulator.report()["accepted_uploads"] == files
    assert ("1/1 files" in rest) == (code == 0)
    assert ("nothing was uploaded: the answer was not y" in rest) == (code == 11)


@pytest.mark.parametrize(("answer", "code"), [("是", 0), ("y", 0), ("n", 11), ("否", 11), ("", 11)])
def test_an_upload_asks_in_chinese_and_takes_a_chinese_yes(
    simulator: Simulator, new_airflow: NewAirflow, tmp_path: Path, answer: str, code: int
) -> None:
    env = {**new_airflow(simulator).env, "TERM": "xterm", "LC_ALL": "", "LANG": "zh_CN.UTF-8"}
    env["PYTHONIOENCODING"] = "utf-8"
    with on_terminal(upload_of_12(tmp_path), env) as (process, terminal):
        asked = "".join(read_until(terminal, "[y/N]").split())
        assert f"将1个文件、12个协议号（ICBC_DEBIT）上传到号码包{PACKAGE}（商户号1900000001，" in asked
        assert "该号码包还没有上传任务。此操作无法撤销：协议号一旦进入号码包就无法移出。" in asked
        os.write(terminal, f"{answer}\n".encode())
        rest = read_until(terminal, None)
        assert process.wait(PATIENCE) == code
    assert simulator.report()["accepted_uploads"] == (code == 0)
    assert ("没有上传：回答不是 y" in rest) == (code == 11)


def test_what_was_typed_before_the_question_is_no_answer(
    simulator: Simulator, new_airflow: NewAirflow, tmp_path: Path
) -> None:
    with on_terminal(upload_of_12(tmp_path), {**new_airflow(simulator).env, "TERM": "xterm"}) as (process, terminal):
        os.write(terminal, b"y\ny\n")
        read_until(terminal, "[y/N]")
        assert simulator.report()["requests"]["upload"] == 0
        os.write(terminal, b"n\n")
        read_until(terminal, None)
        assert process.wait(PATIENCE) == 11
    assert simulator.report()["requests"]["upload"] == 0


def completed(command: list[str], line: str, env: dict[str, str], tmp_path: Path) -> set[str]:
    """What a shell is told when somebody presses Tab behind a line, as argcomplete's shell code asks for it."""
    told = tmp_path / "completions"
    asked = {
        "_ARGCOMPLETE": str(len(command)), "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SHELL": "bash", "_ARGCOMPLETE_SUPPRESS_SPACE": "1", "_ARGCOMPLETE_STDOUT_FILENAME": str(told),
        "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9",
    }  # fmt: skip
    subprocess.run(command, env={**env, **asked}, check=False, capture_output=True, timeout=PATIENCE)
    return {one.strip() for one in told.read_text().splitlines()}


def test_a_shell_completes_commands_and_options(simulator: Simulator, new_airflow: NewAirflow, tmp_path: Path) -> None:
    env = new_airflow(simulator).env
    commands = [(MODULE, "python -m airflow_provider_wxbank")]
    if HAS_PROVIDER_COMMANDS:
        commands.append(([str(Path(sys.executable).parent / "airflow")], "airflow wxbank"))
    for command, typed in commands:
        assert completed(command, f"{typed} up", env, tmp_path) == {"upload"}
        assert completed(command, f"{typed} upload --dr", env, tmp_path) == {"--dry-run"}
        assert "PROCESSING" in completed(command, f"{typed} tasks 8473295 --status ", env, tmp_path)
