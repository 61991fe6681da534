# SPDX-License-Identifier: Apache-2.0
"""What a file is, is told by its first bytes: what is read, and what is refused by its name with the way out."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sqlite3
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet
import pytest

from airflow_provider_wxbank.agreements.sources.streams import BLOCK_BYTES
from airflow_provider_wxbank.wechatpay.errors import InvalidInput
from tests.agreements.test_sources import RUN, read
from tests.conftest import numbers

TEXT = "".join(f"{row}\n" for row in RUN).encode()
TABLE = pyarrow.table({"agreement_no": RUN})


def zstd(content: bytes) -> bytes:
    return bytes(pyarrow.Codec("zstd").compress(content, asbytes=True))


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
}


@pytest.mark.parametrize("name", ["users", "users.txt", "users.csv", "users.parquet", "users.gz"])
@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_compressed_file_is_known_by_its_content(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / name).write_bytes(COMPRESSED[kind](TEXT))
    assert read(tmp_path / name) == RUN


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_long_compressed_file_is_read_whole(tmp_path: Path, kind: str) -> None:
    """Its blocks end in the middle of lines, and it is longer than one of ours."""
    rows = numbers(150_000)
    content = "\n".join(rows).encode()
    assert len(content) > 2 * BLOCK_BYTES
    (tmp_path / "users").write_bytes(COMPRESSED[kind](content))
    assert read(tmp_path / "users") == rows


@pytest.mark.parametrize(
    ("kind", "padding"),
    [*((kind, b"") for kind in COMPRESSED), ("gzip", b"\x00" * 512), ("bz2", b"\x00" * 512), ("xz", b"\x00" * 512)],
)
def test_a_file_of_several_compressed_parts_is_read_whole(tmp_path: Path, kind: str, padding: bytes) -> None:
    """As cat and parallel compressors make them; tapes pad with zeros."""
    parts = [RUN[:7], RUN[7:13], RUN[13:]]
    whole = b"".join(COMPRESSED[kind]("".join(f"{row}\n" for row in part).encode()) + padding for part in parts)
    (tmp_path / "users").write_bytes(whole)
    assert read(tmp_path / "users") == RUN


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda whole: whole[:-3],
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:20] + bytes(255 - byte for byte in whole[20:30]) + whole[30:],
        lambda whole: whole + whole[: len(whole) // 2],
        lambda whole: whole + b"garbage",
    ],
    ids=["cut off", "half", "garbled", "second part cut off", "garbage behind"],
)
def test_a_compressed_file_that_is_not_whole_gives_no_list(
    tmp_path: Path, kind: str, spoil: Callable[[bytes], bytes]
) -> None:
    """Also where the standard library's own readers stop without a word: behind the first part."""
    (tmp_path / "users").write_bytes(spoil(COMPRESSED[kind]("\n".join(numbers(3000)).encode())))
    with pytest.raises(InvalidInput, match=f"users is not a whole {kind} file: it is damaged or was cut off"):
        read(tmp_path / "users")


def test_a_parquet_file_needs_no_suffix_and_may_hold_bytes(tmp_path: Path) -> None:
    """As Impala writes texts."""
    for name, kind in (("part-00000", pyarrow.binary()), ("1", pyarrow.large_binary()), ("2", pyarrow.binary(18))):
        column = pyarrow.array([row.encode() for row in RUN], kind)
        pyarrow.parquet.write_table(pyarrow.table({"id": range(20), "agreement_no": column}), tmp_path / name)
        assert read(tmp_path / name, " Agreement_No") == RUN
        assert read(tmp_path / name, 2) == RUN


def test_bytes_of_a_parquet_file_that_are_no_text_are_told_by_row(tmp_path: Path) -> None:
    column = pyarrow.array([b"2024", b"\xd5\xc5"])
    pyarrow.parquet.write_table(pyarrow.table({"agreement_no": column}), tmp_path / "users")
    with pytest.raises(InvalidInput, match="users row 2 is not UTF-8"):
        read(tmp_path / "users")


def test_parquet_files_put_together_are_told(tmp_path: Path) -> None:
    """Of the first one nothing would be read."""
    half = [
        written(pyarrow.parquet.write_table, pyarrow.table({"agreement_no": part})) for part in (RUN[:10], RUN[10:])
    ]
    (tmp_path / "users").write_bytes(b"".join(half))
    with pytest.raises(InvalidInput, match="users has several Parquet files in it, one behind the other"):
        read(tmp_path / "users")


@pytest.mark.parametrize("options", [{}, {"write_page_index": True}, {"row_group_size": 3}, {"use_dictionary": False}])
def test_a_parquet_file_with_indexes_is_one(tmp_path: Path, options: dict[str, object]) -> None:
    pyarrow.parquet.write_table(TABLE, tmp_path / "users", **options)
    assert read(tmp_path / "users") == RUN


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_column_by_number_has_one_name_in_all_files(tmp_path: Path, kind: str) -> None:
    """Else dates of the second file would be taken for numbers."""
    dates = [str(20261101 + index) for index in range(10)]
    tables = {
        "a": {"id": dates, "No": RUN[:10]},
        "b": {"no ": RUN[10:], "day": dates},
        "c": {"day": dates, "NO": RUN[10:]},
    }
    for name, columns in tables.items():
        if kind == "parquet":
            pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / name)
        else:
            rows = [",".join(columns), *map(",".join, zip(*columns.values(), strict=True))]
            (tmp_path / name).write_text("\n".join(rows))
    with pytest.raises(InvalidInput, match="column 2 of .*b has another name than that of .*a, so it may be another"):
        read(tmp_path, 2)
    assert read(tmp_path, "no") == [*RUN[:10], *RUN[10:], *RUN[10:]]
    (tmp_path / "b").unlink()
    assert read(tmp_path, 2) == RUN


@pytest.mark.parametrize("end", [".gz", ".bz2", ".xz", ".zst"])
def test_a_list_that_is_there_twice_is_told(tmp_path: Path, end: str) -> None:
    (tmp_path / "users.txt").write_bytes(TEXT)
    (tmp_path / f"users.txt{end}").write_bytes(gzip.compress(TEXT))
    with pytest.raises(InvalidInput, match=rf"users.txt and .*users.txt\{end} seem to be the same list twice"):
        read(tmp_path)
    assert read(tmp_path / "users.txt") == RUN


def test_a_link_to_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "users.txt").symlink_to(tmp_path / "gone")
    with pytest.raises(InvalidInput, match="users.txt is a link to a file that does not exist|does not exist"):
        read(tmp_path / "users.txt")


@pytest.mark.parametrize("empty", [b"\n", b"\x1a\n", b" \r\n"])
@pytest.mark.parametrize("footer", [0, 1])
def test_millions_of_empty_lines_take_no_time_to_speak_of(tmp_path: Path, empty: bytes, footer: int) -> None:
    """They are a few kB, compressed; looking at each again and again took a minute."""
    (tmp_path / "users").write_bytes(gzip.compress(TEXT + b"T20\n" * footer + empty * 5_000_000))
    with pytest.raises(InvalidInput, match=rf"users line {21 + footer} is empty, and so are thousands after it"):
        read(tmp_path / "users", skip_footer=footer)


def packed(*names: str) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, TEXT)
    return whole.getvalue()


def tar() -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        info = tarfile.TarInfo("users.txt")
        info.size = len(TEXT)
        archive.addfile(info, io.BytesIO(TEXT))
    return whole.getvalue()


def written(write: Callable[[pyarrow.Table, io.BytesIO], None], table: pyarrow.Table = TABLE) -> bytes:
    whole = io.BytesIO()
    write(table, whole)
    return whole.getvalue()


def sqlite_file(folder: Path) -> bytes:
    with sqlite3.connect(folder / "db") as connection:
        connection.execute("CREATE TABLE users (agreement_no TEXT)")
    connection.close()
    return (folder / "db").read_bytes()


JSON_LINES = "".join(f'{{"agreement_no": "{row}"}}\n' for row in RUN).encode()
HTML = f"<html><table><tr><td>{'</td></tr><tr><td>'.join(RUN)}</td></tr></table></html>".encode()

REFUSED: dict[str, tuple[bytes, str]] = {
    "zip": (packed("users.txt"), "a zip archive, which is not read as a list: unpack it"),
    "zip without files": (packed(), "a zip archive without files"),
    "xlsx": (packed("[Content_Types].xml", "xl/workbook.xml"), r"Excel workbook \(.xlsx\).*save it as CSV"),
    "ods": (packed("mimetypeapplication/vnd.oasis.opendocument.spreadsheet"), "file of Office.*save it as CSV"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), r"Excel workbook \(.xls\).*save it as CSV"),
    "html": (HTML, "HTML or XML, as some systems write it for Excel"),
    "html with blanks": (b"\xef\xbb\xbf\r\n <!DOCTYPE html>" + HTML, "HTML or XML"),
    "xml": (b'<?xml version="1.0"?><Workbook/>', "HTML or XML"),
    "tar": (tar(), "a tar archive.*unpack it"),
    "7z": (b"7z\xbc\xaf\x27\x1c\x00\x04", "a 7z archive"),
    "rar": (b"Rar!\x1a\x07\x01\x00", "a RAR archive"),
    "deflate of Hive": (zlib.compress(TEXT), r"zlib \(.deflate\)"),
    "compress": (b"\x1f\x9d\x90" + TEXT, r"compress \(.Z\)"),
    "lz4": (pyarrow.Codec("lz4").compress(TEXT, asbytes=True), "compressed by lz4.*gzip or zstd"),
    "snappy": (b"\xff\x06\x00\x00sNaPpY\x01", "compressed by Snappy"),
    "lzma": (lzma.compress(TEXT, lzma.FORMAT_ALONE), "LZMA without an xz container"),
    "orc": (written(pyarrow.orc.write_table), "an ORC file.*CSV or Parquet"),
    "avro": (b"Obj\x01\x04\x14avro.codec", "an Avro file.*CSV or Parquet"),
    "feather": (written(pyarrow.feather.write_feather), "an Arrow file"),
    "sequence file": (b"SEQ\x06\x19org.apache.hadoop.io.Text", "a Hadoop SequenceFile"),
    "encrypted Parquet": (b"PARE" + bytes(20), "Parquet file whose footer is encrypted.*decrypt"),
    "json lines": (JSON_LINES, "JSON, which is not read"),
    "json": (b'[\n {"agreement_no": "1"}]', "JSON, which is not read"),
    "json of texts": (b'["202400000000000000"]', "JSON, which is not read"),
    "pdf": (b"%PDF-1.7\n", "a PDF document"),
    "pgp": (b"-----BEGIN PGP MESSAGE-----\n", "encrypted by PGP.*decrypt"),
    "openssl": (b"Salted__" + bytes(range(200)), "encrypted by OpenSSL"),
    "utf-16 with mark": (TEXT.decode().encode("utf-16"), "UTF-16.*iconv"),
    "utf-16 big": (b"\xfe\xff" + TEXT.decode().encode("utf-16-be"), "UTF-16.*iconv"),
    "utf-16 without mark": (TEXT.decode().encode("utf-16-le"), "UTF-16 without a byte order mark"),
    "utf-32": (TEXT.decode().encode("utf-32"), "UTF-32.*iconv"),
    "ebcdic": (TEXT.decode().encode("cp037"), "EBCDIC.*iconv"),
}


@pytest.mark.parametrize("compress", [None, "gzip", "xz"])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_read_is_refused_by_its_name(tmp_path: Path, kind: str, compress: str | None) -> None:
    content, message = REFUSED[kind]
    (tmp_path / "users.csv").write_bytes(content if compress is None else COMPRESSED[compress](content))
    for column in (None, "agreement_no", 1):
        with pytest.raises(InvalidInput, match=rf"users\.csv is .*{message}.*Nothing was sent") as raised:
            read(tmp_path / "users.csv", column)
        assert "2024" not in str(raised.value)


def test_an_sqlite_database_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "users").write_bytes(sqlite_file(tmp_path))
    with pytest.raises(InvalidInput, match="users is an SQLite database.*read it with sql"):
        read(tmp_path / "users")


@pytest.mark.parametrize("outer", COMPRESSED)
@pytest.mark.parametrize("inner", ["gzip", "bz2", "parquet"])
def test_what_is_compressed_twice_is_told(tmp_path: Path, outer: str, inner: str) -> None:
    content = written(pyarrow.parquet.write_table) if inner == "parquet" else COMPRESSED[inner](TEXT)
    (tmp_path / "users.csv").write_bytes(COMPRESSED[outer](content))
    with pytest.raises(InvalidInput, match=f"holds {inner}, compressed once more: unpack it once"):
        read(tmp_path / "users.csv")


@pytest.mark.parametrize(
    "content",
    [
        b"PK",
        b"BZ",
        b"OR",
        b"SE",
        b"{",
        b"[1]",
        b"<",
        b"\x1f",
        b"ORC1,2\n",
        b"SEQ\n1",
        b"PARENT\n1",
        b"BZh\n1",
        b"\x00\x01\x02\x03",
    ],
)
def test_a_text_that_begins_like_something_else_gives_no_number(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "users").write_bytes(content)
    with pytest.raises(InvalidInput):
        read(tmp_path / "users")
