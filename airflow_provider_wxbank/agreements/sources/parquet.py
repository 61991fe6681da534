# SPDX-License-Identifier: Apache-2.0
"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from airflow_provider_wxbank.agreements.numbers import CHUNK_ROWS, Values
from airflow_provider_wxbank.agreements.sources.dialect import Column, Seen, column_index
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

PAGE_BYTES = 1 << 20


def read_parquet(stream: IO[bytes], column: Column | None, seen: Seen, place: str, what: str) -> Iterator[Values]:
    """The values of one column of a Parquet file, page by page: a whole row group may be larger than the memory.

    :param place: what positions count.
    :param what: the file, for messages.
    :raises InvalidInput: it is damaged, or has no such column of single values.
    :raises TryLater: it could not be read to its end.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise InvalidInput(
            f"{what} is Parquet, which needs pyarrow: pip install 'airflow-provider-wxbank[parquet]'"
        ) from None
    first = 1
    try:
        table = ParquetFile(stream, buffer_size=PAGE_BYTES, pre_buffer=False)
        _check_is_one(stream, table.metadata, what)
        names = table.schema_arrow.names
        name = names[column_index(names, column, what)]
        seen.check(name, column, what)
        for batch in table.iter_batches(CHUNK_ROWS, columns=[name], use_threads=False):
            if batch.num_columns != 1:
                raise InvalidInput(
                    f"the column of {what} is nested, and holds no single values, or several columns have its name"
                )
            values = _values(batch.column(0))
            yield Values(place, range(first, first + len(values)), values)
            first += len(values)
    except (ArrowException, UnicodeError) as failure:
        # Without the library's text, which may quote a value.
        raise InvalidInput(f"{what} cannot be read as Parquet: {type(failure).__name__}") from None
    except OSError as failure:
        if "encrypt" in str(failure).lower():
            raise InvalidInput(f"{what} has columns that are encrypted: decrypt them first") from None
        # The library raises this for damaged pages, too.
        raise TryLater(
            f"{what} could not be read to its end: {type(failure).__name__}; if that stays so, it is damaged"
        ) from None


def _check_is_one(stream: IO[bytes], metadata: pyarrow.parquet.FileMetaData, what: str) -> None:
    """:raises InvalidInput: files were put together: only the rows of the last one would be read."""
    end = 0
    if metadata.num_row_groups:
        last = metadata.row_group(metadata.num_row_groups - 1)
        columns = [last.column(index) for index in range(last.num_columns)]
        end = max((one.dictionary_page_offset or one.data_page_offset) + one.total_compressed_size for one in columns)
    # Behind the values are indexes and the footer, and perhaps the beginning of another file.
    stream.seek(end)
    kept = b""
    while block := stream.read(PAGE_BYTES):
        if _SEAM in kept + block:
            raise InvalidInput(
                f"{what} has several Parquet files in it, one behind the other, of which only the last can be read: "
                "give each by itself. Nothing was sent"
            )
        kept = block[-len(_SEAM) :]


_SEAM = b"PAR1PAR1"
"""Where one file ends and another one begins."""


def _values(column: pyarrow.Array) -> list[object]:
    # Impala and old Hive write texts as bytes without saying that they are texts.
    return [
        value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value for value in column.to_pylist()
    ]
