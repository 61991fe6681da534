# SPDX-License-Identifier: Apache-2.0
"""``verify`` and ``clean``: receipts of imports, and the exports that are not needed any more."""

from __future__ import annotations

import argparse
from contextlib import closing, nullcontext
from dataclasses import asdict

from airflow_provider_wxbank.cli.audit import Counts, audited
from airflow_provider_wxbank.cli.command import command, say
from airflow_provider_wxbank.cli.connection import show_steps
from airflow_provider_wxbank.cli.files import absolute
from airflow_provider_wxbank.cli.output import Column, beijing_minute, show, thousands
from airflow_provider_wxbank.cli.words import worded
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.receipts import seal_of
from airflow_provider_wxbank.retention import FoundExport, age_of, summed
from airflow_provider_wxbank.retention import clean as cleaned
from airflow_provider_wxbank.verification import verify as steps_of

_CLEAN_COLUMNS = (
    Column(worded("manifest"), "manifest", folds=True),
    Column(worded("outcome"), "outcome"),
    Column(worded("files"), "files", thousands, is_number=True),
    Column(worded("bytes"), "bytes", thousands, is_number=True, is_optional=True),
    Column(worded("exported"), "created_at", beijing_minute, is_optional=True),
    Column(worded("why"), "why", folds=True),
)


@command
def verify(args: argparse.Namespace) -> int:
    """Verify receipts of imports."""
    with closing(WxBankHook(args.wxbank_conn_id).get_conn()) as client:
        steps = (
            ({"receipt": receipt}, step)
            for receipt in args.receipts
            for step in steps_of(absolute(receipt), client, online=args.online)
        )
        return show_steps(args.output, steps)


@command
def clean(args: argparse.Namespace) -> None:
    """Remove exports that are not needed any more."""
    found: list[FoundExport] = []
    try:
        with nullcontext(Counts()) if args.dry_run else audited("clean", args.wxbank_conn_id) as audit:
            try:
                _clean(args, found)
            finally:
                audit.facts |= summed(found)
    except BaseException:
        # What was removed before is told all the same.
        if found:
            _show(args, found)
        raise
    _show(args, found)


def _clean(args: argparse.Namespace, found: list[FoundExport]) -> None:
    older_than = age_of(args.older_than)
    with closing(WxBankHook(args.wxbank_conn_id).get_conn()) as client:
        places = {"output_path": absolute(args.output_path), "receipts": absolute(args.receipts)}
        # One by one: whatever ends this, those before are there.
        found.extend(cleaned(seal=seal_of(client), older_than=older_than, dry_run=args.dry_run, **places))


def _show(args: argparse.Namespace, found: list[FoundExport]) -> None:
    sums, removed = summed(found), "removed"
    count = worded("{removed:,} removed", removed=sums["removed"])
    if args.dry_run:
        say(worded("Nothing was removed: this is what would be"))
        removed = "would be removed"
        count = worded("{removed:,} would be removed", removed=sums["removed"])
    rows = [{**asdict(one), "outcome": removed if one.outcome == "removed" else one.outcome} for one in found]
    last = {"manifest": count, "files": sums["files"], "bytes": sums["bytes"]}
    show(args.output, rows, rows, _CLEAN_COLUMNS, last)
