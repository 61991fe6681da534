# SPDX-License-Identifier: Apache-2.0
"""What waits in the triggerer, without a worker slot: for upload tasks, and for imports of somebody else."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_wxbank._compat import HAS_PAGE, BaseEventTrigger, asset_state_store
from airflow_provider_wxbank._compat import HAS_WATCHERS as HAS_WATCHERS  # public here
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.packages.counts import Counts, finished_file
from airflow_provider_wxbank.packages.endpoints import tasks_path
from airflow_provider_wxbank.packages.known import Known
from airflow_provider_wxbank.packages.pauses import backing_off, steady
from airflow_provider_wxbank.packages.reconcile import finished_event
from airflow_provider_wxbank.packages.shared import Shared, shared_by
from airflow_provider_wxbank.packages.tasks import UploadTask
from airflow_provider_wxbank.packages.wait import Look, Pause, Seen, Waiting, wait, watch
from airflow_provider_wxbank.packages.wanted import Digests, Names, wanted
from airflow_provider_wxbank.reporting.events import Event, PollFailed, all_of
from airflow_provider_wxbank.reporting.progress import PollLog
from airflow_provider_wxbank.reporting.record import Sums, pieces
from airflow_provider_wxbank.reporting.recorder import WaitRecords, record_from_trigger
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidInput,
    Unauthorized,
    UnverifiedAnswer,
    WxBankError,
    is_lasting,
)
from airflow_provider_wxbank.wechatpay.settings import Settings
from airflow_provider_wxbank.wechatpay.tracebacks import forgets_locals

NAMES: tuple[Names, Names] = ("task_ids", "filenames")

MAX_NAMES = 100
"""Tasks whose names are in a trigger's row. Of more tasks it has digests."""

MAX_WANTED = 6500
"""Tasks that a deferred wait can be for: their digests take 55 kB as Airflow encrypts them; MySQL has room for 64."""

MAX_EVENT_TASKS = 5000
"""Tasks of which an event tells one by one. Of more it tells the counts."""


class TaskFinishedTrigger(BaseTrigger):
    """Polls a package until upload tasks are finished.

    Its only event is a dict: ``{"status": "finished", "counts", "accounted"}`` as :func:`.finished_event` makes it, or
    ``{"status": "error", "message", "is_lasting"}`` for what waiting will not mend; ``is_lasting`` says whether another
    try of the task would fail in the same way. From Airflow 3.1 on, ``tasks`` tells about each task, for the page.
    Outages of WeChat Pay are waited through. It only reads, so it may be restarted, or run twice, at any time.

    :param package_id: the number package.
    :param task_ids: the tasks to wait for; None, if ``filenames`` is None too, for the whole package.
    :param filenames: instead of ``task_ids``, the files to wait for.
    :param poll_interval: seconds between polls; each pause is up to a tenth longer or shorter, to spread many waits,
        and the first one may be much shorter. Waits for one package in one triggerer share their polls.
    :param wxbank_conn_id: connection of type ``wxbank``.
    :param exponential_backoff: make each pause about twice as long as the one before, as Airflow's sensors do. After a
        restart of the triggerer the pauses begin short again.
    :param max_wait: seconds of the longest pause while backing off; None for no limit.
    :param deadline: unix seconds at which the wait is ended from outside; no pause that backs off sleeps past it.
    :param digests: instead of both lists, what the trigger's row keeps of many names.
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
        digests: Mapping[str, Any] | None = None,
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
        self.digests = digests

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, from which Airflow makes the trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "package_id": self.package_id,
                **self._names(),
                "poll_interval": self.poll_interval,
                "wxbank_conn_id": self.wxbank_conn_id,
                "exponential_backoff": self.exponential_backoff,
                "max_wait": self.max_wait,
                "deadline": self.deadline,
            },
        )

    def _names(self) -> dict[str, Any]:
        """What names the tasks, as the trigger's row keeps it: many of them by their digests."""
        for of in NAMES:
            names = getattr(self, of)
            if names is not None and len(names) > MAX_NAMES:
                return {"task_ids": None, "filenames": None, "digests": Digests.made(of, names).write()}
        return {
            "task_ids": None if self.task_ids is None else list(self.task_ids),
            "filenames": None if self.filenames is None else list(self.filenames),
            "digests": self.digests,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until finished; yield one event."""
        yield TriggerEvent(await self._payload())

    async def _payload(self) -> dict[str, Any]:
        try:
            tasks = await self._finished_tasks()
        except WxBankError as failure:
            message = f"{type(failure).__name__}: {failure}"
            return {"status": "error", "message": message, "is_lasting": is_lasting(failure)}
        event = finished_event(tasks)
        # Airflow 2 keeps an event where MySQL takes 64 kB, and no Airflow is made for events of megabytes.
        has_room = HAS_PAGE and len(tasks) <= MAX_EVENT_TASKS
        return {**event, "tasks": list(pieces(map(finished_file, tasks)))} if has_room else event

    @forgets_locals
    async def _finished_tasks(self) -> Sequence[UploadTask]:
        digests = None if self.digests is None else Digests.read(self.digests)
        target = wanted(self.package_id, self.task_ids, self.filenames, digests)
        sums = Sums("wait", wxbank_conn_id=self.wxbank_conn_id, package_id=target.package_id)
        records = WaitRecords(sums)
        hook = WxBankHook(self.wxbank_conn_id)
        # The sensor has looked once itself.
        waiting: Waiting = wait(target, all_of(PollLog(self.log), records, hook.observer), looks=1)
        seen: Seen = None
        settings = await hook.asettings()
        while True:
            async with shared_by(settings, target.package_id, hook.observer) as shared:
                settings = shared.client.settings  # as one's own, but kept once for a thousand waits
                while True:
                    try:
                        step = waiting.send(seen)
                    except StopIteration as finished:
                        return tuple(finished.value)
                    if (record := records.take()) is not None:
                        await record_from_trigger(self.task_instance, record)
                    if isinstance(step, Pause):
                        seen = await asyncio.sleep(self._pause(step.looks), None)
                        continue
                    seen = await shared.looked(step, self.poll_interval)
                    # Keys may have been changed meanwhile.
                    if isinstance(seen, Unauthorized | UnverifiedAnswer):
                        break
            settings = await self._settings_now(settings)

    async def _settings_now(self, before: Settings) -> Settings:
        """What the connection tells now; what it told before, if it cannot be read."""
        try:
            return await WxBankHook(self.wxbank_conn_id).asettings()
        except WxBankError as failure:
            self.log.warning("The connection cannot be read anew: %s", failure)
            return before

    def _pause(self, polls: int) -> float:
        """Seconds to the next poll."""
        remaining = None if self.deadline is None else self.deadline - time.time()
        chance = random.random()  # noqa: S311  # no secret
        if not self.exponential_backoff:
            return steady(polls, self.poll_interval, chance)
        return backing_off(polls, self.poll_interval, chance, self.max_wait, remaining)


REPORTED = "wxbank_reported"
"""Key in the asset's state store: what the package had when the last event was raised."""


class ImportFinishedTrigger(BaseEventTrigger):
    """Watches a package that somebody else fills, for an asset (Airflow 3).

    It raises an event each time that the package has upload tasks which no event has covered, and all of its tasks are
    finished; at first that is everything in it. The event is ``{"package_id", "tasks", "success_count", "fail_count",
    "success_user_count"}``, the counts of the tasks that are new.

    Every task is covered by at least one event. What was covered is kept in the asset's state store (Airflow 3.3 and
    later), one poll after its event. So a restart of the triggerer repeats at most an event that was just raised.
    Before Airflow 3.3 there is no store, and after each start of the triggerer the first event covers everything again.

    It never ends and never raises an error event. Outages are waited through. If the connection does not work, it logs
    an error, reads the connection anew after ``poll_interval``, and tries again.

    :param package_id: the number package.
    :param poll_interval: seconds between polls, a tenth longer or shorter; a poll is one call while nothing is new.
    :param wxbank_conn_id: connection of type ``wxbank``.
    :raises InvalidInput: the package id is invalid, or this is Airflow 2.
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
        self._hook = WxBankHook(wxbank_conn_id)
        self._reported: Known | None = None
        self._saved: Known | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments, from which Airflow makes the trigger again."""
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
                async with (
                    shared_by(await self._hook.asettings(), self.package_id, self._hook.observer) as shared,
                    aclosing(self._imports(shared)) as imports,
                ):
                    async for counts in imports:
                        yield TriggerEvent(counts.of_package(self.package_id))
            except Exception as failure:  # whatever it is: nobody would notice that a watch has ended
                self.log.error(
                    "Package %s cannot be watched now; next try in %.0f s: %s: %s",
                    self.package_id,
                    self.poll_interval,
                    type(failure).__name__,
                    failure,
                )
            await asyncio.sleep(self.poll_interval)

    async def _imports(self, shared: Shared) -> AsyncGenerator[Counts, None]:
        """What is new each time, until something fails that waiting does not mend."""
        if self._reported is None:
            self._reported = self._saved = await self._load()
        watching = watch(self.package_id, self._reported, all_of(self._log_failures, self._hook.observer))
        step = next(watching)
        while True:
            match step:
                case Look() as look:
                    # What was seen is in no variable: a failure that is raised holds this frame, which would hold it.
                    step = watching.send(await shared.looked(look, self.poll_interval))
                    continue
                case Pause():
                    await asyncio.sleep(self.poll_interval * random.uniform(0.9, 1.1))  # noqa: S311  # no secret
                    # Only now that Airflow had a poll's time to write the event: saved earlier, an event could be lost
                    # with the triggerer.
                    if self._saved != self._reported:
                        await self._save(self._reported)
                case Known() as known:
                    yield known.counts.since(self._reported.counts)
                    self._reported = known
            step = next(watching)

    def _log_failures(self, event: Event) -> None:
        if isinstance(event, PollFailed):
            self.log.warning("This poll failed, the next one may not: %s", event.reason)

    async def _load(self) -> Known:
        store = asset_state_store(self)
        saved = await store.aget(REPORTED) if store is not None else None
        return Known.read(saved) if saved else Known()

    async def _save(self, reported: Known) -> None:
        if (store := asset_state_store(self)) is not None:
            await store.aset(REPORTED, reported.write())
        self._saved = reported
