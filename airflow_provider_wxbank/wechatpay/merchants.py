# SPDX-License-Identifier: Apache-2.0
"""The merchant of a connection: its id, the serial number of its certificate, and who signs for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from airflow_provider_wxbank.wechatpay.crypto.pem import MAX_PEM_BYTES, decoded, load_private_key
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import is_public_key_id
from airflow_provider_wxbank.wechatpay.crypto.signing import Merchant, PemSigner, Signer
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials
from airflow_provider_wxbank.wechatpay.fields import read_secret, read_text
from airflow_provider_wxbank.wechatpay.files import read_file
from airflow_provider_wxbank.wechatpay.signers.choice import signer_of

KEY_FIELD = "merchant_private_key"
URI_FIELD = f"{KEY_FIELD}_uri"

_MCHID = re.compile(r"[0-9]{1,32}")
_SERIAL = re.compile(r"[0-9A-Fa-f]{1,64}")
_SERIAL_NAME = re.compile(r"serial(number|no)?[=:]|0x", re.IGNORECASE)
"""What tools write before a serial; openssl writes ``serial=``."""
_SERIAL_DIGITS = 40
"""Hexadecimal digits of the longest serial that a certificate may have (RFC 5280: 20 octets)."""


def read_merchant(mchid: object, extra: Mapping[str, object]) -> Merchant:
    """The merchant of a connection, in whose name requests are signed; see :func:`read_settings`.

    :raises InvalidCredentials: its id, serial number or private key is missing or wrong.
    :raises TryLater: the device that has the key cannot be reached.
    """
    mchid = read_text(mchid, "the merchant id (login)")
    if not mchid:
        raise InvalidCredentials("the connection has no merchant id: fill in mchid as its login")
    if not _MCHID.fullmatch(mchid):
        raise InvalidCredentials("the merchant id (login) must be digits only")
    serial_no = _serial_no(read_text(extra.get("merchant_serial_no"), "merchant_serial_no"))
    return Merchant(mchid, _signer(serial_no, extra))


def _signer(serial_no: str, extra: Mapping[str, object]) -> Signer:
    key, uri = text_or_file(extra, "merchant_private_key"), read_secret(extra.get(URI_FIELD), URI_FIELD, "the URI")
    if key is not None and uri:
        raise InvalidCredentials(f"fill in {URI_FIELD}, or the key itself ({key[1].partition(' ')[0]}), not both")
    if uri:
        others = (pair for pair in extra.items() if pair[0].startswith(f"{KEY_FIELD}_") and pair[0] != URI_FIELD)
        values = {URI_FIELD: uri, **{name: read_secret(value, name, "the secret itself") for name, value in others}}
        return signer_of(uri, {**values, "merchant_serial_no": serial_no})
    if key is None:
        raise InvalidCredentials(
            f"the connection has no private key: fill in {KEY_FIELD} (the text of apiclient_key.pem), "
            f"{KEY_FIELD}_file (its path) or {URI_FIELD} (a key in a device)"
        )
    return PemSigner(serial_no, load_private_key(*key))


def _serial_no(text: str) -> str:
    """A certificate's serial as WeChat Pay writes it, from whatever form a tool shows."""
    text = "".join(text.split())
    serial_no = _SERIAL_NAME.sub("", text, count=1) if _SERIAL_NAME.match(text) else text
    serial_no = serial_no.replace(":", "")
    if not serial_no:
        raise InvalidCredentials("the connection has no merchant_serial_no: the serial of the API certificate")
    if is_public_key_id(serial_no):
        raise InvalidCredentials(
            "merchant_serial_no is the id of WeChat Pay's public key: take the serial of apiclient_cert.pem"
        )
    if not _SERIAL.fullmatch(serial_no):
        raise InvalidCredentials("merchant_serial_no must be hexadecimal, as the merchant platform shows it")
    if len(serial_no) > _SERIAL_DIGITS and serial_no.isdigit():
        raise InvalidCredentials(
            f"merchant_serial_no is decimal, as some viewers show it: fill in {int(serial_no):X}, its hexadecimal form"
        )
    return serial_no.upper()


def text_or_file(extra: Mapping[str, object], name: str) -> tuple[str, str] | None:
    """A key's text, and how messages name it; None if neither the text nor its file is given."""
    text, path = read_text(extra.get(name), name), read_text(extra.get(f"{name}_file"), f"{name}_file")
    if text and path:
        raise InvalidCredentials(f"fill in {name} or {name}_file, not both")
    if not path:
        return (text, name) if text else None
    what = f"{name}_file {path}"
    try:
        return decoded(read_file(Path(path), MAX_PEM_BYTES + 1), what), what
    except (OSError, ValueError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else "it is no path"
        raise InvalidCredentials(f"{name}_file cannot be read: {path}: {reason}") from None
