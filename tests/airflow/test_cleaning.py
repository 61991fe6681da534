# SPDX-License-Identifier: Apache-2.0
"""Exports that are not needed any more are removed, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_wxbank import retention
from airflow_provider_wxbank.agreements.manifest import read_manifest, to_bytes
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.operators import CleanExportsOperator, ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.parameters import location
from airflow_provider_wxbank.receipts import seal_of
from airflow_provider_wxbank.retention import FoundExport, age_of
from airflow_provider_wxbank.simulator import Fault, Simulator
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, WaitFailed
from tests.airflow.conftest import Run, context
from tests.airflow.test_places import PLACES, without_rights
from tests.airflow.test_receipts import of_run, sensor
from tests.conftest import PACKAGE, NewSimulator, numbers
from tests.harness.waiting import PATIENCE, until

pytestmark = pytest.mark.usefixtures("connected")

WEEK = timedelta(days=7)


@pytest.fixture
def root(store: str, request: pytest.FixtureRequest, airflow_connection: Any, tmp_path: Path) -> str:
    """A folder of this test alone in a kind of storage."""
    if store == "disk":
        return str(tmp_path / "exports")
    airflow_connection("place", request.getfixturevalue(store))
    return f"sftp://place@{tmp_path}/exports" if store == "sftp" else f"s3://place@bank/{tmp_path.name}/exports"


def exported(folder: str, rows: int = 20) -> str:
    """The result of an export of files of at most 5 rows."""
    source = Path(os.environ["AIRFLOW_HOME"]) / "numbers.txt"
    source.write_text("".join(f"{number}\n" for number in numbers(rows)))
    return ExportUsersOperator(
        task_id="export", source=str(source), bank_type="ICBC_DEBIT", output_path=folder, max_rows_per_file=5
    ).execute(context())


def imported(folder: str, receipt_path: str, run_id: str = "manual__1", **options: Any) -> str:
    """The result of an export that was imported and has its receipt."""
    manifest = exported(folder)
    upload = UploadTaskOperator(task_id="upload", package_id=PACKAGE, manifest=manifest).execute(context())
    sensor(upload=upload, receipt_path=receipt_path, **options).execute(of_run(run_id=run_id))
    return manifest


def clean(folder: str, days: float = 0.0, **options: Any) -> list[FoundExport]:
    """What a removal finds, so many days from now."""

    def now() -> datetime:
        return datetime.now(UTC) + timedelta(days=days)

    return list(retention.clean(folder, seal_of(WxBankHook().get_conn()), now=now, **options))


def outcomes(found: list[FoundExport]) -> dict[str, str]:
    return {one.manifest.split("/")[-2]: one.outcome for one in found}


def names(folder: str) -> list[str]:
    """Every file below a folder, by its path there."""
    where = location(folder, "output_path")
    where.filesystem.invalidate_cache()
    # A server of object storage may list the folder itself.
    found = [path.removeprefix(where.path).strip("/") for path in where.filesystem.find(where.path)]
    return sorted(filter(None, found))


@PLACES
def test_an_export_with_a_receipt_is_removed_and_the_receipt_stays(root: str) -> None:
    imported(f"{root}/done", f"{root}/done")
    exported(f"{root}/waiting")
    waiting = [name for name in names(root) if name.startswith("waiting/")]
    dry = clean(root, dry_run=True)
    assert outcomes(dry) == {"done": "removed", "waiting": "kept"}
    assert len(names(root)) == 11
    found = clean(root)
    assert found == dry
    assert names(root) == ["done/receipt.json", *waiting]
    done = next(one for one in found if one.outcome == "removed")
    assert (done.files, done.rows) == (4, 20)
    assert outcomes(clean(root)) == {"waiting": "kept"}


@PLACES
def test_an_export_without_a_receipt_is_removed_when_it_is_too_old(root: str) -> None:
    exported(f"{root}/one")
    assert outcomes(clean(root, days=6.9, older_than=WEEK)) == {"one": "kept"}
    assert outcomes(clean(root, days=7.1)) == {"one": "kept"}
    assert outcomes(clean(root, days=7.1, older_than=WEEK)) == {"one": "removed"}
    if root.startswith("s3"):
        assert names(root) == []
    else:
        # The folder of the export goes with it, and the folder that was given stays.
        assert not location(f"{root}/one", "output_path").exists()
        assert location(root, "output_path").exists()


@PLACES
def test_what_is_no_export_of_ours_is_left(root: str) -> None:
    exported(f"{root}/one")
    folder = location(f"{root}/one", "output_path")
    folder.child("notes.txt").write(b"of somebody else")
    folder.child("more-0123.csv").write(b"of somebody else")
    location(f"{root}/other", "output_path").child("manifest.json").write(b'{"files": []}')
    location(f"{root}/altered", "output_path").child("manifest.json").write(
        folder.child("manifest.json").read(10_000) + b" "
    )
    # An export that is being written, or was killed: no manifest says what belongs to it.
    location(f"{root}/being-written", "output_path").child("import-1.csv").write(b"ciphertext")
    found = clean(root, days=100, older_than=WEEK)
    assert outcomes(found) == {"one": "removed", "other": "left", "altered": "left"}
    assert names(root) == [
        "altered/manifest.json", "being-written/import-1.csv", "one/more-0123.csv", "one/notes.txt",
        "other/manifest.json",
    ]  # fmt: skip


@PLACES
def test_a_removal_that_was_interrupted_goes_on(root: str) -> None:
    """Files go first and the manifest last, so what is left of one looks like this."""
    imported(f"{root}/done", f"{root}/done")
    left = [name for name in names(root) if name.endswith(".csv")]
    location(root, "output_path").child(left[0]).delete()
    (found,) = clean(root)
    assert (found.outcome, found.files) == ("removed", 3)
    assert names(root) == ["done/receipt.json"]


def test_a_removal_that_is_killed_goes_on(simulator: Simulator, tmp_path: Path) -> None:
    exported(str(tmp_path / "exports/one"), rows=10_000)
    folder = tmp_path / "exports/one"
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert len(manifest["files"]) == 2000
    code = (
        "import datetime; from airflow_provider_wxbank import retention; retention.MIN_AGE = datetime.timedelta(0); "
        "from airflow_provider_wxbank.__main__ import main; main(['clean', "
        f"{str(tmp_path / 'exports')!r}, '--older-than', '0h'])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        until(lambda: len(list(folder.glob("*.csv"))) < 2000 or process.poll() is not None)
    finally:
        process.kill()
        process.wait()
    # Whenever it was killed: as long as there is a file, there is the manifest that lists it.
    assert (folder / "manifest.json").exists() or not list(folder.glob("*.csv"))
    clean(str(tmp_path / "exports"), days=1, older_than=timedelta(hours=1))
    assert list((tmp_path / "exports").iterdir()) == []


def test_receipts_may_be_elsewhere(tmp_path: Path) -> None:
    imported(str(tmp_path / "exports/one"), str(tmp_path / "receipts/2026/import-1.json"))
    assert outcomes(clean(str(tmp_path / "exports"))) == {"one": "kept"}
    assert outcomes(clean(str(tmp_path / "exports"), receipts=str(tmp_path / "receipts"))) == {"one": "removed"}
    assert (tmp_path / "receipts/2026/import-1.json").exists()
    with pytest.raises(InvalidInput, match="does not exist"):
        clean(str(tmp_path / "no_such"))


def test_a_receipt_of_an_earlier_export_in_the_folder_removes_nothing(tmp_path: Path) -> None:
    imported(str(tmp_path / "one"), str(tmp_path / "receipts"))
    exported(str(tmp_path / "one"))
    assert outcomes(clean(str(tmp_path))) == {"one": "kept"}


@pytest.mark.parametrize("what", ["altered", "does not agree", "was not accepted"])
def test_a_receipt_that_is_doubtful_removes_nothing(
    simulator: Simulator, new_simulator: NewSimulator, connect: Any, tmp_path: Path, what: str
) -> None:
    if what == "does not agree":
        simulator.add_fault(Fault("lost-rows", on="upload", times=1))
    if what == "was not accepted":
        connect(new_simulator(unmatched_ratio=1.0))
        with pytest.raises(WaitFailed):
            imported(str(tmp_path / "one"), str(tmp_path / "one"), max_fail_ratio=0.5)
        assert (tmp_path / "one/receipt.json").exists()
    else:
        imported(str(tmp_path / "one"), str(tmp_path / "one"))
    if what == "altered":
        receipt = tmp_path / "one/receipt.json"
        receipt.write_bytes(receipt.read_bytes().replace(b'"agree": true', b'"agree": null'))
    assert outcomes(clean(str(tmp_path))) == {"one": "kept"}


def test_another_merchant_with_the_same_naming_secret_takes_no_receipt_for_its_own(
    simulator: Simulator, connect: Any, new_simulator: NewSimulator, tmp_path: Path
) -> None:
    secret = {"naming_secret": "one secret of thirty-two characters for both"}
    connect(simulator, extra={**simulator.airflow_connection()["extra"], **secret})
    imported(str(tmp_path / "one"), str(tmp_path / "one"))
    other = new_simulator(mchid="1900000002")
    connect(other, extra={**other.airflow_connection()["extra"], **secret})
    assert outcomes(clean(str(tmp_path))) == {"one": "kept"}
    connect(simulator, extra={**simulator.airflow_connection()["extra"], **secret})
    assert outcomes(clean(str(tmp_path))) == {"one": "removed"}


# Other writers, other files, other clocks.


@PLACES
@pytest.mark.parametrize("how", ["receipt", "age"])
def test_an_export_that_begins_meanwhile_keeps_its_files(root: str, how: str) -> None:
    """It has files of the same names, and is not the one that was judged."""
    folder = f"{root}/daily"
    imported(folder, f"{root}/receipts")
    again: list[str] = []

    def now() -> datetime:
        if not again:
            again.append(exported(folder))
        return datetime.now(UTC) + timedelta(days=8)

    options: dict[str, Any] = {} if how == "receipt" else {"older_than": WEEK}
    (found,) = retention.clean(root, seal_of(WxBankHook().get_conn()), now=now, **options)
    assert (found.outcome, found.why) == ("kept", "another export into this folder began meanwhile")
    # All of it is there, as its upload finds.
    upload = UploadTaskOperator(task_id="upload", package_id="8473296", manifest=again[0]).execute(context())
    assert upload["rows"] == 20


def test_a_pipe_is_no_receipt_and_holds_nothing_up(tmp_path: Path) -> None:
    exported(str(tmp_path / "exports/one"))
    os.mkfifo(tmp_path / "exports/x.json")
    (tmp_path / "exports/two").mkdir()
    os.mkfifo(tmp_path / "exports/two/manifest.json")
    code = (
        "import sys; from airflow_provider_wxbank.__main__ import main; "
        f"main(['clean', {str(tmp_path / 'exports')!r}, '-o', 'json'])"
    )
    # In a process of its own, which can be ended if it waits for somebody to write.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert outcomes([FoundExport(**one) for one in json.loads(done.stdout)]) == {"one": "kept", "two": "left"}
    assert "x.json is no file, but a folder, a pipe or a device" in done.stderr


def open_to_all(folder: Path) -> None:
    """Let a user without rights read and write everything in a folder, and come to it."""
    for path in folder.rglob("*"):
        path.chmod(0o777)
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o777)


def test_a_file_that_may_not_be_read_is_no_receipt(tmp_path: Path, logged: Callable[[], str]) -> None:
    exported(str(tmp_path / "one"))
    (tmp_path / "foreign.json").write_text("{}")
    open_to_all(tmp_path)
    (tmp_path / "foreign.json").chmod(0)
    secret = seal_of(WxBankHook().get_conn())
    with without_rights():
        found = list(retention.clean(str(tmp_path), secret))
    assert outcomes(found) == {"one": "kept"}
    assert "Not taken as a receipt: " in logged()


def test_an_export_that_cannot_be_removed_keeps_no_other(tmp_path: Path) -> None:
    for name in "abc":
        imported(str(tmp_path / name), str(tmp_path / f"receipts/{name}"), f"manual__{name}")
    open_to_all(tmp_path)
    (tmp_path / "b").chmod(0o555)
    secret = seal_of(WxBankHook().get_conn())
    found: list[FoundExport] = []
    with without_rights(), pytest.raises(InvalidInput, match="^1 export below .* could not be removed; all others"):
        found.extend(retention.clean(str(tmp_path), secret))
    assert outcomes(found) == {"a": "removed", "b": "failed", "c": "removed"}
    assert "permission was denied" in found[1].why
    assert [path.name for path in tmp_path.iterdir()].count("c") == 0
    assert len(list((tmp_path / "b").glob("*.csv"))) == 4


def test_the_command_shows_what_it_removed_before_it_failed(run: Run, tmp_path: Path) -> None:
    for name in "ab":
        imported(str(tmp_path / name), str(tmp_path / f"receipts/{name}"), f"manual__{name}")
    open_to_all(tmp_path)
    (tmp_path / "b").chmod(0o555)
    # Imports what a user without rights may not.
    assert run("clean", str(tmp_path), "--dry-run")[0] == 0
    with without_rights():
        code, out, err = run("clean", str(tmp_path), "-o", "json")
    assert code == 3
    assert outcomes([FoundExport(**one) for one in json.loads(out)]) == {"a": "removed", "b": "failed"}
    assert "error: 1 export below" in err


def test_an_export_of_a_worker_whose_clock_is_wrong_is_as_old_as_its_file(tmp_path: Path) -> None:
    exported(str(tmp_path / "one"))
    path = tmp_path / "one/manifest.json"
    seal = seal_of(WxBankHook().get_conn())
    manifest = read_manifest(location(str(path), "manifest"), seal.key)
    path.write_bytes(to_bytes(replace(manifest, created_at="2020-01-01T00:00:00+00:00"), seal.key))
    (found,) = clean(str(tmp_path), older_than=WEEK)
    assert found.outcome == "kept"
    assert found.why.endswith("and was written 0 d 0 h ago")
    assert outcomes(clean(str(tmp_path), days=7.1, older_than=WEEK)) == {"one": "removed"}


@PLACES
def test_a_manifest_is_no_place_of_exports(root: str) -> None:
    imported(f"{root}/one", f"{root}/one")
    with pytest.raises(InvalidInput, match=r"one/manifest.json is a file: give the folder that it is in"):
        clean(f"{root}/one/manifest.json")


@pytest.mark.parametrize("dry_run", [None, 0, "False", "{{ x }}"])
def test_only_true_and_false_say_whether_to_remove(tmp_path: Path, dry_run: Any) -> None:
    imported(str(tmp_path / "one"), str(tmp_path / "one"))
    with pytest.raises(InvalidInput, match="dry_run must be True or False"):
        CleanExportsOperator(task_id="clean", output_path=str(tmp_path), dry_run=dry_run).execute(context())
    assert (tmp_path / "one/manifest.json").exists()


def test_links_are_not_followed(tmp_path: Path) -> None:
    exported(str(tmp_path / "elsewhere/one"))
    exported(str(tmp_path / "exports/two"))
    (tmp_path / "exports/link").symlink_to(tmp_path / "elsewhere/one")
    (tmp_path / "exports/three").mkdir()
    (tmp_path / "exports/three/manifest.json").symlink_to(tmp_path / "elsewhere/one/manifest.json")
    # One of its own files is a link to another's.
    name = next((tmp_path / "exports/two").glob("*.csv"))
    kept = tmp_path / "kept.csv"
    shutil.move(name, kept)
    name.symlink_to(kept)
    before = names(str(tmp_path / "elsewhere"))
    found = clean(str(tmp_path / "exports"), days=100, older_than=WEEK)
    assert outcomes(found) == {"two": "removed"}
    assert names(str(tmp_path / "elsewhere")) == before
    assert kept.exists()
    assert name.is_symlink()


def test_another_connection_removes_nothing(simulator: Simulator, connect: Any, tmp_path: Path) -> None:
    exported(str(tmp_path / "one"))
    extra = simulator.airflow_connection()["extra"]
    connect(simulator, extra={**extra, "naming_secret": "another secret of thirty-two chars"})
    assert outcomes(clean(str(tmp_path), days=100, older_than=WEEK)) == {"one": "left"}


@pytest.mark.parametrize("age", ["7", "7 days", "-1d", "0d", "59m", "\uff17d", 7, "", timedelta(minutes=59)])
def test_an_age_that_is_none_is_refused(age: Any) -> None:
    with pytest.raises(InvalidInput, match="older_than"):
        age_of(age)


def test_ages() -> None:
    assert (age_of("7d"), age_of("12h"), age_of(WEEK), age_of(None)) == (WEEK, timedelta(hours=12), WEEK, None)


def test_the_operator_removes_and_sums_up(tmp_path: Path, logged: Callable[[], str]) -> None:
    imported(str(tmp_path / "exports/done"), str(tmp_path / "exports/done"))
    exported(str(tmp_path / "exports/waiting"))
    options: dict[str, Any] = {"task_id": "clean", "output_path": str(tmp_path / "exports"), "older_than": "7d"}
    size = sum(path.stat().st_size for path in (tmp_path / "exports/done").glob("*.csv"))
    expected = {"removed": 1, "kept": 1, "left": 0, "files": 4, "bytes": size}
    assert CleanExportsOperator(**options, dry_run=True).execute(context()) == expected
    assert "would be removed: a receipt says that all its files are finished" in logged()
    assert len(list((tmp_path / "exports/done").glob("*.csv"))) == 4
    assert CleanExportsOperator(**options).execute(context()) == expected
    assert [path.name for path in (tmp_path / "exports/done").iterdir()] == ["receipt.json"]


def test_the_command_removes_and_tells(run: Run, tmp_path: Path) -> None:  # a fixture
    imported(str(tmp_path / "done"), str(tmp_path / "receipts"))
    exported(str(tmp_path / "waiting"))
    code, out, err = run("clean", str(tmp_path), "--dry-run", "--older-than", "7d", "-o", "json")
    found = outcomes([FoundExport(**one) for one in json.loads(out)])
    assert (code, found) == (0, {"done": "would be removed", "waiting": "kept"})
    assert "Nothing was removed" in err
    assert "1 would be removed" in " ".join(run("clean", str(tmp_path), "--dry-run")[1].split())
    assert (tmp_path / "done").exists()
    code, out, err = run("clean", str(tmp_path), "--older-than", "7d")
    assert (code, err) == (0, "")
    assert "1 removed" in out
    assert not (tmp_path / "done").exists()
    assert run("clean", str(tmp_path), "--older-than", "soon")[0] == 3


def test_a_folder_that_may_not_be_read_is_left_out(tmp_path: Path, logged: Callable[[], str]) -> None:
    exported(str(tmp_path / "one"))
    closed = tmp_path / "lost+found"
    closed.mkdir(mode=0)
    for path in [path for path in tmp_path.rglob("*") if path != closed]:
        path.chmod(0o755)
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    secret = seal_of(WxBankHook().get_conn())
    with without_rights():
        found = list(retention.clean(str(tmp_path), secret))
    assert outcomes(found) == {"one": "kept"}
    assert "lost+found cannot be listed: permission was denied" in logged()
