# SPDX-License-Identifier: Apache-2.0
"""How code is written once that can either block or wait in an event loop.

It is written as coroutines over a :class:`Caller`, which has a :class:`Driver`. What a blocking driver gives them never
waits, so :func:`run` brings them to their end at once; in an event loop they are awaited.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, TypeVar

from airflow_provider_wxbank.wechatpay.calls import Answer, Call, SignedCall
from airflow_provider_wxbank.wechatpay.crypto.refreshing import PlatformKeys, Turn
from airflow_provider_wxbank.wechatpay.crypto.signing import Merchant
from airflow_provider_wxbank.wechatpay.settings import Settings

T = TypeVar("T")


class Driver(Protocol):
    """How a call goes out and how it is waited for."""

    async def sign(self, call: Call, merchant: Merchant, clock: Callable[[], float]) -> SignedCall:
        """Sign a call, which may take seconds; see :func:`.sign`.

        :param clock: unix seconds.
        """

    def line(self, base_url: str) -> AbstractAsyncContextManager[None]:
        """What a call is sent within: it begins once there is room for one more call to this host."""

    async def exchange(self, base_url: str, signed: SignedCall) -> Answer:
        """Send a call once.

        :raises NotSent: no connection.
        :raises NoAnswer: no whole answer, or a redirect.
        """

    async def sleep(self, seconds: float) -> None:
        """Wait before another attempt."""

    def new_turn(self) -> Turn:
        """What lets one caller at a time do something."""


class Caller(Protocol):
    """What calls are made with: a client that blocks, or one for an event loop."""

    @property
    def settings(self) -> Settings:
        """What it was told."""

    @property
    def keys(self) -> PlatformKeys:
        """WeChat Pay's keys."""

    @property
    def patient(self) -> Caller:
        """The same, for what takes many calls: one that fails is repeated, even if those of this caller are not."""

    async def asend(self, call: Call) -> Answer:
        """See :meth:`.Exchange.asend`."""


def run(flow: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine whose driver blocks, so that it never waits for an event loop."""
    try:
        flow.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    flow.close()
    raise AssertionError("this coroutine waits for an event loop")


_END: Final = object()


def run_each(flow: AsyncGenerator[T, None]) -> Iterator[T]:
    """:func:`run` for what yields values one by one."""

    async def following() -> Any:
        return await anext(flow, _END)

    try:
        while (one := run(following())) is not _END:
            yield one
    finally:
        run(flow.aclose())
