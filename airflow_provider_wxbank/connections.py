# SPDX-License-Identifier: Apache-2.0
"""Reads an Airflow connection, says why it cannot be read, and masks what is secret in it in every form."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowNotFoundException,
    BaseHook,
    mask_secret,
    redact,
)
from asgiref.sync import sync_to_async

from airflow_provider_wxbank._compat import amask_secret, secrets_backends
from airflow_provider_wxbank.wechatpay.crypto.pem import key_lines
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials, WxBankError
from airflow_provider_wxbank.wechatpay.fields import visible
from airflow_provider_wxbank.wechatpay.merchants import URI_FIELD
from airflow_provider_wxbank.wechatpay.sharing import Turns, few_at_once
from airflow_provider_wxbank.wechatpay.signers.pkcs11_uri import PIN_FIELD, pins_in

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

_PROXY_PASSWORD = re.compile(r"://[^/@\s'\"]*?:([^/@\s'\"]+)@")

_TEXTS = ("login", "password", "host", "schema")


_MASKING: Turns = {}
"""Who masks what is secret in a connection."""


class NoConnection(WxBankError, AirflowNotFoundException):
    """Airflow has no connection of this id.

    It also says so when its API server could not be reached, so the task keeps its retries.
    """


def read_connection(conn_id: str, hook: BaseHook) -> tuple[Connection, Mapping[str, Any]]:
    """A connection and its extra.

    :raises NoConnection: there is none of this id.
    :raises InvalidCredentials: Airflow cannot read it; the message says what has to be corrected.
    :raises WxBankError: Airflow could not be asked.
    """
    try:
        connection = hook.get_connection(conn_id)
        extra = connection.extra_dejson
    except Exception as failure:
        raise _told(conn_id, failure) from None
    return connection, _checked_extra(conn_id, connection, extra)


async def aread_connection(conn_id: str, hook: BaseHook) -> tuple[Connection, Mapping[str, Any]]:
    """:func:`read_connection` for triggers and async tasks."""
    try:
        connection = await get_async_connection(conn_id, hook=hook)
        extra = await get_async_extra_dejson(connection)
    except Exception as failure:
        # In a thread, since it asks secrets backends, which may block.
        raise await sync_to_async(_told)(conn_id, failure) from None
    return connection, _checked_extra(conn_id, connection, extra)


def mask_secrets(connection: Connection, extra: Mapping[str, Any]) -> None:
    """Mask what is secret in a connection, in every form in which it may be written."""
    mask_secret([*secrets_of(connection.password, extra)])


async def amask_secrets(connection: Connection, extra: Mapping[str, Any]) -> None:
    """:func:`mask_secrets` in an event loop, which it never holds for long."""
    # The same for each of a thousand waits that begin.
    secrets = _secrets_once(str(connection.password or ""), json.dumps(extra, default=str))
    loop = asyncio.get_running_loop()
    # Airflow compiles all that it masks anew for each text that is new to it, which takes some ten milliseconds: so one
    # at a time, whoever masks, and none again.
    async with few_at_once(_MASKING, 1):
        masked = str(redact("\n".join(secrets)))
        for secret in secrets:
            if secret in masked:
                begin = loop.time()
                await amask_secret(secret)
                # Others get as long. Only to give way would not do: what they wait for comes rounds later.
                await asyncio.sleep(loop.time() - begin)


def secrets_of(password: object, extra: Mapping[str, Any]) -> list[str]:
    """What must be masked: the APIv3 key, PINs, passwords of proxies, lines of keys; also as URIs and JSON have them.

    Airflow masks only a whole field. A key that is printed in another layout is found line by line.
    """
    whole = [str(one) for one in (password, extra.get("naming_secret"), extra.get(PIN_FIELD)) if one]
    # As they are written, and as they are used.
    secrets = {form for one in whole for form in (one, visible(one).strip()) if form}
    secrets |= pins_in(str(extra.get(URI_FIELD) or ""))
    for name in ("merchant_private_key", "wechatpay_public_key"):
        # A public key is not masked: it is no secret, and each masked text slows Airflow down. But a private key may be
        # in its field by mistake.
        if isinstance(text := extra.get(name), str) and (name == "merchant_private_key" or "PRIVATE" in text):
            secrets |= key_lines(text)
    secrets |= {unquote(found) for found in _PROXY_PASSWORD.findall(str(extra.get("proxies") or ""))}
    return sorted({form for secret in secrets for form in _forms(secret)})


@lru_cache(maxsize=64)
def _secrets_once(password: str, extra: str) -> list[str]:
    """:func:`secrets_of`, of an extra as JSON: all of it is in Airflow's own memory, since it masks it."""
    return secrets_of(password, json.loads(extra))


def _forms(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret)
    yield quote(secret, safe="")
    yield json.dumps(secret)[1:-1]


def _checked_extra(conn_id: str, connection: Connection, extra: object) -> Mapping[str, Any]:
    if not extra:
        # Airflow gives an empty extra for one that is not JSON at all.
        try:
            extra = json.loads(connection.extra or "{}") or {}
        except (ValueError, RecursionError):
            extra = None
    if not isinstance(extra, Mapping):
        raise InvalidCredentials(f"the extra of the connection {conn_id} is not a JSON object")
    return extra


def _told(conn_id: str, failure: Exception) -> WxBankError:
    """Our error for what Airflow raised. Airflow's text is left out: it may quote the whole connection."""
    if isinstance(failure, AirflowNotFoundException):
        return _why_not_found(conn_id) or NoConnection(f"Airflow has no connection {conn_id}: add it, of type wxbank")
    if isinstance(failure, PermissionError):
        return InvalidCredentials(f"Airflow does not give the connection {conn_id} to this task: allow it")
    return WxBankError(f"Airflow could not read the connection {conn_id}: {type(failure).__name__}")


def _why_not_found(conn_id: str) -> WxBankError | None:
    """Our error for what a secrets backend raises. Airflow ignores that, and says that there is no such connection."""
    for backend in secrets_backends():
        connection = None
        try:
            connection = backend.get_connection(conn_id=conn_id)
            if connection is not None:
                connection.get_uri()
        except Exception as failure:
            place = type(backend).__name__
            if reason := _what_is_wrong(connection, failure):
                return InvalidCredentials(
                    f"Airflow has the connection {conn_id}, but cannot read it: {reason} (in {place})"
                )
            return WxBankError(
                f"Airflow found no connection {conn_id}, and could not ask {place}: {type(failure).__name__}"
            )
    return None


def _what_is_wrong(connection: Connection | None, failure: Exception) -> str | None:
    """Why what a backend has is not a connection; None if it is the backend that failed."""
    if fields := [name for name in _TEXTS if not isinstance(getattr(connection, name, None), str | None)]:
        return f"{' and '.join(fields)} must be a text, in quotes"
    name = type(failure).__name__
    match failure:
        case json.JSONDecodeError():
            return f"its JSON breaks off or has a mistake in line {failure.lineno}, column {failure.colno}"
        case TypeError():
            return "a field is unknown to Airflow, or is no text in quotes (TypeError)"
        case ValueError() | AirflowException():
            return f"it has not the form of a connection, or Airflow has no fernet_key to decrypt it with ({name})"
    return "it was encrypted with another fernet_key than Airflow has now" if name == "InvalidToken" else None
