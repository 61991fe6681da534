# SPDX-License-Identifier: Apache-2.0
"""How long a trigger sleeps between two polls: its sensor's interval, spread at random, or backing off."""

from __future__ import annotations

MAX_DOUBLINGS = 30
"""By then a minute has become a thousand years."""


def steady(polls: int, interval: float, chance: float) -> float:
    """Seconds between two polls, a tenth longer or shorter than the interval, to spread many waits.

    :param polls: how many were made. The first is the sensor's own; waits that begin together are spread over the
        interval after it.
    :param chance: from 0 to 1.
    """
    # Not at once after the first poll, which has just seen that the tasks are not finished.
    return interval * (0.1 + 0.9 * chance if polls == 1 else 0.9 + 0.2 * chance)


def backing_off(polls: int, interval: float, chance: float, max_wait: float | None, remaining: float | None) -> float:
    """Seconds between two polls with Airflow's exponential back-off (``BaseSensorOperator._get_next_poke_interval``).

    The pause after n polls is from ``interval * 2**(n-2)`` to twice that, at least a second.

    :param max_wait: no pause is longer. Those that would be are up to a tenth shorter than it, to spread many waits.
    :param remaining: seconds until the wait ends; a poll comes before that.
    """
    # Without a bound, a power of two beyond 2 ** 1023 would be an OverflowError.
    shortest = max(interval * 2.0 ** (min(polls, MAX_DOUBLINGS) - 2), 1.0)
    pause = shortest * (1 + chance)
    if max_wait:
        pause = min(pause, max_wait * (0.9 + 0.1 * chance))
    if remaining is not None:
        # Near the end no more often than without backing off.
        pause = min(pause, max(0.9 * remaining, interval))
    return pause
