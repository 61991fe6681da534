# SPDX-License-Identifier: Apache-2.0
"""The two suites of WeChat Pay in the simulator, as values. They are written apart from the client's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from airflow_provider_wxbank.simulator import rsa, sm2
from airflow_provider_wxbank.simulator.settings import SuiteName


class Key(Protocol):
    """A key pair of the simulator's, whose private half it has."""

    @property
    def der(self) -> bytes:
        """Its private half as PKCS#8."""

    @property
    def public_der(self) -> bytes:
        """Its public half as SubjectPublicKeyInfo."""

    def sign(self, message: bytes) -> bytes:
        """A signature."""

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether a signature is one of this key."""

    def decrypt(self, block: bytes) -> bytes:
        """:raises ValueError: it does not decrypt."""

    def certify(self, public_der: bytes, whose: str, serial_no: str, effective: float, expires: float) -> bytes:
        """A certificate in PEM that this key, the root's, has signed; that of the root itself for its own key.

        :param public_der: the key that it is for.
        :param whose: the common name.
        :param effective: unix seconds.
        """


@dataclass(frozen=True, slots=True)
class Suite:
    """What changes with the algorithm.

    :param scheme: in ``Authorization`` and ``Wechatpay-Signature-Type``.
    :param algorithm_type: what the download of certificates asks for.
    :param sealing: the ``algorithm`` of a sealed certificate.
    :param seal: seals with the APIv3 key, a nonce, a content and associated data.
    """

    scheme: str
    algorithm_type: str
    sealing: str
    seal: Callable[[str, bytes, bytes, bytes], bytes] = field(repr=False)
    new_key: Callable[[], Key] = field(repr=False)
    read_key: Callable[[str], Key] = field(repr=False)


SUITES: dict[SuiteName, Suite] = {
    "rsa": Suite("WECHATPAY2-SHA256-RSA2048", "RSA", "AEAD_AES_256_GCM", rsa.seal, rsa.new_key, rsa.read_key),
    "sm2": Suite("WECHATPAY2-SM2-WITH-SM3", "SM2", "AEAD_SM4_GCM", sm2.seal, sm2.new_key, sm2.read_key),
}
