# SPDX-License-Identifier: Apache-2.0
"""Results for people and for programs: tables that fit the terminal, JSON, YAML, plain text."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from airflow.cli.simple_table import AirflowConsole, SimpleTable
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from tabulate import tabulate

from airflow_provider_wxbank.cli.command import PipeClosed, printable
from airflow_provider_wxbank.cli.words import counted, shows, worded
from airflow_provider_wxbank.packages.quota import SHANGHAI

Row = Mapping[str, object]

MIN_FOLDED = 20
"""Characters that a folded column has at least."""

SEPARATOR = 3
"""Characters between two columns of Airflow's tables."""

_BEIJING = timezone(timedelta(seconds=SHANGHAI))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    :param name: its heading.
    :param field: the field of a row that it shows.
    :param shown: makes a value a text.
    :param is_number: whether it is aligned to the right.
    :param folds: whether long values take several lines.
    :param is_optional: whether it is left out of a terminal that is too narrow; the last such column goes first.
    """

    name: str
    field: str
    shown: Callable[[Any], str] = str
    is_number: bool = False
    folds: bool = False
    is_optional: bool = False

    def text(self, row: Row) -> str:
        """What a row shows."""
        value = row.get(self.field)
        return "" if value is None else printable(self.shown(value))


def as_json(value: Any) -> dict[str, object]:
    """A dataclass in a form for JSON, with times in RFC 3339."""
    return {name: one.isoformat() if isinstance(one, datetime) else one for name, one in asdict(value).items()}


def show(output: str, value: object, rows: Sequence[Row], columns: Sequence[Column], sums: Row | None = None) -> None:
    """Print a result on stdout.

    :param output: ``table``, ``json``, ``yaml`` or ``plain``.
    :param value: what JSON and YAML show, in full.
    :param rows: what a table and plain text show.
    :param columns: the columns of a table; plain text has every field of a row.
    :param sums: the last line of a table.
    """
    if output == "json":
        write(_dumped(lambda unescaped: json.dumps(value, ensure_ascii=not unescaped, indent=2)) + "\n")
    elif output == "yaml":
        from airflow.utils import yaml

        write(_dumped(lambda unescaped: yaml.dump(value, allow_unicode=unescaped, sort_keys=False)))
    elif output == "plain":
        rows = [{name: printable(one) if isinstance(one, str) else one for name, one in row.items()} for row in rows]
        write(tabulate(rows, headers="keys", tablefmt="plain", disable_numparse=True) + "\n" if rows else "")
    else:
        console = AirflowConsole()
        render(table(rows, columns, sums, console.width), console)


def _dumped(dump: Callable[[bool], str]) -> str:
    """A text for programs, with the escapes of its own format if stdout cannot show all of it.

    :param dump: makes it, unescaped or not.
    """
    text = dump(True)
    return text if shows(text, sys.stdout) else dump(False)


def table(rows: Sequence[Row], columns: Sequence[Column], sums: Row | None, width: int) -> Table:
    """A table with the columns that fit a width."""
    lines = [*rows, *([sums] if sums else [])]
    made = SimpleTable(show_header=True, caption=None)
    columns = fitting(lines, columns, width)
    for column in columns:
        made.add_column(
            column.name,
            justify="right" if column.is_number else "left",
            no_wrap=not column.folds,
            overflow="fold",
        )
    for row in lines:
        if row is sums:
            made.add_section()
        made.add_row(*(Text(column.text(row)) for column in columns))
    return made


def fitting(rows: Sequence[Row], columns: Sequence[Column], width: int) -> list[Column]:
    """The columns that fit a width. Those that are not optional stay in any case."""
    kept = list(columns)

    def needed(column: Column) -> int:
        widest = max(map(cell_len, (column.name, *(column.text(row) for row in rows))))
        return min(widest, MIN_FOLDED) if column.folds else widest

    while sum(map(needed, kept)) + SEPARATOR * (len(kept) - 1) > width:
        optional = [column for column in kept if column.is_optional]
        if not optional:
            break
        kept.remove(optional[-1])
    return kept


def render(what: RenderableType, console: Console | None = None) -> None:
    """Print something of rich on stdout, with colours on a terminal."""
    console = console or AirflowConsole()
    # Captured and written by us, since rich ends the process by itself when a pipe is closed.
    with console.capture() as captured:
        console.print(what)
    write(captured.get())


def write(text: str) -> None:
    """Write a result on stdout; what cannot be shown there, as stderr has it: as ``\\u5bfc``.

    The work is done by then, and a path in Chinese must not make a failure of it.

    :raises PipeClosed: nobody reads it.
    """
    if not shows(text, sys.stdout):
        encoding = sys.stdout.encoding
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise PipeClosed from None


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Show on a terminal that something is being done, until it is done."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def package_bar(unit: str, console: Console) -> Progress:
    """A progress bar for a package. The description of the bar's task is the package.

    :param unit: what is counted.
    """
    return Progress(
        TextColumn(worded("Package {task.description}")), BarColumn(), MofNCompleteColumn(), TextColumn(unit),
        TimeElapsedColumn(), console=console,
    )  # fmt: skip


def beijing_minute(text: str) -> str:
    """A time in RFC 3339, written for a person: in Beijing time, as WeChat Pay and its merchant platform have it.

    Which clock it is is told each time: a table may be read, or sent to somebody, far from where it was printed.
    """
    return datetime.fromisoformat(text).astimezone(_BEIJING).strftime("%Y-%m-%d %H:%M +08:00")


def rfc3339(unix_seconds: float) -> str:
    """A moment in RFC 3339, UTC."""
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat()


def duration(seconds: float) -> str:
    """A guess of some seconds, written for a person."""
    if seconds < 60:
        return worded("less than a minute")
    if seconds < 90 * 60:
        time = counted(round(seconds / 60), "minute")
    elif seconds < 36 * 3600:
        time = counted(round(seconds / 3600), "hour")
    else:
        time = counted(round(seconds / 86_400), "day")
    return worded("about {text}", text=time)


def thousands(value: int) -> str:
    """A number, written for a person."""
    return f"{value:,}"
