# SPDX-License-Identifier: Apache-2.0
"""Exports, uploads and waits of a merchant whose key is on a token of SoftHSM."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import quote

import pytest
from airflow.providers.common.compat.sdk import redact

pytest.importorskip("pkcs11", reason="python-pkcs11, the extra pkcs11, is not installed here")

from airflow_provider_wxbank.get_provider_info import get_provider_info
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.packages.tasks import UploadTask
from airflow_provider_wxbank.simulator import Simulator, numbers_digest
from airflow_provider_wxbank.triggers import TaskFinishedTrigger
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials, OutcomeUnknown, TryLater
from tests.airflow.conftest import context
from tests.conftest import PACKAGE, numbers
from tests.harness.softhsm import PIN, SO_PIN, Hsm, in_hsm, needs_softhsm, uri
from tests.harness.waiting import auntil, until
from tests.vectors import VECTORS

pytestmark = needs_softhsm

Connect = Callable[..., None]
URI = uri("merchants", "merchant-2026")


@pytest.fixture
def merchants(hsm: Hsm) -> Hsm:
    """A token with the merchant's key."""
    from tests.stress.fuzz_targets import private_key

    hsm.add_token("merchants")
    hsm.import_key(private_key("merchant_private_pkcs8"), "merchants", "merchant-2026")
    return hsm


@pytest.fixture
def connected(simulator: Simulator, connect: Connect, merchants: Hsm) -> Simulator:
    """The connection has no key, but says where it is."""
    extra = in_hsm(simulator.airflow_connection(), URI)["extra"]
    assert "PRIVATE" not in json.dumps(extra)
    connect(simulator, extra=extra)
    return simulator


def exported(tmp_path: Path, rows: int, folder: str = "out") -> str:
    (tmp_path / "users.txt").write_text("\n".join(numbers(rows)))
    export = ExportUsersOperator(
        task_id="export",
        source=str(tmp_path / "users.txt"),
        bank_type="ICBC_DEBIT",
        output_path=str(tmp_path / folder),
        max_rows_per_file=5,
    )
    manifest: str = export.execute(context())
    return manifest


def upload(manifest: str) -> dict[str, Any]:
    task = UploadTaskOperator(task_id="upload", package_id=PACKAGE, manifest=manifest, max_workers=8)
    result: dict[str, Any] = task.execute(context())
    return result


def assert_every_number_once(simulator: Simulator, rows: int) -> None:
    package = simulator.report()["packages"][PACKAGE]
    assert package["numbers_digest"] == numbers_digest(numbers(rows))
    assert package["lines"] == package["distinct_numbers"] == rows
    assert package["repeated_numbers"] == 0


def test_eight_threads_upload_with_a_key_that_never_leaves_its_token(
    connected: Simulator, connect: Connect, tmp_path: Path, logged: Callable[[], str]
) -> None:
    result = upload(exported(tmp_path, 200))
    assert len(result["tasks"]) == 40
    assert_every_number_once(connected, 200)
    # With the key in the connection, as before it was moved, the names are the same: nothing is uploaded again.
    connect(connected)
    assert {one["filename"] for one in result["tasks"]} == {Path(one).name for one in listed(connected)}
    again = upload(exported(tmp_path, 200, "again"))
    assert again["tasks"] == [{**task, "adopted": True} for task in result["tasks"]]
    assert_every_number_once(connected, 200)
    assert connected.report()["requests"]["upload"] == 40
    said = logged() + json.dumps(result)
    assert PIN not in said
    assert SO_PIN not in said


def listed(simulator: Simulator) -> list[str]:
    return [task["filename"] for task in simulator.report()["packages"][PACKAGE]["tasks"]]


def test_a_token_that_is_pulled_in_the_middle_leaves_the_rest_to_a_retry(
    connected: Simulator, merchants: Hsm, tmp_path: Path, logged: Callable[[], str]
) -> None:
    rows = 1500
    manifest = exported(tmp_path, rows)

    def taken() -> int:
        return int(connected.report()["requests"].get("upload", 0))

    ended = Event()

    def pull() -> None:
        until(lambda: taken() >= 3 or ended.is_set())
        with merchants.pulled():
            ended.wait()

    with ThreadPoolExecutor(1) as pool:
        pulling = pool.submit(pull)
        try:
            with pytest.raises(TryLater, match="the token with token=merchants") as raised:
                upload(manifest)
        finally:
            ended.set()
        pulling.result()
    assert not isinstance(raised.value, OutcomeUnknown)
    # SoftHSM says either, as it is pulled before a session or within one.
    assert re.search("put it back|is it plugged in", str(raised.value))
    assert 3 <= taken() < rows // 5
    # The token is back: the retry uploads what is missing, and nothing else.
    assert len(upload(manifest)["tasks"]) == rows // 5
    assert_every_number_once(connected, rows)
    assert taken() == rows // 5
    assert PIN not in logged() + str(raised.value)


def test_a_wrong_pin_fails_before_anything_is_sent(
    simulator: Simulator, connect: Connect, merchants: Hsm, tmp_path: Path, logged: Callable[[], str]
) -> None:
    connect(simulator, extra=in_hsm(simulator.airflow_connection(), URI, "Wrong-314159-pin")["extra"])
    said = []
    for _ in range(3):
        with pytest.raises(InvalidCredentials, match="does not take the PIN of the connection") as raised:
            exported(tmp_path, 10)
        said.append(f"{raised.value} {getattr(raised.value, '__notes__', '')}")
    assert "PinIncorrect" in said[0]
    assert all("does not try it again" in text for text in said[1:])
    works, message = WxBankHook().test_connection()
    assert not works
    assert "does not take the PIN" in message
    assert sum(simulator.report()["requests"].values()) == 0
    assert "Wrong-314159-pin" not in "".join([*said, message, logged()])


def test_a_token_that_is_out_is_told_by_the_connection_test(connected: Simulator, merchants: Hsm) -> None:
    with merchants.pulled():
        works, message = WxBankHook().test_connection()
    assert not works
    assert message.startswith("the token with token=merchants is not there: put it back")
    assert WxBankHook().test_connection()[0]


def test_the_connection_test_names_token_and_key(connected: Simulator, merchants: Hsm) -> None:
    steps = {step.name: step for step in WxBankHook().examine()}
    works, told = WxBankHook().test_connection()
    assert works
    assert told.startswith(f"Private key: {steps['private key'].message}. Mode: ")
    assert {step.outcome for step in steps.values()} == {"ok"}
    serial = connected.airflow_connection()["extra"]["merchant_serial_no"].upper()
    assert steps["private key"].message == (
        f"RSA, 2048 bits, key merchant-2026 (id 0a1b) on token merchants (SoftHSM project, SoftHSM v2, serial "
        f"{merchants.serial('merchants')}), to sign as API certificate {serial}"
    )
    assert PIN not in "".join(step.message for step in steps.values())


def test_a_trigger_waits_with_a_key_on_a_token(connected: Simulator, tmp_path: Path) -> None:
    result = upload(exported(tmp_path, 10))

    async def wait() -> dict[str, Any]:
        trigger = TaskFinishedTrigger(
            PACKAGE, task_ids=[task["task_id"] for task in result["tasks"]], poll_interval=0.1
        )
        payload: dict[str, Any] = (await anext(trigger.run())).payload
        return payload

    assert asyncio.run(wait())["status"] == "finished"


@pytest.mark.usefixtures("slow_signers")
def test_a_slow_signer_does_not_hold_up_the_loop_of_a_triggerer(
    simulator: Simulator, connect: Connect, tmp_path: Path
) -> None:
    """The signer waits until the loop has done something else."""
    key, go = tmp_path / "key.pem", tmp_path / "go"
    key.write_text(VECTORS["keys"]["merchant_private_pkcs8"])
    connect(simulator, extra=in_hsm(simulator.airflow_connection(), f"slow:{key}?until={go}")["extra"])

    async def wait() -> list[UploadTask]:
        listing = asyncio.create_task(WxBankHook().alist_tasks(PACKAGE))
        await auntil(lambda: Path(f"{go}.begun").exists())
        go.touch()
        return await listing

    assert asyncio.run(wait()) == []


@pytest.mark.parametrize("place", ["merchant_private_key_pin", "pin-value"])
def test_a_pin_is_masked_wherever_it_is(simulator: Simulator, connect: Connect, merchants: Hsm, place: str) -> None:
    text = URI if place == "merchant_private_key_pin" else uri("merchants", "merchant-2026", PIN)
    pin = PIN if place == "merchant_private_key_pin" else ""
    extra = in_hsm(simulator.airflow_connection(), text, pin)["extra"]
    connect(simulator, extra=extra)
    assert WxBankHook().test_connection()[0]
    for form in (PIN, quote(PIN), quote(PIN, safe=""), json.dumps(PIN)):
        assert form.strip('"') not in str(redact(f"x {form} y"))
    # Airflow hides both fields by their names.
    shown: Any = redact(dict(extra))
    assert shown["merchant_private_key_uri"] == "***"
    assert shown["merchant_private_key_pin"] in ("***", "")


def test_a_secret_is_masked_as_it_is_used_too(simulator: Simulator, connect: Connect) -> None:
    """As pasted, with a newline behind it; it is used without."""
    one = simulator.airflow_connection()
    pin, naming = "Tr4nsient-pin-99", "a naming secret of 37 characters here"
    extra = {**one["extra"], "merchant_private_key_pin": f" {pin}\n", "naming_secret": f"\ufeff{naming}\n"}
    connect(simulator, password=f"{one['password']}\n", extra=extra)
    assert WxBankHook().test_connection()[0]
    for secret in (pin, naming, one["password"]):
        assert secret not in str(redact(f"x {secret} y"))


def test_the_form_has_a_field_of_a_password_for_the_pin() -> None:
    (connection,) = get_provider_info()["connection-types"]
    assert connection["conn-fields"]["merchant_private_key_pin"]["schema"]["format"] == "password"
    assert connection["conn-fields"]["merchant_private_key_uri"]["schema"] == {
        "type": ["string", "null"],
        "default": None,
    }
