# SPDX-License-Identifier: Apache-2.0
"""Numbers of things in messages: 1 file, 5,500 files."""

from __future__ import annotations


def number_of(count: int, one: str, many: str | None = None) -> str:
    """So many of something.

    :param one: what one of them is called.
    :param many: what several are called, unless an ``s`` is all that is added.
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
