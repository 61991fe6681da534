"""A row for each file, from what uploads and waits recorded of it."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_wxbank.record import FinishedFile, UploadedFile

FileRow = tuple[str, str, int | None, int | None, int | None, int | None, int | None, int | None]
"""Filename, task id, rows, when uploaded, when finished, success_count, fail_count, success_user_count."""


def file_rows(uploaded: Iterable[UploadedFile], finished: Iterable[FinishedFile]) -> list[FileRow]:
    """The files, those that were uploaded first; what is not known of one is None."""
    files: dict[str, FileRow] = {
        one.task_id: (one.filename, one.task_id, one.rows, one.at, None, None, None, None) for one in uploaded
    }
    for one in finished:
        _, _, rows, at, *_ = files.get(one.task_id, (None, None, None, None))
        if rows is None and one.success_count is not None and one.fail_count is not None:
            rows = one.success_count + one.fail_count
        files[one.task_id] = (
            one.filename, one.task_id, rows, at or one.created, one.finished,
            one.success_count, one.fail_count, one.success_user_count,
        )  # fmt: skip
    return list(files.values())
