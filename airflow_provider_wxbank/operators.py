# SPDX-License-Identifier: Apache-2.0
"""ExportUsersOperator and UploadTaskOperator: agreement numbers into files, files into a number package.

CleanExportsOperator, which removes the files again, is in :mod:`.cleaning`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_wxbank._compat import task_state_store
from airflow_provider_wxbank.agreements.files import MAX_ROWS, run_prefix
from airflow_provider_wxbank.agreements.manifest import Origin
from airflow_provider_wxbank.agreements.numbers import OnInvalid
from airflow_provider_wxbank.agreements.seal import identified
from airflow_provider_wxbank.cleaning import CleanExportsOperator as CleanExportsOperator  # public here
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.links import LINKS
from airflow_provider_wxbank.parameters import TextParameters, check_single
from airflow_provider_wxbank.reporting.events import all_of
from airflow_provider_wxbank.reporting.failing import failing
from airflow_provider_wxbank.reporting.lineage import Done, ReportsLineage
from airflow_provider_wxbank.reporting.progress import ProgressLog, UploadStore
from airflow_provider_wxbank.reporting.record import Sums
from airflow_provider_wxbank.reporting.recorder import Recorder
from airflow_provider_wxbank.retry_policy import with_retry_policy
from airflow_provider_wxbank.steps import ExportInput, UploadInput, export, upload
from airflow_provider_wxbank.wechatpay.tracebacks import forgets_locals

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, XComArg
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_wxbank.packages.upload import Upload


class ExportUsersOperator(TextParameters, ReportsLineage, BaseOperator):
    """Export agreement numbers into encrypted agreement files and a manifest that lists them.

    The numbers come either from ``sql`` or from ``source``, as a stream. Only ciphertext is written. The manifest is
    written last; without it, nothing was exported.

    :param bank_type: bank and kind of card, for example ``ICBC_DEBIT`` (templated).
    :param output_path: folder for the files and ``manifest.json``: an absolute path, or a URL of object storage like
        ``s3://conn_id@bucket/folder`` (templated). Each export of a DAG run needs its own folder: end it with
        ``{{ run_id }}/{{ ti.task_id }}``, and with ``{{ ti.map_index }}`` if the task is mapped.
    :param sql: a query for the numbers; order it, so that a repeated export cuts the same files (templated).
    :param sql_conn_id: connection of the bank's database, any kind that Airflow has an SQL hook for. It is
        streamed where there is an SQLAlchemy dialect for it; else its own driver decides on the memory.
    :param parameters: values for ``:name`` in ``sql`` (templated).
    :param source: instead of ``sql``, a file, a pattern with ``*``, or a folder: text files with one number a line, or
        with columns, or Parquet files. What a file is, and whether it is compressed, is told by its first bytes
        (templated).
    :param column: the column with the numbers, which is needed when there are several: its name, whose case and blanks
        around it do not matter; its number, from 1; or for lines of fixed width its first and its last character, from
        1, such as ``(1, 18)`` (templated).
    :param dialect: how text files are laid out, where that is not usual (templated): ``encoding`` (``utf-8``; for GBK
        ``gb18030``), ``delimiter`` (``,``; of any length, such as ``|@|`` or ``\\x01``), ``quotechar`` (``"``; None for
        none), ``header`` (True where ``column`` is a name or a number), and ``skip_rows`` and ``skip_footer``, the
        lines before the header and at the end that are no rows of the list.
    :param expected_rows: how many rows the source must have, as the bank's control file or a count says: with any other
        number of them the export fails before its manifest is written. Rows that are skipped count (templated).
    :param prefix: first part of the filenames, 1 to 80 characters of ``A-Z a-z 0-9 _ . -``. The default is made from
        the DAG run, so that the next run imports anew. A fixed one makes an import idempotent across runs (templated).
    :param on_invalid: ``fail`` exports nothing if a row is not a number; ``skip`` leaves such rows out, at most
        100,000, and keeps their positions in the manifest.
    :param max_rows_per_file: 1 to 5,500.
    :param wxbank_conn_id: connection of type ``wxbank`` (templated).
    :return: URI of the manifest with its identity, ``.../manifest.json#`` and 16 hexadecimal digits. Give it to
        :class:`UploadTaskOperator` as it is, which then refuses a manifest that was replaced meanwhile.
    """

    template_fields: Sequence[str] = (
        "bank_type",
        "output_path",
        "sql",
        "sql_conn_id",
        "parameters",
        "source",
        "column",
        "dialect",
        "expected_rows",
        "prefix",
        "wxbank_conn_id",
    )
    template_ext: Sequence[str] = (".sql",)
    texts = frozenset(template_fields) - {"parameters", "dialect"}
    or_numbers = frozenset({"column", "expected_rows"})
    paths = frozenset({"output_path", "source"})
    of_texts = frozenset({"parameters", "dialect"})
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
        column: str | int | Sequence[int] | None = None,
        dialect: Mapping[str, Any] | None = None,
        expected_rows: int | str | XComArg | None = None,
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
        self.dialect = dialect
        self.expected_rows = expected_rows
        self.prefix = prefix
        self.on_invalid = on_invalid
        self.max_rows_per_file = max_rows_per_file
        self.wxbank_conn_id = wxbank_conn_id
        self._done = Done()

    @forgets_locals
    def execute(self, context: Context) -> str:
        """Export; return the manifest's URI with its identity."""
        sums = Sums("export", wxbank_conn_id=self.wxbank_conn_id, bank_type=self.bank_type)
        tell = all_of(Recorder(context, sums), self._done)
        with failing("export", tell):
            self.check_texts()
        given = ExportInput(
            self.bank_type,
            self.output_path,
            self.sql,
            self.sql_conn_id,
            self.parameters,
            self.source,
            self.column,
            self.dialect,
            self.expected_rows,
            self.on_invalid,
            self.max_rows_per_file,
        )
        prefix = self.prefix or default_prefix(context)
        target, manifest = export(given, WxBankHook(self.wxbank_conn_id), prefix, origin(context), tell)
        return identified(target.uri, manifest.identity)

    def lineage(self) -> OperatorLineage[Any, Any]:
        """The tables or files, the folder of the export, and the counts."""
        from airflow_provider_wxbank.reporting.openlineage import export_lineage

        return export_lineage(self.sql, self.sql_conn_id, self.source, self.output_path, self._done.exported)


class UploadTaskOperator(TextParameters, ReportsLineage, BaseOperator):
    """Upload agreement files into a number package, each exactly once, whatever fails in between.

    Give a ``manifest`` of :class:`ExportUsersOperator`, or one ``file``. What an earlier try uploaded is found by its
    filename and adopted. After a failure no more files are started; a retry uploads what is missing.

    :param package_id: the number package (号码包), as the merchant platform shows it (templated).
    :param manifest: the result of :class:`ExportUsersOperator`; or the path of a manifest, to take whichever is there
        (templated).
    :param file: a text file of any length with one plain number a line, which is encrypted and cut in memory; or with
        ``encrypted=True`` one agreement file, which is uploaded byte for byte (templated).
    :param bank_type: for ``file``; a manifest has its own (templated).
    :param encrypted: whether ``file`` holds encrypted lines.
    :param serial_no: for an encrypted file, the serial of the platform key that encrypted it (templated).
    :param max_workers: uploads at a time, 1 to 64.
    :param wxbank_conn_id: connection of type ``wxbank`` (templated).
    :return: ``{"package_id", "bank_type", "rows", "tasks": [{"task_id", "filename", "rows"}]}``, and ``"manifest"``
        with its identity if there is one. A task that was there already, and was not sent by this try, also has
        ``"adopted": True``.
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
        # If this is another task's output, Airflow replaces it with the value before it is used.
        self.manifest = cast("str | None", manifest)
        self.file = file
        self.bank_type = bank_type
        self.encrypted = encrypted
        self.serial_no = serial_no
        self.max_workers = max_workers
        self.wxbank_conn_id = wxbank_conn_id
        self._done = Done()
        self._upload: Upload | None = None

    @forgets_locals
    def execute(self, context: Context) -> dict[str, Any]:
        """Upload; return the upload tasks."""
        sums = Sums(
            "upload",
            wxbank_conn_id=self.wxbank_conn_id,
            package_id=self.package_id,
            bank_type=self.bank_type,
            manifest=self.manifest,
        )
        store = UploadStore(task_state_store(context), self.package_id)
        tell = all_of(ProgressLog(self.log), store, Recorder(context, sums), self._done)
        with failing("upload", tell):
            check_single(self.manifest, "manifest", "UploadTaskOperator.partial(...).expand(manifest=...)")
            self.check_texts()
        given = UploadInput(
            self.package_id,
            self.manifest,
            self.file,
            self.bank_type,
            self.encrypted,
            self.serial_no,
            self.max_workers,
        )
        return upload(
            given,
            WxBankHook(self.wxbank_conn_id),
            default_prefix(context),
            known=store.uploaded_before,
            tell=tell,
            starts=self._starts,
        )

    def _starts(self, upload: Upload) -> None:
        self._upload = upload

    def on_kill(self) -> None:
        """Start no more uploads; a retry adopts what was uploaded."""
        # It may be called before the upload begins.
        if self._upload is not None:
            self._upload.stop()

    def lineage(self) -> OperatorLineage[Any, Any]:
        """The files, the package, and how much WeChat Pay has."""
        from airflow_provider_wxbank.reporting.openlineage import upload_lineage

        return upload_lineage(self.manifest, self.file, self.package_id, self._done.uploaded)


def origin(context: Context) -> Origin:
    """The task that runs."""
    ti = context["ti"]
    return Origin(ti.dag_id, ti.run_id, ti.task_id, -1 if ti.map_index is None else ti.map_index)


def default_prefix(context: Context) -> str:
    """The prefix of a DAG run's filenames."""
    return run_prefix(context["ti"].dag_id, context["ti"].run_id)
