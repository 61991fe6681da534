# SPDX-License-Identifier: Apache-2.0
"""JDBC, in a process of its own: a JVM stays in the process that has started it, and tests that fork have none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.drivers_of_databases import NEEDS_HSQLDB

pytestmark = [NEEDS_HSQLDB, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
CHECKS = "tests/airflow/jdbc_checks.py"


def test_what_is_checked_of_jdbc_in_a_process_of_its_own() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", CHECKS],
        cwd=ROOT, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    assert "skipped" not in run.stdout
