# SPDX-License-Identifier: Apache-2.0
"""DAG runs and our tasks in them, with what each task has recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_wxbank.reporting.events import Step
from airflow_provider_wxbank.reporting.record import Failure, Sums

STEPS: Mapping[str, Step] = {
    "ExportUsersOperator": "export",
    "UploadTaskOperator": "upload",
    "TaskFinishedSensor": "wait",
}

NOT_BEGUN = (None, "scheduled", "queued", "upstream_failed", "skipped", "removed")
"""States of a task instance that has done nothing yet, or never will."""


@dataclass(frozen=True, slots=True)
class Run:
    """A DAG run; times are unix seconds.

    :param user: who triggered it; None if nobody did, or it is not known.
    :param triggered_by: what did: ``timetable``, ``asset``, ``ui`` and so on, as Airflow names it.
    """

    id: int
    dag_id: str
    run_id: str
    state: str
    begin: float | None
    user: str | None = None
    triggered_by: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task instance of ours and what it has recorded. Times are unix seconds.

    :param told: None if it has recorded nothing, or nothing that can be read.
    :param failure: why it failed, if it has recorded that.
    :param try_number: of its last try; ``max_tries`` are the tries that follow the first.
    :param is_unreadable: whether there is a record that cannot be read here.
    """

    task_id: str
    map_index: int
    step: Step
    state: str | None
    begin: float | None = None
    end: float | None = None
    told: Sums | None = None
    is_unreadable: bool = False
    failure: Failure | None = None
    try_number: int = 1
    max_tries: int = 0

    @property
    def package_id(self) -> str | None:
        """The package, once the task has begun; an export has none."""
        return None if self.told is None else self.told.package_id

    def number(self, name: str) -> int | None:
        """A number that the task has recorded; 0 if it has not come that far; None if it is not known."""
        number: int | None = None if self.told is None else getattr(self.told, name)
        if number is not None:
            return number
        is_known = self.told is not None or (self.state in NOT_BEGUN and not self.is_unreadable)
        return 0 if is_known and self.state != "success" else None

    def count(self, name: str) -> int | None:
        """A number that WeChat Pay counted, once the wait is over."""
        counts = None if self.told is None else self.told.counts
        return None if counts is None else getattr(counts, name)
