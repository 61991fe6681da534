# SPDX-License-Identifier: Apache-2.0
"""Who may issue WeChat Pay's certificates.

The APIv3 key seals the list of certificates, and a certificate in the list signs it: whoever has that key alone could
make a list. A pinned root certificate is what he lacks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from airflow_provider_wxbank.wechatpay.crypto.pem import load_certificates
from airflow_provider_wxbank.wechatpay.crypto.suites import PublicKey, Suite, strange
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials, UnverifiedAnswer


@dataclass(frozen=True, slots=True)
class Authorities:
    """Certificates whose keys may sign platform certificates: a root, or what stands between it and them.

    :param what: how messages name them.
    """

    what: str
    certificates: tuple[tuple[x509.Certificate, PublicKey], ...] = field(repr=False)

    @property
    def identity(self) -> tuple[bytes, ...]:
        """Equal for the same certificates."""
        return tuple(one.tbs_certificate_bytes for one, _ in self.certificates)

    def check(self, certificate: x509.Certificate, now: float) -> None:
        """Whether they have issued a platform certificate. What was revoked is not asked for: it leaves the list.

        :param now: unix seconds.
        :raises UnverifiedAnswer: it is somebody else's.
        :raises InvalidCredentials: the one that has issued it has expired.
        """
        serial_no = f"{certificate.serial_number:X}"
        issuers = [one for one, key in self.certificates if _has_issued(one, key, certificate)]
        if not issuers:
            raise UnverifiedAnswer(
                f"the platform certificate {serial_no} is not signed by {self}: the list may be "
                "forged by somebody who has the APIv3 key, or WeChat Pay has a new root certificate; compare with the "
                "merchant platform"
            )
        # The same root signs the certificates of merchants, whose name is their id, and they have the keys of these.
        if any(isinstance(name, str) and name.isdigit() for name in _common_names(certificate.subject)):
            raise UnverifiedAnswer(
                f"the platform certificate {serial_no} is a merchant's and not WeChat Pay's own: the list is forged"
            )
        # A root may have been renewed with the same key.
        if not any(_is_in_force(one, now) for one in issuers):
            begin, end = issuers[0].not_valid_before_utc, issuers[0].not_valid_after_utc
            raise InvalidCredentials(
                f"{self.what}: {_name(issuers[0])} is valid from {begin:%Y-%m-%d} to {end:%Y-%m-%d} alone: fill in "
                "WeChat Pay's root certificate of today"
            )

    def __str__(self) -> str:
        return f"{self.what} ({', '.join(_name(one) for one, _ in self.certificates)})"


def read_authorities(text: str, what: str, suite: Suite) -> Authorities:
    """A root certificate, or several, from PEM.

    :param what: how messages name the text.
    :param suite: the merchant's.
    :raises InvalidCredentials: it is something else, or of another suite.
    """
    certificates = load_certificates(text, what)
    for certificate, key in certificates:
        if not _may_sign(certificate):
            raise InvalidCredentials(
                f"{what}: {_name(certificate)} is no root certificate, but one that signs no others; fill in the one "
                "that signs WeChat Pay's certificates"
            )
        if reason := strange(key, suite):
            raise InvalidCredentials(f"{what}: {_name(certificate)} {reason}")
    return Authorities(what, tuple(certificates))


def _has_issued(authority: x509.Certificate, key: PublicKey, certificate: x509.Certificate) -> bool:
    # In both suites WeChat Pay's certificates are signed as its answers are.
    return certificate.issuer == authority.subject and key.verify(
        certificate.tbs_certificate_bytes, certificate.signature
    )


def _is_in_force(certificate: x509.Certificate, now: float) -> bool:
    moment = datetime.fromtimestamp(now, UTC)
    return certificate.not_valid_before_utc <= moment < certificate.not_valid_after_utc


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return False
    return constraints.ca


def _name(certificate: x509.Certificate) -> str:
    names = [str(name) for name in _common_names(certificate.subject)]
    return repr((names or [f"{certificate.serial_number:X}"])[0][:80])


def _common_names(name: x509.Name) -> list[str | bytes]:
    return [one.value for one in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
