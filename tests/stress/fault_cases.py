# SPDX-License-Identifier: Apache-2.0
"""The matrix of faults: what goes wrong in a run, when, and what a person would do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_wxbank.simulator.faults import BEFORE_ANSWER, KINDS, Fault
from airflow_provider_wxbank.simulator.settings import SuiteName

Task = Literal["export", "upload", "wait"]
Driver = Literal["blocking", "loop"]
Hosts = Literal["one", "main closed", "main silent", "both closed", "both silent", "both slow", "main stops"]
Repair = Literal["", "export again", "today's connection", "next day", "an hour later"]

FILES = 12
ROWS = 3
"""Numbers in a file."""

LONG_ROWS = 1200
"""Numbers in a file of 400 kB."""

PERMANENT = frozenset({"forbidden"})
"""Kinds that no retry mends: they must end a task at once, and not as something to try later. An answer that cannot be
verified is none: a proxy may have given it, and stop to."""

WITHDRAWN = "withdrawn-certificate"
"""Told only by who has seen a newer list."""

OF_CERTIFICATES = frozenset(
    {"expired-certificate", "lying-certificates", "wrong-apiv3-key", "forged-certificates", WITHDRAWN}
)
OF_LISTS = frozenset({"changing-page"})
OF_UPLOADS = frozenset({"lost-rows"})

COMMITTED = BEFORE_ANSWER - {"too-many-requests"}
"""Kinds that can hide that a request was processed. 429 says that it was not, and such an answer is taken at its word:
a file that WeChat Pay took all the same is sent again, and it refuses the second one."""

TIMED = frozenset({"hang", "hang-during", "slow", "trickle", "trickle-headers"})
"""Kinds that last longer than a timeout."""

SLOW_SECONDS = 2.4
"""More than the read timeout of a run."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something happens to WeChat Pay's keys, or time passes.

    :param task: in which task.
    :param number: before its so-many-th file (export), POST (upload) or list (wait); 0 before it begins.
    :param action: ``rotate``, ``rotate without overlap``, ``expire``, ``pass SECONDS``, or ``mode MODE``.
    """

    task: Task
    number: int
    action: str


@dataclass(frozen=True, slots=True)
class Case:
    """One run.

    :param fault: the row of the table, with ``step``.
    :param variant: how often, or when; for messages.
    :param faults: the simulator's, from the beginning of the task ``during``.
    :param seconds: of the client's clock, after which they are over by themselves; 0 for never.
    :param hosts: which hosts the connection names, and what becomes of them from ``during`` on.
    :param settings: of the simulator.
    :param rows: numbers in a file.
    :param permanent: whether the failure may be one that a retry does not mend.
    :param repair: what is done before the failed task is run again, besides ending the faults.
    :param twice: files that may be sent twice in full, because nobody can know better.
    :param driver: what sends the client's calls.
    :param suite: of all keys.
    """

    fault: str
    step: str
    variant: str
    faults: tuple[Fault, ...] = ()
    during: Task = "upload"
    seconds: float = 0.0
    events: tuple[Event, ...] = ()
    hosts: Hosts = "one"
    settings: Mapping[str, Any] = field(default_factory=dict)
    files: int = FILES
    rows: int = ROWS
    workers: int = 4
    permanent: bool = False
    repair: Repair = ""
    twice: int = 0
    driver: Driver = "blocking"
    suite: SuiteName = "rsa"

    def __str__(self) -> str:
        return f"{self.fault} | {self.step} | {self.variant} | {self.driver}, {self.suite}"

    @property
    def is_timed(self) -> bool:
        """Whether a timeout is what ends a call of it."""
        return self.hosts != "one" or any(fault.kind in TIMED for fault in self.faults)


def matrix() -> list[Case]:
    """Every case."""
    return [
        *(case for kind in KINDS for case in _of_kind(kind)),
        *_limits(),
        *_rotations(),
        *_migrations(),
        *_hosts(),
        *_lines(),
        *_lists(),
    ]


def reduced() -> list[Case]:
    """A case of each kind, at another step each time, and one of each of the other rows' faults."""
    steps = ("upload", "find", "list", "certificates")
    chosen: dict[str, Case] = {}
    for index, kind in enumerate(KINDS):
        of_kind = list(_of_kind(kind))
        at_step = [case for case in of_kind if case.step == steps[index % len(steps)]]
        chosen[kind] = (at_step or of_kind)[-1]
    for case in matrix():
        if case.fault not in KINDS:
            chosen.setdefault(case.fault.removesuffix(", taken"), case)
    return list(chosen.values())


def _of_kind(kind: str) -> Iterator[Case]:
    """A kind of the simulator's faults at each step where it does something."""
    permanent = kind in PERMANENT
    if kind not in OF_CERTIFICATES | OF_LISTS or kind == "lying-certificates":
        for commit in (False, True) if kind in COMMITTED else (False,):
            name = f"{kind}, taken" if commit else kind
            for variant, options in (
                ("once", {"after": 5, "times": 1}),
                ("every third", {"every": 3}),
                ("always", {}),
            ):
                yield Case(
                    name, "upload", variant, (_fault(kind, "upload", commit=commit, **options),), permanent=permanent
                )
    if kind in OF_UPLOADS:
        return
    if kind not in OF_CERTIFICATES or kind == "lying-certificates":
        for variant, options in (("once", {"times": 1}), ("every third", {"every": 3}), ("always", {})):
            yield Case(kind, "find", variant, (_fault(kind, "find", **options),), permanent=permanent)
        for commit in (False, True):
            # The question that settles an upload of unknown outcome is itself not answered.
            lost = Fault("drop", on="upload", after=5, times=1, commit=commit)
            yield Case(
                kind, "find", f"after a lost answer, {'taken' if commit else 'not taken'}",
                (lost, _fault(kind, "find", after=1, times=2)), workers=1, permanent=permanent,
            )  # fmt: skip
        for variant, options in (
            ("once", {"times": 1}),
            ("the second", {"after": 1, "times": 1}),
            ("every other", {"every": 2}),
            ("always", {}),
        ):
            fault = _fault(kind, "list", **options)
            yield Case(kind, "list", variant, (fault,), "wait", permanent=permanent)
    if kind not in OF_LISTS:
        tasks: tuple[Task, ...] = ("upload", "wait") if kind == WITHDRAWN else ("export", "upload", "wait")
        for task in tasks:
            # The list of the export is kept, and too old to be used.
            events = (Event(task, 0, "pass 25000"),) if kind == WITHDRAWN else ()
            for variant, options in (("once", {"times": 1}), ("always", {})):
                fault = _fault(kind, "certificates", **options)
                yield Case(
                    kind, "certificates", f"{variant}, {task}", (fault,), task, permanent=permanent, events=events
                )


def _fault(kind: str, on: str, **options: Any) -> Fault:
    return Fault(kind, on=on, seconds=SLOW_SECONDS, **options)


def _limits() -> Iterator[Case]:
    kind = "too-many-requests"
    steps: tuple[tuple[str, Task], ...] = (
        ("upload", "upload"), ("find", "upload"), ("list", "wait"), ("certificates", "export"),
        ("certificates", "upload"), ("certificates", "wait"), ("any", "upload"), ("any", "wait"),
    )  # fmt: skip
    for step, task in steps:
        yield Case(kind, step, f"five times, {task}", (Fault(kind, on=step, times=5),), task)
        yield Case("429 for a minute", step, task, (Fault(kind, on=step),), task, seconds=60.0)
    for workers in (1, 4):
        yield Case(
            "daily quota", "upload", f"{workers} workers", settings={"daily_file_quota": 7}, workers=workers,
            repair="next day",
        )  # fmt: skip


def _rotations() -> Iterator[Case]:
    places: tuple[tuple[str, tuple[Task, int]], ...] = (
        ("export to upload", ("upload", 0)),
        ("upload to wait", ("wait", 0)),
        ("during export", ("export", 5)),
        ("during upload", ("upload", 5)),
        ("during wait", ("wait", 2)),
    )
    for step, (task, number) in places:
        for later in (60, 25_000):
            events = Event(task, number, "rotate"), Event(task, number, f"pass {later}")
            yield Case("rotation", step, f"{later} s later", during=task, events=events, workers=1)
        yield Case("rotation", step, "at once", during=task, events=(Event(task, number, "rotate"),))
        for action in ("rotate without overlap", "expire"):
            yield Case(
                "rotation, old key gone", step, action, during=task, events=(Event(task, number, action),),
                permanent=True, repair="export again",
            )  # fmt: skip


def _migrations() -> Iterator[Case]:
    places: tuple[tuple[str, tuple[Task, int]], ...] = (
        ("export to upload", ("upload", 0)),
        ("upload to wait", ("wait", 0)),
        ("during export", ("export", 5)),
        ("during upload", ("upload", 5)),
        ("during wait", ("wait", 2)),
    )
    for name, before, after in (
        ("migration begun", "certificates", "both"),
        ("migration finished", "both", "public-key"),
        ("migration finished, unprepared", "certificates", "public-key"),
        ("migration taken back", "both", "certificates"),
    ):
        for step, (task, number) in places:
            yield Case(
                name, step, f"{before} to {after}", during=task, events=(Event(task, number, f"mode {after}"),),
                settings={"key_mode": before}, permanent=True, repair="today's connection",
            )  # fmt: skip


def _hosts() -> Iterator[Case]:
    tasks: tuple[Task, ...] = ("export", "upload", "wait")
    for task in tasks:
        main: tuple[Hosts, ...] = ("main closed", "main silent")
        for hosts in main:
            yield Case(f"{hosts}, backup up", "any", task, during=task, hosts=hosts)
        both: tuple[Hosts, ...] = ("both closed", "both silent")
        for hosts in both:
            for seconds in (0.0, 2.0):
                variant = f"{task}, {f'{seconds:g} s' if seconds else 'until the retry'}"
                yield Case(f"{hosts} for a while", "any", variant, during=task, hosts=hosts, seconds=seconds)


def _lines() -> Iterator[Case]:
    """Files of 400 kB, which take longer than a timeout on a line that is slow, and never arrive on one that stops
    after 64 kB of each connection; the line to the backup host does not stop."""
    later = {"check": "later"}
    for workers in (1, 2):
        yield Case("slow line", "upload", f"{workers} workers", hosts="both slow", files=2, rows=LONG_ROWS,
                   settings=later, workers=workers)  # fmt: skip
        yield Case("line that stops", "upload", f"{workers} workers", hosts="main stops", files=2, rows=LONG_ROWS,
                   settings=later, workers=workers)  # fmt: skip


def _lists() -> Iterator[Case]:
    settings: dict[str, Any]
    for unit in ("page", "row"):
        for newest_first in (False, True):
            settings = {"offset_unit": unit, "newest_first": newest_first}
            variant = "newest first" if newest_first else "oldest first"
            yield Case(f"offset counts {unit}s", "list", variant, settings=settings, files=45)
            for times in (1, 0):
                yield Case(
                    f"changing pages, offset counts {unit}s", "list", f"{variant}, {times or 'always'}",
                    (Fault("changing-page", on="list", times=times),), "wait", settings=settings, files=45,
                )  # fmt: skip
    late = {"listing_delay_seconds": 150.0}
    yield Case("listed late", "list", "150 s", settings=late)
    lost = Fault("drop", on="upload", after=5, times=1, commit=True)
    for seconds in (1.5, 5.0, 150.0):
        # A file that WeChat Pay has and does not show: only its refusal of a second one tells.
        yield Case(
            "listed late, answer lost", "find", f"{seconds:g} s", (lost,),
            settings={"listing_delay_seconds": seconds}, repair="an hour later", twice=1,
        )  # fmt: skip
