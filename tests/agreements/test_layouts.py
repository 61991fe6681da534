# SPDX-License-Identifier: Apache-2.0
"""Text files of every layout: what is written with a dialect is read back with it, and nothing else is."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from airflow_provider_wxbank.agreements.numbers import Tally, checked_numbers
from airflow_provider_wxbank.agreements.sources.dialect import Column, Dialect
from airflow_provider_wxbank.agreements.sources.files import read_files
from airflow_provider_wxbank.wechatpay.errors import InvalidInput
from tests.agreements.test_sources import RUN, read
from tests.conftest import numbers
from tests.harness.files import location

NO_HEADER = {"header": False}
PIPE = {"delimiter": "|"}
AT = {"delimiter": "|@|"}
GBK = {"encoding": "gb18030"}
NAMES = ["张三", "李四光", "欧阳修", 'a, "b"', "O'Neil", "諸葛亮", "〇", "Ström", "𠮷田", "-"]


def rows_of(delimiter: str, *, header: str = "", end: str = "\n", tail: str = "") -> str:
    """20 customers as id, number and name, with some delimiter."""
    lines = [header] if header else []
    lines += [delimiter.join((str(index), row, NAMES[index % 3])) + tail for index, row in enumerate(RUN)]
    return end.join(lines) + end


@dataclass(frozen=True)
class Case:
    """A file of a bank, and what is said of it."""

    content: bytes
    column: Column | None = None
    dialect: dict[str, object] = field(default_factory=dict)


def of(text: str, column: Column | None = None, written_in: str = "utf-8", /, **dialect: object) -> Case:
    return Case(text.encode(written_in), column, dialect)


HEADER = "id|agreement_no|name"
WIDE = "".join(f"{index:<6}{row}{NAMES[index % 3]}\n" for index, row in enumerate(RUN))
# As many characters before the number, but not as many bytes.
WIDE_NAMES = "".join(f"{'王' * (1 + index % 3):<6}{row}{index:>4}\n" for index, row in enumerate(RUN))
LINES = "".join(f"{row}\n" for row in RUN)
WIDE_ROWS = "".join(f"{index:<6}{row} ZHANG{index % 10} \n" for index, row in enumerate(RUN))

READ: dict[str, Case] = {
    # One at a time
    "tabs, no header": of(rows_of("\t"), 2, delimiter="\t", **NO_HEADER),
    "semicolons, as Excel in Europe": of(rows_of(";", header="id;agreement_no;name"), "agreement_no", delimiter=";"),
    "a delimiter at each end": of(rows_of("|", header=HEADER + "|", tail="|"), "agreement_no", **PIPE),
    "a delimiter at each end, no header": of(rows_of("|", tail="|"), 2, **PIPE, **NO_HEADER),
    "ctrl-a of Hive, no header": of(rows_of("\x01"), 2, delimiter="\x01", **NO_HEADER),
    "unit separator": of(rows_of("\x1f", header="id\x1fagreement_no\x1fname"), 2, delimiter="\\x1f"),
    "two characters": of(rows_of("||", header="id||agreement_no||name"), "agreement_no", delimiter="||"),
    "five characters": of(rows_of("<#~#>", header="id<#~#>agreement_no<#~#>name"), 2, delimiter="<#~#>"),
    "half a delimiter at the end": of(rows_of("|@|").replace("李四光", "李四|@"), 2, **AT, **NO_HEADER),
    "half a delimiter before the number": of("".join(f"a|@||@{row}\n" for row in RUN), 3, delimiter="|@", **NO_HEADER),
    "a Chinese delimiter": of(rows_of("｜", header="id｜agreement_no｜name"), "agreement_no", delimiter="｜"),
    "quotes that are none": of(
        rows_of("|", header=HEADER).replace("张三", '"张三'), "agreement_no", quotechar=None, **PIPE
    ),
    "all quoted": of('"' + rows_of('","').replace("\n", '"\n"')[:-1], 2, **NO_HEADER),
    "all quoted, several characters": of('"' + rows_of('"|@|"').replace("\n", '"\n"')[:-1], 2, **AT, **NO_HEADER),
    "apostrophes as quotes": of("'" + rows_of("','").replace("\n", "'\n'")[:-1], 2, quotechar="'", **NO_HEADER),
    "a quoted header": of('"id","Agreement No","name"\n' + rows_of(","), "agreement no"),
    "a header of one column": of("agreement_no\n" + LINES, "agreement_no"),
    "a header of one column, said so": of("协议号\n" + LINES, None, header=True),
    "one column, quoted": of("".join(f'"{row}"\n' for row in RUN), 1, **NO_HEADER),
    "blanks around each value": of(rows_of(" , "), 2, **NO_HEADER),
    "blanks before each line": of("".join(f"\t {row}\u3000 \n" for row in RUN)),
    "carriage returns, no last one": of(rows_of(",", end="\r\n").removesuffix("\n"), 2, **NO_HEADER),
    "no line feed at the end": of(LINES.removesuffix("\n")),
    "many empty lines at the end": of(LINES + "\n \r\n" * 100),
    "an end as DOS marks it": of(LINES + "\x1a"),
    "three records before, two after": of(
        f"BEGIN\nDATE=20261126\n--\n{LINES}ROWS=20\nEND\n", None, skip_rows=3, skip_footer=2
    ),
    "a record after, and empty lines": of(f"{LINES}T20\n\n\n", None, skip_footer=1),
    "fixed width, numbers in the middle": of(WIDE, (7, 24)),
    "fixed width, blanks at the ends cut off": of(
        "".join(f"{row} {'x' * (index % 4)}\n" for index, row in enumerate(RUN)), (1, 18)
    ),
    "fixed width, an id card behind": of("".join(f"{row}{int(row) + 7}\n" for row in RUN), (1, 18)),
    "headers like kinds of files": of(rows_of("|", header="SEQ|ORC_NO|PARENT"), "ORC_NO", **PIPE),
    "a long header": of(rows_of("|", header=f'"{"x" * 9000}\ny"|agreement_no|name'), "agreement_no", **PIPE),
    "fixed width, characters before": of(WIDE_NAMES, (7, 24)),
    "a byte order mark and a header": of("\ufeff" + rows_of(",", header="agreement_id,agreement_no,n"), "AGREEMENT_NO"),
    # In GB18030
    "GB18030": of(rows_of("|", header="序号|快捷协议号|姓名"), " 快捷协议号", "gb18030", **PIPE, **GBK),
    "GB18030 with a byte order mark": of("\ufeff" + rows_of("|", header=HEADER), 2, "gb18030", **PIPE, **GBK),
    "GB18030 of four bytes": of(rows_of("|").replace("张三", "𠮷㐀"), 2, "gb18030", **PIPE, **NO_HEADER, **GBK),
    "GB18030 with halves that are delimiters": of(
        rows_of("|").replace("张三", "誠倈x"), 2, "gb18030", **PIPE, **NO_HEADER, **GBK
    ),
    "GB18030, several characters, records": of(
        f"H20261126\n{rows_of('|@|', header='a|@|b|@|c')}T20\n", "b", "gb18030", skip_rows=1, skip_footer=1, **AT, **GBK
    ),
    "GBK": of(rows_of(",", header="序号,协议号,姓名"), "协议号", "gbk", encoding="cp936"),
    "Big5 of a branch in Hong Kong": of(
        rows_of(",", header="序號,協議號,姓名").replace("张三", "張三").replace("欧阳修", "歐陽修"),
        "協議號",
        "big5",
        encoding="big5",
    ),
    "GB18030, fixed width in bytes": Case(
        b"".join(f"{row}\n".encode() for row in [f"{r:<18}" for r in RUN]).replace(b"\n", "张三\n".encode("gb18030")),
        (1, 18),
        {"encoding": "latin-1"},
    ),
    "fixed width in bytes after a name": Case(
        b"".join(NAMES[i % 3].encode("gb18030").ljust(10) + row.encode() + b"20261126\n" for i, row in enumerate(RUN)),
        (11, 28),
        {"encoding": "latin-1"},
    ),
    # Two things at once
    "GB18030, returns, an empty last line": of(
        rows_of("\t", end="\r\n") + "\r\n", 2, "gb18030", delimiter="\t", **NO_HEADER, **GBK
    ),
    "a mark, returns, blanks, another case": of(
        "\ufeff" + rows_of(" |", header=" ID | Agreement_No | Name", end="\r\n"), "agreement_no", **PIPE
    ),
    "records, returns and a header": of(
        "H|20261126\r\n" + rows_of("|", header=HEADER, end="\r\n") + "T|20\r\n",
        "agreement_no",
        skip_rows=1,
        skip_footer=1,
        **PIPE,
    ),
    "quotes with line breaks and records": of(
        'H20261126\nid,agreement_no,name\n0,"202400000000000000","a\r\nb"\n1,202400000000000001,"c\n\nd"\nT2\nT\n',
        "agreement_no",
        skip_rows=1,
        skip_footer=2,
    ),
}
TWO = RUN[:2]


@pytest.mark.parametrize("compress", [None, gzip.compress, bz2.compress, lzma.compress], ids=["", "gz", "bz2", "xz"])
@pytest.mark.parametrize("name", READ)
def test_a_file_of_this_layout_is_read(tmp_path: Path, name: str, compress: Callable[[bytes], bytes] | None) -> None:
    case = READ[name]
    (tmp_path / "users.dat").write_bytes(compress(case.content) if compress else case.content)
    expected = TWO if "line breaks" in name else RUN
    assert read(tmp_path / "users.dat", case.column, **case.dialect) == expected


BYTES = [
    f"{name.encode('gb18030').ljust(10).decode('gb18030')}{row}20261126"
    for name, row in zip(["王小明"] * 20, RUN, strict=True)
]
JOINED = "".join(f"{row}\n" for row in RUN[:10]).removesuffix("\n") + "".join(f"{row}\n" for row in RUN[10:])

REFUSED: dict[str, tuple[Case, str]] = {
    "files put together without a line feed": (of(JOINED), "lines: 1 of the numbers have 36 digits, and 12 have 18"),
    "records of files put together": (
        of("H20261126\n" + LINES[:190] + "T0000000010\nH20261126\n" + LINES[190:] + "T0000000010\n", skip_rows=1),
        "lines 12 and 24 have letters and the number of rows before|line 24 has letters",
    ),
    "a number of rows, as long as the numbers": (of(LINES + "000000000000000020\n"), "line 21 has the number of rows"),
    "a header once more, with a digit, in another case": (
        of("Acct_No1\n" + LINES[:190] + "ACCT_NO1\n" + LINES[190:], "acct_no1"),
        "line 12 is the header once more",
    ),
    "a part without a trailer": (of(LINES, skip_footer=1), "line 20 is left out because of .*does this file have such"),
    "a part without a record before": (of(LINES, skip_rows=1), "line 1 is left out because of"),
    "a part without a header": (of(LINES, header=True), "line 1 is left out because of"),
    "a part without a header, said to have one": (of(rows_of("|"), 2, header=True, **PIPE), "should be the header"),
    "a part of columns without a trailer": (
        of(rows_of("|", header=HEADER), "agreement_no", skip_footer=1, **PIPE),
        "line 21 is left out because of",
    ),
    "a part of fixed width without a trailer": (of(WIDE, (7, 24), skip_footer=1), "line 20 is left out because of"),
    "a header that is a short number": (of("a|1234\nb|5678\n", 2, **PIPE), "line 1 should be the header"),
    "rounded by Excel": (
        of("".join(f"{row[:15]}000\n" for row in numbers(20, 10**9))),
        "all 20 numbers of more than 15 digits have nothing but 0",
    ),
    "bytes of a constant name, and a last character": (
        of(
            "".join(f"{row}{'男' if index % 3 else 'F'}\n" for index, row in enumerate(BYTES)),
            (11, 28),
            "gb18030",
            **GBK,
        ),
        "line 1 has characters of several bytes",
    ),
    "bytes of GBK, converted to UTF-8 since": (
        of(
            "".join(f"{name:<{10 - len(name)}}{row}20261126\n" for name, row in zip(NAMES[:3] * 7, RUN, strict=False)),
            (11, 28),
            encoding="latin-1",
        ),
        "characters, not .* as most",
    ),
    "fixed width, one line longer": (
        of(WIDE_ROWS.replace("ZHANG3 ", "ZHANG31", 1).replace("202", "9202", 1), (7, 24)),
        "line",
    ),
    "fixed width, a lost line feed": (
        of(WIDE_ROWS.replace("\n", " ", 1), (7, 24)),
        "several lines may have become one",
    ),
    "fixed width, no line feeds": (of(WIDE_ROWS.replace("\n", " "), (7, 24)), "several lines may have become one"),
    "fixed width, returns alone": (of(WIDE_ROWS.replace("\n", "\r"), (7, 24)), "line 1 has a carriage return"),
    "UTF-8 behind GB18030": (
        Case(rows_of("|").encode("gb18030") + rows_of("|").encode() * 900, 2, {**PIPE, **NO_HEADER, **GBK}),
        "looks like UTF-8 from line|is not GB18030",
    ),
    "rows swallowed by quotes, of other lengths": (
        of("".join(f'{i},{row},"a\n{i},{row}1,b"\n' for i, row in enumerate(RUN)), 2, **NO_HEADER),
        "one too many",
    ),
    "rows swallowed by quotes, with returns": (
        of("".join(f'{i},{row},"a\r{i},{row}1,b"\n' for i, row in enumerate(RUN)), 2, **NO_HEADER),
        "carriage return",
    ),
    "a date of the end of time": (of("a\n9999-12-31\n", "a"), "line 2 is a date"),
    "a date of Oracle": (of("a\n26-NOV-26\n", "a"), "line 2 is a date"),
    "a time of DB2": (of("a\n2026-11-26-10.15.00.000000\n", "a"), "line 2 is a date"),
    "GB18030 that is not told": (
        of(rows_of("|", header=HEADER), 2, "gb18030", **PIPE),
        "users.dat line 2 is not UTF-8 and looks like GB18030",
    ),
    "GB18030 of which the 15th row is the first that shows it": (
        of(LINES[: 19 * 14] + "2024张\n", None, "gb18030"),
        "users.dat line 15 is not UTF-8 and looks like GB18030",
    ),
    "UTF-8 that is called GB18030": (
        of(rows_of("|").replace("李四光", "李四"), 2, **PIPE, **NO_HEADER, **GBK),
        "looks like UTF-8",
    ),
    "UTF-8 of three characters each, called GBK": (
        of("".join(f"王小明|{row}|20261126\n" for row in RUN), 2, encoding="gbk", **PIPE, **NO_HEADER),
        "looks like UTF-8 from line 1 on, and dialect.s encoding is gbk",
    ),
    "Latin-1 that is not told": (of("Ström;1\n", 2, "latin-1", delimiter=";", **NO_HEADER), "line 1 is not UTF-8"),
    "half a character at the end": (Case("2024\n张".encode()[:-1]), "line 2 is not UTF-8"),
    "no header, a name": (of(rows_of("|"), "agreement_no", **PIPE), "none of them named.*may be no header"),
    "no header, a number": (of(rows_of("|"), 2, **PIPE), "should be the header, and has what looks like a number"),
    "a header that is denied": (of(rows_of("|", header=HEADER), 2, **PIPE, **NO_HEADER), "line 1 has no digit in it"),
    "a header that is denied, with a digit": (
        of("agreement_no2\n" + LINES, 1, **NO_HEADER),
        "line 1 has letters where all others are digits",
    ),
    "two columns of the name": (of("No,no \n1,2\n", "NO"), "has 2 columns, 2 of them named 'NO'"),
    "a column too far": (of(rows_of("|"), 4, **PIPE, **NO_HEADER), "has 3 columns, and column is 4"),
    "another delimiter": (of(rows_of(";"), 2, **NO_HEADER), "has 1 column, and column is 2: ';' seems to part"),
    "another delimiter of several": (
        of(rows_of("^|^"), 2, **PIPE, **NO_HEADER),
        "line 1 has '\\^' in it, which may part columns",
    ),
    "a delimiter in a name": (
        of(rows_of("|", header=HEADER).replace("李四光", "李|四"), 2, **PIPE),
        "line 3 has 4 columns, but the header has 3",
    ),
    "a row too short": (
        of(rows_of("|@|", header="a|@|b|@|c").replace("|@|李四光", "", 1), "b", **AT),
        "line 3 has 2 columns, but the header has 3",
    ),
    "an empty line in the middle": (of(LINES[:95] + "\n" + LINES[95:]), "line 6 is empty"),
    "an empty line between columns": (of(rows_of(",").replace("\n2,", "\n\n2,"), 2, **NO_HEADER), "line 3 is empty"),
    "an empty line between quoted columns": (
        of(rows_of(",").replace("\n2,", "\n\n2,").replace("张三", '"张,三"'), 2, **NO_HEADER),
        "line 3 is empty",
    ),
    "an empty line in one column": (of("a\n1\n\n2\n", "a"), "line 3 is empty"),
    "returns without line feeds": (of(LINES.replace("\n", "\r")), "line 1 has a carriage return"),
    "returns without line feeds, columns": (of(rows_of(",", end="\r"), 2, **NO_HEADER), "carriage return"),
    "a return too many": (of(rows_of(",", end="\r\r\n"), 2, **NO_HEADER), "line 1 has a carriage return"),
    "a quotation mark too many": (of(rows_of(",").replace("张三", '"张三', 1), 2, **NO_HEADER), "not CSV.*quotechar"),
    "two quotation marks too many": (
        of(rows_of(",").replace("\n1,", '\n1,"x').replace("\n3,", '\n"3,') + '"\n', 2, **NO_HEADER),
        "not CSV|columns",
    ),
    "text behind a quotation mark": (of('1,"2024"x\n', 2, **NO_HEADER), "line 1 is not CSV.*quotechar"),
    "quotes that are not told": (of('"' + rows_of('","').replace("\n", '"\n"')[:-1]), "line 1 has .* in it"),
    "a trailer of other columns": (
        of(rows_of("|") + "T|20\n", 2, **PIPE, **NO_HEADER),
        "line 21 has 2 columns.*skip_footer",
    ),
    "a trailer of as many columns": (
        of(rows_of("|") + "T|20|x\n", 2, **PIPE, **NO_HEADER),
        "line 21 has at most half as many digits.*skip_footer",
    ),
    "a header record of one line": (
        of("20261126\n" + rows_of("|", header=HEADER), "agreement_no", **PIPE),
        "has 1 column, none of them.*skip_rows",
    ),
    "footers than more rows": (of("1\n2\n", None, skip_footer=5), "has no row in it"),
    "more lines left out than there are": (of(LINES, None, skip_rows=21), "has no row in it"),
    "a line that is cut off": (
        of(WIDE + "20    2024000000", (7, 24)),
        "line 21 has 16 characters, and the column ends at 24",
    ),
    "bytes or characters": (
        of("".join(f"王小明 {row}20261126\n" for row in RUN), (8, 25)),
        "line 1 has characters of several bytes.*latin-1",
    ),
    "bytes or characters, GB18030": (
        of("".join(f"王小明    {row}20261126\n" for row in RUN), (11, 28), "gb18030", **GBK),
        "line 1 has characters of several bytes.*latin-1",
    ),
    "one byte for each, and a name": (
        of(WIDE_NAMES, (7, 24), encoding="latin-1"),
        "line 2 has 32 characters, not 30 as most|line 1 has 30 characters, not",
    ),
    "an exponent in GB18030": (of("协议号,名\n2.024E+17,张\n", 1, "gb18030", **GBK), "line 2 has an exponent"),
    "full-width digits between tabs": (
        of("a\tb\n1\t２０２４\n", "b", delimiter="\t"),
        "line 2 has digits that are not ASCII",
    ),
    "NULL between pipes": (of("a|b\n1|\\N\n", "b", **PIPE), "line 2 is a word for NULL"),
    "a word of Excel, quoted": (of('a,b\n1,"=""2024"""\n', "b"), "line 2 begins with ' or =, as Excel"),
    "a mark in the middle": (of("2024\n\ufeff2025\n"), "line 2 starts with a byte order mark"),
    "a zero byte": (of("2024\n20\x0025\n"), "line 2 has a control or invisible character"),
}


@pytest.mark.parametrize("compress", [None, gzip.compress], ids=["", "gz"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_file_of_two_minds_is_refused_with_what_it_seems_to_be(
    tmp_path: Path, name: str, compress: Callable[[bytes], bytes] | None
) -> None:
    case, message = REFUSED[name]
    (tmp_path / "users.dat").write_bytes(compress(case.content) if compress else case.content)
    with pytest.raises(InvalidInput, match=message) as raised:
        read(tmp_path / "users.dat", case.column, **case.dialect)
    told = str(raised.value).replace(str(tmp_path), "")
    assert not [name for name in (*RUN, *NAMES[:3], "王小明") if name in told]


# ---- Any dialect ----

DELIMITERS = st.sampled_from([",", "|", "\t", ";", "\x01", "\x1f", "^", "~", "|@|", "||", "@@@", "｜", ", "])
ENCODINGS = st.sampled_from(["utf-8", "gb18030", "gbk", "latin-1", "ascii"])
LETTERS = st.text(
    st.characters(codec="gbk", exclude_characters="\r\n\x00\ufeff", exclude_categories=["Nd"]), max_size=8
)

PARTS = st.text("|@,; ^\x1f", max_size=3)


@st.composite
def written_files(draw: st.DrawFn) -> tuple[bytes, Column, dict[str, object], list[str]]:
    """A file, how it is to be read, and its numbers."""
    delimiter, encoding = draw(DELIMITERS), draw(ENCODINGS)
    assume(delimiter.encode(encoding, "ignore"))
    quotes = draw(st.sampled_from(['"', "'", None])) if len(delimiter) == 1 else None
    width, rows = draw(st.integers(1, 5)), numbers(draw(st.integers(1, 40)))
    index = draw(st.integers(0, width - 1))
    has_header, begin, end = draw(st.booleans()), draw(st.integers(0, 3)), draw(st.integers(0, 3))
    line_end = draw(st.sampled_from(["\n", "\r\n"]))

    def others() -> str:
        text = draw(LETTERS | PARTS).encode(encoding, "ignore").decode(encoding)
        return text if quotes else text.replace('"', "").replace(delimiter, "")

    table = [[row if at == index else others() for at in range(width)] for row in rows]
    if has_header:
        table.insert(0, ["agreement no" if at == index else f"column {at}" for at in range(width)])
    # Without quotes a value may not make a delimiter together with the one beside it.
    assume(quotes or all(delimiter.join(row).split(delimiter) == row for row in table))
    text = io.StringIO(newline="")
    if quotes:
        csv.writer(text, delimiter=delimiter, quotechar=quotes, lineterminator=line_end).writerows(table)
    else:
        text.writelines(delimiter.join(row) + line_end for row in table)
    whole = f"H2026{line_end}" * begin + text.getvalue() + f"T{line_end}" * end + line_end * draw(st.integers(0, 2))
    dialect: dict[str, object] = {
        "encoding": encoding,
        "delimiter": delimiter,
        "quotechar": quotes,
        "header": has_header,
    }
    dialect |= {"skip_rows": begin, "skip_footer": end}
    by_name = has_header and draw(st.booleans())
    column: Column = "Agreement No " if by_name else index + 1
    return whole.encode(encoding), column, dialect, rows


def numbers_of(content: bytes, column: Column, dialect: dict[str, object]) -> list[str] | None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "users").write_bytes(content)
        values = read_files(location(f"{folder}/users"), column, Dialect.of(dialect))
        try:
            return [number for some in checked_numbers(values, "fail", Tally()) for number in some]
        except InvalidInput:
            return None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the first letters take a second
@given(written_files())
def test_what_is_written_with_a_dialect_is_read_back_with_it(
    written: tuple[bytes, Column, dict[str, object], list[str]],
) -> None:
    content, column, dialect, rows = written
    assert numbers_of(content, column, dialect) == rows


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(written_files(), DELIMITERS, ENCODINGS, st.sampled_from(['"', "'", None]))
def test_with_another_dialect_no_other_number_is_read(
    written: tuple[bytes, Column, dict[str, object], list[str]], delimiter: str, encoding: str, quotechar: str | None
) -> None:
    content, column, dialect, rows = written
    for other in ({"delimiter": delimiter}, {"encoding": encoding}, {"quotechar": quotechar}, {"header": None}):
        found = numbers_of(content, column, {**dialect, **other})
        assert found is None or found == rows, other
