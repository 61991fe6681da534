# SPDX-License-Identifier: Apache-2.0
"""Who signs, and the Authorization of a request (P/4012365334, P/4012365344)."""

from __future__ import annotations

import secrets
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Protocol

from airflow_provider_wxbank.wechatpay.crypto.suites import PrivateKey, PublicKey, Suite
from airflow_provider_wxbank.wechatpay.errors import AGAIN, InvalidCredentials, TryLater

_NAMING_TEXT = b"airflow-provider-wxbank: filenames and manifests are keyed with this signature; it is sent nowhere"
"""Signed for its signature alone. It is no request's string to sign, which has five lines."""


class Signer(Protocol):
    """Who signs in a merchant's name; safe to use from many threads, and in a child of the process that made it.

    Signing happens before anything is sent, so its failure is never an unknown outcome. It may take seconds: none of
    WeChat Pay's time runs meanwhile, and in an event loop every signer but :class:`PemSigner` has a thread of its own.
    """

    @property
    def serial_no(self) -> str:
        """Serial number of the merchant's API certificate, hexadecimal."""

    @property
    def public_key(self) -> PublicKey:
        """The public half of the key that signs; it says which suite the merchant has."""

    @property
    def about(self) -> str:
        """Kind and size of the key, and where it is, for a person; without secrets."""

    def sign(self, message: bytes) -> bytes:
        """The suite's signature over a message.

        :raises InvalidCredentials: it cannot be signed before the connection is corrected.
        :raises TryLater: it cannot be signed now.
        """


@dataclass(frozen=True, slots=True)
class PemSigner:
    """Signs with a private key that is in this process."""

    serial_no: str
    private_key: PrivateKey = field(repr=False)

    @property
    def public_key(self) -> PublicKey:
        """See :class:`Signer`."""
        return self.private_key.public_key

    @property
    def about(self) -> str:
        """See :class:`Signer`."""
        return self.public_key.about

    def sign(self, message: bytes) -> bytes:
        """See :class:`Signer`."""
        return self.private_key.sign(message)


@dataclass(frozen=True, slots=True)
class Merchant:
    """The merchant in whose name requests are signed.

    :param mchid: merchant id.
    :param signer: signs them.
    """

    mchid: str
    signer: Signer

    @property
    def serial_no(self) -> str:
        """Serial number of the API certificate, hexadecimal."""
        return self.signer.serial_no

    @property
    def suite(self) -> Suite:
        """What the merchant's key chooses."""
        return self.signer.public_key.suite


def signature_of(signer: Signer, message: bytes) -> bytes:
    """A signature of whichever signer.

    :raises InvalidCredentials: it cannot be signed before the connection is corrected.
    :raises TryLater: it cannot be signed now. Nothing was sent.
    """
    try:
        return signer.sign(message)
    except InvalidCredentials:
        raise
    except TryLater as failure:
        # One of its own might say that something was sent.
        raise TryLater(str(failure)) from None
    except Exception as failure:
        # Its text may quote anything.
        raise TryLater(f"the merchant's key cannot sign: {type(failure).__name__}{AGAIN}") from None


def naming_seed(signer: Signer, naming_secret: str | None) -> bytes:
    """What the secret behind filenames is derived from: the connection's own, else a signature over a fixed text.

    A signature is the same wherever the key is: in a PEM or in a device.

    :raises InvalidCredentials: there is neither.
    """
    if naming_secret is not None:
        return b"secret\n" + naming_secret.encode()
    check_naming(signer.public_key.suite, naming_secret)
    return b"signature\n" + signature_of(signer, _NAMING_TEXT)


def check_naming(suite: Suite, naming_secret: str | None) -> None:
    """:raises InvalidCredentials: there is no secret, and the suite's signatures cannot take its place."""
    if naming_secret is None and not suite.signs_alike:
        raise InvalidCredentials(
            f"the connection needs naming_secret, since the signatures of an {suite.name} key differ each time, and "
            "filenames cannot be derived from them: fill in 32 characters or more, for example what `openssl rand -hex "
            "32` gives, and keep it when the key is renewed"
        )


def string_to_sign(method: str, url: str, timestamp: int, nonce: str, body: bytes) -> bytes:
    """The five lines that are signed, each ended by a newline (P/4012365334).

    :param url: path and query, exactly as sent.
    :param timestamp: unix seconds; WeChat Pay accepts 5 minutes around its own clock.
    :param body: the body; for an upload only the bytes of its ``meta`` part; empty for GET.
    """
    return b"%s\n%s\n%d\n%s\n%s\n" % (method.upper().encode(), url.encode(), timestamp, nonce.encode(), body)


def authorization(merchant: Merchant, message: bytes, timestamp: int, nonce: str) -> str:
    """The value of the ``Authorization`` header for a string to sign."""
    signature = b64encode(signature_of(merchant.signer, message)).decode()
    return (
        f'{merchant.suite.scheme} mchid="{merchant.mchid}",nonce_str="{nonce}",signature="{signature}",'
        f'timestamp="{timestamp}",serial_no="{merchant.serial_no}"'
    )


def random_nonce() -> str:
    """32 upper-case hexadecimal characters from 16 random bytes (P/4012365334)."""
    return secrets.token_hex(16).upper()
