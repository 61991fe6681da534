# SPDX-License-Identifier: Apache-2.0
"""A clock for tests of the passing of time."""

from __future__ import annotations


class Clock:
    """A time that stands until it is moved: one for clients and simulators."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
