# SPDX-License-Identifier: Apache-2.0
"""Receipts: what they say, that they are written once, and that what was altered is refused."""

from __future__ import annotations

import hashlib
import json
import math
import re
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_wxbank import __version__
from airflow_provider_wxbank.agreements.seal import Seal, identity_of, sealed
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.parameters import location
from airflow_provider_wxbank.receipts import seal_of
from airflow_provider_wxbank.reporting.receipt import Receipt, read_receipt
from airflow_provider_wxbank.sensors import TaskFinishedSensor
from airflow_provider_wxbank.simulator import Fault, Simulator
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater, WaitFailed, WrongReceipt
from tests.airflow.conftest import Run, context
from tests.conftest import PACKAGE, NewSimulator, numbers
from tests.harness.databases import NEEDS_SFTP
from tests.harness.pages import ROOT
from tests.harness.s3_server import READER
from tests.harness.waiting import PATIENCE

Connect = Callable[..., None]

SCHEMA = json.loads((ROOT / "docs/receipt.schema.json").read_text("utf-8"))


def uploaded(tmp_path: Path, rows: int = 20, name: str = "out") -> dict[str, Any]:
    """The result of an upload of an export, of files of at most 5 rows."""
    (tmp_path / "users.txt").write_text("".join(f"{number}\n" for number in [*numbers(rows), "no number"]))
    manifest = ExportUsersOperator(
        task_id="export", source=str(tmp_path / "users.txt"), bank_type="ICBC_DEBIT", on_invalid="skip",
        output_path=str(tmp_path / name), max_rows_per_file=5,
    ).execute(context())  # fmt: skip
    upload = UploadTaskOperator(task_id="upload", package_id=PACKAGE, manifest=manifest)
    return upload.execute(context())


def manifest_of(upload: dict[str, Any]) -> list[dict[str, Any]]:
    """The files that the manifest of an upload lists."""
    files: list[dict[str, Any]] = json.loads(Path(upload["manifest"].rpartition("#")[0]).read_bytes())["files"]
    return files


def sensor(**options: Any) -> TaskFinishedSensor:
    return TaskFinishedSensor(task_id="finished", **{"poke_interval": 0.05, "timeout": PATIENCE, **options})


def of_run(try_number: int = 1, user: str | None = "zhang", **options: Any) -> Any:
    """What a sensor is told of its run, which a user has triggered."""
    told = context(task_id="finished", **options)
    told["ti"].try_number = try_number
    told["dag_run"] = SimpleNamespace(run_type="manual", triggering_user_name=user)
    return told


def path_of(result: dict[str, Any]) -> Path:
    path, _, identity = result["receipt"].rpartition("#")
    assert identity == identity_of(Path(path).read_bytes())
    return Path(path)


def written(result: dict[str, Any]) -> dict[str, Any]:
    """What a receipt says, once it is what the schema describes."""
    says: dict[str, Any] = json.loads(path_of(result).read_bytes())
    jsonschema.validate(says, SCHEMA)
    return says


# What it says.


def test_a_receipt_says_which_list_went_where_by_whom_and_what_became_of_it(
    connected: Simulator, tmp_path: Path
) -> None:
    upload = uploaded(tmp_path)
    result = sensor(upload=upload, receipt_path=str(tmp_path / "kept")).execute(of_run(try_number=2))
    assert path_of(result) == tmp_path / "kept/receipt.json"
    assert stat.S_IMODE(path_of(result).stat().st_mode) == 0o600
    says = written(result)
    listed = {task["filename"]: task for task in connected.app.ledger.page(PACKAGE, None, None, 0, 20)["data"]}
    manifest, _, identity = upload["manifest"].rpartition("#")
    exported = json.loads(Path(manifest).read_bytes())
    assert says["mchid"] == connected.settings.mchid
    assert (says["package_id"], says["waited_for"]) == (PACKAGE, "upload")
    assert says["provider_version"] == __version__
    assert says["run"] == {
        "dag_id": "import_users", "run_id": "manual__1", "task_id": "finished", "map_index": -1, "try_number": 2,
        "run_type": "manual", "triggered_by": "zhang",
    }  # fmt: skip
    assert says["exports"] == [
        {
            "manifest": manifest, "identity": identity, "problem": None, "created_at": exported["created_at"],
            "rows": 20, "skipped": 1,
        }
    ]  # fmt: skip
    assert says["sums"]["agree"] is True
    assert {name: says["sums"][name] for name in ("files", "rows", "success_count", "fail_count", "unaccounted")} == {
        "files": 4, "rows": 20, "success_count": 20, "fail_count": 0, "unaccounted": 0,
    }  # fmt: skip
    assert says["verdict"] == {"max_fail_ratio": None, "fail_ratio": 0.0, "is_accepted": True}
    by_name = {file["filename"]: file for file in exported["files"]}
    assert len(says["files"]) == 4
    for file in says["files"]:
        task = listed[file["filename"]]
        assert file["task_id"] == task["task_id"]
        assert (file["sha256"], file["serial_no"]) == tuple(
            by_name[file["filename"]][x] for x in ("sha256", "serial_no")
        )
        assert (file["rows"], file["bank_type"], file["exports"]) == (5, "ICBC_DEBIT", [identity])
        assert file["adopted"] is False
        assert file["create_time"][:19] == task["create_time"][:19]
        assert file["create_time"].endswith("+08:00")
        for name in ("success_count", "fail_count", "success_user_count"):
            assert file[name] == task[name]
    # No number, and nothing of the keys.
    text = path_of(result).read_text()
    assert not re.search(r"2024\d{14}", text)
    assert "PRIVATE" not in text


def test_a_file_of_its_own_name_and_folder(connected: Simulator, tmp_path: Path) -> None:
    upload = uploaded(tmp_path)
    result = sensor(upload=upload, receipt_path=str(tmp_path / "a/b/import-7.json")).execute(of_run())
    assert path_of(result) == tmp_path / "a/b/import-7.json"


@pytest.mark.parametrize("how", ["task_ids", "filenames", "package"])
def test_without_an_upload_a_receipt_says_what_wechat_pay_says(connected: Simulator, tmp_path: Path, how: str) -> None:
    tasks = uploaded(tmp_path)["tasks"]
    options: dict[str, Any] = {
        "task_ids": {"task_ids": [task["task_id"] for task in tasks]},
        "filenames": {"filenames": [task["filename"] for task in tasks]},
        "package": {},
    }[how]
    says = written(sensor(package_id=PACKAGE, receipt_path=str(tmp_path), **options).execute(of_run()))
    assert (says["waited_for"], says["exports"]) == (how, [])
    assert (says["sums"]["rows"], says["sums"]["agree"], says["sums"]["success_count"]) == (None, None, 20)
    assert {(file["rows"], file["sha256"], file["bank_type"]) for file in says["files"]} == {(None, None, "ICBC_DEBIT")}


def test_a_receipt_of_a_single_file_has_rows_and_no_export(connected: Simulator, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("\n".join(numbers(7)))
    upload = UploadTaskOperator(
        task_id="upload", package_id=PACKAGE, file=str(tmp_path / "users.csv"), bank_type="ICBC_DEBIT"
    ).execute(context())
    says = written(sensor(upload=upload, receipt_path=str(tmp_path)).execute(of_run()))
    assert (says["exports"], says["sums"]["rows"], says["sums"]["agree"]) == ([], 7, True)


@pytest.mark.parametrize("what", ["missing", "changed"])
def test_a_manifest_that_is_gone_is_told_in_the_receipt(connected: Simulator, tmp_path: Path, what: str) -> None:
    upload = uploaded(tmp_path)
    manifest = Path(upload["manifest"].rpartition("#")[0])
    if what == "missing":
        manifest.unlink()
    else:
        manifest.write_bytes(manifest.read_bytes() + b" ")
    says = written(sensor(upload=upload, receipt_path=str(tmp_path)).execute(of_run()))
    (export,) = says["exports"]
    assert export["problem"].startswith(f"{manifest} ")
    assert export["rows"] is None
    # The rows are known from the upload itself, and not whether these are all of the export.
    assert (says["sums"]["rows"], says["sums"]["unaccounted"], says["sums"]["agree"]) == (20, 0, None)
    assert {file["sha256"] for file in says["files"]} == {None}


def test_rows_that_were_lost_are_told(connected: Simulator, tmp_path: Path) -> None:
    connected.add_fault(Fault("lost-rows", on="upload", times=1))
    says = written(sensor(upload=uploaded(tmp_path), receipt_path=str(tmp_path)).execute(of_run()))
    assert (says["sums"]["unaccounted"], says["sums"]["agree"]) == (1, False)
    assert sorted(file["unaccounted"] for file in says["files"]) == [0, 0, 0, 1]


def test_too_many_that_did_not_match_have_a_receipt_that_says_so(
    new_simulator: NewSimulator, connect: Connect, tmp_path: Path
) -> None:
    connect(new_simulator(unmatched_ratio=1.0))
    upload = uploaded(tmp_path)
    with pytest.raises(WaitFailed, match="20 of 20 numbers did not match"):
        sensor(upload=upload, receipt_path=str(tmp_path), max_fail_ratio=0.2).execute(of_run())
    says = json.loads((tmp_path / "receipt.json").read_bytes())
    jsonschema.validate(says, SCHEMA)
    assert says["verdict"] == {"max_fail_ratio": 0.2, "fail_ratio": 1.0, "is_accepted": False}


def test_many_uploads_have_one_receipt(connected: Simulator, tmp_path: Path) -> None:
    first = uploaded(tmp_path, rows=10, name="first")
    second = uploaded(tmp_path, rows=23, name="second")
    del second["tasks"][-1]
    says = written(sensor(upload=[first, second], receipt_path=str(tmp_path)).execute(of_run()))
    assert [export["rows"] for export in says["exports"]] == [10, 23]
    # Not all of the second export is among the files.
    assert says["sums"]["agree"] is False


def test_lists_that_share_a_file_have_a_receipt_that_agrees(connected: Simulator, tmp_path: Path) -> None:
    """The first files of both lists have the same numbers, and so the same name: the second upload adopts them."""
    first, second = uploaded(tmp_path, rows=10, name="first"), uploaded(tmp_path, rows=23, name="second")
    says = written(sensor(upload=[first, second], receipt_path=str(tmp_path)).execute(of_run()))
    assert (says["sums"]["rows"], says["sums"]["unaccounted"], says["sums"]["agree"]) == (23, 0, True)
    both = {upload["manifest"].rpartition("#")[2] for upload in (first, second)}
    exports = [set(file["exports"]) for file in says["files"]]
    assert (exports.count(both), exports.count({second["manifest"].rpartition("#")[2]})) == (2, 3)
    # The bytes of the shared ones are those of the upload that sent them.
    sent = {file["filename"]: file["sha256"] for file in manifest_of(second)} | {
        file["filename"]: file["sha256"] for file in manifest_of(first)
    }
    assert {file["filename"]: file["sha256"] for file in says["files"]} == sent
    assert {file["adopted"] for file in says["files"]} == {False}


def test_a_receipt_states_no_bytes_that_were_not_sent(connected: Simulator, tmp_path: Path) -> None:
    """A list that is exported anew has the same names and other bytes, and WeChat Pay keeps those that it has."""
    first, second = uploaded(tmp_path, name="first"), uploaded(tmp_path, name="second")
    assert not any("adopted" in task for task in first["tasks"])
    assert [task["adopted"] for task in second["tasks"]] == [True] * 4
    says = written(sensor(upload=second, receipt_path=str(tmp_path)).execute(of_run()))
    assert {(file["sha256"], file["serial_no"], file["adopted"]) for file in says["files"]} == {(None, None, True)}
    # The numbers are those of the second export nevertheless, and all of them are there.
    assert {tuple(file["exports"]) for file in says["files"]} == {(second["manifest"].rpartition("#")[2],)}
    assert says["sums"]["agree"] is True


def test_a_result_of_an_older_version_tells_of_no_adoption(connected: Simulator, tmp_path: Path) -> None:
    first, second = uploaded(tmp_path, rows=10, name="first"), uploaded(tmp_path, rows=10, name="second")
    for task in second["tasks"]:
        del task["adopted"]
    # Both seem to have sent it, and they cannot both have. (The tasks of one must differ from those of the other.)
    del second["tasks"][-1]
    says = written(sensor(upload=[first, second], receipt_path=str(tmp_path)).execute(of_run()))
    shared = [file for file in says["files"] if file["filename"] == second["tasks"][0]["filename"]]
    assert [(file["sha256"], file["adopted"]) for file in shared] == [(None, False)]


@pytest.mark.parametrize("without", [1, 4])
def test_without_the_rows_of_some_files_nothing_is_said_to_disagree(
    connected: Simulator, run: Run, tmp_path: Path, without: int
) -> None:
    upload = uploaded(tmp_path)
    for task in upload["tasks"][:without]:
        del task["rows"]
    says = written(sensor(upload=upload, receipt_path=str(tmp_path)).execute(of_run()))
    rows = 20 - 5 * without or None
    assert (says["sums"]["rows"], says["sums"]["agree"]) == (rows, None)
    assert run("verify", str(tmp_path / "receipt.json"))[0] == 0


# When it is written.


def test_a_deferred_wait_writes_what_wechat_pay_says_then(
    new_simulator: NewSimulator, connect: Connect, tmp_path: Path
) -> None:
    simulator = new_simulator(processing_seconds=3600.0)
    connect(simulator)
    upload = uploaded(tmp_path)
    waiting = sensor(upload=upload, receipt_path=str(tmp_path), deferrable=True)
    with pytest.raises(TaskDeferred):
        waiting.execute(of_run())
    assert not (tmp_path / "receipt.json").exists()
    for task in simulator.app.ledger.packages[PACKAGE].values():
        task.created -= 7200
    # An event may have passed through many hands: a receipt says nothing of what it told.
    counts = {"tasks": 4, "success_count": 3, "fail_count": 17, "success_user_count": 3, "failed_files": []}
    result = sensor(upload=upload, receipt_path=str(tmp_path), deferrable=True).execute_complete(
        of_run(), {"status": "finished", "counts": counts}
    )
    assert result["success_count"] == written(result)["sums"]["success_count"] == 20


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_receipt_that_cannot_be_written_fails_and_another_try_only_writes_it(
    connected: Simulator, tmp_path: Path, s3: dict[str, Any], airflow_connection: Any, deferrable: bool
) -> None:
    airflow_connection("reader", {**s3, "login": READER})
    upload = uploaded(tmp_path)
    waiting = sensor(upload=upload, receipt_path=f"s3://reader@bank/{tmp_path.name}", deferrable=deferrable)
    with pytest.raises(InvalidInput, match="permission was denied") as raised:
        waiting.execute(of_run())
    assert "only their receipt could not be written" in "".join(raised.value.__notes__)
    before = connected.report()["requests"]
    airflow_connection("place", s3)
    again = sensor(upload=upload, receipt_path=f"s3://place@bank/{tmp_path.name}", deferrable=deferrable)
    result = again.execute(of_run(try_number=2))
    assert result["receipt"].startswith(f"s3://place@bank/{tmp_path.name}/receipt.json#")
    after = connected.report()["requests"]
    assert after["upload"] == before["upload"]
    # One look: what is processing, and the four files by their names.
    assert after["list"] + after["find"] - before["list"] - before["find"] == 5


def test_a_place_that_cannot_be_is_told_before_the_wait(
    new_simulator: NewSimulator, connect: Connect, tmp_path: Path
) -> None:
    connect(new_simulator(processing_seconds=3600.0))
    upload = uploaded(tmp_path)
    (tmp_path / "receipt.json").write_text("a file of somebody else")
    for path, message in (
        ("receipts", "must be an absolute path or a URL"),
        ("/receipts/None", "has 'None' in it"),
        (str(tmp_path), "is not this task's receipt, and it is not overwritten"),
    ):
        with pytest.raises(InvalidInput, match=message):
            sensor(upload=upload, receipt_path=path).execute(of_run())
    assert (tmp_path / "receipt.json").read_text() == "a file of somebody else"


@pytest.mark.parametrize("store", ["disk", pytest.param("sftp", marks=NEEDS_SFTP)])
@pytest.mark.parametrize("what", ["a file on the way", "a link to nowhere", "a folder"])
def test_a_place_on_a_disk_that_cannot_be_is_told_before_the_wait(
    new_simulator: NewSimulator, connect: Connect, tmp_path: Path, what: str, store: str,
    request: pytest.FixtureRequest, airflow_connection: Any,
) -> None:  # fmt: skip
    if store == "sftp":
        airflow_connection("place", request.getfixturevalue("sftp"))
    connect(new_simulator(processing_seconds=3600.0))
    upload = uploaded(tmp_path)
    (tmp_path / "kept").mkdir()
    if what == "a file on the way":
        (tmp_path / "kept/2026").write_text("a file")
    if what == "a link to nowhere":
        (tmp_path / "kept/2026/june").mkdir(parents=True)
        (tmp_path / "kept/2026/june/receipt.json").symlink_to(tmp_path / "nowhere.json")
    if what == "a folder":
        (tmp_path / "kept/2026/june/receipt.json").mkdir(parents=True)
    path = f"{tmp_path}/kept/2026/june"
    with pytest.raises(InvalidInput, match=r"kept/2026"):
        sensor(upload=upload, receipt_path=path if store == "disk" else f"sftp://place@{path}").execute(of_run())
    assert not (tmp_path / "nowhere.json").exists()


@pytest.mark.parametrize("name", ["manifest.json", "Manifest.JSON"])
def test_a_receipt_takes_no_name_that_an_export_removes(connected: Simulator, tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="has the name of a manifest, which the next export into this folder"):
        sensor(package_id=PACKAGE, receipt_path=str(tmp_path / name)).execute(of_run())


def test_a_manifest_whose_identity_was_cut_is_told_in_the_receipt(connected: Simulator, tmp_path: Path) -> None:
    upload = uploaded(tmp_path)
    upload["manifest"] = upload["manifest"][:-3]
    says = written(sensor(upload=upload, receipt_path=str(tmp_path)).execute(of_run()))
    (export,) = says["exports"]
    assert (export["manifest"], export["identity"]) == (str(tmp_path / "out/manifest.json"), None)
    assert "are not the 16 hexadecimal digits of an export's result" in export["problem"]


def test_lineage_carries_the_digest_of_the_receipt(connected: Simulator, tmp_path: Path) -> None:
    for try_number in (1, 2):
        waiting = sensor(upload=uploaded(tmp_path), receipt_path=str(tmp_path))
        path = path_of(waiting.execute(of_run(try_number=try_number)))
        (facet,) = waiting.lineage().run_facets.values()
        assert facet.receiptSha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert next(iter(sensor(package_id=PACKAGE).lineage().run_facets), None) is None


# Written once.


def test_a_second_try_finds_its_own_receipt_and_keeps_it(connected: Simulator, tmp_path: Path) -> None:
    upload = uploaded(tmp_path)
    first = sensor(upload=upload, receipt_path=str(tmp_path)).execute(of_run())
    content = path_of(first).read_bytes()
    again = sensor(upload=upload, receipt_path=str(tmp_path)).execute(of_run(try_number=2))
    assert again == first
    assert path_of(first).read_bytes() == content


@pytest.mark.parametrize("other", [{"run_id": "manual__2"}, {"map_index": 1}, {"dag_id": "other"}])
def test_the_receipt_of_another_task_is_not_overwritten(
    connected: Simulator, tmp_path: Path, other: dict[str, Any]
) -> None:
    upload = uploaded(tmp_path)
    content = path_of(sensor(upload=upload, receipt_path=str(tmp_path)).execute(of_run())).read_bytes()
    with pytest.raises(InvalidInput, match=r"is the receipt of task finished of run manual__1 of DAG import_users"):
        sensor(upload=upload, receipt_path=str(tmp_path)).execute(of_run(**other))
    assert (tmp_path / "receipt.json").read_bytes() == content


@pytest.mark.parametrize("what", ["counts", "max_fail_ratio"])
def test_a_receipt_that_says_something_else_is_not_overwritten(connected: Simulator, tmp_path: Path, what: str) -> None:
    upload = uploaded(tmp_path)
    content = path_of(sensor(upload=upload, receipt_path=str(tmp_path)).execute(of_run())).read_bytes()
    if what == "counts":
        next(iter(connected.app.ledger.packages[PACKAGE].values())).lost = 1
    options = {"max_fail_ratio": 0.5} if what == "max_fail_ratio" else {}
    with pytest.raises(InvalidInput, match=r"A receipt is never overwritten"):
        sensor(upload=upload, receipt_path=str(tmp_path), **options).execute(of_run(try_number=2))
    assert (tmp_path / "receipt.json").read_bytes() == content


def test_an_altered_receipt_is_not_taken_for_the_own(connected: Simulator, tmp_path: Path) -> None:
    upload = uploaded(tmp_path)
    path = path_of(sensor(upload=upload, receipt_path=str(tmp_path)).execute(of_run()))
    path.write_bytes(path.read_bytes().replace(b'"try_number": 1', b'"try_number": 2'))
    with pytest.raises(InvalidInput, match="altered after it was written"):
        sensor(upload=upload, receipt_path=str(tmp_path)).execute(of_run())


@pytest.mark.parametrize("store", ["s3", pytest.param("sftp", marks=NEEDS_SFTP)])
def test_elsewhere_a_receipt_is_written_once_too(
    connected: Simulator, tmp_path: Path, store: str, request: pytest.FixtureRequest, airflow_connection: Any
) -> None:
    airflow_connection("place", request.getfixturevalue(store))
    upload = uploaded(tmp_path)
    path = f"s3://place@bank/{tmp_path.name}" if store == "s3" else f"sftp://place@{tmp_path}/kept"
    first = sensor(upload=upload, receipt_path=path).execute(of_run())
    assert sensor(upload=upload, receipt_path=path).execute(of_run(try_number=2)) == first
    with pytest.raises(InvalidInput, match="is not overwritten"):
        sensor(upload=upload, receipt_path=path).execute(of_run(run_id="manual__2"))


@pytest.mark.parametrize("store", ["disk", "s3", pytest.param("sftp", marks=NEEDS_SFTP)])
def test_of_many_that_write_at_once_one_does(
    store: str, request: pytest.FixtureRequest, airflow_connection: Any, tmp_path: Path
) -> None:
    if store != "disk":
        airflow_connection("place", request.getfixturevalue(store))
    path = {"disk": str(tmp_path), "s3": f"s3://place@bank/{tmp_path.name}", "sftp": f"sftp://place@{tmp_path}"}[store]
    where = location(path, "receipt_path").child("receipt.json")
    contents = [f"{number}\n".encode() * 1000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda content: where.write(content, only_new=True), contents))
    assert written.count(True) == 1
    assert where.read(100_000) == contents[written.index(True)]
    if store != "s3":
        assert [path.name for path in tmp_path.iterdir()] == ["receipt.json"]


# Verified.


@pytest.fixture
def receipt(connected: Simulator, tmp_path: Path) -> Path:
    upload = uploaded(tmp_path)
    return path_of(sensor(upload=upload, receipt_path=str(tmp_path), max_fail_ratio=0.5).execute(of_run()))


ALL_OK = dict.fromkeys(("receipt", "run", "exports", "sums", "verdict"), "ok")


def steps(out: str) -> dict[str, str]:
    return {step["step"]: step["outcome"] for step in json.loads(out)}


def test_a_receipt_is_verified_without_asking_wechat_pay(run: Run, connected: Simulator, receipt: Path) -> None:
    before = connected.report()["requests"]
    code, out, _ = run("verify", str(receipt))
    assert code == 0
    assert "triggered by zhang" in " ".join(out.split())
    assert "20 rows were sent: 20 matched and 0 did not" in " ".join(out.split())
    assert connected.report()["requests"] == before
    identity = identity_of(receipt.read_bytes())
    assert run("verify", f"{receipt}#{identity}")[0] == 0
    code, out, _ = run("verify", f"{receipt}#{'0' * 16}", "-o", "json")
    assert (code, steps(out)) == (
        10,
        {"receipt": "failed", **dict.fromkeys(("run", "exports", "sums", "verdict"), "skipped")},
    )
    assert kinds(out) == {"receipt": "other_receipt"}


def kinds(out: str) -> dict[str, str]:
    """What JSON says of the steps that failed."""
    return {step["step"]: step["kind"] for step in json.loads(out) if step["kind"] is not None}


def key() -> Seal:
    return seal_of(WxBankHook().get_conn())


def told(out: str, step: str) -> str:
    """The message of a step."""
    (message,) = [one["message"] for one in json.loads(out) if one["step"] == step]
    return str(message)


def test_what_a_receipt_does_not_know_of_its_export_is_told(run: Run, connected: Simulator, tmp_path: Path) -> None:
    upload = uploaded(tmp_path)
    manifest = Path(upload["manifest"].rpartition("#")[0])
    manifest.write_bytes(manifest.read_bytes() + b" ")
    # Half of the export was lost on the way, and nobody can know.
    del upload["tasks"][2:]
    path = path_of(sensor(upload=upload, receipt_path=str(tmp_path)).execute(of_run()))
    assert json.loads(path.read_bytes())["sums"]["agree"] is None
    code, out, _ = run("verify", str(path), "-o", "json")
    assert (code, steps(out)) == (0, {**ALL_OK, "exports": "skipped", "sums": "skipped"})
    assert told(out, "exports").startswith("of 1 of 1 export the rows and files are not known: ")
    assert "was truncated or altered after its export" in told(out, "exports")


def test_the_export_and_the_verdict_are_told(run: Run, receipt: Path) -> None:
    out = run("verify", str(receipt), "-o", "json")[1]
    assert told(out, "exports") == "1, of 20 rows; 1 invalid row was skipped"
    assert told(out, "verdict") == "0.00% did not match, and max_fail_ratio allowed 50.00%"


def test_an_import_that_was_not_accepted_is_told(
    run: Run, new_simulator: NewSimulator, connect: Connect, tmp_path: Path
) -> None:
    connect(new_simulator(unmatched_ratio=1.0))
    with pytest.raises(WaitFailed):
        sensor(upload=uploaded(tmp_path), receipt_path=str(tmp_path), max_fail_ratio=0.2).execute(of_run())
    code, out, _ = run("verify", str(tmp_path), "-o", "json")
    # As the wait itself ended: the receipt is genuine.
    assert (code, steps(out)) == (8, {**ALL_OK, "verdict": "failed"})
    assert kinds(out) == {"verdict": "wait_failed"}
    assert "the import was not accepted" in told(out, "verdict")


def test_many_receipts_are_verified_at_once(run: Run, connected: Simulator, tmp_path: Path) -> None:
    upload = uploaded(tmp_path)
    paths = [str(tmp_path / name) for name in ("1.json", "2.json", "no_such.json", "3.json")]
    for number, path in enumerate(paths):
        if "no_such" not in path:
            sensor(upload=upload, receipt_path=path).execute(of_run(run_id=f"manual__{number}"))
    code, out, _ = run("verify", *paths, "-o", "json")
    assert code == 3
    found = [step for step in json.loads(out) if step["step"] == "receipt"]
    assert [step["outcome"] for step in found] == ["ok", "ok", "failed", "ok"]
    assert all(path in step["message"] for path, step in zip(paths, found, strict=True))
    assert [step["receipt"] for step in found] == paths
    assert kinds(out) == {"receipt": "input"}
    assert run("verify", *paths[:2])[0] == 0


def test_another_merchant_with_the_same_naming_secret_does_not_verify_a_receipt(
    run: Run, connected: Simulator, connect: Connect, new_simulator: NewSimulator, tmp_path: Path
) -> None:
    secret = {"naming_secret": "one secret of thirty-two characters for both"}
    connect(connected, extra={**connected.airflow_connection()["extra"], **secret})
    sensor(upload=uploaded(tmp_path), receipt_path=str(tmp_path)).execute(of_run())
    assert run("verify", str(tmp_path))[0] == 0
    other = new_simulator(mchid="1900000002")
    connect(other, extra={**other.airflow_connection()["extra"], **secret})
    code, out, _ = run("verify", str(tmp_path), "-o", "json")
    assert code == 10
    assert "is a receipt of merchant 1900000001, and the connection's is 1900000002" in told(out, "receipt")
    assert kinds(out) == {"receipt": "other_merchant"}


@pytest.mark.parametrize("output", ["table", "plain"])
def test_names_do_nothing_to_a_terminal(run: Run, connected: Simulator, tmp_path: Path, output: str) -> None:
    user = "eve\nok       sums         all is well\x1b[31m"
    told = of_run(user=user, run_id="manual\x1b[2J\n1")
    sensor(upload=uploaded(tmp_path), receipt_path=str(tmp_path)).execute(told)
    out = run("verify", str(tmp_path), "-o", output)[1]
    assert "\x1b" not in out
    assert not any(line.startswith("ok       sums         all is well") for line in out.splitlines())


def test_a_receipt_that_was_altered_in_any_byte_is_refused(receipt: Path) -> None:
    content, secret = receipt.read_bytes(), key()
    assert isinstance(read_receipt(content, "it", secret), Receipt)
    for index, byte in enumerate(content):
        with pytest.raises(WrongReceipt):
            read_receipt(content[:index] + bytes([byte ^ 1]) + content[index + 1 :], "it", secret)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all fields of a JSON value that hold no other."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from leaves(one, (*path, name))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from leaves(one, (*path, index))
    else:
        yield path


def another(value: Any) -> Any:
    """A value like it."""
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1:] != "0" else "1")
    return 1 if value is None else not value if isinstance(value, bool) else value + 1


def test_a_receipt_that_was_altered_in_any_field_is_refused(run: Run, receipt: Path, tmp_path: Path) -> None:
    content = receipt.read_bytes()
    fields = list(leaves(json.loads(content)))
    assert len(fields) > 80
    for path in fields:
        says = json.loads(content)
        *way, last = path
        place = says
        for name in way:
            place = place[name]
        place[last] = another(place[last])
        forged = tmp_path / "forged.json"
        # Laid out as it was, so that nothing but the field differs.
        forged.write_text(json.dumps(says, indent=1) + "\n")
        code, out, _ = run("verify", str(forged), "-o", "json")
        assert (code, steps(out)["receipt"]) == (10, "failed"), path


def test_a_receipt_whose_sums_are_not_those_of_its_files_is_refused(receipt: Path) -> None:
    """Even if it has the right seal: whoever has the key must not make sums up by mistake."""
    rest = receipt.read_bytes().partition(b'"hmac_sha256": "')[2][64:]
    changed = sealed("receipt", rest.replace(b'"success_count": 20', b'"success_count": 21'), key().key)
    with pytest.raises(WrongReceipt, match="states sums that are not those of its files"):
        read_receipt(changed, "it", key())


def test_a_manifest_is_no_receipt(connected: Simulator, receipt: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongReceipt, match="altered after it was written, or belongs to another connection"):
        read_receipt((tmp_path / "out/manifest.json").read_bytes(), "it", key())


def test_what_cannot_be_checked_is_told_from_what_is_wrong(
    run: Run, receipt: Path, connected: Simulator, tmp_path: Path, new_simulator: NewSimulator, connect: Connect
) -> None:
    assert run("verify", str(tmp_path / "no_such.json"))[0] == 3
    assert run("verify")[0] == 2
    connected.add_fault(Fault("gateway-403"))
    code, out, err = run("verify", str(receipt), "--online", "-o", "json")
    assert (code, kinds(out)) == (6, {"WeChat Pay": "try_later"}), err
    assert run("verify", str(receipt))[0] == 0
    (tmp_path / "users.json").write_text("{}")
    code, out, _ = run("verify", str(tmp_path / "users.json"), "-o", "json")
    assert (code, kinds(out)) == (10, {"receipt": "altered"})


@pytest.mark.parametrize("connection", [{"extra": {"naming_secret": "another secret of thirty-two chars"}}])
def test_another_connection_does_not_verify_a_receipt(
    run: Run, receipt: Path, connected: Simulator, connect: Connect, connection: dict[str, Any]
) -> None:
    extra = connected.airflow_connection()["extra"]
    connect(connected, extra={**extra, **connection["extra"]})
    code, out, _ = run("verify", str(receipt))
    assert code == 10
    assert "belongs to another connection" in " ".join(out.split())


def test_rows_that_are_not_accounted_for_do_not_agree(run: Run, connected: Simulator, tmp_path: Path) -> None:
    connected.add_fault(Fault("lost-rows", on="upload", times=1))
    path = path_of(sensor(upload=uploaded(tmp_path), receipt_path=str(tmp_path)).execute(of_run()))
    code, out, _ = run("verify", str(path), "-o", "json")
    assert (code, steps(out)) == (10, {**ALL_OK, "sums": "failed"})
    assert "By 1 number they do not agree" in out


def test_online_wechat_pay_says_the_same(run: Run, connected: Simulator, receipt: Path) -> None:
    before = connected.report()["requests"]
    code, out, _ = run("verify", str(receipt), "--online", "-o", "json")
    assert (code, steps(out)) == (0, {**ALL_OK, "WeChat Pay": "ok"})
    after = connected.report()["requests"]
    assert (after["find"] - before["find"], after["list"] - before["list"]) == (4, 0)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("vanished", "is not listed any more"),
        ("counts", r"has success_count 4, not 5"),
        ("other task", "is task 9999, not "),
        ("processing", "is not finished"),
    ],
)
def test_online_whatever_wechat_pay_says_differently_is_told(
    run: Run, connected: Simulator, receipt: Path, what: str, message: str
) -> None:
    tasks = connected.app.ledger.packages[PACKAGE]
    name = next(iter(tasks))
    match what:
        case "vanished":
            del tasks[name]
        case "counts":
            tasks[name].lost = 1
        case "other task":
            tasks[name].task_id = "9999"
        case "processing":
            tasks[name].checked = math.inf
    code, out, _ = run("verify", str(receipt), "--online", "-o", "json")
    assert (code, steps(out)["WeChat Pay"]) == (10, "failed")
    assert kinds(out) == {"WeChat Pay": "differs_now"}
    assert re.search(f"{name} {message}", out)
    # Offline nobody can know.
    assert run("verify", str(receipt))[0] == 0


def test_online_a_long_receipt_is_read_in_pages(run: Run, connected: Simulator, tmp_path: Path) -> None:
    upload = uploaded(tmp_path, rows=150)
    path = path_of(sensor(upload=upload, receipt_path=str(tmp_path)).execute(of_run()))
    before = connected.report()["requests"]
    assert run("verify", str(path), "--online")[0] == 0
    after = connected.report()["requests"]
    # 30 files: two pages of 20, and what tells their order.
    assert after["find"] == before["find"]
    assert after["list"] - before["list"] <= 4


def test_try_later_is_raised_if_the_package_changed_meanwhile(
    new_simulator: NewSimulator, connect: Connect, tmp_path: Path
) -> None:
    connect(new_simulator(processing_seconds=3600.0))
    uploaded(tmp_path)
    event = {
        "status": "finished",
        "counts": {"tasks": 4, "success_count": 20, "fail_count": 0, "success_user_count": 21},
    }
    with pytest.raises(TryLater, match="was finished, and is not any more"):
        sensor(package_id=PACKAGE, receipt_path=str(tmp_path), deferrable=True).execute_complete(of_run(), event)
