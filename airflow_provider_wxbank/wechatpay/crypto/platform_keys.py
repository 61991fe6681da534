# SPDX-License-Identifier: Apache-2.0
"""Platform keys, WeChat Pay's public key and certificates, by their serials (P/4012551764, P/4012153196).

The keys verify answers and encrypt agreement numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from airflow_provider_wxbank.wechatpay.crypto.suites import PublicKey
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, UnverifiedAnswer

CERTIFICATES = "/v3/certificates"

USE_PUBLIC_KEY = "fill in wechatpay_public_key and wechatpay_public_key_id, both from the merchant platform"

SIGNS_WITH_PUBLIC_KEY = f"if WeChat Pay signed it, this merchant signs with a public key: {USE_PUBLIC_KEY}"

_PUBLIC_KEY_ID = re.compile(r"PUB_KEY_ID_[0-9]{1,64}")
_CERTIFICATE_SERIAL = re.compile(r"[0-9A-Fa-f]{1,64}")


@dataclass(frozen=True, slots=True)
class PlatformKey:
    """One key of WeChat Pay with the serial that goes into ``Wechatpay-Serial``.

    :param serial_no: certificate serial (hexadecimal, as WeChat Pay writes it) or ``PUB_KEY_ID_...``.
    :param effective: unix seconds from which the key encrypts; 0 for a public key.
    :param expires: unix seconds from which the key is not used at all; infinite for a public key.
    """

    serial_no: str
    public_key: PublicKey = field(repr=False)
    effective: float = 0.0
    expires: float = float("inf")


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
    """

    keys: tuple[PlatformKey, ...]
    signer: PlatformKey
    signed_at: float

    def check_follows(self, newest: CertificateList | None) -> None:
        """Nobody goes back to an older list: WeChat Pay may have withdrawn a certificate since. Whoever has its private
        key, and the APIv3 key, could sign the older list anew.

        :param newest: the newest list that was seen so far; None if there is none.
        :raises UnverifiedAnswer: this one is older; or it is signed by a certificate that the newest list no longer
            has, though it is no newer than those that the list has.
        """
        if newest is None:
            return
        if self.signed_at < newest.signed_at:
            raise UnverifiedAnswer(
                f"the certificate list was signed {newest.signed_at - self.signed_at:.0f} s before one that came "
                "earlier: something on the way, a cache perhaps, repeats an old answer"
            )
        is_listed = find_key(newest.keys, self.signer.serial_no) is not None
        # A new certificate may be in force before anybody has asked for a list that has it.
        if not is_listed and self.signer.effective <= max(key.effective for key in newest.keys):
            raise UnverifiedAnswer(
                f"the certificate list is signed by {self.signer.serial_no[:64]}, which an earlier list no longer has: "
                "WeChat Pay has withdrawn this certificate"
            )
