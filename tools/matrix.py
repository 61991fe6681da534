# SPDX-License-Identifier: Apache-2.0
"""Run the sample DAG, in both suites, and the tests of the page and of tokens from the wheel in clean environments of
every supported Airflow and Python, with all extras.

The wheel is built once. Each environment has a folder of its own in ``.matrix`` with the checkout's DAGs, tools and
tests in it, but not its package: that comes from the wheel. The oldest versions that pyproject.toml allows run the
tests of all layers instead. Set UV to the path of ``uv``.

Usage: python -m tools.matrix [--keep] [WORD ...]; words choose the combinations whose row has them all.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.airflow_home import run
from tests.harness.terminal import end_with, say
from tools.release import ROOT, build, released_version
from tools.test import SUMMARY

FOLDER = ROOT / ".matrix"
TESTS = ("tests", *(f"--ignore=tests/{name}" for name in ("browser", "stress", "system")))
FEW_TESTS = ("tests/airflow/test_plugin.py", "tests/airflow/test_page.py", "tests/wechatpay/test_tokens.py")
EXTRAS_BRING = "import gmssl_pyx, pkcs11, pyarrow, starlette"
SHOWN = ("apache-airflow-providers-common-compat", "apache-airflow-providers-common-sql")

# What Airflow 3.0 and 3.2 need of others to start at all when nothing else is pinned; no matter of this package. A
# pre-release is taken only where it is asked for: of Airflow's own parts, and of nothing else.
AIRFLOW_NEEDS = {
    "3.0.6": ("fastapi<0.118", "cadwyn<5.5"),
    "3.2.2": ("fastapi<0.137", "cadwyn<8", "svcs<26"),
    "3.4.0b2": ("apache-airflow-core==3.4.0b2", "apache-airflow-task-sdk==1.4.0b2"),
}
# Copies everything but the package and what was made.
NOT_COPIED = shutil.ignore_patterns(".*", "airflow_provider_wxbank", "build", "dist", "_build", "__pycache__")
# What this package says or causes; Airflow and others may warn of one another, as common.sql does of its own import
# of BaseBranchOperator on Airflow 3.0 and 3.1.
COMPLAINT = re.compile(
    r"\[(warning|error|critical) *\].*\[\S*airflow_provider_wxbank|(airflow_provider_wxbank|/dags)/\S+\.py\b.*Warning"
    r"|Warning.*filename=\S*(airflow_provider_wxbank|/dags)/"
    r"|(RemovedInAirflow\d|AirflowProviderDeprecation|DeprecatedImport)Warning(?!.*BaseBranchOperator)|Traceback"
)
# What Airflow 3.4.0b2 leaves to the garbage collector when `airflow dags test` has ended: a connection of its own
# asynchronous engine to SQLite, which SQLAlchemy cannot close there any more, and says so.
OF_AIRFLOW = re.compile(
    r"^.*Exception closing connection <AdaptedConnection <aiosqlite.*\nTraceback.*\n(?: .*\n)*\S*MissingGreenlet.*\n",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Combination:
    """An environment to try."""

    airflow: str
    python: str
    lowest: bool = False

    @property
    def resolution(self) -> str:
        """How versions of direct dependencies are chosen."""
        return "lowest" if self.lowest else "newest"

    @property
    def folder(self) -> Path:
        """Where it is made."""
        return FOLDER / f"airflow-{self.airflow}-python-{self.python}-{self.resolution}"


@dataclass(frozen=True, slots=True)
class Row:
    """What became of a combination."""

    combination: Combination
    versions: str
    result: str
    seconds: float

    def __str__(self) -> str:
        one = self.combination
        name = f"{one.airflow:<8} {one.python:<6} {one.resolution:<10}"
        return f"{name} {self.versions:<14} {self.seconds:>7.0f}  {self.result}"


COMBINATIONS = (
    # Airflow 2.11 and 3.0 are not made for Python 3.13. The first is the next one.
    *(Combination(airflow, "3.11") for airflow in ("3.4.0b2", "3.3.2", "3.2.2", "3.1.8", "3.0.6", "2.11.2")),
    *(Combination(airflow, "3.12") for airflow in ("3.3.2", "3.1.8", "3.0.6", "2.11.2")),
    *(Combination(airflow, "3.13") for airflow in ("3.3.2", "3.1.8")),
    Combination("3.3.2", "3.14"),
    *(Combination(airflow, "3.11", lowest=True) for airflow in ("2.11.1", "3.3.2")),
)


class Failed(Exception):
    """A combination does not work; the message says what."""


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 if every combination whose Python is here works."""
    parser = argparse.ArgumentParser(prog="tools.matrix")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--keep", action="store_true", help="leave the environments where they are")
    options = parser.parse_args(arguments)
    shutil.rmtree(FOLDER, ignore_errors=True)
    rows = []
    try:
        _, date = released_version((ROOT / "CHANGELOG.md").read_text("utf-8"))
        _, wheel = build(ROOT, FOLDER / "dist", date)
        for one in chosen(options.words):
            rows.append(tried(one, wheel))
            print(rows[-1], flush=True)
            if not options.keep and rows[-1].result.startswith("ok"):
                shutil.rmtree(one.folder)
    finally:
        if not options.keep:
            shutil.rmtree(FOLDER, ignore_errors=True)
    print(f"\n{'Airflow':<8} {'Python':<6} {'resolution':<10} {'compat, sql':<14} {'seconds':>7}  result")
    print(*rows, sep="\n")
    return 0 if rows and all(row.result.startswith(("ok", "no Python")) for row in rows) else 1


def chosen(words: Sequence[str]) -> Iterator[Combination]:
    """The combinations that have every word."""
    for one in COMBINATIONS:
        if set(words) <= {one.airflow, one.python, one.resolution}:
            yield one


def tried(one: Combination, wheel: Path) -> Row:
    """Make an environment and use it."""
    started = time.monotonic()
    versions = ""
    say(f"Airflow {one.airflow}, Python {one.python}, {one.resolution} versions")
    python = interpreter(one.python)
    if python is None:
        return Row(one, "", f"no Python {one.python} on this machine", 0.0)
    try:
        shutil.copytree(ROOT, one.folder, ignore=NOT_COPIED)
        make_environment(one, wheel, python)
        versions = installed_versions(one)
        result = f"ok: {use(one)}"
    except Failed as failure:
        result = f"FAILED: {failure}"
    return Row(one, versions, result, time.monotonic() - started)


def interpreter(version: str) -> str | None:
    """A Python of a minor version: on the path, one of pyenv's, or one of uv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    asked = [os.environ["UV"], "python", "find", "--no-python-downloads", version]
    known = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    for candidate in (f"python{version}", *map(str, pyenv.glob(f"{version}.*/bin/python{version}")), *known):
        found = shutil.which(candidate)
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return found
    return None


def make_environment(one: Combination, wheel: Path, python: str) -> None:
    """Install the wheel beside an Airflow, as a user without constraints would.

    :raises Failed: it cannot be resolved, or the versions contradict one another.
    """
    uv = os.environ["UV"]
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    extras = ",".join(project()["optional-dependencies"])
    wanted = [f"{wheel}[{extras}]", f"apache-airflow=={one.airflow}", *AIRFLOW_NEEDS.get(one.airflow, ())]
    install = [uv, "pip", "install", "-q", "-p", str(one.folder / "venv" / "bin" / "python")]
    do(one, [uv, "venv", "-q", "-p", python, str(one.folder / "venv")])
    if not one.lowest:
        do(one, [*install, *wanted, *groups["demo"], "pytest", "hypothesis"])
    else:
        # The oldest Airflow takes every minimum as it is declared, newer ones may ask for more. What the demo and the
        # tests need besides may be newer.
        oldest = f"apache-airflow>={one.airflow}" in declared()
        minimums = [requirement.replace(">=", "==") if oldest else requirement for requirement in declared()]
        do(one, [*install, "--resolution", "lowest-direct", *wanted, *minimums])
        pins = one.folder / "lowest.txt"
        names = (re.split(r"[<>=!~\[; ]", requirement)[0] for requirement in declared())
        pins.write_text("".join(f"{name}=={version_of(one, name)}\n" for name in names))
        do(one, [*install, "-c", str(pins), "--group", f"{one.folder / 'pyproject.toml'}:test"])
    do(one, [uv, "pip", "check", "-q", "-p", str(one.folder / "venv" / "bin" / "python")])


def declared() -> list[str]:
    """What the package needs, as pyproject.toml says it."""
    extras = project()["optional-dependencies"].values()
    return [*project()["dependencies"], *(one for extra in extras for one in extra)]


def project() -> dict[str, Any]:
    """The table ``project`` of pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return table


def version_of(one: Combination, name: str) -> str:
    """The version of a package in an environment."""
    return python_in(one, "-c", f"from importlib.metadata import version; print(version('{name}'))").strip()


def installed_versions(one: Combination) -> str:
    """The versions that tell environments apart."""
    return ", ".join(version_of(one, name) for name in SHOWN)


def use(one: Combination) -> str:
    """Run the sample DAG in both suites, ask Airflow of the provider, and run few tests, or on the lowest versions all.

    :return: what was done.
    :raises Failed: something did not work.
    """
    place = python_in(one, "-c", "import airflow_provider_wxbank as p; print(p.__file__)")
    if "site-packages" not in place:
        raise Failed(f"the package is not the wheel's: {place.strip()}")
    # The tests of an extra that is missing would be skipped.
    python_in(one, "-c", EXTRAS_BRING)
    for suite in ("rsa", "sm2"):
        demo = python_in(one, "-m", "tools.demo", SUITE=suite)
        if not re.search(r"digests of both sets +equal", demo):
            raise Failed(f"the demo in {suite} says nothing of digests")
        log = re.sub(r"\x1b\[[0-9;]*m", "", (one.folder / ".demo" / "airflow.log").read_text("utf-8"))
        log = OF_AIRFLOW.sub("", log)
        if complaint := next(filter(COMPLAINT.search, log.splitlines()), None):
            raise Failed(f"a complaint in {suite}: {complaint}")
    home = {"AIRFLOW_HOME": str(one.folder / ".demo")}
    if "airflow-provider-wxbank" not in python_in(one, "-m", "airflow", "providers", "list", **home):
        raise Failed("`airflow providers list` does not list the provider")
    if "airflow-provider-wxbank" not in python_in(one, "-m", "airflow", "info", **home):
        raise Failed("`airflow info` does not list the provider")
    # Old versions warn of one another; only a warning in this package is an error.
    ours = "filterwarnings=error:::airflow_provider_wxbank"
    tests = python_in(
        one, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", ours, *(TESTS if one.lowest else FEW_TESTS)
    )
    extent = "all" if one.lowest else "few"
    return f"DAG in both suites, provider, {extent} tests: {SUMMARY.findall(tests)[-1]}"


def python_in(one: Combination, *arguments: str, **variables: str) -> str:
    """Run the Python of an environment in its folder; what it printed.

    :raises Failed: it did not end well.
    """
    return do(one, [str(one.folder / "venv" / "bin" / "python"), *arguments], **variables)


def do(one: Combination, command: list[str], **variables: str) -> str:
    """Run a command in the folder of a combination; what it printed.

    :raises Failed: it did not end well.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON", "VIRTUAL"))}
    code, output = run(["env", "-C", str(one.folder), *command], {**env, "COLUMNS": "200", **variables})
    if code:
        log = one.folder / "failed.log"
        log.write_text(output)
        print(output[-4000:])
        raise Failed(f"{' '.join(Path(word).name for word in command[:4])} ended with {code}")
    return output


if __name__ == "__main__":
    end_with(main, sys.argv[1:])
