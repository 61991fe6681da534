# SPDX-License-Identifier: Apache-2.0
"""Gather all that installs this package into one Airflow and Python without an index, and check that it does.

The versions are those of a constraints file. Each file is compared with the index's digest when it is downloaded; the
requirements have the digests of the files that are there, so an altered one is refused by pip. ``tools.offline`` then
uses the folder as its README says. Set UV to the path of ``uv``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import parse_wheel_filename

from tests.harness.terminal import end_with, say
from tools.matrix import interpreter
from tools.offline import Failed, do, use
from tools.release import DIST, NAME, ROOT, build, check_bill, check_files, refused, released_version, write_bill

PROJECT = "airflow-provider-wxbank"
GLIBC = (2, 28)
"""The oldest C library that the wheels are for: that of RHEL 8, openEuler 20.03 and Kylin V10."""

SOURCES = ("python-nvd3",)
"""What is on the index as source alone, and becomes a wheel for every system: Airflow 2.11 needs it."""

_OLD_TAGS = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_ADDRESS = re.compile(r"\w+://\S+|\S*\.org\b\S*")

README = """# {project} {version} for Airflow {airflow} and Python {python}

Everything that installs it without a package index, for Linux on {machine} with glibc {glibc} or later: Apache Airflow,
{project}{extras}, and what they need{also}. {count} wheels.

In this folder, check the files and install them into a new environment:

```console
$ sha256sum --check --quiet SHA256SUMS
$ test "$(ls -A | wc -l)" -eq "$(($(wc -l < SHA256SUMS) + 1))"
$ python{python} -m venv ~/airflow-wxbank
$ ~/airflow-wxbank/bin/pip install --no-index --find-links . --require-hashes -r requirements.txt
$ ~/airflow-wxbank/bin/airflow providers list
```

The second line fails if there is a file that `SHA256SUMS` does not list. `requirements.txt` has the SHA-256 of every
wheel, and pip refuses one that was altered. Have `SHA256SUMS` itself from somebody whom you trust.

Into an Airflow that you have, of the same version, check the files with the first two lines, then install the package
alone. pip takes from this folder what is missing there, or too old, and here compares no digests:

```text
pip install --no-index --find-links . '{project}{extras}'
```

| file | is |
|---|---|
| `*.whl` | the wheels |
| `requirements.txt` | all of them by version and SHA-256, for pip |
| `SHA256SUMS` | all files, for `sha256sum --check` |
| `{bill}` | the bill of materials (CycloneDX) of what is installed |
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be installed.

    :param interpreter: path of a Python of the version that it is for.
    :param python: that version, such as ``3.11``.
    :param also: requirements besides, such as providers of databases.
    """

    airflow: str
    interpreter: str
    python: str
    extras: tuple[str, ...]
    also: tuple[str, ...]
    constraints: Path

    @property
    def folder(self) -> str:
        """What the folder is called."""
        return f"wheelhouse-airflow-{self.airflow}-python{self.python}"

    @property
    def brackets(self) -> str:
        """The extras behind the name of the package."""
        return f"[{','.join(self.extras)}]" if self.extras else ""


def main(arguments: Sequence[str]) -> int:
    """Exit code: 0 if the folder is in ``dist`` and installs."""
    try:
        wanted = read(arguments)
        version, date = released_version((ROOT / "CHANGELOG.md").read_text("utf-8"))
        with tempfile.TemporaryDirectory(prefix="wxbank-wheelhouse-") as name:
            scratch = Path(name)
            folder = scratch / wanted.folder
            _, wheel = build(ROOT, scratch / "dist", date)
            say(f"Downloading Airflow {wanted.airflow} and what {PROJECT}{wanted.brackets} needs on {wanted.python}")
            download(wanted, folder, scratch)
            shutil.copy(wheel, folder)
            bill = fill(folder, wanted, version, scratch)
            if complaints := [*check_texts(folder), *check_bill(bill, version, wanted.extras)]:
                return refused(complaints)
            say("Installing it with no index within reach, as its README says")
            use(folder, wanted.interpreter, wanted.python, wanted.extras, scratch)
            shutil.rmtree(DIST / wanted.folder, ignore_errors=True)
            DIST.mkdir(exist_ok=True)
            shutil.move(folder, DIST)
    except Failed as failure:
        print(failure)
        return 1
    files = list((DIST / wanted.folder).iterdir())
    say(f"dist/{wanted.folder}: {len(files)} files, {sum(one.stat().st_size for one in files):,} bytes; it installs")
    return 0


def read(arguments: Sequence[str]) -> Wanted:
    """What the command line asks for.

    :raises Failed: it cannot be had.
    """
    parser = argparse.ArgumentParser(prog="tools.wheelhouse")
    for name in ("airflow", "python", "extras", "also", "constraints"):
        parser.add_argument(f"--{name}", default="")
    given = parser.parse_args(arguments)
    extras = tuple(sorted(set(re.split(r"[\s,]+", given.extras)) - {""}))
    there = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    if unknown := set(extras) - set(there):
        raise Failed(f"EXTRAS={given.extras}: no extra {', '.join(sorted(unknown))}; there are {', '.join(there)}")
    constraints = Path(given.constraints or ROOT / "constraints" / f"airflow-{given.airflow}.txt")
    if not constraints.is_file():
        raise Failed(
            f"AIRFLOW={given.airflow}: {constraints.name} is not there; give the versions with CONSTRAINTS=FILE, "
            "for example what `pip freeze` prints in an Airflow of yours"
        )
    version = re.fullmatch(r"python(\d\.\d+)", given.python)
    found = interpreter(version[1]) if version else shutil.which(given.python)
    if found is None:
        raise Failed(f"PYTHON={given.python}: there is no such interpreter on this machine")
    # Not the path that was found: that may be a script which chooses among interpreters.
    code = "import sys; print(sys.executable, *sys.version_info[:2])"
    path, major, minor = do([found, "-c", code]).split()
    return Wanted(given.airflow, path, f"{major}.{minor}", extras, tuple(given.also.split()), constraints)


def download(wanted: Wanted, folder: Path, scratch: Path) -> None:
    """Fill a folder with the wheels of others, in the versions of the constraints.

    :raises Failed: they contradict each other, or there is no wheel.
    """
    lock, built = scratch / "lock.txt", scratch / "built.txt"
    machine = platform.machine()
    resolve = [
        os.environ["UV"], "pip", "compile", "-q", "-p", wanted.interpreter, "--generate-hashes", "--only-binary=:all:",
        *(f"--no-binary={name}" for name in SOURCES),
        f"--python-platform={machine}-manylinux_{GLIBC[0]}_{GLIBC[1]}", "--no-header", "--no-annotate",
        "--no-emit-index-url", "--no-emit-find-links", "-c", str(wanted.constraints), "-o", str(lock),
        *(f"--extra={extra}" for extra in wanted.extras), str(ROOT / "pyproject.toml"), "-",
    ]  # fmt: skip
    do(resolve, stdin="\n".join([f"apache-airflow=={wanted.airflow}", *wanted.also]))
    whole = re.split(r"^(?=\w)", lock.read_text(), flags=re.MULTILINE)
    built.write_text("".join(one for one in whole if one.startswith(SOURCES)))
    lock.write_text("".join(one for one in whole if not one.startswith(SOURCES)))
    do([wanted.interpreter, "-m", "venv", str(scratch / "pip")])
    pip, hashed = str(scratch / "pip/bin/pip"), ("-q", "--no-deps", "--require-hashes")
    tags = [f"--platform={tag}" for tag in platforms(machine)]
    do([pip, "download", *hashed, "--only-binary=:all:", *tags, "--dest", str(folder), "-r", str(lock)])
    do([pip, "wheel", *hashed, "--wheel-dir", str(folder), "-r", str(built)])


def platforms(machine: str) -> Iterator[str]:
    """The tags of wheels that run with such a C library, newest first."""
    major, newest = GLIBC
    for minor in range(newest, 4, -1):
        yield f"manylinux_{major}_{minor}_{machine}"
        if minor in _OLD_TAGS:
            yield f"{_OLD_TAGS[minor]}_{machine}"


def fill(folder: Path, wanted: Wanted, version: str, scratch: Path) -> Path:
    """Write what belongs to the wheels in a folder.

    :return: the bill of materials.
    """
    bill = folder / f"{NAME}-{version}.cdx.json"
    (folder / "requirements.txt").write_text(requirements(folder, wanted), "utf-8")
    venv = scratch / "bill"
    do([os.environ["UV"], "venv", "-q", "-p", wanted.interpreter, str(venv)])
    do(
        [
            os.environ["UV"], "pip", "install", "-q", "--offline", "--no-index", "--find-links", str(folder),
            "--require-hashes", "-p", str(venv / "bin/python"), "-r", str(folder / "requirements.txt"),
        ]
    )  # fmt: skip
    write_bill(bill, venv, version)
    (folder / "README.md").write_text(readme(folder, wanted, version, bill.name), "utf-8")
    (folder / "SHA256SUMS").write_text(sums(folder), "utf-8")
    return bill


def requirements(folder: Path, wanted: Wanted) -> str:
    """All wheels of a folder by version and digest, in the form of pip's --require-hashes."""
    lines = [f"# {PROJECT} for Airflow {wanted.airflow} and Python {wanted.python}; made by: make wheelhouse"]
    for wheel in sorted(folder.glob("*.whl")):
        name, version, _, _ = parse_wheel_filename(wheel.name)
        extras = wanted.brackets if name == PROJECT else ""
        lines.append(f"{name}{extras}=={version} --hash=sha256:{digest(wheel)}")
    return "\n".join(lines) + "\n"


def sums(folder: Path) -> str:
    """All files of a folder by digest, in the form of sha256sum."""
    return "".join(f"{digest(path)}  {path.name}\n" for path in sorted(folder.iterdir()) if path.name != "SHA256SUMS")


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def readme(folder: Path, wanted: Wanted, version: str, bill: str) -> str:
    """How the files of a folder are installed."""
    return README.format(
        project=PROJECT, version=version, airflow=wanted.airflow, python=wanted.python, machine=platform.machine(),
        glibc=".".join(map(str, GLIBC)), extras=wanted.brackets, bill=bill, count=len(list(folder.glob("*.whl"))),
        also="".join(f", {one}" for one in wanted.also),
    )  # fmt: skip


def check_texts(folder: Path) -> Iterator[str]:
    """Which files that are written here say where their wheels came from, or what no file may have."""
    for path in sorted(folder.iterdir()):
        if path.suffix not in (".whl", ".json"):
            text = path.read_text("utf-8")
            yield from (f"{path.name} has the address {address}" for address in _ADDRESS.findall(text))
            yield from check_files({path.name: text.encode()})


if __name__ == "__main__":
    end_with(main, sys.argv[1:])
