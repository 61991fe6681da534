# SPDX-License-Identifier: Apache-2.0
"""The command ``airflow`` for many calls: a process that has imported Airflow forks one for each, as the command's own.

Airflow takes seconds to import, the commands of the documentation take less. Each still runs in a process of its own,
with its own environment, folder and output. Usage: airflow_forks.py SOCKET serves; the script ``airflow`` calls.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import httpx
from packaging.version import Version
from sqlalchemy.orm import configure_mappers

from tests.harness.airflow_home import running
from tests.harness.waiting import until

SERVER = (sys.executable, "-m", "tests.harness.airflow_forks")

HAS_PROVIDER_COMMANDS = Version(version("apache-airflow")) >= Version("3.2")
"""Without, ``python -m airflow_provider_wxbank`` takes the place of ``airflow wxbank``, as its page says."""

PRELOADED = (
    *(f"airflow.cli.commands.{name}_command" for name in ("connection", "dag", "db", "pool")),
    "airflow.api.client",
    "airflow.models.dagbag",
    "airflow.providers.amazon.aws.fs.s3",
    "airflow.utils.db",
    "alembic.command",
    "airflow_provider_wxbank.operators",
    "airflow_provider_wxbank.sensors",
)
"""What commands would else import for themselves, each time."""

CLIENT = """\
#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    call = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(call).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(call)
    sys.exit(int(server.makefile().read() or 70))
"""


@contextmanager
def serving(folder: Path, env: Mapping[str, str]) -> Iterator[None]:
    """Put a script ``airflow`` into a folder, and serve its calls meanwhile."""
    command, address, log = (folder / name for name in ("airflow", "socket", "log"))
    command.write_text(CLIENT.format(python=sys.executable, address=str(address)))
    command.chmod(0o700)
    with log.open("w") as output, running([*SERVER, str(address)], env, output) as process:
        until(lambda: address.exists() or process.poll() is not None)
        assert address.exists(), log.read_text()
        yield


def serve(address: str) -> None:
    """Serve calls until the process is ended."""
    from airflow.__main__ import main
    from airflow.models import import_all_models

    from airflow_provider_wxbank.__main__ import main as wxbank

    for module in PRELOADED:
        import_module(module)
    import_all_models()
    configure_mappers()
    with suppress(ImportError):  # Airflow 2 has no such API
        from airflow.sdk.execution_time.supervisor import in_process_api_server

        asyncio.run(_ask(in_process_api_server().atransport))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # A shell's job in the background has it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        while True:
            caller, _ = listener.accept()
            with caller:
                size, descriptors, _, _ = socket.recv_fds(caller, 8, 3)
                content = b""
                while len(content) < int.from_bytes(size, "big"):
                    content += caller.recv(65536)
                arguments, folder, env = json.loads(content)
                child = os.fork()
                if child == 0:
                    listener.close()
                    caller.close()
                    _become(descriptors, folder, env)
                    if arguments[:1] == ["wxbank"] and not HAS_PROVIDER_COMMANDS:
                        wxbank(arguments[1:])
                        sys.exit(0)
                    sys.argv = ["airflow", *arguments]
                    main()
                    sys.exit(0)
                for descriptor in descriptors:
                    os.close(descriptor)
                caller.sendall(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


async def _ask(api: httpx.AsyncBaseTransport) -> None:
    """Ask the API that `dags test` has its tasks talk to: it makes all of its versions at the first request."""
    async with httpx.AsyncClient(transport=api, base_url="http://airflow") as client:
        (await client.get("/health")).raise_for_status()


def _become(descriptors: list[int], folder: str, env: dict[str, str]) -> None:
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)


if __name__ == "__main__":
    serve(sys.argv[1])
