# SPDX-License-Identifier: Apache-2.0
"""What a key on a PKCS#11 token is to a suite: its public half, and the mechanism that makes the suite's signature.

The standard has no mechanism for SM2 (PKCS#11 3.1; python-pkcs11 knows none either), and what makers call theirs
differs, so none is guessed at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import pkcs11
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, CertificateType, KeyType, Mechanism, ObjectClass

from airflow_provider_wxbank.wechatpay.crypto.keys import read_public_key
from airflow_provider_wxbank.wechatpay.crypto.suites import PublicKey, UnusableKey

SHA256_PREFIX = bytes.fromhex("3031300d060960864801650304020105000420")
"""What stands before a digest of SHA-256 in its DigestInfo (RFC 8017, section 9.2, note 1)."""

Signing = Callable[[Any, bytes, str | None], bytes]


def public_key_of(session: Any, key: Any) -> PublicKey:
    """The public half of a private key: what the key itself shows, else a public key or a certificate of its id.

    :raises UnusableKey: it is of no suite that a token can sign for, or its public half is not there.
    """
    kind = _value(key, Attribute.KEY_TYPE)
    if kind != KeyType.RSA:
        name = kind.name if isinstance(kind, KeyType) else "unknown"
        raise UnusableKey(
            f"is a key of the kind {name}, and a token signs with RSA keys alone here: PKCS#11 has no mechanism for "
            "SM2, and that of a maker needs a signer of its own (entry points of airflow_provider_wxbank.signers)"
        )
    for der in _public_halves(session, key):
        try:
            return read_public_key(der)
        except UnusableKey:
            raise
        except Exception:
            raise UnusableKey("has a public half that cannot be read") from None
    raise UnusableKey(
        "does not show its public half: put its public key or its certificate onto the token, with the same id"
    )


def _public_halves(session: Any, key: Any) -> Iterator[bytes]:
    same = {Attribute.ID: _value(key, Attribute.ID) or b""}
    for one in (key, *_found(session, ObjectClass.PUBLIC_KEY, same)):
        modulus, exponent = _value(one, Attribute.MODULUS), _value(one, Attribute.PUBLIC_EXPONENT)
        if modulus and exponent:
            numbers = RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big"))
            yield numbers.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for one in _found(session, ObjectClass.CERTIFICATE, {**same, Attribute.CERTIFICATE_TYPE: CertificateType.X_509}):
        certificate = x509.load_der_x509_certificate(one[Attribute.VALUE])
        yield certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _found(session: Any, kind: ObjectClass, more: dict[Attribute, Any]) -> list[Any]:
    # Keys without an id have nothing in common.
    return list(session.get_objects({Attribute.CLASS: kind, **more})) if more[Attribute.ID] else []


def signing_of(mechanisms: set[Any]) -> Signing:
    """How a token signs for a merchant: SHA256 with RSA, padded by PKCS#1 v1.5 (P/4012365334).

    :param mechanisms: those of the token.
    :raises UnusableKey: it has neither the whole mechanism nor its second half.
    """
    if Mechanism.SHA256_RSA_PKCS in mechanisms:
        return lambda key, message, pin: _signature(key, message, Mechanism.SHA256_RSA_PKCS, pin)
    if Mechanism.RSA_PKCS in mechanisms:
        return lambda key, message, pin: _signature(
            key, SHA256_PREFIX + sha256(message).digest(), Mechanism.RSA_PKCS, pin
        )
    raise UnusableKey("is on a token that has neither CKM_SHA256_RSA_PKCS nor CKM_RSA_PKCS")


def _signature(key: Any, data: bytes, mechanism: Mechanism, pin: str | None) -> bytes:
    # Some keys want the PIN for each signature.
    again = pin if _value(key, Attribute.ALWAYS_AUTHENTICATE) else None
    signature: bytes = key.sign(data, mechanism=mechanism, pin=again)
    return signature


def _value(one: Any, attribute: Attribute) -> Any:
    """An attribute; None if the token does not tell."""
    try:
        return one[attribute]
    except (pkcs11.AttributeTypeInvalid, pkcs11.AttributeSensitive, pkcs11.FunctionFailed, IndexError):
        return None
