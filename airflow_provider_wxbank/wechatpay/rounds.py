# SPDX-License-Identifier: Apache-2.0
"""A little of our work in each round of an event loop, so that nobody else in it waits for all of it."""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context
from time import perf_counter

SECONDS_A_ROUND = 0.004
"""That work of one kind may take in a round."""

MAX_A_ROUND = 16
"""Tasks that go on in a round, however short their work has been: the next may take longer."""


class FewARound:
    """Lets tasks of an event loop go on with work of one kind, as many in a round as take some milliseconds.

    asyncio runs in one round whatever is due. A thousand calls may begin, get a socket or fail in the same one, and
    what each does then takes up to some milliseconds. One a round would be too few: where others need 20 ms in each,
    hundreds of calls would take minutes. So how many fit is learnt from how long the last ones took.
    """

    __slots__ = ("_began", "_fit", "_is_going", "_waiting")

    def __init__(self) -> None:
        self._waiting = deque[asyncio.Future[None]]()
        self._is_going = False
        """Somebody goes on in this round or in the next."""
        self._began = 0.0
        self._fit = 1

    async def turn(self) -> None:
        """Go on at once if nobody else does in this round, else in a later one, in the order of asking."""
        loop = asyncio.get_running_loop()
        if not self._is_going:
            self._is_going = True
            # In a context of its own, which would else be that of whoever came first, for as long as anybody waits.
            loop.call_soon(self._let_go_on, context=Context())
            return
        mine = loop.create_future()
        self._waiting.append(mine)
        await mine

    def _let_go_on(self) -> None:
        """Let the next ones go on in the round that follows."""
        going: list[asyncio.Future[None]] = []
        while self._waiting and len(going) < self._fit:
            mine = self._waiting.popleft()
            # Whoever is cancelled meanwhile is gone.
            if not mine.done():
                going.append(mine)
        self._is_going = bool(going)
        if going:
            loop = asyncio.get_running_loop()
            # A loop calls in the order of asking, so between these two are those who go on, and nobody else.
            loop.call_soon(self._begin)
            for mine in going:
                mine.set_result(None)
            loop.call_soon(self._end, len(going))

    def _begin(self) -> None:
        self._began = perf_counter()

    def _end(self, count: int) -> None:
        each = max(perf_counter() - self._began, 1e-6) / count
        self._fit = max(1, min(int(SECONDS_A_ROUND / each), 2 * count, MAX_A_ROUND))
        self._let_go_on()
