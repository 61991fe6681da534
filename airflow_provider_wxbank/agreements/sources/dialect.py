# SPDX-License-Identifier: Apache-2.0
"""How a list is laid out: which column holds the numbers, and how the lines of a text file are to be read."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

from airflow_provider_wxbank.wechatpay.errors import InvalidInput

Column = str | int | tuple[int, int]
"""The column with the numbers: its name; its number, from 1; or the first and the last character of it, from 1."""

MAX_DELIMITER = 20
"""Characters of a delimiter. A longer one is a mistake."""

CHINESE = frozenset({"gb18030", "gbk", "gb2312", "big5", "big5hkscs", "cp950"})
"""Encodings of several bytes a character, beside UTF-8. Taken for one another, they still part the same bytes alike."""

_RANGE = re.compile(r"(\d{1,6})-(\d{1,6})")
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|([0-7]{3}))")
_ASCII = bytes([10, 13, *range(32, 127)])


@dataclass(frozen=True, slots=True)
class Dialect:
    """What is not usual about a text file. The names, but for those of lines, are those of Python's ``csv``.

    :param encoding: any that keeps ASCII as it is; ``gb18030`` for GBK.
    :param delimiter: what parts the columns: one character or several, such as ``|@|``.
    :param quotechar: what is put around values that have a delimiter or a line break in them; None if nothing is.
    :param header: whether the first line has the names of the columns. None is yes where there is a delimiter, and no
        for lines that are one number each or have columns of fixed width.
    :param skip_rows: lines before that, such as a record with the date. None if nobody has said how many.
    :param skip_footer: lines at the end, such as a record with the number of rows. None as before.
    """

    encoding: str = "utf-8"
    delimiter: str | None = None
    quotechar: str | None = '"'
    header: bool | None = None
    skip_rows: int | None = None
    skip_footer: int | None = None

    @classmethod
    def of(cls, written: Mapping[str, object] | None) -> Dialect:
        """The dialect that a user wrote.

        :raises InvalidInput: a key is unknown, or a value is not of its kind.
        """
        if written is None:
            return cls()
        if not isinstance(written, Mapping):
            raise InvalidInput(
                f'dialect is of type {type(written).__name__}: it must be a mapping, for example {{"delimiter": "|"}}. '
                "If it is a template, let the DAG have render_template_as_native_obj=True, and let the template give a "
                "mapping, as var.json does for a variable with JSON"
            )
        known = {field.name for field in fields(cls)}
        if unknown := [key for key in written if key not in known]:
            raise InvalidInput(f"dialect has no {unknown[0]!r}; it has {', '.join(sorted(known))}")
        checks: dict[str, Callable[[object], object]] = {
            "encoding": _encoding,
            "delimiter": _delimiter,
            "quotechar": _quotechar,
            "header": _truth,
            "skip_rows": lambda value: count_of(value, "dialect's skip_rows"),
            "skip_footer": lambda value: count_of(value, "dialect's skip_footer"),
        }
        given = {
            # All but the encoding may be None.
            name: None if value is None and name != "encoding" else checks[name](value)
            for name, value in written.items()
        }
        dialect = cls(**given)  # type: ignore[arg-type]  # each was checked above
        if dialect.delimiter is not None and dialect.delimiter == dialect.quotechar:
            raise InvalidInput("dialect has the same text as delimiter and as quotechar")
        return dialect

    def check(self, column: Column | None) -> None:
        """:raises InvalidInput: it does not fit the column."""
        if column is None and self.delimiter is not None:
            raise InvalidInput(
                "dialect has a delimiter, so there are columns: give column, the name or the number of the one with "
                "the numbers"
            )
        if isinstance(column, tuple) and self.delimiter is not None:
            raise InvalidInput("a column from one character to another has no delimiter: leave out one of the two")
        if isinstance(column, str) and self.header is False:
            raise InvalidInput("column is a name, and dialect says that there is no header: give its number, from 1")

    def has_header(self, column: Column | None) -> bool:
        """Whether the first line has the names of the columns."""
        return self.header if self.header is not None else isinstance(column, (str, int))


@dataclass(slots=True)
class Seen:
    """What was found in the files that were read so far, to compare the next ones with.

    :ivar name: of the column that was given by its number.
    :ivar where: the file that has it so.
    :ivar index: of the column in the file that is read, from 0, if that is a text with a delimiter.
    :ivar width: how many columns that has.
    """

    name: str | None = None
    where: str = ""
    index: int = 0
    width: int = 0

    def check(self, name: str, column: Column | None, what: str) -> None:
        """:raises InvalidInput: a column that was given by its number has another name in this file."""
        if not isinstance(column, int):
            return
        if self.name is None:
            self.name, self.where = name, what
        elif folded(name) != folded(self.name):
            raise InvalidInput(
                f"column {column} of {what} has another name than that of {self.where}, so it may be another one: give "
                "its name as column. Nothing was sent"
            )


def column_of(written: object) -> Column | None:
    """The column that a user wrote. A text of digits, as templates and command lines give it, is a column's number.

    :raises InvalidInput: it is neither a name nor a number nor two of them.
    """
    if written is None:
        return None
    if isinstance(written, str):
        text = written.strip()
        if not text:
            raise InvalidInput("column is empty")
        if found := _RANGE.fullmatch(text):
            return column_of((int(found[1]), int(found[2])))
        return column_of(int(text)) if text.isascii() and text.isdigit() else written
    if type(written) is int:
        if written < 1:
            raise InvalidInput(f"column is {written}, and columns are counted from 1")
        return written
    if isinstance(written, Sequence) and [type(one) for one in written] == [int, int]:
        first, last = written
        if not 1 <= first <= last:
            raise InvalidInput(
                f"column is from character {first} to {last}: the first is 1, and the last is not before"
            )
        return first, last
    raise InvalidInput(
        f"column is of type {type(written).__name__}: it must be a name, a number from 1, or for lines of fixed width "
        "the first and the last character, such as (1, 18)"
    )


def column_index(names: Sequence[str], column: Column | None, what: str) -> int:
    """The index of a column among some that have names, which are compared without case and blanks around them.

    :raises InvalidInput: there are several and none is named, or the named one is missing or is there twice. The other
        names are not quoted: in a file without a header they are a customer's data.
    """
    if column is None:
        if len(names) == 1:
            return 0
        raise InvalidInput(f"{what} has {len(names)} columns; name the one with the numbers as column")
    if isinstance(column, tuple):
        raise InvalidInput(f"{what} has columns, and no lines: give the name of one, or its number from 1, as column")
    if isinstance(column, int):
        if column > len(names):
            raise InvalidInput(f"{what} has {columns(len(names))}, and column is {column}")
        return column - 1
    found = [index for index, name in enumerate(names) if name == column]
    # One that is named exactly comes first: names may differ in case alone.
    found = found or [index for index, name in enumerate(names) if folded(name) == folded(column)]
    if not found:
        raise InvalidInput(f"{what} has {columns(len(names))}, none of them named {column!r} (check column)")
    if len(found) > 1:
        raise InvalidInput(f"{what} has {columns(len(names))}, {len(found)} of them named {column!r}")
    return found[0]


def columns(count: int) -> str:
    """``1 column``, ``2 columns``."""
    return f"{count} column{'' if count == 1 else 's'}"


def count_of(written: object, name: str) -> int | None:
    """A number of rows, or of lines, that a user wrote, perhaps as text; None if there is none.

    :raises InvalidInput: it is not a whole number from 0.
    """
    if written is None:
        return None
    if isinstance(written, str) and re.fullmatch("[0-9]{1,15}", written.strip()):
        return int(written)
    if type(written) is not int or written < 0:
        shown = repr(written) if isinstance(written, (int, float)) else f"of type {type(written).__name__}"
        raise InvalidInput(f"{name} must be a whole number from 0, and is {shown}")
    return written


def folded(name: str) -> str:
    """A column's name in the form in which it is compared."""
    return name.strip().casefold()


def _encoding(written: object) -> str:
    if not isinstance(written, str) or not written:
        raise InvalidInput("dialect's encoding must be a name, such as utf-8 or gb18030")
    try:
        name = codecs.lookup(written).name.removesuffix("-sig")
        # Of an encoding of single bytes each one is a character, perhaps an unknown one.
        is_read = name in {"utf-8", *CHINESE} or _is_of_single_bytes(name)
        keeps_ascii = is_read and _ASCII.decode(name, "replace") == _ASCII.decode("ascii")
    except (LookupError, UnicodeError):
        raise InvalidInput(f"dialect's encoding {written[:40]!r} is none that Python knows for texts") from None
    if not keeps_ascii:
        raise InvalidInput(
            f"dialect's encoding {written[:40]!r} is not read: it must be UTF-8, a Chinese one, or one of single bytes "
            f"that keeps ASCII. Convert the file first, for example with iconv -f {written[:40]} -t UTF-8"
        )
    return name


def _is_of_single_bytes(name: str) -> bool:
    # In these a byte may change what the next ones mean.
    if re.search("escape|iso2022", name):
        return False
    return len(bytes(range(256)).decode(name, "replace")) == 256


def _delimiter(written: object) -> str:
    # A command line and a form cannot give a control character, so \t, \x01 and \001 may be written out.
    delimiter = written
    if isinstance(written, str) and written != "\\":
        delimiter = _ESCAPE.sub(
            lambda found: chr(int(found[3], 8) if found[3] else int(found[1] or found[2], 16)), written
        )
        delimiter = delimiter.replace("\\t", "\t")
    if not isinstance(delimiter, str) or not 1 <= len(delimiter) <= MAX_DELIMITER:
        raise InvalidInput(f'dialect\'s delimiter must be 1 to {MAX_DELIMITER} characters, such as "|" or "\\x01"')
    if re.search(r"[\r\n]|^[A-Za-z0-9]+$", delimiter):
        raise InvalidInput("dialect's delimiter must not have a line break in it, nor be of letters and digits alone")
    return delimiter


def _quotechar(written: object) -> str:
    if not isinstance(written, str) or len(written) != 1 or written.isalnum() or written in "\r\n":
        raise InvalidInput("dialect's quotechar must be one character, such as '\"', or None if nothing is quoted")
    return written


def _truth(written: object) -> bool:
    text = written.strip().lower() if isinstance(written, str) else written
    if text in ("true", "false"):
        return text == "true"
    if not isinstance(written, bool):
        raise InvalidInput(f"dialect's header must be True or False, not of type {type(written).__name__}")
    return written
