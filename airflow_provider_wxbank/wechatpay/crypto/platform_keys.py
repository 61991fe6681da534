# SPDX-License-Identifier: Apache-2.0
"""Platform keys, WeChat Pay's public key and certificates, by their serials (P/4012551764, P/4012153196).

The keys verify answers and encrypt agreement numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from airflow_provider_wxbank.wechatpay.crypto.suites import PublicKey
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, UnverifiedAnswer

CERTIFICATES = "/v3/certificates"

USE_PUBLIC_KEY = "fill in wechatpay_public_key and wechatpay_public_key_id, both from the merchant platform"

SIGNS_WITH_PUBLIC_KEY = f"if WeChat Pay signed it, this merchant signs with a public key: {USE_PUBLIC_KEY}"

SEEN_FOR = 30 * 86_400
"""Seconds for which a list tells who may sign the next one. WeChat Pay may do what nobody foresaw, and must not be
refused for good."""

_PUBLIC_KEY_ID = re.compile(r"PUB_KEY_ID_[0-9]{1,64}")
_CERTIFICATE_SERIAL = re.compile(r"[0-9A-Fa-f]{1,64}")


@dataclass(frozen=True, slots=True)
class PlatformKey:
    """One key of WeChat Pay with the serial that goes into ``Wechatpay-Serial``.

    :param serial_no: certificate serial (hexadecimal, as WeChat Pay writes it) or ``PUB_KEY_ID_...``.
    :param effective: unix seconds from which the key encrypts; 0 for a public key.
    :param issued: unix seconds from which the certificate itself says that it is valid, whatever a list says of it.
    :param expires: unix seconds from which the key is not used at all; infinite for a public key.
    """

    serial_no: str
    public_key: PublicKey = field(repr=False)
    effective: float = 0.0
    expires: float = float("inf")
    issued: float = 0.0


def is_public_key_id(serial_no: str) -> bool:
    """Whether a serial is the id of a WeChat Pay public key."""
    return _PUBLIC_KEY_ID.fullmatch(serial_no) is not None


def check_serial_no(serial_no: str, what: str = "serial_no") -> None:
    """:raises InvalidInput: it is neither a certificate's serial (hexadecimal) nor a ``PUB_KEY_ID_...``."""
    if not isinstance(serial_no, str) or not (_CERTIFICATE_SERIAL.fullmatch(serial_no) or is_public_key_id(serial_no)):
        raise InvalidInput(
            f"{what} {str(serial_no)[:80]!r} must be the serial of a platform certificate, in hexadecimal digits, or "
            "PUB_KEY_ID_ followed by digits"
        )


def same_serial(one: str, other: str) -> bool:
    """Whether two serials name one key. A certificate's serial is a number, and some SDKs drop its leading zero."""
    return comparable(one) == comparable(other)


def comparable(serial_no: str) -> str:
    """A serial in the form in which it is compared."""
    return serial_no if is_public_key_id(serial_no) else serial_no.upper().lstrip("0")


def find_key(keys: Iterable[PlatformKey], serial_no: str) -> PlatformKey | None:
    """The key of a serial, or None."""
    return next((key for key in keys if same_serial(key.serial_no, serial_no)), None)


@dataclass(frozen=True, slots=True)
class CertificateList:
    """A list of certificates that was verified.

    :param keys: those that have not expired.
    :param signer: the one that signed the list.
    :param signed_at: unix seconds, by WeChat Pay's clock.
    :param withdrawn: serials, in the form in which they are compared, that were listed before, and are not any more.
    """

    keys: tuple[PlatformKey, ...]
    signer: PlatformKey
    signed_at: float
    withdrawn: frozenset[str] = frozenset()

    def following(self, newest: CertificateList | None) -> CertificateList:
        """This list, with what was seen before it.

        Nobody goes back: WeChat Pay may have withdrawn a certificate, and whoever has its private key, and the APIv3
        key, could sign a list anew. So a list must be no older than the newest one that was seen. Whoever signs it must
        not have been taken out of a list, and must be in the newest one, or issued no earlier than that one's signer: a
        new certificate may be in force before anybody has asked for a list that has it. A certificate is back as soon
        as another one signs a list that has it: not all of WeChat Pay's machines learn of a new one at the same time.

        :param newest: the newest list that was seen so far; None if there is none. After :data:`SEEN_FOR`, it no longer
            tells who may sign.
        :raises UnverifiedAnswer: this list does not follow it.
        """
        if newest is None:
            return self
        if self.signed_at < newest.signed_at:
            raise UnverifiedAnswer(
                f"the certificate list was signed {newest.signed_at - self.signed_at:.0f} s before one that came "
                "earlier: something on the way, a cache perhaps, repeats an old answer"
            )
        signer = comparable(self.signer.serial_no)
        listed = {comparable(key.serial_no) for key in newest.keys}
        is_known = signer in listed or self.signer.issued >= newest.signer.issued
        counts = self.signed_at - newest.signed_at <= SEEN_FOR
        if counts and (signer in newest.withdrawn or not is_known):
            raise UnverifiedAnswer(
                f"the certificate list is signed by {self.signer.serial_no[:64]}, which an earlier list no longer has: "
                "WeChat Pay has withdrawn this certificate"
            )
        return replace(self, withdrawn=(newest.withdrawn | listed) - {comparable(key.serial_no) for key in self.keys})
