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
from airflow_provider_wxbank.cli.output import Column, local_minute, show, thousands
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.receipts import key_of
from airflow_provider_wxbank.retention import age_of, summed
from airflow_provider_wxbank.retention import clean as removed
from airflow_provider_wxbank.verification import verify as steps_of

_CLEAN_COLUMNS = (
    Column("manifest", "manifest", folds=True),
    Column("outcome", "outcome"),
    Column("files", "files", thousands, is_number=True),
    Column("bytes", "bytes", thousands, is_number=True, is_optional=True),
    Column("exported", "created_at", local_minute, is_optional=True),
    Column("why", "why", folds=True),
)


@command
def verify(args: argparse.Namespace) -> int:
    """Verify the receipt of an import."""
    with closing(WxBankHook(args.wxbank_conn_id).get_conn()) as client:
        return show_steps(args.output, steps_of(absolute(args.receipt), client, online=args.online))


@command
def clean(args: argparse.Namespace) -> None:
    """Remove exports that are not needed any more."""
    with nullcontext(Counts()) if args.dry_run else audited("clean", args.wxbank_conn_id) as audit:
        older_than = age_of(args.older_than)
        with closing(WxBankHook(args.wxbank_conn_id).get_conn()) as client:
            found = list(
                removed(
                    absolute(args.output_path), key_of(client), older_than=older_than, receipts=absolute(args.receipts),
                    dry_run=args.dry_run,
                )
            )  # fmt: skip
        sums = summed(found)
        audit.facts |= sums
    if args.dry_run:
        say("Nothing was removed: this is what would be")
    rows = [asdict(one) for one in found]
    last = {"manifest": f"{sums['removed']} removed", "files": sums["files"], "bytes": sums["bytes"]}
    show(args.output, rows, rows, _CLEAN_COLUMNS, last)
