# SPDX-License-Identifier: Apache-2.0
"""Build wheel, sdist and bill of materials into ``dist``, and check them as those who install them would.

The sdist is built from this checkout and the wheel from the sdist. Both are built again from the unpacked sdist,
elsewhere and with other file modes, and must come out the same, byte for byte. Set UV to the path of ``uv``.
"""

from __future__ import annotations

import email.message
import email.parser
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from email.policy import default
from pathlib import Path, PurePosixPath
from typing import Any

from tests.harness.terminal import say

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
NAME = "airflow_provider_wxbank"
CONSTRAINTS = ROOT / "constraints" / "airflow-3.3.2.txt"
BROUGHT = {"parquet": "pyarrow", "pkcs11": "python-pkcs11", "shangmi": "gmssl-pyx"}
"""Extras, and what each brings."""

WHEEL_BYTES = 500_000
SDIST_BYTES = 2_000_000

# What each archive must have, whatever else of the package is in it.
IN_WHEEL = (
    f"{NAME}/__init__.py",
    f"{NAME}/py.typed",
    f"{NAME}/packages/bank_types.txt",
    "/METADATA",
    "/licenses/LICENSE",
)
IN_SDIST = ("/pyproject.toml", "/README.md", "/CHANGELOG.md", "/SECURITY.md", "/LICENSE", "/PKG-INFO", *IN_WHEEL[:3])
TOP_OF_SDIST = {
    NAME, "dags", "docs", "pyproject.toml", "LICENSE", "PKG-INFO", ".gitignore",
    "README.md", "README.zh-CN.md", "CHANGELOG.md", "CHANGELOG.zh-CN.md", "SECURITY.md", "SECURITY.zh-CN.md",
}  # fmt: skip
SUFFIXES = {
    ".py", ".typed", ".txt", ".md", ".toml", ".svg", ".png", ".html", ".css", ".js", ".json", ".yaml", ".woff2", "",
}  # fmt: skip

OWNERS = {b"apache", b"wechatpay-apiv3"}
"""Who may be named in an address of a code host: those that exist. This project has no home yet."""

# Where anybody may register a name that nobody has: owners of repositories, subdomains for pages, packages of an index.
_ADDRESS = re.compile(
    rb"\b(?:github\.com|githubusercontent\.com|gitlab\.com|gitee\.com|bitbucket\.org|codeberg\.org)[/:]([\w.-]+)"
    rb"|\b([\w-]+)\.(?:github\.io|gitlab\.io|gitee\.io|readthedocs\.io|readthedocs\.org|pages\.dev)\b"
    rb"|\bpypi\.org/(?:project|p)/([\w.-]+)",
    re.IGNORECASE,
)
_FORBIDDEN_PART = re.compile(
    r"tests?|tools|constraints|__pycache__|_build|dist|\.(?!gitignore$).*|.*\.(pyc|pem|key|env)"
)
_HEADING = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})$", re.MULTILINE)
_SECRETS = {
    # A placeholder has the first line of a key alone.
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:\s|\\n)*[A-Za-z0-9+/=]{40}"),
    "an access key": re.compile(rb"\b(?:AKIA[0-9A-Z]{16}|ghp_[A-Za-z0-9]{36}|pypi-AgE[A-Za-z0-9_-]{20})"),
    "credentials in a URL": re.compile(rb"https?://[\w.-]+:[^\s@/$<>{}]+@[\w.-]+\.\w"),
}


def main() -> int:
    """Exit code: 0 if everything is in ``dist`` and in order."""
    # Files alone: its folders are wheelhouses.
    for old in filter(Path.is_file, DIST.glob("*")):
        old.unlink()
    version, date = released_version((ROOT / "CHANGELOG.md").read_text("utf-8"))
    with tempfile.TemporaryDirectory(prefix="wxbank-release-") as scratch:
        archives = build(ROOT, DIST, date)
        say("Building both again from the unpacked sdist")
        again = build(unpacked(archives, Path(scratch)), Path(scratch, "again"), date, umask=0o077)
        complaints = [
            *(f"{path.name} is not the same when built again" for path in archives if not same(path, again)),
            *(f"{path.name}: {what}" for path in archives for what in check(path, version)),
        ]
        if complaints:
            return refused(complaints)
        subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *archives], check=True)
        say("Making the bill of materials of what the wheel installs, in the versions that are tested")
        bill = DIST / f"{NAME}-{version}.cdx.json"
        make_bill(bill, archives, Path(scratch, "venv"), version)
        if complaints := [f"{bill.name}: {what}" for what in check_bill(bill, version)]:
            return refused(complaints)
    for path in (*archives, bill):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        print(f"    {path.stat().st_size:>9,} bytes  sha256 {digest}  {path.name}")
    say(f"Version {version} is in dist, built twice with the same bytes and checked")
    return 0


def refused(complaints: list[str]) -> int:
    """Print why nothing is to be released."""
    print("\n".join(f"    {complaint}" for complaint in complaints))
    say("Not to be released")
    return 1


def released_version(changelog: str) -> tuple[str, datetime]:
    """The newest version of the changelog, and its date.

    :raises ValueError: there is none.
    """
    newest = _HEADING.search(changelog)
    if newest is None:
        raise ValueError("CHANGELOG.md has no heading like: ## [1.0.0] - 2026-11-24")
    return newest[1], datetime.strptime(newest[2], "%Y-%m-%d").replace(tzinfo=UTC)


def build(source: Path, target: Path, date: datetime, umask: int = 0o022) -> list[Path]:
    """Build sdist and wheel of a folder.

    :param date: what files in the archives bear.
    :return: sdist and wheel.
    """
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", target, source],
        check=False, capture_output=True, text=True, umask=umask,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(int(date.timestamp()))},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{done.stdout}{done.stderr}\nIt cannot be built")
    return [*target.glob("*.tar.gz"), *target.glob("*.whl")]


def unpacked(archives: list[Path], scratch: Path) -> Path:
    """The folder that an sdist becomes."""
    with tarfile.open(archives[0]) as archive:
        archive.extractall(scratch, filter="data")
    return scratch / archives[0].name.removesuffix(".tar.gz")


def same(path: Path, others: list[Path]) -> bool:
    """Whether an archive of the same name has the same bytes."""
    return any(path.name == other.name and path.read_bytes() == other.read_bytes() for other in others)


def contents(path: Path) -> dict[str, bytes]:
    """The files of a wheel or an sdist."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(path) as sdist:
        return {one.name: file.read() for one in sdist.getmembers() if (file := sdist.extractfile(one)) is not None}


def check(path: Path, version: str) -> Iterator[str]:
    """What is wrong with a wheel or an sdist."""
    files = contents(path)
    is_wheel = path.suffix == ".whl"
    if not path.name.startswith(f"{NAME}-{version}"):
        yield f"CHANGELOG.md says {version}"
    if path.stat().st_size > (bound := WHEEL_BYTES if is_wheel else SDIST_BYTES):
        yield f"{path.stat().st_size:,} bytes are more than {bound:,}"
    for expected in IN_WHEEL if is_wheel else IN_SDIST:
        if not any(name.endswith(expected) for name in files):
            yield f"{expected} is missing"
    tops = {NAME, f"{NAME}-{version}.dist-info"} if is_wheel else TOP_OF_SDIST
    for name in files:
        if PurePosixPath(name).parts[0 if is_wheel else 1] not in tops:
            yield f"{name} does not belong there"
    yield from check_package(files, "" if is_wheel else f"{NAME}-{version}/")
    yield from check_files(files)
    (metadata,) = [text for name, text in files.items() if name.endswith(("/METADATA", "/PKG-INFO"))]
    yield from check_metadata(email.parser.BytesParser(policy=default).parsebytes(metadata), version)


def check_package(files: Mapping[str, bytes], prefix: str) -> Iterator[str]:
    """Which files of the package are missing, too many, or not as they are here."""
    here = {
        path.relative_to(ROOT).as_posix(): path.read_bytes()
        for path in (ROOT / NAME).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    there = {name.removeprefix(prefix): data for name, data in files.items() if name.startswith(f"{prefix}{NAME}/")}
    for name in sorted(here.keys() | there.keys()):
        if here.get(name) != there.get(name):
            yield f"{name} is not as it is in the checkout"


def check_files(files: Mapping[str, bytes]) -> Iterator[str]:
    """Which files must not be in an archive, by their names or by what is in them."""
    private = [os.fsencode(ROOT), os.fsencode(Path.home()) + b"/", os.fsencode(tempfile.gettempdir()) + b"/"]
    for name, data in files.items():
        path = PurePosixPath(name)
        if any(_FORBIDDEN_PART.fullmatch(part) for part in path.parts):
            yield f"{name} must not be there"
        if path.suffix not in SUFFIXES and path.name not in ("RECORD", "WHEEL", ".gitignore"):
            yield f"{name} is of a kind that nobody expects"
        yield from (f"{name} has {what}" for what, pattern in _SECRETS.items() if pattern.search(data))
        yield from (f"{name} has a path of this machine" for one in private if one in data)
        yield from (f"{name} has {address}, which anybody could register" for address in homeless(data))


def homeless(data: bytes) -> Iterator[str]:
    """The addresses in a text whose owner is not known to exist."""
    for found in _ADDRESS.finditer(data):
        if next(filter(None, found.groups())).lower() not in OWNERS:
            yield found[0].decode("ascii", "replace")


def check_metadata(metadata: email.message.Message, version: str) -> Iterator[str]:
    """What is wrong with the metadata of an archive, beyond what twine checks."""
    expected = {
        "Name": "airflow-provider-wxbank",
        "Version": version,
        "License-Expression": "Apache-2.0",
        "Requires-Python": ">=3.11",
        "Description-Content-Type": "text/markdown",
    }
    for name, value in expected.items():
        if metadata[name] != value:
            yield f"{name} is {metadata[name]}, not {value}"
    for one in (*metadata.get_all("Project-URL", []), *metadata.get_all("Home-page", [])):
        yield f"{one} is no home: this project has none yet"
    classifiers = metadata.get_all("Classifier", [])
    for one in ("Framework :: Apache Airflow :: Provider", "Development Status :: 5 - Production/Stable"):
        if one not in classifiers:
            yield f"no classifier {one}"
    if relative := re.findall(r"\]\((?!https?://|#)([^)\s]+)\)", str(metadata.get_payload())):
        yield f"the README links to {relative[0]}, which is nowhere on an index's page"


def make_bill(bill: Path, archives: list[Path], venv: Path, version: str) -> None:
    """Write the bill of materials of a clean environment with the wheel, in the versions that are tested."""
    uv = os.environ["UV"]
    install = [uv, "pip", "install", "-q", "-p", str(venv / "bin" / "python"), "-c", str(CONSTRAINTS)]
    subprocess.run([uv, "venv", "-q", "-p", sys.executable, venv], check=True)
    # By its name, not its path: otherwise the path is recorded, and would be in the bill.
    subprocess.run(
        [*install, "--no-index", "--no-deps", "--find-links", str(archives[0].parent), f"{NAME}=={version}"], check=True
    )
    subprocess.run([*install, f"{NAME}[{','.join(BROUGHT)}]=={version}"], check=True)
    write_bill(bill, venv, version)


def write_bill(bill: Path, venv: Path, version: str) -> None:
    """Write the CycloneDX bill of materials of an environment, checked by its own validator."""
    # The tool reads the version there and nowhere else.
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    with_version = venv / "pyproject.toml"
    with_version.write_text(re.sub(r"(?m)^dynamic = .*$", f'version = "{version}"', project), "utf-8")
    subprocess.run(
        [
            sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", with_version,
            "--mc-type", "library", "--output-reproducible", "--validate", "--output-format", "JSON",
            "--output-file", bill, venv / "bin" / "python",
        ],
        check=True,
    )  # fmt: skip
    content = json.loads(bill.read_bytes())
    bill.write_text(json.dumps(without_addresses(content), indent=2, ensure_ascii=False) + "\n", "utf-8")


def without_addresses(value: Any) -> Any:
    """A part of a bill without the addresses that authors gave for what they made: anybody may have them by now.

    What a component is, its name, version and purl say.
    """
    match value:
        case dict():
            return {name: without_addresses(one) for name, one in value.items() if name != "externalReferences"}
        case list():
            return [without_addresses(one) for one in value]
    return value


def check_bill(bill: Path, version: str, extras: Collection[str] = tuple(BROUGHT)) -> Iterator[str]:
    """What is wrong with a bill of materials, beyond its form.

    :param extras: those that are installed.
    """
    content = json.loads(bill.read_bytes())
    subject = content["metadata"]["component"]
    if (subject["name"], subject.get("version")) != ("airflow-provider-wxbank", version):
        yield f"it is of {subject['name']} {subject.get('version')}"
    listed = {one["name"].replace("_", "-"): one["version"] for one in content["components"]}
    brought = [BROUGHT[extra] for extra in extras if extra in BROUGHT]
    for name in ("apache-airflow", "cryptography", "requests", "sqlalchemy", *brought):
        if name not in {key.lower() for key in listed}:
            yield f"{name} is missing"
    yield from check_files({bill.name: bill.read_bytes()})


if __name__ == "__main__":
    sys.exit(main())
