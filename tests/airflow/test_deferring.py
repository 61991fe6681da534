# SPDX-License-Identifier: Apache-2.0
"""What a deferrable sensor hands to the triggerer of the arguments that every sensor has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from airflow.models.trigger import Trigger
from airflow.providers.common.compat.sdk import TaskDeferred
from cryptography.fernet import Fernet

from airflow_provider_wxbank import triggers
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.packages.tasks import UploadTask
from airflow_provider_wxbank.packages.wanted import Digests
from airflow_provider_wxbank.sensors import TaskFinishedSensor
from airflow_provider_wxbank.simulator import Simulator
from airflow_provider_wxbank.triggers import MAX_WANTED, TaskFinishedTrigger
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, WxBankError
from tests.airflow.conftest import context
from tests.conftest import PACKAGE, NewSimulator
from tests.harness.waiting import auntil

Connect = Callable[..., None]
POLLS = 7


@pytest.fixture
def processing(new_simulator: NewSimulator, connect: Connect) -> Simulator:
    """A package with a task that is not finished for an hour."""
    simulator = new_simulator(processing_seconds=3600.0)
    connect(simulator)
    hook = WxBankHook()
    hook.create_task(PACKAGE, f"{hook.encrypt('20240001')}\n".encode(), "ICBC_DEBIT", "one.csv")
    return simulator


def deferred(**options: Any) -> dict[str, Any]:
    """The arguments of the trigger that a sensor defers to, as Airflow stores them."""
    sensor = TaskFinishedSensor(task_id="finished", package_id=PACKAGE, deferrable=True, **options)
    with pytest.raises(TaskDeferred) as raised:
        sensor.execute(context())
    arguments: dict[str, Any] = raised.value.trigger.serialize()[1]
    return arguments


def pauses(monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any]) -> list[float]:
    """How long a trigger sleeps before each of its first polls; no time passes."""
    slept: list[float] = []
    sleep, loops = asyncio.sleep, []

    async def note(seconds: float, *result: Any) -> None:
        # The simulator's server has a loop of its own, in which time passes; 0 gives others a turn and is no pause.
        if asyncio.get_running_loop() not in loops or not seconds:
            return await sleep(seconds, *result)
        slept.append(seconds)
        if len(slept) > POLLS:
            raise TimeoutError
        return await sleep(0)

    async def wait() -> None:
        loops.append(asyncio.get_running_loop())
        with pytest.raises(TimeoutError):
            await anext(TaskFinishedTrigger(**arguments).run())

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "sleep", note)
        asyncio.run(wait())
    return slept[:POLLS]


@pytest.mark.usefixtures("processing")
def test_a_deferred_wait_backs_off_as_its_sensor_says(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = pauses(monkeypatch, deferred(poke_interval=60, exponential_backoff=True))
    for polls, seconds in enumerate(slept, start=1):
        assert 60 * 2 ** (polls - 2) <= seconds <= 60 * 2 ** (polls - 1)


@pytest.mark.usefixtures("processing")
@pytest.mark.parametrize("max_wait", [300, 300.0, timedelta(minutes=5)])
def test_a_deferred_wait_sleeps_no_longer_than_max_wait(monkeypatch: pytest.MonkeyPatch, max_wait: Any) -> None:
    slept = pauses(monkeypatch, deferred(poke_interval=60, exponential_backoff=True, max_wait=max_wait))
    assert slept[0] <= 60
    assert all(270 <= seconds <= 300 for seconds in slept[4:])


@pytest.mark.usefixtures("processing")
def test_a_deferred_wait_that_backs_off_looks_again_before_its_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    before = time.time()
    arguments = deferred(poke_interval=60, exponential_backoff=True, timeout=1000)
    assert before + 1000 <= arguments["deadline"] <= time.time() + 1000
    assert max(pauses(monkeypatch, arguments)) <= 900


@pytest.mark.usefixtures("processing")
def test_without_backing_off_the_interval_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = pauses(monkeypatch, deferred(poke_interval=60, max_wait=5))
    assert all(54 <= seconds <= 66 for seconds in slept[1:])


@pytest.mark.usefixtures("processing")
def test_a_wait_that_an_older_version_deferred_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    older = {
        "package_id": PACKAGE, "task_ids": None, "filenames": None, "poll_interval": 60.0,
        "wxbank_conn_id": "wxbank_default",
    }  # fmt: skip
    assert older.items() <= deferred(poke_interval=60).items()
    assert all(54 <= seconds <= 66 for seconds in pauses(monkeypatch, older)[1:])


@pytest.mark.parametrize("what", ["serial", "APIv3 key", "connection is gone"])
def test_a_wait_reads_its_connection_anew_when_keys_are_refused(
    simulator: Simulator, connect: Connect, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A renewal of keys fails no wait, however long it has waited before."""
    connect(simulator)
    hook = WxBankHook()
    hook.create_task(PACKAGE, f"{hook.encrypt('20240001')}\n".encode(), "ICBC_DEBIT", "one.csv")
    extra = simulator.airflow_connection()["extra"]
    wrong = {"extra": {**extra, "merchant_serial_no": "5E"}} if what == "serial" else {"password": "c" * 32}
    connect(simulator, **wrong)

    def looks() -> int:
        return int(simulator.report()["requests"]["list"])

    before = looks()

    async def payload() -> Any:
        trigger = TaskFinishedTrigger(PACKAGE, filenames=["one.csv"], poll_interval=1.0)
        return (await anext(trigger.run())).payload

    async def run() -> Any:
        waiting = asyncio.create_task(payload())
        await auntil(lambda: looks() > before)
        if what == "connection is gone":
            monkeypatch.delenv("AIRFLOW_CONN_WXBANK_DEFAULT")
            gone = looks()
            # It goes on with what it has.
            await auntil(lambda: looks() > gone + 1)
        connect(simulator)
        return await waiting

    assert asyncio.run(run())["status"] == "finished"


# What the row of a trigger keeps


def encrypted(arguments: dict[str, Any]) -> str:
    """A trigger's arguments as Airflow keeps them in its database."""
    row = Trigger(classpath="x", kwargs=arguments)
    return str(row.encrypted_kwargs)


@pytest.fixture
def fernet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Airflow encrypts, as it does in production."""
    from airflow.models import crypto

    reset = getattr(crypto.get_fernet, "cache_clear", lambda: setattr(crypto, "_fernet", None))
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", Fernet.generate_key().decode())
    reset()
    yield
    monkeypatch.undo()
    reset()


@pytest.mark.usefixtures("fernet")
@pytest.mark.parametrize("of", ["task_ids", "filenames"])
def test_a_wait_for_6000_tasks_has_room_in_a_row_whatever_their_names(of: str) -> None:
    names = [f"{index:06d}{'x' * 110}.csv" for index in range(6000)]
    arguments = TaskFinishedTrigger(PACKAGE, **{of: names}).serialize()[1]  # type: ignore[arg-type]  # one of both
    row = encrypted(arguments)
    assert not row.startswith("{")
    assert len(row) < 60_000
    # From the row the same trigger is made, and from that the same row.
    again = TaskFinishedTrigger(**arguments)
    assert again.serialize()[1] == arguments
    digests = Digests.read(arguments["digests"])
    assert (digests.of, digests.count, len(digests.values)) == (of, 6000, 6000)
    task = UploadTask(names[17], PACKAGE, names[17])
    assert digests.includes(task)
    assert not digests.includes(UploadTask("other", PACKAGE, "other.csv"))


def test_few_names_are_kept_as_they_are_and_a_row_of_an_older_version_is_understood() -> None:
    arguments = TaskFinishedTrigger(PACKAGE, task_ids=["1", "2"]).serialize()[1]
    assert (arguments["task_ids"], arguments["digests"]) == (["1", "2"], None)
    del arguments["digests"]
    assert TaskFinishedTrigger(**arguments).task_ids == ["1", "2"]


@pytest.mark.usefixtures("processing")
def test_a_wait_that_has_no_room_in_a_row_is_told_before_it_defers() -> None:
    sensor = TaskFinishedSensor(
        task_id="finished",
        package_id=PACKAGE,
        task_ids=[str(index) for index in range(MAX_WANTED + 1)],
        deferrable=True,
    )
    with pytest.raises(InvalidInput, match=f"for {MAX_WANTED + 1} upload tasks, and a deferred one .*split it"):
        sensor.execute(context())


@pytest.mark.parametrize("of", ["task_ids", "filenames"])
def test_a_wait_that_knows_digests_alone_ends_with_its_own_tasks(
    new_simulator: NewSimulator, connect: Connect, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    monkeypatch.setattr(triggers, "MAX_NAMES", 1)
    simulator = new_simulator()
    connect(simulator)
    hook = WxBankHook()
    tasks = [
        hook.create_task(PACKAGE, f"{hook.encrypt(f'2024000{index}')}\n".encode(), "ICBC_DEBIT", f"file_{index}.csv")
        for index in range(5)
    ]
    ours = [task.task_id if of == "task_ids" else task.filename for task in tasks[1:4]]
    arguments = TaskFinishedTrigger(PACKAGE, poll_interval=0.01, **{of: ours}).serialize()[1]  # type: ignore[arg-type]  # one of both
    assert arguments[of] is None

    async def event() -> Any:
        return (await anext(TaskFinishedTrigger(**arguments).run())).payload

    payload = asyncio.run(event())
    options: Any = {of: ours}
    sensor = TaskFinishedSensor(task_id="finished", package_id=PACKAGE, **options)
    result = sensor.execute_complete(context(), payload)
    assert (result["tasks"], result["success_count"]) == (3, 3)
    if "tasks" in payload:
        options[of] = [*ours[:2], "other.csv"]
        other = TaskFinishedSensor(task_id="finished", package_id=PACKAGE, **options)
        with pytest.raises(WxBankError, match="took a task of somebody else for one of these"):
            other.execute_complete(context(), payload)


def test_an_event_of_very_many_tasks_has_counts_only(
    new_simulator: NewSimulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "MAX_EVENT_TASKS", 0)
    connect(new_simulator())
    hook = WxBankHook()
    hook.create_task(PACKAGE, f"{hook.encrypt('20240001')}\n".encode(), "ICBC_DEBIT", "one.csv")

    async def event() -> Any:
        return (await anext(TaskFinishedTrigger(PACKAGE, poll_interval=0.01).run())).payload

    payload = asyncio.run(event())
    assert payload.keys() == {"status", "counts", "accounted"}
    result = TaskFinishedSensor(task_id="finished", package_id=PACKAGE).execute_complete(context(), payload)
    assert result["tasks"] == 1


def finished(**changes: Any) -> dict[str, Any]:
    """An event of the trigger for a wait for two tasks."""
    counts = {"tasks": 2, "success_count": 3, "fail_count": 0, "success_user_count": 3, "failed_files": []}
    return {"status": "finished", "counts": {**counts, **changes}}


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ("finished", "unknown event"),
        ({"status": "finished"}, "cannot be read"),
        ({"status": "finished", "counts": None}, "cannot be read"),
        (finished(tasks="2"), "cannot be read"),
        (finished(fail_count=-1), "cannot be read"),
        (finished(success_count=True), "cannot be read"),
        (finished(success_user_count=1.5), "cannot be read"),
        (finished(failed_files="x.csv"), "cannot be read"),
        (finished(tasks=0), "saw 0 tasks, and this sensor waits for 2"),
        (finished(tasks=3), "saw 3 tasks, and this sensor waits for 2"),
    ],
)
def test_an_event_that_does_not_fit_the_wait_fails_it(event: Any, message: str) -> None:
    sensor = TaskFinishedSensor(task_id="finished", package_id=PACKAGE, task_ids=["1", "2"])
    with pytest.raises(WxBankError, match=message):
        sensor.execute_complete(context(), event)
    assert sensor.execute_complete(context(), finished())["tasks"] == 2
    # What is beside the counts is for the page, and as damaged as it likes.
    for tasks in (None, 5, ["x"], {"version": 1}):
        assert sensor.execute_complete(context(), {**finished(), "tasks": tasks})["success_count"] == 3


def test_an_event_of_an_older_version_has_sums_that_are_compared(logged: Callable[[], str]) -> None:
    upload = {
        "package_id": PACKAGE,
        "tasks": [{"task_id": str(one), "filename": f"{one}.csv", "rows": 2} for one in (1, 2)],
    }
    sensor = TaskFinishedSensor(task_id="finished", upload=upload)
    assert sensor.execute_complete(context(), finished())["unaccounted"] == 1
    assert "by 1 of 4 numbers, in files that cannot be told" in logged()
    told = {**finished(), "accounted": {"usual": 2, "others": {"2": 1}}}
    assert sensor.execute_complete(context(), told)["unaccounted"] == 1
    assert "2.csv (task 2): 2 rows, 1 counted" in logged()


def test_a_name_that_is_given_twice_or_as_a_number_is_one_task() -> None:
    ids: list[Any] = [*range(1000, 1101), "1000"]
    digests = Digests.read(TaskFinishedTrigger(PACKAGE, task_ids=ids).serialize()[1]["digests"])
    assert (digests.count, len(digests.values)) == (101, 101)


@pytest.mark.parametrize(
    "change",
    [
        {"digests": "cut"}, {"of": "what"}, {"count": 0}, {"count": -1}, {"count": "101"}, {"count": 200},
        {"digests": 3}, {"digests": "\x00" * 10},
    ],
)  # fmt: skip
def test_damaged_digests_end_the_wait_with_an_error(
    new_simulator: NewSimulator, connect: Connect, change: dict[str, Any]
) -> None:
    connect(new_simulator())
    arguments = TaskFinishedTrigger(PACKAGE, task_ids=list(map(str, range(101)))).serialize()[1]
    arguments["digests"] |= (
        {"digests": arguments["digests"]["digests"][:-10]} if change == {"digests": "cut"} else change
    )

    async def event() -> Any:
        return (await anext(TaskFinishedTrigger(**arguments).run())).payload

    payload = asyncio.run(event())
    assert payload["status"] == "error"
    assert "the digests of the tasks to wait for are damaged" in payload["message"]
