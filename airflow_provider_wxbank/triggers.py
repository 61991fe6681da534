"""What waits in the triggerer, where no worker slot is held: for upload tasks, and for imports of somebody else."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import asdict
from itertools import count as count_from
from threading import Lock
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.pauses import backing_off, steady
from airflow_provider_wxbank.record import HAS_PAGE, finished_rows, is_news, record_from_trigger, waiting
from airflow_provider_wxbank.retry_policy import is_lasting
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, TryLater, UnverifiedAnswer, WxBankError
from airflow_provider_wxbank.wechatpay.packages import UploadTask, tasks_path
from airflow_provider_wxbank.wechatpay.tracebacks import forgets_locals
from airflow_provider_wxbank.wechatpay.waiting import Counts, SharedPages, Wanted, count, poll, poll_new, wanted

if TYPE_CHECKING:
    from airflow.triggers.base import BaseEventTrigger

    HAS_WATCHERS = True
else:
    try:
        from airflow.triggers.base import BaseEventTrigger
    except ImportError:
        BaseEventTrigger = BaseTrigger
        HAS_WATCHERS = False
    else:
        HAS_WATCHERS = True

SHARED_FOR = 0.8
"""Share of the poll interval for which what one wait saw serves the others of its package."""


class TaskFinishedTrigger(BaseTrigger):
    """Polls a package until upload tasks are finished.

    Its only event is a dict: ``{"status": "finished", "counts": ...}`` with the fields of
    :class:`~airflow_provider_wxbank.wechatpay.waiting.Counts`, or ``{"status": "error", "message", "is_lasting"}`` for
    what waiting will not mend; ``is_lasting`` says whether another try of the task would meet it again. From Airflow
    3.1 on, ``tasks`` beside ``counts`` has a row for each task, for the page. Outages of WeChat Pay are waited through.
    It only reads, so it may be restarted, or run twice, at any time.

    :param package_id: the number package.
    :param task_ids: the tasks to wait for; None together with ``filenames`` None for the whole package.
    :param filenames: instead of ``task_ids``, the files to wait for.
    :param poll_interval: seconds between polls; each pause is up to a tenth longer or shorter, to spread many waits.
        Waits of one package in one triggerer share their polls.
    :param wxbank_conn_id: connection of type ``wxbank``.
    :param exponential_backoff: make each pause about twice as long as the one before, as Airflow's sensors do; a
        restart of the triggerer begins with short ones again.
    :param max_wait: seconds of the longest pause while backing off; None for no limit.
    :param deadline: unix seconds at which the wait is ended from outside; no pause that backs off sleeps past it.
    """

    def __init__(
        self,
        package_id: str,
        task_ids: Sequence[str] | None = None,
        filenames: Sequence[str] | None = None,
        poll_interval: float = 60.0,
        wxbank_conn_id: str = WxBankHook.default_conn_name,
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        deadline: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's own has no types
        self.package_id = package_id
        self.task_ids = task_ids
        self.filenames = filenames
        self.poll_interval = poll_interval
        self.wxbank_conn_id = wxbank_conn_id
        self.exponential_backoff = exponential_backoff
        self.max_wait = max_wait
        self.deadline = deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, from which the trigger is made again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "package_id": self.package_id,
                "task_ids": None if self.task_ids is None else list(self.task_ids),
                "filenames": None if self.filenames is None else list(self.filenames),
                "poll_interval": self.poll_interval,
                "wxbank_conn_id": self.wxbank_conn_id,
                "exponential_backoff": self.exponential_backoff,
                "max_wait": self.max_wait,
                "deadline": self.deadline,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until finished; yield one event."""
        try:
            target = wanted(self.package_id, self.task_ids, self.filenames)
            with _shared(await WxBankHook(self.wxbank_conn_id).aget_conn()) as line:
                tasks = await self._finished_tasks(line, target)
        except WxBankError as failure:
            message = f"{type(failure).__name__}: {failure}"
            yield TriggerEvent({"status": "error", "message": message, "is_lasting": is_lasting(failure)})
        else:
            event: dict[str, Any] = {"status": "finished", "counts": asdict(count(tasks))}
            # Airflow 2 keeps an event where MySQL takes 64 kB.
            yield TriggerEvent({**event, "tasks": finished_rows(tasks)} if HAS_PAGE else event)

    @forgets_locals
    async def _finished_tasks(self, line: _Line, target: Wanted) -> Sequence[UploadTask]:
        watched, recorded = None, None
        for polls in count_from(1):
            await asyncio.sleep(self._pause(polls))
            try:
                seen = await asyncio.to_thread(
                    poll, line.client, target, watched,
                    lambda: line.pages.processing(target.package_id, SHARED_FOR * self.poll_interval),
                )  # fmt: skip
            except (TryLater, UnverifiedAnswer) as failure:
                self.log.warning("This poll failed, the next one may not: %s", failure)
                continue
            if seen.tasks is not None:
                return seen.tasks
            watched = seen.watched
            self.log.info("Package %s: %s", self.package_id, seen.note)
            news = waiting(self.wxbank_conn_id, target, seen.unfinished, self.poll_interval)
            if seen.unfinished is not None and is_news(news, recorded):
                await record_from_trigger(self.task_instance, news)
                recorded = news
        raise AssertionError("it polls until it returns")

    def _pause(self, polls: int) -> float:
        """Seconds to the next poll."""
        remaining = None if self.deadline is None else self.deadline - time.time()
        chance = random.random()  # noqa: S311  # no secret
        if not self.exponential_backoff:
            return steady(polls, self.poll_interval, chance)
        return backing_off(polls, self.poll_interval, chance, self.max_wait, remaining)


REPORTED = "wxbank_reported"
"""Key in the asset's state store of what a package had when the last event was raised."""


class ImportFinishedTrigger(BaseEventTrigger):
    """Watches a package that somebody else fills, for an asset (Airflow 3).

    It raises an event each time that the package has upload tasks which no event told of, and all of its tasks are
    finished; at first that is everything in it. The event is ``{"package_id", "tasks", "success_count", "fail_count",
    "success_user_count"}``, the counts of the tasks that are new.

    Every task is told of at least once. What was told is kept in the asset's state store (Airflow 3.3 and later), one
    poll after its event, so that a restart of the triggerer repeats at most an event that was just raised. Before
    Airflow 3.3 there is no store, and each start of the triggerer tells of the whole package again.

    It never ends and never raises an error event: outages are waited through, and with a connection that does not work
    it logs an error and tries again after ``poll_interval``, reading the connection anew.

    :param package_id: the number package.
    :param poll_interval: seconds between polls, a tenth longer or shorter; a poll is one call while nothing is new.
    :param wxbank_conn_id: connection of type ``wxbank``.
    :raises InvalidInput: the package id is none, or this is Airflow 2.
    """

    def __init__(
        self,
        package_id: str,
        poll_interval: float = 60.0,
        wxbank_conn_id: str = WxBankHook.default_conn_name,
    ) -> None:
        if not HAS_WATCHERS:
            raise InvalidInput(
                "watching a package needs Airflow 3; in Airflow 2 run a DAG with a TaskFinishedSensor for the package"
            )
        tasks_path(package_id)
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's own has no types
        self.package_id = package_id
        self.poll_interval = poll_interval
        self.wxbank_conn_id = wxbank_conn_id
        self._reported: Counts | None = None
        self._saved: Counts | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, from which the trigger is made again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "package_id": self.package_id,
                "poll_interval": self.poll_interval,
                "wxbank_conn_id": self.wxbank_conn_id,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll for ever; yield an event for each import."""
        while True:
            try:
                with _shared(await WxBankHook(self.wxbank_conn_id).aget_conn()) as line:
                    async with aclosing(self._imports(line)) as imports:
                        async for counts in imports:
                            yield TriggerEvent(counts.of_package(self.package_id))
            except Exception as failure:  # whatever it is, a watch that ends would be missed by nobody
                self.log.error(
                    "Package %s cannot be watched now; next try in %.0f s: %s: %s",
                    self.package_id,
                    self.poll_interval,
                    type(failure).__name__,
                    failure,
                )
            await asyncio.sleep(self.poll_interval)

    async def _imports(self, line: _Line) -> AsyncGenerator[Counts, None]:
        """What is new each time, until something fails that waiting does not mend."""
        if self._reported is None:
            self._reported = self._saved = await self._load()
        while True:
            # Not before Airflow had a poll's time to write the event: then it would be lost if the triggerer dies.
            if self._saved != self._reported:
                await self._save(self._reported)
            try:
                seen = await asyncio.to_thread(
                    poll_new, line.client, self.package_id, self._reported.tasks,
                    lambda: line.pages.processing(self.package_id, SHARED_FOR * self.poll_interval),
                )  # fmt: skip
            except (TryLater, UnverifiedAnswer) as failure:
                self.log.warning("This poll failed, the next one may not: %s", failure)
            else:
                self.log.debug("Package %s: %s", self.package_id, seen.note)
                if seen.tasks is not None:
                    counts = count(seen.tasks)
                    yield counts.since(self._reported)
                    self._reported = counts
            await asyncio.sleep(self.poll_interval * random.uniform(0.9, 1.1))  # noqa: S311  # no secret

    async def _load(self) -> Counts:
        store = getattr(self, "asset_state_store", None)
        saved = await store.aget(REPORTED) if store is not None else None
        return Counts(**{**saved, "failed_files": ()}) if saved else Counts(0, 0, 0, 0)

    async def _save(self, reported: Counts) -> None:
        store = getattr(self, "asset_state_store", None)
        if store is not None:
            saved = {name: value for name, value in asdict(reported).items() if name != "failed_files"}
            await store.aset(REPORTED, saved)
        self._saved = reported


class _Line:
    """What the waits of one connection in one triggerer share: connections, platform keys, and polls."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.pages = SharedPages(client)
        self.users = 0


_LINES: dict[Hashable, _Line] = {}
_LINES_LOCK = Lock()


@contextmanager
def _shared(client: Client) -> Iterator[_Line]:
    """The line of the client's connection; it is closed when the last wait leaves it."""
    identity = client.settings.identity
    with _LINES_LOCK:
        line = _LINES.setdefault(identity, _Line(client))
        line.users += 1
    if line.client is not client:
        client.close()
    try:
        yield line
    finally:
        with _LINES_LOCK:
            line.users -= 1
            if not line.users:
                del _LINES[identity]
                line.client.close()
