# SPDX-License-Identifier: Apache-2.0
"""What many in an event loop ask for at once is read once, and nobody is told anything old."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from random import Random
from typing import Any

import pytest

from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials, TryLater
from airflow_provider_wxbank.wechatpay.sharing import ReadTogether
from tests.harness.waiting import PATIENCE


class Source:
    """Something that changes, which takes some rounds of the loop to read.

    :ivar reads: reads that have begun.
    """

    def __init__(self, rounds: int = 3) -> None:
        self.value = 0
        self.reads = 0
        self.failure: BaseException | None = None
        self._rounds = rounds

    async def read(self) -> int:
        self.reads += 1
        value, failure = self.value, self.failure
        for _ in range(self._rounds):
            await asyncio.sleep(0)
        if failure is not None:
            raise failure
        return value


def run(flow: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(flow, PATIENCE))


async def until_read(source: Source, reads: int) -> None:
    """Until so many reads have begun."""
    while source.reads < reads:  # noqa: ASYNC110  # it is the rounds that count
        await asyncio.sleep(0)


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_all_who_ask_at_once_share_a_read(count: int) -> None:
    async def flow() -> None:
        source, together = Source(), ReadTogether[int]()
        assert await asyncio.gather(*(together.read(source.read) for _ in range(count))) == [0] * count
        # The first one's had begun already when the others asked.
        assert source.reads == min(count, 2)

    run(flow())


def test_who_asks_while_something_is_read_is_told_what_is_newer() -> None:
    async def flow() -> None:
        source, together = Source(), ReadTogether[int]()
        first = asyncio.create_task(together.read(source.read))
        await until_read(source, 1)
        source.value = 1
        later = [asyncio.create_task(together.read(source.read)) for _ in range(3)]
        assert (await first, await asyncio.gather(*later)) == (0, [1] * 3)
        # Nothing is kept, either.
        source.value = 2
        assert await together.read(source.read) == 2

    run(flow())


@pytest.mark.parametrize("gone", [1, 2, 50])
def test_when_those_who_read_are_cancelled_the_next_one_reads(gone: int) -> None:
    async def flow() -> None:
        source, together = Source(rounds=10), ReadTogether[int]()
        tasks = [asyncio.create_task(together.read(source.read)) for _ in range(100)]
        for index in range(gone):
            await until_read(source, index + 1)
            tasks[index].cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended[:gone])
        assert ended[gone:] == [0] * (100 - gone)
        assert source.reads == gone + 1

    run(flow())


@pytest.mark.parametrize("failure", [TryLater("later"), InvalidCredentials("wrong")])
def test_a_failed_read_has_failed_for_all_who_share_it_each_with_a_failure_of_its_own(
    failure: TryLater | InvalidCredentials,
) -> None:
    async def flow() -> None:
        source, together = Source(), ReadTogether[int]()
        failure.add_note("Connection: x")
        source.failure = failure
        found = await asyncio.gather(*(together.read(source.read) for _ in range(50)), return_exceptions=True)
        assert source.reads == 2
        assert {(type(one), str(one), *one.__notes__) for one in found if isinstance(one, Exception)} == {
            (type(failure), str(failure), "Connection: x")
        }
        # The two who have read got what the source raised, which here is one object.
        assert len({id(one) for one in found}) == 49
        source.failure = None
        assert await together.read(source.read) == 0

    run(flow())


def test_what_nobody_expects_is_met_by_each_alone() -> None:
    async def flow() -> None:
        source, together = Source(), ReadTogether[int]()
        source.failure = raised = RuntimeError("a mistake")
        tasks = [asyncio.create_task(together.read(source.read)) for _ in range(4)]
        await until_read(source, 2)
        source.failure = None
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in found] == [RuntimeError, RuntimeError, int, int]
        assert found[0] is found[1] is raised

    run(flow())


@pytest.mark.parametrize("seed", range(20))
def test_nobody_is_told_anything_older_than_the_question_whoever_is_cancelled(seed: int) -> None:
    chance = Random(seed)
    told = 0

    async def ask(source: Source, together: ReadTogether[int]) -> None:
        nonlocal told
        await asyncio.sleep(chance.random() / 100)
        asked = source.value
        try:
            found = await together.read(source.read)
        except TryLater:
            found = source.value
        assert asked <= found <= source.value
        told += 1

    async def flow() -> None:
        source, together = Source(), ReadTogether[int]()
        tasks = [asyncio.create_task(ask(source, together)) for _ in range(300)]
        while not all(task.done() for task in tasks):
            source.value += 1
            source.failure = TryLater("later") if chance.random() < 0.2 else None
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
            await asyncio.sleep(0)
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(one is None for one in ended) == told
        assert all(one is None or isinstance(one, asyncio.CancelledError) for one in ended)

    run(flow())
    assert told > 100


def test_a_read_leaves_nothing_to_the_collector() -> None:
    async def flow() -> None:
        source, together = Source(), ReadTogether[int]()
        source.failure = TryLater("later")
        gc.collect()
        gc.disable()
        try:
            for _ in range(10):
                found = await asyncio.gather(*(together.read(source.read) for _ in range(20)), return_exceptions=True)
                assert len(found) == 20
                del found
            assert gc.collect() < 10
        finally:
            gc.enable()

    run(flow())
