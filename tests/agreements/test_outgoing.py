# SPDX-License-Identifier: Apache-2.0
"""What one plain file becomes: files that were checked before the first of them is sent, and no others."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from airflow_provider_wxbank.agreements.outgoing import Outgoing, check_same_files, of_plain_file
from airflow_provider_wxbank.packages.upload_once import Uploaded
from airflow_provider_wxbank.wechatpay.crypto.pem import load_private_key
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import PlatformKey
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater
from tests.conftest import numbers
from tests.harness.files import location
from tests.harness.keys import naming_key_of, new_key, public_key
from tests.vectors import SHANGMI

PRIVATE_KEY = new_key()
KEY = PlatformKey("5157F09E", public_key(PRIVATE_KEY))
ROWS = 12_000


def written(path: Path, *rows: str) -> Path:
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def outgoing(path: Path) -> Outgoing:
    return of_plain_file(location(path), naming_key_of(PRIVATE_KEY), "june", "ICBC_DEBIT", lambda: KEY)


def test_a_file_that_stays_as_it_is_becomes_what_was_counted(tmp_path: Path) -> None:
    found = outgoing(written(tmp_path / "users.txt", *numbers(ROWS)))
    files = list(found.files)
    assert (len(found.filenames), found.rows) == (len(files), sum(file.rows for file in files)) == (3, ROWS)


def test_long_numbers_are_cut_into_files_that_they_fit_into(tmp_path: Path) -> None:
    """Lines of SM2 are as long as their numbers: what is sent is what was counted before, each number once."""
    key = load_private_key(SHANGMI["keys"]["platform_1_private"], "key")
    platform = PlatformKey("0A", key.public_key)
    rows = [*(f"{index:0214d}" for index in range(4000)), *numbers(4000)]
    path = written(tmp_path / "users.txt", *rows)
    found = of_plain_file(location(path), b"naming key", "june", "ICBC_DEBIT", lambda: platform)
    files = list(found.files)
    assert found.rows == len(rows)
    assert [file.filename for file in files] == list(found.filenames)
    assert [file.rows for file in files] == [5491, 2509]
    short = written(tmp_path / "short.txt", *numbers(6000))
    again = of_plain_file(location(short), b"naming key", "june", "ICBC_DEBIT", lambda: platform)
    assert [file.rows for file in again.files] == [5500, 500]


@pytest.mark.parametrize(
    ("change", "sent"),
    [
        (lambda rows: [*rows[:-1], "202499999999999999"], 2),
        (lambda rows: ["202499999999999999", *rows[1:]], 0),
        (lambda rows: [*rows, "202499999999999999"], 2),
        (lambda rows: rows[:-1], 2),
        (lambda rows: rows[:5500], 1),
        (lambda rows: [*rows[:-1], "not a number"], 2),
        (lambda rows: [], 0),
    ],
    ids=["other end", "other beginning", "grown", "cut", "cut to a file", "spoiled", "emptied"],
)
def test_nothing_is_sent_that_was_not_checked(
    tmp_path: Path, change: Callable[[list[str]], list[str]], sent: int
) -> None:
    path = written(tmp_path / "users.txt", *numbers(ROWS))
    whole = [file.filename for file in outgoing(path).files]
    found = outgoing(path)
    written(path, *change(numbers(ROWS)))
    taken = []
    with pytest.raises(TryLater, match=r"users\.txt was changed while it was uploaded"):  # noqa: PT012  # it raises at its end
        for file in found.files:
            taken.append(file.filename)  # noqa: PERF401  # what came before the error counts
    assert taken == whole[: len(taken)]
    assert len(taken) <= sent


def test_a_file_that_is_written_to_meanwhile_is_not_told_as_one_of_which_nothing_was_sent(tmp_path: Path) -> None:
    path = written(tmp_path / "users.txt", *numbers(ROWS))
    files = iter(outgoing(path).files)
    next(files)
    with path.open("a") as file:
        file.write("202499999999999999\n")
    with pytest.raises(TryLater, match="was changed while it was uploaded") as raised:
        list(files)
    assert "Nothing was sent" not in str(raised.value)


def test_the_file_of_a_name_is_meant_and_not_what_matches_it(tmp_path: Path) -> None:
    """Downloads of one name are numbered so; as a pattern it means another file."""
    path = written(tmp_path / "users[1].txt", *numbers(3))
    written(tmp_path / "users1.txt", *numbers(9, 100))
    assert outgoing(path).rows == 3
    path.unlink()
    with pytest.raises(InvalidInput, match="does not exist, and file is one file"):
        outgoing(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "users.txt")
    with pytest.raises(InvalidInput, match="is no file, but a folder, a pipe or a device"):
        outgoing(tmp_path / "users.txt")


def test_no_number_of_a_file_is_kept_once_it_is_uploaded() -> None:
    names = {field.name for field in fields(Uploaded)}
    assert names == {"filename", "rows", "task_id", "adopted"}


def test_a_list_that_was_changed_between_two_tries_is_told() -> None:
    check_same_files(["a.csv", "b.csv"], {"a.csv": "1"}, "8473295")
    with pytest.raises(InvalidInput, match="1 of the files that it uploaded, a.csv for one, are not in the list"):
        check_same_files(["b.csv", "c.csv"], {"a.csv": "1", "b.csv": "2"}, "8473295")


def test_a_file_without_a_number_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="has no row in it"):
        outgoing(written(tmp_path / "users.txt"))
