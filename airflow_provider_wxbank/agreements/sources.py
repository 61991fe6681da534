"""Where agreement numbers come from: a database, or text, CSV and Parquet files. All are read as streams."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, StatementError

from airflow_provider_wxbank.agreements.numbers import Values
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

CHUNK_ROWS = 5500
BLOCK_BYTES = 1 << 20
MAX_LINE_BYTES = 1 << 16
"""Bytes of a line: far above a number or a table row; a longer one means that the file is not lines of text."""

_LONG_NUMBER = re.compile(r"\w*\d{5,}\w*")


def read_sql(
    engine: Engine, sql: str, parameters: Mapping[str, object] | None, column: str | None
) -> Generator[Values, None, None]:
    """The values of one column of a query's result, streamed with the database's own cursor where it has one.

    Close it, unless it is read to its end: that drops the connection.

    :param sql: a query; its parameters are written ``:name``, alike for every database.
    :param parameters: values by name. Without any, colons in ``sql`` mean nothing special.
    :param column: the column, if the result has several.
    :raises InvalidInput: the query gives no rows at all, several columns and no ``column``, or not the named one; it
        lacks a parameter; or the database refuses it.
    :raises TryLater: the database was not reached, or went away.
    """
    statement = text(sql if parameters else sql.replace(":", r"\:"))
    with _without_values_in_errors(), engine.connect() as connection, _never_committed(connection):
        streaming = connection.execution_options(stream_results=True, max_row_buffer=CHUNK_ROWS)
        result = streaming.execute(statement, dict(parameters or {}))
        if not result.returns_rows:
            raise InvalidInput("sql must be a query that returns rows")
        index = column_index(list(result.keys()), column, "the query's result")
        first = 1
        for rows in result.partitions(CHUNK_ROWS):
            yield Values("row", range(first, first + len(rows)), [row[index] for row in rows])
            first += len(rows)


@contextmanager
def _without_values_in_errors() -> Iterator[None]:
    """A database may quote in its error what it could not read, and SQLAlchemy adds the parameters."""
    try:
        yield
    except StatementError as failure:
        told = _LONG_NUMBER.sub("***", str(failure.orig)[:2000])[:500]
        if not isinstance(failure, DBAPIError):
            raise InvalidInput(f"sql and parameters do not fit: {told}") from None
        kind = TryLater if isinstance(failure, (OperationalError, InterfaceError)) else InvalidInput
        raise kind(f"the database answered {type(failure).__name__}: {told}") from None


@contextmanager
def _never_committed(connection: Connection) -> Iterator[None]:
    """A transaction that is rolled back: an export changes nothing in the bank's database, whatever ``sql`` says."""
    transaction = connection.begin()
    try:
        yield
    except BaseException:
        # The database rolls back what it hears no more of. Before anything else that is said to it, drivers of MySQL
        # would have to read the rest of the result, be it millions of rows.
        connection.invalidate()
        raise
    transaction.rollback()


def column_index(names: Sequence[str], column: str | None, what: str) -> int:
    """Where a column is.

    :raises InvalidInput: there are several and none is named, or the named one is missing or there twice.
    """
    if column is None:
        if len(names) == 1:
            return 0
        raise InvalidInput(
            f"{what} has {len(names)} columns ({', '.join(names)}); name the one with the numbers as column"
        )
    if names.count(column) != 1:
        raise InvalidInput(f"{what} has {names.count(column)} columns named {column!r}: {', '.join(names)}")
    return names.index(column)


def read_files(location: Location, column: str | None) -> Iterator[Values]:
    """The numbers in files, one file after the other.

    Files whose name ends with ``.gz`` are decompressed; those whose name ends with ``.parquet`` are Parquet.

    :param location: a file, or a pattern with ``*``; the files are taken by name.
    :param column: None for text files with one number a line; else a column of CSV files with a header line. A Parquet
        file of one column needs none.
    :raises InvalidInput: there is no file, or one is not of the kind that is asked for.
    """
    for file in location.files():
        if file.name.lower().endswith(".parquet"):
            yield from _read_parquet(file, column)
        elif column is None:
            yield from _read_lines(file)
        else:
            yield from _read_csv(file, column)


def _read_lines(file: Location) -> Iterator[Values]:
    place = f"{file.name} line"
    first = 1
    for lines in _lines(file):
        if first == 1:
            _check_first_line(file, lines[0])
        if any("," in line or "\t" in line or '"' in line for line in lines):
            raise InvalidInput(
                f"{file.uri} has commas, tabs or quotes in it, so it is not a file of one number a line; for a "
                "CSV file with a header line name its column"
            )
        yield Values(place, range(first, first + len(lines)), lines)
        first += len(lines)


def _check_first_line(file: Location, line: str) -> None:
    if line and not line.startswith("\ufeff") and line.isprintable() and not any(map(str.isdigit, line)):
        raise InvalidInput(
            f"the first line of {file.uri} has no digit in it, so it looks like a header, not a number; for a "
            "CSV file name its column"
        )


def _read_csv(file: Location, column: str) -> Iterator[Values]:
    place = f"{file.name} line"
    rows = csv.reader(_csv_lines(file), strict=True)
    try:
        header = next(rows, None)
        if header is None:
            return
        if not header:
            raise InvalidInput(f"{place} 1 is empty; the first line must be the header")
        if header[0].startswith("\ufeff"):
            raise InvalidInput(f"{file.uri} starts with a byte order mark (BOM); save it as UTF-8 without it")
        if header.count(column) != 1:
            # The names are left out: a file without a header has a customer's data there.
            raise InvalidInput(
                f"the first line of {file.uri} has {header.count(column)} of {len(header)} columns named {column!r}; "
                "it must be the header"
            )
        index = header.index(column)
        while chunk := [(rows.line_num, row) for row in islice(rows, CHUNK_ROWS)]:
            for line, row in chunk:
                if len(row) != len(header):
                    raise InvalidInput(f"{place} {line} has {len(row)} fields, but the header has {len(header)}")
            yield Values(place, [line for line, _ in chunk], [row[index] for _, row in chunk])
    except csv.Error as failure:
        raise InvalidInput(f"{place} {rows.line_num} is not CSV: {failure}") from None


def _csv_lines(file: Location) -> Iterator[str]:
    # The csv module would take a carriage return for the end of a row.
    for number, line in enumerate((line for lines in _lines(file) for line in lines), 1):
        if "\r" in line:
            raise InvalidInput(f"{file.name} line {number} has a carriage return (\\r); save it with \\n alone")
        yield f"{line}\n"


def _read_parquet(file: Location, column: str | None) -> Iterator[Values]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise InvalidInput(
            f"{file.uri} is Parquet, which needs pyarrow: pip install 'airflow-provider-wxbank[parquet]'"
        ) from None
    first = 1
    with file.filesystem.open(file.path, "rb") as stream:
        try:
            # Read page by page: a row group as a whole may be larger than the memory.
            table = ParquetFile(stream, buffer_size=BLOCK_BYTES, pre_buffer=False)
            names = table.schema_arrow.names
            name = names[column_index(names, column, file.uri)]
            for batch in table.iter_batches(CHUNK_ROWS, columns=[name], use_threads=False):
                if batch.num_columns != 1:
                    raise InvalidInput(f"column {name!r} of {file.uri} is nested, and holds no single values")
                values = batch.column(0).to_pylist()
                yield Values(f"{file.name} row", range(first, first + len(values)), values)
                first += len(values)
        except ArrowException as failure:
            # Its text is left out: it may quote a value.
            raise InvalidInput(f"{file.uri} cannot be read as Parquet: {type(failure).__name__}") from None


def _lines(file: Location) -> Iterator[list[str]]:
    """The lines of a file, some at a time, without their newline. What is not UTF-8 becomes lone surrogates."""
    rest = b""
    for block in _blocks(file):
        *whole, rest = (rest + block).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise InvalidInput(f"{file.uri} has a line of more than {MAX_LINE_BYTES} bytes: is it text?")
        if whole:
            yield [line.decode("utf-8", "surrogateescape") for line in whole]
    if rest:
        yield [rest.decode("utf-8", "surrogateescape")]


def _blocks(file: Location) -> Iterator[bytes]:
    """The content of a file, decompressed if its name says so, at most 1 MiB at a time."""
    with file.filesystem.open(file.path, "rb") as stream:
        if not file.name.lower().endswith(".gz"):
            while block := bytes(stream.read(BLOCK_BYTES)):
                yield block
            return
        try:
            with gzip.open(stream) as decompressed:
                while block := decompressed.read(BLOCK_BYTES):
                    yield block
        except (gzip.BadGzipFile, EOFError, zlib.error):
            raise InvalidInput(f"{file.uri} is not a whole gzip file") from None
