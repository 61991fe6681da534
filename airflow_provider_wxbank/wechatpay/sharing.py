# SPDX-License-Identifier: Apache-2.0
"""What several have in common for as long as one of them needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")


@contextmanager
def shared_in(held: dict[K, tuple[T, int]], place: K, new: Callable[[], T]) -> Iterator[T]:
    """What everybody in a place has, from the first who comes to the last who goes. For one thread a place.

    :param held: what is shared now, and how many share it.
    """
    one, users = held[place] if place in held else (new(), 0)
    held[place] = one, users + 1
    try:
        yield one
    finally:
        users = held.pop(place)[1] - 1
        if users:
            held[place] = one, users
