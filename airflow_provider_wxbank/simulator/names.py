# SPDX-License-Identifier: Apache-2.0
"""The names in the simulator's certificates."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID

PLATFORM = "Tenpay.com sign (simulator)"
ROOT = "Tenpay.com Root CA (simulator)"


def name_of(common_name: str) -> x509.Name:
    """A name that has no other part."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
