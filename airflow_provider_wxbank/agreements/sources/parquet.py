# SPDX-License-Identifier: Apache-2.0
"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from airflow_provider_wxbank.agreements.numbers import CHUNK_ROWS, Values
from airflow_provider_wxbank.agreements.sources.dialect import Column, column_index
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater

if TYPE_CHECKING:
    import pyarrow

PAGE_BYTES = 1 << 20


def read_parquet(stream: IO[bytes], column: Column | None, place: str, what: str) -> Iterator[Values]:
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
        names = table.schema_arrow.names
        name = names[column_index(names, column, what)]
        for batch in table.iter_batches(CHUNK_ROWS, columns=[name], use_threads=False):
            if batch.num_columns != 1:
                raise InvalidInput(f"the column of {what} is nested, and holds no single values")
            values = _values(batch.column(0))
            yield Values(place, range(first, first + len(values)), values)
            first += len(values)
    except (ArrowException, UnicodeError) as failure:
        # Without the library's text, which may quote a value.
        raise InvalidInput(f"{what} cannot be read as Parquet: {type(failure).__name__}") from None
    except OSError as failure:
        # The library raises this for damaged pages, too.
        raise TryLater(
            f"{what} could not be read to its end: {type(failure).__name__}; if that stays so, it is damaged"
        ) from None


def _values(column: pyarrow.Array) -> list[object]:
    # Impala and old Hive write texts as bytes without saying that they are texts.
    return [
        value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value for value in column.to_pylist()
    ]
