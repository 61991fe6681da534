# SPDX-License-Identifier: Apache-2.0
"""Files in any place that fsspec reaches: written whole, readable by their owner only."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from airflow_provider_wxbank.agreements.folders import GLOB_CHARACTERS, Entry, below, is_no_list, matches
from airflow_provider_wxbank.agreements.private import disk_of, is_sftp, temporary_name, write_whole
from airflow_provider_wxbank.agreements.storage_errors import telling
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater

log = logging.getLogger(__name__)

_FLAGS = (
    ".ok", ".flg", ".flag", ".ctl", ".ctrl", ".control", ".done", ".fin", ".end", ".trg", ".trigger",
    ".chk", ".check", ".verf", ".cnt", ".count", ".sum", ".sig", ".md5", ".sha1", ".sha256", ".sha512", ".crc",
    ".tmp", ".temp", ".part", ".partial", ".filepart", ".inprogress", "._copying_", ".swp", ".bak", ".old", "~",
)  # fmt: skip
"""How the names of files end that are not lists: files that say that another one is whole or how many rows it has,
files that are still being written, and copies that somebody left."""

_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")

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
        uri, path = (one.rstrip("/").rpartition("/")[0] for one in (self.uri, self.path))
        return Location(uri, self.filesystem, path)

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's disk."""
        protocol = self.filesystem.protocol
        return "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def child(self, name: str) -> Location:
        """A file in this folder."""
        return Location(f"{self.uri.rstrip('/')}/{name}", self.filesystem, f"{self.path.rstrip('/')}/{name}")

    def exists(self) -> bool:
        """Whether there is such a file or folder."""
        return self._info() is not None

    def is_folder(self) -> bool:
        """Whether there is a folder of this name."""
        return (self._info() or {}).get("type") == "directory"

    def read(self, max_bytes: int, if_missing: str = "") -> bytes:
        """The whole content.

        :param if_missing: what the error adds when there is no such file.
        :raises InvalidInput: there is no such file, it may not be read, or it is longer than ``max_bytes``.
        :raises TryLater: its place was not reached.
        """
        self.check_is_file()
        with telling(self.uri, "read"):
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
        """Its first bytes, at most ``length`` of them; none if there is no such file. It fails as :meth:`read` does."""
        self.check_is_file()
        with telling(self.uri, "read"), contextlib.suppress(FileNotFoundError):
            self.filesystem.invalidate_cache()
            with self.filesystem.open(self.path, "rb") as file:
                return bytes(file.read(length))
        return b""

    def write(self, content: bytes, *, only_new: bool = False) -> bool:
        """Write the file whole or not at all; on disks, also over SFTP, with mode 0600, in folders made with 0700.

        :param only_new: leave a file that is there already as it is.
        :return: whether it was written.
        :raises InvalidInput: its bucket does not exist, or it may not be written.
        :raises TryLater: there is no room for it, or its place was not reached.
        """
        with telling(self.uri, "written"), contextlib.suppress(*[FileExistsError] if only_new else []):
            if disk := disk_of(self.filesystem, is_local=self.is_local):
                write_whole(disk, self.path, content, only_new=only_new)
            else:
                # An object appears whole, and its bucket says who reads it.
                (self._create if only_new else self.filesystem.pipe_file)(self.path, content)
            return True
        return False

    def check_writable(self) -> None:
        """Check that files can be written into this folder and removed again, by doing so with an empty one.

        :raises InvalidInput: they cannot; see :meth:`write`.
        :raises TryLater: see :meth:`write`.
        """
        empty = self.child(temporary_name())
        empty.write(b"")
        empty.delete()

    def check_is_file(self) -> None:
        """:raises InvalidInput: it is something else on a disk, such as a pipe, which can be read once."""
        if self.is_local:
            is_other = os.path.exists(self.path) and not os.path.isfile(self.path)
        else:
            # In an object store there is nothing else, and each question costs a call.
            info = self._info() if is_sftp(self.filesystem) else None
            is_other = info is not None and info["type"] != "file"
        if is_other:
            raise InvalidInput(f"{self.uri} is no file, but a folder, a pipe or a device")

    def delete(self) -> None:
        """Remove the file if it is there."""
        with telling(self.uri, "removed"), contextlib.suppress(FileNotFoundError):
            self.filesystem.rm_file(self.path)

    def state(self) -> Mapping[str, object] | None:
        """Size, time and whatever else changes with the content; None if there is no such file."""
        if self.is_local:
            # Of what a link leads to, in nanoseconds, and with the device: more than fsspec tells.
            with telling(self.uri, "read"), contextlib.suppress(FileNotFoundError):
                found = os.stat(self.path)
                return {"size": found.st_size, "mtime": found.st_mtime_ns, "file": (found.st_dev, found.st_ino)}
            return None
        info = self._info()
        return None if info is None else {name: value for name, value in info.items() if name.lower() in _STATE}

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
            out = sorted(paths.difference(lists))
            log.info("%s: left out %d %s. One of them: %s", self.uri, len(out), _NO_LISTS, out[0])
        for path in lists:
            if twin := next((f"{path}{end}" for end in _COMPRESSED if f"{path}{end}" in paths), None):
                raise InvalidInput(f"{path} and {twin} seem to be the same list twice: name or keep one of them")
        self._check_no_table(lists)
        if lists == [self.path]:
            return [self]
        # The folders of a pattern may have wildcards, too, so a match is named by its own path.
        uri, path = self.uri.rstrip("/"), self.path.rstrip("/")
        scheme, is_url, _ = self.uri.partition("://")
        before = uri.removesuffix(path) if uri.endswith(path) else f"{scheme}://" if is_url else ""
        return [Location(f"{before}{path}", self.filesystem, path, path.removeprefix(fixed)) for path in lists]

    def is_pattern(self) -> bool:
        """Whether it has a wildcard in it, and there is nothing of exactly this name."""
        return bool(GLOB_CHARACTERS & set(self.path)) and self._info() is None

    def _info(self) -> Mapping[str, Any] | None:
        """What the filesystem knows of it; None if there is no such file or folder.

        fsspec's own ``exists`` and ``isdir`` take any failure for an absence.
        """
        with telling(self.uri, "read"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            # fsspec keeps listings, and others may have written since.
            self.filesystem.invalidate_cache()
            return dict(self.filesystem.info(self.path))
        return None

    def _create(self, path: str, content: bytes) -> None:
        try:
            self.filesystem.pipe_file(path, content, mode="create")
        except FileExistsError:
            raise
        except OSError:
            # Not every store can. One that was not reached fails here again.
            if self.exists():
                raise FileExistsError(path) from None
            self.filesystem.pipe_file(path, content)

    def _matched(self) -> tuple[str, set[str]]:
        """The part of the path before any wildcard, up to its last ``/``, and the files that are meant."""
        info = self._info()
        wildcards = GLOB_CHARACTERS & set(self.path)
        if info is not None:
            is_folder = info["type"] == "directory"
            folder = self.path.rstrip("/") if is_folder else self.parent.path
            paths = self._listed(folder) if is_folder else {self.path}
        elif wildcards:
            folder = self.path[: min(map(self.path.index, wildcards))].rpartition("/")[0]
            paths = self._listed(folder, self.path)
        else:
            raise InvalidInput(f"{self.uri} does not exist")
        if not paths:
            raise InvalidInput(f"{self.uri} has no file in it")
        return f"{folder}/", paths

    def _listed(self, folder: str, pattern: str | None = None) -> set[str]:
        """The files in a folder and its folders, or those that a pattern matches.

        :param folder: where the search begins.
        """
        with telling(self.uri, "listed"):
            try:
                return set(self._found(folder, pattern))
            except FileNotFoundError:
                if replace(self, path=folder or "/")._info() is None:
                    raise InvalidInput(f"no file matches {self.uri}") from None
                raise TryLater(
                    f"{self.uri}: a folder was removed while it was listed: let the export begin when it is whole. "
                    "Nothing was sent"
                ) from None

    def _found(self, folder: str, pattern: str | None) -> Iterator[str]:
        filesystem, start = self.filesystem, Entry(folder, is_folder=True)
        on_disk = self.is_local or is_sftp(filesystem)
        if pattern is None:
            found = [start]
        elif on_disk:
            found = list(matches(filesystem, start, pattern.rstrip("/").removeprefix(f"{folder}/").split("/")))
        else:
            infos = filesystem.glob(pattern, detail=True)
            found = [Entry(path, info["type"] == "directory") for path, info in infos.items()]
        if not found:
            raise InvalidInput(f"no file matches {self.uri}")
        for entry in found:
            if not entry.is_folder:
                yield entry.path
            elif on_disk:
                yield from (one.path for one in below(filesystem, entry) if not one.is_folder)
            else:
                yield from filesystem.find(entry.path)

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
    return not path.lower().endswith(_FLAGS) and not any(map(is_no_list, path.split("/")))
