# SPDX-License-Identifier: Apache-2.0
"""Packages with signers of their own, as others write them: installed into a folder, found by their entry points."""

from __future__ import annotations

from pathlib import Path

import pytest

SLOW = '''
import os, time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from airflow_provider_wxbank.wechatpay.crypto.keys import read_public_key

@dataclass(frozen=True)
class Signer:
    """Signs with a key in a file: late, or once a file is there; it says that it has begun by another one."""
    serial_no: str
    public_key: object
    about: str
    key: object
    options: dict

    def sign(self, message):
        if "raises" in self.options:
            raise ValueError(f"quotes the secret {self.options['raises']}")
        time.sleep(float(self.options.get("seconds", 0)))
        if "until" in self.options:
            begun = Path(self.options["until"] + ".begun")
            begun.touch()
            deadline = time.monotonic() + 20
            while not Path(self.options["until"]).exists():
                if time.monotonic() > deadline:
                    raise TimeoutError
                time.sleep(0.01)
        return self.key.sign(message, PKCS1v15(), SHA256())

def signer(uri, values):
    parts = urlsplit(uri)
    if "opening" in dict(parse_qsl(parts.query)):
        raise KeyError("quotes the secret " + values["merchant_private_key_token"])
    key = load_pem_private_key(Path(parts.path).read_bytes(), None)
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Signer(values["merchant_serial_no"], read_public_key(der), f"a slow one with {sorted(values)}", key,
                  dict(parse_qsl(parts.query)))
'''


def install(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    code: str,
    points: str,
    group: str = "airflow_provider_wxbank.signers",
) -> None:
    """Install a package of one module.

    :param points: its entry points, a line each.
    """
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(code)
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[{group}]\n{points}\n")
    monkeypatch.syspath_prepend(str(folder))


@pytest.fixture
def slow_signers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installs the signer for ``slow:``."""
    install(tmp_path / "site", monkeypatch, "slow_signers", SLOW, "slow = slow_signers:signer")
