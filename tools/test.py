"""Run the tests on each environment that is given, then print the coverage of all runs together.

Usage: python tools/test.py PYTHON [PYTHON ...]; set PYTEST to pass arguments to pytest.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

COVERAGE = 95


def main(pythons: list[str]) -> int:
    """Exit code: 0 if all is green and the coverage is high enough."""
    for old in Path().glob(".coverage.*"):
        old.unlink()
    arguments = shlex.split(os.environ.get("PYTEST", ""))
    for python in pythons:
        version = subprocess.run(
            [python, "-c", "from importlib.metadata import version; print(version('apache-airflow'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        print(f"== Tests on Airflow {version}", flush=True)
        code = subprocess.run(
            [python, "-m", "pytest", "-q", "--cov", "--cov-report=", *arguments], check=False
        ).returncode
        if code:
            return code
        for data in [Path(".coverage")] if Path(".coverage").exists() else []:
            data.rename(f".coverage.airflow-{version}")
    coverage = [pythons[0], "-m", "coverage"]
    subprocess.run([*coverage, "combine", "-q"], check=True)
    return subprocess.run([*coverage, "report", f"--fail-under={COVERAGE}"], check=False).returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
