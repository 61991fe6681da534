# SPDX-License-Identifier: Apache-2.0
"""The bytes of a file become its text: decompressed by what they are, and decoded before anything is split."""

from __future__ import annotations

import bz2
import codecs
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from itertools import chain
from typing import IO, Protocol

from airflow_provider_wxbank.agreements.sources.dialect import CHINESE
from airflow_provider_wxbank.agreements.sources.kinds import Kind
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

BLOCK_BYTES = 1 << 20

TEXT_BYTES = 1 << 15
"""Bytes that are decoded at a time: about 800 rows. What is done with so few stays in a processor's cache."""

MAX_LINE_BYTES = 1 << 16
"""Bytes of a line: far more than a number or a row has. A longer one means that the file is not lines of text."""

_BOMS = (b"\xef\xbb\xbf", b"\x84\x31\x95\x33")
"""Byte order marks of UTF-8 and GB18030."""


class Decompressor(Protocol):
    """What the standard library's decompressors have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gunzip:
    """zlib's decompressor of gzip, with the methods of the others."""

    def __init__(self) -> None:
        self._one = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._was_full = False

    @property
    def eof(self) -> bool:
        return self._one.eof

    @property
    def needs_input(self) -> bool:
        return not self._was_full and not self._one.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._one.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        content = self._one.decompress(self._one.unconsumed_tail + data, max_length)
        self._was_full = len(content) == max_length
        return content


def content_of(beginning: bytes, stream: IO[bytes], kind: Kind, what: str) -> Iterator[bytes]:
    """The content of a file, decompressed by what it is, at most 1 MiB at a time.

    :param beginning: what was read of it already.
    :param stream: the rest.
    :param what: the file, for messages.
    :raises InvalidInput: it is damaged or cut off, or nothing here can read it.
    """
    # The first one is as long as the others, since a header may be long.
    blocks = chain([beginning + bytes(stream.read(BLOCK_BYTES))], iter(lambda: bytes(stream.read(BLOCK_BYTES)), b""))
    if kind == "text":
        yield from blocks
        return
    new = {"gzip": _Gunzip, "bz2": bz2.BZ2Decompressor, "xz": _unxz, "zstd": _unzstd()}[kind]
    try:
        if new is not None:
            yield from _parts(blocks, new)
        else:
            stream.seek(0)
            yield from _by_pyarrow(stream, what)
    except (EOFError, ValueError, zlib.error, lzma.LZMAError):
        raise _damaged(kind, what) from None
    except OSError as failure:
        # bz2 and pyarrow raise a plain one for damage. Those of a disk or a network have a number, or are a subclass.
        if type(failure) is OSError and failure.errno is None:
            raise _damaged(kind, what) from None
        raise


def _parts(compressed: Iterable[bytes], new: Callable[[], Decompressor]) -> Iterator[bytes]:
    """Decompress one part or several, as ``cat`` and parallel compressors make them.

    The classes of the standard library that do this ignore what follows the first part if it is damaged.
    """
    part = new()
    for block in compressed:
        rest = block
        while rest or not (part.eof or part.needs_input):
            if part.eof:
                # Tapes and xz pad with zeros.
                rest = rest.lstrip(b"\x00")
                part = new() if rest else part
                continue
            if content := part.decompress(rest, BLOCK_BYTES):
                yield content
            rest = part.unused_data if part.eof else b""
    if not part.eof:
        raise EOFError


def _unxz() -> Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ)


def _unzstd() -> Callable[[], Decompressor] | None:
    with suppress(ImportError):
        new: Callable[[], Decompressor] = import_module("compression.zstd").ZstdDecompressor
        return new
    return None


def _by_pyarrow(stream: IO[bytes], what: str) -> Iterator[bytes]:
    """Decompress zstd with pyarrow, which stands in for Python 3.14's own."""
    try:
        import pyarrow
    except ImportError:
        raise InvalidInput(
            f"{what} is compressed by zstd, which needs Python 3.14 or pyarrow: "
            "pip install 'airflow-provider-wxbank[parquet]'"
        ) from None
    with pyarrow.CompressedInputStream(pyarrow.PythonFile(stream, "r"), "zstd") as decompressing:
        while block := decompressing.read(BLOCK_BYTES):
            yield block


def _damaged(kind: Kind, what: str) -> InvalidInput:
    return InvalidInput(f"{what} is not a whole {kind} file: it is damaged or was cut off. Nothing was sent")


def text_of(content: Iterator[bytes], encoding: str, what: str) -> Iterator[str]:
    """The text of some bytes, about 32,000 characters at a time, without a byte order mark.

    :param encoding: a codec that keeps ASCII as it is.
    :param what: the file, for messages.
    :raises InvalidInput: they are not text in that encoding, and it says what they seem to be; or a line has no end.
    """
    first = next(content, b"")
    for mark in _BOMS:
        first = first.removeprefix(mark)
    decoder = codecs.getincrementaldecoder(encoding)()
    lines, open_bytes = 0, 0
    # The last, empty one shows whether a character is not whole.
    for block in chain(_small(chain([first], content)), [b""]):
        if encoding in CHINESE and not block.isascii() and _is_utf8(block.partition(b"\n")[2] if lines else block):
            # Read as GB18030, three Chinese characters of UTF-8 end in half a character, which swallows a delimiter.
            raise InvalidInput(
                f"{what} looks like UTF-8 from line {lines + 1} on, and dialect's encoding is {encoding}. "
                "Nothing was sent"
            )
        try:
            yield decoder.decode(block, final=not block)
        except UnicodeDecodeError as failure:
            line = lines + failure.object.count(b"\n", 0, failure.start) + 1
            raise InvalidInput(
                f"{what} line {line} is not {encoding.upper()}{_seems(failure.object, encoding)}. Nothing was sent"
            ) from None
        lines += block.count(b"\n")
        end = block.rfind(b"\n")
        open_bytes = len(block) - end - 1 if end >= 0 else open_bytes + len(block)
        if open_bytes > MAX_LINE_BYTES:
            raise InvalidInput(f"{what} has a line of more than {MAX_LINE_BYTES} bytes: is it text?")


def _small(blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        for start in range(0, len(block), TEXT_BYTES):
            yield block[start : start + TEXT_BYTES]


_CHINESE_CHARACTER = re.compile("[\u3000-\u9fff\uff00-\uffef]")


def _seems(sample: bytes, encoding: str) -> str:
    if encoding != "utf-8":
        return " and looks like UTF-8: leave the encoding out" if _is_utf8(sample) else ""
    with suppress(UnicodeDecodeError):
        _whole_lines(sample).decode("gb18030")
        return ' and looks like GB18030 (GBK): say so with dialect={"encoding": "gb18030"}'
    return ""


def _is_utf8(sample: bytes) -> bool:
    """Whether it has Chinese characters in UTF-8, and nothing else than that and ASCII."""
    try:
        return _CHINESE_CHARACTER.search(_whole_lines(sample).decode()) is not None
    except UnicodeDecodeError:
        return False


def _whole_lines(sample: bytes) -> bytes:
    """A sample without its last line, which may end in the middle of a character; all of it if it has no other."""
    return sample[: sample.rfind(b"\n") + 1] or sample
