# SPDX-License-Identifier: Apache-2.0
"""Run the tests in several environments, show what each part printed, the coverage, what was skipped, and what failed.

Parts run beside one another, one more of them than there are cores: a fifth of their time they wait, for answers and
for processes that start. A machine that does more at once than it can tests its own patience. Tests of what imports
nothing of Airflow are run once, in the last environment. Measuring what is covered takes half as long again, so it is
done where WXBANK_COVERAGE is set, as in CI, and where it finds something: in the tests of what imports nothing of
Airflow, and in those of the rest in the first environment.

Usage: python -m tools.test PYTHON [PYTHON ...]; set PYTEST to pass arguments to pytest.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.harness.agreed_skips import is_agreed
from tests.harness.airflow_home import running
from tests.harness.terminal import end_with

PYTEST = ("-m", "pytest", "-q", "--no-fold-skipped")
IS_MEASURED = bool(os.environ.get("WXBANK_COVERAGE"))
MEASURED = ("--cov", "--cov-report=") if IS_MEASURED else ()

COVERAGE = 95
POLL_SECONDS = 0.5
TELL_SECONDS = 60.0

_FAILED = re.compile(r"^(?:FAILED|ERROR) tests\S+.*", re.MULTILINE)
_SKIPPED = re.compile(r"^SKIPPED (\S+?)(?:\[.*?\])? - (?:Skipped: )?(.*)\n", re.MULTILINE)
SUMMARY = re.compile(r"^(?:=+ )?((?:\d+ \w+(?:, )?)+ in [\d.]+s.*?)(?: =+)?$", re.MULTILINE)
"""The line that pytest ends with; what ends with Python may print more."""


@dataclass(slots=True)
class Job:
    """A part of the tests in an environment, and what became of it."""

    name: str
    command: Sequence[str]
    code: int = 1
    output: str = ""

    @property
    def summary(self) -> str:
        """Its last line, with its name."""
        found = SUMMARY.findall(self.output)
        return f"{self.name}: {found[-1] if found else f'ended with {self.code} and no summary'}"


def main(pythons: list[str]) -> int:
    """Exit code: 0 if all is green and the coverage is high enough."""
    arguments = shlex.split(os.environ.get("PYTEST", ""))
    versions = [airflow_version(python) for python in pythons]
    jobs = [
        Job(f"Airflow {version}, {name}", [python, *PYTEST, *options, *arguments])
        for name, python, version, options in parts(list(zip(pythons, versions, strict=True)))
    ]
    at_once = min(len(os.sched_getaffinity(0)) + 1, len(jobs))
    print(f"== Testing on Airflow {' and '.join(versions)}, {at_once} parts at a time", flush=True)
    with tempfile.TemporaryDirectory(prefix="wxbank-coverage-") as folder:
        run_all(jobs, at_once, Path(folder))
        code = int(any(job.code for job in jobs)) or coverage(pythons[0], folder)
    tell(jobs)
    return code


WITHOUT_AIRFLOW = ("tests/reporting", "tests/wechatpay", "tests/agreements", "tests/packages", "tests/simulator")
"""Tests of what imports nothing of Airflow."""

SYSTEM = ("tests/system", "tests/stress")
"""Tests that start processes of a whole Airflow."""

ONCE = (
    "tests/system/test_docs.py",
    "tests/stress/test_faults.py",
    "tests/stress/test_crash.py",
    "tests/airflow/test_jdbc.py",
    "tests/airflow/test_hsm.py",
    "tests/airflow/test_sftp.py",
    *(
        f"tests/test_{name}.py"
        for name in ("agreed_skips", "alerts", "chinese", "contract", "docs", "release", "wheelhouse")
    ),
)
"""Those that take long and depend on the version of Airflow least; ``make test-matrix`` runs them on others, too."""


def parts(environments: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str, str, Sequence[str]]]:
    """What is run by a process of its own, what takes longest first.

    :param environments: interpreter and version of Airflow of each.
    :return: name, interpreter, version of Airflow, and arguments of pytest.
    """
    first, *later = environments
    once = [f"--ignore={path}" for path in ONCE]
    others = [*(f"--ignore={path}" for path in ("tests/browser", *WITHOUT_AIRFLOW, *SYSTEM)), "tests"]
    yield "faults and documentation", *first, [path for path in ONCE if path.startswith(SYSTEM)]
    yield "whole Airflow", *first, [*once, *SYSTEM]
    yield "without Airflow", *environments[-1], [*MEASURED, *WITHOUT_AIRFLOW]
    yield "with Airflow", *first, [*MEASURED, *others]
    for environment in later:
        yield "whole Airflow", *environment, [*once, *SYSTEM]
        yield "with Airflow", *environment, [*once, *others]


def run_all(jobs: Sequence[Job], at_once: int, folder: Path) -> None:
    """Run every job, some at a time, and print what each printed when it ends.

    :param folder: for the files of the coverage.
    """
    started = told = time.monotonic()
    waiting = list(enumerate(jobs))
    with ExitStack() as stack:
        active: list[tuple[Job, IO[str], subprocess.Popen[str]]] = []
        while waiting or active:
            while waiting and len(active) < at_once:
                index, job = waiting.pop(0)
                output = stack.enter_context(tempfile.TemporaryFile("w+"))
                environment = {**os.environ, "COVERAGE_FILE": str(folder / f".coverage.{index}")}
                active.append((job, output, stack.enter_context(running(job.command, environment, output))))
            time.sleep(POLL_SECONDS)
            for one in [one for one in active if one[2].poll() is not None]:
                active.remove(one)
                job, printed, process = one
                printed.seek(0)
                job.code, job.output = process.returncode, printed.read()
                print(f"\n== {job.name}\n{_SKIPPED.sub('', job.output)}", flush=True)
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                print(f"   still running after {told - started:.0f} s", flush=True)


def tell(jobs: Sequence[Job]) -> None:
    """Print what was skipped, how each job ended, and last of all what failed: often a log is kept from its end."""
    for line, count in Counter(line for job in jobs for line in skipped(job)).items():
        print(f"   skipped {line}" + (f" ({count} times)" if count > 1 else ""))
    print("\n".join(f"== {job.summary}" for job in jobs))
    for job in jobs:
        for line in _FAILED.findall(job.output):
            print(f"   on {job.name}: {line}")


def coverage(python: str, folder: str) -> int:
    """Print the coverage of all jobs; 0 if it is high enough, or was not measured."""
    if not IS_MEASURED:
        return 0
    command = [python, "-m", "coverage"]
    subprocess.run([*command, "combine", "-q", folder], check=True)
    return subprocess.run([*command, "report", f"--fail-under={COVERAGE}"], check=False).returncode


def skipped(job: Job) -> list[str]:
    """The tests that a job skipped, each with the version of Airflow and the reason."""
    version = job.name.partition(",")[0]
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    return [
        f"on {version}: {test}: {reason}" + ("" if is_agreed(test, reason, numbers) else ": not agreed on, CI refuses")
        for test, reason in _SKIPPED.findall(job.output)
    ]


def airflow_version(python: str) -> str:
    """The version of Airflow in an environment."""
    code = "from importlib.metadata import version; print(version('apache-airflow'))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    end_with(main, sys.argv[1:])
