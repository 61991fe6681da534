# SPDX-License-Identifier: Apache-2.0
"""Waiting: when to look, and what to make of what was seen. The loop does no I/O, so everything that waits can use it.

:func:`wait` and :func:`watch` yield what is to be done next, :class:`Look` or :class:`Pause`, and are sent what a look
has seen, or how it failed. A sensor, a trigger and a command each do these things in their own way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

from airflow_provider_wxbank.packages.known import Known
from airflow_provider_wxbank.packages.poll import Poll, poll, poll_new
from airflow_provider_wxbank.packages.tasks import UploadTask
from airflow_provider_wxbank.packages.wanted import Wanted
from airflow_provider_wxbank.reporting.events import Observer, PollFailed, PollMade, nobody
from airflow_provider_wxbank.wechatpay.errors import (
    TryLater,
    Unauthorized,
    UnverifiedAnswer,
    WxBankError,
    for_another,
    is_lasting,
    without_advice,
)
from airflow_provider_wxbank.wechatpay.flows import Caller

MAX_UNAUTHORIZED = 3
"""Refused signatures that a wait survives after each look that succeeded. WeChat Pay cannot sign a 401, so a gateway
may have given it."""


@dataclass(frozen=True, slots=True)
class Look:
    """Look once, and send what was seen, or the failure.

    :param look: :func:`.poll` or :func:`.poll_new`; takes a client, and optionally ``memory`` and ``max_age``.
    """

    look: Callable[..., Awaitable[Poll]]


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for the next look.

    :param looks: how many were made.
    :param watched: what the next look begins with, for a caller that makes it in a new wait.
    """

    looks: int
    watched: str | None


Seen = Poll | WxBankError | None
"""What a look is answered with; a pause is answered with None."""

Waiting = Generator[Look | Pause, Seen, tuple[UploadTask, ...]]


def wait(target: Wanted, tell: Observer = nobody, *, watched: str | None = None, looks: int = 0) -> Waiting:
    """Wait until tasks are finished, through outages of WeChat Pay.

    :param watched: what an earlier look said that the next one begins with.
    :param looks: how many looks somebody else has made before. If there were any, a pause comes first.
    :return: the tasks, all finished.
    :raises WxBankError: a failure that waiting does not mend.
    """

    def look(watched: str | None) -> Look:
        return Look(partial(poll, target=target, watched=watched))

    seen = yield from _until_finished(target.package_id, target.count, look, tell, watched, looks)
    return seen.tasks or ()


def watch(package_id: str, known: Known, tell: Observer = nobody) -> Generator[Look | Pause | Known, Seen, None]:
    """Wait for ever. Each time that the package has more tasks and all are finished, yield what is known then.

    :param known: what is known before.
    :raises WxBankError: a failure that waiting does not mend.
    """
    looks = 0
    while True:
        seen = yield from _wait_for_more(package_id, known, tell, looks)
        known = (Known() if seen.are_all else known).plus(seen.tasks or ())
        yield known
        # The package was just looked at, so the next wait begins with a pause.
        looks = 1


def _wait_for_more(package_id: str, known: Known, tell: Observer, looks: int) -> Generator[Look | Pause, Seen, Poll]:
    look = Look(partial(poll_new, package_id=package_id, known=known))
    return _until_finished(package_id, None, lambda _: look, tell, None, looks)


def _until_finished(
    package_id: str,
    wanted: int | None,
    look: Callable[[str | None], Look],
    tell: Observer,
    watched: str | None,
    looks: int,
) -> Generator[Look | Pause, Seen, Poll]:
    """The loop that all waits share; what the last look saw."""
    # Before a look has succeeded, a refused signature most likely means that the connection is wrong.
    unauthorized = 0 if looks else MAX_UNAUTHORIZED
    while True:
        if looks:
            yield Pause(looks, watched)
        looks += 1
        seen = yield look(watched)
        if isinstance(seen, Poll):
            if seen.tasks is not None:
                return seen
            watched, unauthorized = seen.watched, 0
            tell(PollMade(package_id, wanted, seen.unfinished, seen.note))
            continue
        assert seen is not None
        # A refused signature may be a gateway's, but hardly again and again.
        unauthorized += isinstance(seen, Unauthorized)
        may_pass = isinstance(seen, (TryLater, UnverifiedAnswer)) or (
            isinstance(seen, Unauthorized) and unauthorized <= MAX_UNAUTHORIZED
        )
        if not may_pass:
            try:
                raise seen
            finally:
                # Its traceback holds this frame: only the collector could free them.
                del seen
        tell(PollFailed(package_id, without_advice(seen)))


async def looked(look: Look, client: Caller, **shared: Any) -> Seen:
    """What a look sees, or how it fails.

    :param shared: what is shared with other waits: ``memory`` and ``max_age``.
    """
    try:
        return await look.look(client, **shared)
    except WxBankError as failure:
        # A wait goes on with one that may pass, for a minute or more. It must not keep the frames that the failure met
        # for as long: in an outage they are most of what a thousand waits hold.
        return failure if is_lasting(failure) else for_another(failure)
