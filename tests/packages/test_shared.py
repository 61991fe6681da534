# SPDX-License-Identifier: Apache-2.0
"""Waits of one event loop read once what several of them need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from threading import Event
from typing import Any

import pytest

from airflow_provider_wxbank.packages.endpoints import tasks_path
from airflow_provider_wxbank.packages.poll import Poll
from airflow_provider_wxbank.packages.shared import _IN_USE, shared_by
from airflow_provider_wxbank.packages.wait import Look, Seen, wait
from airflow_provider_wxbank.packages.wanted import wanted
from airflow_provider_wxbank.simulator import Fault, Simulator
from airflow_provider_wxbank.simulator.checks import Meta
from airflow_provider_wxbank.simulator.ledger import Task
from airflow_provider_wxbank.wechatpay.calls import Call
from airflow_provider_wxbank.wechatpay.crypto.signing import PemSigner, Signer
from airflow_provider_wxbank.wechatpay.errors import NotReached, Refused, TryLater, WxBankError, for_another
from airflow_provider_wxbank.wechatpay.loop import InLoop
from airflow_provider_wxbank.wechatpay.rounds import MAX_A_ROUND, SECONDS_A_ROUND
from airflow_provider_wxbank.wechatpay.settings import Settings
from airflow_provider_wxbank.wechatpay.sockets import sockets
from airflow_provider_wxbank.wechatpay.threads import MAX_THREADS, _executor
from tests.conftest import PACKAGE
from tests.harness.connections import settings_of
from tests.harness.garbage import left_to_the_collector
from tests.harness.rounds import in_each_round, spin
from tests.harness.waiting import PATIENCE

WAITS = 60


def test_tasks_that_one_wait_has_read_are_not_read_by_another(simulator: Simulator) -> None:
    ledger = simulator.app.ledger.packages.setdefault(PACKAGE, {})
    for index in range(1000):
        meta = Meta(f"file_{index:04d}.csv", "", "ICBC_DEBIT")
        ledger[meta.filename] = Task(f"9{index:04d}", PACKAGE, meta, 10, 3450, "1", 1_700_000_000.0 + 60 * index)
    settings = settings_of(simulator)

    async def one(task_id: str) -> str:
        async with shared_by(settings, PACKAGE) as shared:
            waiting = wait(wanted(PACKAGE, [task_id]))
            step = next(waiting)
            assert isinstance(step, Look)
            seen = await shared.looked(step, 60.0)
        assert not isinstance(seen, Exception)
        assert seen is not None
        (task,) = seen.tasks or ()
        return task.task_id

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(one(f"9{index:04d}") for index in range(1000 - WAITS, 1000)))

    assert asyncio.run(all_of_them()) == [f"9{index:04d}" for index in range(1000 - WAITS, 1000)]
    requests = simulator.report()["requests"]
    assert requests["certificates"] == 1
    # What is processing, and the list from its newer end, in part again by those who need more of it.
    assert requests["list"] <= 1 + 3 * (WAITS // 20 + 2)


def looks_of(settings: Settings, times: list[float]) -> list[object]:
    """What waits see that begin one after the other, each so many seconds after the last one, while one stays."""
    now = 1000.0
    found: list[object] = []

    async def flow() -> None:
        nonlocal now
        async with shared_by(settings, PACKAGE) as first:
            first._memory._clock = lambda: now
            for seconds in times:
                now += seconds
                async with shared_by(settings, PACKAGE) as shared:
                    assert shared is first
                    found.append(await shared.looked(next(wait(wanted(PACKAGE))), 3600.0))  # type: ignore[arg-type]  # it begins with a look

    asyncio.run(flow())
    return found


def test_what_a_person_has_mended_fails_no_other_wait(simulator: Simulator) -> None:
    simulator.add_fault(Fault("forbidden", on="list", times=1))
    refused, seen = looks_of(settings_of(simulator), [0, 1])
    assert isinstance(refused, Refused)
    assert isinstance(seen, Poll)


def test_a_failure_that_passes_serves_others_for_a_while_and_each_has_its_own(simulator: Simulator) -> None:
    simulator.add_fault(Fault("internal-error", on="list", times=1))
    first, second, third = looks_of(settings_of(simulator), [0, 29, 2])
    assert isinstance(first, TryLater)
    assert isinstance(second, TryLater)
    assert str(first) == str(second)
    assert first is not second
    assert isinstance(third, Poll)


def test_a_failure_that_a_wait_goes_on_with_keeps_nothing_of_where_it_was_met(simulator: Simulator) -> None:
    simulator.add_fault(Fault("internal-error", on="list", times=1))
    simulator.add_fault(Fault("forbidden", on="list", times=1))
    passing, lasting = looks_of(settings_of(simulator), [0, 60])
    assert isinstance(passing, TryLater)
    # A thousand waits hold one each, until their next poll.
    assert (passing.__traceback__, passing.__context__, passing.__cause__) == (None, None, None)
    assert isinstance(lasting, Refused)
    assert lasting.__traceback__ is not None


def leftovers(settings: Settings, what: type[WxBankError]) -> list[str]:
    """Where a poll that fails has left what only the collector can free."""

    async def flow() -> list[str]:
        async with shared_by(settings, PACKAGE) as shared:
            # Keys, sockets and what Python keeps of a first time.
            await shared.looked(next(wait(wanted(PACKAGE))), 0.0)  # type: ignore[arg-type]  # it begins with a look
            with left_to_the_collector() as left:
                seen = await shared.looked(next(wait(wanted(PACKAGE))), -1.0)  # type: ignore[arg-type]  # as above
                assert isinstance(seen, what)
                # What waits for the loop to go on, such as a connection that is being closed.
                await asyncio.sleep(0.01)
            return left

    return asyncio.run(flow())


@pytest.mark.parametrize(
    "fault",
    [
        "internal-error", "bad-gateway", "too-many-requests", "unsigned-quota", "unsigned-sign-error", "forbidden",
        "redirect", "reset", "drop", "hang", "hang-during", "truncate", "slow", "endless", "huge-header", "unsigned",
        "tampered", "stale", "unknown-serial", "replay",
    ],
)  # fmt: skip
def test_a_poll_that_fails_leaves_nothing_to_the_collector(simulator: Simulator, fault: str) -> None:
    """In an outage a thousand fail in a minute, and everybody in the loop waits for a collection."""
    simulator.add_fault(Fault(fault, on="list", times=100, seconds=2.0))
    settings = settings_of(simulator, read_timeout=1.0)
    assert leftovers(settings, WxBankError) == []


@pytest.mark.parametrize("host", ["http://127.0.0.1:1", "https://nowhere.invalid", "https://127.0.0.1:{port}"])
def test_nor_does_one_that_reaches_nobody(simulator: Simulator, host: str) -> None:
    """Nobody listens, it has no such name, or it speaks no TLS.

    The host has one address: of several, aiohttp's happy eyeballs keep the failures in a circle that we cannot reach.
    """
    port = simulator.airflow_connection()["host"].rpartition(":")[2]
    assert leftovers(settings_of(simulator, host=host.format(port=port)), NotReached) == []


def test_nor_does_one_whose_proxy_connects_to_nobody(simulator: Simulator) -> None:
    port = simulator.airflow_connection()["host"].rpartition(":")[2]
    for proxy in ("http://127.0.0.1:1", f"http://127.0.0.1:{port}"):
        settings = settings_of(simulator, host="https://nowhere.invalid", proxies={"https": proxy})
        assert leftovers(settings, NotReached) == []


def all_at_once(settings: Settings, signer: Any, each_round: Callable[[], None]) -> list[Seen]:
    """What many waits see that are due in the same round of the loop: after somebody has held it all may be."""
    settings = replace(settings, merchant=replace(settings.merchant, signer=signer))

    async def one(index: int) -> Seen:
        async with shared_by(settings, f"{PACKAGE}{index}") as shared:
            return await shared.looked(next(wait(wanted(f"{PACKAGE}{index}"))), 60.0)  # type: ignore[arg-type]  # it begins with a look

    async def flow() -> list[Seen]:
        async with in_each_round(each_round):
            return await asyncio.gather(*map(one, range(WAITS)))

    return asyncio.run(flow())


def slow(signer: Signer, signed: list[int]) -> PemSigner:
    """Signs in the loop, for longer than may be done in a round; counts at the end of the list."""

    class Slow(PemSigner):
        def sign(self, message: bytes) -> bytes:
            signed[-1] += 1
            spin(SECONDS_A_ROUND)
            return super().sign(message)

    assert isinstance(signer, PemSigner)
    return Slow(signer.serial_no, signer.private_key)


def device(signer: Signer, may_sign: Event) -> Signer:
    """Signs elsewhere, once it may."""

    class Device:
        public_key, serial_no, about = signer.public_key, signer.serial_no, signer.about

        def sign(self, message: bytes) -> bytes:
            may_sign.wait(PATIENCE)
            return signer.sign(message)

    return Device()


def test_calls_that_are_due_at_once_are_not_signed_in_one_round(simulator: Simulator) -> None:
    settings = settings_of(simulator)
    signed = [0]
    seen = all_at_once(settings, slow(settings.merchant.signer, signed), lambda: signed.append(0))
    assert all(isinstance(one, Poll) for one in seen)
    assert sum(signed) > WAITS
    assert max(signed) == 1


def test_nor_handed_to_a_device_in_one(simulator: Simulator) -> None:
    settings = settings_of(simulator)
    handed, may_sign = [0], Event()

    def each_round() -> None:
        handed.append(_executor("signatures")._work_queue.qsize())
        if handed[-1] >= WAITS - MAX_THREADS:
            may_sign.set()

    seen = all_at_once(settings, device(settings.merchant.signer, may_sign), each_round)
    assert all(isinstance(one, Poll) for one in seen)
    assert 1 <= max(later - earlier for earlier, later in pairwise(handed)) <= MAX_A_ROUND


def test_nor_are_they_because_those_of_a_device_take_no_time_in_it(simulator: Simulator) -> None:
    settings = settings_of(simulator)
    signed, may_sign = [0], Event()
    may_sign.set()
    merchant = settings.merchant
    in_turn = [
        *WAITS * [replace(merchant, signer=device(merchant.signer, may_sign))],
        *WAITS * [replace(merchant, signer=slow(merchant.signer, signed))],
    ]

    async def flow() -> None:
        driver, call = InLoop(settings), Call("GET", tasks_path(PACKAGE))
        async with sockets(), in_each_round(lambda: signed.append(0)):
            await asyncio.gather(*(driver.sign(call, one, lambda: 0.0) for one in in_turn))

    asyncio.run(flow())
    assert sum(signed) == WAITS
    assert max(signed) == 1


def test_nothing_is_kept_of_packages_that_nobody_waits_for(simulator: Simulator) -> None:
    settings = settings_of(simulator)

    async def flow() -> None:
        async with shared_by(settings, PACKAGE):
            for index in range(20):
                async with shared_by(settings, f"{PACKAGE}{index}") as shared:
                    await shared.looked(next(wait(wanted(f"{PACKAGE}{index}"))), 60.0)  # type: ignore[arg-type]  # it begins with a look
            assert len(_IN_USE) == 2

    asyncio.run(flow())
    assert _IN_USE == {}


def test_what_is_noted_at_one_failure_is_noted_at_no_other() -> None:
    failure = TryLater("x")
    failure.add_note("of all")
    first, second = for_another(failure), for_another(failure)
    first.add_note("of the first")
    assert (first.__notes__, second.__notes__) == (["of all", "of the first"], ["of all"])
    assert failure.__notes__ == ["of all"]
