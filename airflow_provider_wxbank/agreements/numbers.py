"""What an agreement number may be, and the check of every value that is to become one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from string import ascii_letters
from typing import Literal

from airflow_provider_wxbank.agreements.encryption import MAX_NUMBER_BYTES
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

OnInvalid = Literal["fail", "skip"]

MAX_SKIPPED = 100_000
"""Rows that may be skipped: their positions are kept in memory, and more of them mean a wrong column."""

MIN_DIGITS = 8
"""Digits of a number from which on a line of half as many is not taken for another one."""

MAX_RECORDS = 3
"""Lines at each end of a file that may be records of it."""

MANY = 10
"""Numbers of one shape from which on a line at an end of another shape is not taken for one of them."""

MAX_SHAPES = 1000
"""Shapes that are remembered of a file; numbers of more are of any shape."""


@dataclass(frozen=True, slots=True)
class Values:
    """Some values as they were read.

    :param place: what a position counts, for messages: ``row``, or ``users.csv line``. Every file has its own.
    :param positions: of each value, from 1.
    :param are_lines: whether they are from lines, of which the first and the last may be records of the file.
    """

    place: str
    positions: Sequence[int] = field(repr=False)
    values: Sequence[object] = field(repr=False)
    are_lines: bool = False


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


# WeChat Pay says of a number only that it has at most 214 bytes (P/4013053257); its characters are documented nowhere.
# Known ones are digits, some with letters, some in groups. Whatever else is in a value, such as a delimiter and a
# customer's name, would be encrypted with it, never be seen again and never be taken back. So anything else is refused,
# and so is a word: a number has a digit.
_NUMBER = re.compile(r"(?=.*[0-9])[A-Za-z0-9](?:[A-Za-z0-9._-]{0,212}[A-Za-z0-9])?")
_CHARACTERS = "a number has ASCII letters and digits, and '-', '_' or '.' between them"

_FRACTION = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+)")
# With a point before it any power of ten is one; without, 2024E00001234 may be a number: a double has three digits.
_EXPONENT = re.compile(r"[+-]?(?:[0-9]+\.[0-9]*[eEdD][+-]?[0-9]+|\.[0-9]+[eE][+-]?[0-9]+|[0-9]+[eE][+-]?[0-9]{1,3})")
_MASKED = re.compile(r".*([xX])\1{3}.*")
_MASKED_BY_SIGNS = re.compile(r".*[._-]{2}.*")
_DATE = re.compile(
    r"(?:[12][0-9]{3}([-._])[0-9]{1,2}\1[0-9]{1,2}|[0-9]{1,2}([-._])(?:[0-9]{1,2}|[A-Za-z]{3})\2[12][0-9]{3})"
    r"(?:T[0-9.]+)?"
)
_NUMBER_AND_WORD = re.compile(r"[0-9]{8,}[-_.](?:[A-Za-z]{4,}|[A-Z][a-z]+)|[A-Z][a-z]+[-_.][0-9]{8,}")
_NULL_WORDS = frozenset({"null", "none", "nan", "na", "nat", "nil", "undefined"})
# Tools put them into brackets or quotes, or a sign before them: (null), <NA>, #N/A, -nan.
_AROUND_NULL = re.compile(r"""[][(){}<>"'#/.+-]""")
_EXCEL = re.compile(r"""'[\w.+-]*|=["\w.+-]*""")
_MARKS = re.compile(r"[^\w\s.\x00\x7f-]+|\t")

NOT_UTF8 = "is not UTF-8"
_HAS_BOM = "starts with a byte order mark (BOM); save the file as UTF-8 without it"
_HAS_RETURN = "has a carriage return (\\r); lines end with \\n alone"
_OF_FILE = frozenset({_HAS_BOM, _HAS_RETURN})
"""What is wrong with a file of lines as a whole: to skip such rows would lose good numbers."""

WORD_FOR_NULL = "is a word for NULL"
_NOT_WHOLE = "is not a whole number from 0; cast it to text where it comes from"
_TOO_LONG = f"is longer than {MAX_NUMBER_BYTES} bytes"


def problem(value: object) -> str | None:
    """Why a value is no agreement number, without quoting it; None if it is one.

    Accepted are texts of at most 214 ASCII letters, digits, ``-``, ``_`` and ``.``, with a digit, and whole numbers.
    """
    if isinstance(value, str):
        if value.isdigit() and value.isascii() and len(value) <= MAX_NUMBER_BYTES:
            return None
        # The beginning of a longer one tells enough of it.
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
    """What seems to part columns in a text, quoted; None if nothing does. A word for NULL, for example, has none."""
    marks = (found[0] for found in _MARKS.finditer(text))
    # Hive parts columns by \x01. What is not seen and not ASCII is damage, such as a zero-width blank.
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
    """What a text is that is no number from its first character to its last."""
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
    # \N is Hive's and MySQL's.
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


def checked_numbers(source: Iterable[Values], on_invalid: OnInvalid, skipped: Skipped) -> Iterator[Sequence[str]]:
    """The agreement numbers in some values, in order.

    :param on_invalid: ``fail`` raises at the first value that is none, ``skip`` leaves it out.
    :param skipped: takes the positions of what is left out.
    :raises InvalidInput: names the row, never the value. Only the last line shows whether the first and it are alike
        to all others, so this is raised after the numbers of the file were given.
    """
    ends: _Ends | None = None
    files = _Files()
    for read in source:
        if ends is not None and (ends.place != read.place or not read.are_lines):
            files.check(ends)
            ends = None
        positions, numbers = [], []
        for position, value in zip(read.positions, read.values, strict=True):
            why = problem(value)
            if why is None:
                positions.append(position)
                numbers.append(value if isinstance(value, str) else str(int(value)))  # type: ignore[call-overload]  # problem() accepted it
            elif read.are_lines and why in _OF_FILE:
                raise InvalidInput(f"{read.place} {position} {why}. Nothing was sent. Correct the file")
            elif on_invalid == "skip":
                skipped.add(read.place, position)
            else:
                raise InvalidInput(
                    f"{read.place} {position} {why}. Nothing was sent. Correct it; an export can leave such rows out, "
                    'with on_invalid="skip"'
                )
        if numbers:
            if read.are_lines:
                ends = ends or _Ends(read.place)
                ends.add(positions, numbers)
            yield numbers
    if ends is not None:
        files.check(ends)
    files.check_single_lines()


def _shape(number: str) -> str | int:
    """How many digits a number has, or where it has letters and where digits."""
    return len(number) if number.isdigit() else number.translate(_KINDS)


_KINDS = str.maketrans({**dict.fromkeys("0123456789", "9"), **dict.fromkeys(ascii_letters, "A")})


@dataclass(slots=True)
class _Others:
    """What numbers have in common to which others are compared.

    :ivar shortest: digits of the shortest number of digits alone; None if there is none.
    :ivar shapes: at most :data:`MAX_SHAPES` and one.
    """

    count: int = 0
    of_digits: int = 0
    shortest: int | None = None
    shapes: set[str | int] = field(default_factory=set)

    def meet(self, numbers: Sequence[str]) -> None:
        """Take some more into account."""
        if not numbers:
            return
        # Nearly always all are digits, and one look at them together is enough.
        digits = numbers if "".join(numbers).isdigit() else [number for number in numbers if number.isdigit()]
        self.count += len(numbers)
        self.of_digits += len(digits)
        if digits:
            shortest = min(map(len, digits))
            self.shortest = min(shortest, self.shortest or shortest)
        if len(self.shapes) <= MAX_SHAPES:
            self.shapes |= set(map(len, digits)) if len(digits) == len(numbers) else set(map(_shape, numbers))

    def join(self, others: _Others) -> None:
        """Take those into account that others were compared with."""
        self.count += others.count
        self.of_digits += others.of_digits
        self.shapes |= others.shapes
        if others.shortest is not None:
            self.shortest = min(others.shortest, self.shortest or others.shortest)

    def why_not_one_of_them(self, number: str) -> str | None:
        """What makes a number look like a record of the file among these; None if it may be one of them."""
        shape, with_letters = _shape(number), self.count - self.of_digits
        are_nearly_digits = self.of_digits and 10 * with_letters <= self.count
        is_of_no_shape = shape not in self.shapes and len(self.shapes) <= MAX_SHAPES
        if isinstance(shape, str):
            # One among a hundred may be a record itself, of a file that was put together with others.
            if are_nearly_digits and (is_of_no_shape or 100 * with_letters <= self.count):
                return "letters where nearly all others are digits" if with_letters else _LETTERS
        elif are_nearly_digits and (self.shortest or 0) >= max(MIN_DIGITS, 2 * shape):
            return _FEW_DIGITS
        if is_of_no_shape and self.count >= MANY and len(self.shapes) == 1:
            (only,) = self.shapes
            # Numbers that are counted up get longer.
            if isinstance(only, str) or isinstance(shape, str) or (only >= MIN_DIGITS and shape < only):
                return "another shape than all others, which are alike"
        return None


_LETTERS = "letters where all others are digits"
_FEW_DIGITS = "at most half as many digits as any other"


@dataclass(slots=True)
class _Ends:
    """The first and the last numbers of a file, and what all others have in common.

    Banks' systems put records of the file there, with its date or its number of rows: ``H20261125``, ``T0000000020``.
    """

    place: str
    first: list[tuple[int, str]] = field(default_factory=list, repr=False)
    last: list[tuple[int, str]] = field(default_factory=list, repr=False)
    others: _Others = field(default_factory=_Others)

    def add(self, positions: Sequence[int], numbers: Sequence[str]) -> None:
        """Take some more numbers of the file into account."""
        taken = MAX_RECORDS - len(self.first)
        self.first += zip(positions[:taken], numbers[:taken], strict=True)
        # Which ones are the last is known when there are no more.
        self.last += zip(positions[taken:][-MAX_RECORDS:], numbers[taken:][-MAX_RECORDS:], strict=True)
        passed = max(len(self.last) - MAX_RECORDS, 0)
        self.others.meet([*(number for _, number in self.last[:passed]), *numbers[taken:-MAX_RECORDS]])
        del self.last[:passed]

    def check(self) -> None:
        """:raises InvalidInput: some at an end are another kind of thing than all others."""
        ends = [*self.first, *self.last]
        if self.others.count:
            found = [(position, self.others.why_not_one_of_them(number)) for position, number in ends]
        else:
            found = _records_of_few(ends)
        for why in dict.fromkeys(why for _, why in found if why):
            raise _record(self.place, [position for position, one in found if one == why], why)


def _records_of_few(numbers: Sequence[tuple[int, str]]) -> list[tuple[int, str | None]]:
    """Records at the ends of a file that has little else: those before and after the digits, or the long numbers."""
    found: list[tuple[int, str | None]] = []
    longest = max((len(number) for _, number in numbers if number.isdigit()), default=0)
    for is_number, why in (
        (str.isdigit, _LETTERS),
        (lambda number: 2 * len(number) > longest or longest < MIN_DIGITS, _FEW_DIGITS),
    ):
        kinds = [is_number(number) for _, number in numbers]
        if True in kinds:
            begin, end = kinds.index(True), len(kinds) - kinds[::-1].index(True)
            if all(kinds[begin:end]):
                found += [(position, why) for position, _ in [*numbers[:begin], *numbers[end:]]]
    return found


@dataclass(slots=True)
class _Files:
    """Several files of lines: one of a single line may be a record of another, with its number of rows."""

    single: list[tuple[str, int, str]] = field(default_factory=list, repr=False)
    others: _Others = field(default_factory=_Others)

    def check(self, ends: _Ends) -> None:
        """Take a whole file into account.

        :raises InvalidInput: it has a record at an end.
        """
        ends.check()
        numbers = [*ends.first, *ends.last]
        if len(numbers) == 1:
            self.single.append((ends.place, *numbers[0]))
            return
        self.others.meet([number for _, number in numbers])
        self.others.join(ends.others)

    def check_single_lines(self) -> None:
        """:raises InvalidInput: the one line of a file is another kind of thing than those of the other files."""
        for place, position, number in self.single:
            if self.others.count and (why := self.others.why_not_one_of_them(number)):
                raise _record(place, [position], why)


def _record(place: str, positions: Sequence[int], why: str) -> InvalidInput:
    rows = f" {positions[0]} has" if len(positions) == 1 else f"s {' and '.join(map(str, positions))} have"
    return InvalidInput(
        f"{place}{rows} {why}: that looks like a record of the file, with its date or its number of rows. Nothing was "
        "sent. Remove it from the file; if it is a number, put it between others"
    )
