# SPDX-License-Identifier: Apache-2.0
"""DAG runs, task instances and records from Airflow's database, in a few queries however many imports there are.

XComs are read from the database alone, as Airflow's own API does. What an XCom backend keeps elsewhere is for workers
to read: it would hold this thread for as long as that takes. Such a record counts as unreadable here.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from airflow.models.connection import Connection
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import Text, cast, func, or_, select
from sqlalchemy.orm import Session

from airflow_provider_wxbank.reporting.events import FinishedFile
from airflow_provider_wxbank.reporting.record import (
    FAILURE,
    FINISHED,
    KEY,
    MISSING,
    UPLOADED,
    Failure,
    MissingFile,
    Sums,
    UploadedFile,
    read_finished,
    read_missing,
    read_uploaded,
)
from airflow_provider_wxbank.ui.files import FileRow, file_rows
from airflow_provider_wxbank.ui.tasks import STEPS, Run, Task

MAX_RECORD = 20_000
"""Characters of a task's record that are read. The longest text in it is a path. A longer record is unreadable."""

MAX_FILES = 250_000
"""Characters of an XCom of files that are read. 250 files with the longest names have fewer."""


KEYS = (KEY, FAILURE)
"""What tells that a task is one of ours. A task may fail before it has anything else to tell."""

DEAD = ("failed", "upstream_failed", "up_for_retry")
"""States of tasks that may have failed before they recorded anything. Airflow has an index of states."""


def dags_with_imports(session: Session) -> set[str]:
    """The ids of DAGs that have an import, or one that failed before it began."""
    recorded = select(XComModel.dag_id).where(XComModel.key.in_(KEYS)).distinct()
    return set(session.scalars(recorded)) | set(session.scalars(_dead(TaskInstance.dag_id).distinct()))


def _dead(*of: Any) -> Any:
    """Our tasks that failed, whether or not they have recorded anything."""
    return select(*of).select_from(TaskInstance).where(TaskInstance.state.in_(DEAD), TaskInstance.operator.in_(STEPS))


def recent_runs(
    session: Session,
    dag_ids: Collection[str],
    limit: int,
    before: int | None = None,
    since: float | None = None,
    until: float | None = None,
) -> tuple[list[Run], bool]:
    """The newest DAG runs of some DAGs that have an import.

    :param before: the id of a run; only older ones are given.
    :param since: unix seconds; only runs that began then or later, and before ``until``.
    :return: the runs, newest first, and whether there are more.
    """
    recorded = select(XComModel.dag_run_id).where(XComModel.key.in_(KEYS))
    dead = _dead(DagRun.id).join(
        DagRun, (DagRun.dag_id == TaskInstance.dag_id) & (DagRun.run_id == TaskInstance.run_id)
    )
    query = (
        _RUNS.where(DagRun.dag_id.in_(dag_ids), DagRun.id.in_(recorded.union(dead)))
        .order_by(DagRun.id.desc())
        .limit(limit + 1)
    )
    if before is not None:
        query = query.where(DagRun.id < before)
    if since is not None:
        query = query.where(DagRun.start_date >= datetime.fromtimestamp(since, UTC))
    if until is not None:
        query = query.where(DagRun.start_date < datetime.fromtimestamp(until, UTC))
    runs = [_run(*row) for row in session.execute(query)]
    return runs[:limit], len(runs) > limit


def one_run(session: Session, dag_id: str, run_id: str) -> Run | None:
    """A DAG run."""
    row = session.execute(_RUNS.where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).first()
    return None if row is None else _run(*row)


def tasks_of(session: Session, runs: Collection[Run]) -> tuple[Mapping[int, list[Task]], int]:
    """Our task instances in some DAG runs, with their records, by the id of the run.

    :return: these, and how many unreadable records belong to other tasks.
    """
    ids = [run.id for run in runs]
    records: dict[tuple[int, str, int], Sums | None] = {}
    failures: dict[tuple[int, str, int], Failure | None] = {}
    for run, task_id, map_index, key, value in session.execute(
        select(
            XComModel.dag_run_id, XComModel.task_id, XComModel.map_index, XComModel.key, _beginning(MAX_RECORD)
        ).where(XComModel.dag_run_id.in_(ids), XComModel.key.in_(KEYS))
    ):
        if key == KEY:
            records[run, task_id, map_index] = Sums.read(_parsed(value))
        else:
            failures[run, task_id, map_index] = Failure.read(_parsed(value))
    told_by = {task_id for _, task_id, _ in (*records, *failures)}
    query = (
        select(
            DagRun.id,
            TaskInstance.task_id,
            TaskInstance.map_index,
            TaskInstance.operator,
            TaskInstance.state,
            TaskInstance.start_date,
            TaskInstance.end_date,
            TaskInstance.try_number,
            TaskInstance.max_tries,
        )
        .join(DagRun, (DagRun.dag_id == TaskInstance.dag_id) & (DagRun.run_id == TaskInstance.run_id))
        .where(
            DagRun.id.in_(ids),
            # Classes that are derived from ours are known by their records.
            or_(TaskInstance.operator.in_(STEPS), TaskInstance.task_id.in_(told_by)),
        )
        .order_by(TaskInstance.task_id, TaskInstance.map_index)
    )
    found: dict[int, list[Task]] = defaultdict(list)
    others = 0
    for run, task_id, map_index, operator, state, begin, end, *tries in session.execute(query):
        task = run, task_id, map_index
        told, failure = records.get(task), failures.get(task)
        is_unreadable = (task in records and told is None) or (task in failures and failure is None)
        step = next((one.step for one in (told, failure) if one is not None), STEPS.get(operator or ""))
        if step is None:
            others += is_unreadable
            continue
        times = _unix(begin), _unix(end)
        found[run].append(Task(task_id, map_index, step, _text(state), *times, told, is_unreadable, failure, *tries))
    return found, others


def recorded_since(session: Session, dag_ids: Collection[str], moment: float) -> list[tuple[Sums, float | None]]:
    """What the tasks of some DAGs have recorded since a moment, each with the beginning of its DAG run.

    :param moment: unix seconds.
    """
    query = (
        select(_beginning(MAX_RECORD), DagRun.start_date)
        .join(DagRun, DagRun.id == XComModel.dag_run_id)
        .where(
            XComModel.key == KEY,
            XComModel.timestamp >= datetime.fromtimestamp(moment, UTC),
            XComModel.dag_id.in_(dag_ids),
        )
    )
    found = ((Sums.read(_parsed(value)), _unix(begin)) for value, begin in session.execute(query))
    return [(sums, begin) for sums, begin in found if sums is not None]


def files_of(session: Session, run: Run, tasks: Iterable[Task]) -> tuple[list[FileRow], int]:
    """The files of some tasks of a DAG run, and how many records of files cannot be read."""
    ours = {(task.task_id, task.map_index) for task in tasks}
    query = (
        select(XComModel.task_id, XComModel.map_index, XComModel.key, _beginning(MAX_FILES))
        .where(
            XComModel.dag_run_id == run.id,
            XComModel.task_id.in_({task_id for task_id, _ in ours}),
            or_(*(XComModel.key.startswith(key, autoescape=True) for key in (UPLOADED, FINISHED, MISSING))),
        )
        .order_by(XComModel.task_id, XComModel.map_index, XComModel.timestamp)
    )
    uploaded: list[UploadedFile | None] = []
    finished: list[FinishedFile | None] = []
    missing: list[MissingFile | None] = []
    for task_id, map_index, key, value in session.execute(query):
        if (task_id, map_index) not in ours:
            continue
        if key.startswith(UPLOADED):
            uploaded.extend(read_uploaded(_parsed(value)))
        elif key.startswith(FINISHED):
            finished.extend(read_finished(_parsed(value)))
        else:
            missing.extend(read_missing(_parsed(value)))
    rows = file_rows(filter(None, uploaded), filter(None, finished), filter(None, missing))
    return rows, sum(of.count(None) for of in (uploaded, finished, missing))


def _beginning(characters: int) -> Any:
    """The beginning of an XCom's value, as text: one that cannot be parsed must not fail the whole query."""
    return func.substr(cast(XComModel.value, Text), 1, characters)


def connection_ids(session: Session) -> list[str]:
    """The connections of type ``wxbank`` that Airflow keeps in its database."""
    query = select(Connection.conn_id).where(Connection.conn_type == "wxbank").order_by(Connection.conn_id)
    return [conn_id for conn_id in session.scalars(query) if conn_id]


_RUNS = select(
    DagRun.id,
    DagRun.dag_id,
    DagRun.run_id,
    DagRun.state,
    DagRun.start_date,
    DagRun.triggering_user_name,
    DagRun.triggered_by,
)


def _run(
    key: int, dag_id: str, run_id: str, state: object, begin: datetime | None, user: str | None, by: object
) -> Run:
    return Run(key, dag_id, run_id, _text(state) or "", _unix(begin), user, _text(by))


def _parsed(text: str | None) -> object:
    """The value of an XCom; None if it cannot be parsed."""
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return None


def _text(state: object) -> str | None:
    return None if state is None else str(getattr(state, "value", state))


def _unix(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()
