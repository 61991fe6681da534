"""What OpenLineage is told: what was read, what was written, and how much. Needs OpenLineage; imported when it asks.

Datasets are named as OpenLineage's naming specification says. An export is one dataset, its folder, since it may have
thousands of files. Nothing here knows a number, a key, or a value that a query was given.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import BaseHook
from airflow.providers.openlineage.extractors import OperatorLineage
from airflow.providers.openlineage.sqlparser import DatabaseInfo, SQLParser
from attrs import define
from openlineage.client.event_v2 import Dataset, InputDataset, OutputDataset
from openlineage.client.facet_v2 import JobFacet, RunFacet, output_statistics_output_dataset, sql_job

from airflow_provider_wxbank import __version__
from airflow_provider_wxbank.agreements.manifest import Manifest
from airflow_provider_wxbank.agreements.storage import GLOB_CHARACTERS
from airflow_provider_wxbank.assets import OPENLINEAGE_NAMESPACE
from airflow_provider_wxbank.wechatpay.uploads import Progress
from airflow_provider_wxbank.wechatpay.waiting import Counts

COUNTS = "wxbank_counts"

# Names, not addresses: what OpenLineage's readers look up must not be where anybody else can put a file.
PRODUCER = f"urn:airflow-provider-wxbank:{__version__}"
COUNTS_SCHEMA = "urn:airflow-provider-wxbank:WxBankCountsRunFacet:1-0-0"
"""The ``$id`` of docs/WxBankCountsRunFacet.json, with the version of that schema."""

_SCHEMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}

log = logging.getLogger(__name__)


@define
class WxBankCountsRunFacet(RunFacet):
    """How much a run did; what is not known, or is no matter of its task, is left out.

    :param numbers: agreement numbers exported, or uploaded, or in finished upload tasks.
    :param files: agreement files, each of which is an upload task.
    :param skippedRows: rows that were no number, and were left out of the export.
    :param successCount: numbers that matched.
    :param failCount: numbers that did not.
    :param successUserCount: WeChat Pay users matched; a number may belong to several.
    """

    numbers: int
    files: int
    skippedRows: int | None = None  # noqa: N815  # as OpenLineage writes names
    successCount: int | None = None  # noqa: N815  # likewise
    failCount: int | None = None  # noqa: N815  # likewise
    successUserCount: int | None = None  # noqa: N815  # likewise

    @staticmethod
    def _get_schema() -> str:
        return COUNTS_SCHEMA


def export_lineage(
    sql: str | None, sql_conn_id: str | None, source: str | None, output_path: str, manifest: Manifest | None
) -> OperatorLineage[Any, Any]:
    """Tables or files become a folder of agreement files.

    :param manifest: what was exported; None before that.
    """
    read = OperatorLineage() if sql is None else sql_lineage(sql, sql_conn_id or "")
    if source is not None:
        read.inputs = [InputDataset(*place(source))]
    folder = OutputDataset(*place(output_path))
    if manifest is None:
        return OperatorLineage(read.inputs, [folder], read.run_facets, read.job_facets)
    size = sum(file.bytes for file in manifest.files)
    folder.outputFacets = statistics(manifest.rows, len(manifest.files), size)
    counts = counts_facet(manifest.rows, len(manifest.files), skippedRows=manifest.skipped_count)
    return OperatorLineage(read.inputs, [folder], {**read.run_facets, COUNTS: counts}, read.job_facets)


def upload_lineage(
    manifest: str | None, file: str | None, package_id: str, progress: Progress | None
) -> OperatorLineage[Any, Any]:
    """A folder of agreement files, or a file, goes into a package.

    :param progress: what is with WeChat Pay, also after a failure; None before the first file.
    """
    read = file if manifest is None else manifest.rpartition("/")[0]
    inputs: list[Dataset] = [] if read is None else [InputDataset(*place(read))]
    package = OutputDataset(OPENLINEAGE_NAMESPACE, package_id)
    if progress is None:
        return OperatorLineage(inputs, [package])
    package.outputFacets = statistics(progress.rows, progress.files)
    return OperatorLineage(inputs, [package], {COUNTS: counts_facet(progress.rows, progress.files)})


def wait_lineage(package_id: str, counts: Counts | None) -> OperatorLineage[Any, Any]:
    """A package has the numbers that matched.

    :param counts: of the finished upload tasks; None before they are finished.
    """
    package = OutputDataset(OPENLINEAGE_NAMESPACE, package_id)
    if counts is None:
        return OperatorLineage([], [package])
    package.outputFacets = statistics(counts.success_count, counts.tasks)
    facet = counts_facet(
        counts.success_count + counts.fail_count,
        counts.tasks,
        successCount=counts.success_count,
        failCount=counts.fail_count,
        successUserCount=counts.success_user_count,
    )
    return OperatorLineage([], [package], {COUNTS: facet})


def sql_lineage(sql: str, conn_id: str) -> OperatorLineage[Any, Any]:
    """The tables that a query reads, and its text; without tables if they cannot be told."""
    job_facets: dict[str, JobFacet] = {"sql": sql_job.SQLJobFacet(query=SQLParser.normalize_sql(sql))}
    try:
        connection = BaseHook.get_connection(conn_id)
        hook = connection.get_hook()
        if (info := hook.get_openlineage_database_info(connection)) is None:
            return OperatorLineage(tables_by_url(sql, hook.get_sqlalchemy_engine().url), job_facets=job_facets)
        parser = SQLParser(hook.get_openlineage_database_dialect(connection), hook.get_openlineage_default_schema())
        return parser.generate_openlineage_metadata_from_sql(sql, hook, info, use_connection=False)
    except Exception as failure:  # a database that is away fails the task, not its lineage
        log.warning("The tables of the query are not told to OpenLineage: %s", type(failure).__name__)
        return OperatorLineage(job_facets=job_facets)


def tables_by_url(sql: str, url: Any) -> list[Dataset]:
    """The tables that a query reads, for a database whose hook does not know OpenLineage, like SQLite."""
    authority = ":".join(str(part) for part in (url.host, url.port) if part)
    namespace = SQLParser.create_namespace(DatabaseInfo(url.get_backend_name(), authority))
    parsed = SQLParser().parse(SQLParser.split_sql_string(sql))
    tables = parsed.in_tables if parsed else []
    return [
        InputDataset(namespace, ".".join(part for part in (url.database, table.schema, table.name) if part))
        for table in tables
    ]


def place(uri: str) -> tuple[str, str]:
    """Namespace and name of a file or folder; of a pattern, the folder that all its files are in."""
    if wildcards := [uri.index(character) for character in GLOB_CHARACTERS if character in uri]:
        uri = uri[: uri.rindex("/", 0, min(wildcards)) + 1]
    parts = urlsplit(uri)
    if parts.scheme in ("", "file"):
        return "file", parts.path.rstrip("/") or "/"
    # In Airflow's URLs, what is before @ is the connection.
    authority = parts.netloc.rpartition("@")[2]
    return f"{_SCHEMES.get(parts.scheme, parts.scheme)}://{authority}", parts.path.strip("/") or "/"


def statistics(rows: int, files: int, size: int | None = None) -> dict[str, Any]:
    """How much was written to a dataset."""
    facet = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rows, size, files)
    return {"outputStatistics": facet}


def counts_facet(numbers: int, files: int, **counts: int) -> WxBankCountsRunFacet:
    """The counts of a run, with this package as their producer."""
    return WxBankCountsRunFacet(numbers, files, **counts, producer=PRODUCER)
