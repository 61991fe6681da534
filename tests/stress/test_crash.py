# SPDX-License-Identifier: Apache-2.0
"""Uploads and exports that are killed, reduced; ``make crash`` does it at length and in a real Airflow."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_wxbank.simulator import numbers_digest
from tests.conftest import NewSimulator
from tests.stress import crash
from tests.stress.crash_checks import Row, check_package, manifest_state
from tests.stress.crash_checks import merchant_key as key_of
from tests.stress.crash_runs import Runs, bank_of, connections, export_arguments
from tests.stress.crash_watch import Moment, Seen, Watch, watched


@pytest.fixture(scope="module", autouse=True)
def stopped() -> Iterator[None]:
    """Nothing of the tool is left."""
    yield
    Runs.stop()


def test_every_number_arrives_once_whatever_is_killed(tmp_path: Path) -> None:
    pids: list[int] = []
    upload, receipts, export, lost = rows = crash.kill_forked(tmp_path, pids, random.Random(7), uploads=4, exports=2)
    assert not any(row.is_bad for row in rows), [crash.table(rows), *(row.notes for row in rows)]
    assert (upload.kills, export.kills) == (4, 2)
    assert upload.runs > 4
    assert export.runs > 2
    assert lost.runs == 9
    assert receipts.runs > receipts.kills
    assert len(pids) >= upload.runs + receipts.runs + export.runs + lost.runs
    assert crash.still_there(pids, str(tmp_path)) == []


def test_what_must_not_happen_is_counted(new_simulator: NewSimulator, tmp_path: Path) -> None:
    bank = bank_of(tmp_path / "bank.db", 30)
    simulator = new_simulator()
    with watched(simulator) as watch:
        runs = Runs(tmp_path / "runs.log", connections(simulator, bank))
        fewer = bank_of(tmp_path / "fewer.db", 20)
        fewer_runs = Runs(tmp_path / "runs.log", connections(simulator, fewer))
        for name, some in (("all", runs), ("some", fewer_runs)):
            how, result = some.run("ExportUsersOperator", export_arguments(tmp_path / name, 10, name))
            assert (how, result.partition("#")[0]) == ("done", str(tmp_path / name / "manifest.json"))
        uploads = {"package_id": "12345678", "manifest": str(tmp_path / "some" / "manifest.json")}
        assert runs.run("UploadTaskOperator", uploads)[0] == "done"
        row = Row("too few")
        check_package(row, watch, "12345678", bank)
        assert (row.lost, row.doubled) == (10, 0)
        uploads["manifest"] = str(tmp_path / "all" / "manifest.json")
        assert runs.run("UploadTaskOperator", uploads)[0] == "done"
        row = Row("too many")
        check_package(row, watch, "12345678", bank)
        assert (row.lost, row.doubled, row.twice) == (0, 20, 0)
        assert simulator.report()["packages"]["12345678"]["numbers_digest"] == numbers_digest(bank.numbers)
        assert runs.run("UploadTaskOperator", uploads, Moment(lambda: True, 0.0)) == ("killed", None)
        state = (tmp_path / "all", key_of(simulator))
        assert manifest_state(*state, 30) == "whole"
        assert manifest_state(*state, 31) == "half"
        min((tmp_path / "all").glob("*.csv")).unlink()
        assert manifest_state(*state, 30) == "half"
        os.truncate(tmp_path / "all" / "manifest.json", 100)
        assert manifest_state(*state, 30) == "torn"
        (tmp_path / "all" / "manifest.json").unlink()
        assert manifest_state(*state, 30) == "none"


def test_a_file_may_be_sent_again_once_for_each_kill_that_it_was_in_flight_at(new_simulator: NewSimulator) -> None:
    watch = Watch(new_simulator())
    sent = [Seen(10.0, 11.0, "a"), Seen(20.0, 21.0, "a"), Seen(10.0, 11.0, "b"), Seen(30.0, 31.0, None)]
    watch.seen["1"] = sent
    assert watch.sent_again("1") == (0, 1)
    watch.kills["1"] = [(10.5, 10.6)]
    assert watch.sent_again("1") == (1, 0)
    sent.append(Seen(40.0, 41.0, "a"))
    assert watch.sent_again("1") == (1, 1)
    # Not under way at the second kill.
    watch.kills["1"].append((30.0, 30.1))
    assert watch.sent_again("1") == (1, 1)


def test_the_table_and_the_exit_code_show_what_is_bad() -> None:
    good = Row("upload", kills=3, runs=4, again=1)
    assert not good.is_bad
    for name in ("lost", "doubled", "twice", "half", "hung", "wrong"):
        bad = Row("upload", kills=3, runs=4, again=1)
        setattr(bad, name, 1)
        assert bad.is_bad
        assert crash.table([bad]) != crash.table([good])


def test_a_process_that_is_left_is_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert len(crash.still_there([process.pid], "/nowhere")) == 1
    assert crash.still_there([process.pid], "/nowhere") == []
