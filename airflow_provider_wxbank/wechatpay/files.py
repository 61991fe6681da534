# SPDX-License-Identifier: Apache-2.0
"""Reads small files that a connection names, or that this package has written."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class NotAFile(OSError):
    """What is there is a folder, a pipe or a device."""


def read_file(path: Path, limit: int, *, itself: bool = False, check_mode: int = 0) -> bytes:
    """The first bytes of a file. A pipe is not read: whoever waits for one may wait for ever.

    :param limit: bytes.
    :param itself: whether links are refused.
    :param check_mode: permissions that it must not have.
    :raises OSError: it cannot be read, or is no file.
    """
    flags = os.O_NONBLOCK | (os.O_NOFOLLOW if itself else 0)
    with open(path, "rb", opener=lambda name, given: os.open(name, given | flags)) as file:  # Path.open takes none
        mode = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(mode):
            raise NotAFile(0, "it is not a file")
        if mode & check_mode:
            raise PermissionError(0, "everybody can write it: chmod o-w")
        return file.read(limit)
