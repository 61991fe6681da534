# SPDX-License-Identifier: Apache-2.0
"""The command ``imports``: what it lists of Airflow's database."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from airflow_provider_wxbank._compat import HAS_PAGE
from airflow_provider_wxbank.cli.command import Exit
from airflow_provider_wxbank.cli.definition import IMPORT_STATES
from tests.airflow.conftest import Run
from tests.airflow.page_data import Left, add_run, whole_import
from tests.conftest import PACKAGE

OTHER = "9900001"
BEGIN = 1_764_000_000.0

pytestmark = pytest.mark.filterwarnings("ignore")  # Airflow's own

with_page = pytest.mark.skipif(not HAS_PAGE, reason="Airflow before 3.1 has no place for the page")


@pytest.fixture(scope="module")
def database() -> None:
    """Airflow's database."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def imported(database: None) -> Iterator[None]:
    """Airflow's database with three imports of two DAGs into two packages; the last one failed."""
    add_run("spring", "manual__1", BEGIN, whole_import(PACKAGE, BEGIN, 2), "success", user="zhang")
    add_run("spring", "manual__2", BEGIN + 10, whole_import(OTHER, BEGIN + 10, 1, rows=1, matched=1), "success")
    refused = {
        "error": "Refused", "kind": "Refused", "text": "no such package", "is_lasting": True, "at": int(BEGIN) + 25,
    }  # fmt: skip
    told = {"wxbank_conn_id": "wxbank_default", "package_id": PACKAGE, "total_files": 3, "total_rows": 16_500}
    add_run("autumn", "manual__3", BEGIN + 20, [
        Left("upload", "upload", "failed", told, begin=BEGIN + 20, end=BEGIN + 25, failure=refused, try_number=1),
        Left("finished", "wait", "upstream_failed", begin=None),
    ], "failed")  # fmt: skip
    yield
    from airflow.models.dag import DagModel
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    with create_session() as session:
        for model in (DagRun, DagModel):
            session.execute(delete(model))


def listed(run: Run, *options: str) -> list[dict[str, Any]]:
    code, out, err = run("imports", "-o", "json", *options)
    assert (code, err) == (0, "")
    found: list[dict[str, Any]] = json.loads(out)
    return found


def runs(run: Run, *options: str) -> list[str]:
    return [one["run_id"] for one in listed(run, *options)]


@with_page
@pytest.mark.usefixtures("imported")
def test_imports_are_listed_newest_first_with_what_the_page_says(run: Run) -> None:
    failed, small, whole = listed(run)
    assert whole | {
        "dag_id": "spring", "run_id": "manual__1", "run_state": "success", "package_id": PACKAGE, "state": "finished",
        "begin": "2025-11-24T16:00:00+00:00", "files": 2, "rows": 11_000, "success_count": 10_000, "fail_count": 1000,
        "error": None, "triggered_by": "zhang",
    } == whole  # fmt: skip
    assert whole["matched_ratio"] == pytest.approx(10 / 11)
    assert (small["package_id"], small["rows"], small["matched_ratio"]) == (OTHER, 1, 1.0)
    assert (failed["state"], failed["failed_task"], failed["error"]) == ("failed", "upload", "Refused")
    assert (failed["message"], failed["files"], failed["matched_ratio"]) == ("no such package", 3, None)


@with_page
@pytest.mark.usefixtures("imported")
def test_imports_are_chosen(run: Run) -> None:
    assert runs(run, "--dag-id", "spring") == ["manual__2", "manual__1"]
    assert runs(run, "--package-id", PACKAGE) == ["manual__3", "manual__1"]
    assert runs(run, "--state", "failed") == ["manual__3"]
    assert runs(run, "--dag-id", "spring", "--package-id", PACKAGE, "--state", "finished") == ["manual__1"]
    assert runs(run, "--dag-id", "nobody_made_this") == []
    assert runs(run, "--limit", "2") == ["manual__3", "manual__2"]


@with_page
@pytest.mark.usefixtures("imported")
def test_a_choice_is_found_behind_many_others(run: Run) -> None:
    for index in range(60):
        add_run("spring", f"later__{index}", BEGIN + 100 + index, whole_import(OTHER, BEGIN + 100 + index, 1))
    assert runs(run, "--package-id", PACKAGE) == ["manual__3", "manual__1"]
    assert len(listed(run)) == 50
    assert len(listed(run, "--limit", "100")) == 63


@with_page
@pytest.mark.usefixtures("imported")
def test_imports_are_a_table_as_other_lists_are(run: Run) -> None:
    from airflow.utils import yaml

    code, out, _ = run("imports")
    heading, _, *lines = ([cell.strip() for cell in line.split("|")] for line in out.splitlines())
    assert code == 0
    assert heading[:5] == ["DAG", "run", "package", "state", "began"]
    assert lines[0][:5] == ["autumn", "manual__3", PACKAGE, "failed", "2025-11-25 00:00 +08:00"]
    shown = dict(zip(heading, lines[-1], strict=True))
    assert (shown["numbers"], shown["matched"]) == ("11,000", "90.91%")
    assert yaml.safe_load(run("imports", "-o", "yaml")[1]) == listed(run)
    assert len(run("imports", "-o", "plain")[1].splitlines()) == 4


@with_page
@pytest.mark.parametrize("options", [["--limit", "0"], ["--limit", "-1"], ["--state", "lost"]], ids=" ".join)
def test_a_choice_that_cannot_be_is_refused(run: Run, options: list[str]) -> None:
    assert run("imports", *options)[0] == Exit.USAGE


@with_page
def test_every_state_of_an_import_can_be_chosen() -> None:
    from airflow_provider_wxbank.ui.imports import State

    assert get_args(State) == IMPORT_STATES


@with_page
def test_listing_imports_needs_nothing_that_only_the_api_server_has() -> None:
    code = (
        "import sys; from airflow_provider_wxbank.cli import imports; "
        "from airflow_provider_wxbank.ui import database, imports; "
        "print([one for one in ('fastapi', 'airflow_provider_wxbank.ui.app') if one in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.splitlines()[-1] == "[]"


@pytest.mark.skipif(HAS_PAGE, reason="Airflow from 3.1 on has the records")
def test_an_airflow_without_records_says_which_one_has_them(run: Run) -> None:
    code, out, err = run("imports")
    assert (code, out) == (Exit.UNEXPECTED, "")
    assert err == "error: imports are recorded, and can be listed, from Airflow 3.1 on; this one is older\n"
