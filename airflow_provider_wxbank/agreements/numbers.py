"""What an agreement number may be, and the check of every value that is to become one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from airflow_provider_wxbank.agreements.encryption import MAX_NUMBER_BYTES
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

OnInvalid = Literal["fail", "skip"]

MAX_SKIPPED = 100_000
"""Rows that may be skipped: their positions are kept in memory, and more of them mean a wrong column."""


@dataclass(frozen=True, slots=True)
class Values:
    """Some values as they were read.

    :param place: what a position counts, for messages: ``row``, or ``users.csv line``.
    :param positions: of each value, from 1.
    """

    place: str
    positions: Sequence[int] = field(repr=False)
    values: Sequence[object] = field(repr=False)


@dataclass(slots=True)
class Skipped:
    """Positions of the rows that were skipped, by place, and how many they are."""

    positions: dict[str, list[int]] = field(default_factory=dict)
    count: int = 0

    def add(self, place: str, position: int) -> None:
        """:raises InvalidInput: too many rows are skipped."""
        self.positions.setdefault(place, []).append(position)
        self.count += 1
        if self.count > MAX_SKIPPED:
            raise InvalidInput(
                f"more than {MAX_SKIPPED} rows are invalid, the last at {place} {position}: is it the right column?"
            )


def problem(value: object) -> str | None:
    """Why a value is no agreement number, without quoting it; None if it is one.

    Accepted are texts without blanks and control characters of at most 214 bytes, and whole numbers.
    """
    if isinstance(value, str):
        if value.isprintable() and " " not in value and 0 < len(value) <= MAX_NUMBER_BYTES:
            return None if value.isascii() or len(value.encode()) <= MAX_NUMBER_BYTES else _TOO_LONG
        return _problem_of_text(value)
    if value is None:
        return "is NULL"
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return f"is a {type(value).__name__}, not a text or a whole number; cast it in the query"
    if isinstance(value, Decimal) and not value.is_finite():
        return _NOT_WHOLE
    if value >= 10**MAX_NUMBER_BYTES:
        return _TOO_LONG
    return None if value >= 0 and value == int(value) else _NOT_WHOLE


_NOT_WHOLE = "is not a whole number from 0; cast it to text in the query"
_TOO_LONG = f"is longer than {MAX_NUMBER_BYTES} bytes"


def _problem_of_text(value: str) -> str:
    if not value:
        return "is empty"
    if value.isspace():
        return "is blank"
    if any("\ud800" <= character <= "\udfff" for character in value):
        return "is not UTF-8"
    if value.startswith("\ufeff"):
        return "starts with a byte order mark (BOM); save the file as UTF-8 without it"
    if "\r" in value:
        return "has a carriage return (\\r); lines end with \\n alone"
    if any(character.isspace() for character in value):
        return "has a blank in it; remove it in the source or the query, where TRIM removes those at the ends only"
    if not value.isprintable():
        return "has a control or invisible character"
    return _TOO_LONG


def checked_numbers(source: Iterable[Values], on_invalid: OnInvalid, skipped: Skipped) -> Iterator[Sequence[str]]:
    """The agreement numbers in some values, in order.

    :param on_invalid: ``fail`` raises at the first value that is none, ``skip`` leaves it out.
    :param skipped: takes the positions of what is left out.
    :raises InvalidInput: names the row, never the value.
    """
    for read in source:
        numbers = []
        for position, value in zip(read.positions, read.values, strict=True):
            why = problem(value)
            if why is None:
                numbers.append(value if isinstance(value, str) else str(int(value)))  # type: ignore[call-overload]  # problem() accepted it
            elif on_invalid == "skip":
                skipped.add(read.place, position)
            else:
                raise InvalidInput(
                    f"{read.place} {position} {why}. Nothing was sent. Correct it, or leave such rows out with "
                    'on_invalid="skip"'
                )
        if numbers:
            yield numbers
