# SPDX-License-Identifier: Apache-2.0
"""RSA in the simulator."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from airflow_provider_wxbank.simulator.lines import rsa_decrypter
from airflow_provider_wxbank.simulator.names import ROOT, name_of


@dataclass(frozen=True, slots=True)
class RsaKey:
    """See :class:`.simulator.suites.Key`."""

    key: RSAPrivateKey = field(repr=False)

    @property
    def der(self) -> bytes:
        """PKCS#8."""
        return self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    @property
    def public_der(self) -> bytes:
        """SubjectPublicKeyInfo."""
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, message: bytes) -> bytes:
        """SHA256 with RSA."""
        return self.key.sign(message, PKCS1v15(), SHA256())

    def verify(self, message: bytes, signature: bytes) -> bool:
        """SHA256 with RSA."""
        try:
            self.key.public_key().verify(signature, message, PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True

    def decrypt(self, block: bytes) -> bytes:
        """RSAES-OAEP."""
        return rsa_decrypter(self.key)(block)

    def certify(self, public_der: bytes, whose: str, serial_no: str, effective: float, expires: float) -> bytes:
        """Signed with SHA256 with RSA."""
        key = load_der_public_key(public_der)
        assert isinstance(key, RSAPublicKey)
        is_root = public_der == self.public_der
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name_of(whose))
            .issuer_name(name_of(ROOT))
            .public_key(key)
            .serial_number(int(serial_no, 16))
            .not_valid_before(datetime.fromtimestamp(effective, UTC))
            .not_valid_after(datetime.fromtimestamp(expires, UTC))
            .add_extension(x509.BasicConstraints(ca=is_root, path_length=0 if is_root else None), critical=is_root)
            .sign(self.key, SHA256())
        )
        return certificate.public_bytes(Encoding.PEM)


def new_key() -> RsaKey:
    """A throwaway key, as long as WeChat Pay's."""
    return RsaKey(generate_private_key(public_exponent=65537, key_size=2048))


def read_key(pem: str) -> RsaKey:
    """:raises ValueError: it is no RSA key."""
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("it is not an RSA key")
    return RsaKey(key)


def seal(apiv3_key: str, nonce: bytes, content: bytes, associated: bytes) -> bytes:
    """AES-256-GCM under the APIv3 key."""
    return AESGCM(apiv3_key.encode()).encrypt(nonce, content, associated)
