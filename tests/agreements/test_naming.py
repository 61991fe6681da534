# SPDX-License-Identifier: Apache-2.0
"""What keys filenames and manifests: the connection's own secret, or the merchant's key."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from airflow_provider_wxbank.agreements.files import naming_key
from airflow_provider_wxbank.wechatpay.crypto.rsa import RSA, RsaPublicKey
from airflow_provider_wxbank.wechatpay.crypto.suites import Suite
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials
from tests.harness.keys import naming_key_of_pem, new_key, public_key, signer
from tests.vectors import VECTORS

KEY, OTHER = new_key(), new_key()
SECRET = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Device:
    """A signer whose key is elsewhere: it only signs."""

    key: RSAPrivateKey
    signed: list[bytes] = field(default_factory=list)
    serial_no: str = "1"
    about: str = "in a device"

    @property
    def public_key(self) -> RsaPublicKey:
        return public_key(self.key)

    def sign(self, message: bytes) -> bytes:
        self.signed.append(message)
        return self.key.sign(message, PKCS1v15(), SHA256())


def test_a_key_makes_the_same_names_wherever_it_is() -> None:
    keys = VECTORS["keys"]
    assert naming_key(signer(KEY), None) == naming_key(Device(KEY), None) != naming_key(signer(OTHER), None)
    assert naming_key_of_pem(keys["merchant_private_pkcs8"]) == naming_key_of_pem(keys["merchant_private_pkcs1"])


def test_with_a_secret_names_stay_when_the_key_is_renewed() -> None:
    device = Device(KEY)
    assert naming_key(device, SECRET) == naming_key(signer(OTHER), SECRET) != naming_key(signer(OTHER), SECRET + "0")
    assert device.signed == []


def test_unequal_secrets_never_meet() -> None:
    """Nor does what somebody fills in meet what a key signs."""
    device = Device(KEY)
    derived = naming_key(device, None)
    (text,) = device.signed
    assert b"\n" not in text, "a request has five lines, so no signature of one is this one"
    signature = KEY.sign(text, PKCS1v15(), SHA256()).decode("latin-1")
    assert derived not in (naming_key(device, signature), naming_key(device, SECRET))


def test_where_signatures_differ_each_time_a_secret_is_needed() -> None:
    @dataclass(frozen=True)
    class Random(RsaPublicKey):
        @property
        def suite(self) -> Suite:
            return replace(RSA, name="SM2", signs_alike=False)

    key = signer(KEY)
    random = Random(key.public_key.der, KEY.public_key())
    renewed = replace(key, private_key=replace(key.private_key, public_key=random))  # type: ignore[type-var]
    with pytest.raises(InvalidCredentials, match=r"needs naming_secret, since the signatures of an SM2 key differ"):
        naming_key(renewed, None)
    assert naming_key(renewed, SECRET) == naming_key(key, SECRET)
