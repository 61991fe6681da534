"""``export`` and ``upload``: what the operators do, without a DAG run."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from airflow_provider_wxbank.cli.command import command, say
from airflow_provider_wxbank.cli.definition import DEFAULT_PREFIX
from airflow_provider_wxbank.cli.output import Column, busy, package_bar, show, thousands
from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.progress import UploadProgress
from airflow_provider_wxbank.record import Record
from airflow_provider_wxbank.wechatpay.errors import InvalidInput
from airflow_provider_wxbank.wechatpay.uploads import Progress as Uploading
from airflow_provider_wxbank.wechatpay.uploads import Uploaded

log = logging.getLogger(__name__)

_EXPORT_COLUMNS = (
    Column("manifest", "manifest", folds=True),
    Column("files", "files", thousands, is_number=True),
    Column("rows", "rows", thousands, is_number=True),
    Column("skipped", "skipped", thousands, is_number=True),
)
_UPLOAD_COLUMNS = (
    Column("task", "task_id"),
    Column("filename", "filename", folds=True),
    Column("rows", "rows", thousands, is_number=True),
)


@command
def export(args: argparse.Namespace) -> None:
    """Export agreement numbers into encrypted files and a manifest."""
    operator = ExportUsersOperator(
        task_id="export",
        bank_type=args.bank_type,
        output_path=_absolute(args.output_path),
        sql=_sql(args.sql, args.sql_file),
        sql_conn_id=args.sql_conn_id,
        parameters=_parameters(args.parameters),
        source=_absolute(args.source),
        column=args.column,
        on_invalid=args.on_invalid,
        max_rows_per_file=args.max_rows_per_file,
        wxbank_conn_id=args.wxbank_conn_id,
    )
    with busy("Exporting"):
        target, manifest = operator.export(args.prefix or DEFAULT_PREFIX)
    result = {
        "manifest": target.uri,
        "bank_type": manifest.bank_type,
        "prefix": manifest.prefix,
        "files": len(manifest.files),
        "rows": manifest.rows,
        "skipped": manifest.skipped_count,
    }
    show(args.output, result, [result], _EXPORT_COLUMNS)


@command
def upload(args: argparse.Namespace) -> None:
    """Upload an export, or one file, into a number package."""
    if args.manifest is not None and args.prefix is not None:
        raise InvalidInput("--prefix goes with --file; the files of a manifest have their names")
    operator = UploadTaskOperator(
        task_id="upload",
        package_id=args.package_id,
        manifest=_absolute(args.manifest),
        file=_absolute(args.file),
        bank_type=args.bank_type,
        encrypted=args.encrypted,
        serial_no=args.serial_no,
        max_workers=args.max_workers,
        wxbank_conn_id=args.wxbank_conn_id,
    )
    with _progress(args.package_id) as progress:
        result = operator.upload(args.prefix or DEFAULT_PREFIX, progress)
    say(f"{progress.uploaded} files uploaded, {progress.adopted} adopted because they were there already")
    tasks = result["tasks"]
    show(args.output, result, tasks, _UPLOAD_COLUMNS, {"task_id": f"{len(tasks)} tasks", "rows": result["rows"]})


class _Progress(UploadProgress):
    """Counts what was uploaded and what was there already; moves a bar if there is one, else logs."""

    def __init__(self, package_id: str, move: Callable[[Uploading], None] | None) -> None:
        super().__init__(None, package_id, log, Record(None))
        self._move = move
        self.uploaded = self.adopted = 0

    def note(self, uploaded: Uploaded, progress: Uploading) -> None:
        """Take note of a file."""
        self.adopted += uploaded.adopted
        self.uploaded += not uploaded.adopted
        if self._move is None:
            super().note(uploaded, progress)
        else:
            self._move(progress)


@contextmanager
def _progress(package_id: str) -> Iterator[_Progress]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Progress(package_id, None)
        return
    with package_bar("files", console) as bar:
        shown = bar.add_task(package_id, total=None)
        yield _Progress(package_id, lambda seen: bar.update(shown, total=seen.total_files, completed=seen.files))


def _absolute(path: Any) -> Any:
    """A local path as seen from the working folder; a URL, and None, as they are."""
    return path if path is None or "://" in path else str(Path(path).absolute())


def _sql(text: str | None, path: str | None) -> str | None:
    if path is None:
        return text
    if text is not None:
        raise InvalidInput("give either --sql or --sql-file, and not both")
    try:
        return Path(path).read_text("utf-8")
    except (OSError, ValueError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else "it is not UTF-8"
        raise InvalidInput(f"--sql-file cannot be read: {path}: {reason}") from None


def _parameters(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidInput('--parameters must be a JSON object, for example {"city": "Shenzhen"}')
    return value
