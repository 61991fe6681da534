# SPDX-License-Identifier: Apache-2.0
"""What a DAG run's tasks and their records say about its imports: how far each is, and when it will be done."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from airflow_provider_wxbank.reporting.events import Step
from airflow_provider_wxbank.ui.failures import FailedTask, failed_tasks
from airflow_provider_wxbank.ui.pace import expected_end, numbers_an_hour, stalled_since
from airflow_provider_wxbank.ui.tasks import NOT_BEGUN, Run, Task

StepState = Literal["none", "todo", "running", "retrying", "done", "failed", "skipped"]
State = Literal[
    "exporting", "exported", "uploading", "uploaded", "processing", "finished", "unmatched", "unaccounted", "failed",
    "skipped",
]  # fmt: skip
"""``unmatched`` and ``unaccounted`` are finished, but many numbers did not match, or the counts are not the rows."""

FINISHED_STATES = ("finished", "unmatched", "unaccounted")
"""States of an import that WeChat Pay has processed whole."""

NOTABLE_FAIL_RATIO = 0.1
"""More than this share of the numbers without a match is a state of its own: a campaign misses these customers."""


@dataclass(frozen=True, slots=True)
class Import:
    """One DAG run's import into one package. What is not known is None; times are unix seconds.

    :param steps: state of export, upload and wait.
    :param files: how many there are, of which ``uploaded`` are with WeChat Pay and ``finished`` are processed.
    :param rows: numbers in them, of which ``rows_uploaded`` are with WeChat Pay.
    :param failed_files: files in which not one number matched.
    :param unaccounted: by how many numbers the counts differ from what was sent.
    :param stalled_since: since when nothing moves, if that is longer than it should be.
    :param numbers_an_hour: that WeChat Pay has processed.
    :param user: who triggered the DAG run; ``triggered_by`` is what did, as Airflow names it.
    :param tries: the most that one of its tasks has had.
    :param failed_tasks: why it failed; ``more_failed_tasks`` are not among these.
    :param expected: when WeChat Pay will be done, roughly.
    :param unreadable: records of its tasks that cannot be read here.
    """

    dag_id: str
    run_id: str
    run_state: str
    package_id: str | None
    state: State
    steps: Mapping[Step, StepState]
    begin: float | None
    end: float | None
    files: int | None
    uploaded: int | None
    finished: int | None
    rows: int | None
    rows_uploaded: int | None
    skipped: int | None
    success_count: int | None
    fail_count: int | None
    success_user_count: int | None
    failed_files: int | None
    unaccounted: int | None
    expected: float | None
    seen_at: float | None
    stalled_since: float | None
    numbers_an_hour: float | None
    user: str | None
    triggered_by: str | None
    tries: int
    failed_tasks: Sequence[FailedTask]
    more_failed_tasks: int
    bank_types: Sequence[str]
    wxbank_conn_ids: Sequence[str]
    unreadable: int


def imports(run: Run, tasks: Sequence[Task], now: float) -> list[tuple[Import, list[Task]]]:
    """The imports of a DAG run, one for each package, each with its tasks."""
    return [(_import(run, package_id, group, now), group) for package_id, group in by_package(tasks)]


def by_package(tasks: Sequence[Task]) -> Iterator[tuple[str | None, list[Task]]]:
    """The tasks of each package. An export belongs to the package that its manifest is uploaded into.

    If there are several packages, tasks whose record cannot be read are a group of their own, without a package.
    """
    packages = list(dict.fromkeys(task.package_id for task in tasks if task.package_id is not None))
    if len(packages) <= 1:
        if tasks:
            yield (packages[0] if packages else None), list(tasks)
        return
    for package_id in packages:
        ours = [task for task in tasks if task.package_id == package_id]
        manifests = {_manifest(task) for task in ours} - {None}
        exports = [task for task in tasks if task.step == "export" and _manifest(task) in manifests]
        yield package_id, [*exports, *ours]
    if unreadable := [task for task in tasks if task.is_unreadable]:
        yield None, unreadable


def _manifest(task: Task) -> str | None:
    """Where the manifest is, without its identity: an upload may have been given the path alone."""
    manifest = None if task.told is None else task.told.manifest
    return manifest and _IDENTITY.sub("", manifest)


def step_state(states: Collection[str | None]) -> StepState:
    """The state of a step from the states of its task instances."""
    if not states:
        return "none"
    known = set(states)
    if known & {"failed", "upstream_failed"}:
        return "failed"
    if "up_for_retry" in known:
        return "retrying"
    if known <= {"success", "skipped", "removed"}:
        return "done" if "success" in known else "skipped"
    return "todo" if known <= {None, "scheduled", "queued", "removed"} else "running"


def state_of(steps: Mapping[Step, StepState], run_is_over: bool) -> State:
    """How far an import is."""
    export, upload, wait = steps["export"], steps["upload"], steps["wait"]
    if "failed" in steps.values():
        return "failed"
    if wait == "done":
        return "finished"
    if "skipped" in steps.values():
        return "skipped"
    if wait in ("running", "retrying") and upload in ("none", "done"):
        return "processing"
    if upload == "done":
        return "uploaded" if wait == "none" or run_is_over else "processing"
    if upload in ("running", "retrying"):
        return "uploading"
    return "exported" if export in ("done", "none") else "exporting"


def outcome(counted: Mapping[str, int | None]) -> State:
    """The state of an import that is finished: whether what WeChat Pay counted is as it should be."""
    matched, failed = counted["success_count"], counted["fail_count"]
    if counted["unaccounted"]:
        return "unaccounted"
    if matched is not None and failed and failed > NOTABLE_FAIL_RATIO * (matched + failed):
        return "unmatched"
    return "finished"


def _import(run: Run, package_id: str | None, tasks: Sequence[Task], now: float) -> Import:
    of: dict[Step, list[Task]] = {step: [task for task in tasks if task.step == step] for step in _ORDER}
    steps: dict[Step, StepState] = {step: step_state([task.state for task in of[step]]) for step in _ORDER}
    state = state_of(steps, run.state in ("success", "failed"))
    exports, uploads, waits = of["export"], of["upload"], of["wait"]
    if waits and not uploads:
        # The files were uploaded elsewhere.
        files = uploaded = _all([_waited(task) for task in waits])
        rows = rows_uploaded = _all([_rows_counted(task) for task in waits])
    else:
        files = _total(exports, steps["export"], "files", uploads, "total_files")
        rows = _total(exports, steps["export"], "rows", uploads, "total_rows")
        uploaded, rows_uploaded = _sum(uploads, "files"), _sum(uploads, "rows")
    finished = _finished(waits)
    if finished is not None and uploaded is not None:
        finished = min(finished, uploaded)
    seen_at = max((task.told.at for task in waits if task.told is not None and task.told.at is not None), default=None)
    counted = {name: _counted(waits, name) for name in _COUNTS}
    if state == "finished":
        state = outcome(counted)
    is_over = state in (*FINISHED_STATES, "failed", "skipped")
    end = max((task.end for task in tasks if task.end is not None), default=None) if is_over else None
    first = min((task.begin for task in (uploads or waits) if task.begin is not None), default=None)
    share = (finished or 0) / (files or 1)
    failures, more_failures = failed_tasks(tasks)
    return Import(
        dag_id=run.dag_id,
        run_id=run.run_id,
        run_state=run.state,
        package_id=package_id,
        state=state,
        steps=steps,
        begin=min((task.begin for task in tasks if task.begin is not None), default=run.begin),
        end=end,
        files=files,
        uploaded=uploaded,
        finished=finished,
        rows=rows,
        rows_uploaded=rows_uploaded,
        skipped=_sum(exports, "skipped"),
        **counted,
        expected=_expected(state, uploads, rows or rows_uploaded, share, seen_at, now),
        seen_at=seen_at,
        stalled_since=None if is_over else stalled_since(uploads, waits, now),
        numbers_an_hour=numbers_an_hour(first, seen_at, (rows_uploaded or 0) * (finished or 0) / (uploaded or 1)),
        user=run.user,
        triggered_by=run.triggered_by,
        tries=max((task.try_number for task in tasks), default=0),
        failed_tasks=failures,
        more_failed_tasks=more_failures,
        bank_types=_texts(tasks, "bank_type"),
        wxbank_conn_ids=_texts(tasks, "wxbank_conn_id"),
        unreadable=sum(task.is_unreadable for task in tasks),
    )


def _all(numbers: Sequence[int | None]) -> int | None:
    """The sum, if every one is known."""
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def _sum(tasks: Iterable[Task], name: str) -> int | None:
    return _all([task.number(name) for task in tasks])


def _total(
    exports: Sequence[Task], export: StepState, name: str, uploads: Sequence[Task], upload_name: str
) -> int | None:
    """A sum from the exports once all are done, or else from the uploads once all of them know it."""
    if exports and export != "done":
        return None
    total = _sum(exports, name) if exports else None
    if total is None and uploads:
        total = _all([None if task.told is None else getattr(task.told, upload_name) for task in uploads])
    return total


def _waited(task: Task) -> int | None:
    """How many tasks a wait waits for, once it knows."""
    counted = task.count("tasks")
    return counted if counted is not None or task.told is None else task.told.tasks


def _rows_counted(task: Task) -> int | None:
    return _all([task.count("success_count"), task.count("fail_count")])


def _finished(waits: Sequence[Task]) -> int | None:
    """How many tasks were seen finished, at least, by the waits that have begun."""
    begun = [task for task in waits if task.state not in NOT_BEGUN or task.told is not None or task.is_unreadable]
    return _all([_seen_finished(task) for task in begun]) if begun else None


def _seen_finished(task: Task) -> int | None:
    if task.told is None or task.told.counts is not None:
        return task.count("tasks")
    tasks, processing = task.told.tasks, task.told.processing
    return None if tasks is None or processing is None else max(tasks - processing, 0)


_COUNTS = ("success_count", "fail_count", "success_user_count", "failed_files", "unaccounted")


def _counted(waits: Iterable[Task], name: str) -> int | None:
    """What WeChat Pay counted for the waits that are over; None if it is not known for one of them."""
    counts = [task.count(name) for task in waits if task.state == "success" or task.count(name) is not None]
    return _all(counts) if counts else None


def _expected(
    state: State,
    uploads: Sequence[Task],
    rows: int | None,
    finished_share: float,
    seen_at: float | None,
    now: float,
) -> float | None:
    begin = min((task.begin for task in uploads if task.begin is not None), default=None)
    if state not in ("uploading", "uploaded", "processing") or begin is None or rows is None:
        return None
    last = max((task.end for task in uploads if task.end is not None), default=now)
    return expected_end(begin, now if state == "uploading" else last, rows, finished_share, seen_at)


def _texts(tasks: Iterable[Task], name: str) -> list[str]:
    found = (getattr(task.told, name) for task in tasks if task.told is not None)
    return list(dict.fromkeys(text for text in found if text))


_ORDER: tuple[Step, ...] = ("export", "upload", "wait")

_IDENTITY = re.compile(r"#[0-9a-f]{16}$")
"""What an export adds to the URI of its manifest."""
