# SPDX-License-Identifier: Apache-2.0
"""Export the active users of a bank's database, and import them into a WeChat Pay number package.

Three tasks, one after the other:

1. ``export_users`` reads the agreement numbers (快捷交易协议号) with a query, encrypts each with WeChat Pay's key, and
   writes files of at most 5,500 rows and a manifest that lists them. Only ciphertext is written.
2. ``upload`` uploads every file of the manifest into the number package (号码包), each exactly once: if the task
   fails halfway, a retry uploads what is missing.
3. ``finished`` waits until WeChat Pay has processed them all, and returns how many users matched. It waits in the
   triggerer, so it occupies no worker. Create the campaign only after this: numbers that arrive later are ignored. It
   leaves ``receipt.json`` beside the manifest, which ``airflow wxbank verify`` verifies months later.

Everything is a parameter of the run, including the query and its connection. In your own DAG, hard-code whatever the
users who may trigger it should not choose. The connection ``wxbank_default`` holds the merchant's keys.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_wxbank.operators import ExportUsersOperator, UploadTaskOperator
from airflow_provider_wxbank.sensors import TaskFinishedSensor

# WeChat Pay takes about 40 minutes for a file, so once a minute is often enough; the simulator is quicker.
POLL_SECONDS = float(os.environ.get("WXBANK_POLL_SECONDS", "60"))

with DAG(
    dag_id="wxbank_export_and_import",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True},
    params={
        "package_id": Param("8473295", type="string", description="The number package, from the merchant platform"),
        "bank_type": Param("ICBC_DEBIT", type="string", description="The bank, and debit or credit"),
        "sql_conn_id": Param("bank_db", type="string", description="The connection of the bank's database"),
        "sql": Param(
            "SELECT agreement_no FROM users WHERE active ORDER BY agreement_no",
            type="string",
            description="The numbers, in a fixed order",
        ),
        "output": Param(
            "/var/lib/wxbank", type="string", description="A folder, or a URL like s3://conn_id@bucket/wxbank"
        ),
        "wxbank_conn_id": Param("wxbank_default", type="string", description="The connection of WeChat Pay"),
    },
    tags=["wxbank"],
    doc_md=__doc__,
) as dag:
    export = ExportUsersOperator(
        task_id="export_users",
        wxbank_conn_id="{{ params.wxbank_conn_id }}",
        sql_conn_id="{{ params.sql_conn_id }}",
        sql="{{ params.sql }}",
        output_path="{{ params.output }}/{{ run_id }}",
        bank_type="{{ params.bank_type }}",
    )
    upload = UploadTaskOperator(
        task_id="upload",
        wxbank_conn_id="{{ params.wxbank_conn_id }}",
        package_id="{{ params.package_id }}",
        manifest=export.output,
    )
    finished = TaskFinishedSensor(
        task_id="finished",
        wxbank_conn_id="{{ params.wxbank_conn_id }}",
        upload=upload.output,
        receipt_path="{{ params.output }}/{{ run_id }}",
        deferrable=True,
        poke_interval=POLL_SECONDS,
        timeout=24 * 3600,
    )
    export >> upload >> finished
