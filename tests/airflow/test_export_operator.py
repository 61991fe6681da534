# SPDX-License-Identifier: Apache-2.0
"""ExportUsersOperator on real databases and object stores."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_wxbank.agreements.files import naming_key
from airflow_provider_wxbank.agreements.manifest import Manifest, read_manifest, split_identity
from airflow_provider_wxbank.agreements.sources.dialect import Dialect
from airflow_provider_wxbank.agreements.sources.files import read_files
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.parameters import location
from airflow_provider_wxbank.simulator import Simulator, numbers_digest
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials, InvalidInput, TryLater
from tests.airflow.conftest import context
from tests.conftest import PACKAGE, NewSimulator, numbers
from tests.harness.databases import ROWS

ACTIVE = [number for index, number in enumerate(numbers(ROWS)) if index % 3]
QUERY = "SELECT agreement_no FROM users WHERE active = 1 ORDER BY agreement_no"

Connect = Callable[..., None]


@pytest.fixture(autouse=True)
def wxbank_default(simulator: Simulator, connect: Connect) -> None:
    connect(simulator)


def operator(**options: Any) -> ExportUsersOperator:
    return ExportUsersOperator(task_id="export", **{"bank_type": "ICBC_DEBIT", **options})


def manifest_of(uri: str) -> Manifest:
    settings = WxBankHook().get_conn().settings
    key = naming_key(settings.merchant.signer, settings.naming_secret)
    path, identity = split_identity(uri)
    return read_manifest(location(path, "manifest"), key, identity)


def imported(uri: str, simulator: Simulator) -> dict[str, Any]:
    """Upload an export; what the simulator then has."""
    UploadTaskOperator(task_id="upload", package_id=PACKAGE, manifest=uri).execute(context())
    package: dict[str, Any] = simulator.report()["packages"][PACKAGE]
    return package


@pytest.mark.parametrize("database", ["postgres", "sqlite"])
def test_a_query_is_exported_and_imported_once(
    database: str,
    request: pytest.FixtureRequest,
    airflow_connection: Connect,
    tmp_path: Path,
    simulator: Simulator,
) -> None:
    airflow_connection("bank_db", request.getfixturevalue(database))
    uri = operator(sql=QUERY, sql_conn_id="bank_db", output_path=str(tmp_path)).execute(context())
    assert re.fullmatch(rf"{tmp_path}/manifest\.json#[0-9a-f]{{16}}", uri)
    assert [file.rows for file in manifest_of(uri).files] == [5500, len(ACTIVE) - 5500]
    package = imported(uri, simulator)
    assert package["numbers_digest"] == numbers_digest(ACTIVE)
    assert package["lines"] == len(ACTIVE)


@pytest.mark.parametrize("database", ["postgres", "sqlite"])
def test_parameters_are_named_alike_for_every_database(
    database: str, request: pytest.FixtureRequest, airflow_connection: Connect, tmp_path: Path
) -> None:
    airflow_connection("bank_db", request.getfixturevalue(database))
    uri = operator(
        sql="SELECT agreement_no FROM users WHERE id BETWEEN :low AND :high ORDER BY id",
        parameters={"low": 10, "high": 19},
        sql_conn_id="bank_db",
        output_path=str(tmp_path),
    ).execute(context())
    assert manifest_of(uri).rows == 10


def test_without_parameters_colons_and_percent_signs_mean_nothing(
    postgres: dict[str, Any], airflow_connection: Connect, tmp_path: Path
) -> None:
    airflow_connection("bank_db", postgres)
    uri = operator(
        sql="SELECT id::text FROM users WHERE agreement_no LIKE '2024%' AND ':low' <> '' AND id < 5 ORDER BY 1",
        sql_conn_id="bank_db",
        output_path=str(tmp_path),
    ).execute(context())
    assert manifest_of(uri).rows == 5


def test_a_column_is_chosen_by_name(sqlite: dict[str, Any], airflow_connection: Connect, tmp_path: Path) -> None:
    airflow_connection("bank_db", sqlite)
    options = {"sql": "SELECT id, agreement_no FROM users ORDER BY id", "sql_conn_id": "bank_db"}
    uri = operator(**options, column="agreement_no", output_path=str(tmp_path)).execute(context())
    assert manifest_of(uri).rows == ROWS
    for column, message in ((None, "2 columns; name the one"), ("number", "2 columns, none of them named 'number'")):
        with pytest.raises(InvalidInput, match=message):
            operator(**options, column=column, output_path=str(tmp_path)).execute(context())


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT agreement_no FROM users WHERE id < 0 ORDER BY 1", "no number to export"),
        ("SELECT NULL FROM users ORDER BY id", "row 1 is NULL"),
        ("SELECT agreement_no || ' 1' FROM users ORDER BY id", "row 1 has a blank"),
        ("SELECT id * 0.5 FROM users ORDER BY id", "is a float"),
        ("DELETE FROM users", "must be a query that returns rows"),
    ],
)
def test_a_wrong_result_exports_nothing(
    sqlite: dict[str, Any], airflow_connection: Connect, tmp_path: Path, sql: str, message: str
) -> None:
    airflow_connection("bank_db", sqlite)
    with pytest.raises(InvalidInput, match=message):
        operator(sql=sql, sql_conn_id="bank_db", output_path=str(tmp_path)).execute(context())
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_database_is_told_without_the_value_that_it_quotes(
    postgres: dict[str, Any], airflow_connection: Connect, tmp_path: Path, logged: Callable[[], str]
) -> None:
    airflow_connection("bank_db", postgres)
    options = {"sql_conn_id": "bank_db", "output_path": str(tmp_path)}
    with pytest.raises(InvalidInput, match=r"DataError \(InvalidTextRepresentation, code 22P02\)") as raised:
        operator(sql="SELECT ('A' || agreement_no)::int FROM users ORDER BY 1", **options).execute(context())
    with pytest.raises(InvalidInput, match="no_such_table"):
        operator(
            sql="SELECT 1 FROM no_such_table WHERE id = :id ORDER BY 1", parameters={"id": numbers(1)[0]}, **options
        ).execute(context())
    with pytest.raises(InvalidInput, match="sql and parameters do not fit.* 'low'") as lacking:
        operator(
            sql="SELECT agreement_no FROM users WHERE id > :low ORDER BY 1", parameters={"id": numbers(1)[0]}, **options
        ).execute(context())
    assert numbers(1)[0] not in str(lacking.value)
    airflow_connection("bank_db", {**postgres, "host": str(tmp_path)})
    with pytest.raises(TryLater, match="OperationalError"):
        operator(sql=QUERY, **options).execute(context())
    assert "2024000000" not in str(raised.value) + logged()


def test_an_export_changes_nothing_in_the_database(
    sqlite: dict[str, Any], airflow_connection: Connect, tmp_path: Path
) -> None:
    airflow_connection("bank_db", sqlite)
    options = {"sql_conn_id": "bank_db", "output_path": str(tmp_path)}
    deleted = operator(sql="DELETE FROM users RETURNING agreement_no", **options).execute(context())
    assert manifest_of(deleted).rows == ROWS
    again = operator(sql="SELECT agreement_no FROM users ORDER BY 1", **options).execute(context())
    assert manifest_of(again).rows == ROWS


def test_wrong_rows_can_be_skipped(sqlite: dict[str, Any], airflow_connection: Connect, tmp_path: Path) -> None:
    airflow_connection("bank_db", sqlite)
    uri = operator(
        sql="SELECT CASE WHEN id IN (3, 5) THEN NULL ELSE agreement_no END FROM users WHERE id < 10 ORDER BY id",
        sql_conn_id="bank_db",
        output_path=str(tmp_path),
        on_invalid="skip",
    ).execute(context())
    assert (manifest_of(uri).rows, manifest_of(uri).skipped) == (8, {"row": [4, 6]})


def test_a_query_without_order_is_warned_of(
    sqlite: dict[str, Any], airflow_connection: Connect, tmp_path: Path, logged: Callable[[], str]
) -> None:
    airflow_connection("bank_db", sqlite)
    operator(sql="SELECT agreement_no FROM users", sql_conn_id="bank_db", output_path=str(tmp_path)).execute(context())
    assert "no ORDER BY" in logged()


@pytest.mark.filterwarnings("ignore")  # Flask's own, when Airflow 2.11 loads every provider's form
def test_a_connection_that_is_no_database_is_told(
    simulator: Simulator, airflow_connection: Connect, tmp_path: Path
) -> None:
    airflow_connection("bank_db", simulator.airflow_connection())
    with pytest.raises(InvalidInput, match="not the connection of an SQL database"):
        operator(sql=QUERY, sql_conn_id="bank_db", output_path=str(tmp_path)).execute(context())


def test_text_files_are_read_by_pattern_in_their_order(tmp_path: Path, simulator: Simulator) -> None:
    lake = tmp_path / "lake"
    lake.mkdir()
    for name, part in (("b.txt", numbers(6000)[3000:]), ("a.txt", numbers(6000)[:3000])):
        (lake / name).write_text("\n".join(part) + ("\n" if name == "a.txt" else ""))
    (lake / "c.csv").write_text("not this one\n")
    uri = operator(source=f"{lake}/*.txt", output_path=f"file://{tmp_path}/out").execute(context())
    assert [file.rows for file in manifest_of(uri).files] == [5500, 500]
    assert imported(uri, simulator)["numbers_digest"] == numbers_digest(numbers(6000))


def test_a_column_of_csv_files_is_read(tmp_path: Path, simulator: Simulator) -> None:
    rows = "".join(f'{index},"Li, ""Bank"" {index}",{number}\n' for index, number in enumerate(numbers(6000)))
    (tmp_path / "users.csv").write_text("id,name,agreement_no\n" + rows, encoding="utf-8")
    uri = operator(
        source=str(tmp_path / "users.csv"), column="agreement_no", output_path=str(tmp_path / "out")
    ).execute(context())
    assert imported(uri, simulator)["numbers_digest"] == numbers_digest(numbers(6000))


def test_files_in_s3_are_read_and_written(
    s3: dict[str, Any], airflow_connection: Connect, simulator: Simulator
) -> None:
    airflow_connection("lake", s3)
    wanted = numbers(6000)
    for name, part in (("one.txt", wanted[:4000]), ("two.txt", wanted[4000:])):
        target = location(f"s3://lake@bank/users/{name}", "source")
        target.write("\n".join(part).encode())
    uri = operator(source="s3://lake@bank/users/*.txt", output_path="s3://lake@bank/export/run:1+2").execute(context())
    assert uri.startswith("s3://lake@bank/export/run:1+2/manifest.json#")
    assert [file.rows for file in manifest_of(uri).files] == [5500, 500]
    package = imported(uri, simulator)
    assert package["numbers_digest"] == numbers_digest(wanted)
    location("s3://lake@bank/users/one.txt", "source").write(b"\n")
    with pytest.raises(InvalidInput, match="has no row in it"):
        operator(source="s3://lake@bank/users/one.txt", output_path="s3://lake@bank/export/run:1+2").execute(context())
    with pytest.raises(InvalidInput, match="does not exist"):
        manifest_of(uri)


def test_objects_in_s3_are_told_apart_from_others_and_from_what_they_were(
    s3: dict[str, Any], airflow_connection: Connect
) -> None:
    airflow_connection("lake", s3)
    base = "s3://lake@bank/told-apart"
    for name in ("dt=1/a.txt", "dt=2/a.txt", "dt=2/a.txt.ok", "_SUCCESS", "dt=2/_tmp/a.txt"):
        location(f"{base}/{name}", "source").write("\n".join(numbers(10)).encode())
    for source in (base, f"{base}/dt=*", f"{base}/*/a*"):
        places = dict.fromkeys(values.place for values in read_files(location(source, "source"), None, Dialect()))
        assert list(places) == ["dt=1/a.txt line", "dt=2/a.txt line"]
    values = read_files(location(f"{base}/dt=*", "source"), None, Dialect())
    next(values)
    location(f"{base}/dt=1/a.txt", "source").write("\n".join(numbers(11)[1:]).encode())
    with pytest.raises(TryLater, match="dt=1/a.txt was changed or removed while it was read"):
        list(values)
    location(f"{base}/_delta_log/0.json", "source").write(b"{}")
    location(f"{base}/dt=1/a.parquet", "source").write(b"PAR1")
    with pytest.raises(InvalidInput, match="of a Delta table"):
        list(read_files(location(f"{base}/dt=1/a.parquet", "source"), None, Dialect()))


@pytest.mark.parametrize(
    ("content", "column", "message"),
    [
        (b"", None, "has no row in it"),
        (b"\n", None, "has no row in it"),
        (b"1\n\n2\n", None, "users.csv line 2 is empty"),
        (b"1\n  \n2\n", None, "users.csv line 2 is blank"),
        (b"1\r\n2\r3\r\n", None, "users.csv line 2 has a carriage return"),
        (b"1\r\r\n2\r\n", None, "users.csv line 1 has a carriage return"),
        (b"\xef\xbb\xbf1\n\xef\xbb\xbf2\n", None, "line 2 starts with a byte order mark"),
        (b"1\n\xff\xfe\n", None, "line 2 is not UTF-8"),
        ("1\n号\x00码\n".encode(), None, "line 2 has a control"),
        (b"1\n" + b"9" * 215 + b"\n", None, "line 2 is longer than 214 bytes"),
        (b"agreement_no\n1\n", None, "looks like a header"),
        (b"1,Li\n2,Wang\n", None, "give the name of the column"),
        (b"1\n" + b"9" * 100_000, None, "line of more than 65536 bytes"),
        (b"id,agreement_no\n1,1\n2,\n", "agreement_no", "users.csv line 3 is empty"),
        (b"id,agreement_no\n1,1\n2\n", "agreement_no", "line 3 has 1 column, but the header has 2"),
        (b"id,agreement_no\r\n1,1\r2,2\r\n", "agreement_no", "line 2 has a carriage return"),
        (b"id,agreement_no\r\n1,1\r\n2,\r\n", "agreement_no", "line 3 is empty"),
        (b"id,agreement_no\n1,1\n,\n", "agreement_no", "line 3 is empty"),
        (b"id,agreement_no\n1,1\n\n2,2\n", "agreement_no", "line 3 is empty"),
        (b"id,agreement_no\n", "agreement_no", "has no row in it"),
        (b'id,agreement_no\n1,"1"2\n', "agreement_no", "line 2 is not CSV"),
        (b'id,agreement_no\n1,"1\n2,2\n', "agreement_no", "not CSV|control|blank"),
        (b"id,id\n1,1\n", "id", "2 columns, 2 of them named 'id'. Nothing"),
        (b"", "id", "has no row in it"),
    ],
)
def test_a_wrong_file_exports_nothing(tmp_path: Path, content: bytes, column: str | None, message: str) -> None:
    (tmp_path / "users.csv").write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        operator(source=str(tmp_path / "users.csv"), column=column, output_path=str(tmp_path / "out")).execute(
            context()
        )
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_wrong_lines_of_several_files_are_skipped_by_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"1\n\n3\n")
    (tmp_path / "b.txt").write_bytes(b"NULL\n5\n")
    uri = operator(source=str(tmp_path / "*.txt"), output_path=str(tmp_path / "out"), on_invalid="skip").execute(
        context()
    )
    assert manifest_of(uri).skipped == {"a.txt line": [2], "b.txt line": [1]}


def bank_file(folder: Path, rows: int = 20) -> str:
    """A core system's list: GB18030, with records before and after."""
    lines = [f"{index}|@|{number}|@|张三" for index, number in enumerate(numbers(rows))]
    (folder / "users.dat").write_bytes("\n".join(["H20261126", *lines, f"T{rows:08d}", ""]).encode("gb18030"))
    return str(folder / "users.dat")


NOT_READ = ("utf-7", "unicode_escape", "cp932", "shift_jis", "euc_kr", "hz", "iso2022_jp")
"""Whose bytes are parted elsewhere than those of Chinese encodings, or that have more than one meaning of a byte."""

DIALECT = {"encoding": "gb18030", "delimiter": "|@|", "header": False, "skip_rows": 1, "skip_footer": 1}


@pytest.mark.parametrize("expected_rows", [None, 20, "20", " 20 "])
def test_a_file_of_a_core_system_is_imported(tmp_path: Path, simulator: Simulator, expected_rows: int | None) -> None:
    options = {"column": 2, "dialect": DIALECT, "expected_rows": expected_rows}
    uri = operator(source=bank_file(tmp_path), output_path=str(tmp_path / "out"), **options).execute(context())
    assert imported(uri, simulator)["numbers_digest"] == numbers_digest(numbers(20))


@pytest.mark.parametrize("on_invalid", ["fail", "skip"])
@pytest.mark.parametrize("expected_rows", [0, 19, "21"])
def test_a_list_with_another_number_of_rows_than_expected_is_no_export(
    tmp_path: Path, expected_rows: int | str, on_invalid: str
) -> None:
    options = {"column": 2, "dialect": DIALECT, "expected_rows": expected_rows, "on_invalid": on_invalid}
    export = operator(source=bank_file(tmp_path), output_path=str(tmp_path / "out"), **options)
    with pytest.raises(InvalidInput, match=f"the source has 20 rows, and expected_rows is {expected_rows}"):
        export.execute(context())
    assert list((tmp_path / "out").iterdir()) == []


def test_rows_that_are_skipped_or_come_twice_are_rows(tmp_path: Path) -> None:
    """A control file counts the rows of its list, whatever becomes of them."""
    (tmp_path / "users.txt").write_text("\n".join([*numbers(2), "NULL", *numbers(2)]))
    options = {"on_invalid": "skip", "max_rows_per_file": 2, "expected_rows": 5}
    uri = operator(source=str(tmp_path / "users.txt"), output_path=str(tmp_path / "out"), **options).execute(context())
    assert (manifest_of(uri).rows, manifest_of(uri).skipped_count) == (2, 1)


def test_a_query_has_as_many_rows_as_expected(
    sqlite: dict[str, Any], airflow_connection: Connect, tmp_path: Path
) -> None:
    airflow_connection("bank_db", sqlite)
    options = {"sql": QUERY, "sql_conn_id": "bank_db", "output_path": str(tmp_path)}
    assert operator(**options, expected_rows=len(ACTIVE)).execute(context())
    with pytest.raises(InvalidInput, match=f"the source has {len(ACTIVE):,} rows, and expected_rows is {ROWS:,}"):
        operator(**options, expected_rows=ROWS).execute(context())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("quota", "days"), [(2, 2), (1, 3), (3, None)])
def test_a_list_of_more_than_a_day_says_how_many_days_it_takes(
    tmp_path: Path, simulator: Simulator, connect: Connect, caplog: pytest.LogCaptureFixture, quota: int, days: int
) -> None:
    extra = {**simulator.airflow_connection()["extra"], "daily_file_quota": quota}
    connect(simulator, extra=extra)
    (tmp_path / "users.txt").write_text("\n".join(numbers(3)))
    operator(source=str(tmp_path / "users.txt"), output_path=str(tmp_path / "out"), max_rows_per_file=1).execute(
        context()
    )
    told = [record.message for record in caplog.records if "files, and WeChat Pay takes" in record.message]
    assert len(told) == (days is not None)
    assert (
        not told
        or f"has 3 files, and WeChat Pay takes {quota} a day of a merchant: its upload will take {days} days" in told[0]
    )


@pytest.mark.parametrize("source", ["/there/is/none.csv", "/there/is/*.csv"])
def test_a_missing_source_is_told(tmp_path: Path, source: str) -> None:
    with pytest.raises(InvalidInput, match="does not exist|no file matches"):
        operator(source=source, output_path=str(tmp_path)).execute(context())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either sql"),
        ({"sql": QUERY, "sql_conn_id": "bank_db", "source": "/x"}, "either sql"),
        ({"sql": QUERY}, "sql needs sql_conn_id"),
        ({"source": "/x", "sql_conn_id": "bank_db"}, "go with sql"),
        ({"source": "/x", "parameters": {"a": 1}}, "go with sql"),
        ({"source": "/x", "bank_type": "icbc debit"}, "bank_type"),
        ({"source": "/x", "on_invalid": "ignore"}, "on_invalid"),
        ({"source": "/x", "max_rows_per_file": 6000}, "max_rows_per_file"),
        ({"sql": QUERY, "sql_conn_id": "bank_db", "dialect": {}}, "dialect goes with source"),
        ({"source": "/x", "dialect": "gb18030"}, "dialect is of type str: it must be a mapping"),
        ({"source": "/x", "dialect": {"Encoding": "gb18030"}}, "dialect has no 'Encoding'; it has delimiter, encoding"),
        ({"source": "/x", "dialect": {"encoding": "gb-18030-x"}}, "encoding 'gb-18030-x' is none that Python knows"),
        ({"source": "/x", "dialect": {"encoding": "utf-16"}}, "must be UTF-8, a Chinese one.*iconv"),
        ({"source": "/x", "dialect": {"encoding": "cp037"}}, "must be UTF-8, a Chinese one.*iconv"),
        *(({"source": "/x", "dialect": {"encoding": one}}, "must be UTF-8, a Chinese one") for one in NOT_READ),
        ({"source": "/x", "dialect": {"encoding": "rot13"}}, "none that Python knows"),
        ({"source": "/x", "dialect": {"encoding": "undefined"}}, "none that Python knows"),
        ({"source": "/x", "dialect": {"encoding": "idna"}}, "none that Python knows|must be UTF-8"),
        ({"source": "/x", "dialect": {"encoding": None}}, "encoding must be a name"),
        ({"source": "/x", "dialect": {"delimiter": ""}}, "delimiter must be 1 to 20 characters"),
        ({"source": "/x", "column": 1, "dialect": {"delimiter": "x" * 21}}, "delimiter must be 1 to 20 characters"),
        ({"source": "/x", "column": 1, "dialect": {"delimiter": "x"}}, "nor be of letters and digits alone"),
        ({"source": "/x", "column": 1, "dialect": {"delimiter": "\n"}}, "must not have a line break"),
        ({"source": "/x", "column": 1, "dialect": {"delimiter": '"'}}, "the same text as delimiter and as quotechar"),
        ({"source": "/x", "column": 1, "dialect": {"quotechar": "''"}}, "quotechar must be one character"),
        ({"source": "/x", "column": 1, "dialect": {"header": 0}}, "header must be True or False"),
        ({"source": "/x", "dialect": {"skip_rows": -1}}, "skip_rows must be a whole number from 0, and is -1"),
        ({"source": "/x", "dialect": {"skip_footer": 1.0}}, "skip_footer must be a whole number from 0, and is 1.0"),
        ({"source": "/x", "dialect": {"skip_rows": True}}, "skip_rows must be a whole number"),
        ({"source": "/x", "dialect": {"delimiter": "|"}}, "dialect has a delimiter, so there are columns: give column"),
        ({"source": "/x", "column": (1, 18), "dialect": {"delimiter": "|"}}, "leave out one of the two"),
        ({"source": "/x", "column": "no", "dialect": {"header": False}}, "there is no header: give its number, from 1"),
        ({"source": "/x", "column": 0}, "columns are counted from 1"),
        ({"source": "/x", "column": "0"}, "columns are counted from 1"),
        ({"source": "/x", "column": " "}, "column is empty"),
        ({"source": "/x", "column": (0, 18)}, "from character 0 to 18"),
        ({"source": "/x", "column": (18, 1)}, "from character 18 to 1"),
        ({"source": "/x", "column": "18-1"}, "from character 18 to 1"),
        ({"source": "/x", "column": (1, 2, 3)}, "column is of type tuple"),
        ({"source": "/x", "column": True}, "column is of type bool"),
        ({"source": "/x", "column": 1.0}, "column is of type float"),
        ({"source": "/x", "expected_rows": -1}, "expected_rows must be a whole number from 0, and is -1"),
        ({"source": "/x", "expected_rows": "20.0"}, "expected_rows must be a whole number"),
        ({"source": "/x", "expected_rows": "None"}, "expected_rows is the text 'None'"),
        ({"source": "/x", "expected_rows": [20]}, "expected_rows must be a whole number from 0, and is of type list"),
        ({"source": "/x", "prefix": "号码"}, "prefix"),
        ({"source": "/x", "output_path": ""}, "output_path is empty"),
        ({"source": "/x", "output_path": "relative/folder"}, "absolute path"),
        ({"source": "users.csv"}, "absolute path"),
    ],
)
def test_wrong_parameters_are_told(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        operator(**{"output_path": str(tmp_path), **options}).execute(context())


def test_a_wrong_connection_is_named(connect: Connect, simulator: Simulator, tmp_path: Path) -> None:
    connect(simulator, login="")
    with pytest.raises(InvalidCredentials, match="merchant id") as raised:
        operator(source="/x", output_path=str(tmp_path)).execute(context())
    assert raised.value.__notes__ == ["Connection: wxbank_default"]


def test_an_unknown_bank_type_is_warned_of(tmp_path: Path, logged: Callable[[], str]) -> None:
    (tmp_path / "users.txt").write_text("1\n")
    operator(source=str(tmp_path / "users.txt"), output_path=str(tmp_path / "out"), bank_type="NEWBANK_DEBIT").execute(
        context()
    )
    assert "NEWBANK_DEBIT is not in the list" in logged()


def test_the_same_run_makes_the_same_names_and_the_next_run_others(tmp_path: Path) -> None:
    (tmp_path / "users.txt").write_text("\n".join(numbers(10)))

    def filenames(run_id: str, **options: Any) -> list[str]:
        uri = operator(
            source=str(tmp_path / "users.txt"), output_path=str(tmp_path / "out"), max_rows_per_file=4, **options
        ).execute(context(run_id=run_id))
        return [file.filename for file in manifest_of(uri).files]

    first = filenames("scheduled__1")
    assert len(first) == 3
    assert filenames("scheduled__1") == first
    assert not set(filenames("scheduled__2")) & set(first)
    assert filenames("scheduled__1", prefix="june") == filenames("scheduled__2", prefix="june")
    assert filenames("scheduled__1", prefix="june")[0].startswith("june-")


def test_no_log_line_has_a_number(tmp_path: Path, logged: Callable[[], str]) -> None:
    (tmp_path / "users.txt").write_text("\n".join([*numbers(50), "bad row"]))
    with pytest.raises(InvalidInput) as raised:
        operator(source=str(tmp_path / "users.txt"), output_path=str(tmp_path / "out")).execute(context())
    shown = logged() + str(raised.value) + json.dumps([str(file) for file in tmp_path.rglob("*")])
    assert not [number for number in [*numbers(50), "bad row"] if number in shown]


@pytest.mark.parametrize("suite", ["rsa", "sm2"])
def test_a_certificate_that_comes_into_force_between_export_and_upload_changes_nothing(
    suite: str, new_simulator: NewSimulator, connect: Connect, tmp_path: Path
) -> None:
    simulator = new_simulator(suite=suite)
    connect(simulator)
    (tmp_path / "users.txt").write_text("\n".join(numbers(12)))
    uri = operator(source=str(tmp_path / "users.txt"), output_path=str(tmp_path / "out"), max_rows_per_file=5).execute(
        context()
    )
    declared = {file.serial_no for file in manifest_of(uri).files}
    new_serial = simulator.rotate_certificate()
    assert imported(uri, simulator)["numbers_digest"] == numbers_digest(numbers(12))
    assert new_serial not in declared
    assert {task["serial_no"] for task in simulator.report()["packages"][PACKAGE]["tasks"]} == declared
