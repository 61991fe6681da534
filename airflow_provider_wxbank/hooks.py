# SPDX-License-Identifier: Apache-2.0
"""WxBankHook: an Airflow connection becomes a client of WeChat Pay."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_wxbank._compat import allow_in_xcoms, prepare_metrics
from airflow_provider_wxbank.agreements.encryption import encrypt
from airflow_provider_wxbank.connections import amask_secrets, aread_connection, mask_secrets, read_connection
from airflow_provider_wxbank.packages import endpoints
from airflow_provider_wxbank.packages.connection_check import Step, in_one_message, skipped_after, walk
from airflow_provider_wxbank.packages.tasks import MAX_PAGE, TaskPage, UploadTask
from airflow_provider_wxbank.reporting.events import Observer, all_of
from airflow_provider_wxbank.reporting.metrics import Metrics
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import PlatformKey
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, WxBankError
from airflow_provider_wxbank.wechatpay.kept import kept_list
from airflow_provider_wxbank.wechatpay.loop import AsyncClient
from airflow_provider_wxbank.wechatpay.merchants import URI_FIELD
from airflow_provider_wxbank.wechatpay.settings import Settings, read_settings
from airflow_provider_wxbank.wechatpay.sharing import ReadTogether, Turns, few_at_once, shared_in
from airflow_provider_wxbank.wechatpay.sockets import sockets
from airflow_provider_wxbank.wechatpay.threads import off_loop
from airflow_provider_wxbank.wechatpay.tracebacks import forgets_locals

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

# The hook's methods return these, and a task may pass them on to other tasks.
allow_in_xcoms(TaskPage, UploadTask)

MAX_READING = 3
"""Connections that are read at once in an event loop."""


class WxBankHook(BaseHook):
    """Calls WeChat Pay APIv3 as the merchant of a connection of type ``wxbank``.

    :param wxbank_conn_id: its login is the merchant id, its password the APIv3 key (certificate mode only), its host
        the base URL (empty for WeChat Pay's own); the extras are described in
        :func:`~airflow_provider_wxbank.wechatpay.settings.read_settings`.
    """

    conn_name_attr = "wxbank_conn_id"
    default_conn_name = "wxbank_default"
    conn_type = "wxbank"
    hook_name = "WeChat Pay number packages"

    def __init__(self, wxbank_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.wxbank_conn_id = wxbank_conn_id
        self._client: Client | None = None
        self._in_loop: tuple[asyncio.AbstractEventLoop, AsyncClient] | None = None
        self._encryption_key: PlatformKey | None = None

    @forgets_locals
    def get_conn(self) -> Client:
        """The client, which is the same one for the life of the hook.

        :raises NoConnection: Airflow has no such connection; it is an ``AirflowNotFoundException``, too.
        :raises InvalidCredentials: the connection cannot be read, or lacks an identity or a key.
        :raises InvalidInput: another field of the connection is wrong.
        :raises TryLater: the device that has the merchant's key cannot be reached.
        """
        if self._client is None:
            connection, extra = read_connection(self.wxbank_conn_id, self)
            mask_secrets(connection, extra)
            self._client = self._new_client(self._read_settings(self.wxbank_conn_id, connection, extra))
        return self._client

    @forgets_locals
    async def aget_conn(self) -> Client:
        """:meth:`get_conn` for triggers and async tasks. The client's calls block, so call it in a thread."""
        if self._client is None:
            self._client = self._new_client(await self.asettings())
        return self._client

    @forgets_locals
    async def asettings(self) -> Settings:
        """What the connection tells a client.

        :raises WxBankError: as :meth:`get_conn`.
        """
        loop, conn_id = asyncio.get_running_loop(), self.wxbank_conn_id
        # A hook of somebody else's may read it in its own way.
        if type(self) is not WxBankHook:
            return await self._aread_settings(conn_id)
        with shared_in(_TOGETHER, (loop, conn_id), ReadTogether[Settings]) as together:
            # Not the connection that this hook may have been given while it waited.
            return await together.read(partial(self._aread_settings, conn_id))

    async def _aread_settings(self, conn_id: str) -> Settings:
        # Reading a connection, and masking what is secret in it, takes Airflow some milliseconds of the loop. A
        # triggerer that starts has a thousand waits to begin, and others need the loop as well.
        async with few_at_once(_READING, MAX_READING):
            connection, extra = await aread_connection(conn_id, self)
            await amask_secrets(connection, extra)
            if not extra.get(URI_FIELD):
                # In a thread of our own: it reads key files, and checks a private key for some 50 ms.
                return await off_loop("files", self._read_settings, conn_id, connection, extra)
        # A device may be slow to open, and others need not wait for it.
        return await off_loop("signatures", self._read_settings, conn_id, connection, extra)

    def _new_client(self, settings: Settings) -> Client:
        """A client for a task. Each task is a process, which need not download again what the last one has."""
        return Client(settings, tell=self.observer, kept=kept_list(settings))

    @property
    def observer(self) -> Observer:
        """What hears of the calls of this hook's clients."""
        return all_of(Metrics(self.wxbank_conn_id))

    def _read_settings(self, conn_id: str, connection: Connection, extra: Mapping[str, Any]) -> Settings:
        # This never runs in the thread of an event loop.
        prepare_metrics()
        try:
            return read_settings(connection.login, connection.password, connection.host, extra, connection.port)
        except WxBankError as failure:
            # The settings know nothing of Airflow, so the name of the connection is added here.
            failure.add_note(f"Connection: {conn_id}")
            raise

    @forgets_locals
    def request(self, method: str, path: str, **options: Any) -> Any:
        """A signed and verified call of any APIv3 endpoint; see :meth:`.Client.request`."""
        return self.get_conn().request(method, path, **options)

    @forgets_locals
    def create_task(
        self,
        package_id: str,
        file: str | Path | bytes,
        bank_type: str,
        filename: str | None = None,
        serial_no: str | None = None,
    ) -> UploadTask:
        """Upload one file of encrypted lines, with one POST (创建快捷交易协议号上传任务).

        :param file: path of the file on this machine, or its content; at most 5,500 rows and 2,000,000 bytes.
        :param filename: unique in the package, 4 to 128 of ``A-Z a-z 0-9 _ . -``; by default the file's own name.
        :param serial_no: the platform key that encrypted the lines; by default the key of this hook's :meth:`encrypt`.
        :raises OutcomeUnknown: it is not known whether the file was taken; :meth:`find_task` tells.
        """
        name, content = _named_content(file, filename)
        serial_no = serial_no or self.encryption_key().serial_no
        return endpoints.create_task(self.get_conn(), package_id, content, bank_type, name, serial_no)

    @forgets_locals
    def list_tasks_page(
        self,
        package_id: str,
        status: endpoints.Status | None = None,
        filename: str | None = None,
        offset: int = 0,
        limit: int = MAX_PAGE,
    ) -> TaskPage:
        """One page of a package's upload tasks (查询上传任务列表); see :func:`.list_tasks_page`."""
        return endpoints.list_tasks_page(self.get_conn(), package_id, status, filename, offset, limit)

    @forgets_locals
    def list_tasks(
        self, package_id: str, status: endpoints.Status | None = None, filename: str | None = None
    ) -> list[UploadTask]:
        """Every upload task of a package, each once; see :func:`.list_tasks`.

        A task may return this list for other tasks.
        """
        return list(endpoints.list_tasks(self.get_conn(), package_id, status, filename))

    @forgets_locals
    def find_task(self, package_id: str, filename: str) -> UploadTask | None:
        """The upload task of a filename, or None."""
        return endpoints.find_task(self.get_conn(), package_id, filename)

    @forgets_locals
    async def acreate_task(
        self,
        package_id: str,
        file: str | Path | bytes,
        bank_type: str,
        filename: str | None = None,
        serial_no: str | None = None,
    ) -> UploadTask:
        """:meth:`create_task` for async tasks; nothing in it blocks the event loop."""
        name, content = await off_loop("files", _named_content, file, filename)
        client = await self._async_client()
        if serial_no is None:
            self._encryption_key = self._encryption_key or await client.encryption_key()
            serial_no = self._encryption_key.serial_no
        return await endpoints.acreate_task(client, package_id, content, bank_type, name, serial_no)

    @forgets_locals
    async def alist_tasks(
        self, package_id: str, status: endpoints.Status | None = None, filename: str | None = None
    ) -> list[UploadTask]:
        """:meth:`list_tasks` for triggers and async tasks; nothing in it blocks the event loop."""
        client = await self._async_client()
        async with sockets():
            return [task async for task in endpoints.alist_tasks(client, package_id, status, filename)]

    async def _async_client(self) -> AsyncClient:
        loop = asyncio.get_running_loop()
        if self._in_loop is None or self._in_loop[0] is not loop:
            settings = await self.asettings()
            client = AsyncClient(settings, kept=kept_list(settings))
            # Somebody else may have made one meanwhile: all use the first.
            if self._in_loop is None or self._in_loop[0] is not loop:
                self._in_loop = loop, client
        return self._in_loop[1]

    @forgets_locals
    def encryption_key(self) -> PlatformKey:
        """The platform key that this hook encrypts with. It is taken once, so that key and serial stay together."""
        if self._encryption_key is None:
            self._encryption_key = self.get_conn().encryption_key()
        return self._encryption_key

    @forgets_locals
    def encrypt(self, text: str) -> str:
        """One encrypted line without its newline; its key is :meth:`encryption_key`."""
        return encrypt(self.encryption_key().public_key, text)

    @forgets_locals
    def test_connection(self) -> tuple[bool, str]:
        """Make harmless signed calls, in any mode, and say what is wrong: keys, serial, clock or network.

        :return: whether the connection works, and the result of :meth:`examine` in one message.
        """
        return in_one_message(self.examine())

    def examine(self, package_id: str | None = None) -> Iterator[Step]:
        """Examine the connection step by step, beginning with finding it, with calls that change nothing.

        :param package_id: a number package that should be readable.
        """
        try:
            connection, extra = read_connection(self.wxbank_conn_id, self)
        except WxBankError as failure:
            yield Step.failed("connection", failure)
            yield from skipped_after("connection", package_id)
            return
        mask_secrets(connection, extra)
        yield Step("connection", "ok", f"{self.wxbank_conn_id}: merchant {connection.login or '(empty)'}")
        yield from walk(connection.login, connection.password, connection.host, extra, connection.port, package_id)

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """The connection form for Airflow up to 3.1; later ones read the provider's metadata."""
        from airflow_provider_wxbank.get_provider_info import HIDDEN_FIELDS, LABELS, PLACEHOLDERS

        return {"hidden_fields": HIDDEN_FIELDS, "relabeling": LABELS, "placeholders": PLACEHOLDERS}

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """The connection form's own fields for Airflow up to 3.1."""
        from flask_appbuilder.fieldwidgets import (
            BS3PasswordFieldWidget,
            BS3TextAreaFieldWidget,
            BS3TextFieldWidget,
        )
        from flask_babel import lazy_gettext
        from wtforms import PasswordField, StringField

        from airflow_provider_wxbank.get_provider_info import FIELDS

        fields = {
            "multiline": (StringField, BS3TextAreaFieldWidget),
            "password": (PasswordField, BS3PasswordFieldWidget),
        }
        text = StringField, BS3TextFieldWidget
        return {
            name: fields.get(kind, text)[0](
                lazy_gettext(label), widget=fields.get(kind, text)[1](), description=help_text
            )
            for name, label, kind, help_text in FIELDS
        }


_READING: Turns = {}
"""Who reads a connection."""

_TOGETHER: dict[tuple[asyncio.AbstractEventLoop, str], tuple[ReadTogether[Settings], int]] = {}
"""By event loop and connection, who reads the same one."""


def _named_content(file: str | Path | bytes, filename: str | None) -> tuple[str, bytes]:
    """The name and the content of an agreement file."""
    if isinstance(file, bytes):
        if filename is None:
            raise InvalidInput("a file that is given as bytes needs a filename")
        return filename, file
    return filename or Path(file).name, Path(file).read_bytes()
