# SPDX-License-Identifier: Apache-2.0
"""``export``: what the operator does, without a DAG run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from airflow_provider_wxbank import steps
from airflow_provider_wxbank.cli.audit import audited
from airflow_provider_wxbank.cli.command import command
from airflow_provider_wxbank.cli.definition import DEFAULT_PREFIX
from airflow_provider_wxbank.cli.output import Column, busy, show, thousands
from airflow_provider_wxbank.cli.words import worded
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.steps import ExportInput
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

_EXPORT_COLUMNS = (
    Column(worded("manifest"), "manifest", folds=True),
    Column(worded("files"), "files", thousands, is_number=True),
    Column(worded("rows"), "rows", thousands, is_number=True),
    Column(worded("skipped"), "skipped", thousands, is_number=True),
)


@command
def export(args: argparse.Namespace) -> None:
    """Export agreement numbers into encrypted files and a manifest."""
    with audited("export", args.wxbank_conn_id) as audit:
        if all(one is None for one in (args.sql, args.sql_file, args.source)):
            raise InvalidInput(worded("give --sql, --sql-file or --source"))
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
        with busy(worded("Exporting")):
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


def absolute(path: Any) -> Any:
    """A local path made absolute from the current folder. A URL, and None, stay as they are."""
    return path if path is None or "://" in path else str(Path(path).absolute())


def _sql(text: str | None, path: str | None) -> str | None:
    if path is None:
        return text
    if text is not None:
        raise InvalidInput(worded("give either --sql or --sql-file, and not both"))
    try:
        return Path(path).read_text("utf-8")
    except (OSError, ValueError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else worded("it is not UTF-8")
        raise InvalidInput(worded("--sql-file cannot be read: {path}: {reason}", path=path, reason=reason)) from None


def _object(text: str | None, option: str, example: str) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise InvalidInput(
            worded("{option} must be a JSON object, for example {example}", option=option, example=example)
        )
    return value
