"""Waiting until upload tasks are finished, at one call a poll."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Any

from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, WaitFailed, WxBankError
from airflow_provider_wxbank.wechatpay.packages import (
    TaskPage,
    UploadTask,
    check_filename,
    find_task,
    list_tasks,
    list_tasks_page,
    tasks_path,
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose tasks are waited for: those named by id or by filename, or with neither every task of the package."""

    package_id: str
    task_ids: frozenset[str] | None = None
    filenames: frozenset[str] | None = None

    def includes(self, task: UploadTask) -> bool:
        """Whether a task of the package is waited for."""
        if self.task_ids is not None:
            return task.task_id in self.task_ids
        return self.filenames is None or task.filename in self.filenames

    def missing(self, tasks: Iterable[UploadTask]) -> list[str]:
        """The named ones that are not among some tasks."""
        if self.task_ids is not None:
            return sorted(self.task_ids - {task.task_id for task in tasks})
        return sorted((self.filenames or frozenset()) - {task.filename for task in tasks})


def wanted(package_id: str, task_ids: Iterable[str] | None = None, filenames: Iterable[str] | None = None) -> Wanted:
    """What to wait for, checked.

    :raises InvalidInput: a wrong package id or filename, both lists at once, or an empty list.
    """
    tasks_path(package_id)
    if task_ids is not None and filenames is not None:
        raise InvalidInput("give task_ids or filenames, not both")
    chosen = Wanted(
        package_id,
        None if task_ids is None else frozenset(str(one) for one in task_ids),
        None if filenames is None else frozenset(filenames),
    )
    for filename in chosen.filenames or ():
        check_filename(filename)
    if frozenset() in (chosen.task_ids, chosen.filenames):
        raise InvalidInput(f"the list of tasks to wait for in package {package_id} is empty")
    return chosen


@dataclass(frozen=True, slots=True)
class Poll:
    """What one poll saw.

    :param tasks: all the tasks waited for, finished; None while one is not.
    :param watched: filename of a task that is processing; ask for it first in the next poll.
    :param note: why it is not over yet, for the log.
    :param unfinished: how many of the tasks waited for are not finished, at most; None if this poll does not tell.
    """

    tasks: tuple[UploadTask, ...] | None
    watched: str | None = None
    note: str = ""
    unfinished: int | None = None


Processing = Callable[[], TaskPage]
"""Gives the first page of a package's tasks that are processing."""


def poll(client: Client, target: Wanted, watched: str | None = None, processing: Processing | None = None) -> Poll:
    """Look once whether the tasks are finished.

    One call while one of ours is on the first page of what is processing. When the tasks of others fill that page,
    one of ours is remembered as ``watched``, and asking for it alone is the one call of the next polls. Only when
    nothing of ours is processing are the tasks themselves read, 20 a call.

    :param processing: answers the first question; by default WeChat Pay is asked. See :class:`SharedPages`.
    """
    if watched is not None:
        task = find_task(client, target.package_id, watched)
        if task is not None and not task.is_finished:
            return Poll(None, watched, "still processing")
    first = processing() if processing else list_tasks_page(client, target.package_id, status="PROCESSING")
    note = f"{first.total_count} tasks of the package are processing"
    if ours := sum(target.includes(task) for task in first.tasks):
        return Poll(None, None, note, first.total_count if _is_part(first) else ours)
    if _is_part(first):
        for task in list_tasks(client, target.package_id, status="PROCESSING"):
            if target.includes(task):
                return Poll(None, task.filename, note, first.total_count)
    return _collect(client, target)


class SharedPages:
    """First pages of what is processing, for several waits of one process: each package is asked for once.

    :param clock: seconds that only grow.
    """

    def __init__(self, client: Client, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)
        self._seen: dict[str, tuple[float, TaskPage | WxBankError]] = {}

    def processing(self, package_id: str, max_age: float) -> TaskPage:
        """The page, or the failure, of at most so many seconds ago; asked for anew if it is older.

        :raises WxBankError: as :func:`.list_tasks_page`.
        """
        with self._locks[package_id]:
            asked_at, seen = self._seen.get(package_id, (0.0, None))
            if seen is None or self._clock() - asked_at > max_age:
                try:
                    seen = list_tasks_page(self._client, package_id, status="PROCESSING")
                except WxBankError as failure:
                    seen = failure
                self._seen[package_id] = self._clock(), seen
        if isinstance(seen, WxBankError):
            raise seen
        return seen


def poll_new(client: Client, package_id: str, known: int, processing: Processing | None = None) -> Poll:
    """Look once whether a package has more tasks than some known ones, and all of it is finished.

    One call while there is nothing new. Tasks are never removed from a package, so that their number tells.

    :param known: how many tasks there were before.
    """
    if list_tasks_page(client, package_id, limit=1).total_count <= known:
        return Poll(None, None, "no new task")
    return poll(client, Wanted(package_id), processing=processing)


def _is_part(page: TaskPage) -> bool:
    return page.total_count > len(page.tasks)


def _collect(client: Client, target: Wanted) -> Poll:
    """Read the tasks waited for; they are not over while one is not listed or not finished."""
    found: dict[str, UploadTask] = {}
    named = target.task_ids or target.filenames
    for task in list_tasks(client, target.package_id):
        if target.includes(task):
            found[task.task_id] = task
            if named is not None and len(found) == len(named):
                break
    tasks = tuple(found.values())
    if missing := target.missing(tasks):
        shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        left = len(missing) + sum(not task.is_finished for task in tasks)
        return Poll(None, None, f"{len(missing)} of the tasks are not listed yet: {shown}", left)
    if not tasks:
        return Poll(None, None, "the package has no upload task yet")
    unfinished = [task for task in tasks if not task.is_finished]
    if unfinished:
        return Poll(None, unfinished[0].filename, f"{len(unfinished)} tasks are still processing", len(unfinished))
    return Poll(tasks)


@dataclass(frozen=True, slots=True)
class Counts:
    """The sums over finished tasks.

    :param success_user_count: WeChat Pay users matched; a number may belong to several.
    :param failed_files: files of which every row failed: a key or bank type mistake, most likely.
    """

    tasks: int
    success_count: int
    fail_count: int
    success_user_count: int
    failed_files: tuple[str, ...] = ()

    @property
    def fail_ratio(self) -> float:
        """Share of the numbers that did not match, 0 to 1."""
        return self.fail_count / max(self.success_count + self.fail_count, 1)

    def since(self, earlier: Counts) -> Counts:
        """What was added to a package since it had the earlier counts."""
        return Counts(
            self.tasks - earlier.tasks,
            self.success_count - earlier.success_count,
            self.fail_count - earlier.fail_count,
            self.success_user_count - earlier.success_user_count,
            tuple(name for name in self.failed_files if name not in earlier.failed_files),
        )

    def of_package(self, package_id: str) -> dict[str, Any]:
        """A finished import as users get it: ``tasks`` is a count."""
        return {
            "package_id": package_id,
            "tasks": self.tasks,
            "success_count": self.success_count,
            "fail_count": self.fail_count,
            "success_user_count": self.success_user_count,
        }


def count(tasks: Iterable[UploadTask]) -> Counts:
    """Sum up finished tasks."""
    tasks = tuple(tasks)
    return Counts(
        len(tasks),
        sum(task.success_count or 0 for task in tasks),
        sum(task.fail_count or 0 for task in tasks),
        sum(task.success_user_count or 0 for task in tasks),
        tuple(task.filename for task in tasks if task.fail_count and not task.success_count),
    )


def likely_mistake(counts: Counts) -> str | None:
    """What to tell of files of which every row failed; None if there is none."""
    if not counts.failed_files:
        return None
    shown = ", ".join(counts.failed_files[:5]) + (", ..." if len(counts.failed_files) > 5 else "")
    return (
        f"Not one number matched in {len(counts.failed_files)} files ({shown}). Most likely they were encrypted with "
        "another key than the one declared, or bank_type is wrong"
    )


def check_fail_ratio(max_fail_ratio: float | None) -> None:
    """:raises InvalidInput: neither None nor 0 to 1."""
    if max_fail_ratio is not None and not (isinstance(max_fail_ratio, (int, float)) and 0 <= max_fail_ratio <= 1):
        raise InvalidInput(f"max_fail_ratio must be 0 to 1, not {max_fail_ratio!r}")


def check_matched(counts: Counts, max_fail_ratio: float | None) -> None:
    """:raises WaitFailed: more than this share of the numbers did not match."""
    if max_fail_ratio is not None and counts.fail_ratio > max_fail_ratio:
        raise WaitFailed(
            f"{counts.fail_count} of {counts.success_count + counts.fail_count} numbers did not match "
            f"({counts.fail_ratio:.2%}); max_fail_ratio allows {max_fail_ratio:.2%}"
        )
