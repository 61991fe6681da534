# SPDX-License-Identifier: Apache-2.0
"""``check`` and ``certificates``: does the connection work, and which platform keys are known."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from contextlib import closing

from airflow.cli.simple_table import AirflowConsole
from rich.table import Table
from rich.text import Text

from airflow_provider_wxbank.cli.command import Exit, command, exit_code, kind_of, printable, say
from airflow_provider_wxbank.cli.output import Column, Row, beijing_minute, render, rfc3339, show
from airflow_provider_wxbank.cli.words import counted, worded
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.packages.connection_check import Step
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import PlatformKey, is_public_key_id

DAY = 86_400

WARN_DAYS = 60
"""Days before its end from which on a certificate without a successor is warned of. WeChat Pay lists the next one 180
days before (P/4012068829)."""

_COLORS = {"ok": "green", "failed": "bold red", "skipped": "yellow"}

_SHOWN = {
    "public key": worded("public key"),
    "certificate": worded("certificate"),
    "encrypts, verifies": worded("encrypts, verifies"),
    "verifies": worded("verifies"),
    "verifies, encrypts once valid": worded("verifies, encrypts once valid"),
}
"""What JSON says of a key, for a person."""

_KEY_COLUMNS = (
    Column(worded("serial"), "serial_no", folds=True),
    Column(worded("kind"), "kind", _SHOWN.__getitem__),
    Column(worded("valid from"), "effective_time", beijing_minute, is_optional=True),
    Column(worded("valid until"), "expire_time", beijing_minute),
    Column(worded("use"), "use", _SHOWN.__getitem__, folds=True),
)


@command
def check(args: argparse.Namespace) -> int:
    """Examine the connection, step by step."""
    steps = WxBankHook(args.wxbank_conn_id).examine(args.package_id)
    return show_steps(args.output, (({}, step) for step in steps))


def show_steps(output: str, steps: Iterable[tuple[Row, Step]]) -> Exit:
    """Print steps, in a table each when it is done. The exit code is that of the first that failed.

    :param steps: each with what JSON, YAML and plain text say besides.
    """
    found = list(_told(steps) if output == "table" else steps)
    if output != "table":
        rows = [{**_said(step), **besides} for besides, step in found]
        show(output, rows, rows, ())
    return next((exit_code(step.failure) for _, step in found if step.failure), Exit.OK)


def _said(step: Step) -> Row:
    kind = None if step.failure is None else kind_of(step.failure)
    return {"step": step.name, "outcome": step.outcome, "message": step.message, "kind": kind}


def _told(steps: Iterable[tuple[Row, Step]]) -> Iterable[tuple[Row, Step]]:
    """The steps, each printed when it is done."""
    console = AirflowConsole()
    for besides, step in steps:
        # Without padding: whether it is a part of the width depends on the version of rich.
        line = Table.grid()
        line.add_column(width=9)
        line.add_column(width=13)
        line.add_column(overflow="fold")
        line.add_row(Text(step.outcome, _COLORS[step.outcome]), Text(step.name), Text(printable(step.message)))
        render(line, console)
        yield besides, step


@command
def certificates(args: argparse.Namespace) -> None:
    """List the platform keys."""
    with closing(WxBankHook(args.wxbank_conn_id).get_conn()) as client:
        mode = client.settings.mode
        if mode == "certificates" or args.download:
            client.refresh_keys()
        elif mode == "both":
            say(worded("The certificates are not listed: see --download"))
        current, now = client.encryption_key(), time.time()
        rows = [_row(key, current, now) for key in client.keys.known()]
    show(args.output, rows, rows, _KEY_COLUMNS)
    if text := ends_soon(current, now):
        say(worded("warning: {text}", text=text))


def ends_soon(current: PlatformKey, now: float) -> str | None:
    """What to say if the key that encrypts ends within 60 days; otherwise None.

    :param now: unix seconds.
    """
    days = (current.expires - now) / DAY
    if days >= WARN_DAYS:
        return None
    return worded(
        "the certificate that encrypts ends in {days}, and WeChat Pay lists none in force that follows: see the "
        "merchant platform, under API security",
        days=counted(round(days), "day"),
    )


def _row(key: PlatformKey, current: PlatformKey, now: float) -> dict[str, object]:
    is_public_key = is_public_key_id(key.serial_no)
    if key is current:
        use = "encrypts, verifies"
    else:
        use = "verifies" if key.effective <= now else "verifies, encrypts once valid"
    return {
        "serial_no": key.serial_no,
        "kind": "public key" if is_public_key else "certificate",
        "effective_time": None if is_public_key else rfc3339(key.effective),
        "expire_time": None if is_public_key else rfc3339(key.expires),
        "use": use,
    }
