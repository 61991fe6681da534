# SPDX-License-Identifier: Apache-2.0
"""Try to break "every number once, nothing unverified believed": a matrix of faults, each run through the real tasks.

Usage: python -m tests.stress.faults [--repeat N] [--only FAULT] [--suite sm2] [--workers N]

Each run exports, uploads and waits against a simulator of its own (:mod:`tests.stress.fault_runs`). It must end in
success, or in a clear failure after which the failed task succeeds when it is run again. The exit code is 1 if a run
did neither, hung, lost or doubled a number, sent a file twice in full, or told a number.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from tests.harness.airflow_home import environment
from tests.harness.waiting import PATIENCE
from tests.stress.fault_cases import Case, Driver, matrix
from tests.stress.fault_runs import Outcome, serve_runs

DEADLINE = PATIENCE
"""Seconds after which a run counts as hung."""

TELL_SECONDS = 20.0

PRELOADED = ["tests.stress.fault_runs", "airflow_provider_wxbank.operators", "airflow_provider_wxbank.sensors"]
"""What workers would else import for themselves, which takes seconds."""

RUNS_EACH = 40
"""Of a worker, before a new one takes its place: each run has new keys, and Airflow searches every text for all that
it has ever masked."""

_FORK = multiprocessing.get_context("forkserver")

Ended = tuple[Case, Outcome]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 if nothing bad happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress.faults", description=__doc__)
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="run each case so many times")
    parser.add_argument("--only", metavar="FAULT", help="only the faults whose name begins so")
    parser.add_argument("--driver", choices=("blocking", "loop"), help="what sends calls; by default both, in turn")
    parser.add_argument("--suite", choices=("rsa", "sm2"), default="rsa", help="of all keys")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="runs at a time")
    options = parser.parse_args(arguments)
    drivers: tuple[Driver, ...] = (options.driver,) if options.driver else ("blocking", "loop")
    cases = [
        replace(case, driver=driver, suite=options.suite)
        for driver in drivers
        for case in matrix()
        if case.fault.startswith(options.only or "")
    ] * options.repeat
    if not cases:
        parser.error(f"no fault begins with {options.only}")
    started = told = time.monotonic()

    def tell(done: int, case: Case, outcome: Outcome) -> None:
        nonlocal told
        if is_bad(case, outcome):
            print(f"BAD: {case}: {outcome}", file=sys.stderr, flush=True)
        if time.monotonic() - told > TELL_SECONDS:
            told = time.monotonic()
            print(f"{done} of {len(cases)} runs", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="wxbank-faults-home-") as home:
        os.environ.update(environment(Path(home), Path(home), {}))
        ended = run_all(cases, options.workers, tell)
    print(table(ended))
    bad = [one for one in ended if is_bad(*one)]
    for case, outcome in bad:
        print(f"\n{case}\n  {outcome}")
    print(f"\n{len(ended)} runs in {time.monotonic() - started:.0f} s; {len(bad)} of them bad")
    return 1 if bad else 0


def run_all(
    cases: Sequence[Case], workers: int, tell: Callable[[int, Case, Outcome], None] = lambda *_: None
) -> list[Ended]:
    """Run cases, some at a time, each in a process that is ended if it takes too long; in the order of the cases."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(cases)):
        waiting.put(index)
    outcomes: dict[int, Outcome] = {}

    def work(folder: str) -> None:
        worker = Worker(folder)
        try:
            while True:
                index = waiting.get_nowait()
                outcomes[index] = worker.run(cases[index])
                tell(len(outcomes), cases[index], outcomes[index])
        except queue.Empty:
            return
        finally:
            worker.end()

    _FORK.set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory(prefix="wxbank-faults-logs-") as folder:
        threads = [threading.Thread(target=work, args=(folder,), daemon=True) for _ in range(workers)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            # The process that workers are forked from; it has no public end.
            forkserver._forkserver._stop()  # type: ignore[attr-defined]
    failed = Outcome("unclear", note="the worker did not run it")
    return [(case, outcomes.get(index, failed)) for index, case in enumerate(cases)]


class Worker:
    """A process that runs cases; a new one takes its place when it hangs or dies."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._running: tuple[ForkServerProcess, Connection] | None = None
        self._cases = 0

    def run(self, case: Case) -> Outcome:
        """Run one case."""
        process, pipe = self._running = self._running or self._started()
        try:
            pipe.send(case)
            outcome: Outcome = _received(pipe, DEADLINE)
        except (OSError, EOFError) as failure:
            process.kill()
            self.end()
            if isinstance(failure, TimeoutError):
                return Outcome("hung", note=f"not ended after {DEADLINE:g} s")
            return Outcome("unclear", note="the process died")
        self._cases += 1
        if self._cases % RUNS_EACH == 0:
            self.end()
        return outcome

    def end(self) -> None:
        """End the process."""
        if self._running is not None:
            process, pipe = self._running
            with contextlib.suppress(OSError):
                pipe.send(None)
            process.join(60)
            process.kill()
            process.join()
            pipe.close()
            self._running = None

    def _started(self) -> tuple[ForkServerProcess, Connection]:
        pipe, theirs = _FORK.Pipe()
        process = _FORK.Process(target=serve_runs, args=(theirs, self._folder), daemon=True)
        process.start()
        theirs.close()
        _received(pipe, PATIENCE)
        return process, pipe


def _received(pipe: Connection, seconds: float) -> Any:
    """What a process sends next.

    :raises TimeoutError: nothing came.
    :raises EOFError: the process ended.
    """
    if not pipe.poll(seconds):
        raise TimeoutError
    return pipe.recv()


def is_bad(case: Case, outcome: Outcome) -> bool:
    """Whether something happened that must not."""
    return (
        outcome.ended not in ("at once", "recovered")
        or bool(outcome.lost or outcome.doubled or outcome.plain)
        or outcome.twice > case.twice
    )


def table(ended: Sequence[Ended]) -> str:
    """A row a fault and step; and the totals."""
    rows: dict[tuple[str, str], list[Ended]] = {}
    for one in ended:
        rows.setdefault((one[0].fault, f"{one[0].step}, {one[0].driver}"), []).append(one)
    head = ("runs", "at once", "failed, then succeeded", "unclear", "lost", "doubled", "sent twice", "plain", "hung")
    lines = [f"{'fault':<38} {'step':<26} " + " ".join(f"{name:>{max(len(name), 5)}}" for name in head)]
    for (fault, step), some in [*rows.items(), (("total", ""), list(ended))]:
        values = _values(some)
        cells = " ".join(f"{value:>{max(len(name), 5)}}" for name, value in zip(head, values, strict=True))
        note = "  *" if any(case.twice and outcome.twice for case, outcome in some) else ""
        lines.append(f"{fault:<38} {step:<26} {cells}{note}")
    if any(case.twice and outcome.twice for case, outcome in ended):
        lines.append(
            "* WeChat Pay had the file, its answer was lost, and it did not list it: nobody can know. It refuses the "
            "second one."
        )
    return "\n".join(lines)


def _values(ended: Sequence[Ended]) -> tuple[int, ...]:
    outcomes = [outcome for _, outcome in ended]
    names = [outcome.ended for outcome in outcomes]
    return (
        len(outcomes),
        *(names.count(name) for name in ("at once", "recovered", "unclear")),
        sum(outcome.lost for outcome in outcomes),
        sum(outcome.doubled for outcome in outcomes),
        sum(outcome.twice for outcome in outcomes),
        sum(outcome.plain for outcome in outcomes),
        names.count("hung"),
    )


if __name__ == "__main__":
    sys.exit(main())
