"""What tasks record of their import, for the page "WeChat Pay packages" and its links: counts, names and times.

It is kept in XComs of the task, the one place that a task, a trigger and Airflow's API server share on every Airflow
that has the page: :data:`KEY` has the sums, and what grows with the files is in pieces. Nothing depends on it.

Anybody who writes a DAG can put anything under these keys, so what is read is checked: :class:`Told`,
:class:`UploadedFile` and :class:`FinishedFile` are all that the page knows of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from airflow.providers.common.compat.sdk import XCom
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_1_PLUS

from airflow_provider_wxbank.wechatpay.packages import UploadTask
from airflow_provider_wxbank.wechatpay.waiting import Wanted

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

HAS_PAGE = AIRFLOW_V_3_1_PLUS
"""Whether this Airflow can show the page: 3.0 has no place for it, and does not show a plugin the browser's session."""

KEY = "wxbank_import"
"""The XCom with the sums of a task."""

UPLOADED = "wxbank_uploaded_"
"""XComs with what was uploaded, ``[filename, task id, rows, unix seconds or null]`` each, by number of the piece."""

FINISHED = "wxbank_finished_"
"""XComs with what WeChat Pay counted, in the form of :func:`finished_rows`, by number of the piece."""

PIECE = 250
"""Files in a piece: about 25 kB."""

RECORD_SECONDS = 300.0
"""Seconds after which a wait is recorded anew though nothing has changed."""

MAX_NUMBER = 10**10
"""No count, no sum and no time of a record is as much: 10 billion numbers; the year 2286."""

MAX_NAME = 250
"""Characters of an id or a filename: as many as Airflow's own ids may have."""


Step = Literal["export", "upload", "wait"]

log = logging.getLogger(__name__)


class Record:
    """What one task records of its import; a failure to record is logged, and the task goes on.

    :param context: of the task that runs; None on the command line, where nothing is recorded.
    :param facts: what is known from the start: ``step`` (``export``, ``upload`` or ``wait``), the connection, the
        package, the bank type.
    """

    def __init__(self, context: Context | None, **facts: Any) -> None:
        self._push = getattr(context["ti"], "xcom_push", None) if HAS_PAGE and context is not None else None
        self._facts = facts
        self._pieces = 0

    def tell(self, **facts: Any) -> None:
        """Record facts beside those that are known."""
        self._facts |= facts
        self._set(KEY, self._facts)

    def tell_rows(self, key: str, rows: Iterable[Sequence[Any]]) -> None:
        """Record a row for each of some files, :data:`UPLOADED` or :data:`FINISHED`, after those told before."""
        rest: Iterator[Sequence[Any]] = iter(rows)
        while piece := list(islice(rest, PIECE)):
            self._set(f"{key}{self._pieces}", piece)
            self._pieces += 1

    def _set(self, key: str, value: Any) -> None:
        if self._push is None:
            return
        try:
            self._push(key, value)
        except Exception as failure:
            log.warning("The page of WeChat Pay packages will not show all of this task: %s", failure)
            self._push = None


def waiting(wxbank_conn_id: str, target: Wanted, processing: int | None, poll_interval: float) -> dict[str, Any]:
    """What a wait has seen.

    :param processing: how many of the tasks WeChat Pay is processing, at most; None if that was not seen.
    """
    named = target.task_ids or target.filenames
    tasks = None if named is None else len(named)
    return {
        "step": "wait",
        "wxbank_conn_id": wxbank_conn_id,
        "package_id": target.package_id,
        "tasks": tasks,
        "processing": processing if tasks is None or processing is None else min(processing, tasks),
        "poll_interval": poll_interval,
        "at": int(time.time()),
    }


def is_news(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> bool:
    """Whether what a wait has seen is worth another record."""
    return old is None or new["processing"] != old["processing"] or new["at"] - old["at"] >= RECORD_SECONDS


async def record_from_trigger(trigger_task: Any, value: Mapping[str, Any]) -> None:
    """Set :data:`KEY` of the task that a trigger waits for, where Airflow lets triggers set XComs (3.3 and later).

    :param trigger_task: the trigger's ``task_instance``.
    """
    set_xcom = getattr(XCom, "aset", None)
    if trigger_task is None or set_xcom is None:
        return
    try:
        await set_xcom(
            KEY,
            dict(value),
            dag_id=trigger_task.dag_id,
            task_id=trigger_task.task_id,
            run_id=trigger_task.run_id,
            map_index=trigger_task.map_index,
        )
    except Exception as failure:
        log.warning("The page of WeChat Pay packages will not show how far this wait is: %s", failure)


def finished_rows(tasks: Iterable[UploadTask]) -> list[list[Any]]:
    """``[task id, filename, created, finished, success_count, fail_count, success_user_count]`` of each task.

    Times are unix seconds, or null where WeChat Pay left them out; all but the first three are null of a task that is
    processing.
    """
    return [
        [
            task.task_id,
            task.filename,
            None if task.create_time is None else int(task.create_time.timestamp()),
            *(_counted(task) if task.is_finished else (None, None, None, None)),
        ]
        for task in tasks
    ]


def _counted(task: UploadTask) -> tuple[int | None, int, int, int]:
    return (
        None if task.update_time is None else int(task.update_time.timestamp()),
        task.success_count or 0,
        task.fail_count or 0,
        task.success_user_count or 0,
    )


@dataclass(frozen=True, slots=True)
class Counted:
    """What WeChat Pay counted of all tasks of a wait."""

    tasks: int
    success_count: int
    fail_count: int
    success_user_count: int
    failed_files: int

    @classmethod
    def read(cls, value: object) -> Counted:
        """:raises ValueError: it is none."""
        return cls(**{name: _number(_mapping(value).get(name)) for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Told:
    """What a task has recorded under :data:`KEY` so far; what it did not tell is None.

    :param manifest: what the task wrote or uploads: something to compare, and not to show or open.
    :param files: exported, or uploaded so far; ``rows`` are the numbers in them.
    :param skipped: rows that an export left out.
    :param total_files: that an upload has to upload; ``total_rows`` are the numbers in them.
    :param tasks: upload tasks that are waited for, of which ``processing`` were not finished at ``at``, unix seconds.
    """

    step: Step
    wxbank_conn_id: str | None = None
    package_id: str | None = None
    bank_type: str | None = None
    manifest: str | None = None
    files: int | None = None
    rows: int | None = None
    skipped: int | None = None
    total_files: int | None = None
    total_rows: int | None = None
    tasks: int | None = None
    processing: int | None = None
    at: int | None = None
    counts: Counted | None = None

    @classmethod
    def read(cls, value: object) -> Told | None:
        """The record that a value is, whichever version of this package wrote it; None if it is no record."""
        try:
            facts = _mapping(value)
            return cls(
                _step(facts.get("step")),
                **{name: read(facts[name]) for name, read in _FACTS.items() if facts.get(name) is not None},
            )
        except ValueError:
            return None


class UploadedFile(NamedTuple):
    """A row of :data:`UPLOADED`."""

    filename: str
    task_id: str
    rows: int | None
    at: int | None

    @classmethod
    def read(cls, value: object) -> UploadedFile | None:
        """The row that a value is; None if it is none."""
        try:
            filename, task_id, *numbers = _row(value, len(cls._fields))
            return cls(_name(filename), _name(task_id), *map(_number_or_none, numbers))
        except ValueError:
            return None


class FinishedFile(NamedTuple):
    """A row of :data:`FINISHED`; see :func:`finished_rows`."""

    task_id: str
    filename: str
    created: int | None
    finished: int | None
    success_count: int | None
    fail_count: int | None
    success_user_count: int | None

    @classmethod
    def read(cls, value: object) -> FinishedFile | None:
        """The row that a value is; None if it is none."""
        try:
            task_id, filename, *numbers = _row(value, len(cls._fields))
            return cls(_name(task_id), _name(filename), *map(_number_or_none, numbers))
        except ValueError:
            return None


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ValueError
    return value


def _row(value: object, fields: int) -> list[object]:
    if not isinstance(value, list) or len(value) != fields:
        raise ValueError
    return value


def _step(value: object) -> Step:
    for step in get_args(Step):
        if value == step:
            return step  # type: ignore[no-any-return]  # mypy does not know the arguments of a Literal
    raise ValueError


def _name(value: object) -> str:
    # What cannot be printed cannot always be encoded either: JSON can hold half a character.
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise ValueError
    return value


def _place(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MAX_NUMBER:
        raise ValueError
    return value


def _number_or_none(value: object) -> int | None:
    return None if value is None else _number(value)


_FACTS: Mapping[str, Callable[[object], Any]] = {
    **dict.fromkeys(("wxbank_conn_id", "package_id", "bank_type"), _name),
    "manifest": _place,
    **dict.fromkeys(("files", "rows", "skipped", "total_files", "total_rows", "tasks", "processing", "at"), _number),
    "counts": Counted.read,
}
