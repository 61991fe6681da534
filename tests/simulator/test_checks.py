# SPDX-License-Identifier: Apache-2.0
"""Long files: they are answered at once, and all their lines are checked beside, in processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from airflow_provider_wxbank.simulator import SimulatorSettings, lines, numbers_digest, serve
from airflow_provider_wxbank.simulator.rsa import new_key
from tests.harness.raw_client import PATIENCE_SECONDS, PublicKey, RawClient, Upload
from tests.harness.simulators import COUNTS, Bank, assert_refused, start
from tests.simulator.test_command import running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="it looks for processes as Linux has them"),
]

PACKAGE = "8473295"
ROWS = 600
"""More than are decrypted before an answer."""
NOT_DECRYPTED = "平台私钥解密失败"
NUMBER = "6222020000000001"
NO_LINE = b"A" * 342 + b"==\n"


@pytest.fixture
def bank() -> Iterator[Bank]:
    """A simulator of the test's own, which finishes tasks as soon as it can; nothing of it remains."""
    with ExitStack() as stack:
        yield start(stack)
    assert children(os.getpid()) == set()


def until(condition: Callable[[], bool]) -> None:
    """Wait, but not forever."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children(parent: int) -> set[int]:
    """The processes that decrypt for another one."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, ppid = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_text()
            if int(ppid) == parent and state != "Z" and lines.__file__ in command:
                found.add(int(folder.name))
    return found


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def long_file(key: PublicKey, name: str = "file-0001.csv", **bad: int) -> Upload:
    """A file of a few numbers again and again; ``bad`` is the index of a line that does not decrypt."""
    some = key.encrypt(*(f"{NUMBER}{index}" for index in range(5))).splitlines(keepends=True)
    content = some * (ROWS // len(some))
    for index in bad.values():
        content[index] = NO_LINE
    return Upload(b"".join(content), name, key.serial_no)


@contextmanager
def stopped(pids: set[int]) -> Iterator[None]:
    """Processes that do not go on for a while."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def upload(bank: Bank, *, name: str = "file-0001.csv", **bad: int) -> dict[str, Any]:
    answer = bank.client.upload(PACKAGE, long_file(bank.key, name, **bad))
    assert answer.status == 200, answer.body.decode()
    return answer.value


def test_a_long_file_is_finished_when_all_its_lines_are_checked(bank: Bank) -> None:
    task = upload(bank)
    assert task["status"] == "PROCESSING"
    assert not set(COUNTS) & set(task)

    def listed() -> dict[str, Any]:
        (one,) = bank.client.tasks(PACKAGE).value["data"]
        assert (one["status"] == "FINISHED") is ("success_count" in one)
        return dict(one)

    until(lambda: listed()["status"] == "FINISHED")
    assert (listed()["success_count"], listed()["fail_count"]) == (ROWS, 0)
    assert bank.listed(PACKAGE, "status=FINISHED") == ["file-0001.csv"]


def test_the_report_waits_for_all_lines(bank: Bank) -> None:
    for index in range(3):
        upload(bank, name=f"file-{index}.csv")
    package = bank.client.report()["packages"][PACKAGE]
    assert {task["status"] for task in package["tasks"]} == {"FINISHED"}
    assert (package["lines"], package["distinct_numbers"], package["undecryptable"]) == (3 * ROWS, 5, 0)
    assert package["numbers_digest"] == numbers_digest(f"{NUMBER}{index}" for index in range(5))


def test_a_bad_line_of_a_long_file_is_told_in_the_report_and_in_the_counts(bank: Bank) -> None:
    upload(bank, bad=1)
    package = bank.client.report()["packages"][PACKAGE]
    assert (package["undecryptable"], package["distinct_numbers"]) == (1, 5)
    (task,) = bank.client.tasks(PACKAGE).value["data"]
    assert (task["success_count"], task["fail_count"]) == (ROWS - 1, 1)


def test_a_long_file_encrypted_with_another_key_is_refused_at_once(bank: Bank) -> None:
    other = PublicKey(bank.key.serial_no, new_key().key.public_key())
    assert_refused(bank, lambda: bank.client.upload(PACKAGE, long_file(other)), 400, "PARAM_ERROR", NOT_DECRYPTED)
    assert children(os.getpid()) == set()


@pytest.mark.parametrize("index", [0, 250, 499])
def test_of_a_short_file_every_line_is_checked_before_the_answer(bank: Bank, index: int) -> None:
    content = b"".join(long_file(bank.key, bad=index).content.splitlines(keepends=True)[:500])
    short = replace(bank.file(), content=content)
    assert_refused(bank, lambda: bank.client.upload(PACKAGE, short), 400, "PARAM_ERROR", NOT_DECRYPTED)
    assert children(os.getpid()) == set()


def test_no_answer_waits_for_the_checks(bank: Bank) -> None:
    """However long these take: here they stand still."""
    upload(bank, name="file-first.csv")
    until(lambda: bool(children(os.getpid())))
    names = [f"file-{index}.csv" for index in range(8)]
    with stopped(children(os.getpid())):
        with ThreadPoolExecutor(8) as pool:
            tasks = list(pool.map(lambda name: upload(bank, name=name), names))
        assert {task["status"] for task in tasks} <= {"PROCESSING"}
        assert set(bank.listed(PACKAGE)) == {"file-first.csv", *names}
        assert bank.client.upload(PACKAGE, long_file(bank.key, "file-0.csv")).status == 400
        assert bank.client.tasks(PACKAGE, "status=PROCESSING").value["total_count"] > 0
    package = bank.client.report()["packages"][PACKAGE]
    assert [(task["success_count"], task["fail_count"]) for task in package["tasks"]] == [(ROWS, 0)] * 9


def test_what_was_with_a_process_that_is_killed_is_checked_all_the_same(bank: Bank) -> None:
    upload(bank, bad=1)
    until(lambda: bool(children(os.getpid())))
    for pid in children(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    upload(bank, name="file-0002.csv", bad=2)
    package = bank.client.report()["packages"][PACKAGE]
    assert [(task["success_count"], task["fail_count"]) for task in package["tasks"]] == [(ROWS - 1, 1)] * 2


def test_a_simulator_that_ends_leaves_its_checks(bank: Bank) -> None:
    """And who waits for a report is told."""
    with ExitStack() as stack:
        other = start(stack)
        for index in range(20):
            upload(other, name=f"file-{index}.csv")
        answers = list[int]()

        def ask() -> None:
            with suppress(OSError):
                answers.append(other.client.send("GET", "/simulator/report").status)

        thread = Thread(target=ask)
        thread.start()
        until(lambda: bool(children(os.getpid())))
    thread.join()
    assert answers in ([], [503])
    assert children(os.getpid()) == set()


def test_a_reset_leaves_what_was_to_be_checked(bank: Bank) -> None:
    for index in range(4):
        upload(bank, name=f"file-{index}.csv")
    bank.simulator.reset()
    assert children(os.getpid()) == set()
    key = bank.client.certificates()[0]
    assert bank.client.upload(PACKAGE, long_file(key)).status == 200
    assert bank.client.report()["packages"][PACKAGE]["lines"] == ROWS


def test_lines_left_for_later_are_checked_in_processes_too() -> None:
    with serve(SimulatorSettings(check="later", processing_seconds=0)) as simulator:
        client = RawClient(simulator.airflow_connection())
        key = client.certificates()[0]
        for index in range(2):
            assert client.upload(PACKAGE, long_file(key, f"file-{index}.csv", bad=0)).value["status"] == "FINISHED"
        assert children(os.getpid()) == set()
        package = client.report()["packages"][PACKAGE]
        assert (package["undecryptable"], package["distinct_numbers"]) == (2, 5)
        assert children(os.getpid())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_processes_end_with_the_simulator_whatever_ends_it(number: signal.Signals) -> None:
    with running() as simulator:
        client, pid = simulator.client, simulator.process.pid
        key = client.certificates()[0]
        for index in range(4):
            assert client.upload(PACKAGE, long_file(key, f"file-{index}.csv")).status == 200
        until(lambda: bool(children(pid)))
        pids = children(pid)
        simulator.process.send_signal(number)
        out, err = simulator.process.communicate(timeout=PATIENCE_SECONDS)
        assert (out, err) == (b"", b"")
        until(lambda: not any(is_running(one) for one in pids))


def test_a_process_gets_nothing_of_the_environment_but_what_it_needs(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BANK_DB", "secret")
    upload(bank)
    until(lambda: bool(children(os.getpid())))
    for pid in children(os.getpid()):
        assert b"AIRFLOW_CONN" not in Path(f"/proc/{pid}/environ").read_bytes()
    bank.client.report()


def test_a_process_answers_file_after_file_until_no_more_come() -> None:
    key = new_key()
    der = key.der
    content = PublicKey("", key.key.public_key()).encrypt("1001", "1002") + NO_LINE.strip()
    job = lines.LENGTHS.pack(len(der), len(content)) + der + content
    for end in (b"", job[:3], job[:-1]):
        answers = BytesIO()
        lines.serve(BytesIO(job + job + end), answers)
        expected = lines.digests_of(key.decrypt, content.split(b"\n"))
        assert lines.unpacked(answers.getvalue()) == expected + expected
        assert expected[2] is None
