# SPDX-License-Identifier: Apache-2.0
"""The command ``upload``: what it would do, that it asks first, and how it tells how far it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_wxbank.cli.command import Exit
from airflow_provider_wxbank.cli.output import duration
from airflow_provider_wxbank.simulator import Fault, Simulator
from tests.airflow.conftest import Run, posts
from tests.conftest import PACKAGE, NewSimulator, numbers

pytestmark = pytest.mark.usefixtures("connected")


@pytest.fixture
def manifest(run: Run, users: Path, tmp_path: Path) -> str:
    """An export of 12 files."""
    code, out, err = run(
        "export", "--bank-type", "ICBC_DEBIT", "--source", str(users), "--output-path", str(tmp_path / "export"),
        "--max-rows-per-file", "1", "-o", "json",
    )  # fmt: skip
    assert code == 0, err
    return str(json.loads(out)["manifest"])


def planned(run: Run, *options: str) -> dict[str, Any]:
    """What an upload would do."""
    code, out, err = run("upload", PACKAGE, *options, "--dry-run", "-o", "json")
    assert code == 0, err
    assert err.endswith("Nothing was uploaded: this is what would be\n")
    plan: dict[str, Any] = json.loads(out)
    return plan


# --manifest


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("kind", ["path", "url"])
def test_the_folder_of_an_export_will_do_for_its_manifest(
    run: Run, connected: Simulator, manifest: str, monkeypatch: pytest.MonkeyPatch, kind: str, slash: str
) -> None:
    folder = Path(manifest).parent
    monkeypatch.chdir(folder.parent)
    given = f"file://{folder}{slash}" if kind == "url" else f"{folder.name}{slash}"
    code, out, err = run("upload", PACKAGE, "--manifest", given, "--yes", "-o", "json")
    assert code == 0, err
    assert posts(connected) == 12
    # With its identity, as if the file had been given.
    named, _, identity = json.loads(out)["manifest"].rpartition("#")
    assert Path(named.removeprefix("file://")) == Path(manifest)
    again = run("upload", PACKAGE, "--manifest", f"{manifest}#{identity}", "--yes", "-o", "json")
    assert (again[0], posts(connected)) == (0, 12)


def test_a_folder_without_an_export_is_refused_and_what_is_missing_is_named(
    run: Run, connected: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for given in ("empty", "empty/", "no_such", "no_such.json"):
        code, _, err = run("upload", PACKAGE, "--manifest", str(tmp_path / given), "--yes")
        assert code == Exit.INPUT
        assert "manifest.json" in err
    assert posts(connected) == 0


# --dry-run


def test_a_dry_run_says_what_would_be_sent_and_sends_nothing(
    run: Run,
    connected: Simulator,
    manifest: str,
) -> None:
    assert planned(run, "--manifest", manifest) == {
        "wxbank_conn_id": "wxbank_default",
        "mchid": "1900000001",
        "package_id": PACKAGE,
        "package_tasks": 0,
        "bank_type": "ICBC_DEBIT",
        "files": 12,
        "rows": 12,
        "listed_files": 0,
        "is_guess": False,
        "daily_file_quota": 6000,
        "files_left_today": 6000,
        "days": 1,
        "upload_seconds": 4,
        "processing_seconds": 2400,
    }
    assert posts(connected) == 0


def test_a_dry_run_of_a_plain_file_knows_its_files_and_numbers(
    run: Run,
    connected: Simulator,
    tmp_path: Path,
) -> None:
    (tmp_path / "long.csv").write_text("".join(f"{number}\n" for number in numbers(6000)))
    plan = planned(run, "--file", str(tmp_path / "long.csv"), "--bank-type", "ICBC_DEBIT")
    assert (plan["files"], plan["rows"], posts(connected)) == (2, 6000, 0)


def test_a_dry_run_is_for_a_person_too(run: Run, manifest: str) -> None:
    code, out, _ = run("upload", PACKAGE, "--manifest", manifest, "--dry-run")
    assert code == 0
    told = {line.partition("|")[0].strip(): line.partition("|")[2].strip() for line in out.splitlines()}
    assert told["package"] == f"{PACKAGE}. It has no upload task yet"
    assert told["connection"] == "wxbank_default, merchant 1900000001"
    assert told["files"] == "12, of which 0 are there already, and would be adopted"
    assert told["quota"].startswith("6,000 files a day, of which 6,000 are left today")
    assert told["processed"] == "about 40 minutes after the start"


@pytest.mark.parametrize("there", [0, 1, 5, 11, 12])
def test_a_dry_run_counts_what_an_interrupted_upload_has_left(
    run: Run,
    connected: Simulator,
    manifest: str,
    there: int,
) -> None:
    connected.add_fault(Fault("forbidden", on="upload", after=there))
    code, _, err = run("upload", PACKAGE, "--manifest", manifest, "--max-workers", "1", "--yes")
    assert code == (Exit.OK if there == 12 else Exit.REFUSED), err
    before = posts(connected)
    plan = planned(run, "--manifest", manifest)
    assert (plan["listed_files"], plan["files_left_today"]) == (there, 6000 - there)
    assert (plan["processing_seconds"] == 0) == (there == 12)
    assert posts(connected) == before


def test_a_dry_run_tells_on_how_many_days_the_quota_lets_it_be_sent(
    run: Run,
    new_simulator: NewSimulator,
    connect: Callable[..., None],
    manifest: str,
) -> None:
    simulator = new_simulator()
    connect(simulator, extra={**simulator.airflow_connection()["extra"], "daily_file_quota": 5})
    plan = planned(run, "--manifest", manifest)
    assert (plan["daily_file_quota"], plan["files_left_today"], plan["days"]) == (5, 5, 3)
    out = run("upload", PACKAGE, "--manifest", manifest, "--dry-run")[1]
    assert "on 3 days, since the quota is 5 files a day" in " ".join(out.split())
    assert "about 2 days after the start" in " ".join(out.split())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (4, "less than a minute"),
        (60, "about 1 minute"),
        (2400, "about 40 minutes"),
        (90_000, "about 25 hours"),
        (200_000, "about 2 days"),
    ],
)
def test_a_guess_is_written_for_a_person(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# The question; on a terminal it is asked in tests/system/test_command_line.py


def test_without_a_terminal_and_without_yes_nothing_is_read_or_sent(
    run: Run,
    connected: Simulator,
    manifest: str,
) -> None:
    before = connected.report()["requests"]
    for options in (["--manifest", manifest], ["--manifest", "no_such.json"]):
        code, out, err = run("upload", PACKAGE, *options, "-o", "json")
        assert (code, out) == (Exit.NOT_CONFIRMED, "")
        assert err.startswith("error: nothing was uploaded: ")
        assert "Add --yes" in err
        assert len(err.splitlines()) == 1
    assert connected.report()["requests"] == before


# Progress


def test_without_a_terminal_an_upload_tells_in_a_few_lines_how_far_it_is(
    run: Run,
    manifest: str,
) -> None:
    code, out, err = run("upload", PACKAGE, "--manifest", manifest, "--yes", "-o", "json")
    assert code == 0
    assert json.loads(out)["rows"] == 12
    assert err.splitlines() == [
        f"Package {PACKAGE}: uploading 12 files with 12 numbers",
        "12 of 12 files, 12 of 12 numbers are with WeChat Pay; it processes what was sent in about 40 minutes",
        "12 files uploaded, 0 adopted (there already)",
    ]
    _, _, err = run("upload", PACKAGE, "--manifest", manifest, "--yes", "-o", "json")
    assert err.splitlines()[1:] == [
        "12 of 12 files, 12 of 12 numbers are with WeChat Pay; all of them were there already",
        "0 files uploaded, 12 adopted (there already)",
    ]


def test_what_helps_after_an_outage_is_told_as_it_is_for_the_command(
    run: Run, new_simulator: NewSimulator, connect: Callable[..., None], users: Path
) -> None:
    # With a key at hand a first answer can be verified, and is not waited for as a gateway's would be.
    simulator = new_simulator(key_mode="public-key")
    connect(simulator)
    simulator.add_fault(Fault("quota-reached", on="upload"))
    code, _, err = run("upload", PACKAGE, "--file", str(users), "--bank-type", "ICBC_DEBIT", "--yes")
    assert code == Exit.TRY_LATER
    assert err.splitlines()[-1] == (
        "hint: the same command again, with the same list, goes on where this one ended; no file is uploaded twice"
    )
    simulator.add_fault(Fault("quota-reached", on="list"))
    code, _, err = run("tasks", PACKAGE)
    assert code == Exit.TRY_LATER
    assert err.splitlines()[-1] == "hint: nothing has to be changed: run the same command again later"
