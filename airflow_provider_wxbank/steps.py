# SPDX-License-Identifier: Apache-2.0
"""The steps export and upload, as operators and the command line run them: inputs are checked, observers are told."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from airflow_provider_wxbank.agreements.export import export as export_files
from airflow_provider_wxbank.agreements.files import (
    MAX_ROWS,
    check_bank_type,
    check_max_rows,
    check_prefix,
    naming_key,
)
from airflow_provider_wxbank.agreements.manifest import Manifest, Origin, split_identity
from airflow_provider_wxbank.agreements.numbers import OnInvalid, Values
from airflow_provider_wxbank.agreements.outgoing import Outgoing, of_encrypted_file, of_manifest, of_plain_file
from airflow_provider_wxbank.agreements.sources.dialect import Dialect, column_of, count_of
from airflow_provider_wxbank.agreements.sources.files import read_files
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.databases import query
from airflow_provider_wxbank.packages.bank_types import is_known
from airflow_provider_wxbank.packages.endpoints import tasks_path
from airflow_provider_wxbank.packages.plan import UploadPlan, planned
from airflow_provider_wxbank.packages.upload import Upload, check_max_workers, result_of
from airflow_provider_wxbank.parameters import WHY_NONE, check_nothing_inside, location, text
from airflow_provider_wxbank.reporting.events import Began, Ended, Observer, Step, all_of, nobody
from airflow_provider_wxbank.reporting.failing import failing
from airflow_provider_wxbank.reporting.metrics import Metrics
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import check_serial_no
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

if TYPE_CHECKING:
    from airflow_provider_wxbank.hooks import WxBankHook
    from airflow_provider_wxbank.wechatpay.client import Client

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExportInput:
    """What an export is given; :class:`.ExportUsersOperator` describes each parameter."""

    bank_type: str
    output_path: str
    sql: str | None = None
    sql_conn_id: str | None = None
    parameters: Mapping[str, Any] | None = None
    source: str | None = None
    column: object = None
    dialect: Mapping[str, Any] | None = None
    expected_rows: object = None
    on_invalid: OnInvalid = "fail"
    max_rows_per_file: int = MAX_ROWS

    def check(self) -> None:
        """Check everything that can be seen to be wrong before anything is read.

        :raises InvalidInput: something is wrong.
        """
        if (self.sql is None) == (self.source is None):
            raise InvalidInput(f"give either sql (with sql_conn_id) or source, and not both{_both(self.sql)}")
        if self.sql is not None and not self.sql_conn_id:
            raise InvalidInput("sql needs sql_conn_id, the connection of the bank's database")
        if self.sql is None and (self.sql_conn_id or self.parameters):
            raise InvalidInput("sql_conn_id and parameters go with sql, not with source")
        if self.source is None and self.dialect is not None:
            raise InvalidInput("dialect goes with source: it says how text files are laid out")
        if not isinstance(self.parameters, Mapping | None):
            raise InvalidInput(
                f"parameters is of type {type(self.parameters).__name__}: it must be a mapping of names to values. If "
                "it is a template, let the DAG have render_template_as_native_obj=True"
            )
        if self.on_invalid not in ("fail", "skip"):
            raise InvalidInput(f'on_invalid must be "fail" or "skip", not {self.on_invalid!r}')
        check_bank_type(text(self.bank_type, "bank_type"))
        check_max_rows(self.max_rows_per_file)
        Dialect.of(self.dialect).check(column_of(self.column))
        count_of(self.expected_rows, "expected_rows")
        _warn_of_unknown(self.bank_type)

    @contextmanager
    def values(self) -> Iterator[Iterable[Values]]:
        """The numbers of the list, as a stream."""
        if self.source is not None:
            where = location(self.source, "source")
            yield read_files(where, column_of(self.column), Dialect.of(self.dialect))
            return
        assert self.sql is not None
        # Dialects differ, and for a warning a plain search is enough.
        if "order by" not in self.sql.lower():
            log.warning(
                "sql has no ORDER BY: if it is exported again after its upload, the database may give another order, "
                "the files are cut differently, and numbers are imported a second time"
            )
        with query(self.sql_conn_id or "", self.sql, self.parameters, column_of(self.column)) as values:
            yield values


def export(
    given: ExportInput, hook: WxBankHook, prefix: str, origin: Origin | None = None, tell: Observer = nobody
) -> tuple[Location, Manifest]:
    """Export a list into encrypted files.

    :param prefix: first part of the filenames.
    :param origin: the task that exports; None on the command line.
    :return: where the manifest is, and what it says.
    """
    # The beginning is told first, so that whatever is wrong is told as a failure of the step.
    tell = all_of(tell, Metrics(hook.wxbank_conn_id, given.bank_type))
    with _telling("export", tell):
        given.check()
        check_prefix(prefix)
        check_nothing_inside(prefix, "prefix")
        folder = location(given.output_path, "output_path")
        # For its check alone: the files are looked for only when the connection was read.
        if given.source is not None:
            location(given.source, "source")
        with closing(hook.get_conn()) as client, given.values() as values:
            target, manifest = export_files(
                values,
                folder,
                bank_type=given.bank_type,
                prefix=prefix,
                naming_key=naming_key(client.settings.merchant.signer, client.settings.naming_secret),
                encryption_key=client.encryption_key,
                max_rows=given.max_rows_per_file,
                on_invalid=given.on_invalid,
                expected_rows=count_of(given.expected_rows, "expected_rows"),
                origin=origin,
                tell=tell,
            )
    _warn_of_days(len(manifest.files), client.settings.daily_file_quota)
    return target, manifest


@dataclass(frozen=True, slots=True)
class UploadInput:
    """What an upload is given; :class:`.UploadTaskOperator` describes each parameter."""

    package_id: str
    manifest: str | None = None
    file: str | None = None
    bank_type: str | None = None
    encrypted: bool = False
    serial_no: str | None = None
    max_workers: int = 8

    def check(self) -> None:
        """Check everything that can be seen to be wrong before anything is read.

        :raises InvalidInput: something is wrong.
        """
        # The path itself is not needed here.
        tasks_path(text(self.package_id, "package_id"))
        check_max_workers(self.max_workers)
        if (self.manifest is None) == (self.file is None):
            raise InvalidInput(f"give either manifest or file, and not both{_both(self.manifest)}")
        if self.manifest is not None and (self.encrypted or self.serial_no):
            raise InvalidInput("encrypted and serial_no go with file; a manifest has them itself")
        if self.file is not None and not self.bank_type:
            raise InvalidInput("file needs bank_type, for example ICBC_DEBIT")
        if self.encrypted and not self.serial_no:
            raise InvalidInput("encrypted=True needs serial_no: the serial of the platform key that encrypted the file")
        if self.serial_no and not self.encrypted:
            raise InvalidInput("serial_no goes with encrypted=True; plain numbers are encrypted here")
        if self.serial_no is not None:
            check_serial_no(self.serial_no)
        if self.bank_type is not None:
            check_bank_type(self.bank_type)
            _warn_of_unknown(self.bank_type)

    def outgoing(self, client: Client, prefix: str, known: Collection[str]) -> Outgoing:
        """What is to be uploaded, checked before anything is sent.

        :param prefix: first part of the filenames, if it is a single file.
        :param known: names of files that need not be read, since they were uploaded before.
        """
        settings = client.settings
        key = naming_key(settings.merchant.signer, settings.naming_secret)
        if self.manifest is not None:
            path, identity = split_identity(self.manifest)
            where = location(path, "manifest")
            return of_manifest(where, identity, key, self.bank_type, known, self.max_workers)
        # As check() has made sure.
        assert self.file is not None
        assert self.bank_type is not None
        check_prefix(prefix)
        where = location(self.file, "file")
        if self.encrypted:
            assert self.serial_no is not None
            return of_encrypted_file(where, key, prefix, self.bank_type, self.serial_no, settings.merchant.suite)
        return of_plain_file(where, key, prefix, self.bank_type, client.encryption_key)


def upload(
    given: UploadInput,
    hook: WxBankHook,
    prefix: str,
    *,
    known: Callable[[], Mapping[str, str]] = dict,
    tell: Observer = nobody,
    starts: Callable[[Upload], None] = lambda upload: None,
    asks: Callable[[Outgoing, Client], None] = lambda outgoing, client: None,
) -> dict[str, Any]:
    """Upload a list into a package.

    :param known: gives filename to task id of what an earlier try has uploaded.
    :param asks: is called with what was checked, before anything is sent. What it raises ends the upload.
    :param starts: is called with the upload before it begins, so that the caller can stop it.
    :return: the result as users get it.
    """
    tell = all_of(tell, Metrics(hook.wxbank_conn_id))
    with _telling("upload", tell):
        given.check()
        with closing(hook.get_conn()) as client:
            # Before the files are read: those that were uploaded before need not be.
            uploaded_before = known()
            outgoing = given.outgoing(client, prefix, uploaded_before)
            asks(outgoing, client)
            upload = Upload(client, given.package_id, max_workers=given.max_workers, known=uploaded_before, tell=tell)
            starts(upload)
            result = result_of(given.package_id, outgoing, upload.run(outgoing))
    log.info(
        "Package %s has %d numbers in %d tasks of this import", given.package_id, result["rows"], len(result["tasks"])
    )
    return result


def plan_upload(given: UploadInput, hook: WxBankHook, prefix: str) -> UploadPlan:
    """What :func:`upload` would do. Everything is read and checked alike, and nothing is sent."""
    given.check()
    with closing(hook.get_conn()) as client:
        outgoing = given.outgoing(client, prefix, ())
        return planned(client, given.package_id, outgoing, given.max_workers, time.time())


@contextmanager
def _telling(step: Step, tell: Observer) -> Iterator[None]:
    """Tell of the beginning and the end of a step, and of its failure."""
    tell(Began(step))
    try:
        with failing(step, tell):
            yield
    finally:
        tell(Ended(step))


def _warn_of_days(files: int, quota: int) -> None:
    """Warn of a list that is not uploaded within a day: mostly the query has found more than was meant."""
    if files > quota:
        log.warning(
            "The list has %d files, and WeChat Pay takes %d a day of a merchant: its upload will take %d days. If that "
            "is more than was meant, do not upload it: numbers cannot be taken out of a package",
            files,
            quota,
            ceil(files / quota),
        )


def _both(one: object) -> str:
    """What to add to "give one of two" if neither was given: why both may be None."""
    return "" if one is not None else f". Both are None: {WHY_NONE}"


def _warn_of_unknown(bank_type: str) -> None:
    """Warn of a bank type that WeChat Pay's page (P/4012076355) does not list; its full table may."""
    if not is_known(bank_type):
        log.warning(
            "bank_type %s is not in the list of WeChat Pay's page; if it is mistyped, no number will match", bank_type
        )
