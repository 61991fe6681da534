# SPDX-License-Identifier: Apache-2.0
"""Seals of the documents that this package writes and reads again: manifests and receipts.

Such a document begins with a keyed digest over all that follows, so that it is parsed only once it is known to be our
own. The digest's first digits are its identity, by which results name it: a document that took its place has another.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

BEGINNING = b'{\n "hmac_sha256": "'
IDENTITY_DIGITS = 16

_DIGEST_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Seal:
    """What seals the documents of a connection, and whose they are: merchants may share a ``naming_secret``.

    :param key: see :func:`~airflow_provider_wxbank.agreements.files.naming_key`.
    """

    mchid: str
    key: bytes = field(repr=False)


def sealed(kind: str, rest: bytes, naming_key: bytes) -> bytes:
    """A document: what follows the digest, with the digest put before it.

    :param kind: what the document is, so that none is taken for one of another kind.
    :param naming_key: see :func:`~airflow_provider_wxbank.agreements.files.naming_key`.
    """
    return BEGINNING + _digest(kind, rest, naming_key) + rest


def is_authentic(kind: str, content: bytes, naming_key: bytes) -> bool:
    """Whether a document has its seal, and is as it was written."""
    if not content.startswith(BEGINNING):
        return False
    digest, rest = content[len(BEGINNING) :][:_DIGEST_DIGITS], content[len(BEGINNING) + _DIGEST_DIGITS :]
    # In constant time.
    return hmac.compare_digest(digest, _digest(kind, rest, naming_key))


def identity_of(content: bytes) -> str:
    """The identity of a document: the first 16 hexadecimal digits of its digest."""
    return content[len(BEGINNING) :][:IDENTITY_DIGITS].decode("ascii", "replace")


def identified(uri: str, identity: str) -> str:
    """A document's URI with its identity, as results give it."""
    return f"{uri}#{identity}"


def _digest(kind: str, rest: bytes, naming_key: bytes) -> bytes:
    return hmac.new(naming_key, f"{kind}\n".encode() + rest, hashlib.sha256).hexdigest().encode()
