# SPDX-License-Identifier: Apache-2.0
# PYTHON_ARGCOMPLETE_OK
"""``python -m airflow_provider_wxbank``: the commands of ``airflow wxbank``, also for Airflow before 3.2."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import argcomplete

from airflow_provider_wxbank.cli.definition import get_cli_commands


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Breaks lines by their width: a Chinese character is as wide as two others, and has no spaces around it."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        if text.isascii():
            return super()._split_lines(text, width)
        from rich.console import Console
        from rich.text import Text

        return [line.plain.rstrip() for line in Text(text).wrap(Console(), width)]


def parser() -> argparse.ArgumentParser:
    """The parser of the commands."""
    # Made from what Airflow is given, so that both command lines are the same.
    group = get_cli_commands()[0]
    made = argparse.ArgumentParser(
        prog=f"python -m {__package__}", description=group.description, epilog=group.epilog, formatter_class=_Formatter
    )
    subparsers = made.add_subparsers(dest="subcommand", metavar="COMMAND", required=True)
    for command in group.subcommands:
        one = subparsers.add_parser(
            command.name, help=command.help, description=command.help, epilog=command.epilog, formatter_class=_Formatter
        )
        for arg in command.args:
            arg.add_to_parser(one)
        one.set_defaults(func=command.func)
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; the exit code is in SystemExit unless it is 0."""
    made = parser()
    # As Airflow's own command does: this is what a shell asks that completes it.
    argcomplete.autocomplete(made)
    args = made.parse_args(arguments)
    args.func(args)


if __name__ == "__main__":
    main()
