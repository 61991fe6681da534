# SPDX-License-Identifier: Apache-2.0
"""The observer that records a task's import in XComs; see :mod:`.record`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_wxbank._compat import HAS_PAGE, xcom_setter_of_triggers
from airflow_provider_wxbank.packages.quota import day_of
from airflow_provider_wxbank.reporting.events import (
    Began,
    Ended,
    Event,
    Exported,
    Failed,
    FileUploaded,
    Finished,
    PollMade,
    UploadPlanned,
)
from airflow_provider_wxbank.reporting.record import (
    FAILURE,
    FINISHED,
    KEY,
    MISSING,
    UPLOADED,
    Counted,
    Failure,
    File,
    MissingFile,
    Sums,
    UploadedFile,
    WaitNews,
    pieces,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

UPLOAD_SECONDS = 30.0
"""Seconds between two records of an upload, at least."""

log = logging.getLogger(__name__)


class Recorder:
    """Records what a task does. If recording fails, that is logged, and the task goes on.

    :param context: the context of the task that runs.
    :param sums: what is known from the start: the step, the connection, the package, the bank type.
    :param clock: seconds that only grow.
    """

    def __init__(self, context: Context, sums: Sums, clock: Callable[[], float] = time.monotonic) -> None:
        self._push = getattr(context["ti"], "xcom_push", None) if HAS_PAGE else None
        self._sums = sums
        self._clock = clock
        self._pieces = 0
        self._uploaded: list[UploadedFile] = []
        self._missing: dict[str, None] = {}
        self._recorded_at = clock()
        self._waits = WaitNews()

    def __call__(self, event: Event) -> None:
        """Take note of an event, and record it if it is worth it."""
        match event:
            case Began():
                self._tell()
            case Exported():
                self._tell(manifest=event.manifest, files=event.files, rows=event.rows, skipped=event.skipped)
            case UploadPlanned():
                self._sums = replace(self._sums, total_files=event.files, total_rows=event.rows, quota=event.quota)
                self._missing = dict.fromkeys(event.filenames)
                if event.manifest is not None:
                    self._tell(manifest=event.manifest)
            case FileUploaded():
                self._take(event)
                is_last = event.done_files == self._sums.total_files
                if is_last or self._clock() - self._recorded_at >= UPLOAD_SECONDS:
                    self._recorded_at = self._clock()
                    self._tell_uploaded()
            case PollMade() if (news := self._waits.news(self._sums, event)) is not None:
                self._sums = news
                self._tell()
            case Finished():
                counts = Counted(
                    event.tasks, event.success_count, event.fail_count, event.success_user_count, event.failed_files,
                    event.unaccounted,
                )  # fmt: skip
                self._tell_files(FINISHED, event.files)
                self._tell(package_id=event.package_id, processing=0, at=int(time.time()), counts=counts)
            case Failed():
                self._tell_uploaded()
                self._tell_files(MISSING, map(MissingFile, self._missing))
                failure = Failure(
                    event.step, event.error, event.kind, event.text, event.is_lasting, int(time.time())
                )  # fmt: skip
                self._set(FAILURE, failure.write())
            case Ended():
                self._tell_uploaded()

    def _take(self, event: FileUploaded) -> None:
        """Take note of a file of an upload."""
        now = int(time.time())
        self._uploaded.append(
            UploadedFile(event.filename, event.task_id, event.rows, None if event.adopted else now)
        )  # fmt: skip
        self._missing.pop(event.filename, None)
        day = int(day_of(now))
        sent = (self._sums.sent or 0) if self._sums.day == day else 0
        self._sums = replace(
            self._sums, files=event.done_files, rows=event.done_rows, at=now, since=now, day=day,
            sent=sent + (not event.adopted),
        )  # fmt: skip

    def _tell_uploaded(self) -> None:
        if self._uploaded:
            self._tell_files(UPLOADED, self._uploaded)
            self._tell()
            self._uploaded.clear()

    def _tell(self, **facts: Any) -> None:
        self._sums = replace(self._sums, **facts)
        self._set(KEY, self._sums.write())

    def _tell_files(self, key: str, files: Iterable[File]) -> None:
        for piece in pieces(files):
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


class WaitRecords:
    """The records that the polls of a wait are worth, until somebody takes and writes them: an observer cannot wait.

    :param sums: what is known from the start.
    """

    __slots__ = ("_found", "_news", "_sums")

    def __init__(self, sums: Sums) -> None:
        self._sums = sums
        self._news = WaitNews()
        self._found: Sums | None = None

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, PollMade) and event.unfinished is not None:
            self._found = self._news.news(self._sums, event) or self._found

    def take(self) -> Sums | None:
        """The newest record that is not written yet; None if there is none."""
        found, self._found = self._found, None
        return found


async def record_from_trigger(trigger_task: Any, sums: Sums) -> None:
    """Set :data:`~.record.KEY` of a trigger's task, where Airflow lets triggers set XComs (from 3.3).

    :param trigger_task: the trigger's ``task_instance``.
    """
    set_xcom = xcom_setter_of_triggers()
    if trigger_task is None or set_xcom is None:
        return
    try:
        await set_xcom(
            KEY,
            sums.write(),
            dag_id=trigger_task.dag_id,
            task_id=trigger_task.task_id,
            run_id=trigger_task.run_id,
            map_index=trigger_task.map_index,
        )
    except Exception as failure:
        log.warning("The page of WeChat Pay packages will not show how far this wait is: %s", failure)
