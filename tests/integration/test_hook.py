"""WxBankHook: an Airflow connection becomes a client, in tasks and in triggers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync

from airflow_provider_wxbank import hooks
from airflow_provider_wxbank.agreements.encryption import encrypt_lines
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.simulator import Simulator, numbers_digest
from airflow_provider_wxbank.wechatpay.errors import InvalidInput
from tests.conftest import PACKAGE, NewSimulator, numbers

Connect = Callable[..., None]


@pytest.fixture
def hook(simulator: Simulator, connect: Connect) -> WxBankHook:
    connect(simulator)
    return WxBankHook()


def test_the_endpoints_are_called_field_for_field(hook: WxBankHook, tmp_path: Path) -> None:
    path = tmp_path / "active_user.csv"
    path.write_bytes(encrypt_lines(hook.encryption_key().public_key, numbers(3)))
    task = hook.create_task(PACKAGE, path, "ICBC_DEBIT")
    assert task.filename == "active_user.csv"
    assert hook.create_task(PACKAGE, str(path), "ICBC_DEBIT", "other_name.csv").filename == "other_name.csv"
    found = hook.find_task(PACKAGE, "active_user.csv")
    assert found is not None
    assert found.task_id == task.task_id
    assert found.success_count == 3
    page = hook.list_tasks_page(PACKAGE, status="FINISHED", filename="other_name.csv", offset=0, limit=1)
    assert [one.filename for one in page.tasks] == ["other_name.csv"]
    assert len(list(hook.list_tasks(PACKAGE))) == 2
    assert hook.request("GET", f"/v3/marketing/bank/packages/{PACKAGE}/tasks")["total_count"] == 2


def test_a_line_that_was_encrypted_is_declared_with_its_key_however_late(
    hook: WxBankHook, simulator: Simulator
) -> None:
    content = "".join(f"{hook.encrypt(number)}\n" for number in numbers(3)).encode()
    simulator.rotate_certificate()
    hook.get_conn().keys.refresh()
    hook.create_task(PACKAGE, content, "ICBC_DEBIT", "late.csv")
    package = simulator.report()["packages"][PACKAGE]
    assert package["numbers_digest"] == numbers_digest(numbers(3))


def test_bytes_need_a_filename(hook: WxBankHook) -> None:
    with pytest.raises(InvalidInput, match="needs a filename"):
        hook.create_task(PACKAGE, b"x\n", "ICBC_DEBIT")


def test_the_twins_for_triggers_do_the_same(hook: WxBankHook) -> None:
    async def run() -> list[str]:
        key = await asyncio.to_thread(hook.encryption_key)
        content = encrypt_lines(key.public_key, numbers(2))
        await hook.acreate_task(PACKAGE, content, "ICBC_DEBIT", "async.csv")
        return [task.filename for task in await hook.alist_tasks(PACKAGE)]

    assert asyncio.run(run()) == ["async.csv"]
    assert asyncio.run(WxBankHook().alist_tasks(PACKAGE, status="PROCESSING")) == []


@pytest.mark.parametrize("mode", ["certificates", "public-key", "both"])
def test_testing_the_connection_works_in_every_mode(new_simulator: NewSimulator, connect: Connect, mode: str) -> None:
    connect(new_simulator(key_mode=mode))
    works, message = WxBankHook().test_connection()
    assert works, message


def test_testing_a_connection_tells_what_it_lacks(simulator: Simulator, connect: Connect) -> None:
    connect(simulator, extra={})
    works, message = WxBankHook().test_connection()
    assert not works
    assert "merchant_serial_no" in message


def test_a_key_pasted_with_written_newlines_works(simulator: Simulator, connect: Connect) -> None:
    extra = simulator.airflow_connection()["extra"]
    connect(simulator, extra={**extra, "merchant_private_key": extra["merchant_private_key"].replace("\n", "\\n")})
    assert WxBankHook().test_connection()[0]


def test_masking_in_a_trigger_can_come_back_to_its_event_loop(
    hook: WxBankHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow 3.1's masking asks the triggerer that way, and its reader works on that one loop."""

    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    seen = []
    monkeypatch.setattr(hooks, "mask_secret", lambda _: seen.append(async_to_sync(loop)()))

    async def run() -> asyncio.AbstractEventLoop:
        await hook.aget_conn()
        return asyncio.get_running_loop()

    own = asyncio.run(run())
    assert set(seen) == {own}
