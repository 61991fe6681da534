# SPDX-License-Identifier: Apache-2.0
"""What `make build` refuses to release."""

from __future__ import annotations

import email.message
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import airflow_provider_wxbank
from tests.vectors import VECTORS
from tools.release import ROOT, check_files, check_metadata, homeless, released_version, without_addresses

GITHUB = "github" + ".com"
"""In two pieces, since this file, too, must have no address of a project."""

MADE = {"build", "dist", "_build", "venv", "__pycache__"}
"""Folders that are no part of the project, as are those that begin with a dot."""


def test_the_newest_version_of_the_changelog_is_the_packages() -> None:
    (version, date), chinese = (
        released_version((ROOT / name).read_text("utf-8")) for name in ("CHANGELOG.md", "CHANGELOG.zh-CN.md")
    )
    assert version == airflow_provider_wxbank.__version__
    assert chinese == (version, date)


@pytest.mark.parametrize(
    ("name", "data", "complaint"),
    [
        ("p/a.txt", VECTORS["keys"]["merchant_private_pkcs8"].encode(), "p/a.txt has a private key"),
        ("p/a.py", b"KEY = '''" + VECTORS["keys"]["merchant_private_pkcs8"].encode(), "p/a.py has a private key"),
        ("p/a.py", b"https://index.example:s3cret@host.example/simple", "p/a.py has credentials in a URL"),
        ("p/a.py", f"{ROOT}/dags".encode(), "p/a.py has a path of this machine"),
        ("p/tests/a.py", b"", "p/tests/a.py must not be there"),
        ("p/__pycache__/a.py", b"", "p/__pycache__/a.py must not be there"),
        ("p/.env", b"", "p/.env must not be there"),
        ("p/a.csv", b"", "p/a.csv is of a kind that nobody expects"),
    ],
)
def test_what_is_not_for_others_is_not_released(name: str, data: bytes, complaint: str) -> None:
    assert complaint in list(check_files({name: data}))


def test_a_placeholder_is_no_secret() -> None:
    assert list(check_files({"p/a.py": b'"-----BEGIN PRIVATE KEY-----", "https://api.mch.weixin.qq.com"'})) == []


def project_files() -> Iterator[Path]:
    """The files of the project, also where they are no checkout of git."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [one for one in folders if one == ".ci" or (one not in MADE and not one.startswith("."))]
        yield from (Path(folder, name) for name in names)


def test_no_file_names_a_home_that_anybody_could_register() -> None:
    seen = {path.relative_to(ROOT).as_posix(): list(homeless(path.read_bytes())) for path in project_files()}
    assert {"pyproject.toml", "README.md", "CHANGELOG.md", "docs/index.md", "tools/release.py"} <= seen.keys()
    assert {name: addresses for name, addresses in seen.items() if addresses} == {}


@pytest.mark.parametrize(
    "address",
    [
        f"https://{GITHUB}/airflow-provider-wxbank/airflow-provider-wxbank",
        f"https://{GITHUB}/no-such-owner",
        f"HTTPS://{GITHUB.upper()}/No-Such-Owner/x",
        f"git@{GITHUB}:airflow-provider-wxbank/x.git",
        "https://raw.github" + "usercontent.com/airflow-provider-wxbank/x/main/docs/x.json",
        "https://gitlab" + ".com/airflow-provider-wxbank",
        "https://gitee" + ".com/airflow-provider-wxbank/x",
        "https://airflow-provider-wxbank.github" + ".io/docs",
        "https://airflow-provider-wxbank.readthedocs" + ".io",
        "https://pypi" + ".org/project/airflow-provider-wxbank/",
    ],
)
def test_an_address_that_anybody_could_register_is_not_released(address: str) -> None:
    (complaint,) = check_files({"p/README.md": f"[Source]({address})".encode()})
    assert "which anybody could register" in complaint


@pytest.mark.parametrize(
    "text", [f"https://{GITHUB}/apache/airflow", "urn:airflow-provider-wxbank:1.0.0", "https://airflow.apache.org"]
)
def test_the_address_of_a_project_that_exists_may_be_cited(text: str) -> None:
    assert list(check_files({"p/README.md": text.encode()})) == []


def test_a_bill_has_no_addresses_of_what_it_lists() -> None:
    tool = {"name": "t", "externalReferences": [{"type": "website", "url": f"https://{GITHUB}/no-such-owner"}]}
    part = {"name": "c", "purl": "pkg:pypi/c@1", "externalReferences": []}
    bill = {"metadata": {"tools": {"components": [tool]}}, "components": [part]}
    assert without_addresses(bill) == {
        "metadata": {"tools": {"components": [{"name": "t"}]}},
        "components": [{"name": "c", "purl": "pkg:pypi/c@1"}],
    }


def test_metadata_with_a_home_is_not_released() -> None:
    metadata = email.message.Message()
    metadata["Project-URL"] = "Documentation, https://wxbank.example/docs"
    complaints = list(check_metadata(metadata, "1.0.0"))
    assert "Documentation, https://wxbank.example/docs is no home: this project has none yet" in complaints
