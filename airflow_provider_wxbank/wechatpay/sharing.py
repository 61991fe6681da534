# SPDX-License-Identifier: Apache-2.0
"""What several have in common for as long as one of them needs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from airflow_provider_wxbank.wechatpay.errors import WxBankError, for_another

K = TypeVar("K")
T = TypeVar("T")

Turns = dict[asyncio.AbstractEventLoop, tuple[asyncio.Semaphore, int]]
"""By event loop, with how many are in it or wait for it."""


class shared_in(Generic[K, T]):  # noqa: N801  # used as contextlib's own are
    """What everybody in a place has, from the first who comes to the last who goes. For one thread a place.

    A class, since thousands of waits hold some of these, and whatever they hold the collector has to look through,
    while the event loop stands still: a generator with its frame would be five things instead of one.

    :param held: what is shared now, and how many share it.
    """

    __slots__ = ("_held", "_new", "_place")

    def __init__(self, held: dict[K, tuple[T, int]], place: K, new: Callable[[], T]) -> None:
        self._held = held
        self._place = place
        self._new: Callable[[], T] | None = new

    def __enter__(self) -> T:
        new, self._new = self._new, None
        assert new is not None, "it is entered once"
        one, users = self._held[self._place] if self._place in self._held else (new(), 0)
        self._held[self._place] = one, users + 1
        return one

    def __exit__(self, *_: object) -> None:
        one, users = self._held.pop(self._place)
        if users > 1:
            self._held[self._place] = one, users - 1


@asynccontextmanager
async def few_at_once(turns: Turns, count: int) -> AsyncIterator[None]:
    """Let so many at once do something in the running event loop.

    :param turns: for what is limited together.
    """
    with shared_in(turns, asyncio.get_running_loop(), lambda: asyncio.Semaphore(count)) as semaphore:
        async with semaphore:
            yield


class ReadTogether(Generic[T]):
    """Reads something once for all who ask before that read begins.

    So nobody is told anything older than what a read of his own would tell.
    """

    __slots__ = ("_next", "_reading")

    def __init__(self) -> None:
        self._reading = asyncio.Lock()
        self._next = _Read[T]()

    async def read(self, reading: Callable[[], Awaitable[T]]) -> T:
        """What a read tells that begins after this call. If whoever reads is cancelled, the next one reads instead.

        :raises WxBankError: the read failed; it has failed for all who share it.
        """
        mine = self._next
        async with self._reading:
            if mine.told is None:
                if mine is self._next:
                    # Whoever asks from now on needs a later one.
                    self._next = _Read()
                try:
                    mine.told = await reading()
                except WxBankError as failure:
                    mine.told = for_another(failure)
                    raise
                return mine.told
        if isinstance(mine.told, WxBankError):
            raise for_another(mine.told)
        return mine.told


class _Read(Generic[T]):
    """A read that has not begun, or what it told."""

    __slots__ = ("told",)

    def __init__(self) -> None:
        self.told: T | WxBankError | None = None
