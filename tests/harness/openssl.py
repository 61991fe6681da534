# SPDX-License-Identifier: Apache-2.0
"""SM2 as the command line of OpenSSL 3 has it, which shares no code with ours or with the simulator's library."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl, to compare with, is not installed here"
)

_SM3 = ("-rawin", "-digest", "sm3", "-pkeyopt", "distid:1234567812345678")


def sm2_sign(folder: Path, private_pem: str, message: bytes) -> bytes:
    """A signature as ASN.1.

    :param folder: for its files.
    """
    (folder / "key.pem").write_text(private_pem)
    (folder / "message").write_bytes(message)
    return _run(folder, "-sign", "-inkey", "key.pem", "-in", "message", *_SM3)


def sm2_verifies(folder: Path, public_pem: str, message: bytes, signature: bytes) -> bool:
    """Whether a signature is one of this key."""
    (folder / "public.pem").write_text(public_pem)
    (folder / "message").write_bytes(message)
    (folder / "signature").write_bytes(signature)
    try:
        _run(
            folder, "-verify", "-pubin", "-inkey", "public.pem", "-in", "message", "-sigfile", "signature", *_SM3
        )  # fmt: skip
    except subprocess.CalledProcessError:
        return False
    return True


def sm2_encrypt(folder: Path, public_pem: str, number: bytes) -> bytes:
    """A ciphertext C1C3C2 as ASN.1."""
    (folder / "public.pem").write_text(public_pem)
    (folder / "number").write_bytes(number)
    return _run(
        folder, "-encrypt", "-pubin", "-inkey", "public.pem", "-in", "number", "-pkeyopt", "digest:sm3"
    )  # fmt: skip


def sm2_decrypt(folder: Path, private_pem: str, block: bytes) -> bytes:
    """The number in a ciphertext."""
    (folder / "key.pem").write_text(private_pem)
    (folder / "block").write_bytes(block)
    return _run(folder, "-decrypt", "-inkey", "key.pem", "-in", "block", "-pkeyopt", "digest:sm3")


def _run(folder: Path, *arguments: str) -> bytes:
    return subprocess.run(["openssl", "pkeyutl", *arguments], cwd=folder, capture_output=True, check=True).stdout
