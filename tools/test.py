"""Run the tests in several environments at once, show what each printed, and the coverage of all of them together.

Each runs in two parts, since the tests of a whole Airflow wait much of their time. Tests of what imports nothing of
Airflow (marked ``without_airflow``) are run in the last environment only.

Usage: python -m tools.test PYTHON [PYTHON ...]; set PYTEST to pass arguments to pytest.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tools.airflow_home import running
from tools.terminal import end_with

PYTEST = ("-m", "pytest", "-q", "--cov", "--cov-report=")
OTHERS = ("-m", "not without_airflow")
"""What the environments but the last run."""

PARTS = {"tests of a whole Airflow": ("tests/system",), "other tests": ("tests/unit", "tests/integration")}
"""What is run by a process of its own."""

COVERAGE = 95
POLL_SECONDS = 0.5
TELL_SECONDS = 60.0


def main(pythons: list[str]) -> int:
    """Exit code: 0 if all is green and the coverage is high enough."""
    arguments = shlex.split(os.environ.get("PYTEST", ""))
    versions = [airflow_version(python) for python in pythons]
    started = told = time.monotonic()
    print(f"== Testing on Airflow {' and '.join(versions)}, at once", flush=True)
    jobs = [
        (f"Airflow {version}, {part}", [python, *PYTEST, *([] if python == pythons[-1] else OTHERS), *PARTS[part]])
        for part in PARTS
        for python, version in zip(pythons, versions, strict=True)
    ]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wxbank-coverage-")))
        outputs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in jobs]
        environments = [{**os.environ, "COVERAGE_FILE": str(folder / f".coverage.{part}")} for part in range(len(jobs))]
        processes = [
            stack.enter_context(running([*command, *arguments], environment, output))
            for (_, command), environment, output in zip(jobs, environments, outputs, strict=True)
        ]
        while any(process.poll() is None for process in processes):
            time.sleep(POLL_SECONDS)
            if time.monotonic() - told > TELL_SECONDS:
                told = time.monotonic()
                print(f"   still running after {told - started:.0f} s", flush=True)
        for (name, _), output in zip(jobs, outputs, strict=True):
            output.seek(0)
            print(f"\n== {name}\n{output.read()}", flush=True)
        if any(process.returncode for process in processes):
            return 1
        coverage = [pythons[0], "-m", "coverage"]
        subprocess.run([*coverage, "combine", "-q", str(folder)], check=True)
    return subprocess.run([*coverage, "report", f"--fail-under={COVERAGE}"], check=False).returncode


def airflow_version(python: str) -> str:
    """The version of Airflow in an environment."""
    code = "from importlib.metadata import version; print(version('apache-airflow'))"
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    end_with(main, sys.argv[1:])
