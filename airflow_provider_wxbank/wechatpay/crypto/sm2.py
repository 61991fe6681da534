# SPDX-License-Identifier: Apache-2.0
"""The suite SM2 (国密): WECHATPAY2-SM2-WITH-SM3, SM2 C1C3C2, AEAD_SM4_GCM (P/4012076194).

It needs the extra ``shangmi``. SM3 and SM4-GCM are :mod:`cryptography`'s. SM2, which it lacks, is gmssl_pyx's, which
agrees with OpenSSL.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.hashes import SM3, Hash

from airflow_provider_wxbank.wechatpay.crypto.der import (
    BIT_STRING,
    OCTET_STRING,
    SECOND,
    elements,
    length_of,
    members,
)
from airflow_provider_wxbank.wechatpay.crypto.sm2_points import A, B, G, N, Point, is_on_curve, sum_of, times
from airflow_provider_wxbank.wechatpay.crypto.suites import NeedsPackage, Suite, UnusableKey

CURVE = bytes.fromhex("06082a811ccf5501822d")
"""The curve's object identifier, 1.2.156.10197.1.301, as it stands in every key."""

SIGNER_ID = b"1234567812345678"
"""Whose signatures they are, for both sides (GM/T 0009; the SDK of WeChat Pay has it, too)."""

TAG_BYTES = 16
_BYTES = 32
_ALGORITHM = bytes.fromhex("301306072a8648ce3d0201") + CURVE
_PUBLIC = bytes.fromhex("3059") + _ALGORITHM + bytes.fromhex("03420004")
"""What comes before the coordinates in a ``SubjectPublicKeyInfo`` with an uncompressed point."""


def unseal(apiv3_key: str, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
    """Open what is sealed with SM4-GCM under the first 16 bytes of SM3(APIv3 key).

    :raises InvalidTag: it was sealed with something else.
    :raises ValueError: the nonce or the tag has a length that none has.
    """
    tag = sealed[-TAG_BYTES:]
    opening = Cipher(SM4(_sm3(apiv3_key.encode())[:16]), GCM(nonce, tag)).decryptor()
    opening.authenticate_additional_data(associated)
    opened = opening.update(sealed[:-TAG_BYTES])
    return opened + opening.finalize()


def is_block(block: bytes, first: bytes) -> bool:
    """Whether bytes are a ciphertext C1C3C2 as ASN.1: a point, 32 bytes of SM3, as many bytes as the number has."""
    try:
        _, _, c3, c2 = _parts(block)
    except ValueError:
        return False
    return len(c3) == _BYTES and len(c2) > 0


def is_random(block: bytes) -> bool:
    """Whether the point of a ciphertext is on the curve, as half of all numbers are not."""
    x, y, *_ = _parts(block)
    return is_on_curve((x, y))


def _parts(block: bytes) -> tuple[int, int, bytes, bytes]:
    x, y, c3, c2 = members(block)
    return x.number(), y.number(), c3.of(OCTET_STRING), c2.of(OCTET_STRING)


SM2 = Suite(
    name="SM2",
    scheme="WECHATPAY2-SM2-WITH-SM3",
    certificates="/v3/certificates?algorithm_type=SM2",
    sealing="AEAD_SM4_GCM",
    unseal=unseal,
    encryption="SM2",
    line="Base64 of an SM2 ciphertext as ASN.1, C1C3C2 (144 to 436 characters)",
    if_twice="SM2 makes another line of the same number each time, so it is a copy or not encrypted with SM2",
    is_block=is_block,
    is_random=is_random,
    signs_alike=False,
    root="",
)


@dataclass(frozen=True, slots=True)
class Sm2PublicKey:
    """A public key of SM2.

    :param point: x and y, one after the other, of a point on the curve.
    """

    point: bytes = field(repr=False)

    @property
    def suite(self) -> Suite:
        """See :class:`.PublicKey`, here and below."""
        return SM2

    @property
    def der(self) -> bytes:
        """Its ``SubjectPublicKeyInfo``."""
        return _PUBLIC + self.point

    @property
    def about(self) -> str:
        """``SM2, 256 bits``."""
        return "SM2, 256 bits"

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether a signature is SM2 with SM3 of this key under the id 1234567812345678, as ASN.1 of r and s.

        The library is asked only about a signature that is right: see :mod:`.sm2_points`. Both must accept it.
        """
        try:
            r, s = decode_dss_signature(signature)
        except ValueError:
            return False
        return self._is_right(message, r, s) and bool(
            _library().sm2_verify(self.point, message, signature, signer_id=SIGNER_ID)
        )

    def _is_right(self, message: bytes, r: int, s: int) -> bool:
        """GB/T 32918.2, section 7."""
        if not (1 <= r < N and 1 <= s < N):
            return False
        factor = (r + s) % N
        found = sum_of(s, factor, _coordinates(self.point)) if factor else None
        digest = int.from_bytes(_sm3(_identity(self.point), message), "big")
        return found is not None and (digest + found[0]) % N == r

    def encrypt_lines(self, numbers: Sequence[str]) -> bytes:
        """Lines of SM2 C1C3C2 as ASN.1, which differ in length: coordinates may begin with zeros.

        The library holds Python's lock while it encrypts, so only processes use more than one core.
        """
        encrypt_one, point = _library().sm2_encrypt, self.point
        return b"".join([b2a_base64(encrypt_one(point, number)) for number in map(str.encode, numbers)])

    def line_bytes(self, number_bytes: int) -> int:
        """149 for a number of one byte, 437 for one of 214."""
        # A coordinate whose first bit is set has a zero before it, for its sign.
        coordinates = 2 * length_of(_BYTES + 1)
        block = length_of(coordinates + length_of(_BYTES) + length_of(number_bytes))
        return 4 * -(-block // 3) + 1


@dataclass(frozen=True, slots=True)
class Sm2PrivateKey:
    """A private key of SM2.

    :param secret: 32 bytes.
    """

    secret: bytes = field(repr=False)
    public_key: Sm2PublicKey

    def sign(self, message: bytes) -> bytes:
        """SM2 with SM3 under the id 1234567812345678, as ASN.1 of r and s: another signature each time."""
        signature: bytes = _library().sm2_sign(self.secret, self.public_key.point, message, signer_id=SIGNER_ID)
        return signature


def read_public_key(der: bytes) -> Sm2PublicKey:
    """A public key from its ``SubjectPublicKeyInfo`` with an uncompressed point.

    :raises UnusableKey: its point is not on the curve.
    :raises NeedsPackage: the extra is not installed.
    :raises ValueError: it is something else.
    """
    _library()
    if not der.startswith(_PUBLIC):
        raise ValueError("it is not in the form that WeChat Pay hands out")
    return _public_key(der[len(_PUBLIC) :])


def read_private_key(der: bytes) -> Sm2PrivateKey:
    """A private key from PKCS#8 (RFC 5208, RFC 5915); otherwise as :func:`read_public_key`."""
    _library()
    _, algorithm, wrapped, *_ = members(der)
    if algorithm.der != _ALGORITHM:
        raise ValueError("it is not in the form that WeChat Pay hands out")
    _, secret, *more = members(wrapped.of(OCTET_STRING))
    factor = int.from_bytes(secret.of(OCTET_STRING), "big")
    point = times(factor) if 1 <= factor <= N - 2 else None
    if point is None:
        raise UnusableKey("is an SM2 key whose number is out of its bounds")
    public_key = _public_key(b"".join(one.to_bytes(_BYTES, "big") for one in point))
    for one in more:
        if one.tag == SECOND and _point_in(one.value) != public_key.point:
            raise UnusableKey("is an SM2 key whose private and public half do not belong together")
    return Sm2PrivateKey(factor.to_bytes(_BYTES, "big"), public_key)


def _point_in(value: bytes) -> bytes:
    (bits,) = elements(value)
    return bits.of(BIT_STRING).removeprefix(b"\x00\x04")


def _public_key(point: bytes) -> Sm2PublicKey:
    if len(point) != 2 * _BYTES:
        raise ValueError("a point has 64 bytes")
    if not is_on_curve(_coordinates(point)):
        raise UnusableKey("is an SM2 key whose point is not on the curve: it was changed")
    return Sm2PublicKey(point)


def _coordinates(point: bytes) -> Point:
    return int.from_bytes(point[:_BYTES], "big"), int.from_bytes(point[_BYTES:], "big")


def _identity(point: bytes) -> bytes:
    """Z: the digest of id, curve and key that comes before a message (GB/T 32918.2, section 5.5)."""
    curve = b"".join(one.to_bytes(_BYTES, "big") for one in (A, B, *G))
    return _sm3((8 * len(SIGNER_ID)).to_bytes(2, "big"), SIGNER_ID, curve, point)


def _sm3(*parts: bytes) -> bytes:
    hashing = Hash(SM3())
    for part in parts:
        hashing.update(part)
    return hashing.finalize()


def _library() -> ModuleType:
    """gmssl_pyx, which only merchants with such keys need.

    :raises NeedsPackage: it is not installed.
    """
    try:
        import gmssl_pyx
    except ImportError:
        raise NeedsPackage(
            "is an SM2 key, which needs a package more: pip install 'airflow-provider-wxbank[shangmi]'"
        ) from None
    library: ModuleType = gmssl_pyx
    return library
