# SPDX-License-Identifier: Apache-2.0
"""A suite is everything that changes with the cryptographic algorithm. The merchant's private key chooses it.

Nothing outside the modules of the suites asks which one it is: what differs between them is in a :class:`Suite`, or in
a key that belongs to one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

MAX_NUMBER_BYTES = 214
"""Bytes of a number, in each suite (P/4013053257: 加密原串的长度不能超过214字节)."""


class UnusableKey(ValueError):
    """A key that can be read, but is of no use here. Its text goes on after the key's name: ``is not an RSA key``."""


class NeedsPackage(UnusableKey):
    """A key of a suite whose package is not installed."""


class PublicKey(Protocol):
    """A public key, of WeChat Pay's or of the merchant's. Equal keys are equal; safe to use from many threads."""

    @property
    def suite(self) -> Suite:
        """What it belongs to."""

    @property
    def der(self) -> bytes:
        """The key itself: a ``SubjectPublicKeyInfo`` (RFC 5280), for other processes and for comparison."""

    @property
    def about(self) -> str:
        """Its kind and length, for a person."""

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether it is the signature of this key over the message. Whatever else the signature is, it is not."""

    def encrypt_lines(self, numbers: Sequence[str]) -> bytes:
        """The content of an agreement file: one encrypted number a line in Base64, each ended by a newline.

        :param numbers: at most :data:`MAX_NUMBER_BYTES` bytes of UTF-8 each, and not empty.
        """

    def line_bytes(self, number_bytes: int) -> int:
        """The length, with its newline, that the line of a number of so many bytes has at most."""


class PrivateKey(Protocol):
    """A merchant's private key in this process; safe to use from many threads."""

    @property
    def public_key(self) -> PublicKey:
        """Its public half."""

    def sign(self, message: bytes) -> bytes:
        """The suite's signature over a message."""


@dataclass(frozen=True, slots=True)
class Suite:
    """What changes with the algorithm, apart from the keys themselves.

    :param name: for a person.
    :param scheme: names the signature in ``Authorization`` and ``Wechatpay-Signature-Type``.
    :param certificates: path and query of the list of platform certificates.
    :param sealing: names what seals the certificates in that list.
    :param unseal: opens what is sealed, from APIv3 key, nonce, ciphertext with tag, associated data; raises InvalidTag
        of :mod:`cryptography` for whatever was not sealed with them, and ValueError for a nonce that can be none.
    :param encryption: names what encrypts a line.
    :param line: describes an encrypted line.
    :param if_twice: what it means if a line is there twice.
    :param is_block: whether bytes have the shape of an encrypted number, and the first one of their file.
    :param is_random: whether bytes of this shape are encrypted, as far as can be told without the key.
    :param signs_alike: whether a key signs the same message alike each time.
    :param root: the root certificate that signs WeChat Pay's own, PEM; empty if none is known.
    """

    name: str
    scheme: str
    certificates: str
    sealing: str
    unseal: Callable[[str, bytes, bytes, bytes], bytes] = field(repr=False)
    encryption: str
    line: str
    if_twice: str
    is_block: Callable[[bytes, bytes], bool] = field(repr=False)
    is_random: Callable[[bytes], bool] = field(repr=False)
    signs_alike: bool
    root: str = field(repr=False)


def strange(key: PublicKey, suite: Suite) -> str:
    """Why a key of WeChat Pay's does not go with the merchant's; it goes on after the key's name. Empty if it does."""
    if key.suite.name == suite.name:
        return ""
    return (
        f"is an {key.suite.name} key, and the merchant's private key is an {suite.name} key: take both from one "
        f"application at WeChat Pay, {suite.name} keys with {suite.name} keys"
    )
