# SPDX-License-Identifier: Apache-2.0
"""What OpenLineage is told: what was read, what was written, and how much.

This module needs OpenLineage, and is imported when OpenLineage's provider asks. Datasets are named as OpenLineage's
naming specification says. An export is one dataset, its folder, since it may have thousands of files. Nothing here
knows a number, a key, or a parameter of a query.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.providers.common.compat.sdk import BaseHook
from airflow.providers.openlineage.extractors import OperatorLineage
from airflow.providers.openlineage.sqlparser import DatabaseInfo, SQLParser
from attrs import define
from openlineage.client.event_v2 import Dataset, InputDataset, OutputDataset
from openlineage.client.facet_v2 import JobFacet, RunFacet, output_statistics_output_dataset, sql_job

from airflow_provider_wxbank import __version__
from airflow_provider_wxbank.databases import engine_of
from airflow_provider_wxbank.reporting.events import Exported, FileUploaded, Finished
from airflow_provider_wxbank.reporting.lineage import NAMESPACE

COUNTS = "wxbank_counts"

# Names, not addresses: if OpenLineage's readers look them up, it must not be where somebody else can put a file.
PRODUCER = f"urn:airflow-provider-wxbank:{__version__}"
COUNTS_SCHEMA = "urn:airflow-provider-wxbank:WxBankCountsRunFacet:1-1-0"
"""The ``$id`` of docs/WxBankCountsRunFacet.json, with the version of that schema."""

_WILDCARDS = frozenset("*?[")
_SCHEMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}

log = logging.getLogger(__name__)


@define
class WxBankCountsRunFacet(RunFacet):
    """How much a run did. What is not known, or does not concern its task, is left out.

    :param numbers: agreement numbers that were exported, or uploaded, or are in finished upload tasks.
    :param files: agreement files, each of which is an upload task.
    :param skippedRows: rows that were not a number, and were left out of the export.
    :param successCount: numbers that matched.
    :param failCount: numbers that did not.
    :param successUserCount: WeChat Pay users matched; a number may belong to several.
    :param unaccounted: by how many numbers these counts differ from what was sent, file by file.
    :param receiptSha256: the digest of the receipt of the import, if one was written.
    """

    numbers: int
    files: int
    skippedRows: int | None = None  # noqa: N815  # as OpenLineage writes names
    successCount: int | None = None  # noqa: N815  # likewise
    failCount: int | None = None  # noqa: N815  # likewise
    successUserCount: int | None = None  # noqa: N815  # likewise
    unaccounted: int | None = None
    receiptSha256: str | None = None  # noqa: N815  # likewise

    @staticmethod
    def _get_schema() -> str:
        return COUNTS_SCHEMA


def export_lineage(
    sql: str | None, sql_conn_id: str | None, source: str | None, output_path: str, exported: Exported | None
) -> OperatorLineage[Any, Any]:
    """Tables or files become a folder of agreement files.

    :param exported: what was exported; None before that.
    """
    read = OperatorLineage() if sql is None else sql_lineage(sql, sql_conn_id or "")
    if source is not None:
        read.inputs = [InputDataset(*place(source))]
    folder = OutputDataset(*place(output_path))
    if exported is None:
        return OperatorLineage(read.inputs, [folder], read.run_facets, read.job_facets)
    folder.outputFacets = statistics(exported.rows, exported.files, exported.bytes)
    counts = counts_facet(exported.rows, exported.files, skippedRows=exported.skipped)
    return OperatorLineage(read.inputs, [folder], {**read.run_facets, COUNTS: counts}, read.job_facets)


def upload_lineage(
    manifest: str | None, file: str | None, package_id: str, uploaded: FileUploaded | None
) -> OperatorLineage[Any, Any]:
    """A folder of agreement files, or a file, goes into a package.

    :param uploaded: the last file that WeChat Pay has, also after a failure; None before the first one.
    """
    read = file if manifest is None else manifest.rpartition("/")[0]
    inputs: list[Dataset] = [] if read is None else [InputDataset(*place(read))]
    package = OutputDataset(NAMESPACE, package_id)
    if uploaded is None:
        return OperatorLineage(inputs, [package])
    rows, files = uploaded.done_rows, uploaded.done_files
    package.outputFacets = statistics(rows, files)
    return OperatorLineage(inputs, [package], {COUNTS: counts_facet(rows, files)})


def wait_lineage(
    package_id: str, finished: Finished | None, receipt_sha256: str | None = None
) -> OperatorLineage[Any, Any]:
    """A package has the numbers that matched.

    :param finished: the upload tasks; None before they are finished.
    :param receipt_sha256: the digest of the receipt; None if none was written.
    """
    package = OutputDataset(NAMESPACE, package_id)
    if finished is None:
        return OperatorLineage([], [package])
    package.outputFacets = statistics(finished.success_count, finished.tasks)
    facet = counts_facet(
        finished.success_count + finished.fail_count,
        finished.tasks,
        successCount=finished.success_count,
        failCount=finished.fail_count,
        successUserCount=finished.success_user_count,
        unaccounted=finished.unaccounted,
        receiptSha256=receipt_sha256,
    )
    return OperatorLineage([], [package], {COUNTS: facet})


def sql_lineage(sql: str, conn_id: str) -> OperatorLineage[Any, Any]:
    """The tables that a query reads, and its text; the text alone if the tables cannot be found out."""
    job_facets: dict[str, JobFacet] = {"sql": sql_job.SQLJobFacet(query=SQLParser.normalize_sql(sql))}
    try:
        connection = BaseHook.get_connection(conn_id)
        hook = connection.get_hook()
        if (info := hook.get_openlineage_database_info(connection)) is None:
            engine = engine_of(hook, connection)
            inputs = [] if engine is None else tables_by_url(sql, engine.url)
            return OperatorLineage(inputs, job_facets=job_facets)
        parser = SQLParser(hook.get_openlineage_database_dialect(connection), hook.get_openlineage_default_schema())
        return parser.generate_openlineage_metadata_from_sql(sql, hook, info, use_connection=False)
    except Exception as failure:  # if the database cannot be reached, the task fails by itself
        log.warning("The tables of the query are not told to OpenLineage: %s", type(failure).__name__)
        return OperatorLineage(job_facets=job_facets)


def tables_by_url(sql: str, url: Any) -> list[Dataset]:
    """The tables that a query reads, for a database such as SQLite, whose hook does not know OpenLineage."""
    authority = ":".join(str(part) for part in (url.host, url.port) if part)
    namespace = SQLParser.create_namespace(DatabaseInfo(url.get_backend_name(), authority))
    parsed = SQLParser().parse(SQLParser.split_sql_string(sql))
    tables = parsed.in_tables if parsed else []
    return [
        InputDataset(namespace, ".".join(part for part in (url.database, table.schema, table.name) if part))
        for table in tables
    ]


def place(uri: str) -> tuple[str, str]:
    """Namespace and name of a file or folder; for a pattern, of the folder that all its files are in."""
    if wildcards := [uri.index(character) for character in _WILDCARDS if character in uri]:
        uri = uri[: uri.rindex("/", 0, min(wildcards)) + 1]
    # Not as URLs of the web: a name may have # in it.
    scheme, _, rest = ("file", "", uri) if uri.startswith("/") else uri.partition("://")
    if scheme == "file":
        return "file", rest.rstrip("/") or "/"
    authority, _, path = rest.partition("/")
    # In Airflow's URLs the part before @ is the connection.
    return f"{_SCHEMES.get(scheme, scheme)}://{authority.rpartition('@')[2]}", path.strip("/") or "/"


def statistics(rows: int, files: int, size: int | None = None) -> dict[str, Any]:
    """How much was written to a dataset."""
    facet = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rows, size, files)
    return {"outputStatistics": facet}


def counts_facet(numbers: int, files: int, **counts: Any) -> WxBankCountsRunFacet:
    """The counts of a run, with this package as their producer."""
    return WxBankCountsRunFacet(numbers, files, **counts, producer=PRODUCER)
