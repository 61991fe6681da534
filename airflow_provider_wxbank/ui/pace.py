# SPDX-License-Identifier: Apache-2.0
"""How fast an import is: when WeChat Pay will be done, and whether nothing moves any more."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_wxbank._compat import xcom_setter_of_triggers
from airflow_provider_wxbank.packages.pace import FILE_SECONDS, NUMBERS_AN_HOUR
from airflow_provider_wxbank.ui.tasks import Task

TRUSTED_SHARE = 0.1
"""Share of the files that must be finished before their speed is trusted more than WeChat Pay's guide."""

STALLED_UPLOAD_SECONDS = 15 * 60.0
"""Seconds in which no file was uploaded after which an upload is called stalled. A call is repeated for minutes."""

STALLED_WAIT_SECONDS = 2.0 * FILE_SECONDS
"""The same of a wait in which no file was finished: twice what WeChat Pay takes for one."""


def expected_end(begin: float, last_upload: float, rows: int, finished_share: float, seen_at: float | None) -> float:
    """When WeChat Pay will be done, roughly.

    This follows its guide (FAQ 4015182386: 40 minutes for one file, 1.3 million numbers an hour). Once a tenth of the
    files is finished, it follows the speed of this import.

    :param begin: the first upload.
    :param last_upload: the last upload, or now while uploads go on.
    :param finished_share: share of the files that were finished at ``seen_at``.
    """
    if seen_at is not None and seen_at > begin and TRUSTED_SHARE <= finished_share < 1:
        return begin + (seen_at - begin) / finished_share
    return max(last_upload + FILE_SECONDS, begin + rows * 3600 / NUMBERS_AN_HOUR)


def stalled_since(uploads: Sequence[Task], waits: Sequence[Task], now: float) -> float | None:
    """Since when nothing moves, if that is longer than it should be; else None.

    A file that WeChat Pay takes and one that it finishes are progress. A task that Airflow will run again is not
    stalled. A deferred wait is silent where triggers cannot record (before Airflow 3.3), so there nothing is said.
    """
    uploading = [task for task in uploads if task.state == "running"]
    if uploading:
        moved = max(_moved(task) for task in uploading)
        return moved if now - moved >= STALLED_UPLOAD_SECONDS else None
    waiting = [task for task in waits if task.state in ("running", "deferred", "up_for_reschedule")]
    if not waiting or (xcom_setter_of_triggers() is None and any(task.state == "deferred" for task in waiting)):
        return None
    # What was uploaded last begins to be processed then.
    moved = max((*(_moved(task) for task in waiting), *(task.end or 0.0 for task in uploads)))
    return moved if now - moved >= STALLED_WAIT_SECONDS else None


def _moved(task: Task) -> float:
    """When a task was seen to come further, at least when it began."""
    since = None if task.told is None else task.told.since
    return max(float(since or 0), task.begin or 0.0)


def numbers_an_hour(begin: float | None, end: float | None, numbers: float) -> float | None:
    """How many numbers WeChat Pay processed in an hour, from the first upload to when it was seen last.

    None for fewer than it processes while a single file takes its 40 minutes: these tell how long a file takes, and
    nothing of how many go through.
    """
    if begin is None or end is None or numbers * 3600 < NUMBERS_AN_HOUR * FILE_SECONDS or end <= begin:
        return None
    return numbers * 3600 / (end - begin)
