# SPDX-License-Identifier: Apache-2.0
"""The suite RSA: WECHATPAY2-SHA256-RSA2048, RSAES-OAEP, AEAD_AES_256_GCM (P/4012365334, P/4013053257, P/4012071382)."""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from airflow_provider_wxbank.wechatpay.crypto.suites import Suite, UnusableKey

MIN_KEY_BITS = 2048
MAX_KEY_BITS = 8192

MIN_BLOCK_BYTES = MIN_KEY_BITS // 8

MAX_TEXT_BYTES = 100
"""Different bytes that a block of text, padded or not, has at most: printable ASCII has 95, and there is a padding.

An encrypted block is random and has 162 of 256 on average. The probability that it has 100 or fewer is below
C(256, 100) * (100 / 256)**256 < 1e-31.
"""

ROOT = """
-----BEGIN CERTIFICATE-----
MIIEcDCCA1igAwIBAgIUG9QiDlDbwEsGrTl1SYRsAcPo69IwDQYJKoZIhvcNAQEL
BQAwcDELMAkGA1UEBhMCQ04xEzARBgNVBAoMCmlUcnVzQ2hpbmExHDAaBgNVBAsM
E0NoaW5hIFRydXN0IE5ldHdvcmsxLjAsBgNVBAMMJWlUcnVzQ2hpbmEgQ2xhc3Mg
MiBFbnRlcnByaXNlIENBIC0gRzMwHhcNMTcwODA5MDkxNTU1WhcNMzIwODA5MDkx
NTU1WjBeMQswCQYDVQQGEwJDTjETMBEGA1UEChMKVGVucGF5LmNvbTEdMBsGA1UE
CxMUVGVucGF5LmNvbSBDQSBDZW50ZXIxGzAZBgNVBAMTElRlbnBheS5jb20gUm9v
dCBDQTCCASIwDQYJKoZIhvcNAQEBBQADggEPADCCAQoCggEBALvnPD6k39BdPYAH
+6lnWPjuHH+2pcmZUf2E8cNFQFNr+ECRZylYV2iKyItCQt3I2/7VIDZl6aR9TE7n
sZrtSmOXCw635QOrq2yF9LTSDotAhf3ER0+216w3age/VzGcNVQpTf6gRCHCuQIk
8pe/oh06JagGvX0wERa+I6NfuG58ZHQY9d6RqLXKQl0Up95v73HDsG487z8k6jcn
qpGngmHQxdWiWRJugqxNRUD+awv2/DUsqGOffPX4jzJ6rLSJSlQXvuniDYxmaiaD
cK0bUbB5aM+1zMwogoHSYxWj/6B+vgcnHQCUrwGdiQR5+F+yRWzy5bO09IzaFgeO
PNPLPOsCAwEAAaOCARIwggEOMBIGA1UdEwEB/wQIMAYBAf8CAQAwDgYDVR0PAQH/
BAQDAgEGMCAGA1UdEQQZMBekFTATMREwDwYDVQQDDAhzd2JlLTI2NjAdBgNVHQ4E
FgQUTFo4GLdm9oHX52HcWnzuL4tui2gwHwYDVR0jBBgwFoAUK1vVxWgI69vN5LA5
MqJf/8dPmEUwRgYDVR0gBD8wPTA7BgoqgRyG7xcBAQECMC0wKwYIKwYBBQUHAgEW
H2h0dHBzOi8vd3d3Lml0cnVzLmNvbS5jbi9jdG5jcHMwPgYDVR0fBDcwNTAzoDGg
L4YtaHR0cDovL3RvcGNhLml0cnVzLmNvbS5jbi9jcmwvaXRydXNjMmNhZzMuY3Js
MA0GCSqGSIb3DQEBCwUAA4IBAQBwZhL/eiOQmMyo1D0IR9mu1DPWl5J3XXhjc4R6
mFgsN/FCeVP9M4U9y2FJH6i5Ha5YCecKGw5pwhA0rjZr/6okWwo22GF+nzI/gQiz
6ugAKs5VjFbeiEb04Ncz4HT8FP1idK3tyCjqCUTkLNt0U3tR7wy26hgOqlT2wCZ9
X4MfT8dUMdt9nCZx4ujN5yZOzaLOCHmzoGDGxgKg91bbu0TG2Yzd2ylhrxxRtFH9
aZ/J1x5UoF7uwhTM8P92DuAldWC1/bX1kciOtQvQEZeAy+9y/1BtFxoBnmDxnqkX
+lirIUYTLDaL7HaLrOLECUlaxZCU/Nkwm3tmqQxtCh+XQBdd
-----END CERTIFICATE-----
"""
"""Tenpay.com Root CA, until 2032-08-09. It is in the chain that WeChat Pay publishes (P/4012072597,
CertTrustChain.p7b), and its own SDK, wechatpay-java, believes no other. SHA-256:
B29F8B2513EB2F7C49C07C7C20F4027CA903D071DF72CAA0B2B924EFF43A9452.
"""


def unseal(apiv3_key: str, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
    """Open what is sealed with AES-256-GCM under the 32 bytes of the APIv3 key (P/4012071382).

    :raises InvalidTag: it was sealed with something else.
    """
    return AESGCM(apiv3_key.encode()).decrypt(nonce, sealed, associated)


def is_block(block: bytes, first: bytes) -> bool:
    """Whether bytes are as long as one block of the key that encrypted the first line."""
    return len(block) >= MIN_BLOCK_BYTES and len(block) == len(first)


def is_random(block: bytes) -> bool:
    """Whether a block has more different bytes than text has."""
    return len(set(block)) > MAX_TEXT_BYTES


RSA = Suite(
    name="RSA",
    scheme="WECHATPAY2-SHA256-RSA2048",
    certificates="/v3/certificates",
    sealing="AEAD_AES_256_GCM",
    unseal=unseal,
    encryption="RSAES-OAEP",
    line="Base64 of one RSA block (344 characters for a 2048-bit key)",
    if_twice="OAEP makes another line of the same number each time, so it is a copy or not encrypted with OAEP",
    is_block=is_block,
    is_random=is_random,
    signs_alike=True,
    root=ROOT,
)


@dataclass(frozen=True, slots=True)
class RsaPublicKey:
    """A public key of RSA.

    :param der: its ``SubjectPublicKeyInfo``.
    """

    der: bytes = field(repr=False)
    key: RSAPublicKey = field(repr=False, compare=False)

    @classmethod
    def of(cls, key: RSAPublicKey) -> RsaPublicKey:
        """The key that the library has read."""
        return cls(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), key)

    @property
    def suite(self) -> Suite:
        """See :class:`.PublicKey`, here and below."""
        return RSA

    @property
    def about(self) -> str:
        """``RSA, 2048 bits``."""
        return f"RSA, {self.key.key_size} bits"

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether a signature is SHA256 with RSA, padded by PKCS#1 v1.5, of this key (P/4013053249)."""
        try:
            self.key.verify(signature, message, PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True

    def encrypt_lines(self, numbers: Sequence[str]) -> bytes:
        """Lines of RSAES-OAEP with SHA-1 and MGF1-SHA-1 (P/4013053257), of 344 characters for a 2048-bit key.

        Safe to use from many threads: the padding holds no state, and every number is a call of its own.

        :raises ValueError: a number is longer than the key can encrypt.
        """
        # WeChat Pay's choice, and used for nothing else here. OAEP's security does not depend on collisions of SHA-1.
        padding = OAEP(mgf=MGF1(SHA1()), algorithm=SHA1(), label=None)  # noqa: S303  # see above
        encrypt_one = self.key.encrypt
        # Base64 after all of it: a loop of its own stays in the processor's caches, and takes half the time.
        blocks = [encrypt_one(number.encode(), padding) for number in numbers]
        return b"".join(map(b2a_base64, blocks))

    def line_bytes(self, number_bytes: int) -> int:
        """345 for a 2048-bit key, whatever the number."""
        return 4 * -(-(self.key.key_size // 8) // 3) + 1


@dataclass(frozen=True, slots=True)
class RsaPrivateKey:
    """A private key of RSA."""

    key: RSAPrivateKey = field(repr=False)
    public_key: RsaPublicKey

    def sign(self, message: bytes) -> bytes:
        """SHA256 with RSA, padded by PKCS#1 v1.5, not PSS (P/4012365334): the same signature each time."""
        return self.key.sign(message, PKCS1v15(), SHA256())


def read_public_key(der: bytes) -> RsaPublicKey:
    """A public key, also in the form of PKCS#1.

    :raises UnusableKey: it is another kind of key, or too short or too long.
    :raises ValueError: it cannot be read; also what the library raises besides.
    """
    key = load_der_public_key(der)
    if not isinstance(key, RSAPublicKey):
        raise UnusableKey("is not an RSA key")
    _check_size(key.key_size)
    return RsaPublicKey.of(key)


def read_private_key(der: bytes) -> RsaPrivateKey:
    """A private key, PKCS#8 or PKCS#1, without a passphrase; otherwise as :func:`read_public_key`."""
    key = load_der_private_key(der, password=None)
    if not isinstance(key, RSAPrivateKey):
        raise UnusableKey("is not an RSA key")
    _check_size(key.key_size)
    return RsaPrivateKey(key, RsaPublicKey.of(key.public_key()))


def _check_size(bits: int) -> None:
    if not MIN_KEY_BITS <= bits <= MAX_KEY_BITS:
        raise UnusableKey(f"has {bits} bits; WeChat Pay uses RSA keys of {MIN_KEY_BITS} bits or more")
