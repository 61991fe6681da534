# SPDX-License-Identifier: Apache-2.0
"""How WeChat Pay is asked about packages that were filled elsewhere: seldom, beside, and never more than a little."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.simulator import Fault, Simulator
from airflow_provider_wxbank.ui import elsewhere
from airflow_provider_wxbank.ui.elsewhere import (
    KEPT_INTERVALS,
    PLACES,
    THREAD_NAME,
    THREADS,
    Listed,
    Packages,
    Seen,
)
from airflow_provider_wxbank.wechatpay.errors import InvalidInput
from tests.conftest import PACKAGE, NewSimulator, numbers

INTERVAL = 60.0
PROCESSING = 100.0
PATIENCE = 120.0
"""Seconds that only a failure waits for."""


@pytest.fixture
def silent(new_simulator: NewSimulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], socket.socket]]:
    """Makes a connection whose WeChat Pay takes connections and never says a word; gives its socket."""
    monkeypatch.setattr(elsewhere, "READ_SECONDS", PATIENCE)
    listeners: list[socket.socket] = []

    def make(conn_id: str) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        connection = new_simulator().airflow_connection()
        connection["host"] = f"http://127.0.0.1:{listener.getsockname()[1]}"
        connection["extra"]["read_timeout"] = PATIENCE
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        return listener

    yield make
    for listener in listeners:
        listener.close()
    for thread in page_threads():
        thread.join(PATIENCE)
        assert not thread.is_alive()


def page_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD_NAME]


class Heard:
    """The connections that were made to silent sockets."""

    def __init__(self, *listeners: socket.socket) -> None:
        self._listeners = listeners
        self._connections: list[socket.socket] = []

    def count(self) -> int:
        """How many there were by now."""
        for listener in self._listeners:
            listener.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    self._connections.append(listener.accept()[0])
        return len(self._connections)

    def close(self) -> None:
        for each in (*self._connections, *self._listeners):
            each.close()


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def answer(packages: Packages, conn_id: str = "wxbank_default", package_id: str = PACKAGE) -> Seen:
    """What is seen once the question that a look causes is answered."""
    until(lambda: packages.look(conn_id, package_id).question == "answered")
    return packages.look(conn_id, package_id)


def listed(seen: Seen) -> Listed:
    assert seen.failure is None
    assert seen.listed is not None
    return seen.listed


def upload(first: int, files: int) -> None:
    """Fill the package as someone else would, a number a file."""
    hook = WxBankHook()
    with closing(hook.get_conn()):
        for index, number in enumerate(numbers(files, first), first):
            hook.create_task(PACKAGE, f"{hook.encrypt(number)}\n".encode(), "ICBC_DEBIT", f"elsewhere-{index:03}.csv")


def lists_asked(simulator: Simulator) -> int:
    asked: int = simulator.report()["requests"]["list"]
    return asked


def test_a_list_is_read_once_and_watched_with_one_call_a_minute(
    new_simulator: NewSimulator, connect: Callable[..., None]
) -> None:
    theirs, ours = [0.0], [0.0]
    simulator = new_simulator(processing_seconds=PROCESSING, clock=lambda: time.time() + theirs[0])
    connect(simulator)
    packages = Packages(INTERVAL, lambda: ours[0])
    upload(0, 45)

    def look(seconds: float) -> tuple[int, Listed]:
        """The calls that a look costs some seconds later, and what it shows."""
        ours[0] += seconds
        before = lists_asked(simulator)
        found = listed(answer(packages))
        return lists_asked(simulator) - before, found

    calls, found = look(0.0)
    assert (calls, len(found.tasks), found.processing) == (3, 45, 45)  # 20 a call
    assert look(INTERVAL - 1)[0] == 0
    assert look(1)[0] == 1
    theirs[0] = PROCESSING + 1
    calls, found = look(INTERVAL)
    assert (calls, found.processing, found.tasks[0].success_count) == (1 + 3, 0, 1)
    assert look(INTERVAL)[0] == 1
    upload(45, 1)
    calls, found = look(INTERVAL)
    assert (calls, len(found.tasks), found.processing) == (1 + 3, 46, 1)


def test_what_failed_was_tried_once_and_is_not_asked_again_before_its_time(
    new_simulator: NewSimulator, connect: Callable[..., None]
) -> None:
    simulator = new_simulator()
    connect(simulator)
    packages = Packages(INTERVAL, lambda: 0.0)
    upload(0, 1)
    simulator.add_fault(Fault("unavailable", on="list"))
    before = lists_asked(simulator)
    for _ in range(2):
        seen = answer(packages)
        assert seen.listed is None
        assert "answered 503" in (seen.failure or "")
    assert lists_asked(simulator) - before == 1


def test_what_was_known_stays_while_wechat_pay_is_away(
    new_simulator: NewSimulator, connect: Callable[..., None]
) -> None:
    simulator = new_simulator()
    connect(simulator)
    now = [0.0]
    packages = Packages(INTERVAL, lambda: now[0])
    upload(0, 2)
    known = listed(answer(packages))
    simulator.add_fault(Fault("unavailable", on="list"))
    now[0] = INTERVAL
    first = packages.look("wxbank_default", PACKAGE)
    assert (first.question, first.listed) == ("asking", known)
    failed = answer(packages)
    assert failed.failure
    assert (failed.listed, failed.tried_at) == (known, INTERVAL)


def test_a_thousand_packages_of_a_silent_connection_are_one_question_and_nobody_elses_loss(
    new_simulator: NewSimulator, connect: Callable[..., None], silent: Callable[[str], socket.socket]
) -> None:
    connect(new_simulator())
    packages = Packages(INTERVAL, lambda: 0.0)
    upload(0, 2)
    known = answer(packages)
    listener = silent("silent")
    seen = [packages.look("silent", str(10_000 + index)).question for index in range(1000)]
    assert (seen.count("asking"), seen.count("later")) == (PLACES, 1000 - PLACES)
    heard = Heard(listener)
    until(lambda: heard.count() > 0)
    # While it waits for its answer, others are asked and known as before.
    upload(2, 1)
    assert len(listed(answer(packages, package_id="9001199")).tasks) == 0
    assert packages.look("wxbank_default", PACKAGE) == known
    assert len(page_threads()) <= THREADS
    assert heard.count() == 1
    heard.close()


def test_however_many_connections_are_silent_the_threads_are_few(silent: Callable[[str], socket.socket]) -> None:
    packages = Packages(INTERVAL, lambda: 0.0)
    listeners = [silent(f"silent_{index}") for index in range(2 * THREADS)]
    for index, _ in enumerate(listeners):
        assert packages.look(f"silent_{index}", PACKAGE).question == "asking"
    heard = Heard(*listeners)
    until(lambda: heard.count() >= THREADS)
    assert heard.count() == len(page_threads()) == THREADS
    # Those whose turn comes later have it when the first are done.
    heard.close()
    assert all(answer(packages, f"silent_{index}").failure for index, _ in enumerate(listeners))


def test_a_patient_connection_is_waited_for_no_longer_than_somebody_looks(
    silent: Callable[[str], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent("silent")
    monkeypatch.setattr(elsewhere, "READ_SECONDS", 0.2)
    assert "no answer within 0.2 s" in (answer(Packages(INTERVAL), "silent").failure or "")


def test_a_package_that_nobody_looks_at_any_more_makes_room(
    new_simulator: NewSimulator, connect: Callable[..., None]
) -> None:
    connect(new_simulator())
    now = [0.0]
    packages = Packages(INTERVAL, lambda: now[0])
    ids = [str(10_000 + index) for index in range(PLACES + 1)]
    for package_id in ids[:PLACES]:
        listed(answer(packages, package_id=package_id))
    assert packages.look("wxbank_default", ids[PLACES]).question == "later"
    now[0] = KEPT_INTERVALS * INTERVAL + 1
    assert packages.look("wxbank_default", ids[PLACES]).question == "asking"
    listed(answer(packages, package_id=ids[PLACES]))


def test_a_package_id_that_is_none_is_not_asked_for() -> None:
    with pytest.raises(InvalidInput):
        Packages(INTERVAL).look("wxbank_default", "../x")


def test_a_connection_that_cannot_be_read_is_told_without_its_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WXBANK_DEFAULT", '{"conn_type": "wxbank", "extra": "geheim')
    failure = answer(Packages(INTERVAL)).failure
    assert failure is not None
    assert "wxbank_default" in failure
    assert "geheim" not in failure
