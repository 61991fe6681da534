# SPDX-License-Identifier: Apache-2.0
"""A private key is checked once for a process, however often its connection is read."""

from __future__ import annotations

import pytest

from airflow_provider_wxbank.wechatpay.crypto import keys
from airflow_provider_wxbank.wechatpay.crypto.pem import load_private_key
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials
from tests.vectors import VECTORS

PKCS8 = VECTORS["keys"]["merchant_private_pkcs8"]


def test_a_key_is_read_once_however_it_is_written() -> None:
    key = load_private_key(PKCS8, "merchant_private_key")
    assert load_private_key(PKCS8.replace("\n", "\\n"), "merchant_private_key") is key
    assert load_private_key(f"\ufeff# a comment\n{PKCS8}", "merchant_private_key") is key


def test_another_key_is_another_one_and_what_is_none_is_not_kept() -> None:
    key = load_private_key(PKCS8, "merchant_private_key")
    other = load_private_key(VECTORS["keys"]["platform_1_private"], "merchant_private_key")
    assert other.public_key != key.public_key
    for _ in range(2):
        with pytest.raises(InvalidCredentials):
            load_private_key(PKCS8.replace("A", "B"), "merchant_private_key")


def test_no_more_keys_are_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MAX_KEYS", 1)
    monkeypatch.setattr(keys, "_READ", {})
    key = load_private_key(PKCS8, "merchant_private_key")
    load_private_key(VECTORS["keys"]["platform_1_private"], "merchant_private_key")
    again = load_private_key(PKCS8, "merchant_private_key")
    assert again.public_key == key.public_key
    assert len(keys._READ) == 1
