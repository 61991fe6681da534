# SPDX-License-Identifier: Apache-2.0
"""The keys of the simulator: certificates, public key, migration, rotation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.harness.raw_client import (
    CERTIFICATES,
    Upload,
)
from tests.harness.simulators import DAY, NOON, NOT_DECRYPTED, Bank, NewBank, assert_refused, set_faults, start


def test_the_certificates_decrypt_and_are_in_force(bank: Bank) -> None:
    (item,) = bank.client.call("GET", CERTIFICATES).value["data"]
    certificate = bank.client.certificate(item)
    now = datetime.fromtimestamp(NOON, UTC)
    assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc
    assert datetime.fromisoformat(item["effective_time"]) == certificate.not_valid_before_utc
    assert datetime.fromisoformat(item["expire_time"]) == certificate.not_valid_after_utc
    assert item["serial_no"] == f"{certificate.serial_number:040X}"


@pytest.mark.parametrize(("leading_zero", "first"), [(False, "1234567"), (True, "0")])
def test_serials_begin_with_a_zero_only_if_asked_for(new_bank: NewBank, leading_zero: bool, first: str) -> None:
    bank = new_bank(leading_zero_serials=leading_zero, key_mode="both")
    serials = [key.serial_no for key in bank.client.certificates()]
    serials += [bank.simulator.rotate_certificate() for _ in range(40)]
    assert all(re.fullmatch("[0-9A-F]{40}", serial_no) for serial_no in serials)
    assert {serial_no[0] for serial_no in serials} <= set(first)
    assert bank.client.signer.serial_no[0] in "1234567"
    # These see that the serial in each certificate is the one beside it.
    assert [key.serial_no for key in bank.client.certificates()] == serials


def test_the_certificates_are_signed_by_one_of_them(bank: Bank) -> None:
    answer = bank.client.call("GET", CERTIFICATES)
    assert answer.headers["Wechatpay-Serial"] == bank.key.serial_no
    bank.key.verify(answer)


def test_answers_carry_the_time_and_type_of_their_signature(bank: Bank, package: str) -> None:
    headers = bank.client.tasks(package).headers
    assert headers["Wechatpay-Timestamp"] == str(int(NOON))
    assert headers["Wechatpay-Signature-Type"] == "WECHATPAY2-SHA256-RSA2048"


@pytest.mark.parametrize("requested", [None, "0" * 40, "PUB_KEY_ID_0119000000012026010100000000000001"])
def test_a_certificate_signs_in_certificate_mode(bank: Bank, package: str, requested: str | None) -> None:
    answer = bank.client.tasks(package, serial_no=requested)
    assert answer.headers["Wechatpay-Serial"] == bank.key.serial_no
    bank.key.verify(answer)


@pytest.fixture(scope="module")
def public_key_bank() -> Iterator[Bank]:
    """A simulator for a merchant that has the public key only."""
    with ExitStack() as stack:
        yield start(stack, key_mode="public-key")


@pytest.fixture(scope="module")
def migrating_bank() -> Iterator[Bank]:
    """A simulator for a merchant that has both a certificate and the public key."""
    with ExitStack() as stack:
        yield start(stack, key_mode="both")


@pytest.mark.parametrize("requested", [None, "0" * 40])
def test_the_public_key_signs_in_public_key_mode(public_key_bank: Bank, package: str, requested: str | None) -> None:
    answer = public_key_bank.client.tasks(package, serial_no=requested)
    assert answer.headers["Wechatpay-Serial"] == public_key_bank.key.serial_no
    public_key_bank.key.verify(answer)


def test_a_public_key_merchant_gets_no_certificates(public_key_bank: Bank) -> None:
    answer = public_key_bank.client.call("GET", CERTIFICATES)
    assert (answer.status, answer.value["code"]) == (404, "RESOURCE_NOT_EXISTS")
    assert "无可用的平台证书" in answer.value["message"]
    public_key_bank.key.verify(answer)


def test_a_public_key_merchant_has_no_apiv3_key(public_key_bank: Bank) -> None:
    assert public_key_bank.simulator.airflow_connection()["password"] == ""


@pytest.mark.parametrize("fixture", ["public_key_bank", "migrating_bank"])
def test_lines_can_be_encrypted_with_the_public_key(request: pytest.FixtureRequest, package: str, fixture: str) -> None:
    bank: Bank = request.getfixturevalue(fixture)
    bank.put(package)
    (task,) = bank.client.report()["packages"][package]["tasks"]
    assert task["serial_no"] == bank.key.serial_no


def test_while_migrating_lines_can_be_encrypted_with_the_certificate(migrating_bank: Bank, package: str) -> None:
    (certificate,) = migrating_bank.client.certificates()
    upload = Upload(certificate.encrypt("1001"), "file-0001.csv", certificate.serial_no)
    assert migrating_bank.client.upload(package, upload).status == 200


def test_while_migrating_a_line_must_fit_the_key_that_is_declared(migrating_bank: Bank, package: str) -> None:
    (certificate,) = migrating_bank.client.certificates()
    upload = replace(migrating_bank.file(), serial_no=certificate.serial_no)
    assert_refused(
        migrating_bank, lambda: migrating_bank.client.upload(package, upload), 400, "PARAM_ERROR", NOT_DECRYPTED
    )


def test_while_migrating_the_key_that_is_asked_for_signs(migrating_bank: Bank, package: str) -> None:
    (certificate,) = migrating_bank.client.certificates()
    for key in (migrating_bank.key, certificate):
        answer = migrating_bank.client.tasks(package, serial_no=key.serial_no)
        assert answer.headers["Wechatpay-Serial"] == key.serial_no
        key.verify(answer)


@pytest.mark.parametrize("requested", [None, "0" * 40])
def test_while_migrating_the_certificate_signs_unless_asked(
    migrating_bank: Bank, package: str, requested: str | None
) -> None:
    (certificate,) = migrating_bank.client.certificates()
    certificate.verify(migrating_bank.client.tasks(package, serial_no=requested))


@pytest.mark.parametrize("kind", ["too-many-requests", "internal-error"])
def test_while_migrating_the_key_that_is_asked_for_signs_errors_too(
    migrating_bank: Bank, package: str, kind: str
) -> None:
    set_faults(migrating_bank, {"kind": kind, "times": 1})
    answer = migrating_bank.client.tasks(package, serial_no=migrating_bank.key.serial_no)
    assert answer.status >= 400
    migrating_bank.key.verify(answer)


def test_the_key_mode_can_change_while_running(new_bank: NewBank) -> None:
    bank = new_bank(key_mode="both")
    bank.simulator.set_key_mode("public-key")
    assert bank.client.call("GET", CERTIFICATES).status == 404
    bank.simulator.set_key_mode("certificates")
    assert bank.client.call("GET", CERTIFICATES).status == 200


def test_a_rotation_with_overlap_keeps_the_old_certificate(new_bank: NewBank) -> None:
    bank = new_bank()
    serial_no = bank.simulator.rotate_certificate()
    assert [key.serial_no for key in bank.client.certificates()] == [bank.key.serial_no, serial_no]
    bank.put("8473295")
    bank.key.verify(bank.client.tasks("8473295", serial_no=bank.key.serial_no))


def test_after_a_rotation_the_new_certificate_signs_and_encrypts(new_bank: NewBank) -> None:
    bank = new_bank()
    serial_no = bank.simulator.rotate_certificate()
    new = bank.client.certificates()[-1]
    answer = bank.client.upload("8473295", Upload(new.encrypt("1001"), "file-0001.csv", serial_no))
    assert (answer.status, answer.headers["Wechatpay-Serial"]) == (200, serial_no)
    new.verify(answer)
    new.verify(bank.client.tasks("8473295"))


def test_a_rotated_certificate_is_the_newest_by_its_effective_time(new_bank: NewBank) -> None:
    bank = new_bank()
    serials = [bank.simulator.rotate_certificate() for _ in range(2)]
    listed = bank.client.call("GET", CERTIFICATES).value["data"]
    assert [item["serial_no"] for item in listed] == [bank.key.serial_no, *serials]
    times = [datetime.fromisoformat(item["effective_time"]) for item in listed]
    assert times[0] < times[1] < times[2]


def test_a_rotation_without_overlap_drops_the_old_certificate(new_bank: NewBank) -> None:
    bank = new_bank()
    serial_no = bank.simulator.rotate_certificate(overlap=False)
    assert [key.serial_no for key in bank.client.certificates()] == [serial_no]
    assert_refused(bank, lambda: bank.client.upload("8473295", bank.file()), 400, "PARAM_ERROR", "Wechatpay-Serial错误")


def test_an_expired_certificate_encrypts_no_more(new_bank: NewBank) -> None:
    bank = new_bank()
    bank.clock.now += 1801 * DAY
    assert_refused(bank, lambda: bank.client.upload("8473295", bank.file()), 400, "PARAM_ERROR", "Wechatpay-Serial错误")


def test_a_rotation_can_be_asked_for_over_http(new_bank: NewBank) -> None:
    bank = new_bank()
    serial_no = bank.client.send("POST", "/simulator/rotate").value["serial_no"]
    assert [key.serial_no for key in bank.client.certificates()] == [bank.key.serial_no, serial_no]


def test_an_unknown_simulator_path_is_answered_with_those_there_are(bank: Bank) -> None:
    answer = bank.client.send("GET", "/simulator/")
    assert answer.status == 404
    assert "/simulator/report" in answer.value["error"]
