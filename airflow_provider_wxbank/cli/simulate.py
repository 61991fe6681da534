# SPDX-License-Identifier: Apache-2.0
"""``simulate``: the simulator."""

from __future__ import annotations

import argparse

from airflow_provider_wxbank.cli.command import Failed, command


@command
def simulate(args: argparse.Namespace) -> int:
    """Run a simulator, as ``wxbank-simulator`` does."""
    try:
        from airflow_provider_wxbank.simulator.__main__ import run
    except ImportError as failure:
        raise Failed(str(failure)) from None
    return run(args)
