# SPDX-License-Identifier: Apache-2.0
"""Files in any place that fsspec reaches: written whole, readable by their owner only."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from airflow_provider_wxbank.wechatpay.errors import InvalidInput

log = logging.getLogger(__name__)

GLOB_CHARACTERS = frozenset("*?[")

_FLAGS = (
    ".ok", ".flg", ".flag", ".ctl", ".ctrl", ".control", ".done", ".fin", ".end", ".trg", ".trigger",
    ".chk", ".check", ".verf", ".cnt", ".count", ".sum", ".sig", ".md5", ".sha1", ".sha256", ".sha512", ".crc",
    ".tmp", ".temp", ".part", ".partial", ".filepart", ".inprogress", "._copying_", ".swp", ".bak", ".old", "~",
)  # fmt: skip
"""How the names of files end that are not lists: files that say that another one is whole or how many rows it has,
files that are still being written, and copies that somebody left."""

_NO_LISTS = (
    f"files that are no lists: names, or folders, that begin with _ or ., and those that end with {' '.join(_FLAGS)}"
)

_STATE = frozenset({"size", "mtime", "lastmodified", "last_modified", "modified", "updated", "created", "etag", "md5",
                    "md5hash", "content_md5", "generation", "versionid", "version_id"})  # fmt: skip
"""What fsspec's filesystems call the properties that change with a file's content."""


@dataclass(frozen=True, slots=True)
class Location:
    """A file or folder.

    :param uri: as users write it, for messages and results.
    :param filesystem: an fsspec filesystem.
    :param path: the path in that filesystem.
    :param below: the part of the path that tells it from other files of the same pattern; empty if the name does.
    """

    uri: str
    filesystem: Any
    path: str
    below: str = ""

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> Location:
        """The folder that this is in."""
        return Location(
            self.uri.rstrip("/").rpartition("/")[0], self.filesystem, self.path.rstrip("/").rpartition("/")[0]
        )

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's disk."""
        protocol = self.filesystem.protocol
        return "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def child(self, name: str) -> Location:
        """A file in this folder."""
        return Location(f"{self.uri.rstrip('/')}/{name}", self.filesystem, f"{self.path.rstrip('/')}/{name}")

    def exists(self) -> bool:
        """Whether there is such a file."""
        # fsspec keeps listings, and others may have written since.
        self.filesystem.invalidate_cache()
        return bool(self.filesystem.exists(self.path))

    def read(self, max_bytes: int, if_missing: str = "") -> bytes:
        """The whole content.

        :param if_missing: what the error adds when there is no such file.
        :raises InvalidInput: there is no such file, or it is longer than ``max_bytes``.
        """
        self.check_is_file()
        try:
            with self.filesystem.open(self.path, "rb") as file:
                # One byte more shows that it is too long, without reading all of it.
                content = file.read(max_bytes + 1)
        except FileNotFoundError:
            raise InvalidInput(f"{self.uri} does not exist{if_missing}") from None
        if len(content) > max_bytes:
            raise InvalidInput(f"{self.uri} is longer than {max_bytes} bytes, which it cannot be")
        return bytes(content)

    def beginning(self, length: int) -> bytes:
        """Its first bytes, at most ``length`` of them; none if there is no such file."""
        self.filesystem.invalidate_cache()
        try:
            with self.filesystem.open(self.path, "rb") as file:
                return bytes(file.read(length))
        except FileNotFoundError:
            return b""

    def write(self, content: bytes) -> None:
        """Write the file whole or not at all; on a local disk with mode 0600, in folders made with 0700."""
        if not self.is_local:
            self.filesystem.pipe_file(self.path, content)
            return
        folder = os.path.dirname(self.path)
        _make_private(folder)
        # mkstemp creates with mode 0600 whatever the umask; the rename makes the file appear whole.
        descriptor, temporary = tempfile.mkstemp(prefix=".wxbank-", dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                # On the disk before it gets its name, so that not even a crash leaves half a file there.
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            # An interrupt may come when it has its name already.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def check_is_file(self) -> None:
        """:raises InvalidInput: it is something else on this machine's disk, such as a pipe, which can be read once."""
        if self.is_local and os.path.exists(self.path) and not os.path.isfile(self.path):
            raise InvalidInput(f"{self.uri} is no file, but a folder, a pipe or a device")

    def delete(self) -> None:
        """Remove the file if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.rm_file(self.path)

    def state(self) -> Mapping[str, object] | None:
        """Size, time and whatever else changes with the content; None if there is no such file."""
        try:
            if self.is_local:
                # Of what a link leads to, in nanoseconds, and with the device: more than fsspec tells.
                found = os.stat(self.path)
                return {"size": found.st_size, "mtime": found.st_mtime_ns, "file": (found.st_dev, found.st_ino)}
            self.filesystem.invalidate_cache()
            info = self.filesystem.info(self.path)
        except FileNotFoundError:
            return None
        return {name: value for name, value in info.items() if name.lower() in _STATE}

    def files(self) -> list[Location]:
        """The lists in this place, by path: of a pattern with ``*``, ``?`` or ``[``, of a folder, or this file itself.

        If there is something of exactly this name, it is meant, even if the name has such a character in it.

        Files whose names say that they are not lists are left out: flag files, and files whose name, or whose folder
        below the part of the path without wildcards, begins with ``_`` or ``.``.

        :raises InvalidInput: there is none, or they belong to a table whose files alone do not tell its rows.
        """
        fixed, paths = self._matched()
        lists = sorted(path for path in paths if _may_be_list(path.removeprefix(fixed)))
        if not lists:
            raise InvalidInput(f"{self.uri} has only {_NO_LISTS}. Rename what holds numbers")
        if len(lists) < len(paths):
            log.info("%s: left out %d %s", self.uri, len(paths) - len(lists), _NO_LISTS)
        self._check_no_table(lists)
        if lists == [self.path]:
            return [self]
        # The folders of a pattern may have wildcards, too, so a match is named by its own path.
        scheme = self.uri.partition("://")[0] + "://" if "://" in self.uri else ""
        return [Location(f"{scheme}{path}", self.filesystem, path, path.removeprefix(fixed)) for path in lists]

    def is_pattern(self) -> bool:
        """Whether it has a wildcard in it, and there is nothing of exactly this name."""
        return bool(GLOB_CHARACTERS & set(self.path)) and not self.filesystem.exists(self.path)

    def _matched(self) -> tuple[str, set[str]]:
        """The part of the path before any wildcard, up to its last ``/``, and the files that are meant."""
        self.filesystem.invalidate_cache()
        if self.is_pattern():
            found = self.filesystem.glob(self.path, detail=True)
            if not found:
                raise InvalidInput(f"no file matches {self.uri}")
            folder = self.path[: min(map(self.path.index, GLOB_CHARACTERS & set(self.path)))].rpartition("/")[0]
        else:
            if not self.filesystem.exists(self.path):
                raise InvalidInput(f"{self.uri} does not exist")
            found = {self.path: self.filesystem.info(self.path)}
            folder = self.path.rstrip("/") if self.filesystem.isdir(self.path) else self.parent.path
        paths: set[str] = set()
        for path, info in found.items():
            paths |= set(self.filesystem.find(path)) if info["type"] == "directory" else {path}
        if not paths:
            raise InvalidInput(f"{self.uri} has no file in it")
        return f"{folder}/", paths

    def _check_no_table(self, paths: Iterable[str]) -> None:
        """:raises InvalidInput: the files belong to a table that keeps elsewhere which of their rows were deleted."""
        parquet = [path for path in paths if path.lower().endswith(".parquet")]
        for folder in sorted({str(parent) for path in parquet for parent in PurePosixPath(path).parents} - {"."}):
            # A partition is not a table, and there may be thousands of them.
            if "=" in folder.rpartition("/")[2]:
                continue
            for kind, mark in (("Delta", "_delta_log"), ("Hudi", ".hoodie"), ("Iceberg", "metadata")):
                if self._has_folder(f"{folder.rstrip('/')}/{mark}", kind == "Iceberg"):
                    raise InvalidInput(
                        f"{self.uri} means files of a {kind} table, which also hold rows that were deleted; only the "
                        f"table's {mark} tells which. Export the table with sql, or write its rows into files of "
                        "another folder first"
                    )

    def _has_folder(self, folder: str, of_iceberg: bool) -> bool:
        with contextlib.suppress(OSError):
            if self.filesystem.isdir(folder):
                # Any folder may be called metadata; Iceberg's has such files.
                return not of_iceberg or any(
                    name.endswith(".metadata.json") for name in self.filesystem.ls(folder, detail=False)
                )
        return False


def _may_be_list(path: str) -> bool:
    return not path.lower().endswith(_FLAGS) and not any(part.startswith(("_", ".")) for part in path.split("/"))


def _make_private(folder: str) -> None:
    """Make a folder and its missing parents, each for its owner only: ``makedirs`` leaves the parents to the umask."""
    if folder and not os.path.isdir(folder):
        _make_private(os.path.dirname(folder))
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
