# SPDX-License-Identifier: Apache-2.0
"""Messages of the commands name options as they are typed, and not the parameters of operators."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from airflow_provider_wxbank.cli.command import Exit
from airflow_provider_wxbank.cli.named import Named
from tests.airflow.conftest import Run
from tests.conftest import PACKAGE

EXPORT = ("export", "--bank-type", "ICBC_DEBIT", "--output-path", "out")
UPLOAD = ("upload", PACKAGE, "--yes")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*UPLOAD, "--file", "users.csv"), "file needs --bank-type, for example ICBC_DEBIT"),
        ((*UPLOAD, "--file", "u", "--bank-type", "X", "--encrypted"), "--encrypted needs --serial-no: the serial of"),
        ((*UPLOAD, "--file", "u", "--bank-type", "X", "--serial-no", "A1"), "--serial-no goes with --encrypted; plain"),
        ((*UPLOAD, "--manifest", "m", "--serial-no", "A1"), "encrypted and --serial-no go with file; a manifest"),
        ((*UPLOAD, "--manifest", "m", "--max-workers", "0"), "--max-workers must be 1 to 64, not 0"),
        (UPLOAD, "give either --manifest or --file"),
        (EXPORT, "give --sql, --sql-file or --source"),
        ((*EXPORT, "--sql", "SELECT 1"), "--sql needs --sql-conn-id, the connection of the bank's database"),
        ((*EXPORT, "--sql", "SELECT 1", "--source", "x"), "give either --sql (with --sql-conn-id) or source"),
        ((*EXPORT, "--source", "x", "--sql-conn-id", "y"), "--sql-conn-id and parameters go with --sql, not with"),
        ((*EXPORT, "--source", "x", "--max-rows-per-file", "0"), "--max-rows-per-file must be 1 to 5500, not 0"),
        (("wait", PACKAGE, "--max-fail-ratio", "2"), "--max-fail-ratio must be 0 to 1, not 2.0"),
        (("wait", PACKAGE, "--task-ids", "1", "--filenames", "a"), "give --task-ids or --filenames, not both"),
        # A package is no option here, and its name is what WeChat Pay calls it.
        (("tasks", "84"), "package_id '84' must be 4 to 16 letters or digits"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
@pytest.mark.usefixtures("connected")
def test_an_error_names_the_option_that_was_typed(run: Run, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (Exit.INPUT, "")
    assert f"error: {message}" in err


@pytest.mark.usefixtures("connected")
def test_so_does_a_warning(run: Run, users: Path) -> None:
    code, _, err = run("upload", PACKAGE, "--file", str(users), "--bank-type", "ICBC_DEBTI", "--dry-run")
    assert code == 0
    assert "WARNING: --bank-type ICBC_DEBTI is not in the list" in err


@pytest.mark.parametrize(
    "text",
    [
        "output_path '/data/bank_type list/bank_type' is wrong",
        'output_path "the bank_type of x" is wrong',
        "/data/bank_type does not exist",
        "/data/bank_type: output_path is closed",
        "s3://conn@bucket/bank_type does not exist",
        "s3://conn@bucket/a/bank_type.csv has no number in it",
        "users.bank_type.csv is empty",
        "C:\\bank_type is no path",
        "bank_type=ICBC_DEBIT",
        "my-bank_type, bank_types and bank_type_2",
        "the file, the source, the column and the manifest",
    ],
)
def test_what_is_quoted_a_path_or_another_word_stays(text: str) -> None:
    named = Named.of("export", Namespace())
    assert named.in_text(text) == text.replace("output_path", "--output-path")


def test_an_apostrophe_does_not_begin_a_quotation() -> None:
    named = Named.of("export", Namespace())
    assert named.in_text("the bank's bank_type is WeChat Pay's") == "the bank's --bank-type is WeChat Pay's"


def test_what_was_typed_stays_as_it_was_typed() -> None:
    typed = Namespace(source="my bank_type list", column="bank_type", filenames=["a"])
    named = Named.of("export", typed)
    assert named.in_text("/home/my bank_type list has no output_path") == "/home/my bank_type list has no --output-path"
    assert named.in_text("there is no column bank_type") == "there is no column bank_type"
