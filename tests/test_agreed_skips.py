# SPDX-License-Identifier: Apache-2.0
"""A test that is skipped where nobody agreed to it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.harness.agreed_skips import AGREED, VARIABLE, is_agreed
from tests.harness.pages import ROOT
from tests.harness.waiting import PATIENCE
from tools.test import PYTEST, Job, tell

SKIPPING = {
    "test_marked.py": """
        import pytest
        @pytest.mark.skip(reason="no such server here")
        def test_one(): pass
    """,
    "test_started.py": """
        import pytest
        def test_two(): pytest.skip("no such server here")
    """,
    "test_file.py": """
        import pytest
        pytest.skip("no such server here", allow_module_level=True)
    """,
}


def run(folder: Path, value: str) -> tuple[int, str]:
    for name, text in SKIPPING.items():
        (folder / name).write_text(dedent(text))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rfEs",
        "-p",
        "tests.harness.agreed_skips",
        "-p",
        "no:cacheprovider",
    ]
    ended = subprocess.run(
        [*command, f"--rootdir={folder}", "-c", os.devnull, "--continue-on-collection-errors", str(folder)],
        env={**os.environ, VARIABLE: value, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout


def test_a_skip_that_nobody_agreed_to_is_a_failure_where_that_is_asked_for(tmp_path: Path) -> None:
    code, printed = run(tmp_path, "1")
    assert code != 0
    assert printed.count("no such server here: this skip is not agreed on in tests/harness/agreed_skips.py") >= len(
        SKIPPING
    )
    assert "skipped" not in printed.splitlines()[-1]


def test_elsewhere_it_is_told_and_no_failure(tmp_path: Path) -> None:
    code, printed = run(tmp_path, "")
    assert code in (0, 5)  # 5: no test was run
    assert "no such server here" in printed
    assert printed.splitlines()[-1].startswith("3 skipped")


@pytest.mark.parametrize(
    ("test", "reason", "airflow", "agreed"),
    [
        ("tests/airflow/test_page.py::test_x[1]", "Airflow before 3.1 has no place for the page", (2, 11), True),
        ("tests/airflow/test_page.py::test_x[1]", "Airflow before 3.1 has no place for the page", (3, 3), False),
        ("tests/airflow/test_page.py::test_x", "there is no browser", (2, 11), False),
        ("tests/agreements/test_mariadb.py::test_x", "there is no MariaDB here", (3, 3), False),
        ("tests/airflow/test_plugin.py::test_x", "Airflow before 3.1 has no place for the page", (2, 11), False),
    ],
)
def test_a_skip_is_agreed_on_by_test_reason_and_version(
    test: str, reason: str, airflow: tuple[int, int], agreed: bool
) -> None:
    assert is_agreed(test, reason, airflow) is agreed


def test_what_is_agreed_on_is_there() -> None:
    for test in sorted(test for one in AGREED for test in one.tests):
        path, _, name = test.partition("::")
        assert not name or f"def {name}(" in (ROOT / path).read_text("utf-8"), test
        assert (ROOT / path).is_file(), test


OUTCOMES = """
import pytest

def test_fails():
    assert 1 == 2, "the reason"

@pytest.fixture
def broken():
    raise ValueError("of the fixture")

def test_errs(broken):
    pass

@pytest.mark.skip(reason="Airflow 2 has no watchers")
def test_each_import_of_somebody_else_is_told_of_with_its_own_counts():
    pass

@pytest.mark.skip(reason="nobody knows why")
def test_skipped():
    pass
"""


def test_what_failed_is_told_last_and_what_ci_refuses_is_told_as_such(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tests" / "airflow" / "test_assets.py"
    file.parent.mkdir(parents=True)
    file.write_text(OUTCOMES)
    options = ["-rfEs", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", "-c", os.devnull]
    ended = subprocess.run(
        [sys.executable, *PYTEST, *options, "tests"],
        cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    tell([Job("Airflow 2.11.2, with Airflow", [], ended.returncode, ended.stdout)])
    skip, refused, summary, *failed = capsys.readouterr().out.splitlines()
    assert skip.endswith("Airflow 2 has no watchers")
    assert refused.endswith("test_skipped: nobody knows why: not agreed on, CI refuses")
    assert "1 failed, 2 skipped, 1 error" in summary
    assert [line.partition(" - ")[0] for line in failed] == [
        f"   on Airflow 2.11.2, with Airflow: {line}"
        for line in ("FAILED tests/airflow/test_assets.py::test_fails", "ERROR tests/airflow/test_assets.py::test_errs")
    ]
