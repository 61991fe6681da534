# SPDX-License-Identifier: Apache-2.0
"""The signal: style, types, and the tests of the layers that know nothing of Airflow, slow ones left out.

Usage: python -m tools.check; set PYTEST to pass arguments to pytest.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from pathlib import Path

from tests.harness.terminal import end_with
from tools.test import Job, run_all

BIN = Path(sys.executable).parent

STATIC = f'"{BIN}/ruff" check . && "{BIN}/ruff" format --check . && "{BIN}/mypy"'

PARTS = (
    ("tests/wechatpay",),
    ("tests/packages",),
    ("tests/simulator",),
    ("tests/agreements", "tests/reporting", "tests/test_contract.py"),
)
"""What is run by a process of its own, what takes longest first."""


def main() -> int:
    """Exit code: 0 if all is green."""
    begin = time.monotonic()
    pytest = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", *shlex.split(os.environ.get("PYTEST", ""))]
    jobs = [
        *(Job(" ".join(part), [*pytest, *part]) for part in PARTS),
        Job("style and types", ["bash", "-c", STATIC]),
    ]
    with tempfile.TemporaryDirectory(prefix="wxbank-check-") as folder:
        # One more than there are cores: these tests wait for servers to start and end, and none for the time to pass.
        run_all(jobs, len(os.sched_getaffinity(0)) + 1, Path(folder))
    red = [job.name for job in jobs if job.code]
    print(f"== {time.monotonic() - begin:.0f} s: {'red: ' + ', '.join(red) if red else 'all is green'}")
    return int(bool(red))


if __name__ == "__main__":
    end_with(main)
