# SPDX-License-Identifier: Apache-2.0
"""Where agreement numbers come from: a database, or text, CSV and Parquet files. All of them are read as streams."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING

from sqlalchemy import text

from airflow_provider_wxbank.agreements.numbers import NOT_UTF8, WORD_FOR_NULL, Values, delimiter, problem
from airflow_provider_wxbank.agreements.records import MIN_DIGITS
from airflow_provider_wxbank.agreements.redaction import connected, rows_kept_out_of_logs, values_kept_out_of_errors
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

CHUNK_ROWS = 5500
BLOCK_BYTES = 1 << 20
MAX_LINE_BYTES = 1 << 16
"""Bytes of a line: far more than a number or a row has. A longer one means that the file is not lines of text."""


def read_sql(
    engine: Engine, sql: str, parameters: Mapping[str, object] | None, column: str | None
) -> Generator[Values, None, None]:
    """The values of one column of a query's result, streamed with the database's own cursor where it has one.

    Close it if it is not read to its end: that drops the connection.

    :param sql: a query; its parameters are written ``:name``, in the same way for every database.
    :param parameters: values by name. Without any, colons in ``sql`` mean nothing special.
    :param column: the column, if the result has several.
    :raises InvalidInput: the query gives no rows at all, several columns and no ``column``, or not the named one; it
        lacks a parameter; or the database refuses it.
    :raises TryLater: the database was not reached, or went away.
    """
    statement = text(sql if parameters else sql.replace(":", r"\:"))
    missing = statement.compile().params.keys() - dict(parameters or {}).keys()
    if missing:
        raise InvalidInput(
            f"sql and parameters do not fit: there is no parameter {', '.join(map(repr, sorted(missing)))}"
        )
    with (
        rows_kept_out_of_logs(engine),
        values_kept_out_of_errors(sql),
        connected(engine) as connection,
        _never_committed(connection),
    ):
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
def _never_committed(connection: Connection) -> Iterator[None]:
    """A transaction that is rolled back: an export changes nothing in the bank's database, whatever ``sql`` says."""
    transaction = connection.begin()
    try:
        yield
    except BaseException:
        # A database rolls back what it hears no more of. For an orderly rollback MySQL's drivers would first have to
        # read the rest of the result, which may be millions of rows.
        connection.invalidate()
        raise
    transaction.rollback()


def column_index(names: Sequence[str], column: str | None, what: str) -> int:
    """The index of a column.

    :raises InvalidInput: there are several and none is named, or the named one is missing or is there twice.
    """
    if column is None:
        if len(names) == 1:
            return 0
        raise InvalidInput(f"{what} has {len(names)} columns; name the one with the numbers as column")
    if names.count(column) != 1:
        # The other names are not quoted: in a file without a header they are a customer's data.
        alike = sum(name.strip().lower() == column.strip().lower() for name in names)
        hint = ", and one that differs in case or blanks only" if alike and column not in names else ""
        raise InvalidInput(f"{what} has {names.count(column)} of {len(names)} columns named {column!r}{hint}")
    return names.index(column)


def read_files(location: Location, column: str | None) -> Iterator[Values]:
    """The numbers in files, one after the other. A name with ``.gz`` at its end means gzip, with ``.parquet`` Parquet.

    :param location: a file, a folder, or a pattern with ``*``; see :meth:`~.storage.Location.files`.
    :param column: None for text files with one number a line; else a column of CSV files with a header line. A Parquet
        file of one column needs none.
    :raises InvalidInput: there is no file, or one is not of the kind that was asked for.
    :raises TryLater: a file was changed while it was read, which is known only at its end.
    """
    for file in location.files():
        with _unchanged(file):
            if file.name.lower().endswith(".parquet"):
                yield from _read_parquet(file, column)
            elif column is None:
                yield from _read_lines(file)
            else:
                yield from _read_csv(file, column)


@contextmanager
def _unchanged(file: Location) -> Iterator[None]:
    """:raises TryLater: the file was written to, or another one took its place, while it was read."""

    def check() -> None:
        if before is None or file.state() != before:
            raise TryLater(
                f"{file.uri} was changed or removed while it was read: let the export begin when it is whole. Nothing "
                "was sent"
            )

    file.check_is_file()
    before = file.state()
    try:
        yield
    except (InvalidInput, TryLater, OSError):
        # A file that is half written cannot be read, but the reason to tell is that it was changed.
        check()
        raise
    check()


def _place(file: Location, what: str) -> str:
    """What positions count in a file, for messages and the manifest. The name alone may be another file's, too."""
    return f"{file.below or file.name} {what}"


def _read_lines(file: Location) -> Iterator[Values]:
    place = _place(file, "line")
    first = 1
    for lines in _lines(file):
        for number, line in enumerate(lines, first):
            if not line.isdigit() and (mark := delimiter(line)):
                raise InvalidInput(
                    f"{place} {number} has {mark} in it, so {file.uri} is not a file of one number a line; for a CSV "
                    "file, with commas and a header line, name its column"
                )
        if first == 1:
            _check_first_line(file, lines[0])
        yield Values(place, range(first, first + len(lines)), lines, are_lines=True)
        first += len(lines)


def _check_first_line(file: Location, line: str) -> None:
    if line and line.isprintable() and not any(map(str.isdigit, line)) and problem(line) != WORD_FOR_NULL:
        raise InvalidInput(
            f"the first line of {file.uri} has no digit in it, so it looks like a header, not a number; for a "
            "CSV file name its column"
        )


def _read_csv(file: Location, column: str) -> Iterator[Values]:
    place = _place(file, "line")
    rows = csv.reader(_csv_lines(file), strict=True)
    try:
        header = next(rows, None)
        if header is None:
            return
        if not header:
            raise InvalidInput(f"{place} 1 is empty; the first line must be the header")
        if header[0].startswith("\ufeff"):
            raise InvalidInput(f"{file.uri} starts with a byte order mark (BOM); save it as UTF-8 without it")
        index = _header_index(file, header, column)
        before = rows.line_num
        while chunk := [(rows.line_num, row) for row in islice(rows, CHUNK_ROWS)]:
            for line, row in chunk:
                _check_row(f"{place} {line}", row, header, index, is_of_one_line=line == before + 1)
                before = line
            yield Values(place, [line for line, _ in chunk], [row[index] for _, row in chunk], are_lines=True)
    except csv.Error as failure:
        raise InvalidInput(f"{place} {rows.line_num} is not CSV: {failure}") from None


def _check_row(where: str, row: list[str], header: list[str], index: int, *, is_of_one_line: bool) -> None:
    """:raises InvalidInput: a row does not fit the header, is the header once more, or has swallowed other rows."""
    if len(row) != len(header):
        raise InvalidInput(f"{where} has {len(row)} fields, but the header has {len(header)}")
    if row[index] == header[index]:
        raise InvalidInput(
            f"{where} is the header once more, as in files that were put together: remove it. Nothing was sent"
        )
    if is_of_one_line:
        return
    # With a quotation mark too many, the rows up to the next one become one field.
    kind = _KIND.sub("9", row[index])
    for field in row[:index] + row[index + 1 :]:
        if len(kind) >= MIN_DIGITS and any(_KIND.sub("9", part.strip()) == kind for part in re.split("[,\n]", field)):
            raise InvalidInput(
                f"{where} ends a row of several lines, and another of its fields has what looks like a number, too: a "
                'quotation mark (") is missing or one too many. Nothing was sent. Correct the file'
            )


_KIND = re.compile("[A-Za-z0-9]")


def _header_index(file: Location, header: list[str], column: str) -> int:
    what = f"the first line of {file.uri}"
    if any(problem(name) == NOT_UTF8 for name in header):
        raise InvalidInput(f"{what} is not UTF-8{_looks_like(header)}; save the file as UTF-8")
    if len(header) == 1 and (mark := delimiter(header[0])):
        raise InvalidInput(
            f"{what} has {mark} in it, which seems to part its columns, but only commas are read as that: save the "
            "file as CSV with commas"
        )
    return column_index(header, column, f"{what}, which must be the header,")


def _looks_like(names: list[str]) -> str:
    with suppress(UnicodeDecodeError):
        "".join(names).encode("utf-8", "surrogateescape").decode("gb18030")
        return " and looks like GB18030 (GBK)"
    return ""


def _csv_lines(file: Location) -> Iterator[str]:
    # The csv module takes a carriage return for the end of a row, too.
    for number, line in enumerate((line for lines in _lines(file) for line in lines), 1):
        if "\r" in line:
            raise InvalidInput(f"{_place(file, 'line')} {number} has a carriage return (\\r); save it with \\n alone")
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
            # Page by page, since a whole row group may be larger than the memory.
            table = ParquetFile(stream, buffer_size=BLOCK_BYTES, pre_buffer=False)
            names = table.schema_arrow.names
            name = names[column_index(names, column, file.uri)]
            for batch in table.iter_batches(CHUNK_ROWS, columns=[name], use_threads=False):
                if batch.num_columns != 1:
                    raise InvalidInput(f"the column of {file.uri} is nested, and holds no single values")
                values = batch.column(0).to_pylist()
                yield Values(_place(file, "row"), range(first, first + len(values)), values)
                first += len(values)
        except (ArrowException, UnicodeError) as failure:
            # Without the library's text, which may quote a value.
            raise InvalidInput(f"{file.uri} cannot be read as Parquet: {type(failure).__name__}") from None
        except OSError as failure:
            # The library raises this for damaged pages, too.
            raise TryLater(
                f"{file.uri} could not be read to its end: {type(failure).__name__}; if that stays so, it is damaged"
            ) from None


def _lines(file: Location) -> Iterator[list[str]]:
    """The lines of a file, some at a time, without newlines. Bytes that are not UTF-8 become lone surrogates."""
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
