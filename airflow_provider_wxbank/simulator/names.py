# SPDX-License-Identifier: Apache-2.0
"""The names in the simulator's certificates."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID

SUBJECT = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tenpay.com sign (simulator)")])
ISSUER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tenpay.com Root CA (simulator)")])
