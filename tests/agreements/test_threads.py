# SPDX-License-Identifier: Apache-2.0
"""Encryption in many threads while the platform key changes: each line is for the key that is declared beside it.

A line takes a quarter of a millisecond to decrypt, so by default every tenth of the 200,000 lines is decrypted, chosen
by its position; ``WXBANK_FULL=1 make test`` decrypts all of them, which takes about a minute.
"""

from __future__ import annotations

import os
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from threading import Lock

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1

from airflow_provider_wxbank.agreements.encryption import in_order
from airflow_provider_wxbank.agreements.files import PlainFile, batches, plain_files
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import PlatformKey
from airflow_provider_wxbank.wechatpay.crypto.rsa import RsaPublicKey
from tests.conftest import numbers
from tests.stress.fuzz_targets import KEYS, private_key

NUMBERS = 200_000
THREADS = 8
MAX_ROWS = 500
EVERY = 1 if os.environ.get("WXBANK_FULL") == "1" else 10

PRIVATE_KEYS = {
    KEYS["platform_1_serial"]: private_key("platform_1_private"),
    KEYS["platform_2_serial"]: private_key("platform_2_private"),
    KEYS["wechatpay_public_key_id"]: private_key("wechatpay_public_private"),
}


class RotatingKeys:
    """Gives another key at every call, as WeChat Pay's rotation does at some."""

    def __init__(self) -> None:
        self._keys = [PlatformKey(serial, RsaPublicKey.of(key.public_key())) for serial, key in PRIVATE_KEYS.items()]
        self._calls = count()
        self._lock = Lock()

    def encryption_key(self) -> PlatformKey:
        with self._lock:
            return self._keys[next(self._calls) % len(self._keys)]


@pytest.mark.slow
def test_every_line_decrypts_with_the_key_declared_beside_it() -> None:
    wanted = numbers(NUMBERS)
    keys = RotatingKeys()
    plain = plain_files(batches(_chunks(wanted), keys.encryption_key, MAX_ROWS), "june", b"k" * 32, "ICBC_DEBIT")
    position = 0
    serials: Counter[str] = Counter()

    def check(declared: tuple[str, list[tuple[str, str]]]) -> int:
        serial_no, lines = declared
        wrong = [number for line, number in lines if decrypted(PRIVATE_KEYS[serial_no], line) != number]
        assert not wrong
        return len(lines)

    def declared() -> Iterator[tuple[str, list[tuple[str, str]]]]:
        nonlocal position
        for serial_no, content in in_order(encrypted, plain, workers=THREADS):
            lines = content.decode("ascii").splitlines()
            expected = wanted[position : position + len(lines)]
            assert len(set(lines)) == len(expected) == len(lines)
            # A step that has no factor in common with the rows of a file, so that every row is chosen somewhere.
            chosen = [index for index in range(len(lines)) if (position + index + position // MAX_ROWS) % EVERY == 0]
            position += len(lines)
            serials[serial_no] += len(lines)
            yield serial_no, [(lines[index], expected[index]) for index in chosen]

    checked = sum(in_order(check, declared(), workers=THREADS))
    assert position == NUMBERS
    assert checked == NUMBERS // EVERY
    assert set(serials) == set(PRIVATE_KEYS)
    assert max(serials.values()) - min(serials.values()) <= MAX_ROWS


def encrypted(file: PlainFile) -> tuple[str, bytes]:
    return file.key.serial_no, file.encrypted()


def decrypted(key: RSAPrivateKey, line: str) -> str:
    return key.decrypt(b64decode(line, validate=True), OAEP(MGF1(SHA1()), SHA1(), None)).decode()


def _chunks(wanted: Sequence[str]) -> Iterator[Sequence[str]]:
    """As a database gives them: in pieces that are not as long as files."""
    for start in range(0, len(wanted), 777):
        yield wanted[start : start + 777]
