# SPDX-License-Identifier: Apache-2.0
"""Text files whose lines are one number each, or have columns of fixed width."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from airflow_provider_wxbank.agreements.numbers import BLANKS, WORD_FOR_NULL, delimiter, problem
from airflow_provider_wxbank.agreements.records import shape_of
from airflow_provider_wxbank.agreements.sources.rows import RECORD, Blocks, Rows
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

log = logging.getLogger(__name__)


def lines_of(blocks: Blocks) -> Rows:
    """The lines of a text without their ends."""
    for line, text in blocks:
        lines = text.removesuffix("\n").split("\n")
        yield range(line, line + len(lines)), lines


def whole_lines(rows: Rows, place: str, what: str) -> Rows:
    """Lines that are one number each."""
    is_first = True
    for positions, lines in rows:
        if not "".join(lines).isdigit():
            _check_lines(positions, lines, place, what, is_first=is_first)
        is_first = False
        yield positions, lines


def _check_lines(positions: Sequence[int], lines: Sequence[str], place: str, what: str, *, is_first: bool) -> None:
    """:raises InvalidInput: a line has several columns, or the first one is a header."""
    for position, line in zip(positions, lines, strict=True):
        if not line.isdigit() and (mark := delimiter(line.strip(BLANKS))):
            raise InvalidInput(
                f"{place} {position} has {mark} in it, so {what} is not one number a line. {_of_columns(mark)}"
            )
    first = lines[0].strip(BLANKS)
    if is_first and first and first.isprintable() and not any(map(str.isdigit, first)):
        if problem(first) == WORD_FOR_NULL:
            return
        raise InvalidInput(
            f"{place} {positions[0]} has no digit in it, so it looks like a header, not a number: if it is one, "
            'say so with dialect={"header": True}, or give its text as column'
        )


def _of_columns(mark: str) -> str:
    """What to write for a file that has a mark between its columns, or around its values."""
    if '"' in mark[1:-1] and "," not in mark:
        return 'If its values are quoted, give column=1 and dialect={"header": False}'
    comma = "" if mark == "','" else f'"delimiter": {mark}, '
    return (
        "If that parts columns, give the name of the column with the numbers as column"
        f"{f' and dialect={{{comma[:-2]}}}' if comma else ''}; without a header its number, from 1, and "
        f'dialect={{{comma}"header": False}}'
    )


def slices(rows: Rows, first: int, last: int, encoding: str, place: str) -> Rows:
    """The characters from ``first`` to ``last`` of each line."""
    widths = _Widths(first, last, encoding, place)
    for positions, lines in rows:
        widths.check(positions, lines)
        yield positions, [line[first - 1 : last] for line in lines]


@dataclass(slots=True)
class _Widths:
    """What shows that a column is where it was said to be.

    :ivar characters: in most of the first lines. Lines with as many are taken to be laid out alike.
    :ivar begin: the position of the first line.
    :ivar whole: lengths of lines in bytes.
    :ivar before: the same of what is before their columns.
    """

    first: int
    last: int
    encoding: str
    place: str
    characters: int = 0
    begin: int = 0
    whole: set[int] = field(default_factory=set)
    before: set[int] = field(default_factory=set)

    def check(self, positions: Sequence[int], lines: Sequence[str]) -> None:
        """:raises InvalidInput: in one of the lines the column may be elsewhere."""
        text = "".join(lines)
        if "\r" in text:
            position = next(position for position, line in zip(positions, lines, strict=True) if "\r" in line)
            raise InvalidInput(f"{self.place} {position} has a carriage return (\\r) in the middle. Correct the file")
        if not self.characters:
            self.characters, self.begin = Counter(map(len, lines)).most_common(1)[0][0], positions[0]
            self._warn(lines)
        # A file of one line may have lost its line feeds.
        is_single = len(lines) == 1 and positions[0] == self.begin
        if set(map(len, lines)) != {self.characters} or self.last > self.characters or is_single:
            self._check_alone(positions, lines, is_single=is_single)
        if not text.isascii():
            self._check_bytes(positions, lines)

    def _warn(self, lines: Sequence[str]) -> None:
        """Tell of a column that may be cut: none of these is a reason to refuse it, as columns may touch."""
        if all(_is_cut(line, self.first, self.last) for line in lines):
            log.warning(
                "The column from character %d to %d has digits or letters right beside it in each line. Is it whole? A "
                "part of a number would be encrypted like a number",
                self.first,
                self.last,
            )

    def _check_alone(self, positions: Sequence[int], lines: Sequence[str], *, is_single: bool) -> None:
        """Lines of another length may have been moved, so their column must show by itself where it is."""
        for position, line in zip(positions, lines, strict=True):
            where = f"{self.place} {position} has {len(line)} characters"
            if len(line) < self.last:
                raise InvalidInput(f"{where}, and the column ends at {self.last}: it may be cut off; {RECORD}")
            if len(line) == self.characters and not is_single:
                continue
            if self._has_another(line):
                raise InvalidInput(
                    f"{where}, and more of what looks like its number behind the column: several lines may have "
                    "become one. Nothing was sent. Correct the file"
                )
            if not is_single and _is_cut(line, self.first, self.last):
                raise InvalidInput(
                    f"{where}, not {self.characters} as most, so its column may be elsewhere: no blank is "
                    f"beside it. Nothing was sent. Correct the file; {RECORD}"
                )

    def _has_another(self, line: str) -> bool:
        """Whether there is a number of the same shape behind the column of a line."""
        shape = shape_of(line[self.first - 1 : self.last].strip(BLANKS))
        return shape in map(shape_of, re.split(r"\W+", line[self.last :]))

    def _check_bytes(self, positions: Sequence[int], lines: Sequence[str]) -> None:
        """Positions may be meant in bytes, which mainframes count, and would be others.

        Lines of equally many characters, but of unequally many bytes as a whole and before the column, show that
        characters are counted.
        """
        self.whole |= {len(line.encode(self.encoding)) for line in lines}
        self.before |= {len(line[: self.first - 1].encode(self.encoding)) for line in lines}
        if len(self.whole) > 1 and len(self.before) > 1 and set(map(len, lines)) == {self.characters}:
            return
        for position, line in zip(positions, lines, strict=True):
            beginning = line[: self.last]
            if len(beginning.encode(self.encoding)) != len(beginning):
                raise InvalidInput(
                    f"{self.place} {position} has characters of several bytes before the end of the column, so it is "
                    "not clear whether its positions count bytes or characters. If they are bytes of this file, say "
                    'so with dialect={"encoding": "latin-1"}; else export the list with a delimiter'
                )


def _is_cut(line: str, first: int, last: int) -> bool:
    """Whether a letter or a digit, as a number has, is right before or behind the column."""
    beside = (line[first - 2 : first - 1] if first > 1 else "", line[last : last + 1])
    return any(one.isascii() and one.isalnum() for one in beside)
