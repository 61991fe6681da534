"""What can be read as a source of numbers, beside plain text and CSV."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from airflow_provider_wxbank.agreements.numbers import Skipped, checked_numbers
from airflow_provider_wxbank.agreements.sources import CHUNK_ROWS, read_files
from airflow_provider_wxbank.parameters import location
from airflow_provider_wxbank.wechatpay.errors import InvalidInput
from tests.conftest import numbers


def read(path: Path, column: str | None = None) -> list[str]:
    """The numbers of a file, as an export takes them."""
    values = read_files(location(str(path), "source"), column)
    return [number for some in checked_numbers(values, "fail", Skipped()) for number in some]


def write_parquet(path: Path, **columns: object) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=4000)
    return path


@pytest.mark.parametrize("name", ["users.txt.gz", "USERS.GZ"])
def test_a_compressed_text_file_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress("".join(f"{number}\n" for number in numbers(20_000)).encode()))
    assert read(tmp_path / name) == numbers(20_000)


def test_a_compressed_csv_file_is_read_by_its_column(tmp_path: Path) -> None:
    lines = ["id,agreement_no", *(f"{index},{number}" for index, number in enumerate(numbers(100)))]
    (tmp_path / "users.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    assert read(tmp_path / "users.csv.gz", "agreement_no") == numbers(100)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: whole[:-20],
        lambda whole: whole[:40] + b"\x00" * 20 + whole[60:],
        lambda whole: whole[:-8] + b"\x00" * 8,
        lambda _: b"2024000000001\n",
    ],
    ids=["cut off", "garbled", "wrong checksum", "not compressed"],
)
def test_a_compressed_file_that_is_not_whole_is_refused(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    whole = gzip.compress("\n".join(numbers(3000)).encode())
    (tmp_path / "users.gz").write_bytes(spoil(whole))
    with pytest.raises(InvalidInput, match=r"users\.gz is not a whole gzip file"):
        read(tmp_path / "users.gz")


@pytest.mark.parametrize(
    "array",
    [
        pyarrow.array(numbers(12_000)),
        pyarrow.array(numbers(12_000), pyarrow.large_string()),
        pyarrow.array(numbers(12_000)).dictionary_encode(),
        pyarrow.array([int(number) for number in numbers(12_000)]),
        pyarrow.array([Decimal(number) for number in numbers(12_000)]),
    ],
    ids=lambda array: str(array.type),
)
def test_a_parquet_file_is_read_by_its_column(tmp_path: Path, array: pyarrow.Array) -> None:
    path = write_parquet(tmp_path / "users.parquet", id=range(12_000), agreement_no=array)
    assert read(path, "agreement_no") == numbers(12_000)


def test_a_parquet_file_of_one_column_needs_no_name(tmp_path: Path) -> None:
    assert read(write_parquet(tmp_path / "users.parquet", agreement_no=numbers(3))) == numbers(3)


@pytest.mark.parametrize(
    ("columns", "column", "message"),
    [
        ({"a": [1], "b": [2]}, None, r"has 2 columns \(a, b\)"),
        ({"a": [1], "b": [2]}, "c", "0 columns named 'c'"),
        ({"a": ["1", None]}, "a", r"users\.parquet row 2 is NULL"),
        ({"a": ["1", "2 3"]}, "a", r"users\.parquet row 2 has a blank"),
        ({"a": [1.5]}, "a", r"row 1 is a float, not a text"),
        ({"a": [{"b": "1"}]}, "a", r"row 1 is a dict, not a text"),
    ],
)
def test_a_parquet_file_that_does_not_fit_is_refused(
    tmp_path: Path, columns: dict[str, object], column: str | None, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        read(write_parquet(tmp_path / "users.parquet", **columns), column)


@pytest.mark.parametrize("keep", [0, 4, 100, -4])
def test_a_parquet_file_that_is_damaged_is_refused(tmp_path: Path, keep: int) -> None:
    path = write_parquet(tmp_path / "users.parquet", agreement_no=numbers(1000))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InvalidInput, match=r"users\.parquet cannot be read as Parquet"):
        read(path)


def test_a_large_parquet_file_is_not_read_whole(tmp_path: Path) -> None:
    """40 MB of text in one row group; pyarrow's own memory is what it has at a time."""
    count = 2_000_000
    path = tmp_path / "users.parquet"
    pyarrow.parquet.write_table(
        pyarrow.table({"agreement_no": [f"2024{index:014d}" for index in range(count)]}), path, row_group_size=count,
        use_dictionary=False, compression="none",
    )  # fmt: skip
    before, most, rows = pyarrow.total_allocated_bytes(), 0, 0
    for values in read_files(location(str(path), "source"), None):
        most = max(most, pyarrow.total_allocated_bytes() - before)
        assert len(values.values) <= CHUNK_ROWS
        rows += len(values.values)
    assert rows == count
    assert most < 16_000_000
