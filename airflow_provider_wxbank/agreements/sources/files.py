# SPDX-License-Identifier: Apache-2.0
"""A bank's files: text of any layout, compressed or not, and Parquet. What a file is, is told by its first bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO

from airflow_provider_wxbank.agreements.numbers import Values
from airflow_provider_wxbank.agreements.sources.dialect import Column, Dialect, Seen
from airflow_provider_wxbank.agreements.sources.kinds import BEGINNING_BYTES, kind_of
from airflow_provider_wxbank.agreements.sources.parquet import read_parquet
from airflow_provider_wxbank.agreements.sources.streams import content_of, text_of
from airflow_provider_wxbank.agreements.sources.text import read_text
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.agreements.storage_errors import reading
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater

_NEVER_EMPTY = (".parquet", ".gz", ".bz2", ".xz", ".zst", ".zstd")


def read_files(location: Location, column: Column | None, dialect: Dialect) -> Iterator[Values]:
    """The numbers in files, one after the other.

    :param location: a file, a folder, or a pattern with ``*``; see :meth:`~.storage.Location.files`.
    :param column: None for text files with one number a line. A Parquet file of one column needs none.
    :param dialect: how text files are to be read. Parquet files know that themselves.
    :raises InvalidInput: there is no file, or one is not of the kind that was asked for.
    :raises TryLater: a file was changed while it was read, which is known only at its end.
    """
    dialect.check(column)
    files = location.files()
    seen = Seen()
    has_rows = False
    for file in files:
        with _unchanged(file):
            for values in reading(file.uri, _opened(file, column, dialect, seen)):
                has_rows = True
                yield values
    if not has_rows:
        # A few empty ones among others are usual where many processes write a table.
        raise InvalidInput(f"{location.uri} has no row in it, in none of its files ({len(files)}). Nothing was sent")


def _opened(file: Location, column: Column | None, dialect: Dialect, seen: Seen) -> Iterator[Values]:
    with file.filesystem.open(file.path, "rb") as stream:
        yield from _read(file, stream, column, dialect, seen)


def _read(file: Location, stream: IO[bytes], column: Column | None, dialect: Dialect, seen: Seen) -> Iterator[Values]:
    beginning = bytes(stream.read(BEGINNING_BYTES))
    if not beginning and file.name.lower().endswith(_NEVER_EMPTY):
        raise InvalidInput(f"{file.uri} is empty, which no file of its kind is: copy it again. Nothing was sent")
    kind = kind_of(beginning, file.uri)
    # The name alone may be another file's, too.
    place = file.below or file.name
    if kind == "parquet":
        stream.seek(0)
        yield from read_parquet(stream, column, seen, f"{place} row", file.uri)
        return
    content = content_of(beginning, stream, kind, file.uri)
    if kind != "text":
        content = _only_text(content, file.uri)
    text = text_of(content, dialect.encoding, file.uri)
    yield from read_text(text, column, dialect, seen, f"{place} line", file.uri)


def _only_text(content: Iterator[bytes], what: str) -> Iterator[bytes]:
    """:raises InvalidInput: what was compressed is not text."""
    first = next(content, b"")
    kind = kind_of(first[:BEGINNING_BYTES], what)
    if kind != "text":
        raise InvalidInput(f"{what} holds {kind}, compressed once more: unpack it once. Nothing was sent")
    return chain([first], content)


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
    if before is None and file.is_local and Path(file.path).is_symlink():
        raise InvalidInput(f"{file.uri} is a link to a file that does not exist")
    try:
        yield
    except (InvalidInput, TryLater, OSError):
        # A file that is half written cannot be read, but the reason to tell is that it was changed.
        check()
        raise
    check()
