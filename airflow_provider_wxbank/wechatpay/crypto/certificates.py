# SPDX-License-Identifier: Apache-2.0
"""WeChat Pay's list of certificates: decrypted with the APIv3 key, verified with the certificates in it."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

from cryptography import x509
from cryptography.exceptions import InvalidTag

from airflow_provider_wxbank.wechatpay.crypto.authorities import Authorities
from airflow_provider_wxbank.wechatpay.crypto.pem import load_certificate
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import (
    SIGNS_WITH_PUBLIC_KEY,
    CertificateList,
    PlatformKey,
    comparable,
    find_key,
    is_public_key_id,
)
from airflow_provider_wxbank.wechatpay.crypto.suites import Suite, strange
from airflow_provider_wxbank.wechatpay.crypto.verification import (
    MAX_CLOCK_DIFFERENCE,
    check_signature,
    serial_of,
    signing_time,
)
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials, UnknownSerial, UnverifiedAnswer


def anybody(_: x509.Certificate) -> None:
    """Any certificate will do, as long as nobody is known who must have issued it."""


def read_certificates(
    body: bytes, apiv3_key: str, suite: Suite, check_issuer: Callable[[x509.Certificate], None] = anybody
) -> tuple[PlatformKey, ...]:
    """The keys in an answer of ``GET /v3/certificates``, unsealed (P/4012071382).

    :param body: the raw answer; its signature is not checked here.
    :param apiv3_key: the merchant's APIv3 key, 32 characters.
    :param suite: the merchant's: what seals the list, and what its keys belong to.
    :param check_issuer: raises what is wrong with whoever has issued a certificate.
    :raises UnverifiedAnswer: the APIv3 key does not decrypt the list, or the answer is not a list of certificates.
    """
    try:
        entries = json.loads(body)["data"]
        if not isinstance(entries, list):
            raise TypeError
        return tuple(_read_certificate(entry, apiv3_key, suite, check_issuer) for entry in entries)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise UnverifiedAnswer("the answer of /v3/certificates is not a list of certificates") from None


def _read_certificate(
    entry: Mapping[str, object], apiv3_key: str, suite: Suite, check_issuer: Callable[[x509.Certificate], None]
) -> PlatformKey:
    # The documented example has keys with a trailing space ("effective_time ").
    values = {key.strip(): value for key, value in entry.items()}
    serial_no, sealed = values["serial_no"], values["encrypt_certificate"]
    if not isinstance(serial_no, str) or not isinstance(sealed, dict):
        raise TypeError
    if sealed.get("algorithm") != suite.sealing:
        raise UnverifiedAnswer(
            f"a platform certificate is not encrypted with {suite.sealing}, as those are that go with the merchant's "
            f"{suite.name} key"
        )
    # Members of a wrong type raise what read_certificates() catches.
    try:
        pem = suite.unseal(
            apiv3_key,
            sealed["nonce"].encode(),
            b64decode(sealed["ciphertext"], validate=True),
            sealed.get("associated_data", "").encode(),
        )
    except InvalidTag:
        # Only a decrypted list can be verified, so it is not known who encrypted this one.
        raise UnverifiedAnswer(
            "the APIv3 key (the connection's password) does not decrypt the certificate list, which therefore cannot "
            "be verified: either it is not the key set in the merchant platform, under API security, or something "
            "altered the answer on its way"
        ) from None
    certificate, public_key = load_certificate(pem, "a platform certificate of WeChat Pay")
    if reason := strange(public_key, suite):
        raise InvalidCredentials(f"the platform certificate {comparable(serial_no)[:64]} of WeChat Pay {reason}")
    # Keys are found by the serial in the list, so it must be the certificate's own.
    if f"{certificate.serial_number:X}" != comparable(serial_no):
        raise UnverifiedAnswer("a platform certificate has another serial number than the list says")
    check_issuer(certificate)
    # The list can end a certificate before the certificate's own end (P/4012069411), so the earlier one counts.
    listed_effective, listed_expiry = (_timestamp(values.get(name)) for name in ("effective_time", "expire_time"))
    own_effective = certificate.not_valid_before_utc.timestamp()
    own_expiry = certificate.not_valid_after_utc.timestamp()
    return PlatformKey(
        serial_no,
        public_key,
        own_effective if listed_effective is None else max(own_effective, listed_effective),
        own_expiry if listed_expiry is None else min(own_expiry, listed_expiry),
        # The times in the list are not sealed.
        own_effective,
    )


def _timestamp(text: object) -> float | None:
    if not isinstance(text, str):
        return None
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def verified_certificates(
    headers: Mapping[str, str],
    body: bytes,
    apiv3_key: str,
    suite: Suite,
    now: float,
    authorities: Authorities | None = None,
) -> CertificateList:
    """The unexpired keys in a certificate list that is signed by one of them (P/4012069411).

    :param authorities: who must have issued each certificate in it; None for anybody.
    :raises UnverifiedAnswer: the list is not signed by a certificate that it carries, or all have expired; see also
        :func:`read_certificates`.
    :raises InvalidCredentials: the authority that has issued a certificate has expired.
    """
    check_issuer = anybody if authorities is None else partial(authorities.check, now=now)
    # Expired ones go first, so that none of them can vouch for the list.
    usable = tuple(key for key in read_certificates(body, apiv3_key, suite, check_issuer) if key.expires > now)
    serial = serial_of(headers, suite, now)
    signer = find_key(usable, serial)
    if signer is None:
        raise UnknownSerial(
            f"the certificate list is signed by {serial[:64]}, which it does not carry or which has expired"
            + (f"; {SIGNS_WITH_PUBLIC_KEY}" if is_public_key_id(serial) else "")
        )
    # The second proof. The first is that the APIv3 key has decrypted the list.
    check_signature(headers, body, signer.public_key)
    return CertificateList(usable, signer, signing_time(headers))


def kept_certificates(
    headers: Mapping[str, str],
    body: bytes,
    apiv3_key: str,
    suite: Suite,
    now: float,
    authorities: Authorities | None = None,
) -> CertificateList:
    """The same of a list that came at an earlier time, as it was then: some of its keys may have expired since.

    :raises UnverifiedAnswer: also if it will be signed only later. Then the clock ran ahead when it was kept.
    """
    signed = signing_time(headers)
    if signed - now > MAX_CLOCK_DIFFERENCE:
        raise UnverifiedAnswer("the certificate list that was kept is of a later time")
    return verified_certificates(headers, body, apiv3_key, suite, signed, authorities)
