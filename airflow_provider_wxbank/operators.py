"""ExportUsersOperator and UploadTaskOperator: agreement numbers into files, files into a number package."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import BaseHook, BaseOperator

from airflow_provider_wxbank.agreements.export import export
from airflow_provider_wxbank.agreements.files import check_max_rows, check_prefix, naming_key, run_prefix
from airflow_provider_wxbank.agreements.manifest import Manifest, Origin, identified, split_identity
from airflow_provider_wxbank.agreements.numbers import OnInvalid, Values
from airflow_provider_wxbank.agreements.sources import read_files, read_sql
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.bank_types import is_known
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.lineage import ReportsLineage
from airflow_provider_wxbank.links import LINKS
from airflow_provider_wxbank.outgoing import Outgoing, check_same_files, of_encrypted_file, of_manifest, of_plain_file
from airflow_provider_wxbank.parameters import (
    WHY_NONE,
    TextParameters,
    check_nothing_inside,
    check_single,
    location,
    optional_text,
    text,
)
from airflow_provider_wxbank.progress import UploadProgress
from airflow_provider_wxbank.record import Record
from airflow_provider_wxbank.retry_policy import with_retry_policy
from airflow_provider_wxbank.wechatpay.errors import InvalidInput
from airflow_provider_wxbank.wechatpay.keys import check_serial_no
from airflow_provider_wxbank.wechatpay.packages import MAX_ROWS, check_bank_type, tasks_path
from airflow_provider_wxbank.wechatpay.tracebacks import forgets_locals
from airflow_provider_wxbank.wechatpay.uploads import Uploads, check_max_workers, processing_seconds

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, XComArg
    from airflow.providers.openlineage.extractors import OperatorLineage
    from sqlalchemy.engine import Engine

    from airflow_provider_wxbank.wechatpay.client import Client


class ExportUsersOperator(TextParameters, ReportsLineage, BaseOperator):
    """Export agreement numbers into encrypted agreement files and a manifest that lists them.

    The numbers come either from ``sql`` or from ``source``, as a stream. Only ciphertext is written. The manifest is
    written last; without it, nothing was exported.

    :param bank_type: bank and kind of card, for example ``ICBC_DEBIT`` (templated).
    :param output_path: folder for the files and ``manifest.json``: an absolute path, or a URL of object storage like
        ``s3://conn_id@bucket/folder`` (templated). Each export of a DAG run needs one of its own: end it with
        ``{{ run_id }}/{{ ti.task_id }}``, and with ``{{ ti.map_index }}`` if the task is mapped.
    :param sql: a query for the numbers; order it, so that a repeated export cuts the same files (templated).
    :param sql_conn_id: connection of the bank's database, any kind that Airflow has an SQL hook for.
    :param parameters: values for ``:name`` in ``sql`` (templated).
    :param source: instead of ``sql``, text files with one number a line, or with ``column`` CSV files with a header, or
        Parquet files; ``*`` matches many; those named ``.gz`` are decompressed (templated).
    :param column: the column with the numbers; needed when there are several (templated).
    :param prefix: first part of the filenames, 1 to 80 of ``A-Z a-z 0-9 _ . -``; the default is made from the DAG run,
        so that the next run imports anew. A fixed one makes an import idempotent across runs (templated).
    :param on_invalid: ``fail`` exports nothing if a row is no number; ``skip`` leaves such rows out, at most 100,000,
        and keeps their positions in the manifest.
    :param max_rows_per_file: 1 to 5,500.
    :param wxbank_conn_id: connection of type ``wxbank`` (templated).
    :return: URI of the manifest with its identity, ``.../manifest.json#`` and 16 hexadecimal digits. Give it to
        :class:`UploadTaskOperator` as it is: a manifest that was replaced meanwhile is refused by it.
    """

    template_fields: Sequence[str] = (
        "bank_type",
        "output_path",
        "sql",
        "sql_conn_id",
        "parameters",
        "source",
        "column",
        "prefix",
        "wxbank_conn_id",
    )
    template_ext: Sequence[str] = (".sql",)
    texts = frozenset(template_fields) - {"parameters"}
    paths = frozenset({"output_path", "source"})
    of_texts = frozenset({"parameters"})
    template_fields_renderers = {"sql": "sql", "parameters": "json"}  # noqa: RUF012  # as Airflow declares it
    ui_color = "#d9f2e3"
    operator_extra_links = LINKS

    def __init__(
        self,
        *,
        bank_type: str,
        output_path: str,
        sql: str | None = None,
        sql_conn_id: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        source: str | None = None,
        column: str | None = None,
        prefix: str | None = None,
        on_invalid: OnInvalid = "fail",
        max_rows_per_file: int = MAX_ROWS,
        wxbank_conn_id: str = WxBankHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**with_retry_policy(kwargs))
        self.bank_type = bank_type
        self.output_path = output_path
        self.sql = sql
        self.sql_conn_id = sql_conn_id
        self.parameters = parameters
        self.source = source
        self.column = column
        self.prefix = prefix
        self.on_invalid = on_invalid
        self.max_rows_per_file = max_rows_per_file
        self.wxbank_conn_id = wxbank_conn_id
        self._manifest: Manifest | None = None

    @forgets_locals
    def execute(self, context: Context) -> str:
        """Export; return the manifest's URI with its identity."""
        prefix = optional_text(self.prefix, "prefix") or default_prefix(context)
        target, manifest = self.export(prefix, context)
        return identified(target.uri, manifest.identity)

    @forgets_locals
    def export(self, prefix: str, context: Context | None = None) -> tuple[Location, Manifest]:
        """What :meth:`execute` does, for callers without a DAG run; where the manifest is, and what it says."""
        self._check()
        warn_unknown_bank_type(self.log, self.bank_type)
        check_prefix(prefix)
        check_nothing_inside(prefix, "prefix")
        folder = location(self.output_path, "output_path")
        source = None if self.source is None else location(self.source, "source")
        record = Record(context, step="export", wxbank_conn_id=self.wxbank_conn_id, bank_type=self.bank_type)
        record.tell()
        with closing(WxBankHook(self.wxbank_conn_id).get_conn()) as client, self._values(source) as values:
            target, manifest = export(
                values,
                folder,
                bank_type=self.bank_type,
                prefix=prefix,
                naming_key=naming_key(client.settings.merchant.private_key),
                encryption_key=client.encryption_key,
                max_rows=self.max_rows_per_file,
                on_invalid=self.on_invalid,
                origin=None if context is None else origin(context),
            )
        self._manifest = manifest
        uri = identified(target.uri, manifest.identity)
        self.log.info(
            "Exported %d numbers into %d files; %d rows skipped; manifest: %s",
            manifest.rows,
            len(manifest.files),
            manifest.skipped_count,
            uri,
        )
        record.tell(manifest=uri, files=len(manifest.files), rows=manifest.rows, skipped=manifest.skipped_count)
        return target, manifest

    def lineage(self) -> OperatorLineage[Any, Any]:
        """The tables or files, the folder of the export, and the counts."""
        from airflow_provider_wxbank.facets import export_lineage

        return export_lineage(self.sql, self.sql_conn_id, self.source, self.output_path, self._manifest)

    def _check(self) -> None:
        """Everything that can be told to be wrong before anything is read."""
        if (self.sql is None) == (self.source is None):
            raise InvalidInput(f"give either sql (with sql_conn_id) or source, and not both{_both(self.sql)}")
        self.check_texts()
        if self.sql is not None and not self.sql_conn_id:
            raise InvalidInput("sql needs sql_conn_id, the connection of the bank's database")
        if self.sql is None and (self.sql_conn_id or self.parameters):
            raise InvalidInput("sql_conn_id and parameters go with sql, not with source")
        if not isinstance(self.parameters, Mapping | None):
            raise InvalidInput(
                f"parameters is of type {type(self.parameters).__name__}: it must be a mapping of names to values. If "
                "it is a template, let the DAG have render_template_as_native_obj=True"
            )
        if self.on_invalid not in ("fail", "skip"):
            raise InvalidInput(f'on_invalid must be "fail" or "skip", not {self.on_invalid!r}')
        check_bank_type(text(self.bank_type, "bank_type"))
        check_max_rows(self.max_rows_per_file)

    @contextmanager
    def _values(self, source: Location | None) -> Iterator[Iterable[Values]]:
        if source is not None:
            yield read_files(source, self.column)
            return
        assert self.sql is not None
        if "order by" not in self.sql.lower():
            self.log.warning(
                "sql has no ORDER BY: if it is exported again after its upload, the database may give another order, "
                "the files are cut differently, and numbers are imported a second time"
            )
        engine = sql_engine(self.sql_conn_id or "")
        try:
            with closing(read_sql(engine, self.sql, self.parameters, self.column)) as values:
                yield values
        finally:
            engine.dispose()


class UploadTaskOperator(TextParameters, ReportsLineage, BaseOperator):
    """Upload agreement files into a number package, each exactly once, whatever fails in between.

    Give a ``manifest`` of :class:`ExportUsersOperator`, or one ``file``. What an earlier try uploaded is found by its
    filename and adopted. After a failure no more files are started; a retry uploads what is missing.

    :param package_id: the number package (号码包), as the merchant platform shows it (templated).
    :param manifest: the result of :class:`ExportUsersOperator`; or the path of a manifest, for whichever is there
        (templated).
    :param file: a text file with one plain number a line, of any length: encrypted and cut in memory; or with
        ``encrypted=True`` one agreement file that is uploaded byte for byte (templated).
    :param bank_type: for ``file``; a manifest has its own (templated).
    :param encrypted: whether ``file`` holds encrypted lines.
    :param serial_no: for an encrypted file, the serial of the platform key that encrypted it (templated).
    :param max_workers: uploads at a time, 1 to 64.
    :param wxbank_conn_id: connection of type ``wxbank`` (templated).
    :return: ``{"package_id", "bank_type", "rows", "tasks": [{"task_id", "filename", "rows"}]}``, and ``"manifest"``
        with its identity if there is one.
    """

    template_fields: Sequence[str] = (
        "package_id",
        "manifest",
        "file",
        "bank_type",
        "serial_no",
        "wxbank_conn_id",
    )
    texts = frozenset(template_fields)
    paths = frozenset({"manifest", "file"})
    ui_color = "#b7e4c7"
    operator_extra_links = LINKS

    def __init__(
        self,
        *,
        package_id: str,
        manifest: str | XComArg | None = None,
        file: str | None = None,
        bank_type: str | None = None,
        encrypted: bool = False,
        serial_no: str | None = None,
        max_workers: int = 8,
        wxbank_conn_id: str = WxBankHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**with_retry_policy(kwargs))
        self.package_id = package_id
        # Airflow puts the value in the place of another task's output before it is used.
        self.manifest = cast("str | None", manifest)
        self.file = file
        self.bank_type = bank_type
        self.encrypted = encrypted
        self.serial_no = serial_no
        self.max_workers = max_workers
        self.wxbank_conn_id = wxbank_conn_id
        self._uploads: Uploads | None = None

    @forgets_locals
    def execute(self, context: Context) -> dict[str, Any]:
        """Upload; return the upload tasks."""
        record = Record(
            context,
            step="upload",
            wxbank_conn_id=self.wxbank_conn_id,
            package_id=self.package_id,
            bank_type=self.bank_type,
            manifest=self.manifest,
        )
        progress = UploadProgress(context.get("task_state_store"), self.package_id, self.log, record)
        return self.upload(default_prefix(context), progress)

    @forgets_locals
    def upload(self, prefix: str, progress: UploadProgress) -> dict[str, Any]:
        """What :meth:`execute` does, for callers without a DAG run."""
        self._check()
        progress.begin()
        with closing(WxBankHook(self.wxbank_conn_id).get_conn()) as client:
            return self._upload(client, prefix, progress)

    def _upload(self, client: Client, prefix: str, progress: UploadProgress) -> dict[str, Any]:
        known = progress.uploaded_before()
        outgoing = self._outgoing(client, prefix, known)
        check_same_files(outgoing.filenames, known, self.package_id)
        progress.reads(outgoing.manifest)
        self._uploads = Uploads(
            client,
            self.package_id,
            max_workers=self.max_workers,
            total_files=len(outgoing.filenames),
            total_rows=outgoing.rows,
            known=known,
            on_progress=progress.note,
        )
        try:
            uploaded = self._uploads.run(outgoing.files)
        finally:
            progress.save()
        rows = sum(one.rows for one in uploaded)
        self.log.info(
            "Package %s has %d numbers in %d tasks of this import; WeChat Pay processes them in about %d minutes",
            self.package_id,
            rows,
            len(uploaded),
            round(processing_seconds(rows) / 60),
        )
        result = {
            "package_id": self.package_id,
            "bank_type": outgoing.bank_type,
            "rows": rows,
            "tasks": [{"task_id": one.task_id, "filename": one.filename, "rows": one.rows} for one in uploaded],
        }
        return result if outgoing.manifest is None else {**result, "manifest": outgoing.manifest}

    def _outgoing(self, client: Client, prefix: str, known: Collection[str]) -> Outgoing:
        """What is to be uploaded, checked before anything is sent."""
        key = naming_key(client.settings.merchant.private_key)
        if self.manifest is not None:
            path, identity = split_identity(self.manifest)
            where = location(path, "manifest")
            return of_manifest(where, identity, key, self.bank_type, known, self.max_workers)
        assert self.file is not None
        assert self.bank_type is not None
        where = location(self.file, "file")
        if self.encrypted:
            assert self.serial_no is not None
            return of_encrypted_file(where, key, prefix, self.bank_type, self.serial_no)
        return of_plain_file(where, key, prefix, self.bank_type, client.encryption_key)

    def lineage(self) -> OperatorLineage[Any, Any]:
        """The files, the package, and how much is with WeChat Pay."""
        from airflow_provider_wxbank.facets import upload_lineage

        progress = None if self._uploads is None else self._uploads.progress
        return upload_lineage(self.manifest, self.file, self.package_id, progress)

    def on_kill(self) -> None:
        """Start no more uploads; a retry adopts what was uploaded."""
        if self._uploads is not None:
            self._uploads.stop()

    def _check(self) -> None:
        tasks_path(text(self.package_id, "package_id"))
        check_single(self.manifest, "manifest", "UploadTaskOperator.partial(...).expand(manifest=...)")
        check_max_workers(self.max_workers)
        if (self.manifest is None) == (self.file is None):
            raise InvalidInput(f"give either manifest or file, and not both{_both(self.manifest)}")
        self.check_texts()
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
            warn_unknown_bank_type(self.log, self.bank_type)


def sql_engine(conn_id: str) -> Engine:
    """The SQLAlchemy engine of any connection that Airflow has an SQL hook for."""
    hook = BaseHook.get_connection(conn_id).get_hook()
    if not hasattr(hook, "get_sqlalchemy_engine"):
        raise InvalidInput(f"sql_conn_id {conn_id} is not the connection of an SQL database")
    engine: Engine = hook.get_sqlalchemy_engine()
    return engine


def _both(one: object) -> str:
    """What to add to "give one of two": why neither may be there."""
    return "" if one is not None else f". Both are None: {WHY_NONE}"


def origin(context: Context) -> Origin:
    """The task that runs."""
    ti = context["ti"]
    return Origin(ti.dag_id, ti.run_id, ti.task_id, -1 if ti.map_index is None else ti.map_index)


def default_prefix(context: Context) -> str:
    """The prefix of a DAG run's filenames."""
    return run_prefix(context["ti"].dag_id, context["ti"].run_id)


def warn_unknown_bank_type(log: Any, bank_type: str) -> None:
    """Warn of a bank type that WeChat Pay's page (P/4012076355) does not list; its full table may."""
    if not is_known(bank_type):
        log.warning(
            "bank_type %s is not in the list of WeChat Pay's page; if it is mistyped, no number will match",
            bank_type,
        )
