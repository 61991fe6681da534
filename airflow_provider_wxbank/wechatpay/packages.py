# SPDX-License-Identifier: Apache-2.0
"""The former public path of upload tasks and their list. It works until 2.0."""

from __future__ import annotations

from airflow_provider_wxbank.wechatpay.moved import names_of

__getattr__ = names_of(
    __name__,
    UploadTask="packages.tasks",
    TaskPage="packages.tasks",
    list_tasks_page="packages.endpoints",
    list_tasks="packages.endpoints",
)
