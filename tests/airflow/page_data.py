# SPDX-License-Identifier: Apache-2.0
"""Imports in an Airflow database, as the operators and the sensor record them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow_provider_wxbank.reporting.events import FinishedFile
from airflow_provider_wxbank.reporting.record import (
    FAILURE,
    FINISHED,
    KEY,
    MISSING,
    UPLOADED,
    VERSION,
    MissingFile,
    UploadedFile,
    pieces,
)

PARTS = ("DAG", "RUN", "TASK_INSTANCE", "XCOM")
"""What an import is made of, and a user may not be allowed to read."""

HIDDEN_DAG = "import_others"

OPERATORS = {"export": "ExportUsersOperator", "upload": "UploadTaskOperator", "wait": "TaskFinishedSensor"}


def who_lacks(part: str, which: str = "some") -> str:
    """The name of the user who may not read a part of :data:`HIDDEN_DAG`, or of ``any`` DAG."""
    return f"{which}-{part}"


@dataclass(frozen=True)
class Left:
    """What a task left behind: its state, its record, its rows of files, its failure, the files it has not uploaded."""

    task_id: str
    step: str
    state: str | None
    record: Mapping[str, Any] | None = None
    rows: Sequence[Sequence[Any]] = ()
    begin: float | None = None
    end: float | None = None
    map_index: int = -1
    operator: str | None = field(default=None)
    failure: Mapping[str, Any] | None = None
    missing: Sequence[str] = ()
    try_number: int = 1
    max_tries: int = 0


def add_run(
    dag_id: str,
    run_id: str,
    begin: float,
    tasks: Sequence[Left],
    state: str = "running",
    stored: Callable[[Any], Any] = lambda value: value,
    user: str | None = None,
) -> None:
    """Put a DAG run with its tasks and XComs into Airflow's database.

    :param stored: what an XCom backend leaves of a value in the database.
    """
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunType
    from sqlalchemy import insert

    with create_session() as session:
        if session.get(DagBundleModel, "page") is None:
            session.add(DagBundleModel(name="page"))
            session.flush()
        if session.get(DagModel, dag_id) is None:
            session.add(DagModel(dag_id=dag_id, bundle_name="page", is_stale=False, fileloc="page.py"))
            session.flush()
        run = DagRun(
            dag_id=dag_id,
            run_id=run_id,
            run_type=DagRunType.MANUAL,
            state=DagRunState(state),
            run_after=moment(begin),
            start_date=moment(begin),
            triggering_user_name=user,
        )
        session.add(run)
        session.flush()
        for task in tasks:
            session.execute(
                insert(TaskInstance).values(
                    task_id=task.task_id,
                    dag_id=dag_id,
                    run_id=run_id,
                    map_index=task.map_index,
                    operator=task.operator or OPERATORS[task.step],
                    state=task.state,
                    start_date=None if task.begin is None else moment(task.begin),
                    end_date=None if task.end is None else moment(task.end),
                    try_number=task.try_number,
                    max_tries=task.max_tries,
                    pool="default_pool",
                    pool_slots=1,
                )
            )
            key, kind = (UPLOADED, UploadedFile) if task.step == "upload" else (FINISHED, FinishedFile)
            found = pieces(kind(*row) for row in task.rows)
            values: dict[str, Any] = {f"{key}{number}": piece for number, piece in enumerate(found)}
            if task.record is not None:
                values[KEY] = {"version": VERSION, "step": task.step, **task.record}
            if task.failure is not None:
                values[FAILURE] = {"version": VERSION, "step": task.step, **task.failure}
            values |= {f"{MISSING}{index}": piece for index, piece in enumerate(pieces(map(MissingFile, task.missing)))}
            for name, value in values.items():
                add_xcom(session, run, task, name, stored(value))


def has_xcoms_of_tries() -> bool:
    """Whether an XCom belongs to one try of its task, and is not written by its model, as from Airflow 3.4 on."""
    from airflow.models.xcom import XComModel

    return hasattr(XComModel, "set_for_attempt")


def add_xcom(session: Any, run: Any, task: Left, key: str, value: Any) -> None:
    """Put an XCom of a task into the database."""
    from airflow.models.xcom import XComModel

    place = {"dag_id": run.dag_id, "run_id": run.run_id, "task_id": task.task_id, "map_index": task.map_index}
    if has_xcoms_of_tries():
        XComModel.set(**place, key=key, value=value, serialize=False, session=session)
    else:
        session.add(XComModel(dag_run_id=run.id, **place, key=key, value=value))


def change_xcoms(session: Any, run_id: str, value: Any, *, key: str = "", task_id: str | None = None) -> None:
    """Put another value into XComs of a run: those whose keys begin so, of one of its tasks or all.

    :param value: an expression of SQLAlchemy is put there as it is.
    """
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select, update

    if has_xcoms_of_tries():
        from airflow.models.xcom import XComModelV2 as XCom

        tries = select(TaskInstance.id).where(TaskInstance.run_id == run_id)
        tries = tries if task_id is None else tries.where(TaskInstance.task_id == task_id)
        ours = update(XCom).where(XCom.task_instance_id.in_(tries))
    else:
        from airflow.models.xcom import XComModel as XCom

        ours = update(XCom).where(XCom.run_id == run_id)
        ours = ours if task_id is None else ours.where(XCom.task_id == task_id)
    ours = ours.where(XCom.key.startswith(key)).values(value=value)
    session.execute(ours.execution_options(synchronize_session=False))


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def whole_import(
    package_id: str,
    begin: float,
    files: int,
    rows: int = 5500,
    matched: int = 5000,
    failed_files: int = 0,
    prefix: str = "import",
) -> list[Left]:
    """An import that is finished, with so many files of so many rows."""
    names = [f"{prefix}-{int(begin)}-{index:032x}.csv" for index in range(files)]
    ids = [str(int(begin) % 10**7 * 1000 + index) for index in range(files)]
    manifest = f"/exports/{int(begin)}/manifest.json"
    conn = "wxbank_default"
    uploaded = [
        [name, task_id, rows, int(begin) + 60 + index // 4]
        for index, (name, task_id) in enumerate(zip(names, ids, strict=True))
    ]
    finished = [
        [
            task_id, name, int(begin) + 60 + index // 4, int(begin) + 2460 + index * 15,
            *((0, rows, 0) if index < failed_files else (matched, rows - matched, matched + matched // 50)),
        ]
        for index, (name, task_id) in enumerate(zip(names, ids, strict=True))
    ]  # fmt: skip
    good = files - failed_files
    counts = {
        "tasks": files,
        "success_count": good * matched,
        "fail_count": good * (rows - matched) + failed_files * rows,
        "success_user_count": good * (matched + matched // 50),
        "failed_files": failed_files,
    }
    export = {
        "wxbank_conn_id": conn,
        "bank_type": "ICBC_DEBIT",
        "manifest": manifest,
        "files": files,
        "rows": files * rows,
        "skipped": 0,
    }
    upload = {
        "wxbank_conn_id": conn, "package_id": package_id, "bank_type": None, "manifest": manifest,
        "files": files, "rows": files * rows, "total_files": files, "total_rows": files * rows,
    }  # fmt: skip
    wait = {
        "wxbank_conn_id": conn, "package_id": package_id, "tasks": files, "processing": 0, "poll_interval": 60.0,
        "at": int(begin) + 5000, "counts": counts,
    }  # fmt: skip
    return [
        Left("export_users", "export", "success", export, (), begin, begin + 55),
        Left("upload", "upload", "success", upload, uploaded, begin + 60, begin + 60 + files // 4),
        Left("finished", "wait", "success", wait, finished, begin + 70 + files // 4, begin + 2600 + files * 15),
    ]
