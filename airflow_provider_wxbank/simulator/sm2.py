# SPDX-License-Identifier: Apache-2.0
"""SM2, SM3 and SM4 (国密) in the simulator. It needs the extra ``shangmi``.

It asks the same library as the client does, but for the digest of a message instead of the message, which it makes
itself; the tests compare both with OpenSSL. The library writes two lines to standard error when a signature is wrong,
or when a line does not decrypt.
"""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import ModuleType

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.hashes import SM3, Hash

from airflow_provider_wxbank.simulator.lines import sm2_decrypter, sm2_secret
from airflow_provider_wxbank.simulator.names import ROOT, name_of
from airflow_provider_wxbank.simulator.pem import pem

_KIND = bytes.fromhex("301306072a8648ce3d020106082a811ccf5501822d")
_WITH_SM3 = bytes.fromhex("300a06082a811ccf55018375")
_PUBLIC = bytes.fromhex("03420004")
_ROOT = bytes.fromhex("300f0603551d130101ff040530030101ff")
"""That it may sign certificates: basicConstraints, critical (RFC 5280)."""

# GB/T 32918.5: a, b, and the coordinates of the generator.
_CURVE = bytes.fromhex(
    "fffffffeffffffffffffffffffffffffffffffff00000000fffffffffffffffc"
    "28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93"
    "32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7"
    "bc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0"
)
_WHOSE = b"1234567812345678"


@dataclass(frozen=True, slots=True)
class Sm2Key:
    """See :class:`.simulator.suites.Key`.

    :param point: 64 bytes.
    :param secret: 32 bytes.
    """

    point: bytes
    secret: bytes = field(repr=False)

    @property
    def der(self) -> bytes:
        """PKCS#8."""
        inner = _der(0x30, b"\x02\x01\x01", _der(0x04, self.secret), _der(0xA1, _PUBLIC, self.point))
        return _der(0x30, b"\x02\x01\x00", _KIND, _der(0x04, inner))

    @property
    def public_der(self) -> bytes:
        """SubjectPublicKeyInfo."""
        return _der(0x30, _KIND, _PUBLIC, self.point)

    def sign(self, message: bytes) -> bytes:
        """SM2 with SM3, as ASN.1."""
        signature: bytes = _library().sm2_sign_sm3_digest(self.secret, self._digest(message))
        return signature

    def verify(self, message: bytes, signature: bytes) -> bool:
        """SM2 with SM3, as ASN.1."""
        return bool(_library().sm2_verify_sm3_digest(self.point, self._digest(message), signature))

    def decrypt(self, block: bytes) -> bytes:
        """C1C3C2, as ASN.1."""
        return sm2_decrypter(self.secret)(block)

    def certify(self, public_der: bytes, whose: str, serial_no: str, effective: float, expires: float) -> bytes:
        """Signed with SM2 with SM3. No library here makes such a certificate, so it is written out."""
        is_root = public_der == self.public_der
        validity = _der(0x30, *(_der(0x17, _utc_time(moment)) for moment in (effective, expires)))
        content = _der(
            0x30,
            b"\xa0\x03\x02\x01\x02",
            _der(0x02, bytes.fromhex(serial_no)),
            _WITH_SM3,
            name_of(ROOT).public_bytes(),
            validity,
            name_of(whose).public_bytes(),
            public_der,
            _der(0xA3, _der(0x30, _ROOT)) if is_root else b"",
        )
        der = _der(0x30, content, _WITH_SM3, _der(0x03, b"\0", self.sign(content)))
        return pem("CERTIFICATE", der).encode()

    def _digest(self, message: bytes) -> bytes:
        """What is signed of a message: who it is comes first (GB/T 32918.2)."""
        whose = _sm3((8 * len(_WHOSE)).to_bytes(2, "big") + _WHOSE + _CURVE + self.point)
        return _sm3(whose + message)


def new_key() -> Sm2Key:
    """A throwaway key."""
    return Sm2Key(*_library().sm2_key_generate())


def read_key(pem: str) -> Sm2Key:
    """:raises ValueError: it is no SM2 key in PKCS#8 with its public half."""
    body = re.sub(r"-----[A-Z ]+-----|\s", "", pem)
    der = b64decode(body, validate=True)
    _, found, point = der.partition(_PUBLIC)
    if _KIND not in der or not found or len(point) != 64:
        raise ValueError("it is not an SM2 key in PKCS#8")
    return Sm2Key(point, sm2_secret(der))


def seal(apiv3_key: str, nonce: bytes, content: bytes, associated: bytes) -> bytes:
    """SM4-GCM under the beginning of the APIv3 key's SM3."""
    sealing = Cipher(SM4(_sm3(apiv3_key.encode())[:16]), GCM(nonce)).encryptor()
    sealing.authenticate_additional_data(associated)
    return sealing.update(content) + sealing.finalize() + sealing.tag


def _der(tag: int, *parts: bytes) -> bytes:
    value = b"".join(parts)
    size = len(value).to_bytes(2, "big").lstrip(b"\0") or b"\0"
    length = size if len(value) < 0x80 else bytes([0x80 + len(size)]) + size
    return bytes([tag]) + length + value


def _utc_time(moment: float) -> bytes:
    return datetime.fromtimestamp(moment, UTC).strftime("%y%m%d%H%M%SZ").encode()


def _sm3(content: bytes) -> bytes:
    hashing = Hash(SM3())
    hashing.update(content)
    return hashing.finalize()


def _library() -> ModuleType:
    """:raises ImportError: the extra is not installed."""
    try:
        import gmssl_pyx
    except ImportError:
        raise ImportError("SM2 needs gmssl_pyx: pip install 'airflow-provider-wxbank[simulator,shangmi]'") from None
    library: ModuleType = gmssl_pyx
    return library
