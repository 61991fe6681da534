"""Does a connection work? Asked with harmless calls, answered for a person."""

from __future__ import annotations

from dataclasses import replace

from airflow_provider_wxbank.wechatpay.client import Client, parsed, target
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidCredentials,
    NotReached,
    Refused,
    Unauthorized,
    UnknownSerial,
    UnverifiedAnswer,
    WrongSignature,
    WxBankError,
)
from airflow_provider_wxbank.wechatpay.keys import is_public_key_id
from airflow_provider_wxbank.wechatpay.packages import tasks_path
from airflow_provider_wxbank.wechatpay.settings import Settings
from airflow_provider_wxbank.wechatpay.transport import Call

PROBE_PACKAGE_ID = "0000"
"""A package that no merchant has: reading its tasks changes nothing, and even its refusal is signed."""


def examine(client: Client) -> tuple[bool, str]:
    """Sign a call and verify its answer, in the connection's key mode.

    The tasks of a package that does not exist are read: whether WeChat Pay lists none or refuses, a signed answer shows
    that it accepted our signature and that we can verify its own. Where there is an APIv3 key, the certificates are
    downloaded, which tries it; and a public key must have signed the answer, since uploads are encrypted with it.

    :return: whether it works, and what to tell: the cause first.
    """
    settings = client.settings
    notes: list[str] = []
    try:
        if settings.mode == "certificates":
            client.keys.refresh()
        notes += _probe(client)
        if settings.mode == "both":
            notes += _try_apiv3_key(client)
    except WxBankError as failure:
        return False, _told(failure, settings)
    serials = ", ".join(key.serial_no for key in client.keys.known())
    works = (
        f"Merchant {settings.merchant.mchid}: requests are accepted and answers verified. "
        f"Mode: {settings.mode}; platform keys: {serials}."
    )
    return True, " ".join([works, *notes])


def _probe(client: Client) -> list[str]:
    """Make the call; what is to be noted although it was answered as it should."""
    asked = client.keys.request_serial
    call = Call("GET", target(tasks_path(PROBE_PACKAGE_ID), {"offset": 0, "limit": 1}), serial_no=asked)
    try:
        answer = client.send(call)
    except Unauthorized:
        raise
    except Refused as failure:
        if not failure.refusal.verified:
            kind = type(failure.__cause__) if isinstance(failure.__cause__, UnverifiedAnswer) else UnverifiedAnswer
            raise kind(f"{failure.__cause__}. {failure}") from None
        if failure.refusal.status == 403:
            return ["The merchant may not use number packages yet: ask WeChat Pay for the permission."]
        return []
    parsed(answer)
    signed_by = answer.headers["Wechatpay-Serial"]
    if asked is not None and not is_public_key_id(signed_by):
        raise InvalidCredentials(
            f"WeChat Pay does not sign with the public key {asked} but with the certificate {signed_by}: compare "
            "wechatpay_public_key_id with the merchant platform. If the migration to the public key was stopped, empty "
            "both fields"
        )
    return []


def _try_apiv3_key(client: Client) -> list[str]:
    """Download certificates; what is to be noted if the merchant has none any more."""
    try:
        client.keys.refresh()
    except InvalidCredentials as failure:
        if isinstance(failure.__cause__, Refused):
            return ["It has no platform certificates any more: empty the password."]
        raise
    return []


def _told(failure: WxBankError, settings: Settings) -> str:
    """A failure for a person: what to correct, then what happened."""
    match failure:
        case Unauthorized(refusal=refusal):
            # The cause would stand behind the answer otherwise, where a short field cuts it off.
            return f"{refusal.hint}. {replace(refusal, hint='')}"
        case NotReached():
            return f"No connection to {settings.base_url}: check the network, the proxy and the host. {failure}"
        case WrongSignature() if settings.public_key is not None and settings.public_key.serial_no in str(failure):
            return f"wechatpay_public_key is not WeChat Pay's {settings.public_key.serial_no}: {failure}"
        case UnknownSerial() if settings.public_key is not None:
            return (
                f"WeChat Pay does not sign with {settings.public_key.serial_no}: compare wechatpay_public_key_id with "
                f"the merchant platform. {failure}"
            )
        case UnverifiedAnswer():
            return f"WeChat Pay's answer does not verify: {failure}"
    return str(failure)
