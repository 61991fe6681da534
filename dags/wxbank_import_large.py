# SPDX-License-Identifier: Apache-2.0
"""Import a list of millions: in partitions, on many workers, into one WeChat Pay number package.

1. ``export_users`` is mapped over partitions of the query. Each mapped task exports the rows whose ``id`` has its
   remainder, on any free worker, and writes its own files and manifest. The remainder of an id never changes, so a
   retry exports the same numbers.
2. ``upload`` is mapped over the manifests; it starts when all partitions are exported.
3. ``finished`` waits once for the upload tasks of all partitions, in the triggerer.

The files must be where every worker can read them: object storage, or a folder that all of them share. There are many
retries, since each does only what is missing. An export uses every core of its worker, so give its pool one or two
slots per worker: ``WXBANK_POOL`` names the pool.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.sensors import TaskFinishedSensor

# Several for each worker, so that the slowest does not hold up the rest. It is fixed when the DAG is parsed: changing
# it during a run would split the list differently.
PARTITIONS = int(os.environ.get("WXBANK_PARTITIONS", "8"))
POOL = os.environ.get("WXBANK_POOL", "default_pool")
# WeChat Pay takes about 40 minutes for a file, so once a minute is often enough; the simulator is quicker.
POLL_SECONDS = float(os.environ.get("WXBANK_POLL_SECONDS", "60"))

with DAG(
    dag_id="wxbank_import_large",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    # Two imports at once would share the day's quota.
    max_active_runs=1,
    default_args={
        "retries": 5,
        "retry_delay": timedelta(seconds=float(os.environ.get("WXBANK_RETRY_SECONDS", "300"))),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(hours=1),
    },
    params={
        "package_id": Param("8473295", type="string", description="The number package, from the merchant platform"),
        "bank_type": Param("ICBC_DEBIT", type="string", description="The bank, and debit or credit"),
        "sql_conn_id": Param("bank_db", type="string", description="The connection of the bank's database"),
        # It becomes part of the query, so only a name is allowed.
        "table": Param(
            "users",
            type="string",
            pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+){0,2}$",
            description="The table, with the columns id, agreement_no and active",
        ),
        "output": Param(
            "s3://aws_default@bank-exports/wxbank", type="string", description="A folder that every worker reaches"
        ),
        "wxbank_conn_id": Param("wxbank_default", type="string", description="The connection of WeChat Pay"),
    },
    tags=["wxbank"],
    doc_md=__doc__,
) as dag:
    exports = ExportUsersOperator.partial(
        task_id="export_users",
        wxbank_conn_id="{{ params.wxbank_conn_id }}",
        sql_conn_id="{{ params.sql_conn_id }}",
        # The remainder in PostgreSQL, MySQL and SQLite; that of a negative id is negative.
        sql=(
            f"SELECT agreement_no FROM {{{{ params.table }}}} WHERE active AND abs(id) % {PARTITIONS} = :part "  # noqa: S608  # a name
            "ORDER BY id"
        ),
        bank_type="{{ params.bank_type }}",
        output_path="{{ params.output }}/{{ run_id }}/part-{{ ti.map_index }}",
        pool=POOL,
        execution_timeout=timedelta(hours=2),
    ).expand(parameters=[{"part": part} for part in range(PARTITIONS)])
    uploads = UploadTaskOperator.partial(
        task_id="upload",
        wxbank_conn_id="{{ params.wxbank_conn_id }}",
        package_id="{{ params.package_id }}",
        pool=POOL,
        # At most 4 tasks upload at a time, 4 files each.
        max_active_tis_per_dag=4,
        max_workers=4,
        execution_timeout=timedelta(hours=4),
    ).expand(manifest=exports.output)
    finished = TaskFinishedSensor(
        task_id="finished",
        wxbank_conn_id="{{ params.wxbank_conn_id }}",
        upload=uploads.output,
        deferrable=True,
        poke_interval=POLL_SECONDS,
        timeout=48 * 3600,
    )
    uploads >> finished
