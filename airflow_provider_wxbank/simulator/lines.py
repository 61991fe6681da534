# SPDX-License-Identifier: Apache-2.0
"""Decrypts the lines of agreement files, here or in a child process.

A child runs this file alone, since the whole package takes several times as long to import. So this module imports
nothing of the package.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
from base64 import b64decode
from collections.abc import Callable, Sequence
from struct import Struct
from typing import IO

from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import load_der_private_key

MAX_NUMBER_BYTES = 214
LENGTHS = Struct(">II")
"""What comes before a job: how many bytes its key and its file have."""

_NO_NUMBER = bytes(hashlib.sha256().digest_size)


Decrypter = Callable[[bytes], bytes]
"""Decrypts one encrypted number, or raises ValueError."""

_SM2_CURVE = bytes.fromhex("06082a811ccf5501822d")
_SM2_SECRET = bytes.fromhex("0201010420")
"""What comes before the 32 bytes of a private key in PKCS#8."""


def rsa_decrypter(key: RSAPrivateKey) -> Decrypter:
    """Decrypts RSAES-OAEP."""
    padding = OAEP(MGF1(SHA1()), SHA1(), None)  # noqa: S303  # the protocol's
    return lambda block: key.decrypt(block, padding)


def sm2_decrypter(secret: bytes) -> Decrypter:
    """Decrypts SM2 C1C3C2 as ASN.1.

    :param secret: 32 bytes.
    """
    import gmssl_pyx

    def decrypt_one(block: bytes) -> bytes:
        try:
            number: bytes = gmssl_pyx.sm2_decrypt(secret, block)
        except gmssl_pyx.GmsslInnerError:
            raise ValueError from None
        return number

    return decrypt_one


def sm2_secret(der: bytes) -> bytes:
    """The private number in PKCS#8."""
    return der.partition(_SM2_SECRET)[2][:32]


def decrypter(der: bytes) -> Decrypter:
    """What decrypts with a private key.

    :param der: PKCS#8. It comes from the simulator itself, and checking it would take longer than a hundred lines.
    """
    if _SM2_CURVE in der:
        return sm2_decrypter(sm2_secret(der))
    key = load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True)
    assert isinstance(key, RSAPrivateKey)
    return rsa_decrypter(key)


def decrypt(decrypt_one: Decrypter, line: bytes) -> bytes | None:
    """The number in a line, or None if the line does not decrypt to one."""
    try:
        number = decrypt_one(b64decode(line, validate=True))
        number.decode()
    except ValueError:
        return None
    return number if 0 < len(number) <= MAX_NUMBER_BYTES else None


def digests_of(decrypt_one: Decrypter, lines: Sequence[bytes]) -> list[bytes | None]:
    """The SHA-256 digest of the number in each line; None where a line does not decrypt."""
    numbers = (decrypt(decrypt_one, line) for line in lines)
    return [None if number is None else hashlib.sha256(number).digest() for number in numbers]


def packed(digests: Sequence[bytes | None]) -> bytes:
    """Digests as a child sends them, one after the other."""
    return b"".join(_NO_NUMBER if one is None else one for one in digests)


def unpacked(content: bytes) -> list[bytes | None]:
    """Digests as a child has sent them."""
    size = len(_NO_NUMBER)
    pieces = (content[start : start + size] for start in range(0, len(content), size))
    return [None if piece == _NO_NUMBER else piece for piece in pieces]


def serve(jobs: IO[bytes], answers: IO[bytes]) -> None:
    """What a child does: send the digests of file after file, until no more come."""
    while len(head := jobs.read(LENGTHS.size)) == LENGTHS.size:
        key_size, size = LENGTHS.unpack(head)
        der, content = jobs.read(key_size), jobs.read(size)
        if len(content) < size:
            return
        answers.write(packed(digests_of(decrypter(der), content.split(b"\n"))))
        answers.flush()


if __name__ == "__main__":
    # Ctrl-C reaches every process of a terminal; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):
        serve(sys.stdin.buffer, sys.stdout.buffer)
    # Python would flush once more at its end, although nobody reads any longer.
    os._exit(0)
