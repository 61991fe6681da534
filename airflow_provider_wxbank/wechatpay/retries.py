"""Whether, when and where a call is sent again: one decision, without I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

MAX_ATTEMPTS = 4
"""Attempts at a call that fails for lack of an answer, a server error or a signature."""

MAX_LIMITED_ATTEMPTS = 9
"""Attempts at a call that is answered 429: with the pauses below more than a minute in all."""

FIRST_PAUSE = 0.5
MAX_PAUSE = 20.0


class Trouble(Enum):
    """How an attempt failed."""

    NOT_SENT = auto()
    """No connection: certainly not taken."""
    TIMED_OUT = auto()
    """Sent, no answer in time: perhaps taken."""
    BROKEN = auto()
    """Sent, the connection broke: perhaps taken."""
    SERVER_ERROR = auto()
    """5xx, 202 (accepted, not processed), or a refusal that cannot be verified: perhaps taken."""
    UNVERIFIED = auto()
    """Answered 2xx, but the signature does not verify: perhaps taken."""
    LIMITED = auto()
    """429: not taken (P/4012081717)."""


@dataclass(frozen=True, slots=True)
class Again:
    """Send the call once more.

    :param pause: seconds to wait before.
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
    :param repeatable: whether the call may be repeated although it was perhaps taken.
    :param other_host_untried: whether there is another host that this call did not ask yet.
    :param random: uniform in [0, 1), for jitter.
    """
    if trouble is Trouble.LIMITED:
        return Again(pause(attempts, random)) if attempts < MAX_LIMITED_ATTEMPTS else None
    if trouble is not Trouble.NOT_SENT and not repeatable:
        return None
    if attempts >= MAX_ATTEMPTS:
        return None
    # WeChat Pay: change the host once, on timeouts only (P/4012075113); no connection at all is one, too.
    if other_host_untried and trouble in (Trouble.NOT_SENT, Trouble.TIMED_OUT):
        return Again(0.0, other_host=True)
    # A signature probe is not repeated on a retry (P/4013053249), so there is nothing to wait for.
    if trouble is Trouble.UNVERIFIED and attempts == 1:
        return Again(0.0)
    return Again(pause(attempts, random))


def pause(attempts: int, random: Callable[[], float]) -> float:
    """Seconds before the next attempt: doubling from half a second up to 20 s, the upper half of it at random."""
    longest: float = min(MAX_PAUSE, FIRST_PAUSE * 2.0 ** (attempts - 1))
    return longest * (0.5 + random() / 2)
