# SPDX-License-Identifier: Apache-2.0
"""The command ``wxbank-simulator``."""

from __future__ import annotations

import argparse
import errno
import json
import shlex
import signal
import sys
from collections.abc import Sequence
from threading import Event

from airflow_provider_wxbank.simulator import SimulatorSettings, serve
from airflow_provider_wxbank.simulator.faults import KINDS
from airflow_provider_wxbank.simulator.key_folder import write_private
from airflow_provider_wxbank.simulator.options import OPTIONS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a simulator as ``wxbank-simulator`` does; see :func:`run`."""
    return run(_parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Run a simulator until Ctrl-C or SIGTERM.

    :param options: those of :data:`~airflow_provider_wxbank.simulator.options.OPTIONS`.
    :return: 0 after an orderly end, 1 if it could not start.
    """
    settings = SimulatorSettings(
        key_mode=options.mode,
        keys=options.keys,
        tls=options.tls,
        packages=frozenset(options.package) if options.package else None,
        processing_seconds=options.processing_seconds,
        check=options.check,
        daily_file_quota=options.quota,
        latency_seconds=options.latency,
        offset_unit=options.offset_unit,
        unmatched_ratio=options.unmatched_ratio,
        refuse_repeated_nonces=options.refuse_repeated_nonces,
        leading_zero_serials=options.leading_zero_serials,
        suite=options.suite,
        pin_root=options.pin_root,
    )
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with serve(settings, host=options.host, port=options.port, all_interfaces=options.all_interfaces) as simulator:
            if options.all_interfaces:
                print(
                    "wxbank-simulator: it listens on all interfaces: whoever reaches one can use it. This is for a "
                    "container, whose port is published on loopback: -p 127.0.0.1:PORT:PORT",
                    file=sys.stderr,
                )
            for fault in options.fault:
                simulator.add_fault(fault)
            connection = json.dumps(simulator.airflow_connection())
            if options.connection_file:
                write_private(options.connection_file, connection)
            kind = f"{options.mode} of SM2" if options.suite == "sm2" else options.mode
            print(f"WeChat Pay simulator at {simulator.base_url}, keys: {kind}. NOT FOR PRODUCTION:")
            print("it takes agreement files, checks them as strictly as WeChat Pay, and keeps digests only.")
            print(f"What has arrived: {simulator.base_url}/simulator/report. Ctrl-C ends it. For Airflow:\n")
            print(f"export AIRFLOW_CONN_WXBANK_DEFAULT={shlex.quote(connection)}", flush=True)
            stop.wait()
    except (ImportError, OSError, OverflowError, ValueError) as failure:
        print(f"wxbank-simulator: {options.host}:{options.port}: {_reason(failure)}", file=sys.stderr)
        return 1
    return 0


def _reason(failure: Exception) -> str:
    """Why it could not start, and what to do."""
    reason = failure.strerror if isinstance(failure, OSError) and failure.strerror else str(failure)
    if isinstance(failure, OSError) and failure.errno == errno.EADDRINUSE:
        return (
            f"{reason}: a simulator that still runs, or another program, has this port (ss -ltnp shows which). End it, "
            "or choose another port with --port, 0 for a free one"
        )
    return reason


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wxbank-simulator",
        description="A local WeChat Pay for development, demos and tests. Not for production.",
        epilog="Kinds of fault: " + "; ".join(f"{kind} ({what})" for kind, what in KINDS.items()),
    )
    for name, settings in OPTIONS:
        parser.add_argument(name, **settings)
    return parser


if __name__ == "__main__":
    sys.exit(main())
