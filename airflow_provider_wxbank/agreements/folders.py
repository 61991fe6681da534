# SPDX-License-Identifier: Apache-2.0
"""What is in the folders of a disk, also over SFTP: all of it, or an error.

fsspec's own ``find`` and ``glob`` leave out a folder that cannot be read, and with it the customers in its files; and
over SFTP they take a link to a folder for a file.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fsspec.utils import glob_translate

from airflow_provider_wxbank.agreements.storage_errors import told_of
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

log = logging.getLogger(__name__)

GLOB_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a folder. A link is no folder, wherever it leads to."""

    path: str
    is_folder: bool
    is_link: bool = False

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


def is_no_list(name: str) -> bool:
    """Whether a file or folder has a name that programs use for what is theirs, such as ``_temporary``."""
    return name.startswith(("_", "."))


def below(filesystem: Any, folder: Entry) -> Iterator[Entry]:
    """Everything in a folder and its folders. Folders that hold no lists need not be readable.

    :raises InvalidInput: there is a link to a folder. Followed, such links may lead in a circle, or twice to the same
        lists; left out, customers are missing.
    """
    for entry in _entries(filesystem, folder):
        yield _not_linked(filesystem, entry)
        if entry.is_folder:
            # Snapshots of a server, or what a program that is at work makes and removes.
            with contextlib.suppress(*[Exception] if is_no_list(entry.name) else []):
                yield from below(filesystem, entry)


def real_files(filesystem: Any, folder: Entry) -> Iterator[str]:
    """The files in a folder and its folders, hidden ones, too. Links are left out, and not followed.

    Folders in it that may not be read, such as those of other programs, are left out with a warning.
    """
    for entry in list(_entries(filesystem, folder)):
        if not entry.is_folder:
            if not entry.is_link:
                yield entry.path
            continue
        try:
            yield from real_files(filesystem, entry)
        except Exception as failure:
            told = told_of(failure, entry.path, "listed")
            if not isinstance(told, InvalidInput):
                raise
            log.warning("Left out: %s", told)


def matches(filesystem: Any, folder: Entry, parts: Sequence[str]) -> Iterator[Entry]:
    """What a pattern matches; only folders that match it are looked into.

    :param folder: where it begins.
    :param parts: of the pattern, between its slashes. Those without wildcards may be links.
    :raises InvalidInput: as for :func:`below`.
    """
    part, rest = parts[0], parts[1:]
    if "**" in part:
        whole = re.compile(glob_translate("/".join([folder.path, *parts])))
        yield from (entry for entry in below(filesystem, folder) if whole.match(entry.path))
        return
    if GLOB_CHARACTERS & set(part):
        like = re.compile(glob_translate(part))
        found = [_not_linked(filesystem, one) for one in _entries(filesystem, folder) if like.match(one.name)]
    else:
        path = f"{folder.path}/{part}"
        info = _info(filesystem, path)
        found = [] if info is None else [Entry(path, info["type"] == "directory")]
    for entry in found:
        if not rest:
            yield entry
        elif entry.is_folder:
            yield from matches(filesystem, entry, rest)


def _entries(filesystem: Any, folder: Entry) -> Iterator[Entry]:
    for info in filesystem.ls(folder.path or "/", detail=True):
        is_link = info["type"] == "link" or bool(info.get("islink"))
        yield Entry(info["name"].rstrip("/"), info["type"] == "directory" and not is_link, is_link)


def _not_linked(filesystem: Any, entry: Entry) -> Entry:
    """:raises InvalidInput: it is a link to a folder that may hold lists."""
    info = _info(filesystem, entry.path) if entry.is_link and not is_no_list(entry.name) else None
    if info is not None and info["type"] == "directory":
        raise InvalidInput(
            f"{entry.path} is no file, but a folder that a link leads to, and such links are not followed: give the "
            "folder itself. Nothing was sent"
        )
    return entry


def _info(filesystem: Any, path: str) -> Any:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return filesystem.info(path)
    return None
