# SPDX-License-Identifier: Apache-2.0
"""Many tasks that are due at once go on a few at a time, and nobody is forgotten."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from itertools import pairwise

import pytest

from airflow_provider_wxbank.wechatpay.rounds import MAX_A_ROUND, SECONDS_A_ROUND, FewARound
from tests.harness.rounds import in_each_round, spin
from tests.harness.waiting import PATIENCE


def went_on(tasks: int, work: Callable[[int], None], others_seconds: float = 0.0) -> list[tuple[int, int]]:
    """Each task that went on, in that order, with the round of the loop."""
    found: list[tuple[int, int]] = []
    rounds = 0

    def each_round() -> None:
        nonlocal rounds
        rounds += 1
        spin(others_seconds)

    async def one(few: FewARound, index: int) -> None:
        await few.turn()
        found.append((index, rounds))
        work(index)

    async def flow() -> None:
        few = FewARound()
        async with in_each_round(each_round):
            await asyncio.wait_for(asyncio.gather(*(one(few, index) for index in range(tasks))), PATIENCE)

    asyncio.run(flow())
    return found


def test_long_work_is_done_alone() -> None:
    found = went_on(20, lambda _: spin(SECONDS_A_ROUND))
    assert [index for index, _ in found] == list(range(20))
    assert max(Counter(at for _, at in found).values()) == 1


@pytest.mark.parametrize("others_seconds", [0.0, 0.005])
def test_short_work_is_done_together_whatever_others_need(others_seconds: float) -> None:
    found = went_on(300, lambda _: None, others_seconds)
    assert [index for index, _ in found] == list(range(300))
    each = Counter(at for _, at in found)
    assert max(each.values()) <= MAX_A_ROUND
    assert len(each) < 100


def test_work_that_becomes_longer_is_done_alone_soon() -> None:
    found = went_on(200, lambda index: spin(SECONDS_A_ROUND if index >= 100 else 0.0))
    later = [at for index, at in found if index >= 100 + 2 * MAX_A_ROUND]
    assert all(one < another for one, another in pairwise(later))


def test_whoever_comes_alone_does_not_wait() -> None:
    async def flow() -> None:
        few = FewARound()
        for _ in range(3):
            waiting = few.turn()
            with pytest.raises(StopIteration):
                waiting.send(None)
            await asyncio.sleep(0)

    asyncio.run(flow())


@pytest.mark.parametrize("after_rounds", range(8))
def test_whoever_is_cancelled_keeps_nobody_waiting(after_rounds: int) -> None:
    async def flow() -> list[int]:
        few = FewARound()
        done: list[int] = []

        async def one(index: int) -> None:
            await few.turn()
            done.append(index)

        tasks = [asyncio.create_task(one(index)) for index in range(60)]
        for _ in range(after_rounds):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)
        # It is as good as new.
        await asyncio.wait_for(one(60), PATIENCE)
        return done

    done = asyncio.run(flow())
    assert set(done) >= {*range(1, 60, 2), 60}
    assert sorted(done) == done


def test_the_context_of_whoever_came_first_is_let_go_while_others_go_on() -> None:
    class Large:
        pass

    of_a_task: ContextVar[Large] = ContextVar("of_a_task")

    async def flow() -> object:
        few = FewARound()

        async def first() -> weakref.ref[Large]:
            of_a_task.set(Large())
            await few.turn()
            return weakref.ref(of_a_task.get())

        async def others() -> None:
            while True:
                await few.turn()

        beginning = asyncio.create_task(first())
        running = [asyncio.create_task(others()) for _ in range(3)]
        kept = await beginning
        del beginning
        for _ in range(10):
            await asyncio.sleep(0)
        gc.collect()
        for task in running:
            task.cancel()
        return kept()

    assert asyncio.run(flow()) is None
