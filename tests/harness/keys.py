# SPDX-License-Identifier: Apache-2.0
"""Keys of the library, as this package has them."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from airflow_provider_wxbank.agreements.files import naming_key
from airflow_provider_wxbank.wechatpay.crypto.pem import load_private_key
from airflow_provider_wxbank.wechatpay.crypto.rsa import RsaPrivateKey, RsaPublicKey
from airflow_provider_wxbank.wechatpay.crypto.signing import PemSigner


def new_key(bits: int = 2048) -> RSAPrivateKey:
    """A throwaway key."""
    return generate_private_key(65537, bits)


def public_key(key: RSAPrivateKey) -> RsaPublicKey:
    """Its public half."""
    return RsaPublicKey.of(key.public_key())


def signer(key: RSAPrivateKey) -> PemSigner:
    """Who signs with it."""
    return PemSigner("1", RsaPrivateKey(key, public_key(key)))


def naming_key_of(key: RSAPrivateKey) -> bytes:
    """What keys the filenames of a merchant with this key."""
    return naming_key(signer(key), None)


def naming_key_of_pem(pem: str) -> bytes:
    """The same of a private key in a PEM."""
    return naming_key(PemSigner("1", load_private_key(pem, "key")), None)
