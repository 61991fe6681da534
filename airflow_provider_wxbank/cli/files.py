# SPDX-License-Identifier: Apache-2.0
"""``export`` and ``upload``: what the operators do, without a DAG run."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from airflow_provider_wxbank import steps
from airflow_provider_wxbank.cli.audit import audited
from airflow_provider_wxbank.cli.command import command, say
from airflow_provider_wxbank.cli.definition import DEFAULT_PREFIX
from airflow_provider_wxbank.cli.output import Column, busy, package_bar, show, thousands
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.reporting.events import Event, FileUploaded, Observer, UploadPlanned, all_of
from airflow_provider_wxbank.reporting.progress import ProgressLog
from airflow_provider_wxbank.steps import ExportInput, UploadInput
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

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
    with audited("export", args.wxbank_conn_id) as audit:
        given = ExportInput(
            bank_type=args.bank_type,
            output_path=absolute(args.output_path),
            sql=_sql(args.sql, args.sql_file),
            sql_conn_id=args.sql_conn_id,
            parameters=_object(args.parameters, "--parameters", '{"city": "Shenzhen"}'),
            source=absolute(args.source),
            column=args.column,
            dialect=_object(args.dialect, "--dialect", '{"delimiter": "|"}'),
            expected_rows=args.expected_rows,
            on_invalid=args.on_invalid,
            max_rows_per_file=args.max_rows_per_file,
        )
        with busy("Exporting"):
            target, manifest = steps.export(
                given, WxBankHook(args.wxbank_conn_id), args.prefix or DEFAULT_PREFIX, tell=audit
            )
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
    with audited("upload", args.wxbank_conn_id, args.package_id) as audit:
        if args.manifest is not None and args.prefix is not None:
            raise InvalidInput("--prefix goes with --file; the files of a manifest have their names")
        given = UploadInput(
            package_id=args.package_id,
            manifest=absolute(args.manifest),
            file=absolute(args.file),
            bank_type=args.bank_type,
            encrypted=args.encrypted,
            serial_no=args.serial_no,
            max_workers=args.max_workers,
        )
        sent = _Sent()
        with _progress(args.package_id) as tell:
            result = steps.upload(
                given, WxBankHook(args.wxbank_conn_id), args.prefix or DEFAULT_PREFIX, tell=all_of(sent, audit, tell)
            )
    say(f"{sent.uploaded} files uploaded, {sent.adopted} adopted because they were there already")
    tasks = result["tasks"]
    show(args.output, result, tasks, _UPLOAD_COLUMNS, {"task_id": f"{len(tasks)} tasks", "rows": result["rows"]})


class _Sent:
    """Counts the files that were uploaded, and those that were there already."""

    def __init__(self) -> None:
        self.uploaded = self.adopted = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, FileUploaded):
            self.adopted += event.adopted
            self.uploaded += not event.adopted


@contextmanager
def _progress(package_id: str) -> Iterator[Observer]:
    """An observer that moves a bar on a terminal, or else logs."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield ProgressLog()
        return
    with package_bar("files", console) as bar:
        shown = bar.add_task(package_id, total=None)

        def move(event: Event) -> None:
            match event:
                case UploadPlanned():
                    bar.update(shown, total=event.files)
                case FileUploaded():
                    bar.update(shown, completed=event.done_files)

        yield move


def absolute(path: Any) -> Any:
    """A local path made absolute from the current folder. A URL, and None, stay as they are."""
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


def _object(text: str | None, option: str, example: str) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidInput(f"{option} must be a JSON object, for example {example}")
    return value
