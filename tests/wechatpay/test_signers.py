# SPDX-License-Identifier: Apache-2.0
"""Signers of other packages, found by their entry points; a slow one holds up nobody."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_wxbank.packages.endpoints import acreate_task, alist_tasks_page, find_task, tasks_path
from airflow_provider_wxbank.simulator import Simulator
from airflow_provider_wxbank.wechatpay.calls import Call
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials, OutcomeUnknown, TryLater
from airflow_provider_wxbank.wechatpay.exchange import Exchange
from airflow_provider_wxbank.wechatpay.loop import AsyncClient, InLoop
from airflow_provider_wxbank.wechatpay.settings import Settings, read_settings
from airflow_provider_wxbank.wechatpay.signers.choice import signer_of
from airflow_provider_wxbank.wechatpay.sockets import MAX_SOCKETS_A_HOST
from tests.conftest import PACKAGE, NewClient, NewSimulator
from tests.harness import connections
from tests.harness.clock import Clock
from tests.harness.files import agreement_file
from tests.harness.signers import install
from tests.harness.waiting import auntil
from tests.vectors import VECTORS

KEY = VECTORS["keys"]["merchant_private_pkcs8"]

SettingsOf = Callable[..., Settings]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    path.write_text(KEY)
    return path


@pytest.fixture
def settings_of(slow_signers: None, key_file: Path) -> SettingsOf:
    """The settings of a connection whose key is with the slow signer."""

    def make(simulator: Simulator, query: str = "", **more: Any) -> Settings:
        connection = simulator.airflow_connection()
        extra = {**connection["extra"], **more, "merchant_private_key_uri": f"slow:{key_file}?{query}"}
        del extra["merchant_private_key"]
        return read_settings(connection["login"], connection["password"], connection["host"], extra)

    return make


def test_a_signer_of_another_package_signs(
    simulator: Simulator, settings_of: SettingsOf, new_client: NewClient
) -> None:
    settings = settings_of(simulator, merchant_private_key_token="for it alone", proxies="")
    file = agreement_file(new_client(simulator), 0)
    client = Client(settings)
    asyncio.run(acreate_task(client, PACKAGE, *file))
    assert find_task(client, PACKAGE, file[2]) is not None
    client.close()
    # It is given what it may need, and nothing else of the connection.
    values = ["merchant_private_key_token", "merchant_private_key_uri", "merchant_serial_no"]
    assert settings.merchant.signer.about == f"a slow one with {values}"
    assert settings.merchant.serial_no == simulator.airflow_connection()["extra"]["merchant_serial_no"].upper()


@pytest.mark.parametrize("scheme", ["vault-hsm", "VAULT-HSM", "Vault-HSM"])
@pytest.mark.parametrize("name", ["vault-hsm", "Vault-HSM"])
def test_a_scheme_is_the_same_in_capitals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str, name: str
) -> None:
    code = "def signer(uri, values): return f'found by {uri}'"
    install(tmp_path / "vault", monkeypatch, "vault_hsm", code, f"{name} = vault_hsm:signer")
    assert str(signer_of(f"{scheme}:key", {"merchant_serial_no": "1"})) == f"found by {scheme}:key"


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        (
            "kms:key",
            "has the scheme kms, for which no package is installed here; installed are broken, pkcs11, slow, twice",
        ),
        ("os.system:key", "has the scheme os.system, for which no package is installed here"),
        ("/etc/key.pem", "must begin with a scheme, like pkcs11:token=...; the path of a PEM belongs into"),
        ("twice:key", "several packages have a signer for twice: (first: first:signer, second: second:signer)"),
        ("broken:key", "the signer for broken: cannot be loaded (first: first:nothing): AttributeError"),
        ("slow:/there/is/none", "the signer for slow: failed: FileNotFoundError. Run it again later"),
        ("slow:/x?opening=1", "the signer for slow: failed: KeyError. Run it again later"),
    ],
)
def test_a_scheme_that_cannot_be_used_is_told(
    slow_signers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, told: str
) -> None:
    points = "twice = first:signer\nbroken = first:nothing\npkcs11 = first:signer"
    install(tmp_path / "one", monkeypatch, "first", "def signer(uri, values): raise SystemError", points)
    install(tmp_path / "two", monkeypatch, "second", "", "twice = second:signer")
    with pytest.raises((InvalidCredentials, TryLater), match=re.escape(told)) as raised:
        signer_of(uri, {"merchant_serial_no": "1", "merchant_private_key_token": "SECRET"})
    assert "SECRET" not in str(raised.value)
    # Nobody else can have the scheme of tokens.
    with pytest.raises(InvalidCredentials, match="must name the module of the token|pip install"):
        signer_of("pkcs11:token=x", {"merchant_serial_no": "1"})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"merchant_private_key": KEY},
            r"fill in merchant_private_key_uri, or the key itself \(merchant_private_key\), no",
        ),
        ({"merchant_private_key_file": "K"}, r"or the key itself \(merchant_private_key_file\), not both"),
        ({"merchant_private_key_uri": "***"}, r"merchant_private_key_uri is \*\*\*, what Airflow shows"),
        ({"merchant_private_key_uri": ""}, "no private key: .* or merchant_private_key_uri"),
    ],
)
def test_a_connection_has_one_key(
    simulator: Simulator, settings_of: SettingsOf, key_file: Path, changes: Mapping[str, str], told: str
) -> None:
    connection = simulator.airflow_connection()
    extra = {
        **connection["extra"],
        "merchant_private_key": "",
        "merchant_private_key_uri": f"slow:{key_file}",
        **changes,
    }
    extra = {name: str(key_file) if value == "K" else value for name, value in extra.items()}
    with pytest.raises(InvalidCredentials, match=told):
        read_settings(connection["login"], connection["password"], connection["host"], extra)


def test_a_slow_signature_is_no_timeout_of_wechat_pay(
    simulator: Simulator, settings_of: SettingsOf, new_client: NewClient
) -> None:
    settings = settings_of(simulator, "seconds=1.2", read_timeout=0.6, connect_timeout=0.6)
    file = agreement_file(new_client(simulator), 0)
    before = simulator.report()["requests"].get("upload", 0)
    asyncio.run(acreate_task(AsyncClient(settings, max_attempts=1), PACKAGE, *file))
    asyncio.run(acreate_task(Client(settings, max_attempts=1), PACKAGE, file[0], file[1], f"b{file[2]}", file[3]))
    assert simulator.report()["requests"]["upload"] == before + 2


def test_a_signature_that_fails_is_no_unknown_outcome(
    simulator: Simulator, settings_of: SettingsOf, new_client: NewClient
) -> None:
    file = agreement_file(new_client(simulator), 0)
    before = dict(simulator.report()["requests"])
    client = Client(settings_of(simulator, "raises=SECRET"))
    for flow in (
        lambda: asyncio.run(acreate_task(client, PACKAGE, *file)),
        lambda: asyncio.run(acreate_task(AsyncClient(client.settings), PACKAGE, *file)),
        lambda: client.request("GET", "/v3/certificates"),
    ):
        with pytest.raises(TryLater, match="the merchant's key cannot sign: ValueError. Run it again later") as raised:
            flow()
        assert not isinstance(raised.value, OutcomeUnknown)
        assert "SECRET" not in str(raised.value)
    assert simulator.report()["requests"] == before
    client.close()


def test_the_loop_goes_on_while_a_signer_signs(simulator: Simulator, settings_of: SettingsOf, tmp_path: Path) -> None:
    """The signer waits until the loop has done something."""
    go = tmp_path / "go"

    async def flow() -> int:
        client = AsyncClient(settings_of(simulator, f"until={go}"))
        call = asyncio.create_task(alist_tasks_page(client, PACKAGE))
        await auntil(lambda: Path(f"{go}.begun").exists())
        go.touch()
        return (await call).total_count

    assert asyncio.run(flow()) == 0


def test_slow_signers_hold_no_socket_that_others_need(
    simulator: Simulator, settings_of: SettingsOf, tmp_path: Path
) -> None:
    go = tmp_path / "go"

    async def flow() -> None:
        slow = AsyncClient(settings_of(simulator, f"until={go}"))
        calls = [asyncio.create_task(alist_tasks_page(slow, PACKAGE)) for _ in range(MAX_SOCKETS_A_HOST + 1)]
        await auntil(lambda: Path(f"{go}.begun").exists())
        assert (await alist_tasks_page(AsyncClient(connections.settings_of(simulator)), PACKAGE)).total_count == 0
        assert not any(call.done() for call in calls)
        go.touch()
        await asyncio.gather(*calls)

    asyncio.run(flow())


def test_a_call_that_waited_for_room_is_signed_anew(new_simulator: NewSimulator, clock: Clock) -> None:
    simulator = new_simulator(clock=clock)

    class Crowded(InLoop):
        """A loop in which there is no room for six minutes."""

        @asynccontextmanager
        async def line(self, base_url: str) -> AsyncIterator[None]:
            clock.now += 360
            async with super().line(base_url):
                yield

    async def flow() -> int:
        settings = connections.settings_of(simulator)
        exchange = Exchange(settings, Crowded(settings), clock=clock, max_attempts=1)
        return (await exchange.asend(Call("GET", tasks_path(PACKAGE)))).status

    assert asyncio.run(flow()) == 200
