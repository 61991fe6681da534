"""Platform keys: WeChat Pay's public key, its certificates, and their refresh (P/4012551764, P/4012153196).

The keys verify answers and encrypt agreement numbers. Three modes, told apart by what a connection holds:

* certificates: downloaded, decrypted with the APIv3 key, verified with themselves;
* public key: one key with its ``PUB_KEY_ID_...``, nothing is downloaded;
* both, while a merchant migrates from the first to the second: the public key encrypts and is asked for in every
  request; certificates are downloaded only once an answer is signed with one.
"""

from __future__ import annotations

import json
import logging
import re
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from airflow_provider_wxbank.wechatpay.errors import (
    InvalidCredentials,
    InvalidInput,
    UnknownSerial,
    UnverifiedAnswer,
    WxBankError,
)
from airflow_provider_wxbank.wechatpay.pem import load_certificate
from airflow_provider_wxbank.wechatpay.verification import verify

REFRESH_AFTER = 6 * 3600
"""Seconds after which certificates are downloaded again; WeChat Pay asks for less than 12 hours (P/4012551764)."""

DOWNLOAD_PAUSE = 30
"""Seconds between two downloads, whatever asks for them, so that unknown serials cannot trigger a storm."""

CERTIFICATES = "/v3/certificates"

USE_PUBLIC_KEY = "fill in wechatpay_public_key and wechatpay_public_key_id, both from the merchant platform"

_SIGNS_WITH_PUBLIC_KEY = f"if WeChat Pay signed it, this merchant signs with a public key: {USE_PUBLIC_KEY}"

_PUBLIC_KEY_ID = re.compile(r"PUB_KEY_ID_[0-9]{1,64}")
_CERTIFICATE_SERIAL = re.compile(r"[0-9A-Fa-f]{1,64}")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlatformKey:
    """One key of WeChat Pay with the serial that goes into ``Wechatpay-Serial``.

    :param serial_no: certificate serial (hexadecimal, as WeChat Pay writes it) or ``PUB_KEY_ID_...``.
    :param effective: unix seconds from which the key encrypts; 0 for a public key.
    :param expires: unix seconds from which the key is not used at all; infinite for a public key.
    """

    serial_no: str
    public_key: RSAPublicKey = field(repr=False)
    effective: float = 0.0
    expires: float = float("inf")


def is_public_key_id(serial_no: str) -> bool:
    """Whether a serial is the id of a WeChat Pay public key."""
    return _PUBLIC_KEY_ID.fullmatch(serial_no) is not None


def check_serial_no(serial_no: str, what: str = "serial_no") -> None:
    """:raises InvalidInput: it is no serial of a certificate (hexadecimal) and no ``PUB_KEY_ID_...``."""
    if not isinstance(serial_no, str) or not (_CERTIFICATE_SERIAL.fullmatch(serial_no) or is_public_key_id(serial_no)):
        raise InvalidInput(
            f"{what} {str(serial_no)[:80]!r} must be the serial of a platform certificate, in hexadecimal digits, or "
            "PUB_KEY_ID_ followed by digits"
        )


def same_serial(one: str, other: str) -> bool:
    """Whether two serials name one key; certificate serials are numbers, some SDKs drop their leading zero."""
    return _comparable(one) == _comparable(other)


def _comparable(serial_no: str) -> str:
    return serial_no if is_public_key_id(serial_no) else serial_no.upper().lstrip("0")


def read_certificates(body: bytes, apiv3_key: str) -> tuple[PlatformKey, ...]:
    """The keys in an answer of ``GET /v3/certificates``, decrypted (AES-256-GCM, P/4012071382).

    :param body: the raw answer; its signature is not checked here.
    :param apiv3_key: the merchant's APIv3 key, 32 characters.
    :raises UnverifiedAnswer: the APIv3 key does not decrypt the list, or the answer is no list of certificates.
    """
    try:
        entries = json.loads(body)["data"]
        if not isinstance(entries, list):
            raise TypeError
        return tuple(_read_certificate(entry, apiv3_key) for entry in entries)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise UnverifiedAnswer("the answer of /v3/certificates is not a list of certificates") from None


def _read_certificate(entry: Mapping[str, object], apiv3_key: str) -> PlatformKey:
    # The documented example has keys with a trailing space ("effective_time ").
    values = {key.strip(): value for key, value in entry.items()}
    serial_no, sealed = values["serial_no"], values["encrypt_certificate"]
    if not isinstance(serial_no, str) or not isinstance(sealed, dict):
        raise TypeError
    if sealed.get("algorithm") != "AEAD_AES_256_GCM":
        raise UnverifiedAnswer("a platform certificate is not encrypted with AEAD_AES_256_GCM")
    try:
        pem = AESGCM(apiv3_key.encode()).decrypt(
            sealed["nonce"].encode(),
            b64decode(sealed["ciphertext"], validate=True),
            sealed.get("associated_data", "").encode(),
        )
    except InvalidTag:
        # Only what is decrypted can be verified, so that it is not known who sealed this.
        raise UnverifiedAnswer(
            "the APIv3 key (the connection's password) does not decrypt the certificate list, which therefore cannot "
            "be verified: either it is not the key set in the merchant platform, under API security, or something "
            "altered the answer on its way"
        ) from None
    certificate, public_key = load_certificate(pem, "a platform certificate of WeChat Pay")
    if f"{certificate.serial_number:X}" != _comparable(serial_no):
        raise UnverifiedAnswer("a platform certificate has another serial number than the list says")
    # The list can move the end of a certificate ahead of the certificate's own (P/4012069411).
    listed_effective, listed_expiry = (_timestamp(values.get(name)) for name in ("effective_time", "expire_time"))
    own_effective = certificate.not_valid_before_utc.timestamp()
    own_expiry = certificate.not_valid_after_utc.timestamp()
    return PlatformKey(
        serial_no,
        public_key,
        own_effective if listed_effective is None else max(own_effective, listed_effective),
        own_expiry if listed_expiry is None else min(own_expiry, listed_expiry),
    )


def _timestamp(text: object) -> float | None:
    if not isinstance(text, str):
        return None
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def verified_certificates(
    headers: Mapping[str, str], body: bytes, apiv3_key: str, now: float
) -> tuple[PlatformKey, ...]:
    """The unexpired keys of a certificate list that is signed by one of them (P/4012069411).

    :raises UnverifiedAnswer: the list is not signed by a certificate that it carries, or all have expired; see also
        :func:`read_certificates`.
    """
    usable = [key for key in read_certificates(body, apiv3_key) if key.expires > now]

    def carried(serial: str) -> RSAPublicKey:
        found = find_key(usable, serial)
        if found is None:
            raise UnknownSerial(
                f"the certificate list is signed by {serial[:64]}, which it does not carry or which has expired"
                + (f"; {_SIGNS_WITH_PUBLIC_KEY}" if is_public_key_id(serial) else "")
            )
        return found.public_key

    verify(headers, body, carried, now)
    return tuple(usable)


def find_key(keys: Iterable[PlatformKey], serial_no: str) -> PlatformKey | None:
    """The key of a serial, or None."""
    return next((key for key in keys if same_serial(key.serial_no, serial_no)), None)


class PlatformKeys:
    """The platform keys of one merchant, safe to use from many threads.

    :param public_key: WeChat Pay's public key, in the modes that have one.
    :param download: downloads and verifies the certificates, in the modes that have an APIv3 key.
    :param clock: unix seconds.
    """

    def __init__(
        self,
        public_key: PlatformKey | None,
        download: Callable[[], tuple[PlatformKey, ...]] | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._public_key = public_key
        self._download = download
        self._clock = clock
        self._lock = Lock()
        self._certificates: tuple[PlatformKey, ...] = ()
        self._downloaded_at = self._tried_at = float("-inf")
        self._failure: WxBankError | None = None

    @property
    def request_serial(self) -> str | None:
        """What every request names in ``Wechatpay-Serial`` so that the public key signs the answer, or None."""
        return self._public_key.serial_no if self._public_key else None

    def known(self) -> tuple[PlatformKey, ...]:
        """The keys at hand, without asking for more."""
        return ((self._public_key,) if self._public_key else ()) + self._certificates

    def encryption_key(self) -> PlatformKey:
        """The key to encrypt with now: the public key, else the certificate that came into force last.

        Take it once per file and keep its serial with the file: the next call may give another key.

        :raises InvalidCredentials: there is none.
        """
        if self._public_key is not None:
            return self._public_key
        self._refresh(self._is_old, wait=False)
        now = self._clock()
        in_force = [key for key in self._certificates if key.effective <= now < key.expires]
        if not in_force:
            self._raise_failure()
            raise InvalidCredentials(
                "WeChat Pay lists no platform certificate that is in force; download one in the merchant "
                "platform or change to WeChat Pay's public key (wechatpay_public_key)"
            )
        return max(in_force, key=lambda key: key.effective)

    def verification_key(self, serial_no: str) -> RSAPublicKey:
        """The public key of the serial that an answer names; an unknown one causes at most one download a pause.

        :raises UnknownSerial: there is no such key, or it has expired.
        """
        if not is_public_key_id(serial_no):
            self._refresh(self._is_old, wait=False)
            self._refresh(lambda: self._unexpired(serial_no) is None, wait=True)
        return self.known_key(serial_no)

    def known_key(self, serial_no: str) -> RSAPublicKey:
        """The public key of a serial among those at hand; nothing is downloaded.

        :raises UnknownSerial: there is no such key, or it has expired.
        """
        found = self._unexpired(serial_no)
        if found is None:
            raise UnknownSerial(self._unknown(serial_no))
        return found.public_key

    def refresh(self) -> None:
        """Download the certificates now, whatever their age, where the mode has any.

        :raises WxBankError: the download failed; the certificates at hand stay.
        """
        if self._download is not None:
            with self._lock:
                self._try_download()
                self._raise_failure()

    def _unexpired(self, serial_no: str) -> PlatformKey | None:
        now = self._clock()
        return find_key((key for key in self.known() if key.expires > now), serial_no)

    def _is_old(self) -> bool:
        return self._is_over(self._downloaded_at, REFRESH_AFTER)

    def _is_over(self, since: float, seconds: float) -> bool:
        """Whether some time is over; so it is when the clock was set back, as one that had run ahead."""
        return not 0 <= self._clock() - since <= seconds

    def _refresh(self, is_due: Callable[[], bool], *, wait: bool) -> None:
        """Download once if due.

        :param wait: whether to wait while another thread downloads, although there are certificates to go on with.
        """
        if self._download is None or not is_due():
            return
        if not self._lock.acquire(blocking=wait or not self._certificates):
            return
        try:
            if is_due() and self._is_over(self._tried_at, DOWNLOAD_PAUSE):
                self._try_download()
        finally:
            self._lock.release()
        if not self._certificates:
            self._raise_failure()

    def _try_download(self) -> None:
        assert self._download is not None
        self._tried_at = self._clock()
        try:
            self._certificates = self._download()
        except WxBankError as failure:
            self._failure = failure
            if self._certificates:
                log.warning("The platform certificates could not be refreshed; the ones at hand stay: %s", failure)
        else:
            self._failure = None
            self._downloaded_at = self._clock()
            log.info("Platform certificates: %s", ", ".join(key.serial_no for key in self._certificates))

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _unknown(self, serial_no: str) -> str:
        at_hand = ", ".join(key.serial_no for key in self.known()) or "none"
        if is_public_key_id(serial_no) and self._public_key is None:
            advice = _SIGNS_WITH_PUBLIC_KEY
        elif is_public_key_id(serial_no):
            advice = "compare wechatpay_public_key_id with the merchant platform"
        elif self._download is None:
            advice = "to accept certificates too, as during migration, fill in the APIv3 key (password)"
        elif self._certificates:
            advice = "it is not in WeChat Pay's list of certificates"
        else:
            advice = "WeChat Pay's list of certificates was not downloaded"
        return f"the answer is signed with the platform key {serial_no[:64]}; at hand: {at_hand}; {advice}"
