# SPDX-License-Identifier: Apache-2.0
"""The options of the simulator's command. Imports nothing heavy, since every ``airflow`` command reads them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_wxbank.simulator.faults import Fault


def _fault(text: str) -> Fault:
    try:
        from airflow_provider_wxbank.simulator.faults import parse_fault

        return parse_fault(text)
    except (ImportError, ValueError) as failure:
        raise argparse.ArgumentTypeError(str(failure)) from None


MODES = ("certificates", "public-key", "both")


def _folder(text: str) -> Path:
    # It was the name of this option.
    if text in MODES:
        raise argparse.ArgumentTypeError(f"it is a folder; where platform keys come from is --mode {text}")
    return Path(text)


DEFAULT_PORT = 8971

# The name of each, and its arguments for argparse.
OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--host", {"default": "127.0.0.1", "help": "loopback only (default %(default)s)"}),
    (
        "--all-interfaces",
        {
            "action": "store_true",
            "help": "listen on all interfaces of a container, whose port is published on loopback outside",
        },
    ),
    ("--port", {"type": int, "default": DEFAULT_PORT, "help": "0 for a free one (default %(default)s)"}),
    (
        "--mode",
        {
            "choices": MODES,
            "default": "certificates",
            "help": "where a merchant has WeChat Pay's keys from (default %(default)s)",
        },
    ),
    (
        "--keys",
        {
            "type": _folder,
            "metavar": "DIR",
            "help": "keep a merchant's usual key files in this folder, and use them again at the next start",
        },
    ),
    (
        "--tls",
        {
            "action": "store_true",
            "help": "speak https, also as api.mch.weixin.qq.com, with a CA whose certificate is tls_ca.pem in --keys",
        },
    ),
    (
        "--package",
        {
            "action": "append",
            "metavar": "PACKAGE_ID",
            "help": "repeatable: the packages that there are (default: any)",
        },
    ),
    (
        "--suite",
        {"choices": ("rsa", "sm2"), "default": "rsa", "help": "sm2 is national cryptography (default %(default)s)"},
    ),
    ("--processing-seconds", {"type": float, "default": 2.0, "help": "until FINISHED (default %(default)s)"}),
    (
        "--check",
        {
            "choices": ("all", "sample", "later"),
            "default": "all",
            "help": "lines decrypted: all (of long files a sample before the answer, and all beside it), a sample of 20"
            " at upload, or none before the report (default %(default)s)",
        },
    ),
    ("--quota", {"type": int, "default": 6000, "help": "files a day (default %(default)s)"}),
    ("--latency", {"type": float, "default": 0.0, "help": "seconds added to every answer"}),
    ("--offset-unit", {"choices": ("page", "row"), "default": "page", "help": "default %(default)s"}),
    ("--unmatched-ratio", {"type": float, "default": 0.0, "help": "share of numbers without a user, 0 to 1"}),
    (
        "--refuse-repeated-nonces",
        {"action": "store_true", "help": "refuse a nonce that came before, which no source says of WeChat Pay"},
    ),
    (
        "--leading-zero-serials",
        {"action": "store_true", "help": "serials of platform certificates that begin with a zero"},
    ),
    ("--pin-root", {"action": "store_true", "help": "print the root certificate with the connection, too"}),
    ("--connection-file", {"type": Path, "help": "write the Airflow connection to this file, too"}),
    (
        "--fault",
        {
            "type": _fault,
            "action": "append",
            "default": [],
            "metavar": "KIND:NAME=VALUE,...",
            "help": "repeatable; for example drop:on=upload,every=3,commit=true",
        },
    ),
)
