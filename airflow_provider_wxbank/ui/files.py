# SPDX-License-Identifier: Apache-2.0
"""A row for each file, from what uploads and waits recorded of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from airflow_provider_wxbank.reporting.events import FinishedFile
from airflow_provider_wxbank.reporting.record import MissingFile, UploadedFile


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file on the page. What is not known of it is None; times are unix seconds.

    :param task_id: None if the file was not uploaded.
    """

    filename: str
    task_id: str | None
    rows: int | None
    uploaded: int | None
    finished: int | None = None
    success_count: int | None = None
    fail_count: int | None = None
    success_user_count: int | None = None


def file_rows(
    uploaded: Iterable[UploadedFile], finished: Iterable[FinishedFile], missing: Iterable[MissingFile] = ()
) -> list[FileRow]:
    """The files; those that were uploaded come first, those that are missing last."""
    files = {one.task_id: FileRow(one.filename, one.task_id, one.rows, one.at) for one in uploaded}
    for one in finished:
        known = files.get(one.task_id, FileRow(one.filename, one.task_id, None, None))
        rows = known.rows
        if rows is None and one.success_count is not None and one.fail_count is not None:
            rows = one.success_count + one.fail_count
        files[one.task_id] = FileRow(
            one.filename,
            one.task_id,
            rows,
            known.uploaded or one.created,
            one.finished,
            one.success_count,
            one.fail_count,
            one.success_user_count,
        )
    known_names = {one.filename for one in files.values()}
    return [
        *files.values(),
        *(FileRow(one.filename, None, None, None) for one in missing if one.filename not in known_names),
    ]


def columns(files: Sequence[FileRow]) -> dict[str, list[Any]]:
    """Files as the page gets them: a list for each field, since there may be ten thousand of them."""
    return {field.name: [getattr(one, field.name) for one in files] for field in fields(FileRow)}
