# SPDX-License-Identifier: Apache-2.0
"""What `make wheelhouse` writes beside the wheels, and the container file that is made from them.

That a whole one installs without an index, `make wheelhouse` shows itself each time: it needs one to begin with.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from airflow_provider_wxbank.simulator.__main__ import _parser
from airflow_provider_wxbank.simulator.options import DEFAULT_PORT
from tools.offline import CONTAINER_NEEDS, CONTAINERFILE, Failed, refuse_altered, steps, without_index
from tools.release import NAME, ROOT
from tools.wheelhouse import Wanted, check_texts, platforms, read, readme, requirements, sums

VERSION = "1.2.3"


@pytest.fixture
def wanted() -> Wanted:
    constraints = ROOT / "constraints" / "airflow-3.3.2.txt"
    return Wanted("3.3.2", sys.executable, "3.11", ("parquet", "shangmi"), ("some-provider",), constraints)


def add_wheel(folder: Path, name: str, *needs: str) -> None:
    """A wheel with one module, which is called as it is."""
    info = f"{name}-{VERSION}.dist-info"
    metadata = [f"Name: {name}", f"Version: {VERSION}", "Provides-Extra: parquet", "Provides-Extra: shangmi"]
    with zipfile.ZipFile(folder / f"{name}-{VERSION}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(
            f"{info}/METADATA",
            "\n".join(["Metadata-Version: 2.1", *metadata, *(f"Requires-Dist: {one}" for one in needs), "", ""]),
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def folder(wanted: Wanted, tmp_path: Path) -> Path:
    """A wheelhouse with two small wheels."""
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    add_wheel(folder, NAME, 'wxbank_helper>=1; extra == "parquet"')
    add_wheel(folder, "wxbank_helper")
    (folder / "requirements.txt").write_text(requirements(folder, wanted))
    (folder / "README.md").write_text(readme(folder, wanted, VERSION, "bill.cdx.json"))
    (folder / "SHA256SUMS").write_text(sums(folder))
    return folder


@pytest.fixture(scope="module")
def pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pip of a new environment."""
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    return venv / "bin" / "pip"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "home").mkdir()
    return without_index(tmp_path / "home")


def test_it_installs_by_its_digests_with_no_index(folder: Path, pip: Path, env: dict[str, str]) -> None:
    (command,) = re.findall(r"(?m)^\$ ~/airflow-wxbank/bin/pip (.*)$", (folder / "README.md").read_text())
    subprocess.run([pip, *command.split()], cwd=folder, env=env, check=True, capture_output=True)
    subprocess.run([pip.parent / "python", "-c", f"import {NAME}, wxbank_helper"], cwd=folder, env=env, check=True)


def test_an_altered_wheel_is_refused(folder: Path, pip: Path, env: dict[str, str], tmp_path: Path) -> None:
    refuse_altered(folder, pip, tmp_path / "altered", env)


def test_without_digests_an_altered_wheel_would_be_noticed_by_nobody(
    folder: Path, pip: Path, env: dict[str, str], tmp_path: Path
) -> None:
    names = re.sub(r" --hash=\S+", "", (folder / "requirements.txt").read_text())
    (folder / "requirements.txt").write_text(names)
    with pytest.raises(Failed, match="or refused it for another reason"):
        refuse_altered(folder, pip, tmp_path / "altered", env)


def test_the_sums_are_of_every_file(folder: Path) -> None:
    check = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    listed = {line.split()[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}
    assert subprocess.run(check, cwd=folder, check=False).returncode == 0
    (folder / "README.md").write_text("altered")
    assert subprocess.run(check, cwd=folder, check=False, capture_output=True).returncode == 1


def test_it_says_what_is_in_it(folder: Path) -> None:
    text = " ".join((folder / "README.md").read_text().split())
    assert "airflow-provider-wxbank 1.2.3 for Airflow 3.3.2 and Python 3.11" in text
    assert "airflow-provider-wxbank[parquet,shangmi], and what they need, some-provider. 2 wheels." in text
    assert f"airflow-provider-wxbank[parquet,shangmi]=={VERSION} " in (folder / "requirements.txt").read_text()


def test_nothing_in_it_says_where_the_wheels_came_from(folder: Path) -> None:
    assert list(check_texts(folder)) == []
    with (folder / "requirements.txt").open("a") as file:
        file.write("--index-url https://index.example/simple\n")
    assert list(check_texts(folder)) == ["requirements.txt has the address https://index.example/simple"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--airflow=3.3.2", "--extras=parquet,nosuch"], "no extra nosuch; there are simulator, shangmi"),
        (["--airflow=9.9.9"], "AIRFLOW=9.9.9: airflow-9.9.9.txt is not there; give the versions with CONSTRAINTS=FILE"),
        (["--airflow=3.3.2", "--python=python9"], "PYTHON=python9: there is no such interpreter"),
    ],
)
def test_what_cannot_be_had_is_told(arguments: list[str], message: str) -> None:
    with pytest.raises(Failed, match=re.escape(message)):
        read(arguments)


def test_what_is_asked_for_is_read() -> None:
    asked = ["--airflow=2.11.2", f"--python={sys.executable}", "--extras=shangmi parquet,", "--also=a b[c]"]
    one = read(asked)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert (one.extras, one.also, one.constraints.name) == (("parquet", "shangmi"), ("a", "b[c]"), "airflow-2.11.2.txt")
    assert one.folder == f"wheelhouse-airflow-2.11.2-python{version}"


def test_wheels_are_for_old_systems_too() -> None:
    tags = list(platforms("x86_64"))
    assert tags[0] == "manylinux_2_28_x86_64"
    assert {"manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64"} < set(tags)


def test_the_container_has_what_the_simulator_needs_and_no_more() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = [one for extra in CONTAINER_NEEDS for one in project["optional-dependencies"][extra]]
    names = {re.split(r"[<>=]", one)[0] for one in needed} | {"cryptography"}
    *_, needs, ours = (
        one.partition("--find-links /wheels")[2] for one in steps(CONTAINERFILE.read_text("utf-8"), "RUN")
    )
    assert set(needs.split()) == names
    assert ours.split() == ["--no-deps", "airflow-provider-wxbank"]


def test_the_container_starts_the_simulator_for_its_port() -> None:
    text = CONTAINERFILE.read_text("utf-8")
    (entry,) = steps(text, "ENTRYPOINT")
    command, *options = json.loads(entry)
    assert command.endswith("/bin/wxbank-simulator")
    assert _parser().parse_args(options).all_interfaces
    assert list(steps(text, "EXPOSE")) == [str(DEFAULT_PORT)]
