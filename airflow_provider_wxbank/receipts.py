# SPDX-License-Identifier: Apache-2.0
"""Receipts of imports: made when a wait is over, and written once. :mod:`.reporting.receipt` is what one says."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_wxbank import __version__
from airflow_provider_wxbank.agreements.files import AgreementFile, naming_key
from airflow_provider_wxbank.agreements.manifest import NAME as MANIFEST
from airflow_provider_wxbank.agreements.manifest import read_manifest, split_identity
from airflow_provider_wxbank.agreements.private import disk_of
from airflow_provider_wxbank.agreements.seal import Seal, identified, identity_of
from airflow_provider_wxbank.agreements.storage_errors import telling
from airflow_provider_wxbank.packages.reconcile import rows_of
from airflow_provider_wxbank.packages.tasks import UploadTask
from airflow_provider_wxbank.packages.wanted import Wanted
from airflow_provider_wxbank.parameters import location
from airflow_provider_wxbank.reporting.events import Observer, ReceiptWritten, nobody
from airflow_provider_wxbank.reporting.receipt import (
    MAX_RECEIPT_BYTES,
    NAME,
    ExportSaid,
    Receipt,
    ReceiptFile,
    Run,
    read_receipt,
    to_bytes,
)
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, WrongReceipt, WxBankError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_wxbank.agreements.storage import Location
    from airflow_provider_wxbank.wechatpay.client import Client

log = logging.getLogger(__name__)


def seal_of(client: Client) -> Seal:
    """What seals the documents of a connection."""
    merchant = client.settings.merchant
    return Seal(merchant.mchid, naming_key(merchant.signer, client.settings.naming_secret))


def receipt_place(written: str, name: str = "receipt_path") -> Location:
    """Where a receipt is: a path that ends in ``.json`` is its file, any other is a folder for ``receipt.json``.

    :raises InvalidInput: it has the name of a manifest.
    """
    where = location(written, name)
    if where.name.lower() == MANIFEST:
        raise InvalidInput(
            f"{name} {where.uri} has the name of a manifest, which the next export into this folder removes: give the "
            "receipt another name, or give the folder alone"
        )
    return where if where.name.lower().endswith(".json") else where.child(NAME)


def run_of(context: Context) -> Run:
    """The try of a task that runs."""
    ti, dag_run = context["ti"], context.get("dag_run")
    run_type = getattr(dag_run, "run_type", None)
    return Run(
        ti.dag_id,
        ti.run_id,
        ti.task_id,
        -1 if ti.map_index is None else ti.map_index,
        getattr(ti, "try_number", None),
        # An enumeration, of which some versions give the value.
        None if run_type is None else str(getattr(run_type, "value", run_type)),
        # From Airflow 3.1 on.
        getattr(dag_run, "triggering_user_name", None),
    )


@dataclass(frozen=True, slots=True)
class Waited:
    """What a wait that is over knows.

    :param uploads: the results of uploads that it was for; none if the tasks were named otherwise.
    """

    target: Wanted
    uploads: Sequence[Mapping[str, Any]]
    tasks: Sequence[UploadTask]
    run: Run
    max_fail_ratio: float | None

    def receipt(self, client: Client) -> Receipt:
        """Its receipt, with what the manifests of the uploads say, where they are still there.

        :raises TryLater: the place of a manifest was not reached.
        """
        exports: dict[str, ExportSaid] = {}
        listed: defaultdict[str, set[str]] = defaultdict(set)
        uploaded: defaultdict[str, list[_Uploaded]] = defaultdict(list)
        key = seal_of(client).key
        for upload in self.uploads:
            files: Mapping[str, AgreementFile] = {}
            if manifest := upload.get("manifest"):
                said, files = _export(str(manifest), key)
                exports[str(manifest)] = said
                for name in files if said.identity else ():
                    listed[name].add(str(said.identity))
            for task in upload["tasks"]:
                uploaded[str(task["task_id"])].append(_Uploaded.of(upload, task, files))

        def file(task: UploadTask) -> ReceiptFile:
            told = uploaded[task.task_id]
            rows = {one.rows for one in told if one.rows is not None}
            # Two that both say to have sent it do not know of `adopted`: then it is not known which bytes were sent.
            sent = {(one.file.sha256, one.file.serial_no) for one in told if one.file and not one.adopted}
            sha256, serial_no = sent.pop() if len(sent) == 1 else (None, None)
            return ReceiptFile(
                task.filename, task.task_id, next((one.bank_type for one in told if one.bank_type), task.bank_type),
                rows.pop() if len(rows) == 1 else None,
                all(one.adopted for one in told) if told else None,
                sha256, serial_no, tuple(sorted(listed[task.filename])),
                _text(task.create_time), _text(task.update_time),
                task.success_count, task.fail_count, task.success_user_count,
            )  # fmt: skip

        return Receipt(
            client.settings.merchant.mchid,
            self.target.package_id,
            self._waited_for(),
            self.run,
            tuple(exports.values()),
            tuple(map(file, self.tasks)),
            None if self.max_fail_ratio is None else float(self.max_fail_ratio),
            datetime.now(UTC).isoformat(),
            __version__,
        )

    def _waited_for(self) -> str:
        if self.uploads:
            return "upload"
        if self.target.task_ids is not None:
            return "task_ids"
        return "package" if self.target.filenames is None else "filenames"


@dataclass(frozen=True, slots=True)
class _Uploaded:
    """What an upload tells of one of its tasks.

    :param file: as the manifest of the upload has it; None if it has none.
    """

    bank_type: str | None
    rows: int | None
    adopted: bool
    file: AgreementFile | None

    @classmethod
    def of(cls, upload: Mapping[str, Any], task: Mapping[str, Any], files: Mapping[str, AgreementFile]) -> _Uploaded:
        """Of a task in an upload's result."""
        file = files.get(str(task.get("filename")))
        return cls(upload.get("bank_type"), rows_of(task), task.get("adopted") is True, file)


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _export(written: str, key: bytes) -> tuple[ExportSaid, Mapping[str, AgreementFile]]:
    """What is known of an export, and its files by name, if its manifest can be read."""
    uri, identity = written.partition("#")[0], None
    try:
        uri, identity = split_identity(written)
        manifest = read_manifest(location(uri, "manifest"), key, identity)
    except InvalidInput as failure:
        # Its files were uploaded nevertheless: that it is gone must not keep a receipt from being written.
        log.warning("The receipt will not say which sha256 and key the files had: %s", failure)
        return ExportSaid(uri, identity, str(failure)), {}
    said = ExportSaid(uri, manifest.identity, None, manifest.created_at, manifest.rows, manifest.skipped_count)
    return said, {file.filename: file for file in manifest.files}


def check_place(where: Location, run: Run, seal: Seal) -> None:
    """Check that a receipt can be written there, as far as that can be seen before there is one.

    :raises InvalidInput: something else is there, or on the way to it.
    """
    with telling(where.uri, "read"):
        # In an object store there are no folders, and only writing shows what may be written.
        if disk := disk_of(where.filesystem, is_local=where.is_local):
            folder = where.parent
            while folder.path and not disk.has(folder.path):
                folder = folder.parent
            if folder.path and not disk.is_folder(folder.path):
                raise InvalidInput(f"{where.uri} cannot be written: {folder.uri} is no folder")
        is_there = where.exists() if disk is None else disk.has(where.path)
    if is_there:
        _own(where.read(MAX_RECEIPT_BYTES, ": a link of this name leads nowhere"), where.uri, run, seal)


def write_receipt(written: str, waited: Waited, client: Client, tell: Observer = nobody) -> str:
    """Write a receipt, unless an earlier try of the task has written it. Whatever is there is never overwritten.

    :param written: as for :func:`receipt_place`.
    :return: its URI with its identity.
    :raises InvalidInput: something else is there, or it may not be written.
    :raises TryLater: there is no room for it, or its place was not reached.
    """
    try:
        where = receipt_place(written)
        content = _written(where, waited.receipt(client), seal_of(client))
    except WxBankError as failure:
        failure.add_note(
            "The upload tasks are finished; only their receipt could not be written. Another try of the task writes "
            "it, and neither waits nor uploads again"
        )
        raise
    uri = identified(where.uri, identity_of(content))
    log.info("Receipt: %s", uri)
    tell(ReceiptWritten(waited.target.package_id, uri, hashlib.sha256(content).hexdigest()))
    return uri


def _written(where: Location, receipt: Receipt, seal: Seal) -> bytes:
    """What is there now."""
    content = to_bytes(receipt, seal.key)
    if where.write(content, only_new=True):
        return content
    content = where.read(MAX_RECEIPT_BYTES)
    there = _own(content, where.uri, receipt.run, seal)
    if not there.says_the_same_as(receipt):
        raise InvalidInput(
            f"{where.uri} is the receipt that this task wrote on {there.written_at}, and WeChat Pay's counts, the "
            "files or max_fail_ratio were others then. A receipt is never overwritten: move it to where it is kept, or "
            "give each try its own, for example with {{ ti.try_number }} in receipt_path"
        )
    return content


def _own(content: bytes, where: str, run: Run, seal: Seal) -> Receipt:
    """The receipt that an earlier try of this task wrote.

    :raises InvalidInput: it is anything else.
    """
    try:
        there = read_receipt(content, where, seal)
    except WrongReceipt as failure:
        raise InvalidInput(
            f"receipt_path names a file that is there and is not this task's receipt, and it is not overwritten: "
            f"{failure}"
        ) from None
    if there.run.task != run.task:
        raise InvalidInput(
            f"{where} is the receipt of {there.run}, and is not overwritten. Give each task of each run its own "
            "receipt_path, for example ending in {{ run_id }}/{{ ti.task_id }}, and with {{ ti.map_index }} if the "
            "task is mapped"
        )
    return there
