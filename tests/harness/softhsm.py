# SPDX-License-Identifier: Apache-2.0
"""SoftHSM 2: a real PKCS#11 module with tokens in a folder, and the tools that a bank has for its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_PLACES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so")
MODULE = next((path for path in _PLACES if Path(path).is_file()), _PLACES[0])

PIN = "Wh8/4815+1623-pin"
"""It looks different in a URI."""
SO_PIN = "So9-99887766-pin"

needs_softhsm = pytest.mark.skipif(
    not all(map(shutil.which, ("softhsm2-util", "pkcs11-tool"))) or not Path(MODULE).is_file(),
    reason="SoftHSM 2 and OpenSC are not installed here",
)
needs_python_pkcs11 = pytest.mark.skipif(
    importlib.util.find_spec("pkcs11") is None, reason="python-pkcs11, the extra pkcs11, is not installed here"
)


@dataclass(frozen=True)
class Hsm:
    """Tokens of one configuration.

    :param folder: with its configuration, and the tokens in ``tokens``.
    """

    folder: Path

    @property
    def tokens(self) -> Path:
        """Where they are."""
        return self.folder / "tokens"

    @property
    def configuration(self) -> Path:
        """What the variable SOFTHSM2_CONF must name."""
        return self.folder / "softhsm2.conf"

    def add_token(self, label: str, pin: str = PIN) -> None:
        """A token more."""
        self._run("softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", SO_PIN)

    def import_key(self, key: RSAPrivateKey, token: str, label: str, key_id: str = "0a1b", pin: str = PIN) -> None:
        """Put a key onto a token, from where it cannot be read again."""
        path = self.folder / "key.pem"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        try:
            self._run(
                "softhsm2-util", "--import", str(path), "--token", token, "--label", label, "--id", key_id, "--pin", pin
            )  # fmt: skip
        finally:
            path.unlink()

    def tool(self, token: str, *arguments: str, pin: str = PIN) -> str:
        """What pkcs11-tool prints, logged in."""
        return self._run("pkcs11-tool", "--module", MODULE, "--token-label", token, "--login", "--pin", pin, *arguments)

    def serial(self, token: str) -> str:
        """The serial number of a token."""
        shown = self._run("pkcs11-tool", "--module", MODULE, "--list-token-slots")
        (part,) = [part for part in shown.split("Slot ") if f"token label        : {token}\n" in part]
        return part.partition("serial num         :")[2].split()[0]

    @contextmanager
    def pulled(self) -> Iterator[None]:
        """All tokens are gone for a while, whatever is done with them meanwhile."""
        away = self.folder / "away"
        self.tokens.rename(away)
        self.tokens.mkdir()
        try:
            yield
        finally:
            self.tokens.rmdir()
            away.rename(self.tokens)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, env={**os.environ, "SOFTHSM2_CONF": str(self.configuration)}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        return done.stdout


def in_hsm(connection: dict[str, Any], uri: str, pin: str = PIN) -> dict[str, Any]:
    """A connection whose key is on a token, and not in it."""
    extra = {name: value for name, value in connection["extra"].items() if name != "merchant_private_key"}
    return {**connection, "extra": {**extra, "merchant_private_key_uri": uri, "merchant_private_key_pin": pin}}


def uri(token: str, label: str = "", pin: str = "", module: str = MODULE, **more: str) -> str:
    """The URI of a key; more attributes are those before the question mark."""
    path = {"token": token, **({"object": label} if label else {}), **more}
    text = ";".join(f"{name.replace('_', '-')}={quote(value, safe='')}" for name, value in path.items())
    return f"pkcs11:{text}?module-path={module}" + (f"&pin-value={quote(pin, safe='')}" if pin else "")


@pytest.fixture
def hsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hsm]:
    """An HSM without tokens, for this test alone."""
    from airflow_provider_wxbank.wechatpay.signers import logins, modules

    made = Hsm(tmp_path / "hsm")
    made.tokens.mkdir(parents=True)
    made.configuration.write_text(
        f"directories.tokendir = {made.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    monkeypatch.setenv("SOFTHSM2_CONF", str(made.configuration))
    refused = set(logins._REFUSED_PINS)
    yield made
    modules.module(str(Path(MODULE).resolve()))._end()
    modules._MODULES.clear()
    logins._REFUSED_PINS.intersection_update(refused)
