"""Does a connection work? Asked with harmless calls, answered for a person."""

from __future__ import annotations

from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import Refused, Unauthorized, UnverifiedAnswer, WxBankError
from airflow_provider_wxbank.wechatpay.packages import list_tasks_page

PROBE_PACKAGE_ID = "0000"
"""A package that no merchant has: reading its tasks changes nothing, and even its refusal is signed."""


def examine(client: Client) -> tuple[bool, str]:
    """Sign a call and verify its answer, in the connection's key mode.

    In certificate mode the certificates are downloaded first, which tries the APIv3 key. Then the tasks of a package
    that does not exist are read: whether WeChat Pay lists none or refuses, a signed answer shows that it accepted our
    signature and that we can verify its own.

    :return: whether it works, and what to tell.
    """
    settings = client.settings
    try:
        if settings.mode == "certificates":
            client.keys.refresh()
        try:
            list_tasks_page(client, PROBE_PACKAGE_ID, limit=1)
            permission = ""
        except Unauthorized:
            raise
        except Refused as failure:
            if not failure.refusal.verified:
                return False, (
                    f"WeChat Pay, or something in between, answered without a valid signature, so its keys could not "
                    f"be checked: {failure}"
                )
            permission = (
                " The merchant may not use number packages yet: ask WeChat Pay for the permission."
                if failure.refusal.status == 403
                else ""
            )
    except UnverifiedAnswer as failure:
        return False, f"WeChat Pay's answer does not verify: {failure}"
    except WxBankError as failure:
        return False, str(failure)
    serials = ", ".join(key.serial_no for key in client.keys.known())
    return True, (
        f"Merchant {settings.merchant.mchid}: requests are accepted and answers verified. "
        f"Mode: {settings.mode}; platform keys: {serials}.{permission}"
    )
