# SPDX-License-Identifier: Apache-2.0
"""Nobody goes back to a withdrawn certificate: what one process has seen, all of its user and machine know.

Whoever makes these lists has the private key of a certificate that was withdrawn, and the APIv3 key.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from airflow_provider_wxbank.packages.connection_check import in_one_message, walk
from airflow_provider_wxbank.packages.endpoints import alist_tasks
from airflow_provider_wxbank.packages.shared import shared_by
from airflow_provider_wxbank.simulator import Simulator
from airflow_provider_wxbank.simulator.platform import Platform, SigningKey
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import SEEN_FOR
from airflow_provider_wxbank.wechatpay.crypto.refreshing import DOWNLOAD_PAUSE, REFRESH_AFTER
from airflow_provider_wxbank.wechatpay.crypto.verification import Nonces
from airflow_provider_wxbank.wechatpay.errors import UnverifiedAnswer
from airflow_provider_wxbank.wechatpay.kept import kept_list
from airflow_provider_wxbank.wechatpay.loop import AsyncClient
from airflow_provider_wxbank.wechatpay.settings import Settings
from tests.conftest import PACKAGE
from tests.harness.clock import Clock
from tests.harness.connections import settings_of

NewProcess = Callable[[], Client]
DAY = 86_400
WITHDRAWN = "WeChat Pay has withdrawn this certificate"


@pytest.fixture
def settings(certified: Simulator) -> Settings:
    return settings_of(certified)


@pytest.fixture
def new_process(settings: Settings, clock: Clock) -> NewProcess:
    """A process of its own on a machine, with what is kept there, and no nonce."""
    return lambda: Client(settings, clock=clock, sleep=lambda _: None, kept=kept_list(settings), believed=Nonces())


@pytest.fixture
def platform(certified: Simulator) -> Platform:
    return certified.platform


def certificate(platform: Platform, age: float) -> SigningKey:
    """Of this age in seconds; below 0, one that comes into force later."""
    now = platform.clock()
    return platform.root.new_certificate(now - age, now + 1800 * DAY)


def seen(new_process: NewProcess, clock: Clock, platform: Platform, *certificates: SigningKey) -> str:
    """A list of these certificates, signed by the last, is seen by a process; an hour passes."""
    platform.certificates = list(certificates)
    serial = new_process().encryption_key().serial_no
    clock.now += 3600
    return serial


def test_a_list_cannot_say_that_a_certificate_is_newer_than_it_is(
    new_process: NewProcess, platform: Platform, clock: Clock
) -> None:
    """The times in a list are not sealed."""
    old, new = certificate(platform, 30 * DAY), certificate(platform, DAY)
    long_running = new_process()
    assert seen(lambda: long_running, clock, platform, new) == new.serial_no
    platform.certificates = [replace(old, effective=clock.now - 60)]
    for process in (long_running, new_process()):
        with pytest.raises(UnverifiedAnswer, match=WITHDRAWN):
            process.refresh_keys()


@pytest.mark.parametrize("runs_on", [True, False])
def test_a_certificate_that_was_seen_and_is_gone_stays_gone(
    new_process: NewProcess, platform: Platform, clock: Clock, runs_on: bool
) -> None:
    """However new it is: a key may be lost on its first day."""
    old, new = certificate(platform, 30 * DAY), certificate(platform, DAY)
    one = new_process()
    process: NewProcess = (lambda: one) if runs_on else new_process
    assert seen(process, clock, platform, old, new) == new.serial_no
    clock.now += REFRESH_AFTER
    assert seen(process, clock, platform, old) == old.serial_no
    for _ in range(3):
        platform.certificates = [old, new]
        with pytest.raises(UnverifiedAnswer, match=WITHDRAWN):
            process().refresh_keys()
        clock.now += 20 * DAY
        # It is remembered as long as anything is seen.
        assert seen(process, clock, platform, old) == old.serial_no


def test_what_was_seen_outlives_the_certificate_that_signed_it(
    new_process: NewProcess, platform: Platform, clock: Clock
) -> None:
    new = certificate(platform, DAY)
    old = platform.root.new_certificate(clock.now - 30 * DAY, clock.now + 2 * DAY)
    seen(new_process, clock, platform, old, new)
    seen(new_process, clock, platform, old)
    clock.now += 2 * DAY
    platform.certificates = [new]
    with pytest.raises(UnverifiedAnswer, match=WITHDRAWN):
        new_process().encryption_key()


def test_one_that_another_certificate_vouches_for_is_back(
    new_process: NewProcess, platform: Platform, clock: Clock
) -> None:
    """WeChat Pay has many machines, of which some learn of a new certificate later."""
    old, new = certificate(platform, 30 * DAY), certificate(platform, -DAY)
    seen(new_process, clock, platform, new, old)
    seen(new_process, clock, platform, old)
    seen(new_process, clock, platform, new, old)
    clock.now += DAY
    assert seen(new_process, clock, platform, old, new) == new.serial_no


def test_a_long_running_process_does_not_go_back_alone(
    new_process: NewProcess, platform: Platform, clock: Clock
) -> None:
    old, new = certificate(platform, 30 * DAY), certificate(platform, DAY)
    long_running = new_process()
    seen(lambda: long_running, clock, platform, old)
    seen(new_process, clock, platform, new)
    clock.now += REFRESH_AFTER
    platform.certificates = [old]
    with pytest.raises(UnverifiedAnswer, match=WITHDRAWN):
        long_running.refresh_keys()
    # What it has at hand is what others have seen, not what it has seen itself.
    assert long_running.encryption_key().serial_no == new.serial_no
    # Nor does it spoil what the others know.
    with pytest.raises(UnverifiedAnswer, match=WITHDRAWN):
        new_process().encryption_key()
    assert seen(new_process, clock, platform, new) == new.serial_no
    long_running.refresh_keys()
    assert long_running.encryption_key().serial_no == new.serial_no


def test_what_another_process_keeps_during_a_download_counts(
    new_process: NewProcess, platform: Platform, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = certificate(platform, 30 * DAY), certificate(platform, DAY)
    slow = new_process()
    exchange, waits = slow._sender.exchange, [True]

    def slow_exchange(*call: object) -> object:
        answer = exchange(*call)  # type: ignore[arg-type]
        if waits:
            waits.clear()
            platform.certificates = [new]
            clock.now += 5
            new_process().encryption_key()
        return answer

    monkeypatch.setattr(slow._sender, "exchange", slow_exchange)
    platform.certificates = [old]
    assert slow.encryption_key().serial_no == new.serial_no


def test_waits_and_the_connection_test_remember_as_well(
    certified: Simulator, new_process: NewProcess, platform: Platform, settings: Settings, clock: Clock
) -> None:
    # Their clock is the machine's own.
    clock.now = time.time() - 3600
    old, new = certificate(platform, 30 * DAY), certificate(platform, DAY)
    seen(new_process, clock, platform, new)
    platform.certificates = [old]

    async def wait() -> None:
        async with shared_by(settings, PACKAGE) as shared:
            [task async for task in alist_tasks(shared.client, PACKAGE)]

    with pytest.raises(UnverifiedAnswer):
        asyncio.run(wait())
    connection = certified.airflow_connection()
    works, told = in_one_message(
        walk(connection["login"], connection["password"], connection["host"], connection["extra"])
    )
    assert not works
    assert WITHDRAWN in told


def test_what_a_wait_has_seen_the_next_process_knows(
    new_process: NewProcess, platform: Platform, settings: Settings, clock: Clock
) -> None:
    old, new = certificate(platform, 30 * DAY), certificate(platform, DAY)
    platform.certificates = [new]
    client = AsyncClient(settings, clock=clock, kept=kept_list(settings), believed=Nonces())
    assert asyncio.run(client.encryption_key()).serial_no == new.serial_no
    platform.certificates = [old]
    with pytest.raises(UnverifiedAnswer, match=WITHDRAWN):
        new_process().encryption_key()


# Honest lists


def test_a_certificate_in_the_place_of_one_that_was_never_in_force_is_taken(
    new_process: NewProcess, platform: Platform, clock: Clock
) -> None:
    old, ahead = certificate(platform, 30 * DAY), certificate(platform, -5 * DAY)
    assert seen(new_process, clock, platform, ahead, old) == old.serial_no
    instead = certificate(platform, 60)
    assert seen(new_process, clock, platform, instead) == instead.serial_no


def test_certificates_of_one_batch_replace_each_other(
    new_process: NewProcess, platform: Platform, clock: Clock
) -> None:
    one, other = certificate(platform, DAY), certificate(platform, DAY)
    seen(new_process, clock, platform, one)
    assert seen(new_process, clock, platform, other) == other.serial_no


@pytest.mark.parametrize("age", [30, 60], ids=["taken away", "never shown"])
@pytest.mark.parametrize("runs_on", [True, False])
def test_nothing_is_refused_for_good(
    new_process: NewProcess, platform: Platform, clock: Clock, runs_on: bool, age: int
) -> None:
    """Should WeChat Pay go back to a certificate that it had taken away, or to one that it never showed."""
    old, new = certificate(platform, 30 * DAY), certificate(platform, DAY)
    back = old if age == 30 else certificate(platform, age * DAY)
    one = new_process()
    process: NewProcess = (lambda: one) if runs_on else new_process
    seen(process, clock, platform, old)
    clock.now += REFRESH_AFTER
    seen(process, clock, platform, new)
    clock.now += SEEN_FOR - 2 * 3600
    platform.certificates = [back]
    with pytest.raises(UnverifiedAnswer, match=WITHDRAWN):
        process().refresh_keys()
    clock.now += 3 * 3600
    assert seen(process, clock, platform, back) == back.serial_no


def test_a_process_that_was_started_anew_without_the_file_begins_anew(
    new_process: NewProcess, platform: Platform, clock: Clock, settings: Settings
) -> None:
    """The way out that the documentation names."""
    old, new = certificate(platform, 30 * DAY), certificate(platform, DAY)
    seen(new_process, clock, platform, new)
    kept = kept_list(settings)
    assert kept is not None
    kept.path.unlink()
    assert seen(new_process, clock, platform, old) == old.serial_no


# The folder


def test_a_folder_that_others_made_first_is_told_once(
    new_process: NewProcess, platform: Platform, settings: Settings, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    kept = kept_list(settings)
    assert kept is not None
    kept.path.parent.mkdir(mode=0o755)
    kept.path.parent.chmod(0o755)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            new_process().encryption_key()
            clock.now += DOWNLOAD_PAUSE
    told = [record.getMessage() for record in caplog.records if "of this user alone" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith(f"{kept.path.parent} must be a folder of this user alone; until then, no list of")
