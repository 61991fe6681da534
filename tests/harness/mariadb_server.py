# SPDX-License-Identifier: Apache-2.0
"""A MariaDB for tests, where one is installed: it is not on the package index."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.harness.waiting import PATIENCE, until

VARIABLE = "MARIADBD"
"""Names the server's program, if it is not on the path."""


def mariadbd() -> Path | None:
    """The server's program, or None if there is none."""
    path = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin"
    found = os.environ.get(VARIABLE) or shutil.which("mariadbd", path=path)
    return Path(found) if found else None


@contextlib.contextmanager
def mariadb_server(program: Path, folder: Path) -> Iterator[Path]:
    """A MariaDB with an empty database ``bank``, for anybody who reaches its socket; the socket.

    :param folder: an empty one with a short path: a socket's may have 107 characters.
    """
    socket, log = folder / "socket", folder / "log"
    data = folder / "data"
    (data / "bank").mkdir(parents=True)
    command = [
        str(program), "--no-defaults", f"--basedir={program.parent.parent}", f"--datadir={data}", f"--socket={socket}",
        f"--pid-file={folder / 'pid'}", f"--tmpdir={folder}", "--skip-networking", "--skip-grant-tables",
        "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M",
        *(["--user=root"] if os.geteuid() == 0 else []),
    ]  # fmt: skip
    with log.open("w") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        until(lambda: socket.exists() or process.poll() is not None, PATIENCE, "MariaDB has not started")
        if not socket.exists():
            raise RuntimeError(f"MariaDB has not started:\n{log.read_text()[-2000:]}")
        yield socket
    finally:
        process.kill()
        process.wait()
