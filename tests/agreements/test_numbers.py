# SPDX-License-Identifier: Apache-2.0
"""Which values are agreement numbers, and what is said of the others."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_wxbank.agreements.numbers import (
    MAX_SKIPPED,
    Tally,
    Values,
    checked_numbers,
    delimiter,
    problem,
)
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

NULL_WORDS = ("NULL", "\\N", "\\n", "null", "None", "NaN", "nan", "-nan", "N/A", "#N/A", "<NA>", "(null)", "[NULL]",
              "nil", "NaT", "undefined", "n.a.", '"NULL"')  # fmt: skip
DELIMITERS = (
    *"|;^~!@#$%&*:/\\`?<>{}[]()+=\"'",
    ",",
    "\x01",
    "\x02",
    "\x1b",
    "\x07",
    "|@|",
    "@|@",
    "||",
    "，",
    "｜",
    "；",
    "¦",
    "§",
    "、",
)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "is NULL"),
        ("", "is empty"),
        ("   ", "is blank"),
        ("\u3000", "is blank"),
        ("\n", "is blank"),
        ("2024 01", "has a blank"),
        ("202401\u00a0", "has a blank"),
        ("202401\t", "has a blank"),
        ("202401\r", "carriage return"),
        ("\ufeff202401", "byte order mark"),
        ("2024\x0001", "control"),
        ("2024\u200b01", "control or invisible"),
        ("2024\x7f01", "control"),
        ("2024\udcff01", "not UTF-8"),
        ("2.02400000E0017", "has an exponent"),
        ("NULL.0", "is a word for NULL"),
        ("2026-11-25", "is a date"),
        ("25-11-2026", "is a date"),
        ("25.11.2026", "is a date"),
        ("25-Nov-2026", "is a date"),
        ("2026-11-25T00.00.00", "is a date"),
        ("1.5D10", "has an exponent"),
        ("6222....1111", "has two of"),
        ("6222--1111", "has two of"),
        ("6222000011112222-Li", "is a number and a word"),
        ("6222000011112222.Li", "is a number and a word"),
        ("Zhang-6222000011112222", "is a number and a word"),
        ("6222xxxxxxxx0001", "is masked"),
        ("6222XXXX0001", "is masked"),
        ("202400000000000001_zhangsan", "is a number and a word"),
        ("202400000000000001-ZHANGSAN", "is a number and a word"),
        ("9" * 215, "longer than 214 bytes"),
        ("9" * 300, "longer than 214 bytes"),
        ("A" * 215 + "9", "longer than 214 bytes"),
        # A word for NULL
        *((word, "is a word for NULL") for word in NULL_WORDS),
        # Excel and floats
        ("2.024E+17", "has an exponent"),
        ("2.024e17", "has an exponent"),
        ("2024E17", "has an exponent"),
        ("2E-5", "has an exponent"),
        ("+2.024E+017", "has an exponent"),
        ("'202400000000000001", "begins with ' or ="),
        ('="202400000000000001"', "begins with ' or ="),
        ("=202400000000000001", "begins with ' or ="),
        ("202400000000000001.0", "is a fraction"),
        ("202400000000000001.00", "is a fraction"),
        ("12.5", "is a fraction"),
        (".5", "is a fraction"),
        ("202400000000000001.", "is a fraction"),
        ("-1.0", "is a fraction"),
        # A delimiter, and with it what else is in a row
        *((f"2024{mark}Zhang", f"has {mark!r} in it") for mark in DELIMITERS),
        ("'2024','Zhang'", """has "'" in it"""),
        ("2024|张三", "has '|' in it"),
        ("NULL|NULL", "has '|' in it"),
        (",NULL", "has ',' in it"),
        ("-5", "begins or ends with"),
        ("_2024", "begins or ends with"),
        ("2024-", "begins or ends with"),
        ("+8613800000000", "has '+' in it"),
        ("$12", "has '$' in it"),
        # Digits of other scripts, and letters
        ("\uff12\uff10\uff12\uff14", "digits that are not ASCII"),
        ("2024\uff11", "digits that are not ASCII"),
        ("\u0662\u0660\u0662\u0664", "digits that are not ASCII"),
        ("2024\u00b2", "digits that are not ASCII"),
        ("2024\u2460", "digits that are not ASCII"),
        ("202400000000000001张三", "letter that is not ASCII"),
        ("张三", "letter that is not ASCII"),
        ("2024é", "letter that is not ASCII"),
        # Words
        *(
            (word, "has no digit in it")
            for word in ("ZhangSan", "agreement_no", "Infinity", "true", "-", ".", "unknown")
        ),
        (10**214, "longer than 214 bytes"),
        (1.5, "is a float"),
        (True, "is a bool"),
        (b"202401", "is a bytes"),
        (-1, "not a whole number"),
        (Decimal("1.5"), "not a whole number"),
        (Decimal("5.00"), "fraction, even if that is 0"),
        (Decimal("0.0"), "fraction, even if that is 0"),
        (Decimal("0E-999999"), "fraction, even if that is 0"),
        (Decimal("NaN"), "not a whole number"),
        (Decimal("sNaN"), "not a whole number"),
        (Decimal("Infinity"), "not a whole number"),
        (Decimal("-1E+999999"), "not a whole number"),
        (Decimal("1E+999999"), "longer than 214 bytes"),
        pytest.param(10**5000, "longer than 214 bytes", id="5001 digits"),
    ],
)
def test_a_value_that_is_no_number_is_told_why(value: object, why: str) -> None:
    assert why in str(problem(value))


@pytest.mark.parametrize(
    "value",
    [
        "1",
        "6225880137001234567",
        "AGR-0000_0000.0003",
        "9" * 214,
        "A" + "9" * 213,
        0,
        10**214 - 1,
        Decimal(10),
        Decimal("2E+5"),
        "a1",
        "6202-6100-0000-0001",
        "2024E00001234",
        "0x84e5",
        "1F2E3D4C",
        "2024.0000.0001",
        "NA1",
        "007",
        "ICBC_NULL_1",
        "550e8400-e29b-41d4-a716-446655440000",
    ],
)
def test_a_number_is_accepted(value: object) -> None:
    assert problem(value) is None


@given(st.text() | st.from_regex(r"[ -~]{1,8}", fullmatch=True))
def test_what_is_accepted_can_be_encrypted_as_one_line(text: str) -> None:
    if problem(text) is None:
        assert 0 < len(text.encode("utf-8")) <= 214
        assert text == "".join(text.split())
        assert len(text.splitlines()) == 1
        assert text.isascii()
        assert set(text) & set("0123456789")
        assert not set(text) & set(DELIMITERS)


@given(st.text(min_size=9))
def test_a_message_never_quotes_the_value(text: str) -> None:
    why = problem(text)
    assert why is None or text not in why


def test_fail_stops_at_the_first_wrong_row_and_names_it() -> None:
    source = [Values("row", range(1, 3), ["1", "2"]), Values("row", range(3, 5), ["3", "secret one"])]
    checked = checked_numbers(source, "fail", Tally())
    assert next(checked) == ["1", "2"]
    with pytest.raises(InvalidInput, match="row 4 has a blank in it") as raised:
        next(checked)
    assert "secret" not in str(raised.value)


def test_skip_leaves_wrong_rows_out_and_keeps_their_positions() -> None:
    tally = Tally()
    source = [
        Values("row", range(1, 5), ["1", None, " ", 4]),
        Values("row", range(5, 6), [None]),
        Values("users.csv line", [3], [""]),
    ]
    assert list(checked_numbers(source, "skip", tally)) == [["1", "4"]]
    assert tally.positions == {"row": [2, 3, 5], "users.csv line": [3]}
    assert tally.skipped == 4


def test_too_many_skipped_rows_are_taken_for_a_wrong_column() -> None:
    source = [Values("row", range(1, MAX_SKIPPED + 2), [None] * (MAX_SKIPPED + 1))]
    with pytest.raises(InvalidInput, match="is it the right column"):
        list(checked_numbers(source, "skip", Tally()))


RUN = [f"{number}" for number in range(202400000000000000, 202400000000000020)]
MANY_RUN = [f"{number}" for number in range(202400000000000000, 202400000000000200)]


def lines(*rows: object, chunk: int = 5500, place: str = "users.txt line") -> list[Values]:
    parts = [range(first, min(first + chunk, len(rows))) for first in range(0, len(rows), chunk)]
    return [
        Values(place, [at + 1 for at in part], [rows[at] for at in part], may_begin=True, may_end=True)
        for part in parts
    ]


@pytest.mark.parametrize("chunk", [1, 2, 3, 5500])
@pytest.mark.parametrize(
    ("rows", "where"),
    [
        (["H20261125000020", *RUN], "1 has letters"),
        ([*RUN, "T0000000020"], "21 has letters"),
        (["H20261125000020", *RUN, "T0000000020"], "1 and 22 have letters"),
        (["H20261125", "BATCH001", *RUN, "T20", "C20", "E1"], "1 and 2 and 23 and 24 and 25 have letters"),
        (["A1", *RUN, "A2", RUN[0]], "1 and 22 have letters"),
        (["H20261125", RUN[0]], "1 has letters"),
        ([RUN[0], "T1"], "2 has letters"),
        (["H20261125", RUN[0], "T1"], "1 and 3 have letters"),
        # A number of rows, a date
        ([*RUN, "20"], "21 has at most half as many digits"),
        ([*RUN, "000000020"], "21 has at most half as many digits"),
        (["20261125", *RUN, "20"], "1 and 22 have at most half as many digits"),
        ([RUN[0], "1"], "2 has at most half as many digits"),
        # Others of another kind than these are no reason to take them for numbers
        ([*RUN, "2024000000"], "21 has another shape"),
        (["20261125120000", *RUN], "1 has another shape"),
        (["agreement_no2", *(f"A{number}" for number in RUN)], "1 has another shape"),
        (["20261125", *(f"A{number}" for number in RUN)], "1 has another shape"),
        (["H20261125", *MANY_RUN[:90], "62220000A0001", *MANY_RUN[90:], "T0008"], "1 and 203 have letters"),
        ([*["H20261125", *MANY_RUN, "T200"] * 2], "1 and 404 have letters"),
        (["20", *MANY_RUN, "62220000A0001", *MANY_RUN], "1 has at most half as many digits"),
        # With few numbers
        (["H1", "H2", *RUN[:2]], "1 and 2 have letters"),
        (["H1", "H2", *RUN[:2], "T1", "T2"], "1 and 2 and 5 and 6 have letters"),
        (["H1", "H2", "H3", *RUN[:3]], "1 and 2 and 3 have letters"),
        (["20261125", "00000001", RUN[0]], "1 and 2 have at most half as many digits"),
        # A record is told whatever invalid rows are skipped
        (["H20261125", None, *RUN, "NULL"], "1 has letters"),
        (["", "H20261125", *RUN, " "], "2 has letters"),
    ],
)
def test_a_first_or_last_line_of_another_kind_is_taken_for_a_record(rows: list[object], where: str, chunk: int) -> None:
    with pytest.raises(InvalidInput, match=f"users.txt lines? {where}.*Remove") as raised:
        list(checked_numbers(lines(*rows, chunk=chunk), "skip", Tally()))
    assert "2026" not in str(raised.value)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5500])
@pytest.mark.parametrize(
    "rows",
    [
        ["A1"],
        ["1"],
        ["A1", "A2"],
        ["A1", *RUN[:10], "A2", *RUN[10:]],
        ["A1", "A2", "A3", "A4", *RUN],
        [RUN[0], "A1", RUN[1]],
        ["20261125"],
        [*map(str, range(1, 1200))],
        [*map(str, range(1200, 0, -1))],
        [*RUN[:9], "2024000000"],
        [*RUN, f"{RUN[-1]}0"],
        [*(f"A{number}" for number in RUN), f"A{RUN[0]}"],
        [RUN[0], "A1", "A2", RUN[1]],
        [*(f"{number}X" if index % 9 else number for index, number in enumerate(RUN)), "A1"],
        [RUN[0], "20", RUN[1]],
    ],
)
def test_numbers_of_several_kinds_are_no_records(rows: list[str], chunk: int) -> None:
    assert [number for some in checked_numbers(lines(*rows, chunk=chunk), "fail", Tally()) for number in some] == rows


def test_every_file_has_ends_of_its_own_and_a_query_has_none() -> None:
    source = [*lines(*RUN, place="a line"), *lines("H1", *RUN, place="b line"), *lines(*RUN, place="c line")]
    with pytest.raises(InvalidInput, match="b line 1 has letters"):
        list(checked_numbers(source, "fail", Tally()))
    rows = ["H1", *RUN]
    assert list(checked_numbers([Values("row", range(1, 22), rows)], "fail", Tally())) == [rows]


@pytest.mark.parametrize(
    "text", ["7" * 1_000_000, "7" * 65_000 + "|", "1e" * 500_000, "." * 1_000_000, "x" * 1_000_000]
)
def test_a_text_of_any_length_is_judged_at_once(text: str) -> None:
    """With one that backtracks, the first took hours; the tests have no patience for that."""
    assert problem(text) is not None
    delimiter(text)


@pytest.mark.parametrize("row", ["\ufeff202400000000000001", "202400000000000001\r"])
def test_what_is_wrong_with_a_whole_file_is_not_skipped(row: str) -> None:
    with pytest.raises(InvalidInput, match="users.txt line 1 .*Correct the file"):
        list(checked_numbers(lines(row, *RUN), "skip", Tally()))
