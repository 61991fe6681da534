# SPDX-License-Identifier: Apache-2.0
"""Records of a file among its numbers: a header, a trailer, the number of rows.

Banks' systems put them at the ends of a file, or into a file of one line beside it: ``H20261125``, ``T0000000020``.
Encrypted as a number, a record could never be seen again and never be taken back. So a line at such a place that is of
another kind than all others is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from string import ascii_letters

from airflow_provider_wxbank.wechatpay.errors import InvalidInput

MIN_DIGITS = 8
"""If all numbers have at least this many digits, a line with at most half as many is not taken for a number."""

MAX_RECORDS = 3
"""Lines at each end of a file that may be records of it."""

MANY = 10
"""If at least this many numbers all have one shape, a line at an end with another shape is not taken for a number."""

MAX_SHAPES = 1000
"""With more shapes than these in a file, a number may have any shape, and no more shapes are remembered."""


def shape_of(number: str) -> str | int:
    """The shape of a number: how many digits it has, or where it has letters and where digits."""
    return len(number) if number.isdigit() else number.translate(_KINDS)


_KINDS = str.maketrans({**dict.fromkeys("0123456789", "9"), **dict.fromkeys(ascii_letters, "A")})


@dataclass(slots=True)
class Others:
    """What some numbers have in common, to compare others with.

    :ivar lengths: how many have so many digits and nothing else; at most 214 different ones.
    :ivar shapes: complete only while there are at most :data:`MAX_SHAPES`.
    """

    count: int = 0
    shapes: set[str | int] = field(default_factory=set)
    lengths: Counter[int] = field(default_factory=Counter)

    @property
    def of_digits(self) -> int:
        """How many have nothing but digits."""
        return self.lengths.total()

    @property
    def shortest(self) -> int:
        """Digits of the shortest of these; 0 if there is none."""
        return min(self.lengths, default=0)

    def meet(self, numbers: Sequence[str], *, are_digits: bool = False) -> None:
        """Take some more into account.

        :param are_digits: whether all have nothing but digits, as nearly always, if that is known.
        """
        if not numbers:
            return
        shapes: set[str | int] = set(map(len if are_digits else shape_of, numbers))
        if are_digits and len(shapes) == 1:
            # Counting each takes a tenth of the time that a row may take.
            self.lengths[len(numbers[0])] += len(numbers)
        else:
            self.lengths.update(len(number) for number in numbers if number.isdigit())
        self.count += len(numbers)
        if len(self.shapes) <= MAX_SHAPES:
            self.shapes |= shapes

    def join(self, others: Others) -> None:
        """Take another file's numbers into account."""
        self.count += others.count
        self.lengths.update(others.lengths)
        if len(self.shapes) <= MAX_SHAPES:
            self.shapes |= others.shapes

    def check_joined(self, place: str) -> None:
        """:raises InvalidInput: a few have as many digits as two or more of nearly all others together."""
        usual, count = self.lengths.most_common(1)[0] if self.lengths else (0, 0)
        joined = [length for length in self.lengths if length > usual >= MIN_DIGITS and length % usual == 0]
        few = sum(self.lengths[length] for length in joined)
        if few and count >= MANY and 10 * (self.count - count) <= self.count:
            raise InvalidInput(
                f"{place}s: {few} of the numbers have {joined[0]} digits, and {count} have {usual}: several lines "
                "have become one, as in files that were put together with no line feed at their ends. Nothing was sent"
            )

    def why_not_one_of_them(self, number: str) -> str | None:
        """What makes a number look like a record of the file among these; None if it may be one of them."""
        shape, with_letters = shape_of(number), self.count - self.of_digits
        are_nearly_digits = self.of_digits and 10 * with_letters <= self.count
        is_of_no_shape = shape not in self.shapes and len(self.shapes) <= MAX_SHAPES
        if isinstance(shape, str):
            # One in a hundred may be a record itself, of one of several files that were put together.
            if are_nearly_digits and (is_of_no_shape or 100 * with_letters <= self.count):
                return "letters where nearly all others are digits" if with_letters else _LETTERS
        elif are_nearly_digits and self.shortest >= max(MIN_DIGITS, 2 * shape):
            return _FEW_DIGITS
        if is_of_no_shape and self.count >= MANY and len(self.shapes) == 1:
            (only,) = self.shapes
            # Numbers that are counted up get longer, so a longer one is no sign of a record.
            if isinstance(only, str) or isinstance(shape, str) or (only >= MIN_DIGITS and shape < only):
                return "another shape than all others, which are alike"
        return None


_LETTERS_AND_COUNT = re.compile(r"[A-Za-z]+[-_.]?([0-9]{1,15})")
_LETTERS = "letters where all others are digits"
_FEW_DIGITS = "at most half as many digits as any other"


@dataclass(slots=True)
class Ends:
    """The first and the last numbers of a file, where its records would be, and what all others have in common.

    :ivar may_begin: whether the first ones may be records, since nobody has said that they are none.
    :ivar may_end: the same of the last ones.
    :ivar rows: how many there are so far.
    :ivar counted: how many there were when the last record of them ended.
    :ivar counts: positions of some records with a number of rows.
    """

    place: str
    may_begin: bool = True
    may_end: bool = True
    first: list[tuple[int, str]] = field(default_factory=list, repr=False)
    last: list[tuple[int, str]] = field(default_factory=list, repr=False)
    others: Others = field(default_factory=Others)
    rows: int = 0
    counted: int = 0
    counts: list[int] = field(default_factory=list)

    def add(self, positions: Sequence[int], numbers: Sequence[str], *, are_digits: bool = False) -> None:
        """Take some more numbers of the file into account.

        :param are_digits: whether all have nothing but digits, if that is known.
        """
        if not are_digits:
            self._find_counts(positions, numbers)
        self.rows += len(numbers)
        taken = MAX_RECORDS - len(self.first)
        self.first += zip(positions[:taken], numbers[:taken], strict=True)
        # Which ones are the last is known only at the end, so the last few so far are held back.
        self.last += zip(positions[taken:][-MAX_RECORDS:], numbers[taken:][-MAX_RECORDS:], strict=True)
        passed = max(len(self.last) - MAX_RECORDS, 0)
        self.others.meet([number for _, number in self.last[:passed]])
        self.others.meet(numbers[taken:-MAX_RECORDS], are_digits=are_digits)
        del self.last[:passed]

    def _find_counts(self, positions: Sequence[int], numbers: Sequence[str]) -> None:
        """Find lines that have letters and the number of rows before them, as in files that were put together."""
        for index, number in enumerate(numbers):
            found = None if number.isdigit() else _LETTERS_AND_COUNT.fullmatch(number)
            if found and int(found[1]) == self.rows + index - self.counted > 1 and len(self.counts) < MAX_RECORDS:
                self.counts.append(positions[index])
            if found:
                # A record before them does not count, nor does what is before it.
                self.counted = self.rows + index + 1

    def check(self) -> None:
        """:raises InvalidInput: lines at an end are of another kind than all others, or some are no single numbers."""
        ends = [*self.first, *self.last]
        if self.others.count:
            found = [
                [(position, self.others.why_not_one_of_them(number)) for position, number in end]
                for end in (self.first, self.last)
            ]
        else:
            found = _records_of_few(ends)
        told = [one for end, may_be in zip(found, (self.may_begin, self.may_end), strict=True) if may_be for one in end]
        for why in dict.fromkeys(why for _, why in told if why):
            raise _record(self.place, [position for position, one in told if one == why], why)
        if self.counts and self.may_end:
            raise _record(self.place, self.counts, "letters and the number of rows before")
        # The number of rows, with as many zeros before it as make it as long as a number.
        zeros = [(position, number) for position, number in ends if number.startswith("000") and number.isdigit()]
        if (
            self.may_end
            and len(zeros) == 1
            and zeros[0] in self.last
            and 0 <= self.rows - int(zeros[0][1]) <= MAX_RECORDS
        ):
            raise _record(self.place, [zeros[0][0]], "the number of rows, with zeros before it")
        self.others.check_joined(self.place)


def _records_of_few(numbers: Sequence[tuple[int, str]]) -> list[list[tuple[int, str | None]]]:
    """Records at the beginning and the end of a file that has little else: before and after digits, or long numbers."""
    before: list[tuple[int, str | None]] = []
    after: list[tuple[int, str | None]] = []
    longest = max((len(number) for _, number in numbers if number.isdigit()), default=0)
    for is_number, why in (
        (str.isdigit, _LETTERS),
        (lambda number: 2 * len(number) > longest or longest < MIN_DIGITS, _FEW_DIGITS),
    ):
        kinds = [is_number(number) for _, number in numbers]
        if True in kinds:
            begin, end = kinds.index(True), len(kinds) - kinds[::-1].index(True)
            if all(kinds[begin:end]):
                before += [(position, why) for position, _ in numbers[:begin]]
                after += [(position, why) for position, _ in numbers[end:]]
    return [before, after]


@dataclass(slots=True)
class Files:
    """Several files of lines. A file of one line may be a record of another file, with its number of rows."""

    single: list[tuple[str, int, str]] = field(default_factory=list, repr=False)
    others: Others = field(default_factory=Others)

    def check(self, ends: Ends) -> None:
        """Take a whole file into account.

        :raises InvalidInput: it has a record at an end.
        """
        ends.check()
        numbers = [*ends.first, *ends.last]
        # A single line can be judged only when the other files are known.
        if len(numbers) == 1:
            if ends.may_begin or ends.may_end:
                self.single.append((ends.place, *numbers[0]))
            return
        self.others.meet([number for _, number in numbers])
        self.others.join(ends.others)

    def check_single_lines(self) -> None:
        """:raises InvalidInput: the one line of a file is of another kind than those of the other files."""
        for place, position, number in self.single:
            if self.others.count and (why := self.others.why_not_one_of_them(number)):
                raise _record(place, [position], why)


def _record(place: str, positions: Sequence[int], why: str) -> InvalidInput:
    rows = f" {positions[0]} has" if len(positions) == 1 else f"s {' and '.join(map(str, positions))} have"
    return InvalidInput(
        f"{place}{rows} {why}: that looks like a record of the file, with its date or its number of rows. Nothing was "
        "sent. Remove it, or tell the export how many such lines there are at the beginning and at the end, with "
        'dialect={"skip_rows": ..., "skip_footer": ...}; 0 says that all of them are numbers'
    )
