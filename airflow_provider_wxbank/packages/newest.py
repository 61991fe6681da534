# SPDX-License-Identifier: Apache-2.0
"""A package's tasks from the newest on: a package is used for years, and what is asked of it is mostly of today.

No source says in which order WeChat Pay lists tasks, nor has anybody seen whether ``offset`` counts pages, as all
sources call it, or rows. Both are found out from the first and the last page; if they do not tell, the list is read as
a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from airflow_provider_wxbank.packages.endpoints import list_tasks, list_tasks_page
from airflow_provider_wxbank.packages.tasks import MAX_PAGE, TaskPage, UploadTask
from airflow_provider_wxbank.wechatpay.client import Client


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


def newest_tasks(client: Client, package_id: str, first: TaskPage | None = None) -> Iterator[UploadTask]:
    """Every upload task of a package, each once, the newest first as far as the list is in order of time.

    Whoever leaves it early has made few calls: two, and one more for each 20 tasks.

    :param first: the page at offset 0, if it is at hand.
    :raises TryLater: the list kept changing.
    """
    first = first or list_tasks_page(client, package_id)
    seen: set[str] = set()
    for task in _in_order(client, package_id, first):
        if task.task_id not in seen:
            seen.add(task.task_id)
            yield task
    # What moved while it was read is found in a reading of the whole.
    if len(seen) < first.total_count:
        rest = [task for task in list_tasks(client, package_id) if task.task_id not in seen]
        yield from sorted(rest, key=_time, reverse=True)


def newest_of(client: Client, package_id: str, first: TaskPage, count: int) -> list[UploadTask] | None:
    """So many of the newest tasks; None if the list does not show which these are.

    :param first: the page at offset 0.
    :param count: at least 1.
    """
    if len(first.tasks) >= first.total_count:
        return None
    found: dict[str, UploadTask] = {}
    for task in _in_order(client, package_id, first):
        found.setdefault(task.task_id, task)
        if len(found) == count:
            break
    times = [task.create_time for task in found.values() if task.create_time is not None]
    is_in_order = len(times) == count and all(later >= earlier for later, earlier in pairwise(times))
    return list(found.values()) if is_in_order else None


def _in_order(client: Client, package_id: str, first: TaskPage) -> Iterator[UploadTask]:
    """Tasks from the newest on, some perhaps twice; nothing if the order cannot be told."""
    if len(first.tasks) >= first.total_count:
        yield from sorted(first.tasks, key=_time, reverse=True)
        return
    end = _last(client, package_id, first.total_count)
    if end is None:
        return
    # A short list has some on both.
    both = {task.task_id for task in first.tasks} & {task.task_id for task in end.tasks}
    begin, rest = ([task for task in tasks if task.task_id not in both] for tasks in (first.tasks, end.tasks))
    if _is_before(begin, rest):
        yield from reversed(end.tasks)
        start = end.start
        while start > 0:
            start = max(start - end.limit, 0)
            offset = start if end.are_rows else start // end.limit
            yield from reversed(list_tasks_page(client, package_id, offset=offset, limit=end.limit).tasks)
    elif _is_before(rest, begin):
        yield from first.tasks
        for start in range(MAX_PAGE, end.start, MAX_PAGE):
            offset = start if end.are_rows else start // MAX_PAGE
            yield from list_tasks_page(client, package_id, offset=offset).tasks
        yield from end.tasks


def _last(client: Client, package_id: str, total: int) -> _End | None:
    """The end of the list; None if it grew meanwhile so that it is not known which one it is."""
    # A limit that cuts the list so that the last page is not full: then a full page shows that rows are counted.
    limit = next((one for one in range(MAX_PAGE, 1, -1) if total % one), None)
    if limit is None:
        return None
    number = (total - 1) // limit
    page = list_tasks_page(client, package_id, offset=number, limit=limit)
    if page.total_count != total:
        return None
    if len(page.tasks) == total - number * limit:
        return _End(page.tasks, number * limit, limit, are_rows=False)
    if len(page.tasks) != limit:
        return None
    start = max(total - MAX_PAGE, 0)
    page = list_tasks_page(client, package_id, offset=start)
    return _End(page.tasks, start, MAX_PAGE, are_rows=True) if len(page.tasks) == total - start else None


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
