"""DAG runs, task instances and records from Airflow's database, in few queries whatever the number of imports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow.models.connection import Connection
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from airflow_provider_wxbank.record import FINISHED, KEY, UPLOADED
from airflow_provider_wxbank.ui.imports import STEPS, FileRow, Run, Step, Task, file_rows


def recent_runs(
    session: Session, dag_ids: Collection[str], limit: int, before: int | None = None
) -> tuple[list[Run], bool]:
    """The newest DAG runs that have an import, of some DAGs.

    :param before: the id of a run; only older ones are given.
    :return: the runs, newest first, and whether there are more.
    """
    query = (
        select(DagRun.id, DagRun.dag_id, DagRun.run_id, DagRun.state, DagRun.start_date)
        .where(DagRun.dag_id.in_(dag_ids), DagRun.id.in_(select(XComModel.dag_run_id).where(XComModel.key == KEY)))
        .order_by(DagRun.id.desc())
        .limit(limit + 1)
    )
    if before is not None:
        query = query.where(DagRun.id < before)
    runs = [_run(*row) for row in session.execute(query)]
    return runs[:limit], len(runs) > limit


def one_run(session: Session, dag_id: str, run_id: str) -> Run | None:
    """A DAG run."""
    query = select(DagRun.id, DagRun.dag_id, DagRun.run_id, DagRun.state, DagRun.start_date).where(
        DagRun.dag_id == dag_id, DagRun.run_id == run_id
    )
    row = session.execute(query).first()
    return None if row is None else _run(*row)


def tasks_of(session: Session, runs: Collection[Run]) -> Mapping[int, list[Task]]:
    """Our task instances of some DAG runs, with their records, by the id of the run."""
    ids = [run.id for run in runs]
    records: dict[tuple[int, str, int], Mapping[str, Any]] = {
        (run, task_id, map_index): value
        for run, task_id, map_index, value in session.execute(
            select(XComModel.dag_run_id, XComModel.task_id, XComModel.map_index, XComModel.value).where(
                XComModel.dag_run_id.in_(ids), XComModel.key == KEY
            )
        )
        if isinstance(value, Mapping)
    }
    query = (
        select(
            DagRun.id,
            TaskInstance.task_id,
            TaskInstance.map_index,
            TaskInstance.operator,
            TaskInstance.state,
            TaskInstance.start_date,
            TaskInstance.end_date,
        )
        .join(DagRun, (DagRun.dag_id == TaskInstance.dag_id) & (DagRun.run_id == TaskInstance.run_id))
        .where(
            DagRun.id.in_(ids),
            # Classes that are derived from ours are known by their records.
            or_(TaskInstance.operator.in_(STEPS), TaskInstance.task_id.in_({task_id for _, task_id, _ in records})),
        )
        .order_by(TaskInstance.task_id, TaskInstance.map_index)
    )
    found: dict[int, list[Task]] = defaultdict(list)
    for run, task_id, map_index, operator, state, begin, end in session.execute(query):
        record = records.get((run, task_id, map_index), {})
        step = _step(record, operator)
        if step is not None:
            found[run].append(Task(task_id, map_index, step, _text(state), _unix(begin), _unix(end), record))
    return found


def files_of(session: Session, run: Run, tasks: Iterable[Task]) -> list[FileRow]:
    """The files of some tasks of a DAG run."""
    ours = {(task.task_id, task.map_index) for task in tasks}
    query = (
        select(XComModel.task_id, XComModel.map_index, XComModel.key, XComModel.value)
        .where(
            XComModel.dag_run_id == run.id,
            XComModel.task_id.in_({task_id for task_id, _ in ours}),
            or_(
                XComModel.key.startswith(UPLOADED, autoescape=True), XComModel.key.startswith(FINISHED, autoescape=True)
            ),
        )
        .order_by(XComModel.task_id, XComModel.map_index, XComModel.timestamp)
    )
    uploaded: list[Sequence[Any]] = []
    finished: list[Sequence[Any]] = []
    for task_id, map_index, key, value in session.execute(query):
        if (task_id, map_index) in ours and isinstance(value, list):
            (uploaded if key.startswith(UPLOADED) else finished).extend(value)
    return file_rows(uploaded, finished)


def connection_ids(session: Session) -> list[str]:
    """The connections of type ``wxbank`` that Airflow keeps in its database."""
    query = select(Connection.conn_id).where(Connection.conn_type == "wxbank").order_by(Connection.conn_id)
    return [conn_id for conn_id in session.scalars(query) if conn_id]


def _run(key: int, dag_id: str, run_id: str, state: object, begin: datetime | None) -> Run:
    return Run(key, dag_id, run_id, _text(state) or "", _unix(begin))


def _step(record: Mapping[str, Any], operator: str | None) -> Step | None:
    step = record.get("step")
    return step if step in ("export", "upload", "wait") else STEPS.get(operator or "")


def _text(state: object) -> str | None:
    return None if state is None else str(getattr(state, "value", state))


def _unix(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()
