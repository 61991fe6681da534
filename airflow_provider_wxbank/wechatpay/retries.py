# SPDX-License-Identifier: Apache-2.0
"""Whether, when and where a call is sent again: one decision, without I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

MAX_ATTEMPTS = 4
"""Attempts at a call that gets no answer, a server error, or an answer that does not verify."""

MAX_LIMITED_ATTEMPTS = 9
"""Attempts at a call that is answered 429. The pauses between them add up to 36 to 72 seconds."""

FIRST_PAUSE = 0.5
MAX_PAUSE = 20.0


class Trouble(Enum):
    """How an attempt failed."""

    NOT_SENT = auto()
    """No connection: certainly not taken."""
    TIMED_OUT = auto()
    """Sent, but not answered in time: perhaps taken."""
    BROKEN = auto()
    """Sent, but the connection broke: perhaps taken."""
    SERVER_ERROR = auto()
    """5xx, 202 (accepted, not processed), or a refusal that cannot be verified: perhaps taken."""
    UNVERIFIED = auto()
    """Answered 2xx, but the signature does not verify: perhaps taken."""
    LIMITED = auto()
    """429: not taken (P/4012081717)."""


@dataclass(frozen=True, slots=True)
class Again:
    """Send the call once more.

    :param pause: seconds to wait before that.
    :param other_host: whether to change to the other host.
    """

    pause: float
    other_host: bool = False


def next_attempt(
    trouble: Trouble,
    attempts: int,
    *,
    repeatable: bool,
    other_host_untried: bool,
    random: Callable[[], float],
) -> Again | None:
    """What to do after a failed attempt; None to give up.

    :param attempts: attempts made so far, at least 1.
    :param repeatable: whether the call may be repeated even if it was perhaps taken.
    :param other_host_untried: whether there is another host that this call has not asked yet.
    :param random: uniform in [0, 1), for jitter.
    """
    # Certainly not taken, so even an upload may be sent again.
    if trouble is Trouble.LIMITED:
        return Again(pause(attempts, random())) if attempts < MAX_LIMITED_ATTEMPTS else None
    # Only what was not sent cannot be taken twice.
    if trouble is not Trouble.NOT_SENT and not repeatable:
        return None
    if attempts >= MAX_ATTEMPTS:
        return None
    # WeChat Pay's rule: change the host once, after timeouts only (P/4012075113). No connection at all counts as one.
    if other_host_untried and trouble in (Trouble.NOT_SENT, Trouble.TIMED_OUT):
        return Again(0.0, other_host=True)
    # A retry gets no second signature probe (P/4013053249), so there is nothing to wait for.
    if trouble is Trouble.UNVERIFIED and attempts == 1:
        return Again(0.0)
    return Again(pause(attempts, random()))


def pause(attempts: int, chance: float = 0.5) -> float:
    """Seconds before the next attempt: half a second at most, then twice as long each time, up to 20 s.

    :param chance: from 0, for half of that, to 1.
    """
    longest: float = min(MAX_PAUSE, FIRST_PAUSE * 2.0 ** (attempts - 1))
    # At random, so that clients that failed together do not come back together; half of it is always waited.
    return longest * (0.5 + chance / 2)
