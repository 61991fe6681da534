# SPDX-License-Identifier: Apache-2.0
"""The rows that commands leave in the log table of a real Airflow."""

from __future__ import annotations

import getpass
import json
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_wxbank.simulator import Fault, Simulator
from tests.conftest import PACKAGE, numbers
from tests.harness.waiting import PATIENCE

ROWS = 20


@pytest.fixture
def made(simulator: Simulator, new_forked_airflow: Callable[..., Any]) -> Any:
    return new_forked_airflow(simulator, ROWS)


def run(made: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(made.forks / "airflow"), "wxbank", *arguments], env=made.env, cwd=made.home.parent,
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip


def log_table(made: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Event, owner and facts of each of our rows, in their order."""
    with closing(sqlite3.connect(made.home / "airflow.db")) as database:
        rows = database.execute(
            "SELECT event, owner, extra FROM log WHERE event LIKE '%wxbank%' ORDER BY id"
        ).fetchall()
        # Nothing of what commands were given is in any other row either.
        (everything,) = database.execute("SELECT group_concat(event || coalesce(extra, '')) FROM log").fetchone()
    assert "agreement_no" not in (everything or "")
    return [(event, owner, json.loads(extra)) for event, owner, extra in rows]


def test_an_export_and_its_upload_leave_who_where_and_how_many(made: Any, simulator: Simulator) -> None:
    secret = "s3cr3t-in-it"
    exported = run(
        made, "export", "--bank-type", "ICBC_DEBIT", "--output-path", "out-of-sight", "--sql-conn-id", "bank_db",
        "--sql", f"SELECT agreement_no FROM users WHERE active AND agreement_no <> :one AND '{secret}' > '' ORDER BY 1",
        "--parameters", json.dumps({"one": numbers(ROWS)[1]}), "--output", "json",
    )  # fmt: skip
    assert exported.returncode == 0, exported.stderr
    manifest = json.loads(exported.stdout)["manifest"]
    uploaded = run(made, "upload", PACKAGE, "--manifest", manifest, "--yes")
    assert uploaded.returncode == 0, uploaded.stderr
    rows = log_table(made)
    events = ["cli_wxbank_export", "cli_wxbank_export_ended", "cli_wxbank_upload", "cli_wxbank_upload_ended"]
    assert [event for event, _, _ in rows] == events
    assert {owner for _, owner, _ in rows} == {getpass.getuser()}
    facts = [facts for _, _, facts in rows]
    assert all(one["host_name"] for one in facts)
    assert {one["wxbank_conn_id"] for one in facts} == {"wxbank_default"}
    assert [one.get("package_id") for one in facts] == [None, None, PACKAGE, PACKAGE]
    count = len([index for index in range(ROWS) if index % 10]) - 1
    assert facts[1] | {"files": 1, "rows": count, "skipped": 0, "outcome": "done", "exit_code": 0} == facts[1]
    assert facts[3] | {"files": 1, "rows": count, "adopted": 0, "outcome": "done", "exit_code": 0} == facts[3]
    # What ties the two together.
    assert facts[1]["manifest"] == facts[3]["manifest"]
    assert_says_nothing_of(facts, secret, "SELECT", "out-of-sight", *numbers(ROWS))


def test_an_upload_that_failed_says_how_and_how_far_it_came(made: Any, simulator: Simulator, tmp_path: Path) -> None:
    users = tmp_path / "secret-name.csv"
    users.write_text("".join(f"{number}\n" for number in numbers(12)))
    simulator.add_fault(Fault("forbidden", on="upload"))
    ended = run(made, "upload", PACKAGE, "--file", str(users), "--bank-type", "ICBC_DEBIT", "--yes")
    assert ended.returncode == 5, ended.stderr
    (begun, last) = log_table(made)
    assert (begun[0], last[0]) == ("cli_wxbank_upload", "cli_wxbank_upload_ended")
    told = {"outcome": "failed", "exit_code": 5, "error": "Refused", "total_files": 1, "files": 0, "rows": 0}
    assert last[2] | told == last[2]
    assert_says_nothing_of([begun[2], last[2]], "secret-name", *numbers(12))


def test_what_is_refused_at_once_leaves_its_rows_too(made: Any) -> None:
    ended = run(
        made, "export", "--bank-type", "ICBC_DEBIT", "--output-path", "out", "--source", "users.csv",
        "--dialect", "no JSON with a s3cr3t",
    )  # fmt: skip
    assert ended.returncode == 3, ended.stderr
    _, (event, _, facts) = log_table(made)
    assert event == "cli_wxbank_export_ended"
    assert (facts["outcome"], facts["error"]) == ("failed", "InvalidInput")
    assert_says_nothing_of([facts], "s3cr3t")


def test_a_database_that_takes_no_row_stops_no_command(made: Any, tmp_path: Path) -> None:
    with closing(sqlite3.connect(made.home / "airflow.db")) as database, database:
        database.execute("CREATE TRIGGER full BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'no row today'); END")
    users = tmp_path / "users.csv"
    users.write_text("".join(f"{number}\n" for number in numbers(12)))
    ended = run(made, "upload", PACKAGE, "--file", str(users), "--bank-type", "ICBC_DEBIT", "-o", "json", "-y")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["rows"] == 12
    assert "Airflow's log table has no row of cli_wxbank_upload: " in ended.stderr
    assert "no row today" in ended.stderr
    assert log_table(made) == []


def test_cleaning_leaves_what_it_removed_and_a_dry_run_nothing(made: Any) -> None:
    command = ["--output-path", "out-of-sight", "--source", "users.csv"]
    (made.home.parent / "users.csv").write_text("".join(f"{number}\n" for number in numbers(12)))
    exported = run(made, "export", "--bank-type", "ICBC_DEBIT", *command)
    assert exported.returncode == 0, exported.stderr
    for option in (["--dry-run"], []):
        cleaned = run(made, "clean", "out-of-sight", "--older-than", "7d", *option)
        assert cleaned.returncode == 0, cleaned.stderr
    begun, ended = log_table(made)[2:]
    assert (begun[0], ended[0]) == ("cli_wxbank_clean", "cli_wxbank_clean_ended")
    told = {"removed": 0, "kept": 1, "left": 0, "files": 0, "bytes": 0, "outcome": "done", "exit_code": 0}
    assert ended[2] | told == ended[2]
    assert_says_nothing_of([begun[2], ended[2]], "out-of-sight")


def test_an_upload_that_nobody_agreed_to_leaves_that_and_a_dry_run_nothing(made: Any, tmp_path: Path) -> None:
    users = tmp_path / "secret-name.csv"
    users.write_text("".join(f"{number}\n" for number in numbers(12)))
    command = ["upload", PACKAGE, "--file", str(users), "--bank-type", "ICBC_DEBIT"]
    assert run(made, *command, "--dry-run").returncode == 0
    assert log_table(made) == []
    assert run(made, *command).returncode == 11
    (begun, ended) = log_table(made)
    told = {"outcome": "declined", "exit_code": 11, "error": "NotConfirmed"}
    assert ended[2] | told == ended[2]
    assert_says_nothing_of([begun[2], ended[2]], "secret-name", *numbers(12))


def test_what_only_reads_leaves_no_row(made: Any) -> None:
    assert run(made, "tasks", PACKAGE).returncode == 0
    assert log_table(made) == []


def assert_says_nothing_of(facts: list[dict[str, Any]], *texts: str) -> None:
    told = json.dumps(facts)
    assert [text for text in texts if text in told] == []
