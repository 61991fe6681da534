# SPDX-License-Identifier: Apache-2.0
"""What an agreement number may be, and the check of every value that should be one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeGuard

from airflow_provider_wxbank.agreements.records import MANY, Ends, Files
from airflow_provider_wxbank.wechatpay.crypto.suites import MAX_NUMBER_BYTES
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

OnInvalid = Literal["fail", "skip"]

CHUNK_ROWS = 5500
"""Rows that are taken from a source at a time, where its own format has no other number."""

EXCEL_DIGITS = 15
"""Digits of a number that Excel keeps."""

MAX_SKIPPED = 100_000
"""Rows that may be skipped. Their positions are kept in memory, and more of them mean that the column is wrong."""


@dataclass(frozen=True, slots=True)
class Values:
    """Some values as they were read.

    :param place: what a position counts, for messages: ``row``, or ``users.csv line``. Every file has its own.
    :param positions: of each value, counted from 1.
    :param may_begin: whether they come from lines, of which the first ones may be a record of the file, since nobody
        has said that they are none.
    :param may_end: the same of the last ones.
    """

    place: str
    positions: Sequence[int] = field(repr=False)
    values: Sequence[object] = field(repr=False)
    may_begin: bool = False
    may_end: bool = False


@dataclass(slots=True)
class Tally:
    """What was read.

    :ivar rows: all rows, whether they are numbers or not.
    :ivar positions: those that were skipped, by place.
    :ivar skipped: how many those are.
    """

    rows: int = 0
    positions: dict[str, list[int]] = field(default_factory=dict)
    skipped: int = 0

    def skip(self, place: str, position: int) -> None:
        """:raises InvalidInput: too many rows were skipped."""
        self.positions.setdefault(place, []).append(position)
        self.skipped += 1
        if self.skipped > MAX_SKIPPED:
            raise InvalidInput(
                f"more than {MAX_SKIPPED} rows are invalid, the last at {place} {position}: is it the right column?"
            )


# WeChat Pay says only that a number has at most 214 bytes (P/4013053257); its characters are documented nowhere.
# Known numbers are digits, some with letters, some in groups. Whatever else is in a value, such as a delimiter and a
# customer's name, would be encrypted with it, never be seen again and never be taken back. So anything else is refused,
# and so is a word, since a number has a digit.
_NUMBER = re.compile(r"(?=.*[0-9])[A-Za-z0-9](?:[A-Za-z0-9._-]{0,212}[A-Za-z0-9])?")
_CHARACTERS = "a number has ASCII letters and digits, and '-', '_' or '.' between them"

_FRACTION = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+)")
# After a decimal point, E and digits are always an exponent. Without one, 2024E00001234 may be a number: the exponent
# of a double has at most three digits.
_EXPONENT = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*[eEdD][+-]?[0-9]+|\.[0-9]+[eE][+-]?[0-9]+|[0-9]+[eE][+-]?[0-9]{1,3})")
BLANKS = " \t\u00a0\u3000"
"""Blanks that may be around a value: those of columns of fixed width, and the ones of Chinese text."""

_MASKED = re.compile(r".*([xX])\1{3}.*")
_MASKED_BY_SIGNS = re.compile(r".*[._-]{2}.*")
_DATE = re.compile(
    r"(?:[0-9]{4}([-._])(?:0?[0-9]|1[0-2])\1(?:[0-2]?[0-9]|3[01])"
    r"|[0-9]{1,2}([-._])(?:[0-9]{1,2}\2[12][0-9]{3}|[A-Za-z]{3}\2[0-9]{2,4}))"
    r"(?:[-T][0-9.]+)?"
)
_NUMBER_AND_WORD = re.compile(r"[0-9]{8,}[-_.](?:[A-Za-z]{4,}|[A-Z][a-z]+)|[A-Z][a-z]+[-_.][0-9]{8,}")
_NULL_WORDS = frozenset({"null", "none", "nan", "na", "nat", "nil", "undefined"})
# Tools put such words into brackets or quotes, or a sign before them: (null), <NA>, #N/A, -nan.
_AROUND_NULL = re.compile(r"""[][(){}<>"'#/.+-]""")
_EXCEL = re.compile(r"""'[\w.+-]*|=["\w.+-]*""")
_MARKS = re.compile(r"[^\w\s.\x00\x7f-]+|\t")

NOT_UTF8 = "is not UTF-8"
_HAS_BOM = "starts with a byte order mark (BOM) in the middle of the file; remove it"
_HAS_RETURN = "has a carriage return (\\r) in the middle"
_OF_FILE = frozenset({_HAS_BOM, _HAS_RETURN})
"""What is wrong with a file of lines as a whole. Skipping such rows would lose good numbers."""

WORD_FOR_NULL = "is a word for NULL"
_NOT_WHOLE = "is not a whole number from 0; cast it to text where it comes from"
_TOO_LONG = f"is longer than {MAX_NUMBER_BYTES} bytes"


def problem(value: object) -> str | None:
    """Why a value is not an agreement number, without quoting it; None if it is one.

    Accepted are whole numbers, and texts of at most 214 ASCII letters, digits, ``-``, ``_`` and ``.``, with a digit.
    """
    if isinstance(value, str):
        # Nearly every value, so it is asked for first.
        if value.isdigit() and value.isascii() and len(value) <= MAX_NUMBER_BYTES:
            return None
        # Beginning and end of a longer text tell enough, and the patterns need not search all of it.
        return _problem_of_text(value if len(value) <= MAX_NUMBER_BYTES else f"{value[:MAX_NUMBER_BYTES]}{value[-1]}")
    if value is None:
        return "is NULL"
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return f"is a {type(value).__name__}, not a text or a whole number; cast it where it comes from"
    if isinstance(value, Decimal) and not value.is_finite():
        return _NOT_WHOLE
    if value >= 10**MAX_NUMBER_BYTES:
        return _TOO_LONG
    if value < 0 or value != int(value):
        return _NOT_WHOLE
    if isinstance(value, Decimal) and int(value.as_tuple().exponent) < 0:
        return "is a decimal with a fraction, even if that is 0; cast it to a whole number where it comes from"
    return None


def delimiter(text: str) -> str | None:
    """What seems to separate columns in a text, quoted; None if nothing does. In a word for NULL nothing does."""
    marks = (found[0] for found in _MARKS.finditer(text))
    # Hive separates columns by \x01. An invisible character that is not ASCII is damage, such as a zero-width space.
    seen = next((mark for mark in marks if mark.isprintable() or mark.isascii()), None)
    return None if seen is None or _problem_as_a_whole(text) else repr(seen[:5])


def _problem_of_text(value: str) -> str | None:
    why = _problem_as_a_whole(value)
    if why or _NUMBER.fullmatch(value):
        return why
    if any(character.isspace() for character in value):
        return "has a blank in it; remove it in the source or the query, where TRIM removes those at the ends only"
    if mark := delimiter(value):
        return f"has {mark} in it, which may part columns; {_CHARACTERS}"
    if not value.isprintable():
        return "has a control or invisible character"
    if any(character.isdigit() and not character.isascii() for character in value):
        return "has digits that are not ASCII, full-width for example; convert them in the source or the query"
    if not value.isascii():
        return f"has a letter that is not ASCII; {_CHARACTERS}"
    if not any(character.isdigit() for character in value):
        return "has no digit in it, so it is a word and not a number"
    return _TOO_LONG if len(value) > MAX_NUMBER_BYTES else f"begins or ends with '-', '_' or '.'; {_CHARACTERS}"


def _problem_as_a_whole(value: str) -> str | None:
    """What a text is as a whole, if it is something other than a number."""
    if not value:
        return "is empty"
    if value.isspace():
        return "is blank"
    if any("\ud800" <= character <= "\udfff" for character in value):
        return NOT_UTF8
    if value.startswith("\ufeff"):
        return _HAS_BOM
    if "\r" in value:
        return _HAS_RETURN
    # Hive and MySQL write \N for NULL.
    if value.lower() == "\\n" or _AROUND_NULL.sub("", value.removesuffix(".0")).lower() in _NULL_WORDS:
        return WORD_FOR_NULL
    if _EXCEL.fullmatch(value):
        return "begins with ' or =, as Excel marks numbers that it keeps as text; export it again without Excel"
    if _EXPONENT.fullmatch(value):
        return "has an exponent (E), so its last digits are lost; export it again as text"
    if _DATE.fullmatch(value):
        return "is a date; is it the right column?"
    if _MASKED.fullmatch(value):
        return "is masked with x; export the numbers themselves"
    if _MASKED_BY_SIGNS.fullmatch(value) and _NUMBER.fullmatch(value):
        return "has two of '-', '_' and '.' in a row, as masked numbers have; export the numbers themselves"
    if _NUMBER_AND_WORD.fullmatch(value):
        return "is a number and a word, a customer's name perhaps; export the number alone"
    if _FRACTION.fullmatch(value):
        return "is a fraction, even if that is .0; export it again as text"
    return None


def checked_numbers(source: Iterable[Values], on_invalid: OnInvalid, tally: Tally) -> Iterator[Sequence[str]]:
    """The agreement numbers in some values, in order, without the blanks around them.

    :param on_invalid: ``fail`` raises at the first invalid value, ``skip`` leaves it out.
    :param tally: gets how many values there are, and the positions of what is left out.
    :raises InvalidInput: it names the row, never the value. Whether the first and the last lines are like all others is
        known only at the end of a file, so this may be raised after the numbers of the file were given.
    """
    ends: Ends | None = None
    files = Files()
    rounding = _Rounding()
    for read in source:
        are_lines = read.may_begin or read.may_end
        # Other values begin, so the file before is whole.
        if ends is not None and (ends.place != read.place or not are_lines):
            files.check(ends)
            ends = None
        tally.rows += len(read.values)
        positions, numbers, are_digits = _checked(read, on_invalid, tally)
        if numbers:
            rounding.meet(numbers)
            if are_lines:
                ends = ends or Ends(read.place, read.may_begin, read.may_end)
                ends.add(positions, numbers, are_digits=are_digits)
            yield numbers
    if ends is not None:
        files.check(ends)
    files.check_single_lines()
    rounding.check()


@dataclass(slots=True)
class _Rounding:
    """Whether all numbers that are long enough are as Excel rounds them: from the 16th digit on they have 0.

    :ivar count: how many are long enough.
    """

    count: int = 0
    is_possible: bool = True

    def meet(self, numbers: Sequence[str]) -> None:
        """Take some more into account. Nearly always the first ones show that they are not."""
        if self.is_possible:
            long = [number for number in numbers if len(number) > EXCEL_DIGITS]
            self.is_possible = all(number.isdigit() and not number[EXCEL_DIGITS:].strip("0") for number in long)
            self.count += len(long)

    def check(self) -> None:
        """:raises InvalidInput: all are, and they are too many for that to be chance."""
        if self.is_possible and self.count >= MANY:
            raise InvalidInput(
                f"all {self.count} numbers of more than {EXCEL_DIGITS} digits have nothing but 0 behind, as Excel "
                "and programs that take them for fractions round them: the last digits are lost. Nothing was sent. "
                "Export them again as text, without Excel"
            )


def _checked(read: Values, on_invalid: OnInvalid, tally: Tally) -> tuple[Sequence[int], Sequence[str], bool]:
    """Those of some values that are numbers, with their positions, and whether all are known to be digits alone."""
    if _are_all_digits(read.values):
        return read.positions, read.values, True
    positions, numbers = [], []
    for position, value in zip(read.positions, read.values, strict=True):
        # One that is nothing but blanks is told as that.
        text = (value.strip(BLANKS) or value) if isinstance(value, str) else value
        why = problem(text)
        if why is None:
            positions.append(position)
            numbers.append(text if isinstance(text, str) else str(int(text)))  # type: ignore[call-overload]  # problem() accepted it
        elif why in _OF_FILE and (read.may_begin or read.may_end):
            raise InvalidInput(f"{read.place} {position} {why}. Nothing was sent. Correct the file")
        elif on_invalid == "skip":
            tally.skip(read.place, position)
        else:
            raise InvalidInput(
                f"{read.place} {position} {why}. Nothing was sent. Correct it; an export can leave such rows out, "
                'with on_invalid="skip"'
            )
    return positions, numbers, False


def _are_all_digits(values: Sequence[object]) -> TypeGuard[Sequence[str]]:
    """Whether all are numbers of digits alone, as nearly always: looked at together, that takes a tenth of the time."""
    try:
        text = "".join(values)  # type: ignore[arg-type]  # what is no text raises
    except TypeError:
        return False
    # Bytes tell it in a tenth of the time that a text takes.
    if not (text.isascii() and text.encode().isdigit()):
        return False
    lengths = set(map(len, values))  # type: ignore[arg-type]  # as before
    return 0 not in lengths and max(lengths) <= MAX_NUMBER_BYTES
