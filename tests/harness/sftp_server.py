# SPDX-License-Identifier: Apache-2.0
"""An OpenSSH server on loopback that serves files and nothing else, if one is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.harness.ports import free_ports
from tests.harness.waiting import until

_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PidFile {folder}/pid
Subsystem sftp internal-sftp
ForceCommand exec {files} -u 000 -e -l VERBOSE {options} 2>>{folder}/log
"""


def sshd() -> str | None:
    """The server's program, which has to be called by its whole path; None if it is not installed."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _files_program() -> str | None:
    """What serves files to a client that was let in. The one inside of sshd writes its log elsewhere."""
    return shutil.which("sftp-server", path="/usr/lib/openssh:/usr/libexec/openssh:/usr/lib/ssh:/usr/libexec")


@contextmanager
def sftp_server(folder: Path, options: str = "") -> Iterator[dict[str, Any]]:
    """A server, ended at the end; the Airflow connection to it. It serves what the user who runs the tests reaches.

    Its ``log`` says what it did. It lets everybody read a file of which nothing else is said.

    :param folder: where its keys, its ``log`` and its ``pid`` are.
    :param options: of OpenSSH's ``sftp-server``.
    """
    import asyncssh

    program = sshd()
    assert program is not None
    folder.mkdir(exist_ok=True)
    (port,) = free_ports(1)
    host_key, user_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    for name, key in (("host_key", host_key), ("user_key", user_key)):
        key.write_private_key(folder / name)
        (folder / name).chmod(0o600)
        key.write_public_key(folder / f"{name}.pub")
    config = _CONFIG.format(port=port, folder=folder, files=_files_program(), options=options)
    (folder / "config").write_text(config)
    if os.geteuid() == 0:
        # As the service of a package has it: without, root's sshd does not start.
        with suppress(FileExistsError):
            Path("/run/sshd").mkdir(0o755)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([program, "-f", str(folder / "config"), "-D", "-e"], stderr=log)
        try:
            until(lambda: process.poll() is not None or _is_open(port), otherwise="sshd does not listen")
            assert process.poll() is None, (folder / "log").read_text()
            yield {
                "conn_type": "sftp",
                "host": "127.0.0.1",
                "port": port,
                "login": pwd.getpwuid(os.geteuid()).pw_name,
                "extra": {
                    "key_file": str(folder / "user_key"),
                    "host_key": host_key.export_public_key().decode().strip(),
                },
            }
        finally:
            if process.poll() is None:
                sessions(folder, signal.SIGKILL)
            process.terminate()
            process.wait()


def sessions(folder: Path, number: signal.Signals) -> list[int]:
    """What serves each connection, which outlives the server itself, after a signal to it.

    :param folder: of the server.
    """
    server = int((folder / "pid").read_text())
    found = []
    for one in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # After the name, which may have anything in it, come state and parent.
            if int(one.read_text().rpartition(")")[2].split()[1]) == server:
                found.append(int(one.parent.name))
                os.kill(found[-1], number)
    return found


def _is_open(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return False
