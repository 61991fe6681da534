# SPDX-License-Identifier: Apache-2.0
"""``make ui``: an Airflow to look at, with the simulator and imports in every state, until Ctrl-C.

All of it is in ``.ui``, which is removed at the end, and nothing of it keeps running.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_wxbank.simulator import Simulator, serve
from tests.harness.airflow_parts import Airflow
from tests.harness.bank import make_bank
from tests.harness.terminal import say
from tests.harness.waiting import PATIENCE
from tools.ui_imports import SAMPLE, SETTINGS, Imports, connections, users, write_dags

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".ui"
PORT = 8080
POLL_SECONDS = 2
ROLES = {"admin": "admin", "viewer": "viewer", "guest": "viewer"}
"""User name to role; a password is the user's name."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Ui:
    """An Airflow that can be looked at, and what is behind it."""

    airflow: Airflow
    simulator: Simulator
    imports: Imports


@contextlib.contextmanager
def running_ui(folder: Path, port: int | None = None, tell: Callable[[str], None] = lambda _: None) -> Iterator[Ui]:
    """An Airflow with the simulator, the sample DAGs and two connections; no import yet.

    :param folder: an empty one.
    :param port: of the web page; None for a free one.
    :param tell: is told what is waited for.
    """
    make_bank(folder / "bank.db", users())
    write_dags(folder / "dags")
    passwords = folder / "passwords.json"
    passwords.write_text(json.dumps({name: name for name in ROLES}))
    settings = {
        "AIRFLOW__CORE__AUTH_MANAGER": "tools.ui_users.UsersOfSomeDags",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in ROLES.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__WXBANK__DOCS_URL": "https://docs.example.com/wxbank/",
        "PYTHONPATH": str(ROOT),
        "WXBANK_POLL_SECONDS": str(POLL_SECONDS),
    }
    with (
        serve(SETTINGS) as simulator,
        Airflow(folder, {}, [], settings, port=port, sign_in=("admin", "admin")) as airflow,
    ):
        airflow.start(SAMPLE)
        for name, value in connections(simulator, folder / "bank.db").items():
            extra = json.dumps(value.get("extra", {}))
            airflow.post("connections", {"connection_id": name, **value, "extra": extra})
        yield Ui(airflow, simulator, Imports(airflow, simulator, folder / "exports", tell))


def main() -> int:
    """Exit code: 0 after Ctrl-C, 1 if it is running already or failed, which leaves its logs in the folder."""
    HOME.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(HOME, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("make ui is running in this folder already", file=sys.stderr)
        return 1
    for number in SIGNALS:
        signal.signal(number, interrupt)
    try:
        empty(HOME)
        show(HOME)
    except KeyboardInterrupt:
        shutil.rmtree(HOME)
        say("Stopped; nothing keeps running")
    except (OSError, RuntimeError) as failure:  # what Airflow, its API or a wait ends with
        print(f"{str(failure).partition(chr(10))[0]}; the logs are in {HOME}", file=sys.stderr)
        return 1
    return 0


def show(folder: Path) -> None:
    """Run all of it until a signal comes.

    :raises KeyboardInterrupt: it came.
    """
    say("Starting Airflow and the simulator, half a minute or a few")
    with running_ui(folder, PORT if is_free(PORT) else None, say) as ui:
        say("Running imports, a minute or a few; the page can be opened meanwhile")
        say(f"No state is waited for longer than {PATIENCE:g} s; make ui PATIENCE=n changes that")
        print_how_to_sign_in(ui)
        ui.imports.run_all()
        say("There are imports that are finished, being processed, being uploaded, and failed half-way")
        print_how_to_sign_in(ui)
        say("Ctrl-C ends it")
        signal.pause()


def print_how_to_sign_in(ui: Ui) -> None:
    """Print the address, and who may sign in."""
    print(f"""
    {ui.airflow.url}

    user     password   may
    admin    admin      everything
    viewer   viewer     see everything but connections, change nothing
    guest    guest      see the DAG nightly_report only

    The simulator of WeChat Pay: {ui.simulator.base_url}/simulator/report
""")


def empty(folder: Path) -> None:
    """Remove everything in a folder."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of loopback."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0


def interrupt(*_: object) -> None:
    """End as Ctrl-C does, once: what ends it is left in peace."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    print(flush=True)
    say("Stopping")
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
