"""Which values are agreement numbers, and what is said of the others."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_wxbank.agreements.numbers import MAX_SKIPPED, Skipped, Values, checked_numbers, problem
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

pytestmark = pytest.mark.without_airflow


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
        ("9" * 215, "longer than 214 bytes"),
        ("号" * 72, "longer than 214 bytes"),
        ("号" * 215, "longer than 214 bytes"),
        (10**214, "longer than 214 bytes"),
        (1.5, "is a float"),
        (True, "is a bool"),
        (b"202401", "is a bytes"),
        (-1, "not a whole number"),
        (Decimal("1.5"), "not a whole number"),
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
    ["1", "6225880137001234567", "AGR-0000_0000.0003", "9" * 214, "号码", "号" * 71, 0, 10**214 - 1, Decimal(10)],
)
def test_a_number_is_accepted(value: object) -> None:
    assert problem(value) is None


@given(st.text())
def test_what_is_accepted_can_be_encrypted_as_one_line(text: str) -> None:
    if problem(text) is None:
        assert 0 < len(text.encode("utf-8")) <= 214
        assert text == "".join(text.split())
        assert len(text.splitlines()) == 1


@given(st.text(min_size=9))
def test_a_message_never_quotes_the_value(text: str) -> None:
    why = problem(text)
    assert why is None or text not in why


def test_fail_stops_at_the_first_wrong_row_and_names_it() -> None:
    source = [Values("row", range(1, 3), ["1", "2"]), Values("row", range(3, 5), ["3", "secret one"])]
    checked = checked_numbers(source, "fail", Skipped())
    assert next(checked) == ["1", "2"]
    with pytest.raises(InvalidInput, match="row 4 has a blank in it") as raised:
        next(checked)
    assert "secret" not in str(raised.value)


def test_skip_leaves_wrong_rows_out_and_keeps_their_positions() -> None:
    skipped = Skipped()
    source = [
        Values("row", range(1, 5), ["1", None, " ", 4]),
        Values("row", range(5, 6), [None]),
        Values("users.csv line", [3], [""]),
    ]
    assert list(checked_numbers(source, "skip", skipped)) == [["1", "4"]]
    assert skipped.positions == {"row": [2, 3, 5], "users.csv line": [3]}
    assert skipped.count == 4


def test_too_many_skipped_rows_are_taken_for_a_wrong_column() -> None:
    source = [Values("row", range(1, MAX_SKIPPED + 2), [None] * (MAX_SKIPPED + 1))]
    with pytest.raises(InvalidInput, match="is it the right column"):
        list(checked_numbers(source, "skip", Skipped()))
