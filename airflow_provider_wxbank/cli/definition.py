# SPDX-License-Identifier: Apache-2.0
"""What the commands are called, and what they take. Every ``airflow`` command reads this: it imports nothing heavy."""

from __future__ import annotations

from argparse import ArgumentTypeError

from airflow.cli.cli_config import (
    ARG_OUTPUT,
    ARG_VERBOSE,
    ActionCommand,
    Arg,
    GroupCommand,
    lazy_load_command,
)

from airflow_provider_wxbank.cli.words import worded
from airflow_provider_wxbank.simulator.options import OPTIONS

DEFAULT_PREFIX = "cli"
"""First part of the filenames without a DAG run. It is fixed, so that the same numbers make the same files again."""

EXIT_CODES = {
    0: worded("done"),
    1: worded("unexpected error, or it cannot run here"),
    2: worded("wrong usage"),
    3: worded("wrong input"),
    4: worded("wrong connection"),
    5: worded("refused by WeChat Pay"),
    6: worded("try again later"),
    7: worded("answer not verified"),
    8: worded("too many numbers did not match"),
    9: worded("timed out"),
    10: worded("wrong receipt"),
    11: worded("not confirmed, nothing was sent"),
    130: "Ctrl-C",
    141: worded("output closed"),
    143: "SIGTERM",
}
"""What ``--help`` says of exit codes; :class:`.command.Exit` names them."""

IMPORT_STATES = (
    "exporting", "exported", "uploading", "uploaded", "processing", "finished", "unmatched", "unaccounted", "failed",
    "skipped",
)  # fmt: skip
"""States of an import, as :data:`airflow_provider_wxbank.ui.imports.State` has them."""

_ANY = (0, 1, 2, 130, 141, 143)
_CALLS = (3, 4, 5, 6, 7)
"""Of commands that call WeChat Pay."""


def _epilog(*codes: int) -> str:
    lines = "\n".join(f"  {code:<4} {EXIT_CODES[code]}" for code in sorted(codes))
    return worded("exit codes:") + f"\n{lines}"


def _at_least_one(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise ArgumentTypeError(worded("{text} is not 1 or more", text=text))
    return int(text)


ARG_CONNECTION = Arg(
    ("--wxbank-conn-id",),
    help=worded("connection of type wxbank (default %(default)s)"),
    default="wxbank_default",
    metavar="CONN_ID",
)
ARG_PACKAGE = Arg(
    ("package_id",), help=worded("number package, as the merchant platform shows it, for example 8473295 (required)")
)
ARG_PREFIX = Arg(
    ("--prefix",),
    help=worded(
        "first part of the filenames (default {prefix}); another one imports the same numbers anew",
        prefix=DEFAULT_PREFIX,
    ),
)

_EXPORT = (
    Arg(("--bank-type",), help=worded("bank and kind of card, for example ICBC_DEBIT (required)"), required=True),
    Arg(
        ("--output-path",),
        help=worded("folder, or a URL like s3://conn_id@bucket/folder, for the files (required)"),
        required=True,
    ),
    Arg(("--sql",), help=worded("a query for the numbers, with ORDER BY (required: this, --sql-file or --source)")),
    Arg(("--sql-file",), help=worded("instead of --sql, a file with the query"), metavar="PATH"),
    Arg(
        ("--sql-conn-id",), help=worded("connection of the bank's database (required with a query)"), metavar="CONN_ID"
    ),
    Arg(("--parameters",), help=worded('values for :name in the query, as JSON, for example {"city": "Shenzhen"}')),
    Arg(("--source",), help=worded("instead of a query, text or Parquet files; * matches many"), metavar="PATH"),
    Arg(
        ("--column",),
        help=worded("the column with the numbers: its name, its number from 1, or characters such as 1-18"),
    ),
    Arg(
        ("--dialect",),
        help=worded('how text files are laid out, as JSON, for example {"delimiter": "|"}'),
        metavar="JSON",
    ),
    Arg(("--expected-rows",), help=worded("fail unless there are as many rows"), type=int, metavar="ROWS"),
    ARG_PREFIX,
    Arg(
        ("--on-invalid",),
        help=worded("what a row that is no number does (default %(default)s)"),
        choices=("fail", "skip"),
        default="fail",
    ),
    Arg(
        ("--max-rows-per-file",), help=worded("1 to 5500 (default %(default)s)"), type=int, default=5500, metavar="ROWS"
    ),
)
_UPLOAD = (
    ARG_PACKAGE,
    Arg(
        ("--manifest",),
        help=worded("an export's folder, or the manifest.json in it, as a path or URL (required: this or --file)"),
        metavar="PATH",
    ),
    Arg(("--file",), help=worded("instead of --manifest, a file with one plain number a line"), metavar="PATH"),
    Arg(("--bank-type",), help=worded("for --file, for example ICBC_DEBIT (required with --file)")),
    Arg(("--encrypted",), help=worded("the lines of --file are encrypted already"), action="store_true"),
    Arg(
        ("--serial-no",), help=worded("serial of the platform key that encrypted the lines (required with --encrypted)")
    ),
    ARG_PREFIX,
    Arg(
        ("--max-workers",),
        help=worded("uploads at a time, 1 to 64 (default %(default)s)"),
        type=int,
        default=8,
        metavar="N",
    ),
    Arg(
        ("--dry-run",), help=worded("only say what would be uploaded, and how long it would take"), action="store_true"
    ),
    Arg(("-y", "--yes"), help=worded("do not ask; needed where there is no terminal to ask on"), action="store_true"),
)
_TASKS = (
    ARG_PACKAGE,
    Arg(("--status",), help=worded("only tasks in this state"), choices=("PROCESSING", "FINISHED")),
    Arg(("--filename",), help=worded("only the task of this file")),
)
_WAIT = (
    ARG_PACKAGE,
    Arg(
        ("--task-ids",),
        help=worded("only these tasks (default: every task of the package)"),
        nargs="+",
        metavar="TASK_ID",
    ),
    Arg(("--filenames",), help=worded("only the tasks of these files"), nargs="+", metavar="FILENAME"),
    Arg(
        ("--poke-interval",),
        help=worded("seconds between two looks, one call each (default %(default)s)"),
        type=float,
        default=60.0,
        metavar="SECONDS",
    ),
    Arg(
        ("--timeout",),
        help=worded("seconds after which to give up (default 7 days)"),
        type=float,
        default=7 * 86_400.0,
        metavar="SECONDS",
    ),
    Arg(
        ("--max-fail-ratio",),
        help=worded("fail if more than this share of the numbers did not match, 0 to 1"),
        type=float,
        metavar="RATIO",
    ),
)
_CERTIFICATES = (
    Arg(
        ("--download",),
        help=worded("while migrating to the public key, download the certificates, too, which WeChat Pay counts"),
        action="store_true",
    ),
)
_CHECK = (Arg(("package_id",), help=worded("a number package that should be readable"), nargs="?"),)
_IMPORTS = (
    Arg(("-d", "--dag-id"), help=worded("only imports of this DAG")),
    Arg(("--package-id",), help=worded("only imports into this number package")),
    Arg(
        ("--state",),
        help=worded("only imports in this state: {states}", states=", ".join(IMPORT_STATES)),
        choices=IMPORT_STATES,
        metavar="STATE",
    ),
    Arg(
        ("--limit",), help=worded("imports at most, 1 or more (default %(default)s)"), type=_at_least_one, default=50,
        metavar="N",
    ),
)  # fmt: skip
_VERIFY = (
    Arg(
        ("receipts",),
        help=worded("receipts, as paths or URLs, with or without the # and digits of the sensor's result (required)"),
        nargs="+",
        metavar="receipt",
    ),
    Arg(("--online",), help=worded("ask WeChat Pay whether it says the same today"), action="store_true"),
)
_CLEAN = (
    Arg(
        ("output_path",),
        help=worded("folder, or a URL like s3://conn_id@bucket/folder, in which exports are (required)"),
    ),
    Arg(
        ("--older-than",),
        help=worded(
            "remove also exports of which no receipt says that they are finished, if they are older, for example 7d"
        ),
        metavar="AGE",
    ),
    Arg(("--receipts",), help=worded("folder, or a URL, in which receipts are, unless they are with the exports")),
    Arg(("--dry-run",), help=worded("only say what would be removed"), action="store_true"),
)


def get_cli_commands() -> list[GroupCommand]:
    """The commands for Airflow: the group ``wxbank``."""
    return [
        GroupCommand(
            name="wxbank",
            help=worded("Import numbers into WeChat Pay number packages"),
            description=worded("Export agreement numbers, upload them into a number package of WeChat Pay, and wait."),
            epilog=_epilog(*EXIT_CODES),
            subcommands=COMMANDS,
        )
    ]


_COMMON = (ARG_OUTPUT, ARG_VERBOSE)
_CONNECTED = (ARG_CONNECTION, *_COMMON)


def _command(
    module: str, name: str, text: str, args: tuple[Arg, ...], common: tuple[Arg, ...] = _CONNECTED,
    codes: tuple[int, ...] = _CALLS,
) -> ActionCommand:  # fmt: skip
    func = lazy_load_command(f"{__package__}.{module}.{name}")
    return ActionCommand(name, text, func, (*args, *common), epilog=_epilog(*_ANY, *codes))


COMMANDS = (
    _command("files", "export", worded("Export agreement numbers into encrypted files and a manifest"), _EXPORT),
    _command(
        "upload", "upload", worded("Upload an export, or one file, into a number package, each file once"), _UPLOAD,
        codes=(*_CALLS, 11),
    ),
    _command("tasks", "tasks", worded("List the upload tasks of a number package"), _TASKS),
    _command("tasks", "wait", worded("Wait until upload tasks are finished"), _WAIT, codes=(*_CALLS, 8, 9)),
    _command("imports", "imports", worded("List the newest imports of DAGs"), _IMPORTS, _COMMON, codes=()),
    _command("evidence", "verify", worded("Verify the receipt of an import"), _VERIFY, codes=(*_CALLS, 8, 10)),
    _command("evidence", "clean", worded("Remove exports that are not needed any more"), _CLEAN, codes=(3, 4, 6)),
    _command(
        "connection", "certificates", worded("List the platform keys, and until when they are valid"), _CERTIFICATES,
    ),
    _command("connection", "check", worded("Examine the connection, step by step"), _CHECK),
    ActionCommand(
        "simulate",
        worded("Run the simulator, a local WeChat Pay that is not for production"),
        lazy_load_command(f"{__package__}.simulate.simulate"),
        # The texts are the simulator's own, which imports nothing from here.
        tuple(Arg((name,), **{**settings, "help": worded(settings["help"])}) for name, settings in OPTIONS),
        epilog=_epilog(0, 1, 2),
    ),
)  # fmt: skip
