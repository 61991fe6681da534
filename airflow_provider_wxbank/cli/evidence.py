# SPDX-License-Identifier: Apache-2.0
"""``verify`` and ``clean``: receipts of imports, and the exports that are not needed any more."""

from __future__ import annotations

import argparse
from contextlib import closing

from airflow_provider_wxbank.cli.command import command
from airflow_provider_wxbank.cli.connection import show_steps
from airflow_provider_wxbank.cli.files import absolute
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.verification import verify as steps_of


@command
def verify(args: argparse.Namespace) -> int:
    """Verify the receipt of an import."""
    with closing(WxBankHook(args.wxbank_conn_id).get_conn()) as client:
        return show_steps(args.output, steps_of(absolute(args.receipt), client, online=args.online))
