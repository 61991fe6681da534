# SPDX-License-Identifier: Apache-2.0
"""A merchant with an SM2 key, in all modes, through rotations and faults, and against OpenSSL."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_wxbank.packages.connection_check import in_one_message, walk
from airflow_provider_wxbank.packages.endpoints import create_task, find_task, list_tasks_page
from airflow_provider_wxbank.simulator import Fault, Simulator, numbers_digest
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.crypto.pem import load_private_key, load_public_key
from airflow_provider_wxbank.wechatpay.crypto.refreshing import REFRESH_AFTER
from airflow_provider_wxbank.wechatpay.errors import (
    OutcomeUnknown,
    Unauthorized,
    UnverifiedAnswer,
    WrongSignature,
    WxBankError,
)
from airflow_provider_wxbank.wechatpay.kept import kept_list
from tests.conftest import PACKAGE, NewClient, NewSimulator, numbers
from tests.harness.clock import Clock
from tests.harness.drivers import BOTH_DRIVERS
from tests.harness.files import agreement_file
from tests.harness.openssl import needs_openssl, sm2_decrypt, sm2_encrypt, sm2_sign, sm2_verifies
from tests.vectors import SHANGMI, VECTORS
from tests.wechatpay.conftest import downloads

MODES = ("certificates", "public-key", "both")


@pytest.fixture
def simulator(new_simulator: NewSimulator) -> Simulator:
    return new_simulator(suite="sm2")


@BOTH_DRIVERS
@pytest.mark.parametrize("mode", MODES)
def test_files_are_taken_in_every_mode(new_simulator: NewSimulator, new_client: NewClient, mode: str) -> None:
    simulator = new_simulator(suite="sm2", key_mode=mode)
    client = new_client(simulator)
    for index in range(2):
        create_task(client, PACKAGE, *agreement_file(client, index))
    assert list_tasks_page(client, PACKAGE).total_count == 2
    found = find_task(client, PACKAGE, "file_00001.csv")
    assert found is not None
    assert (found.status, found.success_count) == ("FINISHED", 2)
    package = simulator.report()["packages"][PACKAGE]
    assert package["numbers_digest"] == numbers_digest([*numbers(2), *numbers(2, 10_000)])


def test_after_a_rotation_the_newest_certificate_encrypts_and_the_old_declaration_still_counts(
    new_simulator: NewSimulator, new_client: NewClient, clock: Clock
) -> None:
    simulator = new_simulator(suite="sm2", clock=clock)
    client = new_client(simulator, clock=clock)
    before = agreement_file(client, 0)
    new_serial = simulator.rotate_certificate()
    clock.now += REFRESH_AFTER + 1
    after = agreement_file(client, 1)
    assert before[3] != after[3] == new_serial
    for file in (before, after):
        create_task(client, PACKAGE, *file)
    assert downloads(simulator) == 2
    assert simulator.report()["packages"][PACKAGE]["undecryptable"] == 0


def test_migration_begun_finished_and_taken_back(new_simulator: NewSimulator, new_client: NewClient) -> None:
    simulator = new_simulator(suite="sm2", key_mode="both")
    client = new_client(simulator)
    modes: list[Any] = ["both", "public-key", "certificates", "both"]
    for mode in modes:
        simulator.set_key_mode(mode)
        assert list_tasks_page(client, PACKAGE).total_count == 0
    assert downloads(simulator) == 1


@BOTH_DRIVERS
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("tampered", WrongSignature),
        ("signtest", WrongSignature),
        ("signtest-prefix", WrongSignature),
        ("stale", UnverifiedAnswer),
        ("unsigned", UnverifiedAnswer),
        ("unknown-serial", UnverifiedAnswer),
    ],
)
def test_an_answer_that_does_not_verify_is_not_believed(
    simulator: Simulator, new_client: NewClient, kind: str, error: type[Exception], capfd: pytest.CaptureFixture[str]
) -> None:
    client = new_client(simulator)
    file = agreement_file(client, 0)
    simulator.add_fault(Fault(kind, on="list"))
    with pytest.raises(error):
        list_tasks_page(client, PACKAGE)
    simulator.add_fault(Fault(kind, on="upload", times=1))
    with pytest.raises(OutcomeUnknown):
        create_task(client, PACKAGE, *file)
    simulator.clear_faults()
    assert find_task(client, PACKAGE, file[2]) is not None
    # The library would write past the logs.
    captured = capfd.readouterr()
    assert "GmSSL" not in captured.out + captured.err


@pytest.mark.parametrize("kind", ["expired-certificate", "lying-certificates", "wrong-apiv3-key", "unsigned", "stale"])
def test_a_list_of_certificates_that_does_not_verify_is_not_believed(
    simulator: Simulator, new_client: NewClient, kind: str
) -> None:
    simulator.add_fault(Fault(kind, on="certificates"))
    with pytest.raises(UnverifiedAnswer):
        new_client(simulator).encryption_key()


def test_the_list_is_kept_for_the_next_process(simulator: Simulator, new_client: NewClient) -> None:
    settings = new_client(simulator).settings
    for _ in range(2):
        client = Client(settings, kept=kept_list(settings))
        assert list_tasks_page(client, PACKAGE).total_count == 0
        client.close()
    assert downloads(simulator) == 1


@pytest.mark.parametrize("mode", MODES)
def test_the_connection_is_found_to_work(new_simulator: NewSimulator, mode: str) -> None:
    found = [*steps_of(new_simulator(suite="sm2", key_mode=mode))]
    assert {step.outcome for step in found} <= {"ok", "skipped"}, found
    assert found[0].message.startswith("SM2, 256 bits, to sign as API certificate ")


def test_keys_of_two_suites_are_told_by_the_connection_check(simulator: Simulator) -> None:
    of_rsa = {"merchant_private_key": VECTORS["keys"]["merchant_private_pkcs8"]}
    works, message = in_one_message(steps_of(simulator, **of_rsa))
    assert not works
    works, message = in_one_message(steps_of(simulator, naming_secret=""))
    assert (works, "needs naming_secret" in message) == (False, True)
    mixed = {
        "wechatpay_public_key": VECTORS["keys"]["wechatpay_public_key"],
        "wechatpay_public_key_id": "PUB_KEY_ID_01",
    }
    works, message = in_one_message(steps_of(simulator, **mixed))
    assert not works
    assert message.startswith("wechatpay_public_key is an RSA key, and the merchant's private key is an SM2 key")


def steps_of(simulator: Simulator, **extra: Any) -> Any:
    connection = simulator.airflow_connection()
    fields = {**connection["extra"], **extra}
    return list(walk(connection["login"], connection["password"], connection["host"], fields))


def test_a_wrong_private_key_is_told(simulator: Simulator, new_client: NewClient) -> None:
    client = new_client(simulator, {"merchant_private_key": SHANGMI["keys"]["platform_1_private"]})
    with pytest.raises(Unauthorized, match="merchant_private_key is not the key of merchant_serial_no"):
        list_tasks_page(client, PACKAGE)


def test_certificates_of_the_other_suite_are_not_asked_for(new_simulator: NewSimulator, new_client: NewClient) -> None:
    """An SM2 client at a host that knows RSA alone: refused, and told as that."""
    simulator = new_simulator(suite="sm2")
    rsa = new_simulator()
    client = new_client(rsa, {**simulator.airflow_connection()["extra"]})
    with pytest.raises(WxBankError):
        list_tasks_page(client, PACKAGE)


@needs_openssl
def test_openssl_agrees(tmp_path: Path) -> None:
    """Both ways: it verifies and decrypts what is made here, and what it makes is verified here."""
    keys = SHANGMI["keys"]
    private, public = keys["merchant_private"], keys["merchant_public"]
    key = load_private_key(private, "key")
    assert sm2_verifies(tmp_path, public, b"message", key.sign(b"message"))
    assert not sm2_verifies(tmp_path, public, b"another message", key.sign(b"message"))
    assert load_public_key(public, "key").verify(b"message", sm2_sign(tmp_path, private, b"message"))
    (line,) = load_public_key(public, "key").encrypt_lines(["1" * 214]).splitlines()
    assert sm2_decrypt(tmp_path, private, base64.b64decode(line)) == b"1" * 214
    assert sm2_decrypt(tmp_path, private, sm2_encrypt(tmp_path, public, b"1001")) == b"1001"
