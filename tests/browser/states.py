# SPDX-License-Identifier: Apache-2.0
"""Imports in states that a demonstration cannot wait for, in the database of the Airflow whose environment this has.

``python -m tests.browser.states`` puts them there. Stuck imports are hours old, and WeChat Pay loses no rows by itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from airflow_provider_wxbank.packages.quota import day_of
from tests.airflow.page_data import Left, add_run, whole_import

FAILING, COUNTING, WAITING = "9000001", "9000002", "9000003"
"""Packages: of imports that failed, of those whose counts are not as they should be, of those that stand still."""

REFUSED = (
    "WeChat Pay answered 403 NO_AUTH to POST /v3/marketing/bank/packages/9000001/tasks: the merchant may not use this "
    "product [Request-ID 08F3A1B2C3]. Ask WeChat Pay to open it for the merchant, with the Request-ID"
)


def failure(error: str, kind: str, text: str | None, *, is_lasting: bool = True) -> dict[str, Any]:
    return {"error": error, "kind": kind, "text": text, "is_lasting": is_lasting, "at": int(time.time()) - 600}


def half(begin: float) -> tuple[Left, Left, Left]:
    """An import of 12 files of which 7 are uploaded, and of which nothing has failed yet."""
    export, upload, wait = whole_import(FAILING, begin, 12)
    record = {**(upload.record or {}), "files": 7, "rows": 7 * 5500, "at": int(begin) + 90, "since": int(begin) + 90}
    quota = {"quota": 6000, "day": int(day_of(time.time())), "sent": 7}
    names = [str(row[0]) for row in upload.rows]
    todo = replace(wait, state="upstream_failed", record=None, rows=(), begin=None, end=None)
    return export, replace(upload, rows=upload.rows[:7], record={**record, **quota}, missing=names[7:]), todo


def add_all() -> None:
    """Put all of them into the database."""
    now = time.time()
    begin = now - 1200
    export, upload, wait = half(begin)
    refused = replace(upload, state="failed", failure=failure("Refused", "Refused", REFUSED), try_number=2, max_tries=3)
    later = "the day's quota of 6000 files is used up in package 9000001: run it again after midnight, Asia/Shanghai"
    again = failure("QuotaReached", "TryLater", later, is_lasting=False)
    runs: Sequence[tuple[str, str, float, Sequence[Left], str, str | None]] = [
        ("failing", "manual__refused", begin, [export, refused, wait], "failed", "wang.xiaoming"),
        ("failing", "manual__markup", begin, [export, hostile(upload), wait], "failed", None),
        ("failing", "manual__killed", begin, [export, replace(upload, state="failed"), wait], "failed", "li.na"),
        (
            "failing", "scheduled__not_begun", begin,
            [replace(export, state="failed", record=None, begin=None, end=None),
             replace(wait, task_id="upload", step="upload"), wait], "failed", None,
        ),
        ("failing", "scheduled__retrying", begin,
         [export, replace(upload, state="up_for_retry", failure=again, max_tries=3), replace(wait, state=None)],
         "running", None),
        ("counting", "manual__unmatched", begin - 9000,
         whole_import(COUNTING, begin - 9000, 4, matched=3647), "success", "admin"),
        ("counting", "manual__unaccounted", begin - 90_000, unaccounted(begin - 90_000), "success", "admin"),
        ("counting", "manual__good", begin - 900_000,
         whole_import(COUNTING, begin - 900_000, 4, matched=5400), "success", None),
        ("waiting", "manual__stalled", now - 20_000, stalled(now - 20_000), "running", "admin"),
    ]  # fmt: skip
    for dag_id, run_id, at, tasks, state, user in runs:
        add_run(dag_id, run_id, at, tasks, state, user=user)


def hostile(upload: Left) -> Left:
    """What somebody may write into XComs who would harm whoever reads or downloads them."""
    told = failure("WxBankError", "Other", "<img src=x onerror=alert(1)> </p><script>alert(2)</script>")
    return replace(upload, state="failed", rows=[["=1+1.csv", "1", 5500, None]], missing=["-2+3.csv"], failure=told)


def unaccounted(begin: float) -> list[Left]:
    """Of one file WeChat Pay counted 37 numbers less than it was sent."""
    export, upload, wait = whole_import(COUNTING, begin, 4, matched=5400)
    record = dict(wait.record or {})
    counts = record["counts"]
    record["counts"] = {**counts, "success_count": counts["success_count"] - 37, "unaccounted": 37}
    return [export, upload, replace(wait, record=record)]


def stalled(begin: float) -> list[Left]:
    """Nothing has been finished for hours."""
    export, upload, wait = whole_import(WAITING, begin, 20)
    seen = {"tasks": 20, "processing": 13, "counts": None, "at": int(time.time()) - 60, "since": int(begin) + 3600}
    return [
        export,
        upload,
        replace(wait, state="deferred", record={**(wait.record or {}), **seen}, rows=(), end=None),
    ]


if __name__ == "__main__":
    add_all()
