# SPDX-License-Identifier: Apache-2.0
"""A query of MariaDB is streamed, where a MariaDB is installed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import closing

import pytest
import sqlalchemy
from sqlalchemy.engine import Engine

from airflow_provider_wxbank.agreements.numbers import CHUNK_ROWS, Tally, checked_numbers, problem
from airflow_provider_wxbank.agreements.sources.databases import read_sql
from airflow_provider_wxbank.wechatpay.errors import InvalidInput
from tests.conftest import numbers
from tests.harness.databases import NEEDS_MARIADB, ROWS
from tests.harness.waiting import PATIENCE, until

pytestmark = [*NEEDS_MARIADB, pytest.mark.slow]

ENDLESS = "FROM users a, users b, users c"
"""1.7 billion rows: whoever reads them all, before the first or after the last that is wanted, does not come back."""


@pytest.fixture(scope="module")
def engine(mariadb: str) -> Iterator[Engine]:
    engine = sqlalchemy.create_engine(mariadb)
    yield engine
    engine.dispose()


@pytest.fixture(autouse=True)
def no_cursor_is_left() -> Iterator[None]:
    """Cursors end within their test, where what they say is ignored."""
    yield
    gc.collect()


def is_read(engine: Engine) -> bool:
    """Whether the server is at the endless query."""
    with engine.connect() as connection:
        running = connection.execute(sqlalchemy.text("SHOW PROCESSLIST")).all()
    return any(ENDLESS in str(row) for row in running)


def read(engine: Engine, sql: str, **parameters: object) -> list[object]:
    return [value for some in read_sql(engine, sql, parameters, None) for value in some.values]


def test_a_query_is_read_to_its_end(engine: Engine) -> None:
    sql = "SELECT agreement_no FROM users WHERE active = :active AND id % 2 = 0 ORDER BY id"
    assert read(engine, sql, active=1) == [
        one for index, one in enumerate(numbers(ROWS)) if index % 3 and index % 2 == 0
    ]
    without = "SELECT id FROM users WHERE agreement_no LIKE '2024%' AND ':x' <> '' AND id % 2"
    assert len(read(engine, without)) == ROWS / 2


def test_a_result_is_read_in_parts_and_left_when_no_more_is_wanted(engine: Engine) -> None:
    with closing(read_sql(engine, f"SELECT a.agreement_no {ENDLESS}", None, None)) as values:
        assert len(next(values).values) == CHUNK_ROWS
        assert is_read(engine)
    until(lambda: not is_read(engine), PATIENCE, "the server goes on")


def test_a_wrong_row_is_told_at_once(engine: Engine) -> None:
    with (
        closing(read_sql(engine, f"SELECT NULL {ENDLESS}", None, None)) as values,
        pytest.raises(InvalidInput, match="row 1 is NULL"),
    ):
        list(checked_numbers(values, "fail", Tally()))
    until(lambda: not is_read(engine), PATIENCE, "the server goes on")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("CAST(18446744073709551615 AS UNSIGNED)", 18446744073709551615),
        ("CAST('202400000000000001' AS DECIMAL(30))", 202400000000000001),
        ("_utf8mb4'AGR-1' COLLATE utf8mb4_bin", "AGR-1"),
    ],
)
def test_a_whole_number_and_a_text_are_read_as_they_are(engine: Engine, value: str, expected: object) -> None:
    assert read(engine, f"SELECT {value}") == [expected]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("CAST('2024' AS BINARY)", "is a bytes, not a text or a whole number"),
        ("'2024  '", "has a blank in it"),
        ("CAST(202400000000000001 AS DOUBLE)", "is a float, not a text or a whole number"),
    ],
)
def test_a_value_that_is_no_number_is_told(engine: Engine, value: str, message: str) -> None:
    [found] = read(engine, f"SELECT {value}")
    assert message in str(problem(found))
