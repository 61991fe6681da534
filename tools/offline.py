# SPDX-License-Identifier: Apache-2.0
"""Use a wheelhouse as a bank would: with no index within reach, by the commands of its README.

If the simulator is in it, the steps of ``docs/Containerfile`` are run, in a folder instead of an image, and numbers are
imported into what it starts.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from urllib.request import urlopen

from tests.harness.airflow_home import environment, run, running
from tests.harness.pages import blocks, commands
from tests.harness.terminal import say
from tests.harness.waiting import until
from tools.release import NAME, ROOT

CONTAINERFILE = ROOT / "docs" / "Containerfile"
CONTAINER_NEEDS = {"simulator", "shangmi"}
"""The extras that are in the container."""

NUMBERS = 100
PACKAGE_ID = "8473295"
NOWHERE = "http://127.0.0.1:9/simple"
"""An index that nobody can reach: the port discards what it is sent, if anything is there."""


class Failed(Exception):
    """It cannot be made, or does not work; the message says what."""


def use(folder: Path, interpreter: str, python: str, extras: Sequence[str], scratch: Path) -> None:
    """Install a wheelhouse, import the provider and, if the simulator is in it, some numbers; then alter a file.

    :param interpreter: path of a Python.
    :param python: its version, such as ``3.11``.
    :param scratch: a folder for what is installed.
    :raises Failed: something does not work, or an altered file was taken.
    """
    env = without_index(scratch)
    shell = Shell(f'python{python}() {{ {shlex.quote(interpreter)} "$@"; }}', folder, env)
    (block,) = blocks(folder / "README.md", "console")
    *_, providers = [shell.run(command) for command, _ in commands(block)]
    if "airflow-provider-wxbank" not in providers:
        raise Failed("`airflow providers list` does not list the provider")
    bin_folder = scratch / "airflow-wxbank" / "bin"
    do([str(bin_folder / "python"), "-c", f"import {NAME}.operators, {NAME}.sensors"], env)
    if "simulator" in extras:
        simulator = [str(bin_folder / "wxbank-simulator")]
        if set(extras) >= CONTAINER_NEEDS:
            say("Making the simulator of docs/Containerfile, and importing numbers into it")
            simulator = container(folder, interpreter, scratch, env)
        import_numbers(bin_folder / "python", simulator, scratch, env)
    say("Altering a file")
    refuse_altered(folder, bin_folder / "pip", scratch / "altered", env)


def without_index(home: Path) -> dict[str, str]:
    """An environment whose home is a folder, in which pip has no configuration and reaches no index."""
    (home / "airflow").mkdir()
    env = environment(home / "airflow", home, {})
    kept = {name: value for name, value in env.items() if not name.startswith(("PIP_", "UV_", "PYTHON", "VIRTUAL"))}
    return {
        **kept,
        "HOME": str(home),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_INDEX_URL": NOWHERE,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "COLUMNS": "200",
    }


class Shell:
    """Runs commands as somebody would who types them in a folder.

    :param begin: what comes before each command.
    """

    def __init__(self, begin: str, folder: Path, env: Mapping[str, str]) -> None:
        self._begin = f"cd {shlex.quote(str(folder))}\n{begin}\n"
        self._env = env

    def run(self, command: str) -> str:
        """What a command prints.

        :raises Failed: it does not end well.
        """
        return do(["bash", "-eu", "-o", "pipefail", "-c", self._begin + command], self._env, shown=command)


def container(folder: Path, interpreter: str, scratch: Path, env: Mapping[str, str]) -> list[str]:
    """Run the steps of the container file, with folders in the place of its own.

    :return: the command that it starts.
    """
    text = CONTAINERFILE.read_text("utf-8")
    places = {"/wheels": str(folder), "/simulator": str(scratch / "simulator")}

    def here(word: str) -> str:
        return re.sub("|".join(rf"(?<![\w.]){place}\b" for place in places), lambda found: places[found[0]], word)

    shell = Shell(f'python() {{ {shlex.quote(interpreter)} "$@"; }}', scratch, env)
    for step in steps(text, "RUN"):
        shell.run(here(step))
    (entry,) = steps(text, "ENTRYPOINT")
    return [here(word) for word in json.loads(entry)]


def steps(containerfile: str, instruction: str) -> Iterator[str]:
    """What is behind an instruction, wherever a container file has it; lines that go on are one."""
    for line in containerfile.replace("\\\n", " ").splitlines():
        if line.startswith(f"{instruction} "):
            yield line.removeprefix(instruction).strip()


def import_numbers(python: Path, simulator: Sequence[str], scratch: Path, env: Mapping[str, str]) -> None:
    """Import numbers into a simulator.

    :raises Failed: they have not all arrived.
    """
    numbers, connection = scratch / "numbers.txt", scratch / "connection.json"
    numbers.write_text("".join(f"2024{number:014}\n" for number in range(NUMBERS)))
    options = ["--port", "0", "--processing-seconds", "0", "--connection-file", str(connection)]
    with running([*simulator, *options], env) as process:
        until(lambda: connection.exists() or process.poll() is not None)
        if not connection.exists():
            assert process.stdout is not None
            raise Failed(f"the simulator does not start: {process.stdout.read()}")
        value = connection.read_text()
        ours = {**env, "AIRFLOW_CONN_WXBANK_DEFAULT": value}
        wxbank = [str(python), "-m", NAME]
        do([*wxbank, "upload", PACKAGE_ID, "--file", str(numbers), "--bank-type", "ICBC_DEBIT", "--yes"], ours)
        do([*wxbank, "wait", PACKAGE_ID, "--poke-interval", "0.1"], ours)
        with urlopen(f"{json.loads(value)['host']}/simulator/report") as answer:
            package = json.load(answer)["packages"][PACKAGE_ID]
    if package["distinct_numbers"] != NUMBERS:
        raise Failed(f"{package['distinct_numbers']} of {NUMBERS} numbers have arrived")


def refuse_altered(folder: Path, pip: Path, copy: Path, env: Mapping[str, str]) -> None:
    """Alter a wheel in a copy of the folder.

    :raises Failed: pip takes it all the same.
    """
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).symlink_to(path)
    (ours,) = copy.glob(f"{NAME}-*.whl")
    altered = ours.read_bytes() + b"\n"
    ours.unlink()
    ours.write_bytes(altered)
    options = ["--dry-run", "--ignore-installed", "--no-deps", "--find-links", str(copy), "--require-hashes"]
    code, output = run([str(pip), "install", *options, "-r", str(copy / "requirements.txt")], env)
    if code == 0 or "DO NOT MATCH THE HASHES" not in output:
        raise Failed(f"pip took an altered {ours.name}, or refused it for another reason:\n{output[-2000:]}")


def do(command: Sequence[str], env: Mapping[str, str] | None = None, *, stdin: str = "", shown: str = "") -> str:
    """Run a command; what it printed.

    :param shown: what it is called in an error.
    :raises Failed: it did not end well.
    """
    done = subprocess.run(
        command, env=None if env is None else dict(env), input=stdin, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        raise Failed(f"{done.stdout[-4000:]}\n{shown or ' '.join(command[:4])} ended with {done.returncode}")
    return done.stdout
