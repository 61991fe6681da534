# SPDX-License-Identifier: Apache-2.0
"""Looks whether upload tasks are finished, mostly at one call a poll. Coroutines, for clients of both kinds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

from airflow_provider_wxbank.packages.endpoints import afind_task, alist_tasks, alist_tasks_page
from airflow_provider_wxbank.packages.known import MAX_NEWEST, Known
from airflow_provider_wxbank.packages.newest import new_tasks, newest_tasks
from airflow_provider_wxbank.packages.tasks import MAX_PAGE, TaskPage, UploadTask
from airflow_provider_wxbank.packages.wanted import Wanted
from airflow_provider_wxbank.plurals import number_of
from airflow_provider_wxbank.wechatpay.errors import AGAIN, TryLater, WxBankError, for_another, is_lasting
from airflow_provider_wxbank.wechatpay.flows import Caller, run

MAX_BY_NAME = MAX_PAGE
"""Files that are asked for one by one, whatever else the package has."""

MAX_FAILURE_AGE = 30.0
"""Seconds for which a failure serves the other waits, too."""

MAX_KEPT = 10_000
"""Finished tasks of a package that are kept for other waits, in some 5 MB."""

NO_TASK = "the package has no upload task yet"
"""Why a wait for all of a package is not over, if nothing is in it."""


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


class Memory:
    """What the waits for a package have read, so that those of one event loop read it once.

    :ivar finished: tasks that were finished, by their ids: nothing changes in them any more.
    :ivar reading: held by whoever reads tasks, so that others find them here afterwards.
    :param clock: seconds that only grow.
    """

    def __init__(self, client: Caller, package_id: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.finished: dict[str, UploadTask] = {}
        self.reading = asyncio.Lock()
        self._client = client
        self._package_id = package_id
        self._clock = clock
        self._asking = asyncio.Lock()
        self._seen: tuple[float, TaskPage | WxBankError] | None = None

    async def processing(self, max_age: float) -> TaskPage:
        """The first page of what is processing, of at most ``max_age`` seconds ago.

        :raises WxBankError: as :func:`.list_tasks_page`.
        """
        async with self._asking:
            seen = self._recent(max_age)
            if seen is None:
                try:
                    page = await alist_tasks_page(self._client, self._package_id, status="PROCESSING")
                except WxBankError as failure:
                    # Shared for a while: otherwise, in an outage, each wait would make the same call again. But what a
                    # person has to mend may have been mended when the next one asks.
                    self._seen = None if is_lasting(failure) else (self._clock(), for_another(failure))
                    raise
                self._seen = self._clock(), page
                return page
        if isinstance(seen, WxBankError):
            raise for_another(seen)
        return seen

    def _recent(self, max_age: float) -> TaskPage | WxBankError | None:
        """What was seen last, unless it is too old."""
        if self._seen is None:
            return None
        at, seen = self._seen
        limit = min(max_age, MAX_FAILURE_AGE) if isinstance(seen, WxBankError) else max_age
        return seen if self._clock() - at <= limit else None

    def keep(self, task: UploadTask) -> None:
        """Keep a task, if it is finished."""
        if task.is_finished:
            self.finished[task.task_id] = task
            if len(self.finished) > MAX_KEPT:
                del self.finished[next(iter(self.finished))]


async def poll(
    client: Caller, target: Wanted, watched: str | None = None, memory: Memory | None = None, max_age: float = 0.0
) -> Poll:
    """Look once whether the tasks are finished.

    It takes one call while one of ours is on the first page of what is processing. When the tasks of others fill that
    page, one of ours is remembered as ``watched``, and asking for it alone is the one call of the next polls. Only when
    nothing of ours is processing are the tasks themselves read, 20 a call.

    :param memory: what other waits for the package have read.
    :param max_age: seconds for which what is in memory of tasks that are processing will do.
    """
    memory = memory or Memory(client, target.package_id)
    # However many pages the tasks of others fill, this is one call while ours is processing.
    if watched is not None:
        task = await afind_task(client, target.package_id, watched)
        if task is not None and not task.is_finished:
            return Poll(None, watched, "still processing")
    first = await memory.processing(max_age)
    note = _processing(first.total_count)
    # Ours may be on the pages behind this one, too: then only the total is an upper bound.
    if ours := sum(target.includes(task) for task in first.tasks):
        return Poll(None, note=note, unfinished=first.total_count if _is_part(first) else ours)
    if _is_part(first):
        async with aclosing(alist_tasks(client.patient, target.package_id, status="PROCESSING")) as tasks:
            async for task in tasks:
                if target.includes(task):
                    return Poll(None, task.filename, note, unfinished=first.total_count)
    return await _collect(client.patient, target, memory)


def finished_tasks(client: Caller, target: Wanted) -> tuple[UploadTask, ...]:
    """The tasks of a wait that is over, read anew.

    :raises TryLater: they are not all finished any more, as where more came into a package that is waited for as a
        whole.
    """
    seen = run(poll(client, target))
    if seen.tasks is None:
        raise TryLater(f"package {target.package_id} was finished, and is not any more: {seen.note}{AGAIN}")
    return seen.tasks


async def poll_new(
    client: Caller, package_id: str, known: Known, memory: Memory | None = None, max_age: float = 0.0
) -> Poll:
    """Look once whether a package has more tasks than were known, and all of them are finished.

    It takes one call while there is nothing new. Tasks are never removed from a package, so their number tells.

    :return: with the new tasks alone, if they were found with few calls; else with all tasks of the package, which the
        poll says.
    """
    memory = memory or Memory(client, package_id)
    first = await alist_tasks_page(client, package_id)
    more = first.total_count - known.counts.tasks
    if more <= 0:
        return Poll(None, note="no new task")
    processing = await memory.processing(max_age)
    if processing.total_count:
        return Poll(None, note=_processing(processing.total_count), unfinished=processing.total_count)
    new = await new_tasks(client.patient, package_id, first, more, known.is_new, MAX_NEWEST)
    if new is None:
        return replace(await _collect(client.patient, Wanted(package_id), memory), are_all=True)
    unfinished = [task for task in new if not task.is_finished]
    return Poll(None, note=_still(len(unfinished))) if unfinished else Poll(tuple(new))


async def wanted_tasks(client: Caller, target: Wanted, memory: Memory) -> AsyncGenerator[UploadTask, None]:
    """Those of the tasks waited for that are listed, found with few calls, however long the package's history is."""
    if target.count is None:
        async for task in alist_tasks(client, target.package_id):
            yield task
        return
    known = [task for task in memory.finished.values() if target.includes(task)]
    if len(known) == target.count:
        for task in known:
            yield task
        return
    if target.filenames is not None and len(target.filenames) <= MAX_BY_NAME:
        for name in sorted(target.filenames):
            if (found := await afind_task(client, target.package_id, name)) is not None:
                yield found
        return
    left = target.count
    async with aclosing(newest_tasks(client, target.package_id)) as tasks:
        async for task in tasks:
            memory.keep(task)
            if target.includes(task):
                yield task
                left -= 1
                # The rest of a long list need not be read.
                if not left:
                    return


def _processing(tasks: int) -> str:
    return number_of(tasks, "task of the package is processing", "tasks of the package are processing")


def _still(tasks: int) -> str:
    return number_of(tasks, "task is still processing", "tasks are still processing")


def _is_part(page: TaskPage) -> bool:
    return page.total_count > len(page.tasks)


async def _collect(client: Caller, target: Wanted, memory: Memory) -> Poll:
    """Read the tasks waited for. The wait goes on while one of them is not listed or not finished."""
    async with memory.reading:
        tasks = tuple([task async for task in wanted_tasks(client, target, memory)])
    # An upload may be taken before it is listed.
    missing, names = target.missing(tasks)
    if missing:
        left = missing + sum(not task.is_finished for task in tasks)
        note = number_of(missing, "of the tasks is not listed yet", "of the tasks are not listed yet")
        return Poll(None, note=f"{note}{names and ': '}{names}", unfinished=left)
    if not tasks:
        return Poll(None, note=NO_TASK)
    unfinished = [task for task in tasks if not task.is_finished]
    if unfinished:
        return Poll(None, unfinished[0].filename, _still(len(unfinished)), unfinished=len(unfinished))
    return Poll(tasks)
