# SPDX-License-Identifier: Apache-2.0
"""Private keys that were read in this process, so that each is checked once: the library takes 40 ms for that."""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

MAX_KEYS = 64
"""Keys that are kept: a process has one for each merchant, and a triggerer starts a wait with it again and again."""

_READ: dict[bytes, PrivateKeyTypes] = {}
"""By the digest of what they were read from; the text itself is not kept."""


def read_private_key(pem: bytes) -> PrivateKeyTypes:
    """A private key without a passphrase, checked when it is first read.

    :raises ValueError: it cannot be read, or is no key; also what the library raises besides.
    """
    digest = sha256(pem).digest()
    key = _READ.get(digest)
    if key is None:
        key = load_pem_private_key(pem, password=None)
        if len(_READ) >= MAX_KEYS:
            # Whoever has as many merchants reads some keys again now and then.
            _READ.clear()
        _READ[digest] = key
    return key
