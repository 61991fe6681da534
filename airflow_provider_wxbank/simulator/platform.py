# SPDX-License-Identifier: Apache-2.0
"""WeChat Pay's keys in the simulator: certificates, a public key, and the signing of answers."""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from airflow_provider_wxbank.simulator.names import PLATFORM, ROOT
from airflow_provider_wxbank.simulator.pem import pem
from airflow_provider_wxbank.simulator.settings import KeyMode
from airflow_provider_wxbank.simulator.suites import Key, Suite

BEIJING = timezone(timedelta(hours=8))
PUBLIC_KEY_ID = "PUB_KEY_ID_0119000000012026010100000000000001"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key of the platform.

    :param certificate: PEM; empty for the public key.
    :param effective: unix seconds.
    :param expires: unix seconds.
    """

    serial_no: str
    private_key: Key = field(repr=False)
    certificate: bytes = field(default=b"", repr=False)
    effective: float = 0.0
    expires: float = float("inf")


def new_serial_no(*, leading_zero: bool = False) -> str:
    """The serial of a certificate: 20 bytes, written as 40 digits. The first digit is a zero only if asked for.

    A leading zero is allowed, but some SDKs drop it. A first byte above 7F would make the number negative.
    """
    first = 0x0A if leading_zero else 0x10 + secrets.randbelow(0x70)
    return f"{first:02X}{secrets.token_hex(19).upper()}"


@dataclass(frozen=True, slots=True)
class Root:
    """WeChat Pay's root, which signs its certificates.

    :param key: its key pair.
    :param certificate: PEM.
    """

    suite: Suite
    key: Key = field(repr=False)
    certificate: str = field(repr=False)

    def new_certificate(self, effective: float, expires: float, *, leading_zero: bool = False) -> SigningKey:
        """A platform certificate that looks like WeChat Pay's."""
        key, serial_no = self.suite.new_key(), new_serial_no(leading_zero=leading_zero)
        signed = self.key.certify(key.public_der, PLATFORM, serial_no, effective, expires)
        return SigningKey(serial_no, key, signed, effective, expires)


def new_root(suite: Suite, now: float) -> Root:
    """A root of ten years ago."""
    key = suite.new_key()
    signed = key.certify(key.public_der, ROOT, new_serial_no(), now - 3650 * 86400, now + 5000 * 86400)
    return Root(suite, key, signed.decode())


@dataclass(frozen=True, slots=True)
class PlatformKeys:
    """WeChat Pay's keys, as a simulator before has left them."""

    root: Root
    certificates: tuple[SigningKey, ...]
    public_key: SigningKey


class Platform:
    """WeChat Pay's keys for one merchant.

    :param clock: unix seconds.
    :param leading_zero: whether the serials of certificates begin with a zero.
    :param kept: the keys; None for new ones.
    """

    def __init__(
        self,
        suite: Suite,
        mode: KeyMode,
        apiv3_key: str,
        clock: Callable[[], float],
        *,
        leading_zero: bool = False,
        kept: PlatformKeys | None = None,
    ) -> None:
        self.suite = suite
        self.mode = mode
        self._apiv3_key = apiv3_key
        self.clock = clock
        self._leading_zero = leading_zero
        now = clock()
        self.root = kept.root if kept else new_root(suite, now)
        self.certificates = (
            [*kept.certificates] if kept else [self._new_certificate(now - 30 * 86400, now + 1800 * 86400)]
        )
        self._public_key = kept.public_key if kept else None
        self.rotated: Callable[[], None] = lambda: None
        self._stranger: SigningKey | None = None
        self._forged: SigningKey | None = None

    @property
    def keys(self) -> PlatformKeys:
        """What a later simulator can begin with."""
        return PlatformKeys(self.root, tuple(self.certificates), self.public_key)

    @property
    def public_key(self) -> SigningKey:
        """The WeChat Pay public key (微信支付公钥)."""
        if self._public_key is None:
            self._public_key = SigningKey(PUBLIC_KEY_ID, self.suite.new_key())
        return self._public_key

    def public_key_pem(self) -> str:
        """The text of ``pub_key.pem``."""
        return pem("PUBLIC KEY", self.public_key.private_key.public_der)

    def stranger(self) -> SigningKey:
        """A key that is in no list."""
        if self._stranger is None:
            now = self.clock()
            self._stranger = self._new_certificate(now - 86400, now + 86400)
        return self._stranger

    def forged(self) -> SigningKey:
        """A certificate that somebody else's root has signed under the same names."""
        if self._forged is None:
            now = self.clock()
            self._forged = new_root(self.suite, now).new_certificate(now - 86400, now + 86400)
        return self._forged

    def rotate(self, *, overlap: bool = True) -> str:
        """Bring a new certificate into force. With ``overlap`` the old ones stay valid.

        :return: the new serial.
        """
        now = self.clock()
        latest = max(key.effective for key in self.certificates)
        new = self._new_certificate(max(now - 60, latest + 1), now + 1800 * 86400)
        self.certificates = [*(self.certificates if overlap else ()), new]
        self.rotated()
        return new.serial_no

    def declared(self, serial_no: str) -> SigningKey | None:
        """The key that an upload may declare: any certificate in force, or the public key; None for another serial."""
        usable: list[SigningKey] = []
        if self.mode != "public-key":
            now = self.clock()
            usable += [key for key in self.certificates if key.expires > now]
        if self.mode != "certificates":
            usable.append(self.public_key)
        return next((key for key in usable if key.serial_no == serial_no), None)

    def answering(self, requested: str | None) -> SigningKey:
        """The key that signs an answer. While both kinds are in use, the request names it (P/4012154180)."""
        if self.mode == "public-key":
            return self.public_key
        return self.declared(requested or "") or self.certificates[-1]

    def certificate_list(self, kind: str) -> tuple[bytes, SigningKey]:
        """The body of ``GET /v3/certificates``, and the key that signs it.

        :param kind: the fault that it has, if any.
        """
        listed = self._listed(kind)
        key = secrets.token_hex(16) if kind == "wrong-apiv3-key" else self._apiv3_key
        body = json.dumps({"data": [_listed(one, key, self.suite) for one in listed]}, separators=(",", ":")).encode()
        return body, listed[-1]

    def _listed(self, kind: str) -> list[SigningKey]:
        now = self.clock()
        match kind:
            case "expired-certificate":
                return [self._new_certificate(now - 86400, now - 60)]
            case "forged-certificates":
                return [self.forged()]
            case "withdrawn-certificate":
                first = min(key.effective for key in self.certificates)
                return [self._new_certificate(first - 86400, now + 86400)]
        return self.certificates

    def _new_certificate(self, effective: float, expires: float) -> SigningKey:
        return self.root.new_certificate(effective, expires, leading_zero=self._leading_zero)

    def signed_headers(self, key: SigningKey, body: bytes, timestamp: float) -> dict[str, str]:
        """The headers that sign an answer (P/4013053249)."""
        seconds, nonce = str(int(timestamp)), secrets.token_hex(16)
        signature = key.private_key.sign(f"{seconds}\n{nonce}\n".encode() + body + b"\n")
        return {
            "Wechatpay-Timestamp": seconds,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Serial": key.serial_no,
            "Wechatpay-Signature": b64encode(signature).decode(),
            "Wechatpay-Signature-Type": self.suite.scheme,
        }


def _listed(key: SigningKey, apiv3_key: str, suite: Suite) -> dict[str, object]:
    nonce = secrets.token_hex(6)
    sealed = suite.seal(apiv3_key, nonce.encode(), key.certificate, b"certificate")
    return {
        "serial_no": key.serial_no,
        "effective_time": beijing(key.effective),
        "expire_time": beijing(key.expires),
        "encrypt_certificate": {
            "algorithm": suite.sealing,
            "nonce": nonce,
            "associated_data": "certificate",
            "ciphertext": b64encode(sealed).decode(),
        },
    }


def beijing(timestamp: float, timespec: str = "seconds") -> str:
    """A time as WeChat Pay writes it."""
    return datetime.fromtimestamp(timestamp, BEIJING).isoformat(timespec=timespec)
