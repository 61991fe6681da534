"""What `make build` refuses to release."""

from __future__ import annotations

import pytest

import airflow_provider_wxbank
from tests.vectors import VECTORS
from tools.release import ROOT, check_files, released_version


def test_the_newest_version_of_the_changelog_is_the_packages() -> None:
    version, _ = released_version((ROOT / "CHANGELOG.md").read_text("utf-8"))
    assert version == airflow_provider_wxbank.__version__


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
