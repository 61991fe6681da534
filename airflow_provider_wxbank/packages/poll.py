# SPDX-License-Identifier: Apache-2.0
"""Looks whether upload tasks are finished, at one call a poll."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from threading import Lock

from airflow_provider_wxbank.packages.endpoints import find_task, list_tasks, list_tasks_page
from airflow_provider_wxbank.packages.newest import newest_of, newest_tasks
from airflow_provider_wxbank.packages.tasks import MAX_PAGE, TaskPage, UploadTask
from airflow_provider_wxbank.packages.wanted import Wanted
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import WxBankError

MAX_BY_NAME = MAX_PAGE
"""Files that are asked for one by one: as many calls as the pages of a year may be."""


@dataclass(frozen=True, slots=True)
class Poll:
    """What one poll saw.

    :param tasks: all the tasks waited for, once every one is finished; None before.
    :param watched: filename of a task that is processing; ask for it first in the next poll.
    :param note: why it is not over yet, for the log.
    :param unfinished: how many of the tasks waited for are not finished, at most; None if this poll does not tell.
    :param are_all: of a look for new tasks, whether ``tasks`` are all of the package.
    """

    tasks: tuple[UploadTask, ...] | None
    watched: str | None = None
    note: str = ""
    unfinished: int | None = None
    are_all: bool = False


Processing = Callable[[], TaskPage]
"""Gives the first page of a package's tasks that are processing."""


def poll(client: Client, target: Wanted, watched: str | None = None, processing: Processing | None = None) -> Poll:
    """Look once whether the tasks are finished.

    It takes one call while one of ours is on the first page of what is processing. When the tasks of others fill that
    page, one of ours is remembered as ``watched``, and asking for it alone is the one call of the next polls. Only when
    nothing of ours is processing are the tasks themselves read, 20 a call.

    :param processing: answers the first question; by default WeChat Pay is asked. See :class:`SharedPages`.
    """
    # However many pages the tasks of others fill, this is one call while ours is processing.
    if watched is not None:
        task = find_task(client, target.package_id, watched)
        if task is not None and not task.is_finished:
            return Poll(None, watched, "still processing")
    first = processing() if processing else list_tasks_page(client, target.package_id, status="PROCESSING")
    note = f"{first.total_count} tasks of the package are processing"
    # Ours may be on the pages behind this one, too: then only the total is an upper bound.
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
        # One for each package, so that a slow answer about one holds up no other.
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)
        self._seen: dict[str, tuple[float, TaskPage | WxBankError]] = {}

    def processing(self, package_id: str, max_age: float) -> TaskPage:
        """The page or the failure of at most ``max_age`` seconds ago; if it is older, WeChat Pay is asked anew.

        :raises WxBankError: as :func:`.list_tasks_page`.
        """
        with self._locks[package_id]:
            asked_at, seen = self._seen.get(package_id, (0.0, None))
            if seen is None or self._clock() - asked_at > max_age:
                try:
                    seen = list_tasks_page(self._client, package_id, status="PROCESSING")
                except WxBankError as failure:
                    # Shared like a page: otherwise, in an outage, each wait would make the same call again.
                    seen = failure
                self._seen[package_id] = self._clock(), seen
        if isinstance(seen, WxBankError):
            raise seen
        return seen


def poll_new(client: Client, package_id: str, known: int, processing: Processing | None = None) -> Poll:
    """Look once whether a package has more tasks than were known, and all of them are finished.

    It takes one call while there is nothing new. Tasks are never removed from a package, so their number tells.

    :param known: how many tasks there were before.
    :return: with the new tasks alone, if the list shows which they are; else with all tasks of the package, which the
        poll says.
    """
    first = list_tasks_page(client, package_id)
    if first.total_count <= known:
        return Poll(None, None, "no new task")
    waiting = processing() if processing else list_tasks_page(client, package_id, status="PROCESSING")
    if waiting.total_count:
        note = f"{waiting.total_count} tasks of the package are processing"
        return Poll(None, None, note, waiting.total_count)
    new = newest_of(client, package_id, first, first.total_count - known) if known else None
    if new is None:
        return replace(_collect(client, Wanted(package_id)), are_all=True)
    unfinished = [task for task in new if not task.is_finished]
    return Poll(None, None, f"{len(unfinished)} tasks are still processing") if unfinished else Poll(tuple(new))


def _wanted_tasks(client: Client, target: Wanted) -> Iterator[UploadTask]:
    """Those of the tasks waited for that are listed, found with few calls, however long the package's history is."""
    if target.count is None:
        yield from list_tasks(client, target.package_id)
        return
    if target.filenames is not None and len(target.filenames) <= MAX_BY_NAME:
        yield from filter(None, (find_task(client, target.package_id, name) for name in sorted(target.filenames)))
        return
    found = 0
    for task in newest_tasks(client, target.package_id):
        if target.includes(task):
            yield task
            found += 1
            # The rest of a long list need not be read.
            if found == target.count:
                return


def _is_part(page: TaskPage) -> bool:
    return page.total_count > len(page.tasks)


def _collect(client: Client, target: Wanted) -> Poll:
    """Read the tasks waited for. The wait goes on while one of them is not listed or not finished."""
    tasks = tuple(_wanted_tasks(client, target))
    # An upload may be taken before it is listed.
    missing, names = target.missing(tasks)
    if missing:
        left = missing + sum(not task.is_finished for task in tasks)
        return Poll(None, None, f"{missing} of the tasks are not listed yet{names and ': '}{names}", left)
    if not tasks:
        return Poll(None, None, "the package has no upload task yet")
    unfinished = [task for task in tasks if not task.is_finished]
    if unfinished:
        return Poll(None, unfinished[0].filename, f"{len(unfinished)} tasks are still processing", len(unfinished))
    return Poll(tasks)
