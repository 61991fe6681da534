"""How far an upload is: told in the log, and kept where a retry of the task finds it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import count
from typing import Any

from airflow_provider_wxbank.record import UPLOADED, Record
from airflow_provider_wxbank.wechatpay.uploads import Progress, Uploaded, processing_seconds

SAVE_SECONDS = 30.0
"""Seconds between two lines of progress, and between two entries in the store, at least."""

ENTRY_FILES = 250
"""Files in an entry of the store: Airflow warns of entries of more than 64 KiB."""


class UploadProgress:
    """Logs progress, and saves which files were uploaded in Airflow's task state store (Airflow 3.3 and later).

    The store spares work and nothing depends on it: what a killed try did not save is asked of WeChat Pay. Its entries
    are ``uploaded-0``, ``uploaded-1`` and so on, ``{"package_id", "tasks": {filename: task id}}``, and ``progress``,
    ``{"package_id", "files", "rows", "total_files", "total_rows", "unix_seconds"}``.

    :param store: ``context["task_state_store"]``, or None where there is none.
    :param record: where it is told for the page, as often as it is saved.
    :param clock: seconds that only grow.
    """

    def __init__(
        self,
        store: Any,
        package_id: str,
        log: Any,
        record: Record,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._package_id = package_id
        self._log = log
        self._record = record
        self._clock = clock
        self._saved_at = clock()
        self._entries = 0
        self._saved: set[str] = set()
        self._unsaved: dict[str, str] = {}
        self._untold: list[list[Any]] = []
        self._progress: Progress | None = None

    def begin(self) -> None:
        """Tell the page that the upload begins."""
        self._record.tell()

    def reads(self, manifest: str | None) -> None:
        """Tell the page which manifest is uploaded, with its identity."""
        if manifest is not None:
            self._record.tell(manifest=manifest)

    def uploaded_before(self) -> dict[str, str]:
        """Filename to task id of the files that earlier tries of this task uploaded into this package."""
        tasks: dict[str, str] = {}
        for number in count():
            entry = self._use_store("get", f"uploaded-{number}")
            if not isinstance(entry, Mapping):
                break
            self._entries = number + 1
            if entry.get("package_id") == self._package_id:
                tasks |= entry["tasks"]
        self._saved |= tasks.keys()
        if tasks:
            self._log.info("Earlier tries of this task uploaded %d files", len(tasks))
        return tasks

    def note(self, uploaded: Uploaded, progress: Progress) -> None:
        """Take note of a file; log and save now and then, and when it was the last one."""
        if uploaded.filename not in self._saved:
            self._unsaved[uploaded.filename] = uploaded.task_id
        uploaded_at = None if uploaded.adopted else int(time.time())
        self._untold.append([uploaded.filename, uploaded.task_id, uploaded.rows, uploaded_at])
        self._progress = progress
        if progress.files != progress.total_files and self._clock() - self._saved_at < SAVE_SECONDS:
            return
        self._saved_at = self._clock()
        self._log.info(
            "%d of %s files, %d of %s numbers are with WeChat Pay; it processes them in about %d minutes",
            progress.files,
            progress.total_files,
            progress.rows,
            progress.total_rows,
            round(processing_seconds(progress.rows) / 60),
        )
        self.save()

    def save(self) -> None:
        """Save what was not saved yet."""
        if self._progress is None:
            return
        self._tell(self._progress)
        if not self._unsaved:
            return
        unsaved = list(self._unsaved.items())
        self._unsaved.clear()
        for begin in range(0, len(unsaved), ENTRY_FILES):
            tasks = dict(unsaved[begin : begin + ENTRY_FILES])
            self._set(f"uploaded-{self._entries}", {"tasks": tasks})
            self._entries += 1
            self._saved |= tasks.keys()
        self._set("progress", {**asdict(self._progress), "unix_seconds": int(time.time())})

    def _tell(self, progress: Progress) -> None:
        if self._untold:
            self._record.tell_rows(UPLOADED, self._untold)
            self._record.tell(**asdict(progress))
            self._untold.clear()

    def _set(self, key: str, value: Mapping[str, Any]) -> None:
        self._use_store("set", key, {"package_id": self._package_id, **value})

    def _use_store(self, method: str, *arguments: Any) -> Any:
        if self._store is None:
            return None
        try:
            return getattr(self._store, method)(*arguments)
        except Exception as failure:  # whatever it is, the upload goes on without it
            self._log.warning("Airflow's task state store cannot be used: %s", failure)
            self._store = None
            return None
