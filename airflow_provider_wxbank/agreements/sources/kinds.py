# SPDX-License-Identifier: Apache-2.0
"""What a file is, told by its first bytes and not by its name: names are given by people and by habit."""

from __future__ import annotations

import re
from typing import Literal

from airflow_provider_wxbank.wechatpay.errors import InvalidInput

Kind = Literal["text", "gzip", "bz2", "xz", "zstd", "parquet"]

BEGINNING_BYTES = 4096
"""Bytes of a file that are enough to tell what it is."""

_READ: tuple[tuple[bytes, Kind], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PAR1", "parquet"),
)

_UNPACK = "unpack it, and give the list that is in it"
_EXPORT = "export the list as CSV or Parquet, or read its table with sql"
_SAVE = (
    "save it as CSV (UTF-8), with the column of the numbers as text: what Excel has taken for a number has lost its "
    "digits after the 15th"
)
_DECRYPT = "decrypt it first"

# Where each format begins so is in its own specification; file(1) has them all.
_REFUSED: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"PK\x05\x06", "a zip archive without files", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"x\x9c", "compressed by zlib (.deflate)", "unpack it, or compress it with gzip"),
    (b"x\xda", "compressed by zlib (.deflate)", "unpack it, or compress it with gzip"),
    (b"\x1f\x9d", "compressed by compress (.Z)", "unpack it, or compress it with gzip"),
    (b"\x04\x22\x4d\x18", "compressed by lz4", "unpack it, or compress it with gzip or zstd"),
    (b"\xff\x06\x00\x00sNaPpY", "compressed by Snappy", "unpack it, or compress it with gzip or zstd"),
    (b"\x89LZO", "compressed by lzop", "unpack it, or compress it with gzip or zstd"),
    (b"LZIP", "compressed by lzip", "unpack it, or compress it with xz"),
    (b"]\x00\x00", "compressed by LZMA without an xz container", "unpack it, or compress it with xz"),
    (b"ORC", "an ORC file", _EXPORT),
    (b"Obj\x01", "an Avro file", _EXPORT),
    (b"PARE", "a Parquet file whose footer is encrypted", _DECRYPT),
    (b"SEQ\x06", "a Hadoop SequenceFile", _EXPORT),
    (b"RCF", "a Hive RCFile", _EXPORT),
    (b"ARROW1", "an Arrow file (Feather)", _EXPORT),
    (b"FEA1", "a Feather file", _EXPORT),
    (b"SQLite format 3\x00", "an SQLite database", "give it a connection, and read it with sql"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook (.xls), or another file of old Office", _SAVE),
    (b"%PDF-", "a PDF document", _EXPORT),
    (b"-----BEGIN PGP", "encrypted by PGP", _DECRYPT),
    (b"Salted__", "encrypted by OpenSSL", _DECRYPT),
    (b"\xff\xfe\x00\x00", "UTF-32", "convert it, for example with iconv -f UTF-32 -t UTF-8"),
    (b"\x00\x00\xfe\xff", "UTF-32", "convert it, for example with iconv -f UTF-32 -t UTF-8"),
    (b"\xff\xfe", "UTF-16", "convert it, for example with iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16", "convert it, for example with iconv -f UTF-16 -t UTF-8"),
)

_OFFICE = re.compile(rb"\[Content_Types\]\.xml|xl/|_rels/\.rels|mimetypeapplication/vnd\.oasis")
_MARKUP = re.compile(rb"<(?:\?xml|!doctype|html|head|meta|table|style|!--)", re.IGNORECASE)
_JSON = re.compile(rb'(?:\[\s*)?\{\s*"|\[\s*["\d\[]')
_EBCDIC_DIGITS = frozenset(range(0xF0, 0xFA))


def kind_of(beginning: bytes, what: str) -> Kind:
    """What a file is.

    :param beginning: its first :data:`BEGINNING_BYTES` bytes, or all of them.
    :param what: the file, for messages.
    :raises InvalidInput: it is of a kind that is not read.
    """
    for signature, kind in _READ:
        if _begins(beginning, signature):
            return kind
    for signature, name, instead in _REFUSED:
        if _begins(beginning, signature):
            if signature.startswith(b"PK") and _OFFICE.search(beginning):
                name, instead = "an Excel workbook (.xlsx), or another file of Office", _SAVE
            raise _refused(what, name, instead)
    _check_text(beginning, what)
    return "text"


def _begins(beginning: bytes, signature: bytes) -> bool:
    """Whether a file has a signature. One of letters may be a header, such as ORC_NO or PARENT: then text follows."""
    if not beginning.startswith(signature):
        return False
    rest = beginning[len(signature) : len(signature) + 8]
    return (
        not (rest and signature.isalnum())
        or (signature == b"BZh" and rest[1:7] == b"1AY&SY")
        or not rest.isascii()
        or any(byte < 0x20 for byte in rest.rstrip(b"\r\n"))
    )


def _check_text(beginning: bytes, what: str) -> None:
    """:raises InvalidInput: it is no text of lines, or one in an encoding that does not keep ASCII."""
    text = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _MARKUP.match(text):
        raise _refused(what, "HTML or XML, as some systems write it for Excel", _SAVE)
    if _JSON.match(text):
        raise _refused(what, "JSON", _EXPORT)
    if beginning[257:262] == b"ustar":
        raise _refused(what, "a tar archive", _UNPACK)
    if len(beginning) >= 4 and beginning.count(0) * 3 > len(beginning):
        # Of digits and Latin letters in UTF-16 every second byte is 0.
        raise _refused(what, "UTF-16 without a byte order mark, or binary data", "convert it to UTF-8")
    if len(beginning) >= 8 and sum(byte in _EBCDIC_DIGITS for byte in beginning) * 2 > len(beginning):
        raise _refused(
            what, "EBCDIC, as mainframes write it", "convert it, for example with iconv -f IBM-1047 -t UTF-8"
        )


def _refused(what: str, name: str, instead: str) -> InvalidInput:
    return InvalidInput(f"{what} is {name}, which is not read as a list: {instead}. Nothing was sent")
