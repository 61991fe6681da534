# SPDX-License-Identifier: Apache-2.0
"""Why tasks of an import failed: by what they recorded, or else by their state in Airflow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from airflow_provider_wxbank.reporting.events import FailureKind, Step
from airflow_provider_wxbank.ui.tasks import Task

SHOWN = 5
"""Failures of an import that are shown one by one. Hundreds of mapped tasks mostly fail alike."""

Cause = Literal["told", "ended", "not_begun", "upstream"]
"""``told`` if the task has recorded why; ``ended`` if something ended it before it could; ``not_begun`` if our code
never ran; ``upstream`` if a task before it failed."""


@dataclass(frozen=True, slots=True)
class FailedTask:
    """A task that failed, and why. What is not known is None.

    :param try_number: of its last try, of ``tries``.
    :param will_retry: whether Airflow runs it again by itself.
    :param error: the name of the error's class; ``kind``, ``text`` and ``is_lasting`` as in :class:`~.events.Failed`.
    :param at: unix seconds.
    """

    task_id: str
    map_index: int
    step: Step
    cause: Cause
    try_number: int
    tries: int
    will_retry: bool
    error: str | None = None
    kind: FailureKind | None = None
    text: str | None = None
    is_lasting: bool | None = None
    at: float | None = None


def failed_tasks(tasks: Sequence[Task]) -> tuple[list[FailedTask], int]:
    """The first of the tasks that failed, one of each reason before others of the same, and how many more there are.

    Tasks that wait for one that failed are named only if none of ours failed itself.
    """
    failed = [task for task in tasks if task.state in ("failed", "up_for_retry")]
    failed = failed or [task for task in tasks if task.state == "upstream_failed"][:1]
    found = [_failed(task) for task in failed]
    seen: set[object] = set()
    firsts: list[FailedTask] = []
    others: list[FailedTask] = []
    for one in found:
        reason = (one.step, one.cause, one.error, one.text)
        (others if reason in seen else firsts).append(one)
        seen.add(reason)
    return [*firsts, *others][:SHOWN], max(len(found) - SHOWN, 0)


def _failed(task: Task) -> FailedTask:
    tries = max(task.max_tries + 1, task.try_number)
    will_retry = task.state == "up_for_retry"
    about = (task.task_id, task.map_index, task.step)
    told = task.failure
    if told is None:
        return FailedTask(*about, _cause(task), task.try_number, tries, will_retry, at=task.end)
    return FailedTask(
        *about, "told", task.try_number, tries, will_retry, told.error, told.kind, told.text, told.is_lasting, told.at
    )


def _cause(task: Task) -> Cause:
    if task.state == "upstream_failed":
        return "upstream"
    return "not_begun" if task.told is None and not task.is_unreadable else "ended"
