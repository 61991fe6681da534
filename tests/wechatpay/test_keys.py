# SPDX-License-Identifier: Apache-2.0
"""Platform keys in all three modes: downloaded, refreshed, rotated, migrated, never in a storm."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from airflow_provider_wxbank.packages.endpoints import create_task, find_task, list_tasks_page
from airflow_provider_wxbank.simulator import Fault, Simulator
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.crypto.refreshing import DOWNLOAD_PAUSE, REFRESH_AFTER
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidCredentials,
    TryLater,
    Unauthorized,
    UnknownSerial,
    UnsignedRefusal,
    UnverifiedAnswer,
)
from tests.conftest import PACKAGE, NewClient, NewSimulator
from tests.harness.clock import Clock
from tests.harness.drivers import BOTH_DRIVERS
from tests.harness.files import agreement_file
from tests.harness.waiting import until
from tests.wechatpay.conftest import downloads

pytestmark = BOTH_DRIVERS


@pytest.fixture
def client(certified: Simulator, new_client: NewClient, clock: Clock) -> Client:
    return new_client(certified, clock=clock)


def test_certificates_are_downloaded_once_and_again_within_twelve_hours(
    certified: Simulator, client: Client, clock: Clock
) -> None:
    for _ in range(10):
        client.encryption_key()
        list_tasks_page(client, PACKAGE)
    assert downloads(certified) == 1
    clock.now += REFRESH_AFTER + 1
    assert REFRESH_AFTER < 12 * 3600
    client.encryption_key()
    assert downloads(certified) == 2


def test_many_threads_download_once(certified: Simulator, client: Client) -> None:
    serials: list[str] = []
    threads = [threading.Thread(target=lambda: serials.append(client.encryption_key().serial_no)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(serials) == 16
    assert len(set(serials)) == 1
    assert downloads(certified) == 1


@pytest.mark.slow
def test_a_slow_refresh_holds_nobody_up(certified: Simulator, client: Client, clock: Clock) -> None:
    """While one thread downloads, the others go on with the list at hand."""
    serial = client.encryption_key().serial_no
    certified.add_fault(Fault("hang", on="certificates", times=1, seconds=3.0))
    clock.now += REFRESH_AFTER + 1
    refreshing = threading.Thread(target=client.encryption_key)
    refreshing.start()
    until(lambda: downloads(certified) == 2)
    assert client.encryption_key().serial_no == serial
    assert refreshing.is_alive()
    refreshing.join()


def test_after_a_rotation_the_newest_certificate_encrypts_and_the_old_declaration_still_counts(
    certified: Simulator, client: Client, clock: Clock
) -> None:
    before = agreement_file(client, 0)
    new_serial = certified.rotate_certificate()
    clock.now += REFRESH_AFTER + 1
    after = agreement_file(client, 1)
    assert before[3] != after[3] == new_serial
    for file in (before, after):
        create_task(client, PACKAGE, *file)
    assert certified.report()["packages"][PACKAGE]["undecryptable"] == 0


def test_an_answer_by_a_certificate_that_is_new_is_verified_after_one_download(
    certified: Simulator, client: Client, clock: Clock
) -> None:
    client.encryption_key()
    certified.rotate_certificate()
    clock.now += DOWNLOAD_PAUSE + 1
    list_tasks_page(client, PACKAGE)
    assert downloads(certified) == 2


def test_unknown_serials_do_not_cause_a_storm(certified: Simulator, client: Client, clock: Clock) -> None:
    client.encryption_key()
    clock.now += DOWNLOAD_PAUSE + 1
    certified.add_fault(Fault("unknown-serial", on="list"))
    for _ in range(5):
        with pytest.raises(UnknownSerial, match="not in WeChat Pay's list"):
            list_tasks_page(client, PACKAGE)
    assert downloads(certified) == 2


@pytest.mark.parametrize(
    "kind", ["internal-error", "drop", "lying-certificates", "tampered", "stale", "unsigned", "json-bomb"]
)
def test_a_refresh_that_fails_keeps_the_list_at_hand(
    certified: Simulator, client: Client, clock: Clock, kind: str
) -> None:
    serial = client.encryption_key().serial_no
    certified.add_fault(Fault(kind, on="certificates"))
    clock.now += REFRESH_AFTER + 1
    assert client.encryption_key().serial_no == serial
    assert list_tasks_page(client, PACKAGE).total_count == 0
    certified.clear_faults()
    new_serial = certified.rotate_certificate()
    clock.now += DOWNLOAD_PAUSE + 1
    assert client.encryption_key().serial_no == new_serial


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("internal-error", TryLater),
        ("lying-certificates", UnverifiedAnswer),
        ("expired-certificate", UnverifiedAnswer),
        ("tampered", UnverifiedAnswer),
        ("stale", UnverifiedAnswer),
        ("signtest", UnverifiedAnswer),
        ("json-bomb", UnverifiedAnswer),
        ("wrong-apiv3-key", UnverifiedAnswer),
        ("gateway-403", UnsignedRefusal),
        ("unsigned-sign-error", Unauthorized),
        ("replay", UnverifiedAnswer),
    ],
)
def test_a_first_download_that_fails_is_told_and_tried_again_after_a_pause(
    certified: Simulator, client: Client, clock: Clock, kind: str, error: type[Exception]
) -> None:
    certified.add_fault(Fault(kind, on="certificates"))
    with pytest.raises(error):
        client.encryption_key()
    asked = downloads(certified)
    with pytest.raises(error):
        client.encryption_key()
    assert downloads(certified) == asked
    certified.clear_faults()
    clock.now += DOWNLOAD_PAUSE + 1
    client.encryption_key()


def test_a_clock_that_ran_ahead_is_forgotten_once_it_is_set_right(
    certified: Simulator, new_client: NewClient, clock: Clock
) -> None:
    ahead = 86_400.0
    client = new_client(certified, clock=lambda: clock() + ahead)
    with pytest.raises(InvalidCredentials, match="clock differs by"):
        client.encryption_key()
    ahead = 0.0
    client.encryption_key()


def test_an_upload_whose_answer_cannot_be_verified_for_want_of_keys_is_of_unknown_outcome(
    certified: Simulator, new_client: NewClient, client: Client, clock: Clock
) -> None:
    from airflow_provider_wxbank.wechatpay.errors import OutcomeUnknown

    file = agreement_file(client, 0)
    other = new_client(certified, clock=clock)
    certified.add_fault(Fault("internal-error", on="certificates"))
    with pytest.raises(OutcomeUnknown, match="cannot be verified"):
        create_task(other, PACKAGE, *file)
    assert find_task(client, PACKAGE, file[2]) is not None


def test_an_expired_certificate_neither_encrypts_nor_verifies(
    certified: Simulator, client: Client, clock: Clock
) -> None:
    client.encryption_key()
    certified.add_fault(Fault("drop", on="certificates"))
    clock.now += 1801 * 86400
    with pytest.raises(TryLater):
        client.encryption_key()
    with pytest.raises(UnverifiedAnswer):
        list_tasks_page(client, PACKAGE)


def test_a_certificate_that_is_not_in_force_yet_does_not_encrypt(
    certified: Simulator, client: Client, clock: Clock
) -> None:
    clock.now -= 31 * 86400
    with pytest.raises(InvalidCredentials, match="no platform certificate that is in force"):
        client.encryption_key()


def test_migration_begun_finished_and_taken_back(new_simulator: NewSimulator, new_client: NewClient) -> None:
    """One connection with both keys works through all of it."""
    simulator = new_simulator(key_mode="both")
    client = new_client(simulator)
    stages: list[Any] = ["both", "public-key", "both", "certificates", "both"]
    serials = []
    for index, mode in enumerate(stages):
        simulator.set_key_mode(mode)
        if mode != "certificates":
            task = create_task(client, PACKAGE, *agreement_file(client, index))
            serials.append(agreement_file(client, index)[3])
            assert task.package_id == PACKAGE
        assert list_tasks_page(client, PACKAGE).total_count == len(serials)
    assert {serial[:11] for serial in serials} == {"PUB_KEY_ID_"}
    # Certificates are needed only once an answer is signed by one.
    assert downloads(simulator) == 1


def test_a_connection_without_certificates_says_so_when_an_answer_is_signed_by_one(
    new_simulator: NewSimulator, new_client: NewClient
) -> None:
    simulator = new_simulator(key_mode="public-key")
    client = new_client(simulator)
    simulator.set_key_mode("certificates")
    with pytest.raises(UnknownSerial, match=r"at hand: PUB_KEY_ID_\d+; to accept certificates too"):
        list_tasks_page(client, PACKAGE)
    client.refresh_keys()
    assert downloads(simulator) == 0
