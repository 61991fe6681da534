# SPDX-License-Identifier: Apache-2.0
"""Upload one existing file into a WeChat Pay number package, and wait until it is processed.

The file has one plain agreement number per line. It is encrypted and split into files of at most 5,500 rows in memory:
only ciphertext leaves the worker, and nothing is written to disk.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from airflow.providers.common.compat.sdk import DAG, Param

from airflow_provider_wxbank.operators import UploadTaskOperator
from airflow_provider_wxbank.sensors import TaskFinishedSensor

# WeChat Pay takes about 40 minutes for a file, so once a minute is often enough; the simulator is quicker.
POLL_SECONDS = float(os.environ.get("WXBANK_POLL_SECONDS", "60"))

with DAG(
    dag_id="wxbank_upload_file",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True},
    params={
        "package_id": Param("8473295", type="string", description="The number package, from the merchant platform"),
        "bank_type": Param("ICBC_DEBIT", type="string", description="The bank, and debit or credit"),
        "file": Param(
            "/data/active_user.csv", type="string", description="A path, or a URL like s3://conn_id@bucket/x"
        ),
        "wxbank_conn_id": Param("wxbank_default", type="string", description="The connection of WeChat Pay"),
    },
    tags=["wxbank"],
    doc_md=__doc__,
) as dag:
    upload = UploadTaskOperator(
        task_id="upload",
        wxbank_conn_id="{{ params.wxbank_conn_id }}",
        package_id="{{ params.package_id }}",
        bank_type="{{ params.bank_type }}",
        file="{{ params.file }}",
    )
    finished = TaskFinishedSensor(
        task_id="finished",
        wxbank_conn_id="{{ params.wxbank_conn_id }}",
        upload=upload.output,
        mode="reschedule",
        poke_interval=POLL_SECONDS,
        timeout=24 * 3600,
    )
    upload >> finished
