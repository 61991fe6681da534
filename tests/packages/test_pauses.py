# SPDX-License-Identifier: Apache-2.0
"""Between two polls a deferred wait sleeps as its sensor would, a little more or less by chance."""

from __future__ import annotations

import pytest

from airflow_provider_wxbank.packages.pauses import backing_off, steady


def test_waits_that_begin_together_are_spread_over_an_interval_and_stay_so() -> None:
    assert [round(steady(1, 60, chance)) for chance in (0, 0.5, 1)] == [6, 33, 60]
    assert [round(steady(polls, 60, chance)) for polls in (2, 99) for chance in (0, 1)] == [54, 66, 54, 66]


def test_backing_off_doubles_from_half_the_interval() -> None:
    assert [backing_off(polls, 60, 0, None, None) for polls in (1, 2, 3, 4, 8)] == [30, 60, 120, 240, 3840]
    assert [backing_off(polls, 60, 1, None, None) for polls in (1, 2, 3, 4, 8)] == [60, 120, 240, 480, 7680]


def test_backing_off_is_a_second_at_least_and_ends_somewhere() -> None:
    assert backing_off(1, 0, 0, None, None) == 1
    assert backing_off(10_000, 60, 1, None, None) == backing_off(10_001, 60, 1, None, None)


def test_no_pause_is_longer_than_max_wait_and_waits_stay_spread() -> None:
    assert [backing_off(9, 60, chance, 600, None) for chance in (0, 0.5, 1)] == pytest.approx([540, 570, 600])
    assert backing_off(1, 60, 0, 600, None) == 30


def test_a_wait_that_backs_off_looks_once_more_before_it_is_ended() -> None:
    assert backing_off(9, 60, 1, None, remaining=1000) == 900
    # And no oftener than it would without backing off.
    assert backing_off(9, 60, 1, None, remaining=10) == 60
    assert backing_off(9, 60, 1, None, remaining=-5) == 60
