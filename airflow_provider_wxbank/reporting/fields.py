# SPDX-License-Identifier: Apache-2.0
"""What a field of a record may hold. All else is no record: whoever writes a DAG can put anything there."""

from __future__ import annotations

from typing import Any, get_args

MAX_NUMBER = 10**10
"""Every count, sum and time in a record is below this: 10 billion numbers, or the year 2286."""

MAX_TEXT = 2_000
"""Characters of an error's text. Ours are shorter, but for what WeChat Pay may answer."""

MAX_NAME = 250
"""Characters of an id or a filename: as many as Airflow's own ids may have."""


def as_list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError
    return value


def one_of(literal: Any, value: object) -> Any:
    """The argument of a Literal that a value is."""
    for one in get_args(literal):
        if value == one:
            return one
    raise ValueError


def as_name(value: object) -> str:
    # What cannot be printed cannot always be encoded either: JSON can hold half a character.
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME or not value.isprintable():
        raise ValueError
    return value


def as_text(value: object) -> str:
    """A text of several lines."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or "\0" in value:
        raise ValueError
    value.encode("utf-8")  # half a character is no text; its error is a ValueError
    return value


def as_place(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def as_number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < MAX_NUMBER:
        raise ValueError
    return value
