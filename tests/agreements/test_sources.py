# SPDX-License-Identifier: Apache-2.0
"""What can be read as a source of numbers, beside plain text and CSV."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from airflow_provider_wxbank.agreements.numbers import CHUNK_ROWS, Tally, checked_numbers
from airflow_provider_wxbank.agreements.sources.dialect import Column, Dialect
from airflow_provider_wxbank.agreements.sources.files import read_files
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater
from tests.conftest import numbers
from tests.harness.files import location

CASES = Path(__file__).with_name("cases")
"""Files as banks unload them."""

RUN = [f"{number}" for number in range(202400000000000000, 202400000000000020)]


def read(path: Path, column: Column | None = None, **dialect: object) -> list[str]:
    """The numbers of a file, as an export takes them."""
    values = read_files(location(str(path)), column, Dialect.of(dialect))
    return [number for some in checked_numbers(values, "fail", Tally()) for number in some]


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
        lambda _: b"",
    ],
    ids=["cut off", "garbled", "wrong checksum", "empty"],
)
def test_a_compressed_file_that_is_not_whole_is_refused(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    whole = gzip.compress("\n".join(numbers(3000)).encode())
    (tmp_path / "users.gz").write_bytes(spoil(whole))
    with pytest.raises(InvalidInput, match=r"users\.gz is (not a whole gzip file|empty, which no file of its kind is)"):
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
        ({"a": [1], "b": [2]}, None, "has 2 columns; name the one with the numbers as column"),
        ({"a": [1], "b": [2]}, "c", "has 2 columns, none of them named 'c'"),
        ({"a": ["1", None]}, "a", r"users\.parquet row 2 is NULL"),
        ({"a": ["1", "2 3"]}, "a", r"users\.parquet row 2 has a blank"),
        ({"a": [1.5]}, "a", r"row 1 is a float, not a text"),
        ({"a": [{"b": "1"}]}, "a", r"row 1 is a dict, not a text"),
        ({"a": [Decimal("1.00")]}, "a", r"users\.parquet row 1 is a decimal with a fraction, even if that is 0"),
        ({"a": ["1", "NULL"]}, "a", r"users\.parquet row 2 is a word for NULL"),
        ({"a": ["1", "2|Li"]}, "a", r"users\.parquet row 2 has '\|' in it"),
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
    with pytest.raises(InvalidInput, match=r"users\.parquet (cannot be read as Parquet|is empty, which)"):
        read(path)


@pytest.mark.parametrize("compression", ["snappy", "gzip", "zstd", "none"])
def test_a_parquet_file_with_damaged_pages_is_no_list(tmp_path: Path, compression: str) -> None:
    """Whatever the library says: it is told by the file's name, and no number that was not in it is read."""
    path = tmp_path / "users.parquet"
    table = pyarrow.table({"agreement_no": numbers(20_000)})
    pyarrow.parquet.write_table(table, path, compression=compression, use_dictionary=False, data_page_size=4096)
    content = bytearray(path.read_bytes())
    middle = len(content) // 3
    content[middle : middle + 3000] = b"\xff" * 3000
    path.write_bytes(content)
    with pytest.raises((InvalidInput, TryLater), match=r"users\.parquet") as raised:
        read(path)
    assert "2024" not in str(raised.value)


@pytest.mark.slow
def test_a_large_parquet_file_is_not_read_whole(tmp_path: Path) -> None:
    """40 MB of text in one row group; pyarrow's own memory is what it has at a time."""
    count = 2_000_000
    path = tmp_path / "users.parquet"
    pyarrow.parquet.write_table(
        pyarrow.table({"agreement_no": [f"2024{index:014d}" for index in range(count)]}), path, row_group_size=count,
        use_dictionary=False, compression="none",
    )  # fmt: skip
    before, most, rows = pyarrow.total_allocated_bytes(), 0, 0
    for values in read_files(location(str(path)), None, Dialect()):
        most = max(most, pyarrow.total_allocated_bytes() - before)
        assert len(values.values) <= CHUNK_ROWS
        rows += len(values.values)
    assert rows == count
    assert most < 16_000_000


NO_HEADER = {"header": False}
PIPE = {"delimiter": "|"}


@pytest.mark.parametrize(
    ("name", "column", "dialect", "message"),
    [
        ("pipe_nohead.txt", None, {}, r"pipe_nohead.txt line 1 has '\|' in it.* column.*\"delimiter\": '\|'"),
        ("pipe_nohead.txt", None, PIPE, "give column"),
        ("pipe_nohead.txt", 1, PIPE, "should be the header, and has what looks like a number in column 1"),
        ("pipe_nohead.txt", 4, {**PIPE, **NO_HEADER}, "has 3 columns, and column is 4"),
        ("pipe_nohead.txt", "agreement_no", PIPE, "has 3 columns, none of them named.*may be no header"),
        ("pipe.csv", None, {}, r"pipe.csv line 1 has '\|' in it"),
        ("pipe.csv", "agreement_no", {}, r"none of them named.*'\|' seems to part its columns, and not ','"),
        ("pipe.csv", "agreement_no", {"delimiter": ";"}, r"'\|' seems to part its columns, and not ';'"),
        ("pipe.csv", "agreement_no", {"delimiter": "|@|"}, r"'\|' seems to part its columns, and not '\|@\|'"),
        ("pipe.csv", 2, {}, r"has 1 column, and column is 2: '\|' seems to part its columns"),
        ("pipe_at.dat", None, {}, r"line 1 has '\|@\|' in it"),
        ("pipe_at.dat", "agreement_no", {}, r"'\|@\|' seems to part its columns, and not ','"),
        ("pipe_at.dat", 1, {**PIPE, **NO_HEADER}, r"line 1 has no digit in it, so it is a word"),
        ("ctrl_a_header.txt", None, {}, r"line 1 has '\\x01' in it"),
        ("ctrl_a_header.txt", "agreement_no", {}, r"'\\x01' seems to part its columns, and not ','"),
        ("tab.tsv", None, {}, r"line 1 has '\\t' in it"),
        ("tab.tsv", "agreement_no", {}, r"'\\t' seems to part its columns, and not ','"),
        ("comma_nohead.csv", None, {}, "line 1 has ',' in it"),
        ("comma_nohead.csv", "agreement_no", {}, "has 3 columns, none of them named 'agreement_no'.*may be no header"),
        ("comma_nohead.csv", 1, {}, "should be the header, and has what looks like a number in column 1"),
        ("comma_nohead.csv", "agreement_no", NO_HEADER, "column is a name, and dialect says that there is no header"),
        ("gbk_zh_header.csv", "协议号", {}, "gbk_zh_header.csv line 1 is not UTF-8 and looks like GB18030"),
        ("gbk_zh_header.csv", 1, NO_HEADER, "gbk_zh_header.csv line 1 is not UTF-8 and looks like GB18030"),
        ("gbk_delim.csv", "agreement_no", PIPE, "gbk_delim.csv line 2 is not UTF-8 and looks like GB18030"),
        (
            "bom.csv",
            "agreement_no",
            {"encoding": "gb18030"},
            "looks like UTF-8 from line 1 on, and dialect's encoding is gb18030",
        ),
        ("crlf.csv", None, {}, "line 1 has ',' in it"),
        ("header_trailer.txt", None, {}, "lines 1 and 22 have letters where all others are digits.*skip_rows"),
        ("header_trailer.txt", None, {"skip_rows": 1}, "line 22 has letters where all others are digits"),
        ("header_trailer.txt", None, {"skip_footer": 1}, "line 1 has letters where all others are digits"),
        (
            "header_trailer.csv",
            1,
            {**PIPE, **NO_HEADER},
            "line 2 has 3 columns, but .* line 1 has 2: if it is a record",
        ),
        (
            "header_trailer.csv",
            1,
            {**PIPE, **NO_HEADER, "skip_rows": 1},
            "line 22 has 2 columns, but .* line 2 has 3: if it is a record",
        ),
        ("header_trailer.csv", "agreement_no", PIPE, "has 2 columns, none of them named.*record of the file"),
        ("fixed_width.txt", None, {}, "line 1 has a blank in it"),
        ("fixed_width.txt", (1, 19), {"skip_footer": 20}, "has no row in it"),
        ("fixed_width.txt", (1, 50), {}, "line 1 has 46 characters, and the column ends at 50"),
        ("fixed_width.txt", (25, 45), {}, "line 1 has a blank in it"),
        ("fixed_width.txt", (30, 40), {}, "line 1 has no digit"),
        ("null_word.txt", None, {}, "line 1 is a word for NULL"),
        ("sci.csv", "agreement_no", {}, "line 2 has an exponent"),
        ("apostrophe.csv", "agreement_no", {}, "line 2 begins with ' or =, as Excel"),
        ("fullwidth.txt", None, {}, "line 1 has digits that are not ASCII"),
        ("double.parquet", None, {}, "row 1 is a float, not a text or a whole number"),
        ("decimal_scale2.parquet", None, {}, "row 1 is a decimal with a fraction"),
        ("flag/users.txt.ok", None, {}, "no lists"),
        ("hive/_SUCCESS", None, {}, "no lists"),
    ],
)
def test_a_bank_s_file_that_holds_no_numbers_as_it_is_is_refused(
    name: str, column: Column | None, dialect: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        read(CASES / name, column, **dialect)
    told = str(raised.value).replace(str(CASES), "")
    assert "2024" not in told
    assert "agreement_no" not in told.replace(f"named {column!r}", "")
    assert "name,city" not in told


@pytest.mark.parametrize(
    ("name", "column", "dialect", "rows"),
    [
        ("pipe_nohead.txt", 1, {**PIPE, **NO_HEADER}, RUN),
        ("pipe.csv", "agreement_no", PIPE, RUN),
        ("pipe.csv", 1, PIPE, RUN),
        ("pipe_at.dat", "agreement_no", {"delimiter": "|@|"}, RUN),
        ("ctrl_a_header.txt", "agreement_no", {"delimiter": "\x01"}, RUN),
        ("ctrl_a_header.txt", "agreement_no", {"delimiter": "\\x01"}, RUN),
        ("ctrl_a_header.txt", "agreement_no", {"delimiter": "\\001"}, RUN),
        ("tab.tsv", "agreement_no", {"delimiter": "\t"}, RUN),
        ("tab.tsv", "agreement_no", {"delimiter": "\\t"}, RUN),
        ("comma_nohead.csv", 1, NO_HEADER, RUN),
        ("gbk_zh_header.csv", "协议号", {"encoding": "gb18030"}, RUN),
        ("gbk_zh_header.csv", "协议号", {"encoding": "GBK"}, RUN),
        ("gbk_delim.csv", "agreement_no", {**PIPE, "encoding": "gb18030"}, ["1001"]),
        ("bom.csv", "agreement_no", {}, RUN),
        ("bom.csv", "agreement_no", {"encoding": "utf-8-sig"}, RUN),
        ("bom.txt", None, {}, RUN),
        ("crlf.csv", "agreement_no", {}, RUN),
        ("crlf.txt", None, {}, RUN),
        ("empty_last.csv", "agreement_no", {}, RUN),
        ("empty_last.txt", None, {}, RUN),
        ("quoted_newline.csv", "agreement_no", {}, RUN),
        ("header_trailer.txt", None, {"skip_rows": 1, "skip_footer": 1}, RUN),
        ("header_trailer.txt", None, {"skip_rows": 0, "skip_footer": 0}, ["H20261125000020", *RUN, "T0000000020"]),
        ("header_trailer.csv", 1, {**PIPE, **NO_HEADER, "skip_rows": 1, "skip_footer": 1}, RUN),
        ("fixed_width.txt", (1, 18), {}, RUN),
        ("fixed_width.txt", (1, 30), {}, RUN),
        ("header_case.csv", "agreement_no", {}, ["1001"]),
        ("header_spaces.csv", "agreement_no", {}, ["1001"]),
        ("flag/users.txt*", None, {}, RUN[:10]),
        ("flag/*", None, {}, RUN[:10]),
        ("flag", None, {}, RUN[:10]),
        ("hive", "agreement_no", {}, RUN + RUN),
        ("hive/*", "AGREEMENT_NO", {}, RUN + RUN),
        ("hive/*/*", 1, {}, RUN + RUN),
    ],
)
def test_a_bank_s_file_is_read(name: str, column: Column | None, dialect: dict[str, object], rows: list[str]) -> None:
    assert read(CASES / name, column, **dialect) == rows


def places(path: Path, column: str | None = None) -> list[str]:
    return list(dict.fromkeys(values.place for values in read_files(location(str(path)), column, Dialect())))


def test_files_of_the_same_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    for name in ("dt=20261124/a.txt", "dt=20261125/a.txt", "b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("2024\n\n2025\n")
    assert places(tmp_path / "*/a.txt") == ["dt=20261124/a.txt line", "dt=20261125/a.txt line"]
    assert places(tmp_path / "d*") == ["dt=20261124/a.txt line", "dt=20261125/a.txt line"]
    assert places(tmp_path) == ["b.txt line", "dt=20261124/a.txt line", "dt=20261125/a.txt line"]
    assert places(tmp_path / "b.txt") == ["b.txt line"]
    tally = Tally()
    assert list(checked_numbers(read_files(location(f"{tmp_path}/*/*.txt"), None, Dialect()), "skip", tally))
    assert tally.positions == {"dt=20261124/a.txt line": [2], "dt=20261125/a.txt line": [2]}
    with pytest.raises(InvalidInput, match="dt=20261124/a.txt line 2 is empty"):
        list(checked_numbers(read_files(location(f"{tmp_path}/*/*.txt"), None, Dialect()), "fail", Tally()))
    assert places(CASES / "hive" / "*" / "*", "agreement_no") == [
        "dt=20261124/part-00000.parquet row",
        "dt=20261125/part-00000.parquet row",
    ]


NO_LISTS = (
    "_SUCCESS", "_committed_123", ".users.txt.crc", ".hidden", "users.ok", "USERS.OK", "users.txt.flg", "users.ctl",
    "users.done", "users.txt.md5", "users.txt.sha256", "users.tmp", "_temporary/0/part-0", ".spark/part-0",
    "dt=1/_started", "a/_b/c/users.txt", "users.txt.fin", "users.END", "users.txt.temp", "users.txt.filepart",
    "users.cnt", "users.TRG", "users.txt.bak", "users.txt~", "users.verf", "users.txt.part",
    "users.inprogress", "users.txt._COPYING_", "users.sha1", "users.txt.sha512", "users.flag",
)  # fmt: skip


@pytest.mark.parametrize("pattern", ["*", "**", "*/*", ""])
def test_what_is_no_list_by_its_name_is_left_out_and_said(
    tmp_path: Path, pattern: str, caplog: pytest.LogCaptureFixture
) -> None:
    base = tmp_path / "_here" if pattern != "*/*" else tmp_path
    names = [f"sub/{name}" if pattern == "*/*" else name for name in (*NO_LISTS, "users.txt")]
    for name in names:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text("2024" if name.endswith("users.txt") and "_b" not in name else "20\n")
    caplog.set_level("INFO")
    assert read(base / pattern) == ["2024"]
    assert f"left out {len(NO_LISTS)} files that are no lists" in caplog.text


@pytest.mark.parametrize("name", NO_LISTS[:3] + NO_LISTS[4:6])
def test_what_is_no_list_by_its_name_is_refused_if_it_is_all_there_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("20\n")
    for source in (tmp_path / name, tmp_path / "*", tmp_path):
        with pytest.raises(InvalidInput, match="no lists.*Rename what holds numbers"):
            read(source)


def test_a_place_without_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("empty", "no file in it"),
        ("e*", "no file in it"),
        ("x*", "no file matches"),
        ("x", "exist"),
    ):
        with pytest.raises(InvalidInput, match=message):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("mark", "kind"),
    [
        ("_delta_log/00000000000000000000.json", "Delta"),
        (".hoodie/hoodie.properties", "Hudi"),
        ("metadata/v1.metadata.json", "Iceberg"),
    ],
)
@pytest.mark.parametrize("file", ["part-0.parquet", "dt=20261124/part-0.parquet", "data/dt=20261124/part-0.parquet"])
def test_files_of_a_table_that_may_hold_deleted_rows_are_refused(
    tmp_path: Path, mark: str, kind: str, file: str
) -> None:
    table = tmp_path / "users"
    for path in (table / mark, table / file):
        path.parent.mkdir(parents=True, exist_ok=True)
    (table / mark).write_text("{}")
    write_parquet(table / file, agreement_no=numbers(3))
    for source in (table / file, (table / file).with_name("*.parquet"), table, table / "**/*.parquet"):
        with pytest.raises(InvalidInput, match=f"of a {kind} table, which also hold rows that were deleted.*with sql"):
            read(source)


def test_a_folder_called_metadata_makes_no_table(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "readme.txt").write_text("2024")
    write_parquet(tmp_path / "users.parquet", agreement_no=numbers(3))
    assert read(tmp_path / "*.parquet") == numbers(3)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"202400000000009999\n")


def replace_by_one_of_the_same_size_and_time(path: Path) -> None:
    before = path.stat()
    other = path.with_name("_other")
    other.write_bytes(path.read_bytes()[::-1])
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def write_again(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize(
    "change",
    [append, lambda path: os.truncate(path, 50), replace_by_one_of_the_same_size_and_time, write_again, Path.unlink],
    ids=["grew", "was cut", "was replaced", "was written again", "was removed"],
)
@pytest.mark.parametrize("kind", ["txt", "csv", "gz", "parquet", "link"])
def test_a_file_that_changes_while_it_is_read_is_told(
    tmp_path: Path, change: Callable[[Path], None], kind: str
) -> None:
    """Its first rows are taken before it changes, and it may be cut in the middle of a block."""
    rows = numbers(6000)
    path = tmp_path / f"users.{kind}"
    if kind == "parquet":
        write_parquet(path, agreement_no=rows)
    else:
        text = "\n".join(["agreement_no", *rows] if kind == "csv" else rows) + "\n"
        path.write_bytes(gzip.compress(text.encode()) if kind == "gz" else text.encode())
    source = path
    if kind == "link":
        source = tmp_path / "link.txt"
        source.symlink_to(path)
    values = read_files(location(str(source)), "agreement_no" if kind == "csv" else None, Dialect())
    assert next(values).values
    change(path)
    with pytest.raises(TryLater, match=rf"{source.name} was changed or removed while it was read"):
        list(values)


def test_a_file_that_is_cut_while_it_is_read_is_not_called_damaged(tmp_path: Path) -> None:
    """Of 3 MB in Parquet the last third is gone when its turn comes: the reader finds no whole file."""
    path = write_parquet(tmp_path / "users.parquet", agreement_no=numbers(200_000))
    values = read_files(location(str(path)), None, Dialect())
    next(values)
    os.truncate(path, path.stat().st_size // 3)
    with pytest.raises(TryLater, match="changed or removed while"):
        list(values)


def test_a_file_that_is_left_in_the_middle_is_not_looked_at_again(tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text("\n".join(numbers(6000)))
    values = read_files(location(str(tmp_path / "users.txt")), None, Dialect())
    next(values)
    append(tmp_path / "users.txt")
    values.close()  # type: ignore[attr-defined]  # a generator


def test_names_of_columns_are_in_no_message(tmp_path: Path) -> None:
    """The files of a tool that took the first customer for a header."""
    number, name = numbers(1)[0], "ZhangSan"
    path = write_parquet(tmp_path / "users.parquet", **{number: ["1"], name: ["2"]})
    nested = write_parquet(tmp_path / "nested.parquet", **{number: [{"a": 1, name: 2}]})
    lines = tmp_path / "users.csv"
    lines.write_text(f"{number},{name}\n{number},{name}\n")
    for file, column in ((path, None), (path, "agreement_no"), (nested, None), (nested, "x"), (lines, "agreement_no")):
        with pytest.raises(InvalidInput) as raised:
            read(file, column)
        assert number not in str(raised.value)
        assert name not in str(raised.value)


def test_a_text_of_a_parquet_file_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    damaged = pyarrow.array([b"2024", b"\xd5\xc5"]).view(pyarrow.string())
    path = write_parquet(tmp_path / "users.parquet", agreement_no=damaged)
    with pytest.raises(InvalidInput, match="cannot be read as Parquet: UnicodeDecodeError"):
        read(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("users.total", "20"),
        ("users.list", "T0000000020"),
        ("SUCCESS1", "20261125"),
        ("users_digest.txt", "d41d8cd98f00b204e9800998ecf8427e"),
        ("flag", "8\n"),
    ],
)
def test_a_file_of_one_line_beside_a_list_is_no_number_of_it(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / "users.txt").write_text("\n".join(numbers(20)))
    (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInput, match=f"{name} line 1 has .*looks like a record"):
        checked(tmp_path)


def test_a_list_of_one_number_is_a_list(tmp_path: Path) -> None:
    for name, rows in (("a", numbers(20)), ("b", numbers(1, 50)), ("c", numbers(2, 60)), ("d", numbers(1, 70))):
        (tmp_path / f"{name}.txt").write_text("\n".join(rows))
    assert len(checked(tmp_path)) == 24
    (tmp_path / "a.txt").unlink()
    (tmp_path / "c.txt").unlink()
    assert len(checked(tmp_path)) == 2


@pytest.mark.parametrize("name", ["agreement_no", "agreement_no_1"])
def test_a_header_in_the_middle_is_no_number(tmp_path: Path, name: str) -> None:
    text = "".join(f"{row}\n" for row in [name, *numbers(8)])
    (tmp_path / "users.csv").write_text(text * 2)
    with pytest.raises(InvalidInput, match="users.csv line 10 is the header once more"):
        checked(tmp_path / "users.csv", name)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("agreement_no,name", "{},{}"),
        ("name,agreement_no", "{1},{0}"),
        ("id,name,agreement_no,city", "7,{1},{0},Shenzhen"),
    ],
)
@pytest.mark.parametrize("last", [4, 6])
def test_rows_between_two_stray_quotes_are_not_lost(tmp_path: Path, header: str, row: str, last: int) -> None:
    names = {3: '"Tom', last: 'Li"'}
    rows = [row.format(number, names.get(index, "Wang")) for index, number in enumerate(numbers(10))]
    (tmp_path / "users.csv").write_text("\n".join([header, *rows]))
    with pytest.raises(InvalidInput, match="missing or one too many|fields, but the header"):
        checked(tmp_path / "users.csv", "agreement_no")


def test_an_address_may_have_several_lines(tmp_path: Path) -> None:
    rows = [f'{number},"Room 12, Tower 3\nShenzhen, 518000\n+86 755 2601 1234"' for number in numbers(10)]
    (tmp_path / "users.csv").write_text("\n".join(["agreement_no,address", *rows]))
    assert checked(tmp_path / "users.csv", "agreement_no") == numbers(10)


def test_a_link_to_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "lists" / "users.txt").write_text("2024")
    (tmp_path / "lists" / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInput, match="is no file, but a folder"):
        read(tmp_path / "lists")


def checked(path: Path, column: str | None = None) -> list[str]:
    """The numbers that an export would take."""
    values = read_files(location(str(path)), column, Dialect())
    return [number for some in checked_numbers(values, "fail", Tally()) for number in some]
