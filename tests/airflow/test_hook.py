# SPDX-License-Identifier: Apache-2.0
"""WxBankHook: an Airflow connection becomes a client, in tasks and in triggers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote_plus
from uuid import uuid4

import pytest
from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import AirflowNotFoundException, redact
from asgiref.sync import async_to_sync, sync_to_async
from cryptography.fernet import Fernet

from airflow_provider_wxbank import _compat, connections, hooks
from airflow_provider_wxbank.connections import NoConnection
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.simulator import Simulator, numbers_digest
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials, InvalidInput
from tests.conftest import PACKAGE, NewSimulator, numbers

Connect = Callable[..., None]


@pytest.fixture
def hook(simulator: Simulator, connect: Connect) -> WxBankHook:
    connect(simulator)
    return WxBankHook()


def test_the_endpoints_are_called_field_for_field(hook: WxBankHook, tmp_path: Path) -> None:
    path = tmp_path / "active_user.csv"
    path.write_bytes(hook.encryption_key().public_key.encrypt_lines(numbers(3)))
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
    hook.get_conn().refresh_keys()
    hook.create_task(PACKAGE, content, "ICBC_DEBIT", "late.csv")
    package = simulator.report()["packages"][PACKAGE]
    assert package["numbers_digest"] == numbers_digest(numbers(3))


def test_bytes_need_a_filename(hook: WxBankHook) -> None:
    with pytest.raises(InvalidInput, match="needs a filename"):
        hook.create_task(PACKAGE, b"x\n", "ICBC_DEBIT")


def test_the_twins_for_triggers_do_the_same(hook: WxBankHook) -> None:
    async def run() -> list[str]:
        key = await asyncio.to_thread(hook.encryption_key)
        content = key.public_key.encrypt_lines(numbers(2))
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


UNREADABLE: list[Any] = [
    ({"login": 1900000001}, "login must be a text, in quotes"),
    ({"login": 1900000001, "schema": 7}, "login and schema must be a text, in quotes"),
    ({"password": 12345678}, "text"),
    ({"host": ["127.0.0.1"]}, "text"),
    ({"port": "https-SECRET"}, "(ValueError)"),
    ({"mchid-SECRET": "1900000001"}, "a field is unknown to Airflow, or is no text in quotes (TypeError)"),
]


@pytest.mark.parametrize(("changes", "reason"), UNREADABLE)
def test_a_connection_that_airflow_cannot_read_is_told_as_that(
    simulator: Simulator, connect: Connect, changes: dict[str, Any], reason: str
) -> None:
    connect(simulator, **changes)
    assert_told(reason)


NO_FORM = "it has not the form of a connection, or Airflow has no fernet_key to decrypt it with"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ('{"conn_type": "wxbank", "login": "SECRET"', "its JSON breaks off or has a mistake in line 1, column"),
        ('{"conn_type": "wxbank", "login": "SECRET" "password": ""}', "has a mistake in line 1, column"),
        ("wxbank://SECRET@https://api.mch.weixin.qq.com?x=https://y://z", f"{NO_FORM} (AirflowException)"),
        ("wxbank://1900000001:SECRET@[::1", f"{NO_FORM} (ValueError)"),
        ("wxbank://1900000001:SECRET@127.0.0.1:port", f"{NO_FORM} (ValueError)"),
    ],
)
def test_an_environment_variable_that_is_no_connection_is_told_as_that(
    monkeypatch: pytest.MonkeyPatch, value: str, reason: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WXBANK_DEFAULT", value)
    assert_told(reason)


def assert_told(reason: str) -> None:
    """A task, a trigger and the examination say the same, without what is in the connection."""
    with pytest.raises(InvalidCredentials, match=re.escape(reason)) as in_a_task:
        WxBankHook().get_conn()
    with pytest.raises(InvalidCredentials, match=re.escape(reason)) as in_a_trigger:
        asyncio.run(WxBankHook().aget_conn())
    works, message = WxBankHook().test_connection()
    assert not works
    assert "Airflow has the connection wxbank_default, but" in message
    for told in (str(in_a_task.value), str(in_a_trigger.value), message):
        assert reason in told
        assert "add it" not in told
        assert "SECRET" not in told


@pytest.mark.usefixtures("connections_of_airflow")
def test_a_connection_that_is_not_there_is_told_as_that() -> None:
    hook = WxBankHook("nobody_made_this")
    for ask in (hook.get_conn, lambda: asyncio.run(hook.aget_conn())):
        with pytest.raises(NoConnection, match="Airflow has no connection nobody_made_this: add it") as raised:
            ask()
        assert isinstance(raised.value, AirflowNotFoundException)


def test_a_connection_of_another_fernet_key_is_told_as_that(
    monkeypatch: pytest.MonkeyPatch, connections_of_airflow: Any
) -> None:
    """As after a restore of the database beside a new airflow.cfg."""
    from airflow import settings
    from airflow.models import crypto

    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")  # what reads the database on Airflow 3
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", Fernet.generate_key().decode())
    monkeypatch.setattr(crypto, "_fernet", None, raising=False)
    getattr(crypto.get_fernet, "cache_clear", list)()
    token = Fernet(Fernet.generate_key()).encrypt(b"SECRET").decode()
    row = {"conn_id": "restored", "conn_type": "wxbank", "login": "1900000001", "password": token}
    assert settings.engine is not None
    with settings.engine.begin() as database:
        database.execute(connections_of_airflow.insert().values(**row, is_encrypted=True, is_extra_encrypted=False))
    with pytest.raises(InvalidCredentials, match="it was encrypted with another fernet_key than Airflow has now"):
        WxBankHook("restored").get_conn()
    getattr(crypto.get_fernet, "cache_clear", list)()


@pytest.mark.filterwarnings("ignore")  # Airflow 2.11's of an extra that is no object
@pytest.mark.parametrize("extra", ['["SECRET"]', '"SECRET"', "7"])
def test_an_extra_that_is_no_object_is_told_as_that(
    monkeypatch: pytest.MonkeyPatch, simulator: Simulator, connect: Connect, extra: str
) -> None:
    connect(simulator, extra=extra)
    with pytest.raises(InvalidCredentials, match="the extra of the connection wxbank_default is not a JSON object"):
        WxBankHook().get_conn()


def test_every_field_may_come_as_text(simulator: Simulator, connect: Connect) -> None:
    """As the form of Airflow stores it."""
    extra = simulator.airflow_connection()["extra"]
    texts = {"connect_timeout": "2.5", "read_timeout": "60", "daily_file_quota": "12000", "proxies": '{"https": ""}'}
    connect(simulator, extra={**extra, **texts}, port=simulator.base_url.rpartition(":")[2])
    assert WxBankHook().test_connection()[0]


@pytest.mark.parametrize("write", [quote, quote_plus, partial(quote, safe=""), json.dumps, str])
def test_a_key_is_masked_in_every_form_in_which_a_connection_is_written(
    simulator: Simulator, connect: Connect, write: Callable[[str], str]
) -> None:
    connection = simulator.airflow_connection()
    password = '0123456789"+/=ghijklmnopqrstuv\\x'
    connect(simulator, password=password)
    key = connection["extra"]["merchant_private_key"]
    WxBankHook().get_conn()
    body = "".join(key.strip().splitlines()[1:-1])
    for layout in (
        key,
        key.replace("\n", " "),
        "\n".join(body[start : start + 64] for start in range(0, len(body), 64)),
    ):
        shown = unquote_plus(str(redact(f"export AIRFLOW_CONN_WXBANK_DEFAULT='wxbank://x@y/?k={write(layout)}'")))
        assert "***" in shown
        assert not [start for start in range(0, len(body) - 8, 4) if body[start : start + 8] in shown]
    assert password[10:] not in unquote_plus(str(redact(f"wxbank://1900000001:{write(password)}@host")))


def test_a_key_pasted_with_written_newlines_works(simulator: Simulator, connect: Connect) -> None:
    extra = simulator.airflow_connection()["extra"]
    connect(simulator, extra={**extra, "merchant_private_key": extra["merchant_private_key"].replace("\n", "\\n")})
    assert WxBankHook().test_connection()[0]


@pytest.mark.parametrize(
    "proxies",
    [
        "http://user:geheim%4077@proxy:3128",
        {"https": "http://user:geheim%4077@proxy:3128"},
        '{"https": "http://user:geheim%4077@proxy:3128", "http": "http://proxy"}',
    ],
    ids=["a text", "an object", "its JSON"],
)
def test_the_password_of_a_proxy_is_masked(simulator: Simulator, connect: Connect, proxies: object) -> None:
    connect(simulator, extra={**simulator.airflow_connection()["extra"], "proxies": proxies})
    WxBankHook().get_conn()
    for shown in ("x geheim@77 y", "http://user:geheim%4077@proxy:3128"):
        assert "geheim" not in str(redact(shown))


def test_calls_that_begin_at_once_share_keys(hook: WxBankHook, simulator: Simulator) -> None:
    file = hook.encrypt("20240001").encode() + b"\n"
    before = simulator.report()["requests"]["certificates"]

    async def calls() -> None:
        fresh = WxBankHook()
        await asyncio.gather(*(fresh.alist_tasks(PACKAGE) for _ in range(4)))
        await asyncio.gather(*(fresh.acreate_task(PACKAGE, file, "ICBC_DEBIT", f"file_{index}") for index in range(4)))

    asyncio.run(calls())
    assert simulator.report()["requests"]["certificates"] == before + 1
    # Nothing stays of a loop that has ended.
    assert hooks._READING == {}
    assert hooks._TOGETHER == {}
    assert connections._MASKING == {}


def test_hooks_that_begin_at_once_have_airflow_mask_each_secret_once(
    simulator: Simulator, airflow_connection: Callable[[str, dict[str, Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow compiles all that it masks anew each time, which holds the loop of a triggerer for ten milliseconds."""
    password, masked, mask = f"+{uuid4().hex[:30]}/", [], _compat.amask_secret
    names = [f"merchant_{index}" for index in range(hooks.MAX_READING)]
    for name in names:
        airflow_connection(name, {**simulator.airflow_connection(), "password": password})

    async def counted(secret: str) -> None:
        masked.append(secret)
        await mask(secret)

    async def begin() -> None:
        await asyncio.gather(*(WxBankHook(name).asettings() for name in names))

    monkeypatch.setattr(connections, "amask_secret", counted)
    asyncio.run(begin())
    assert quote(password, safe="") in masked
    assert sorted(masked) == sorted(set(masked))


@dataclass
class OthersHook(WxBankHook):
    """A hook of somebody else's, which knows its merchant itself. It has no hash, either."""

    merchant_id: str

    def __post_init__(self) -> None:
        super().__init__()

    def get_connection(self, conn_id: str) -> Any:  # type: ignore[override]  # a classmethod in Airflow
        connection = super().get_connection(conn_id)
        connection.login = self.merchant_id
        return connection

    async def aget_connection(self, conn_id: str) -> Any:  # type: ignore[override]  # as above
        return await sync_to_async(self.get_connection)(conn_id)


def test_hooks_that_read_in_their_own_way_do_so_each_for_itself(simulator: Simulator, connect: Connect) -> None:
    connect(simulator)
    merchants = [f"190000000{index}" for index in range(4)]

    async def begin() -> list[str]:
        settings = asyncio.gather(*(OthersHook(merchant).asettings() for merchant in merchants))
        return [one.merchant.mchid for one in await settings]

    assert asyncio.run(begin()) == merchants


def test_hooks_that_begin_at_once_read_their_connection_once(
    simulator: Simulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow needs three milliseconds of the loop for each read, and a triggerer starts with a thousand waits."""
    connect(simulator)
    read, reads = get_async_connection, []

    async def counted(conn_id: str, **options: Any) -> Any:
        reads.append(conn_id)
        return await read(conn_id, **options)

    async def begin() -> set[str]:
        return {one.merchant.mchid for one in await asyncio.gather(*(WxBankHook().asettings() for _ in range(100)))}

    monkeypatch.setattr(connections, "get_async_connection", counted)
    assert len(asyncio.run(begin())) == 1
    # The first one's had begun when the others asked.
    assert reads == ["wxbank_default"] * 2


def test_a_hook_that_is_given_another_connection_while_it_waits_changes_nothing_for_others(
    simulator: Simulator, airflow_connection: Callable[[str, dict[str, Any]], None]
) -> None:
    for name, mchid in (("one", "1900000001"), ("other", "1900000002")):
        airflow_connection(name, {**simulator.airflow_connection(), "login": mchid})

    async def begin() -> set[str]:
        all_hooks = [WxBankHook("one") for _ in range(5)]
        reads = asyncio.gather(*(hook.asettings() for hook in all_hooks))
        while not hooks._READING:  # noqa: ASYNC110  # it is the rounds that count
            await asyncio.sleep(0)
        for hook in all_hooks:
            hook.wxbank_conn_id = "other"
        return {one.merchant.mchid for one in await reads}

    assert asyncio.run(begin()) == {"1900000001"}


def test_who_asks_after_a_change_is_told_it_though_others_read_the_connection(
    simulator: Simulator, connect: Connect
) -> None:
    async def begin() -> str:
        connect(simulator, login="1900000001")
        before = [asyncio.create_task(WxBankHook().asettings()) for _ in range(5)]
        # Long enough that one of them reads.
        await asyncio.sleep(0)
        assert hooks._READING
        connect(simulator, login="1900000002")
        after = await WxBankHook().asettings()
        await asyncio.gather(*before)
        return after.merchant.mchid

    assert asyncio.run(begin()) == "1900000002"


def test_one_wrong_connection_is_told_to_each_hook_that_asked(simulator: Simulator, connect: Connect) -> None:
    connect(simulator, login="")

    async def begin() -> list[Any]:
        hooks_own = (WxBankHook().asettings() for _ in range(20))
        return await asyncio.gather(*hooks_own, return_exceptions=True)

    told = asyncio.run(begin())
    assert len({id(one) for one in told}) == 20
    assert {(type(one), *one.__notes__) for one in told} == {(InvalidCredentials, "Connection: wxbank_default")}
    assert {"merchant id" in str(one) for one in told} == {True}


def test_masking_in_a_trigger_can_come_back_to_its_event_loop(
    simulator: Simulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow 3.1's masking asks the triggerer that way, and its reader works on that one loop; 3.3's need not."""
    password = f'"{uuid4().hex[:30]}"'  # masked nowhere yet in the layout of JSON
    connect(simulator, password=password)
    hook, seen = WxBankHook(), []

    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async def run() -> asyncio.AbstractEventLoop:
        await hook.aget_conn()
        return asyncio.get_running_loop()

    if hasattr(_compat, "mask_secret"):
        monkeypatch.setattr(_compat, "mask_secret", lambda _: seen.append(async_to_sync(loop)()))
        own = asyncio.run(run())
        assert set(seen) == {own}
    else:
        asyncio.run(run())
        assert password[1:-1] not in str(redact(f"x {json.dumps(password)} y"))


@pytest.mark.parametrize("serial_no", ["0A\r\nX: 1", "PUB_KEY_ID_x", "G" * 40, "1" * 65, " 0A"])
def test_a_serial_number_that_is_none_is_refused_at_once(
    simulator: Simulator, connect: Callable[..., None], serial_no: str
) -> None:
    connect(simulator)
    hook = WxBankHook()
    with pytest.raises(InvalidInput, match="must be the serial of a platform certificate"):
        hook.create_task(PACKAGE, b"AAAA\n", "ICBC_DEBIT", "file.csv", serial_no=serial_no)
    with pytest.raises(InvalidInput, match="must be the serial of a platform certificate"):
        hook.request("GET", "/v3/certificates", serial_no=serial_no)
    assert sum(simulator.report()["requests"].values()) == 0
