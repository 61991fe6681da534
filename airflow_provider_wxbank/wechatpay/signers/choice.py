# SPDX-License-Identifier: Apache-2.0
"""Which signer a URI names. Packages add schemes by entry points; a connection names a scheme, never code to import.

A signer for a scheme ``kms`` of a package of one's own::

    [project.entry-points."airflow_provider_wxbank.signers"]
    kms = "bank_kms:signer"

where ``bank_kms.signer`` is a :class:`SignerOfUri`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from airflow_provider_wxbank.wechatpay.crypto.signing import Signer
from airflow_provider_wxbank.wechatpay.errors import AGAIN, InvalidCredentials, TryLater

GROUP = "airflow_provider_wxbank.signers"

BUILT_IN = {"pkcs11": ("airflow_provider_wxbank.wechatpay.signers.tokens", "signer")}
"""No other package can take these schemes."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


class SignerOfUri(Protocol):
    """What an entry point of the group ``airflow_provider_wxbank.signers`` is: it gives the signer that a URI names.

    It is called each time that a connection is read, in any thread, in a triggerer for each wait: what takes long, it
    keeps itself, for the process alone in which it was made. The public key of a signer is made with
    :func:`~airflow_provider_wxbank.wechatpay.crypto.keys.read_public_key` from its ``SubjectPublicKeyInfo``.
    """

    def __call__(self, uri: str, values: Mapping[str, str], /) -> Signer:
        """The signer of a merchant.

        :param uri: ``merchant_private_key_uri``, with its scheme.
        :param values: ``merchant_serial_no``, which is the signer's, and every extra of the connection whose name
            begins with ``merchant_private_key_``, for secrets: Airflow hides texts of such names. Numbers, which it
            does not hide, are refused.
        :raises InvalidCredentials: the connection has to be corrected. Messages must not quote secrets.
        :raises TryLater: the key cannot be reached now.
        """


def signer_of(uri: str, values: Mapping[str, str]) -> Signer:
    """The signer that a URI names; see :class:`SignerOfUri`.

    :raises InvalidCredentials: it has no scheme, or one that no installed package has, or what the scheme's raises.
    :raises TryLater: the key cannot be reached now.
    """
    match = _SCHEME.match(uri)
    if match is None:
        raise InvalidCredentials(
            "merchant_private_key_uri must begin with a scheme, like pkcs11:token=...; the path of a PEM belongs into "
            "merchant_private_key_file"
        )
    scheme = match[1].lower()
    make = _maker(scheme)
    try:
        return make(uri, values)
    except (InvalidCredentials, TryLater):
        raise
    except Exception as failure:
        # Its text may quote anything.
        raise TryLater(f"the signer for {scheme}: failed: {type(failure).__name__}{AGAIN}") from None


def _maker(scheme: str) -> SignerOfUri:
    if scheme in BUILT_IN:
        module, name = BUILT_IN[scheme]
        built_in: SignerOfUri = getattr(import_module(module), name)
        return built_in
    # A scheme is the same in capitals.
    found = [one for one in entry_points(group=GROUP) if one.name.lower() == scheme]
    # The same one is found once for each place on the path that has it.
    values = {one.value for one in found}
    if len(values) > 1:
        raise InvalidCredentials(
            f"several packages have a signer for {scheme}: ({', '.join(sorted(set(map(_whose, found))))})"
        )
    if not values:
        known = sorted({*BUILT_IN, *(one.name.lower() for one in entry_points(group=GROUP))})
        raise InvalidCredentials(
            f"merchant_private_key_uri has the scheme {scheme[:40]}, for which no package is installed here; installed "
            f"are {', '.join(known)}"
        )
    try:
        loaded: SignerOfUri = found[0].load()
    except Exception as failure:
        raise InvalidCredentials(
            f"the signer for {scheme}: cannot be loaded ({_whose(found[0])}): {type(failure).__name__}"
        ) from None
    return loaded


def _whose(entry: EntryPoint) -> str:
    return f"{entry.dist.name}: {entry.value}" if entry.dist else entry.value
