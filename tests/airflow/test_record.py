# SPDX-License-Identifier: Apache-2.0
"""What operators, sensor and trigger record of an import, and what the page makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.exceptions import AirflowRescheduleException
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException, TaskDeferred

from airflow_provider_wxbank._compat import HAS_PAGE
from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.reporting.events import Failed, Step
from airflow_provider_wxbank.reporting.failing import failing
from airflow_provider_wxbank.reporting.fields import MAX_TEXT
from airflow_provider_wxbank.reporting.record import (
    FAILURE,
    FINISHED,
    KEY,
    MISSING,
    UPLOADED,
    Failure,
    Sums,
    read_finished,
    read_missing,
    read_uploaded,
)
from airflow_provider_wxbank.sensors import TaskFinishedSensor
from airflow_provider_wxbank.simulator import Fault
from airflow_provider_wxbank.triggers import TaskFinishedTrigger
from airflow_provider_wxbank.ui.files import file_rows
from airflow_provider_wxbank.ui.imports import imports
from airflow_provider_wxbank.ui.tasks import Run, Task
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, Refused, TryLater, WaitFailed
from tests.conftest import PACKAGE, NewSimulator, numbers
from tests.harness.waiting import until

pytestmark = pytest.mark.skipif(not HAS_PAGE, reason="without the page nothing is recorded")


class Kept:
    """The XComs of one task."""

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    @property
    def context(self) -> Any:
        ti = SimpleNamespace(
            dag_id="import_users", run_id="manual__1", task_id="task", map_index=-1, xcom_push=self.xcoms.__setitem__
        )
        return {"ti": ti, "run_id": "manual__1"}

    def task(self, step: Step) -> Task:
        return Task(step, -1, step, "success", 0.0, 60.0, Sums.read(self.xcoms[KEY]))

    def pieces(self, key: str) -> list[Any]:
        return [value for name, value in self.xcoms.items() if name.startswith(key)]


def test_what_tasks_record_makes_an_import_with_its_files(
    new_simulator: NewSimulator, connect: Callable[..., None], tmp_path: Path
) -> None:
    connect(new_simulator())
    source = tmp_path / "users.txt"
    source.write_text("\n".join(numbers(25)))
    export, upload, wait = Kept(), Kept(), Kept()
    manifest = ExportUsersOperator(
        task_id="export", source=str(source), output_path=str(tmp_path / "out"), bank_type="ICBC_DEBIT",
        max_rows_per_file=10,
    ).execute(export.context)  # fmt: skip
    uploaded = UploadTaskOperator(task_id="upload", package_id=PACKAGE, manifest=manifest).execute(upload.context)
    TaskFinishedSensor(task_id="wait", upload=uploaded, poke_interval=0.1).execute(wait.context)
    tasks = [export.task("export"), upload.task("upload"), wait.task("wait")]
    ((found, _),) = imports(Run(1, "import_users", "manual__1", "success", 0.0), tasks, 100.0)
    assert (found.state, found.package_id, found.bank_types) == ("finished", PACKAGE, ["ICBC_DEBIT"])
    assert (found.files, found.uploaded, found.finished, found.rows, found.rows_uploaded) == (3, 3, 3, 25, 25)
    assert (found.success_count, found.fail_count, found.failed_files) == (25, 0, 0)
    assert wait.xcoms[KEY]["counts"]["unaccounted"] == 0
    files = file_rows(
        filter(None, chain.from_iterable(map(read_uploaded, upload.pieces(UPLOADED)))),
        filter(None, chain.from_iterable(map(read_finished, wait.pieces(FINISHED)))),
    )
    assert {(row.filename, row.task_id, row.rows) for row in files} == {
        (one["filename"], one["task_id"], one["rows"]) for one in uploaded["tasks"]
    }
    assert sum(row.success_count or 0 for row in files) == 25
    assert all(row.uploaded and row.finished for row in files)
    assert not any(number in str((export.xcoms, upload.xcoms, wait.xcoms)) for number in numbers(25))


def test_a_task_goes_on_when_nothing_can_be_recorded(
    new_simulator: NewSimulator, connect: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connect(new_simulator())
    source = tmp_path / "users.txt"
    source.write_text("\n".join(numbers(3)))

    def fail(key: str, value: Any) -> None:
        raise RuntimeError("the API server is away")

    context: Any = {
        "ti": SimpleNamespace(dag_id="import_users", run_id="manual__1", task_id="task", map_index=-1, xcom_push=fail)
    }
    uploaded = UploadTaskOperator(
        task_id="upload", package_id=PACKAGE, file=str(source), bank_type="ICBC_DEBIT"
    ).execute(context)
    assert uploaded["rows"] == 3
    assert "the API server is away" in caplog.text


def test_a_failed_upload_records_why_and_which_files_are_missing(
    new_simulator: NewSimulator, connect: Callable[..., None], tmp_path: Path
) -> None:
    simulator = new_simulator()
    connect(simulator)
    source = tmp_path / "users.txt"
    source.write_text("\n".join(numbers(50)))
    manifest = ExportUsersOperator(
        task_id="export", source=str(source), output_path=str(tmp_path / "out"), bank_type="ICBC_DEBIT",
        max_rows_per_file=10,
    ).execute(Kept().context)  # fmt: skip
    simulator.add_fault(Fault("forbidden", on="upload", after=2))
    upload = Kept()
    with pytest.raises(Refused) as failed:
        UploadTaskOperator(task_id="upload", package_id=PACKAGE, manifest=manifest, max_workers=1).execute(
            upload.context
        )
    failure = Failure.read(upload.xcoms[FAILURE])
    assert failure is not None
    assert (failure.step, failure.error, failure.kind, failure.is_lasting) == ("upload", "Refused", "Refused", True)
    assert failure.text == str(failed.value)
    uploaded = [one.filename for one in chain.from_iterable(map(read_uploaded, upload.pieces(UPLOADED))) if one]
    missing = [one.filename for one in chain.from_iterable(map(read_missing, upload.pieces(MISSING))) if one]
    assert (len(uploaded), len(missing), len({*uploaded, *missing})) == (2, 3, 5)
    # What was recorded before stays.
    sums = Sums.read(upload.xcoms[KEY])
    assert sums is not None
    assert (sums.files, sums.total_files, sums.sent, sums.quota) == (2, 5, 2, 6000)
    assert not any(number in str(upload.xcoms) for number in numbers(50))


def test_input_that_is_refused_before_anything_begins_is_recorded_and_nothing_of_it_that_is_no_record() -> None:
    upload = Kept()
    with pytest.raises(InvalidInput):
        UploadTaskOperator(task_id="upload", package_id=["8473295"], file="/x", bank_type="ICBC_DEBIT").execute(  # type: ignore[arg-type]
            upload.context
        )
    failure = Failure.read(upload.xcoms[FAILURE])
    assert failure is not None
    assert (failure.kind, failure.is_lasting) == ("InvalidInput", True)
    assert Sums.read(Sums("upload", package_id=["8473295"]).write()) == Sums("upload")  # type: ignore[arg-type]


def test_a_wait_that_is_over_or_matched_too_little_records_it_and_keeps_its_counts(
    new_simulator: NewSimulator, connect: Callable[..., None], tmp_path: Path
) -> None:
    simulator = new_simulator(processing_seconds=3600.0)
    connect(simulator)
    source = tmp_path / "users.txt"
    source.write_text("\n".join(numbers(20)))
    uploaded = UploadTaskOperator(
        task_id="upload", package_id=PACKAGE, file=str(source), bank_type="ICBC_DEBIT"
    ).execute(Kept().context)
    wait = Kept()
    with pytest.raises(AirflowSensorTimeout):
        TaskFinishedSensor(task_id="wait", upload=uploaded, poke_interval=0.1, timeout=0.1).execute(wait.context)
    assert (wait.xcoms[FAILURE]["kind"], wait.xcoms[FAILURE]["text"]) == ("Timeout", None)
    assert wait.xcoms[KEY]["processing"] == 1
    for task in simulator.app.ledger.packages[PACKAGE].values():
        task.created -= 3600.0
        task.undecrypted, task.undecryptable = None, task.rows
    wait = Kept()
    with pytest.raises(WaitFailed):
        TaskFinishedSensor(task_id="wait", upload=uploaded, max_fail_ratio=0.5).execute(wait.context)
    assert (wait.xcoms[FAILURE]["kind"], wait.xcoms[FAILURE]["error"]) == ("WaitFailed", "WaitFailed")
    assert wait.xcoms[KEY]["counts"]["fail_count"] == 20


@pytest.mark.parametrize(
    "goes_on",
    [
        TaskDeferred(trigger=TaskFinishedTrigger(PACKAGE), method_name="execute_complete"),
        AirflowRescheduleException(datetime.now(UTC)),
        AirflowSkipException(),
    ],
)
def test_a_task_that_goes_on_later_or_is_skipped_has_not_failed(goes_on: BaseException) -> None:
    heard: list[Any] = []
    with pytest.raises(type(goes_on)), failing("wait", heard.append):
        raise goes_on
    assert heard == []


def test_the_text_of_an_error_that_is_not_ours_is_not_recorded() -> None:
    heard: list[Any] = []
    with pytest.raises(KeyError), failing("export", heard.append):
        raise KeyError(numbers(1)[0])
    assert heard == [Failed("export", "KeyError", "Other", None, is_lasting=False)]
    with pytest.raises(TryLater), failing("export", heard.append):
        raise TryLater("x" * 10_000)
    assert len(heard[1].text) == MAX_TEXT


def test_a_deferred_wait_records_what_its_trigger_sees(
    new_simulator: NewSimulator, connect: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.execution_time import task_runner

    simulator = new_simulator(processing_seconds=3600.0)
    connect(simulator)
    source = tmp_path / "users.txt"
    source.write_text("\n".join(numbers(3)))
    uploaded = UploadTaskOperator(
        task_id="upload", package_id=PACKAGE, file=str(source), bank_type="ICBC_DEBIT"
    ).execute(Kept().context)
    sent: list[Any] = []
    finishing: list[asyncio.Future[None]] = []

    async def asend(message: Any) -> None:
        sent.append(message)
        polled = simulator.report()["requests"]["list"]
        finishing.append(asyncio.ensure_future(asyncio.to_thread(finish_after, polled + 2)))

    def finish_after(polls: int) -> None:
        until(lambda: simulator.report()["requests"]["list"] >= polls)
        for task in simulator.app.ledger.packages[PACKAGE].values():
            task.created -= 3600.0

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(asend=asend), raising=False)
    ids = [one["task_id"] for one in uploaded["tasks"]]
    trigger = TaskFinishedTrigger(PACKAGE, task_ids=ids, poll_interval=0.2)
    trigger.task_instance = SimpleNamespace(  # type: ignore[assignment]
        dag_id="import_users", task_id="wait", run_id="manual__1", map_index=-1
    )

    async def event() -> Any:
        return await anext(aiter(trigger.run()))

    payload = asyncio.run(event()).payload
    (file,) = [file for piece in payload["tasks"] for file in read_finished(piece)]
    assert file is not None
    assert (file.task_id, file.filename) == (ids[0], uploaded["tasks"][0]["filename"])
    # Once, since nothing changed between the polls.
    (message,) = [message for message in sent if getattr(message, "key", None) == KEY]
    assert (message.key, message.task_id, message.run_id) == (KEY, "wait", "manual__1")
    assert (message.value["tasks"], message.value["processing"]) == (1, 1)
