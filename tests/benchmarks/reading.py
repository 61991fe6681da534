# SPDX-License-Identifier: Apache-2.0
"""One text file read and checked in a process of its own; prints the seconds of processor time that it took.

Usage: python -m tests.benchmarks.reading FILE LAYOUT ours|csv
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from airflow_provider_wxbank.agreements.numbers import Tally, checked_numbers
from airflow_provider_wxbank.agreements.sources.dialect import Dialect
from airflow_provider_wxbank.agreements.sources.files import read_files
from airflow_provider_wxbank.parameters import location
from tests.benchmarks.exports import peak_megabytes

COLUMN = "agreement_no"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is written, and what the export is told of it.

    :param begin: records before the header.
    :param end: records at the end.
    """

    what: str
    encoding: str
    delimiter: str
    begin: str = ""
    end: str = ""

    @property
    def dialect(self) -> dict[str, object]:
        """What a user writes for it."""
        return {
            "encoding": self.encoding,
            "delimiter": self.delimiter,
            "skip_rows": self.begin.count("\n"),
            "skip_footer": self.end.count("\n"),
        }


LAYOUTS = {
    "csv": Layout("CSV", "utf-8", ","),
    "bank": Layout("GB18030, |@|, two records", "gb18030", "|@|", "H20261126\n", "T000000000000\n"),
}


def write(path: Path, layout: Layout, rows: int) -> None:
    """A list as a core system unloads it."""
    with path.open("w", encoding=layout.encoding, newline="\n") as file:
        file.write(layout.begin)
        file.write(layout.delimiter.join(("id", COLUMN, "name", "city")) + "\n")
        for index in range(rows):
            fields = (str(index), f"2024{index:014d}", "张三丰" if index % 3 else "李四", "上海")
            file.write(layout.delimiter.join(fields) + "\n")
        file.write(layout.end)


def measure(path: Path, layout: str, who: str, rows: int) -> tuple[float, float]:
    """Read a file in a process of its own.

    :return: seconds of processor time, and the peak memory in MB.
    """
    command = [sys.executable, "-m", "tests.benchmarks.reading", str(path), layout, who]
    with psutil.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        megabytes = peak_megabytes(process)
        taken, found = process.stdout.read().splitlines()[-1].split()
        assert process.returncode == 0
    assert int(found) == rows
    return float(taken), megabytes


def ours(path: Path, layout: Layout) -> int:
    """As ExportUsersOperator reads and checks it."""
    values = read_files(location(path, "path"), COLUMN, Dialect.of(layout.dialect))
    return sum(map(len, checked_numbers(values, "fail", Tally())))


def bare(path: Path, layout: Layout) -> int:
    """The reference: nothing but the standard library's reader, which takes delimiters of one character."""
    with path.open("rb") as file:
        reader = csv.reader(
            io.TextIOWrapper(file, layout.encoding, newline=""),
            delimiter=layout.delimiter[0],
        )
        return sum(1 for _ in reader) - 1 - layout.begin.count("\n") - layout.end.count("\n")


def main(path: str, layout: str, who: str) -> None:
    """Print how much processor time it took, and how many rows there are."""
    # What Airflow imports when a path is used for the first time is no part of it.
    location(path, "path").exists()
    started = time.process_time()
    rows = {"ours": ours, "csv": bare}[who](Path(path), LAYOUTS[layout])
    print(time.process_time() - started, rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
