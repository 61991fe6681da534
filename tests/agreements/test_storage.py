# SPDX-License-Identifier: Apache-2.0
"""What a place does while others work in it, and how its errors are told."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.agreements.storage_errors import reading, told_of
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater
from tests.harness.files import location


class _Moving(LocalFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A disk on which somebody removes each folder ``gone`` as soon as it was listed."""

    def ls(self, path: str, detail: bool = False, **options: Any) -> Any:
        listed = super().ls(path, detail=detail, **options)
        shutil.rmtree(Path(path) / "gone", ignore_errors=True)
        return listed


@pytest.mark.parametrize("source", ["in", "in/*", "in/*/*.txt"])
def test_a_folder_that_is_removed_while_it_is_listed_is_told(tmp_path: Path, source: str) -> None:
    for name in ("in/gone/a.txt", "in/here/b.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("1\n")
    place = str(tmp_path / source)
    with pytest.raises(TryLater, match="a folder was removed while it was listed"):
        Location(place, _Moving(), place).files()


def test_a_pattern_in_a_folder_that_is_not_there_matches_nothing(tmp_path: Path) -> None:
    for pattern in ("none/*.txt", "*/none/*.txt", "n*/**"):
        with pytest.raises(InvalidInput, match="no file matches"):
            location(tmp_path / pattern).files()


def test_a_folder_is_tried_without_a_trace(tmp_path: Path) -> None:
    location(tmp_path / "new").check_writable()
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    ("failure", "kind", "words"),
    [
        (FileNotFoundError(errno.ENOENT, "text"), InvalidInput, "does not exist"),
        (PermissionError(errno.EACCES, "text"), InvalidInput, "permission was denied"),
        (OSError(errno.EROFS, "text"), InvalidInput, "permission was denied"),
        (OSError("Forbidden: text"), InvalidInput, "permission was denied"),
        (IsADirectoryError(errno.EISDIR, "text"), InvalidInput, "a folder where a file should be"),
        (OSError(errno.ENAMETOOLONG, "text"), InvalidInput, "of this name is not taken"),
        (OSError(errno.ENOSPC, "text"), TryLater, "there is no room"),
        (OSError(errno.EDQUOT, "text"), TryLater, "there is no room"),
        (OSError(errno.EIO, "text"), TryLater, "its place was not reached, or failed .*Input/output error"),
        (OSError(errno.EBUSY, "text"), TryLater, "its place was not reached"),
        (ConnectionResetError(errno.ECONNRESET, "text"), TryLater, "its place was not reached"),
        (TimeoutError("text"), TryLater, "its place was not reached"),
    ],
)
def test_errors_of_storage_are_told_by_what_can_be_done(failure: OSError, kind: type[Exception], words: str) -> None:
    told = told_of(failure, "/x/y", "read")
    assert type(told) is kind
    with pytest.raises(kind, match=f"^/x/y .*{words}") as raised:
        raise told
    assert "text" not in str(raised.value)


def test_errors_that_are_not_of_storage_are_left_as_they_are() -> None:
    assert told_of(InvalidInput("row 1"), "/x", "read") is None
    # pyarrow tells damage so, which is told elsewhere.
    assert told_of(OSError("unexpected end"), "/x", "read") is None

    def failing() -> Any:
        yield 1
        raise ValueError("a mistake of ours")

    with pytest.raises(ValueError, match="a mistake of ours"):
        list(reading("/x", failing()))
