# SPDX-License-Identifier: Apache-2.0
"""The observers that note how far an upload or a wait is: in the log, and where a retry of the task finds it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from airflow_provider_wxbank.reporting.events import (
    Ended,
    Event,
    FileUploaded,
    Finished,
    PollFailed,
    PollMade,
    UploadPlanned,
)

SAVE_SECONDS = 30.0
"""Seconds between two lines of progress, and between two entries in the store, at least."""

ENTRY_FILES = 250
"""Files in an entry of the store: Airflow warns of entries of more than 64 KiB."""

log = logging.getLogger(__name__)


class ProgressLog:
    """Logs how far an upload is, now and then.

    :param log: where to.
    :param clock: seconds that only grow.
    """

    def __init__(self, log: Any = log, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._told_at = clock()
        self._planned: UploadPlanned | None = None

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, UploadPlanned):
            self._planned = event
        if not isinstance(event, FileUploaded) or self._planned is None:
            return
        if event.done_files != self._planned.files and self._clock() - self._told_at < SAVE_SECONDS:
            return
        self._told_at = self._clock()
        self.write(event, self._planned)

    def write(self, done: FileUploaded, planned: UploadPlanned) -> None:
        """Write a line; others write it elsewhere, or in other words."""
        so_far = "%d of %s files, %d of %s numbers are with WeChat Pay"
        values = done.done_files, planned.files, done.done_rows, planned.rows
        if done.processing_seconds:
            minutes = round(done.processing_seconds / 60)
            self._log.info(f"{so_far}; it processes what was sent in about %d minutes", *values, minutes)
        else:
            self._log.info(f"{so_far}; all of them were there already", *values)


class PollLog:
    """Logs what each poll of a wait has seen, and how the wait ends.

    :param log: where to.
    """

    def __init__(self, log: Any = log) -> None:
        self._log = log

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case PollMade():
                self._log.info("Package %s: %s", event.package_id, event.note)
            case PollFailed():
                self._log.warning("This poll failed, the next one may not: %s", event.reason)
            case Finished():
                self._log.info(
                    "Package %s: %d tasks finished; %d numbers matched, %d did not; %d WeChat Pay users",
                    event.package_id,
                    event.tasks,
                    event.success_count,
                    event.fail_count,
                    event.success_user_count,
                )


class UploadStore:
    """Which files were uploaded, in Airflow's task state store (Airflow 3.3 and later).

    It spares work, and lets a retry recognize a list that was changed. No number is lost without it: WeChat Pay is
    asked for what a killed try did not save. The entries are ``uploaded-0``, ``uploaded-1`` and so on, ``{"package_id",
    "tasks": {filename: task id}}``, and ``progress``, ``{"package_id", "files", "rows", "total_files", "total_rows",
    "unix_seconds"}``.

    :param store: ``context["task_state_store"]``, or None where there is none.
    :param clock: seconds that only grow.
    """

    def __init__(self, store: Any, package_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._package_id = package_id
        self._clock = clock
        self._saved_at = clock()
        self._entries = 0
        self._saved: set[str] = set()
        self._unsaved: dict[str, str] = {}
        self._planned = (0, 0)
        self._done: FileUploaded | None = None

    def uploaded_before(self) -> dict[str, str]:
        """Filename to task id of the files that earlier tries of this task uploaded into this package."""
        tasks: dict[str, str] = {}
        for number in count():
            entry = self._use("get", f"uploaded-{number}")
            if not isinstance(entry, Mapping):
                break
            self._entries = number + 1
            uploaded = entry.get("tasks")
            if entry.get("package_id") == self._package_id and isinstance(uploaded, Mapping):
                tasks |= {str(name): str(task_id) for name, task_id in uploaded.items()}
        self._saved |= tasks.keys()
        if tasks:
            log.info("Earlier tries of this task uploaded %d files", len(tasks))
        return tasks

    def __call__(self, event: Event) -> None:
        """Take note of an event; save now and then, and at the end."""
        match event:
            case UploadPlanned():
                self._planned = event.files, event.rows
            case FileUploaded():
                if event.filename not in self._saved:
                    self._unsaved[event.filename] = event.task_id
                self._done = event
                if event.done_files == self._planned[0] or self._clock() - self._saved_at >= SAVE_SECONDS:
                    self._saved_at = self._clock()
                    self._save()
            case Ended():
                self._save()

    def _save(self) -> None:
        if self._done is None or not self._unsaved:
            return
        unsaved = list(self._unsaved.items())
        self._unsaved.clear()
        for begin in range(0, len(unsaved), ENTRY_FILES):
            tasks = dict(unsaved[begin : begin + ENTRY_FILES])
            self._set(f"uploaded-{self._entries}", {"tasks": tasks})
            self._entries += 1
            self._saved |= tasks.keys()
        files, rows = self._planned
        done = {"files": self._done.done_files, "rows": self._done.done_rows}
        self._set("progress", {**done, "total_files": files, "total_rows": rows, "unix_seconds": int(time.time())})

    def _set(self, key: str, value: Mapping[str, Any]) -> None:
        self._use("set", key, {"package_id": self._package_id, **value})

    def _use(self, method: str, *arguments: Any) -> Any:
        if self._store is None:
            return None
        try:
            return getattr(self._store, method)(*arguments)
        except Exception as failure:  # whatever it is, the upload goes on without it
            log.warning("Airflow's task state store cannot be used: %s", failure)
            self._store = None
            return None
