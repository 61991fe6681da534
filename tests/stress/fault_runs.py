# SPDX-License-Identifier: Apache-2.0
"""One run of the fault matrix: export, upload and wait by the real operators against a simulator on a socket.

Nothing of the package is changed for it. Its constructors take a clock and a sleep, so the hook and the operator are
given their client and their uploads with those of a :class:`Clock` that runs fifty times as fast, by putting another
factory under the name that they call (``unittest.mock.patch``). The simulator keeps the same time.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from airflow_provider_wxbank.packages.upload import Upload
from airflow_provider_wxbank.simulator import Simulator, SimulatorSettings, numbers_digest, serve
from airflow_provider_wxbank.simulator.settings import SuiteName
from airflow_provider_wxbank.wechatpay.calls import Answer, Call
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import PlatformKey
from airflow_provider_wxbank.wechatpay.errors import WxBankError
from airflow_provider_wxbank.wechatpay.kept import kept_list
from airflow_provider_wxbank.wechatpay.settings import Settings, read_settings
from tests.harness.drivers import sender_of
from tests.harness.waiting import until
from tests.stress.fault_cases import PERMANENT, WITHDRAWN, Case, Driver, Event, Task
from tests.stress.receipts_told import wrong_in_receipt

PACKAGE = "8473295"
PLAIN = "622588013700"
"""How every number begins; nothing else does."""

RATE = 50.0
"""How much faster than the real one the clock of a run is."""

TIMEOUT = 1.2
"""Real seconds of a connection's timeouts in a run whose fault is met by them."""

PATIENT_TIMEOUT = 300.0
"""In all others: more than the busiest machine takes to answer."""

POKES = 5
POKE_SECONDS = 60.0
PROCESSING_SECONDS = 90.0
DAY = 86400.0
TASKS: tuple[Task, ...] = ("export", "upload", "wait")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    :param ended: ``at once``, ``recovered`` (it failed clearly, and the failed task succeeded when it was run again),
        ``unclear`` (anything else), or ``hung``.
    :param lost: numbers that did not arrive.
    :param doubled: numbers that arrived more than once.
    :param twice: files sent in full although the package had them.
    :param plain: numbers and secrets found in messages, results and files.
    :param note: what went wrong, or the failure that was got over.
    """

    ended: str
    lost: int = 0
    doubled: int = 0
    twice: int = 0
    plain: int = 0
    note: str = ""


class Clock:
    """Unix seconds that pass quickly, and quicker when told to."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._start = time.time()

    def __call__(self) -> float:
        return self._start + (time.monotonic() - self._began) * RATE

    def sleep(self, seconds: float) -> None:
        """Wait some seconds of this clock."""
        time.sleep(seconds / RATE)

    def jump(self, seconds: float) -> None:
        """Let some seconds have passed."""
        self._start += seconds


class NotFinished(Exception):
    """The sensor waited in vain: Airflow would end it with its timeout."""


def serve_runs(pipe: Connection, folder: str) -> None:
    """Run the cases that come through a pipe, in a process of its own; what is printed and logged goes into a file."""
    log = Path(folder) / f"{os.getpid()}.log"
    descriptor = os.open(log, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    from airflow_provider_wxbank import operators, sensors  # noqa: F401  # slow, and Airflow sets its logging up

    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, force=True)
    pipe.send("ready")
    with suppress(EOFError):
        while (case := pipe.recv()) is not None:
            os.truncate(log, 0)
            outcome = run(case, folder)
            sys.stdout.flush()
            leaked = log.read_text(errors="replace").count(PLAIN)
            pipe.send(replace(outcome, plain=outcome.plain + leaked))


def run(case: Case, parent: str) -> Outcome:
    """Export, upload and wait while something goes wrong; then see what WeChat Pay has."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=parent)))
        clock = Clock()
        settings: dict[str, Any] = {
            "processing_seconds": PROCESSING_SECONDS,
            # The client signs whatever it sends again anew.
            "refuse_repeated_nonces": True,
            "merchant_private_key_pem": _merchant_key(case.suite),
            "suite": case.suite,
            "pin_root": True,
            **case.settings,
        }
        simulator = stack.enter_context(serve(SimulatorSettings(clock=clock, **settings)))
        return _Run(case, simulator, clock, folder, stack).outcome()


@cache
def _merchant_key(suite: SuiteName) -> str:
    from airflow_provider_wxbank.simulator.pem import pem
    from airflow_provider_wxbank.simulator.suites import SUITES

    return pem("PRIVATE KEY", SUITES[suite].new_key().der)


class _Run:
    def __init__(self, case: Case, simulator: Simulator, clock: Clock, folder: Path, stack: ExitStack) -> None:
        from airflow_provider_wxbank import hooks, steps

        self.case = case
        self.simulator = simulator
        self.clock = clock
        self.folder = folder
        self.numbers = [f"{PLAIN}{index:06d}" for index in range(case.files * case.rows)]
        (folder / "users.csv").write_text("".join(f"{number}\n" for number in self.numbers))
        ti = SimpleNamespace(dag_id="import_users", run_id="manual__1", task_id="task", map_index=-1)
        self.context: Any = {"ti": ti, "run_id": "manual__1"}
        self.results: dict[Task, Any] = {}
        self.sensor: Any = None
        self.told: list[str] = []
        self.events = list(case.events)
        self.counts: Counter[Task] = Counter()
        self.task: Task = "export"
        self.lock = threading.Lock()
        self.gates = [] if case.hosts == "one" else [stack.enter_context(gate(simulator.base_url)) for _ in range(2)]
        for one in self.gates:
            simulator.answer_at(one.url)
        self.connect()
        client = partial(_client_class(self.before, case.driver, stack), clock=clock, sleep=clock.sleep)
        stack.enter_context(patch.object(hooks, "Client", client))
        stack.enter_context(patch.object(steps, "Upload", partial(Upload, sleep=clock.sleep)))

    def connect(self) -> None:
        """Make the simulator the connection of the operators, as its keys are now."""
        connection = self.simulator.airflow_connection()
        timeout = TIMEOUT if self.case.is_timed else PATIENT_TIMEOUT
        connection["extra"].update(connect_timeout=timeout, read_timeout=timeout)
        if self.gates:
            connection["host"] = self.gates[0].url
            connection["extra"]["backup_host"] = self.gates[1].url
        os.environ["AIRFLOW_CONN_WXBANK_DEFAULT"] = json.dumps(connection)

    def outcome(self) -> Outcome:
        """Run the tasks in their order; a failed one is run again once what is wrong is over."""
        failures: list[str] = []
        for task in TASKS:
            try:
                self.begin(task)
                self.results[task] = self.perform(task)
            except Exception as failure:
                text = self.tell(failure)
                if not self.is_clear(failure):
                    return self.ended("unclear", f"{task}: {text}")
                failures.append(f"{task}: {text}")
                try:
                    self.repair(task)
                    self.results[task] = self.perform(task)
                except Exception as again:
                    return self.ended("unclear", f"{task}, again: {self.tell(again)}; before: {text}")
        wrong = self.wrong_result()
        if wrong:
            return self.ended("unclear", wrong)
        return self.ended("recovered" if failures else "at once", "; ".join(failures))

    def begin(self, task: Task) -> None:
        """What happens when a task starts."""
        self.task = task
        self.counts.clear()
        if task == self.case.during:
            for fault in self.case.faults:
                self.simulator.add_fault(fault)
                if fault.on == "certificates" and fault.kind != WITHDRAWN:
                    self.forget()
            for one in self.gates[: 2 if self.case.hosts.startswith("both") else 1]:
                match self.case.hosts.split()[1]:
                    case "slow":
                        one.line = Line(pause=0.05)
                    case "stops":
                        one.line = Line(stops_after=65_536)
                    case how:
                        one.close(silent=how == "silent")
            if self.case.seconds:
                threading.Thread(target=self.clear_later, daemon=True).start()
        self.happen(task, 0)

    def forget(self) -> None:
        """The task runs on a machine where no other one has kept a list of certificates."""
        connection = json.loads(os.environ["AIRFLOW_CONN_WXBANK_DEFAULT"])
        kept = kept_list(
            read_settings(connection["login"], connection["password"], connection["host"], connection["extra"])
        )
        if kept is not None:
            kept.path.unlink(missing_ok=True)

    def clear_later(self) -> None:
        """What goes wrong is over so long after it was first met."""
        until(lambda: not self.case.faults or self.simulator.app.faults.done.total() > 0)
        self.clock.sleep(self.case.seconds)
        self.clear()

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self.simulator.clear_faults()
        for one in self.gates:
            one.line = Line()
            one.open()

    def repair(self, task: Task) -> None:
        """Everything is as it should be, and the task is about to be run again."""
        self.clear()
        self.events.clear()
        match self.case.repair:
            case "next day":
                self.clock.jump(DAY)
            case "an hour later":
                self.clock.jump(3600)
            case "today's connection":
                self.connect()
                self.sensor = None
        if self.case.repair in ("export again", "today's connection") and task == "upload":
            self.results["export"] = self.perform("export")

    def perform(self, task: Task) -> Any:
        """Run one task as Airflow does."""
        from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator

        match task:
            case "export":
                return ExportUsersOperator(
                    task_id="export_users",
                    source=str(self.folder / "users.csv"),
                    output_path=str(self.folder / "export"),
                    bank_type="ICBC_DEBIT",
                    max_rows_per_file=self.case.rows,
                ).execute(self.context)
            case "upload":
                return UploadTaskOperator(
                    task_id="upload",
                    package_id=PACKAGE,
                    manifest=self.results["export"],
                    max_workers=self.case.workers,
                ).execute(self.context)
            case "wait":
                return self.wait()

    def wait(self) -> dict[str, Any]:
        """Poke until it is done; a sensor that waited in vain goes on when it is called again, one that failed ends."""
        from airflow_provider_wxbank.sensors import TaskFinishedSensor

        sensor = self.sensor or TaskFinishedSensor(
            task_id="finished", upload=self.results["upload"], receipt_path=str(self.folder / "receipt")
        )
        self.sensor = None
        for _ in range(POKES):
            seen = sensor.poke(self.context)
            if seen.is_done:
                return dict(seen.xcom_value or {})
            self.clock.jump(POKE_SECONDS)
        self.sensor = sensor
        raise NotFinished(f"not finished after {POKES} polls")

    def before(self, task: Task) -> None:
        """A client is about to take a key, to post or to list."""
        if task == self.task:
            with self.lock:
                self.counts[task] += 1
                self.happen(task, self.counts[task])

    def happen(self, task: Task, number: int) -> None:
        """Let the events of a moment happen, each once."""
        for event in [event for event in self.events if (event.task, event.number) == (task, number)]:
            self.events.remove(event)
            self.act(event)

    def act(self, event: Event) -> None:
        action, _, rest = event.action.partition(" ")
        match action:
            case "rotate":
                self.simulator.rotate_certificate(overlap=not rest)
            case "expire":
                self.simulator.rotate_certificate()
                certificates = self.simulator.platform.certificates
                certificates[0] = replace(certificates[0], expires=self.clock() - 1)
            case "pass":
                self.clock.jump(float(rest))
            case "mode":
                self.simulator.platform.mode = rest  # type: ignore[assignment]  # it is one of them

    def is_clear(self, failure: Exception) -> bool:
        """Whether a failure is the package's own, of a class that says rightly whether to try again."""
        from airflow_provider_wxbank.wechatpay.errors import is_lasting

        lasting = is_lasting(failure)
        retryable = isinstance(failure, (WxBankError, NotFinished)) and not lasting
        # Before the first list of certificates there is nothing to verify a refusal of it with.
        if {fault.kind for fault in self.case.faults if fault.on != "certificates"} & PERMANENT:
            # At once: nobody asked the same again. (An upload that met another fault before is of unknown outcome.)
            return (lasting and self.asked_little()) or (retryable and len(self.case.faults) > 1)
        return retryable or (lasting and self.case.permanent)

    def asked_little(self) -> bool:
        """Whether a fault that lasts was met once by each worker at most."""
        return sum(self.simulator.app.faults.done.values()) <= 2 * self.case.workers

    def tell(self, failure: Exception) -> str:
        """The failure in a line; all of it, with where it came from, is kept to be searched."""
        self.told.append("".join(traceback.format_exception(failure)))
        return f"{type(failure).__name__}: {str(failure)[:300]}"

    def wrong_result(self) -> str:
        """What is wrong with the sensor's result, or with the run as a test: its fault never happened."""
        result = self.results["wait"]
        lost = sum(task.lost for task in self.simulator.app.ledger.packages[PACKAGE].values())
        expected = (self.case.files, len(self.numbers) - lost, 0, lost)
        if (result["tasks"], result["success_count"], result["fail_count"], result["unaccounted"]) != expected:
            return f"the sensor returned {result}"
        done = self.simulator.app.faults.done
        missed = [fault.kind for fault in self.case.faults if not done[fault.kind]]
        if missed or self.events:
            return f"never happened: {missed} {self.events}"
        return "; ".join(wrong_in_receipt(self.simulator, self.folder / "receipt", PACKAGE))

    def ended(self, ended: str, note: str) -> Outcome:
        """Count what WeChat Pay has, and look for what should not be told."""
        report = self.simulator.report()
        package = report["packages"].get(PACKAGE, {"tasks": [], "distinct_numbers": 0, "repeated_numbers": 0})
        own = [task for task in package["tasks"] if not task["filename"].startswith("foreign-")]
        missing = len(self.numbers) - package["distinct_numbers"]
        if not missing and package["numbers_digest"] != numbers_digest(self.numbers):
            missing = 1
        over_quota = report["refused"].get("FREQUENCY_LIMIT_EXCEED", 0)
        twice = sum(report["whole_bodies"].values()) - len(own) - over_quota
        files = [path.read_text() for name in ("export", "receipt") for path in (self.folder / name).glob("*")]
        texts = [*self.told, json.dumps(self.results), *files]
        secrets = [PLAIN, *_merchant_key(self.case.suite).splitlines()[1:-1]]
        plain = sum(text.count(secret) for text in texts for secret in secrets)
        return Outcome(ended, missing, package["repeated_numbers"], max(twice, 0), plain, note)


def _client_class(before: Callable[[Task], None], driver: Driver, stack: ExitStack) -> type[Client]:
    """A client that says what it is about to do, over one of the drivers."""

    class TellingClient(Client):
        def __init__(self, settings: Settings, **options: Any) -> None:
            super().__init__(settings, sender=sender_of(driver, settings), **options)
            stack.callback(self.close)

        def encryption_key(self) -> PlatformKey:
            before("export")
            return super().encryption_key()

        def send(self, call: Call) -> Answer:
            before("upload" if call.method == "POST" else "wait")
            return super().send(call)

    return TellingClient


@dataclass(frozen=True, slots=True)
class Line:
    """What a connection carries towards the simulator.

    :param pause: seconds after each 16 kB.
    :param stops_after: bytes after which it carries nothing more.
    """

    pause: float = 0.0
    stops_after: float = math.inf


class Gate:
    """A port in front of the simulator that can be closed: connections are refused, or taken and never answered.

    :ivar line: how connections are that are made from now on.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("http://").partition(":")
        self._target = host, int(port)
        self._listener = self._bound(0)
        self._address: tuple[str, int] = self._listener.getsockname()
        self._connections: list[socket.socket] = []
        self._is_open = False
        self.line = Line()
        self.url = f"http://{host}:{self._address[1]}"
        self.open()

    def open(self) -> None:
        """Let everything through."""
        if not self._is_open:
            self._is_open = True
            self._listener.listen(64)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self, *, silent: bool = False) -> None:
        """Cut every connection and let no more through."""
        self._is_open = False
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()
        self._listener = self._bound(self._address[1])
        if silent:
            self._listener.listen(64)

    def end(self) -> None:
        """Close for good."""
        self.close()
        self._listener.close()

    @staticmethod
    def _bound(port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # What is not carried yet must show to who sends it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        listener.bind(("127.0.0.1", port))
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(self._target)
                self._connections += [near, far]
                for one, other, line in ((near, far, self.line), (far, near, Line())):
                    threading.Thread(target=_pump, args=(one, other, line), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket, line: Line) -> None:
    carried = 0
    with suppress(OSError):
        while carried < line.stops_after and (piece := source.recv(16_384)):
            target.sendall(piece)
            carried += len(piece)
            time.sleep(line.pause)
        if carried >= line.stops_after:
            # It stays open, and nobody reads what comes.
            return
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def gate(target: str) -> Iterator[Gate]:
    """A gate that is open."""
    one = Gate(target)
    try:
        yield one
    finally:
        one.end()
