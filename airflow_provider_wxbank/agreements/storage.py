"""Files in any place that fsspec reaches: written whole, readable by their owner only."""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from typing import Any

from airflow_provider_wxbank.wechatpay.errors import InvalidInput

GLOB_CHARACTERS = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Location:
    """A file or folder.

    :param uri: as users write it, for messages and results.
    :param filesystem: an fsspec filesystem.
    :param path: the path in that filesystem.
    """

    uri: str
    filesystem: Any
    path: str

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
        self.filesystem.invalidate_cache()
        return bool(self.filesystem.exists(self.path))

    def read(self, max_bytes: int, if_missing: str = "") -> bytes:
        """The whole content.

        :param if_missing: what the error adds when there is no such file.
        :raises InvalidInput: there is no such file, or it is longer than ``max_bytes``.
        """
        try:
            with self.filesystem.open(self.path, "rb") as file:
                content = file.read(max_bytes + 1)
        except FileNotFoundError:
            raise InvalidInput(f"{self.uri} does not exist{if_missing}") from None
        if len(content) > max_bytes:
            raise InvalidInput(f"{self.uri} is longer than {max_bytes} bytes, which it cannot be")
        return bytes(content)

    def beginning(self, length: int) -> bytes:
        """At most so many of its first bytes; none if there is no such file."""
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
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            os.unlink(temporary)
            raise

    def delete(self) -> None:
        """Remove the file if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.rm_file(self.path)

    def files(self) -> list[Location]:
        """The files that a path with ``*``, ``?`` or ``[`` means, by name; or this one.

        :raises InvalidInput: there is none.
        """
        if GLOB_CHARACTERS.isdisjoint(self.path):
            if not self.exists():
                raise InvalidInput(f"{self.uri} does not exist")
            return [self]
        self.filesystem.invalidate_cache()
        found = self.filesystem.glob(self.path, detail=True)
        paths = sorted(path for path, info in found.items() if info["type"] == "file")
        if not paths:
            raise InvalidInput(f"no file matches {self.uri}")
        # The folder part of a pattern may hold wildcards itself, so a match is named by its own path.
        scheme = self.uri.partition("://")[0] + "://" if "://" in self.uri else ""
        return [Location(f"{scheme}{path}", self.filesystem, path) for path in paths]


def _make_private(folder: str) -> None:
    """Make a folder and what it is in, each for its owner only: ``makedirs`` leaves the upper ones to the umask."""
    if folder and not os.path.isdir(folder):
        _make_private(os.path.dirname(folder))
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder, 0o700)
