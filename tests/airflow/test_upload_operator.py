# SPDX-License-Identifier: Apache-2.0
"""UploadTaskOperator and TaskFinishedSensor against the simulator, as tasks use them."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from airflow.providers.common.compat.sdk import AirflowException, TaskDeferred
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.reporting.events import FileUploaded, UploadPlanned, all_of
from airflow_provider_wxbank.reporting.progress import ProgressLog, UploadStore
from airflow_provider_wxbank.sensors import TaskFinishedSensor
from airflow_provider_wxbank.simulator import Fault, Simulator, numbers_digest
from airflow_provider_wxbank.triggers import TaskFinishedTrigger
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidInput,
    Refused,
    TryLater,
    Unauthorized,
    WaitFailed,
    WxBankError,
    is_lasting,
)
from tests.airflow.conftest import context
from tests.conftest import PACKAGE, NewClient, NewSimulator, numbers
from tests.harness.files import agreement_file
from tests.harness.waiting import PATIENCE

Connect = Callable[..., None]


@pytest.fixture
def connected(simulator: Simulator, connect: Connect) -> Simulator:
    connect(simulator)
    return simulator


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "active_user.csv"
    path.write_text("".join(f"{number}\n" for number in numbers(6000)))
    return str(path)


def upload(**options: Any) -> dict[str, Any]:
    options = {"package_id": PACKAGE, "bank_type": "ICBC_DEBIT", **options}
    return UploadTaskOperator(task_id="upload", **options).execute(context())


def exported(tmp_path: Path, rows: int = 20, max_rows: int = 5) -> str:
    (tmp_path / "users.txt").write_text("\n".join(numbers(rows)))
    return ExportUsersOperator(
        task_id="export",
        source=str(tmp_path / "users.txt"),
        bank_type="ICBC_DEBIT",
        output_path=str(tmp_path / "out"),
        max_rows_per_file=max_rows,
    ).execute(context())


def requests(simulator: Simulator) -> int:
    return sum(simulator.report()["requests"].values())


def test_a_plain_file_is_encrypted_cut_and_uploaded(connected: Simulator, file: str, tmp_path: Path) -> None:
    result = upload(file=file)
    assert (result["package_id"], result["bank_type"], result["rows"]) == (PACKAGE, "ICBC_DEBIT", 6000)
    assert [task["rows"] for task in result["tasks"]] == [5500, 500]
    package = connected.report()["packages"][PACKAGE]
    assert {task["task_id"] for task in package["tasks"]} == {task["task_id"] for task in result["tasks"]}
    assert package["numbers_digest"] == numbers_digest(numbers(6000))
    # Nothing was written beside the file.
    assert [path.name for path in tmp_path.iterdir()] == ["active_user.csv"]


def test_a_second_try_of_the_same_run_adopts_and_the_next_run_imports_anew(
    connected: Simulator, file: str, logged: Callable[[], str]
) -> None:
    first = upload(file=file)
    again = [{**task, "adopted": True} for task in first["tasks"]]
    assert upload(file=file) == {**first, "tasks": again}
    assert "0 files uploaded, 2 adopted, 0 failed" in logged()
    other = UploadTaskOperator(task_id="upload", package_id=PACKAGE, bank_type="ICBC_DEBIT", file=file).execute(
        context(run_id="manual__2")
    )
    assert not {task["filename"] for task in other["tasks"]} & {task["filename"] for task in first["tasks"]}


def test_a_manifest_is_uploaded_with_its_own_bank_type(connected: Simulator, tmp_path: Path) -> None:
    uri = exported(tmp_path)
    result = upload(manifest=uri, bank_type=None)
    assert (result["bank_type"], result["rows"], len(result["tasks"])) == ("ICBC_DEBIT", 20, 4)
    assert connected.report()["packages"][PACKAGE]["numbers_digest"] == numbers_digest(numbers(20))
    with pytest.raises(InvalidInput, match="is for bank_type ICBC_DEBIT, not ICBC_CREDIT"):
        upload(manifest=uri, bank_type="ICBC_CREDIT")


def test_lost_answers_are_settled_and_told(connected: Simulator, tmp_path: Path, logged: Callable[[], str]) -> None:
    uri = exported(tmp_path, rows=60)
    connected.add_fault(Fault("drop", on="upload", every=3, commit=True))
    result = upload(manifest=uri, bank_type=None, max_workers=8)
    report = connected.report()
    assert report["packages"][PACKAGE]["numbers_digest"] == numbers_digest(numbers(60))
    assert report["packages"][PACKAGE]["repeated_numbers"] == 0
    assert len(report["packages"][PACKAGE]["tasks"]) == len(result["tasks"]) == 12
    text = logged()
    assert "8 files uploaded, 4 adopted, 0 failed" in text
    assert text.count("Adopted import_users-") >= 4


def test_a_changed_file_is_known_before_the_first_is_sent(connected: Simulator, tmp_path: Path) -> None:
    uri = exported(tmp_path)
    last = max((tmp_path / "out").glob("*.csv"))
    last.write_bytes(last.read_bytes()[:-2] + b"A\n")
    before = requests(connected)
    with pytest.raises(InvalidInput, match="was changed after its export"):
        upload(manifest=uri, bank_type=None)
    last.unlink()
    with pytest.raises(InvalidInput, match="does not exist: is it on the disk of another machine"):
        upload(manifest=uri, bank_type=None)
    assert requests(connected) == before


def test_an_encrypted_file_is_uploaded_byte_for_byte(
    connected: Simulator, new_client: NewClient, tmp_path: Path
) -> None:
    content, _, _, serial_no = agreement_file(new_client(connected), 0, rows=7)
    path = tmp_path / "encrypted.csv"
    path.write_bytes(content)
    result = upload(file=str(path), encrypted=True, serial_no=serial_no)
    (task,) = connected.report()["packages"][PACKAGE]["tasks"]
    assert (task["rows"], task["bytes"], task["serial_no"]) == (7, len(content), serial_no)
    assert result["rows"] == 7


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: b"", "is empty"),
        (lambda content: b"\xef\xbb\xbf" + content, "byte order mark"),
        (lambda content: content.replace(b"\n", b"\r\n"), "line 1 has a carriage return|not an encrypted"),
        (lambda content: content + b"\n", "line 3 is empty"),
        (lambda content: content + b"622588\n", "line 3 is not an encrypted number"),
        (lambda content: b"6225880137001234\n" + content, "line 1 is not an encrypted number"),
        (lambda content: content[:-5] + b"\n", "line 2 is not an encrypted number"),
        (lambda content: content[:345] * 5501, "5501 rows"),
    ],
)
def test_a_wrong_encrypted_file_is_not_sent(
    connected: Simulator, new_client: NewClient, tmp_path: Path, spoil: Any, message: str
) -> None:
    content, _, _, serial_no = agreement_file(new_client(connected), 0)
    (tmp_path / "encrypted.csv").write_bytes(spoil(content))
    with pytest.raises(InvalidInput, match=message):
        upload(file=str(tmp_path / "encrypted.csv"), encrypted=True, serial_no=serial_no)
    assert connected.report()["requests"]["upload"] == 0


def test_a_wrong_row_at_the_end_of_a_file_is_known_before_the_first_is_sent(
    connected: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "users.csv").write_text("\n".join([*numbers(12_000), "12 34"]))
    with pytest.raises(InvalidInput, match=r"users\.csv line 12001 has a blank"):
        upload(file=str(tmp_path / "users.csv"))
    (tmp_path / "users.csv").write_text("")
    with pytest.raises(InvalidInput, match="has no row in it"):
        upload(file=str(tmp_path / "users.csv"))
    assert requests(connected) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either manifest or file"),
        ({"file": "/x", "manifest": "/y"}, "either manifest or file"),
        ({"manifest": "/y", "encrypted": True}, "go with file"),
        ({"manifest": "/y", "serial_no": "1"}, "go with file"),
        ({"file": "/x", "bank_type": None}, "file needs bank_type"),
        ({"file": "/x", "encrypted": True}, "needs serial_no"),
        ({"file": "/x", "serial_no": "1"}, "goes with encrypted"),
        ({"file": "/x", "encrypted": True, "serial_no": "0A\n0B"}, "must be the serial of a platform certificate"),
        ({"file": "/x", "encrypted": True, "serial_no": "PUB_KEY_ID_"}, "must be the serial of a platform certificate"),
        ({"file": "/x", "encrypted": True, "serial_no": "号码"}, "must be the serial of a platform certificate"),
        ({"file": "/x", "bank_type": "icbc"}, "bank_type"),
        ({"file": "/x", "package_id": "84"}, "package_id"),
        ({"file": "/x"}, "/x does not exist"),
        ({"manifest": "/x/manifest.json"}, "does not exist"),
        ({"manifest": ["/x/manifest.json"]}, r"manifest is a list.*expand\(manifest=...\)"),
        ({"manifest": "/x/manifest.json", "max_workers": 0}, "max_workers must be 1 to 64"),
    ],
)
def test_wrong_parameters_are_told_before_anything_is_sent(
    connected: Simulator, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        upload(**options)
    assert requests(connected) == 0


def test_killing_the_task_starts_no_more_uploads(new_simulator: NewSimulator, connect: Connect, tmp_path: Path) -> None:
    simulator = new_simulator(latency_seconds=0.05)
    connect(simulator)
    uri = exported(tmp_path, rows=60)
    operator = UploadTaskOperator(task_id="upload", package_id=PACKAGE, manifest=uri, max_workers=1)
    operator.on_kill()

    def kill_after_three() -> None:
        while simulator.report()["accepted_uploads"] < 3:
            pass
        operator.on_kill()

    with ThreadPoolExecutor(1) as pool:
        killer = pool.submit(kill_after_three)
        with pytest.raises(TryLater, match="stopped after"):
            operator.execute(context())
        killer.result(30)
    assert 3 <= simulator.report()["accepted_uploads"] <= 5
    upload(manifest=uri, bank_type=None)
    report = simulator.report()
    assert report["packages"][PACKAGE]["numbers_digest"] == numbers_digest(numbers(60))
    assert set(report["whole_bodies"].values()) == {1}


class Store(dict[str, Any]):
    """A task's state as Airflow 3.3 keeps it: what is set is JSON, and ``get`` gives None for what is not there."""

    is_down = False

    def set(self, key: str, value: Any) -> None:
        if self.is_down:
            raise RuntimeError("the API server is down")
        self[key] = json.loads(json.dumps(value))


def note_of(log: str, store: Store | None = None) -> tuple[Callable[[int], None], list[float]]:
    """Takes note of the so-many-th of 10 files; and the clock."""
    now = [0.0]
    tell = all_of(ProgressLog(logging.getLogger(log), lambda: now[0]), UploadStore(store, PACKAGE, lambda: now[0]))
    tell(UploadPlanned(PACKAGE, 10, 55_000, None))

    def note(files: int) -> None:
        name, rows = f"file_{files}.csv", files * 5500
        tell(FileUploaded(PACKAGE, name, f"task-{files}", 5500, False, files, rows, 2400))

    return note, now


def test_progress_is_logged_every_half_minute_and_at_the_end(logged: Callable[[], str]) -> None:
    note, now = note_of("test")
    for files in range(1, 11):
        now[0] += 10
        note(files)
    told = re.findall(r"(\d+) of 10 files, (\d+) of 55000 numbers are with WeChat Pay", logged())
    # Airflow 2.11 shows a line in two places.
    assert sorted(set(told), key=lambda pair: int(pair[0])) == [
        (str(files), str(files * 5500)) for files in (3, 6, 9, 10)
    ]


def test_progress_is_saved_every_half_minute_in_the_state_of_the_task() -> None:
    store = Store()
    note, now = note_of("test", store)
    for files in range(1, 8):
        now[0] += 10
        note(files)
    assert {key: list(value["tasks"]) for key, value in store.items() if key != "progress"} == {
        "uploaded-0": ["file_1.csv", "file_2.csv", "file_3.csv"],
        "uploaded-1": ["file_4.csv", "file_5.csv", "file_6.csv"],
    }
    assert store["uploaded-1"]["tasks"]["file_4.csv"] == "task-4"
    assert store["progress"].pop("unix_seconds") > 1.7e9
    assert store["progress"] == {
        "package_id": PACKAGE, "files": 6, "rows": 33_000, "total_files": 10, "total_rows": 55_000,
    }  # fmt: skip


def run_upload(store: Store, **options: Any) -> dict[str, Any]:
    operator = UploadTaskOperator(task_id="upload", **{"package_id": PACKAGE, "max_workers": 1, **options})
    return operator.execute(cast("Any", {**context(), "task_state_store": store}))


@pytest.mark.parametrize("change", [lambda rows: ["202499999999999999", *rows], lambda rows: rows[6000:]])
def test_a_file_that_is_replaced_between_two_tries_is_not_uploaded_beside_the_first(
    connected: Simulator, tmp_path: Path, change: Callable[[list[str]], list[str]]
) -> None:
    """The files of the first are there for good, so what is there in the end would be neither list."""
    path, store, rows = tmp_path / "users.csv", Store(), numbers(12_000)
    path.write_text("\n".join(rows))
    connected.add_fault(Fault("forbidden", on="upload", after=1))
    with pytest.raises(Refused):
        run_upload(store, file=str(path), bank_type="ICBC_DEBIT")
    connected.clear_faults()
    before = connected.report()["packages"][PACKAGE]["numbers_digest"]
    path.write_text("\n".join(change(rows)))
    with pytest.raises(InvalidInput, match="the list was changed since an earlier try of this task: 1 of the files"):
        run_upload(store, file=str(path), bank_type="ICBC_DEBIT")
    assert connected.report()["packages"][PACKAGE]["numbers_digest"] == before
    path.write_text("\n".join(rows))
    assert run_upload(store, file=str(path), bank_type="ICBC_DEBIT")["rows"] == 12_000
    assert connected.report()["packages"][PACKAGE]["numbers_digest"] == numbers_digest(rows)


def test_a_retry_neither_asks_for_nor_reads_what_the_state_of_the_task_has(
    connected: Simulator, tmp_path: Path
) -> None:
    uri, store = exported(tmp_path, rows=60), Store()
    connected.add_fault(Fault("forbidden", on="upload", after=7))
    with pytest.raises(Refused):
        run_upload(store, manifest=uri)
    connected.clear_faults()
    done = store["uploaded-0"]["tasks"]
    assert len(done) == 7
    for filename in done:
        (tmp_path / "out" / filename).unlink()
    before = connected.report()["requests"]
    result = run_upload(store, manifest=uri)
    after = connected.report()
    assert [after["requests"][step] - before[step] for step in ("find", "upload")] == [1, 5]
    assert {task["filename"]: task["task_id"] for task in result["tasks"]}.items() >= done.items()
    assert after["packages"][PACKAGE]["numbers_digest"] == numbers_digest(numbers(60))
    assert [task.get("adopted", False) for task in result["tasks"]] == [True] * 7 + [False] * 5
    again = [{**task, "adopted": True} for task in result["tasks"]]
    assert run_upload(store, manifest=uri) == {**result, "tasks": again}
    assert connected.report()["requests"] == after["requests"]


def test_the_state_of_the_task_counts_for_its_package_only(connected: Simulator, tmp_path: Path) -> None:
    uri, store = exported(tmp_path), Store()
    run_upload(store, manifest=uri)
    run_upload(store, manifest=uri, package_id="7654321")
    packages = connected.report()["packages"]
    assert packages["7654321"]["numbers_digest"] == packages[PACKAGE]["numbers_digest"] == numbers_digest(numbers(20))


def test_an_upload_goes_on_without_the_state_of_the_task(
    connected: Simulator, tmp_path: Path, logged: Callable[[], str]
) -> None:
    store = Store()
    store.is_down = True
    assert run_upload(store, manifest=exported(tmp_path))["rows"] == 20
    assert "Airflow's task state store cannot be used: the API server is down" in logged()


# The sensor, in each of its modes.


def sensor(**options: Any) -> TaskFinishedSensor:
    return TaskFinishedSensor(task_id="finished", **{"poke_interval": 0.05, "timeout": PATIENCE, **options})


def expected(rows: int, tasks: int, *, rows_known: bool = True) -> dict[str, Any]:
    known = {"rows": rows, "unaccounted": 0} if rows_known else {"rows": None, "unaccounted": None}
    return {"package_id": PACKAGE, "tasks": tasks, "success_count": rows, "fail_count": 0, **known}


def matches(result: Any, rows: int, tasks: int, *, rows_known: bool = True) -> bool:
    users = result.pop("success_user_count")
    return bool(result == expected(rows, tasks, rows_known=rows_known) and users >= rows)


@pytest.fixture
def slow(new_simulator: NewSimulator, connect: Connect) -> Simulator:
    simulator = new_simulator(processing_seconds=0.4)
    connect(simulator)
    return simulator


def test_poking_waits_in_the_worker(slow: Simulator, tmp_path: Path) -> None:
    result = upload(manifest=exported(tmp_path), bank_type=None)
    before = slow.report()["requests"]["certificates"]
    assert matches(sensor(upload=result).execute(context()), 20, 4)
    # The list that the upload has kept, and one client for all polls.
    assert slow.report()["requests"]["certificates"] == before


@pytest.mark.parametrize("how", ["upload", "uploads", "task_ids", "filenames", "package"])
def test_the_tasks_are_named_in_any_way(connected: Simulator, tmp_path: Path, how: str) -> None:
    result = upload(manifest=exported(tmp_path), bank_type=None)
    halves = [{**result, "tasks": result["tasks"][half::2]} for half in (0, 1)]
    options: dict[str, dict[str, Any]] = {
        "upload": {"upload": result},
        "uploads": {"upload": halves},
        "task_ids": {"package_id": PACKAGE, "task_ids": [task["task_id"] for task in result["tasks"]]},
        "filenames": {"package_id": PACKAGE, "filenames": [task["filename"] for task in result["tasks"]]},
        "package": {"package_id": PACKAGE},
    }
    assert matches(sensor(**options[how]).execute(context()), 20, 4, rows_known="upload" in options[how])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give upload, or package_id"),
        ({"upload": {"package_id": PACKAGE}}, "must be a result"),
        ({"upload": {"package_id": PACKAGE, "tasks": []}, "package_id": PACKAGE}, "not both"),
        ({"upload": []}, "upload is an empty list: .* mapped over nothing"),
        ({"upload": [None]}, "upload has None among its 1 results: a task that was skipped"),
        ({"package_id": 8473295}, "package_id is of type int: it must be a text"),
        ({"package_id": "None"}, "package_id is the text 'None', which a template makes of nothing"),
        ({"package_id": PACKAGE, "task_ids": [101]}, r"task_ids\[0\] is of type int"),
        ({"package_id": PACKAGE, "task_ids": ["101", "nan"]}, r"task_ids\[1\] is the text 'nan'"),
        ({"package_id": PACKAGE, "filenames": [None]}, r"filenames\[0\] is None"),
        ({"upload": [{"package_id": "8473295", "tasks": []}, {"package_id": "8473296", "tasks": []}]}, "2 packages"),
        ({"upload": {"package_id": PACKAGE, "tasks": []}}, "is empty"),
        ({"package_id": "1"}, "package_id"),
        ({"package_id": PACKAGE, "max_fail_ratio": 2}, "max_fail_ratio"),
        ({"package_id": PACKAGE, "task_ids": "['1', '2']"}, "task_ids is a text, not a list"),
        ({"package_id": PACKAGE, "filenames": "users.csv"}, "filenames is a text, not a list"),
    ],
)
def test_what_the_sensor_cannot_wait_for_is_told(connected: Simulator, options: Any, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        sensor(**options).execute(context())
    assert requests(connected) == 0


def test_one_manifest_that_was_uploaded_twice_is_known_before_the_wait(connected: Simulator, tmp_path: Path) -> None:
    manifest = exported(tmp_path)
    results = [upload(manifest=manifest, bank_type=None) for _ in range(2)]
    with pytest.raises(InvalidInput, match="2 results, of which only 1 differ.*output_path of its own"):
        sensor(upload=results).execute(context())


def test_a_manifest_that_was_replaced_is_not_uploaded(connected: Simulator, tmp_path: Path) -> None:
    first, second = [exported(tmp_path, rows=rows) for rows in (20, 10)]
    before = requests(connected)
    with pytest.raises(InvalidInput, match="was replaced since its export told of it, by task export of run manual__1"):
        upload(manifest=first, bank_type=None)
    assert requests(connected) == before
    result = upload(manifest=second, bank_type=None)
    assert (result["rows"], result["manifest"]) == (10, second)


def test_a_cleared_export_meets_its_own_files(connected: Simulator, tmp_path: Path) -> None:
    result = upload(manifest=exported(tmp_path), bank_type=None)
    again = upload(manifest=exported(tmp_path), bank_type=None)
    assert again["tasks"] == [{**task, "adopted": True} for task in result["tasks"]]
    assert again["manifest"] != result["manifest"]
    assert set(connected.report()["whole_bodies"].values()) == {1}


def test_a_path_of_a_manifest_means_the_one_that_is_there(connected: Simulator, tmp_path: Path) -> None:
    exported(tmp_path, rows=20)
    second = exported(tmp_path, rows=10)
    path, _, identity = second.partition("#")
    assert len(identity) == 16
    result = upload(manifest=path, bank_type=None)
    assert (result["rows"], result["manifest"]) == (10, second)


def run_trigger(trigger: TaskFinishedTrigger) -> dict[str, Any]:
    async def first() -> dict[str, Any]:
        stream = trigger.run()
        try:
            event = await asyncio.wait_for(anext(stream), PATIENCE)
        finally:
            await stream.aclose()  # type: ignore[attr-defined]
        payload: dict[str, Any] = event.payload
        return payload

    return asyncio.run(first())


def test_deferring_waits_in_the_triggerer(new_simulator: NewSimulator, connect: Connect, tmp_path: Path) -> None:
    simulator = new_simulator(processing_seconds=3600.0)
    connect(simulator)
    result = upload(manifest=exported(tmp_path), bank_type=None)
    waiting = sensor(upload=result, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute(context())
    assert deferred.value.timeout == timedelta(seconds=PATIENCE)
    path, options = deferred.value.trigger.serialize()
    assert path == "airflow_provider_wxbank.triggers.TaskFinishedTrigger"
    for task in simulator.app.ledger.packages[PACKAGE].values():
        task.created -= 3600.0
    # The triggerer makes the trigger anew, as after a restart.
    event = run_trigger(TaskFinishedTrigger(**options))
    assert matches(getattr(sensor(upload=result), deferred.value.method_name)(context(), event), 20, 4)


def test_what_is_finished_already_is_not_deferred(connected: Simulator, tmp_path: Path) -> None:
    result = upload(manifest=exported(tmp_path), bank_type=None)
    assert matches(sensor(upload=result, deferrable=True).execute(context()), 20, 4)


@pytest.mark.parametrize("kind", ["internal-error", "unsigned", "drop"])
def test_an_outage_is_waited_through(slow: Simulator, tmp_path: Path, kind: str, logged: Callable[[], str]) -> None:
    result = upload(manifest=exported(tmp_path, rows=5), bank_type=None)
    slow.add_fault(Fault(kind, on="list", times=4))
    assert matches(sensor(upload=result).execute(context()), 5, 1)
    assert "the next one may not" in logged()


def test_an_outage_is_waited_through_in_the_triggerer(slow: Simulator, tmp_path: Path) -> None:
    result = upload(manifest=exported(tmp_path, rows=5), bank_type=None)
    slow.add_fault(Fault("unsigned", on="list", times=4))
    ids = [task["task_id"] for task in result["tasks"]]
    event = run_trigger(TaskFinishedTrigger(PACKAGE, task_ids=ids, poll_interval=0.05))
    assert event["status"] == "finished"
    by_name = [task["filename"] for task in result["tasks"]]
    assert run_trigger(TaskFinishedTrigger(PACKAGE, filenames=by_name, poll_interval=0.05)) == event


def test_waits_of_a_package_share_their_polls(new_simulator: NewSimulator, connect: Connect, tmp_path: Path) -> None:
    """Twenty waits with a tenth of a second between polls, for three seconds: 600 polls, if each asked itself."""
    simulator = new_simulator(processing_seconds=3.0)
    connect(simulator)
    upload(manifest=exported(tmp_path, rows=5), bank_type=None)

    async def wait_for_all() -> list[Any]:
        streams = [TaskFinishedTrigger(PACKAGE, poll_interval=0.1).run() for _ in range(20)]
        events = await asyncio.wait_for(asyncio.gather(*(anext(stream) for stream in streams)), PATIENCE)
        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]
        return [event.payload for event in events]

    payloads = asyncio.run(wait_for_all())
    assert [payload["status"] for payload in payloads] == ["finished"] * 20
    requests = simulator.report()["requests"]
    assert 20 <= requests["list"] <= 20 + 3 / 0.08 + 10
    # One for the upload, and one for all of the waits.
    assert requests["certificates"] <= 4


def test_what_waiting_does_not_mend_ends_it(connected: Simulator, connect: Connect) -> None:
    connected.add_fault(Fault("forbidden", on="list"))
    event = run_trigger(TaskFinishedTrigger(PACKAGE, poll_interval=0.01))
    assert event["status"] == "error"
    assert "403 NO_AUTH" in event["message"]
    connect(connected, login="")
    event = run_trigger(TaskFinishedTrigger(PACKAGE, poll_interval=0.01))
    with pytest.raises(WaitFailed, match="merchant id"):
        sensor(package_id=PACKAGE).execute_complete(context(), event)


def test_what_may_pass_leaves_the_task_its_retries(connected: Simulator) -> None:
    """An answer that nobody signed may be a proxy's: the task fails alike in the worker and in the triggerer."""
    connected.add_fault(Fault("unsigned-sign-error", on="list"))
    with pytest.raises(Unauthorized, match="SIGN_ERROR") as poked:
        sensor(package_id=PACKAGE).execute(context())
    event = run_trigger(TaskFinishedTrigger(PACKAGE, poll_interval=0.01))
    with pytest.raises(WxBankError, match="401 SIGN_ERROR") as resumed:
        sensor(package_id=PACKAGE).execute_complete(context(), event)
    assert not is_lasting(poked.value)
    assert not is_lasting(resumed.value)


def test_a_wait_outlasts_what_a_gateway_says(connected: Simulator, tmp_path: Path) -> None:
    """Four such answers are one look in vain."""
    upload(manifest=exported(tmp_path), bank_type=None)
    connected.add_fault(Fault("gateway-403", on="list", times=5))
    event = run_trigger(TaskFinishedTrigger(PACKAGE, poll_interval=0.01))
    assert event["status"] == "finished"
    assert connected.report()["faults"]["gateway-403"] == 5


@pytest.mark.parametrize("event", [None, {}, {"status": "success"}])
def test_an_event_that_is_none_of_ours_fails(connected: Simulator, event: Any) -> None:
    with pytest.raises(WaitFailed, match="unknown event"):
        sensor(package_id=PACKAGE).execute_complete(context(), event)


def test_numbers_that_do_not_match_can_fail_the_task(
    new_simulator: NewSimulator, connect: Connect, tmp_path: Path, logged: Callable[[], str]
) -> None:
    connect(new_simulator(unmatched_ratio=1.0))
    result = upload(manifest=exported(tmp_path), bank_type=None)
    assert sensor(upload=result, max_fail_ratio=1.0).execute(context())["fail_count"] == 20
    assert "Not one number matched in 4 files" in logged()
    with pytest.raises(WaitFailed, match=r"20 of 20 numbers did not match \(100\.00%\)"):
        sensor(upload=result, max_fail_ratio=0.05).execute(context())


@pytest.mark.parametrize("deferrable", [False, True], ids=["poking", "deferred"])
def test_numbers_that_are_not_accounted_for_are_told(
    new_simulator: NewSimulator, connect: Connect, tmp_path: Path, logged: Callable[[], str], deferrable: bool
) -> None:
    simulator = new_simulator(processing_seconds=3600.0 if deferrable else 0.0, unmatched_ratio=0.4)
    connect(simulator)
    # The second and the fourth of five files lose a number each.
    simulator.add_fault(Fault("lost-rows", on="upload", every=2))
    result = upload(manifest=exported(tmp_path, rows=22), bank_type=None, max_workers=1)
    waiting = sensor(upload=result, deferrable=deferrable)
    if deferrable:
        with pytest.raises(TaskDeferred) as deferred:
            waiting.execute(context())
        # What travels with the trigger knows nothing of rows.
        arguments = deferred.value.trigger.serialize()[1]
        assert "rows" not in json.dumps(arguments)
        for task in simulator.app.ledger.packages[PACKAGE].values():
            task.created -= 3600.0
        told = sensor(upload=result).execute_complete(context(), run_trigger(TaskFinishedTrigger(**arguments)))
    else:
        told = waiting.execute(context())
    assert (told["rows"], told["unaccounted"], told["success_count"] + told["fail_count"]) == (22, 2, 20)
    assert told["fail_count"] > 0
    log = logged()
    assert "what WeChat Pay counted does not add up to what was sent, by 2 of 22 numbers" in log
    short = {result["tasks"][index]["filename"] for index in (1, 3)}
    assert {
        task["filename"]
        for task in result["tasks"]
        if f"{task['filename']} (task {task['task_id']}): 5 rows, 4 counted" in log
    } == short


def test_an_upload_that_tells_no_rows_leaves_them_unknown(connected: Simulator, tmp_path: Path) -> None:
    result = upload(manifest=exported(tmp_path), bank_type=None)
    result["tasks"] = [{"task_id": task["task_id"]} for task in result["tasks"]]
    assert matches(sensor(upload=result).execute(context()), 20, 4, rows_known=False)


def test_a_wait_that_takes_too_long_times_out(new_simulator: NewSimulator, connect: Connect, tmp_path: Path) -> None:
    connect(new_simulator(processing_seconds=3600))
    result = upload(manifest=exported(tmp_path), bank_type=None)
    with pytest.raises(AirflowException, match="(?i)timeout|timed out|time"):
        sensor(upload=result, timeout=0.2).execute(context())


@pytest.mark.parametrize("newline", ["\n", "\\n", " "])
def test_secrets_of_the_connection_are_masked(connected: Simulator, connect: Connect, newline: str) -> None:
    """A field of one line, as in the form of Airflow 3.1, has spaces for the newlines of what is pasted into it."""
    from airflow.providers.common.compat.sdk import redact

    from airflow_provider_wxbank.hooks import WxBankHook

    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    connection = connected.airflow_connection()
    secret = "of names and manifests, of 36 letters"
    changed = {"merchant_private_key": pem.replace("\n", newline), "naming_secret": secret}
    connect(connected, extra={**connection["extra"], **changed})
    WxBankHook().get_conn()
    lines = [line for line in pem.splitlines() if not line.startswith("-----")]
    shown = str(redact(f"some text with {pem!r} and {connection['password']} and {secret} and {quote(secret)}"))
    assert secret not in shown
    assert quote(secret) not in shown
    assert not [line for line in lines if line in shown]
    assert connection["password"] not in shown


def test_nothing_is_left_in_the_working_folder(connected: Simulator, file: str) -> None:
    before = set(Path.cwd().iterdir())
    upload(file=file)
    assert set(Path.cwd().iterdir()) == before
