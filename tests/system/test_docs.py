# SPDX-License-Identifier: Apache-2.0
"""Every code block of the README and the documentation runs, in the order of its page.

The Chinese pages have the same code, which :mod:`tests.test_chinese` checks, so those are not run again.

* ``python`` is executed, in a DAG. One that begins with ``# folder/name.py`` is also written to that file.
* ``console`` has commands after ``$ ``, which a shell runs, each with the environment and in the folder that the one
  before it left. Output that is shown must come; ``...`` is any text. ``wxbank-simulator`` runs on until the next
  one or the end of the page, on a free port that takes the place of 8971.
* ``json`` and ``ini`` are parsed; options of an ``airflow.cfg`` must be there.
* ``text`` is output or a drawing, as are Sphinx's own blocks, which ``make docs`` builds.
"""

from __future__ import annotations

import json
import os
import re
import select
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from airflow_provider_wxbank.get_provider_info import get_provider_info
from airflow_provider_wxbank.simulator import SimulatorSettings, serve
from tests.conftest import numbers
from tests.harness.airflow_forks import HAS_PROVIDER_COMMANDS
from tests.harness.airflow_home import environment, running
from tests.harness.bank import make_bank
from tests.harness.pages import CHINESE, PAGES, ROOT, Block, blocks, commands
from tests.harness.waiting import PATIENCE
from tests.system.conftest import copy_home
from tests.vectors import VECTORS

NOT_RUN = {
    r"make\b": "makes environments from a package index, or runs these tests; that the target exists is tested",
    r"git clone\b|cd\b|source \.venv/bin/activate": "the checkout and its environment are there already",
    r"(apt-get|pip|pip-audit|uv)\b": "needs a package index; CI's `make` installs the package and its extras",
    r"\.venv\S*/bin/python -m pytest\b": "runs these tests",
    r"sha256sum\b|test \"\$\(ls\b|podman\b": "needs what `make wheelhouse` makes, which then does it itself",
    r"airflow standalone\b": "runs until Ctrl-C, on fixed ports; the tests of the page start its parts on others",
}
"""Commands that are not run here, and why."""

SERVER = re.compile(r"(wxbank-simulator|airflow wxbank simulate)\b(?!.*--help)")
CONNECTS = "export AIRFLOW_CONN_WXBANK_DEFAULT="
BIN = Path(sys.executable).parent

BLOCKS = [block for page in PAGES if page not in CHINESE.values() for block in blocks(page)]


class PageRun:
    """A page whose blocks are run one after the other, by a reader with a folder of his own."""

    def __init__(self, page: Path, folder: Path, env: dict[str, str], stack: ExitStack) -> None:
        self._left = list(blocks(page))
        self._folder, self._state = folder / "reader", folder / "state"
        self._state.mkdir()
        self._env = {**env, "PWD": str(self._folder)}
        self._stack = stack
        self._simulator = ExitStack()
        self._stack.push(self._simulator)
        self._address = ""
        self._names: dict[str, Any] = {}
        self._broken: Block | None = None

    def add_file(self, name: str, text: str) -> None:
        """Give the reader a file."""
        (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self._folder / name).write_text(text, "utf-8")

    def run(self, block: Block) -> None:
        """Run a block, and what is before it and was not run yet."""
        while block in self._left:
            one = self._left.pop(0)
            if self._broken is not None:
                pytest.fail(f"not run, since {self._broken} failed")
            self._broken = one
            self._run(one)
            self._broken = None

    def _run(self, block: Block) -> None:
        match block.language:
            case "python":
                self._python(block)
            case "console":
                for command, output in commands(block):
                    self._command(command, output)
            case "json":
                json.loads(block.code)
            case "ini":
                check_options(block.code)
            case language:
                assert language == "text" or language.startswith("{"), f"{language!r} is run by nothing"

    def _python(self, block: Block) -> None:
        from airflow.providers.common.compat.sdk import DAG

        if path := re.match(r"# (\S+\.py)\n", block.code):
            self.add_file(path[1], block.code)
        connections = {name: value for name, value in self._env.items() if name.startswith("AIRFLOW_CONN_")}
        with (
            mock.patch.dict(os.environ, connections),
            DAG("example", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)),
        ):
            exec(compile(block.code, str(block), "exec", dont_inherit=True), self._names)

    def _command(self, command: str, expected: str) -> None:
        if any(re.match(pattern, command) for pattern in NOT_RUN):
            return
        if self._address:
            command = command.replace("127.0.0.1:8971", self._address)
        output = self._serve(command) if SERVER.match(command) else self._shell(command)
        if expected:
            plain = re.sub(r"\x1b\[[0-9;]*m| +$", "", output, flags=re.MULTILINE).replace("\r", "")
            shown = plain.replace(self._address, "127.0.0.1:8971") if self._address else plain
            assert is_shown(expected, shown), f"$ {command}\nshould print\n{expected}\nand printed\n{shown}"

    def _shell(self, command: str) -> str:
        after = 'code=$?; env -0 > "$STATE/env"; exit $code'
        with running(
            ["timeout", str(PATIENCE), "bash", "-c", f"trap '{after}' EXIT\ncd \"$GO\"\n{command}"],
            {**self._env, "STATE": str(self._state), "GO": self._env["PWD"]},
        ) as process:
            assert process.stdout is not None
            output = process.stdout.read()
            assert process.wait() == 0, f"$ {command}\n{output[-5000:]}"
        pairs = (self._state / "env").read_text().rstrip("\0").split("\0")
        self._env = dict(pair.split("=", 1) for pair in pairs)
        return output

    def _serve(self, command: str) -> str:
        self._simulator.close()
        if not HAS_PROVIDER_COMMANDS:
            command = command.replace("airflow wxbank", "python -m airflow_provider_wxbank")
        process = self._simulator.enter_context(
            running(
                ["bash", "-c", f"cd {self._env['PWD']}; exec {Path(sys.executable).parent}/{command} --port 0"],
                self._env,
            )
        )
        assert process.stdout is not None
        said, deadline = "", time.monotonic() + PATIENCE
        while CONNECTS not in said or not said.endswith("\n"):
            readable, _, _ = select.select([process.stdout], [], [], deadline - time.monotonic())
            piece = os.read(process.stdout.fileno(), 65536).decode() if readable else ""
            assert piece, f"$ {command}\n{said}"
            said += piece
        self._address = re.findall(r"https?://(127\.0\.0\.1:\d+)", said)[0]
        return said


def is_shown(expected: str, output: str) -> bool:
    """Whether an output is as shown, where ``...`` stands for any text, and a line of it for any lines."""
    pattern = re.escape("\n" + expected.strip("\n") + "\n")
    pattern = pattern.replace(re.escape("\n...\n"), r"\n(?:.*\n)?").replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, "\n" + output.strip("\n") + "\n", re.DOTALL) is not None


def check_options(text: str) -> None:
    """Every option of an ``airflow.cfg`` is one of this Airflow."""
    from airflow.configuration import conf

    parser = ConfigParser()
    parser.read_string(text)
    options = [(section, option) for section in parser.sections() for option in parser[section]]
    assert options
    own = {(section, name) for section, told in get_provider_info()["config"].items() for name in told["options"]}
    assert [one for one in options if one not in own and not conf.has_option(*one)] == []


@pytest.fixture(scope="module")
def airflow_home(migrated: Path, home: Path) -> Path:
    """The reader's Airflow home; its database is made already, since that takes seconds."""
    copy_home(migrated, home)
    return home


@pytest.fixture(scope="module")
def reader_env(airflow_home: Path, forks: Path) -> dict[str, str]:
    """The environment of a reader who has this package installed."""
    env = environment(airflow_home, airflow_home / "dags", {})
    # What follows from the home.
    del env["AIRFLOW__CORE__DAGS_FOLDER"], env["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    return {**env, "PATH": f"{forks}:{BIN}:{env['PATH']}"}


@pytest.fixture(scope="module")
def reader(
    airflow_home: Path, reader_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Path], PageRun]]:
    """Gives the run of a page: by somebody with an Airflow, two connections and a merchant's files."""
    runs: dict[Path, PageRun] = {}
    settings = SimulatorSettings(
        merchant_private_key_pem=VECTORS["keys"]["merchant_private_pkcs8"], processing_seconds=0.0
    )
    with serve(settings) as simulator, ExitStack() as stack:
        connection = json.dumps(simulator.airflow_connection())
        bank = make_bank(tmp_path_factory.mktemp("bank") / "bank.db", [(number, True) for number in numbers(100)])
        connections = {
            "AIRFLOW_CONN_WXBANK_DEFAULT": connection,
            "AIRFLOW_CONN_BANK_DB": json.dumps(bank.connection),
        }

        def run(page: Path) -> PageRun:
            if page not in runs:
                folder = tmp_path_factory.mktemp(page.stem)
                runs[page] = PageRun(page, folder, {**reader_env, **connections}, stack)
                runs[page].add_file("connection.json", connection)
                runs[page].add_file("apiclient_cert.pem", VECTORS["keys"]["merchant_cert"])
                (folder / "reader" / "airflow").symlink_to(airflow_home)
            return runs[page]

        yield run


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_runs(block: Block, reader: Callable[[Path], PageRun]) -> None:
    reader(block.page).run(block)


def test_what_is_not_run_is_there() -> None:
    """No reason is kept for a command that has gone."""
    console = [command for block in BLOCKS if block.language == "console" for command, _ in commands(block)]
    assert [pattern for pattern in NOT_RUN if not any(re.match(pattern, command) for command in console)] == []


def test_every_extra_that_is_installed_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    text = "".join(page.read_text("utf-8") for page in PAGES)
    named = set(re.findall(r"(?:\.|airflow-provider-wxbank)\[([\w,-]+)\]", text))
    assert named
    assert {extra for group in named for extra in group.split(",")} <= set(extras)
