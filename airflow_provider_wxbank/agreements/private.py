# SPDX-License-Identifier: Apache-2.0
"""Files that only their owner reads, from their first byte on, and that appear whole: on this disk and over SFTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import posixpath
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from secrets import token_hex
from stat import S_ISDIR
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

_FILE_MODE = 0o600
_FOLDER_MODE = 0o700


class Disk(Protocol):
    """What is needed of a disk, wherever it is. Paths are absolute."""

    def has(self, path: str) -> bool:
        """Whether something has this name, and be it a link that leads nowhere."""

    def is_folder(self, path: str) -> bool:
        """Whether there is a folder, or a link to one."""

    def make_folder(self, path: str) -> None:
        """Make a folder for its owner only, unless there is one."""

    def create(self, path: str, content: bytes) -> None:
        """Write a new file for its owner only, and see that it is on the disk."""

    def rename(self, path: str, target: str) -> None:
        """Give a file another name, in place of whatever has that."""

    def name(self, path: str, target: str) -> None:
        """Give a file another name, unless something has that.

        :raises FileExistsError: something has it.
        """

    def remove(self, path: str) -> None:
        """Remove a file, if it is there."""

    def remove_folder(self, path: str) -> None:
        """Remove a folder; it fails if anything is in it."""


def temporary_name() -> str:
    """A name that nobody else has, for a file that is not whole yet."""
    return f".wxbank-{token_hex(8)}"


def write_whole(disk: Disk, path: str, content: bytes, *, only_new: bool = False) -> None:
    """Write a file whole or not at all, with mode 0600, in folders made with 0700.

    :raises FileExistsError: there is one, and with ``only_new`` it is left as it is.
    """
    folder = posixpath.dirname(path)
    _make_folders(disk, folder)
    temporary = posixpath.join(folder, temporary_name())
    try:
        disk.create(temporary, content)
        (disk.name if only_new else disk.rename)(temporary, path)
    except BaseException:
        # An interrupt may come when it has its name already; and what removing it raises must not hide the reason.
        with contextlib.suppress(Exception):
            disk.remove(temporary)
        raise


def _make_folders(disk: Disk, folder: str) -> None:
    """Make a folder and its missing parents, each for its owner only: ``makedirs`` leaves the parents to the umask."""
    if folder not in ("", "/") and not disk.is_folder(folder):
        _make_folders(disk, posixpath.dirname(folder))
        disk.make_folder(folder)


class LocalDisk:
    """This machine's disk."""

    def has(self, path: str) -> bool:
        return os.path.lexists(path)

    def is_folder(self, path: str) -> bool:
        return Path(path).is_dir()

    def make_folder(self, path: str) -> None:
        with contextlib.suppress(FileExistsError):
            Path(path).mkdir(_FOLDER_MODE)

    def create(self, path: str, content: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, _FILE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            # On the disk before it gets its name, so that not even a crash leaves half a file there.
            os.fsync(descriptor)

    def rename(self, path: str, target: str) -> None:
        Path(path).replace(target)

    def name(self, path: str, target: str) -> None:
        try:
            os.link(path, target)
        except FileExistsError:
            raise
        except OSError:
            # Not every disk can; and the one moment is short in which another file may get the name.
            if self.has(target):
                raise FileExistsError(target) from None
            self.rename(path, target)
        else:
            self.remove(path)

    def remove(self, path: str) -> None:
        Path(path).unlink(missing_ok=True)

    def remove_folder(self, path: str) -> None:
        Path(path).rmdir()


class SftpDisk:
    """The disk of an SFTP server, reached by the filesystem of sshfs.

    sshfs itself leaves the modes of files to the server, and copies where a server cannot rename over a file.
    """

    def __init__(self, filesystem: Any) -> None:
        self._filesystem = filesystem

    def has(self, path: str) -> bool:
        async def ask(sftp: Any) -> bool:
            return bool(await sftp.lexists(path))

        return self._run(ask)

    def is_folder(self, path: str) -> bool:
        async def ask(sftp: Any) -> bool:
            try:
                return S_ISDIR((await sftp.stat(path)).permissions or 0)
            except _asyncssh().SFTPNoSuchFile:
                return False

        return self._run(ask)

    def make_folder(self, path: str) -> None:
        async def make(sftp: Any) -> None:
            await sftp.mkdir(path, _attributes(_FOLDER_MODE))

        try:
            self._run(make)
        except Exception:
            # Another thread or task may have made it meanwhile; most servers tell this by no code of its own.
            if not self.is_folder(path):
                raise

    def create(self, path: str, content: bytes) -> None:
        async def write(sftp: Any) -> None:
            async with sftp.open(path, "xb", _attributes(_FILE_MODE)) as file:
                await file.write(content)
                # Not every server can.
                with contextlib.suppress(_asyncssh().SFTPOpUnsupported):
                    await file.fsync()

        self._run(write)

    def rename(self, path: str, target: str) -> None:
        async def rename(sftp: Any) -> None:
            try:
                await sftp.posix_rename(path, target)
            except _asyncssh().SFTPOpUnsupported:
                # What is left of SFTP without OpenSSH's extension renames over nothing.
                with contextlib.suppress(_asyncssh().SFTPNoSuchFile):
                    await sftp.unlink(target)
                await sftp.rename(path, target)

        self._run(rename)

    def name(self, path: str, target: str) -> None:
        async def rename(sftp: Any) -> None:
            if await sftp.lexists(target):
                raise FileExistsError(target)
            try:
                # Without OpenSSH's extension this is refused where there is a file.
                await sftp.rename(path, target)
            except _asyncssh().SFTPError:
                if await sftp.lexists(target):
                    raise FileExistsError(target) from None
                raise

        self._run(rename)

    def remove(self, path: str) -> None:
        async def remove(sftp: Any) -> None:
            with contextlib.suppress(_asyncssh().SFTPNoSuchFile):
                await sftp.unlink(path)

        self._run(remove)

    def remove_folder(self, path: str) -> None:
        # The filesystem's own rmdir does nothing.
        async def remove(sftp: Any) -> None:
            await sftp.rmdir(path)

        self._run(remove)

    def _run(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do something in the filesystem's event loop, over one of the channels that its own calls share.

        fsspec's ``sync`` would leave the work running when the caller is interrupted.
        """

        async def run() -> T:
            async with self._filesystem._pool.get() as sftp:
                return await work(sftp)

        future = asyncio.run_coroutine_threadsafe(run(), self._filesystem.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


def disk_of(filesystem: Any, *, is_local: bool) -> Disk | None:
    """The disk that a filesystem is of; None for an object store."""
    if is_local:
        return LocalDisk()
    return SftpDisk(filesystem) if is_sftp(filesystem) else None


def is_sftp(filesystem: object) -> bool:
    """Whether it is the filesystem of sshfs. Where there is one, its module was imported."""
    module = sys.modules.get("sshfs")
    return module is not None and isinstance(filesystem, module.SSHFileSystem)


def _asyncssh() -> Any:
    import asyncssh

    return asyncssh


def _attributes(mode: int) -> Any:
    return _asyncssh().SFTPAttrs(permissions=mode)
