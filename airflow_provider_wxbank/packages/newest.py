# SPDX-License-Identifier: Apache-2.0
"""A package's tasks from the newest on: a package is used for years, and what is asked of it is mostly of today.

No source says in which order WeChat Pay lists tasks, nor has anybody seen whether ``offset`` counts pages, as all
sources call it, or rows. Both are found out from the first and the last page; if they do not tell, the list is read as
a whole.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from airflow_provider_wxbank.packages.endpoints import alist_tasks, alist_tasks_page
from airflow_provider_wxbank.packages.tasks import MAX_PAGE, TaskPage, UploadTask
from airflow_provider_wxbank.wechatpay.flows import Caller

MAX_TRIES = 3
"""Times that the end of a list is looked for while the list grows."""


@dataclass(frozen=True, slots=True)
class _End:
    """The last tasks of a list.

    :param start: the row of the first of them.
    :param limit: tasks a page, with which the pages before this one do not overlap it.
    :param are_rows: whether ``offset`` counts rows.
    """

    tasks: Sequence[UploadTask]
    start: int
    limit: int
    are_rows: bool


async def newest_tasks(
    client: Caller, package_id: str, first: TaskPage | None = None
) -> AsyncGenerator[UploadTask, None]:
    """Every upload task of a package, each once, the newest first as far as the list is in order of time.

    Whoever leaves it early has made few calls: two, and one more for each 20 tasks.

    :param first: the page at offset 0, if it is at hand.
    :raises TryLater: the list kept changing.
    """
    first = first or await alist_tasks_page(client, package_id)
    seen: set[str] = set()
    async for task in _in_order(client, package_id, first):
        if task.task_id not in seen:
            seen.add(task.task_id)
            yield task
    # What moved while it was read is found in a reading of the whole.
    if len(seen) < first.total_count:
        rest = [task async for task in alist_tasks(client, package_id) if task.task_id not in seen]
        for task in sorted(rest, key=_time, reverse=True):
            yield task


async def new_tasks(
    client: Caller, package_id: str, first: TaskPage, count: int, is_new: Callable[[UploadTask], bool], others: int
) -> list[UploadTask] | None:
    """The tasks of a package that are new; None if they are not found with a few calls.

    :param first: the page at offset 0.
    :param count: how many are new, at least 1.
    :param is_new: whether a task is certainly new.
    :param others: how many known tasks may be found before the last new one.
    """
    found: dict[str, UploadTask] = {}
    met: set[str] = set()
    async with aclosing(_in_order(client, package_id, first)) as tasks:
        async for task in tasks:
            met.add(task.task_id)
            if is_new(task):
                found[task.task_id] = task
            if len(found) == count:
                return list(found.values())
            if len(met) > count + others:
                break
    return None


async def _in_order(client: Caller, package_id: str, first: TaskPage) -> AsyncGenerator[UploadTask, None]:
    """Tasks from the newest on, some perhaps twice; nothing if the order cannot be told."""
    if len(first.tasks) >= first.total_count:
        for task in sorted(first.tasks, key=_time, reverse=True):
            yield task
        return
    end = await _last(client, package_id, first.total_count)
    if end is None:
        return
    # A short list has some on both.
    both = {task.task_id for task in first.tasks} & {task.task_id for task in end.tasks}
    begin, rest = ([task for task in tasks if task.task_id not in both] for tasks in (first.tasks, end.tasks))
    if _is_before(begin, rest):
        for task in reversed(end.tasks):
            yield task
        start = end.start
        # What is on the first page is at hand.
        while start > len(first.tasks):
            start = max(start - end.limit, 0)
            offset = start if end.are_rows else start // end.limit
            page = await alist_tasks_page(client, package_id, offset=offset, limit=end.limit)
            for task in reversed(page.tasks):
                yield task
        for task in reversed(first.tasks):
            yield task
    elif _is_before(rest, begin):
        for task in first.tasks:
            yield task
        for start in range(MAX_PAGE, end.start, MAX_PAGE):
            offset = start if end.are_rows else start // MAX_PAGE
            page = await alist_tasks_page(client, package_id, offset=offset)
            for task in page.tasks:
                yield task
        for task in end.tasks:
            yield task


async def _last(client: Caller, package_id: str, total: int) -> _End | None:
    """The end of the list; None if it keeps growing so that it is not known which one it is."""
    for _ in range(MAX_TRIES):
        # A limit that cuts the list so that the last page is not full: then a full page shows that rows are counted.
        limit = next((one for one in range(MAX_PAGE, 1, -1) if total % one), None)
        if limit is None:
            return None
        number = (total - 1) // limit
        page = await alist_tasks_page(client, package_id, offset=number, limit=limit)
        if page.total_count != total:
            total = page.total_count
            continue
        if len(page.tasks) == total - number * limit:
            return _End(page.tasks, number * limit, limit, are_rows=False)
        if len(page.tasks) != limit:
            return None
        start = max(total - MAX_PAGE, 0)
        page = await alist_tasks_page(client, package_id, offset=start)
        if len(page.tasks) == total - start:
            return _End(page.tasks, start, MAX_PAGE, are_rows=True)
        total = page.total_count
    return None


def _time(task: UploadTask) -> float:
    """When a task was made, in unix seconds; one that does not tell counts as the newest."""
    return math.inf if task.create_time is None else task.create_time.timestamp()


def _is_before(some: Iterable[UploadTask], others: Iterable[UploadTask]) -> bool:
    """Whether all of some tasks were uploaded no later than all others, and not all at the same moment."""
    times = [task.create_time for task in some]
    later = [task.create_time for task in others]
    if not times or not later or None in times or None in later:
        return False
    known = [time for time in times if time is not None], [time for time in later if time is not None]
    return max(known[0]) <= min(known[1]) and min(known[0]) < max(known[1])
