# SPDX-License-Identifier: Apache-2.0
"""``tasks`` and ``wait``: the upload tasks of a number package."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

from rich.console import Console

from airflow_provider_wxbank.cli.command import TimedOut, command, say
from airflow_provider_wxbank.cli.output import Column, as_json, beijing_minute, busy, package_bar, show, thousands
from airflow_provider_wxbank.cli.words import counted, is_chinese, worded
from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.packages.counts import Counts, check_fail_ratio, check_matched, count, likely_mistake
from airflow_provider_wxbank.packages.endpoints import list_tasks, list_tasks_page
from airflow_provider_wxbank.packages.poll import NO_TASK
from airflow_provider_wxbank.packages.tasks import UploadTask
from airflow_provider_wxbank.packages.wait import Look, Seen, looked
from airflow_provider_wxbank.packages.wait import wait as poll_loop
from airflow_provider_wxbank.packages.wanted import Wanted, wanted
from airflow_provider_wxbank.reporting.events import (
    Ended,
    Event,
    Finished,
    Observer,
    PollFailed,
    PollMade,
    all_of,
)
from airflow_provider_wxbank.reporting.metrics import Metrics
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import InvalidInput
from airflow_provider_wxbank.wechatpay.flows import run

_COUNTS = (
    Column(worded("matched"), "success_count", thousands, is_number=True),
    Column(worded("failed"), "fail_count", thousands, is_number=True),
    Column(worded("users"), "success_user_count", thousands, is_number=True, is_optional=True),
)
_TASK_COLUMNS = (
    Column(worded("task"), "task_id"),
    Column(worded("filename"), "filename", folds=True),
    Column(worded("status"), "status"),
    *_COUNTS,
    Column(worded("created"), "create_time", beijing_minute, is_optional=True),
    Column(worded("bank type"), "bank_type", is_optional=True),
)
_WAIT_COLUMNS = (
    Column(worded("package"), "package_id"),
    Column(worded("tasks"), "tasks", thousands, is_number=True),
    *_COUNTS,
)


@command
def tasks(args: argparse.Namespace) -> None:
    """List the upload tasks of a package."""
    reading = worded("Reading package {package_id}", package_id=args.package_id)
    with closing(WxBankHook(args.wxbank_conn_id).get_conn()) as client, busy(reading):
        found = list(list_tasks(client, args.package_id, args.status, args.filename))
    rows = [as_json(task) for task in found]
    show(args.output, rows, [as_shown(task) for task in found] if args.output == "table" else rows,
         _TASK_COLUMNS, _sums(found))  # fmt: skip


def as_shown(task: UploadTask) -> dict[str, object]:
    """A task for a person, without counts unless it is finished: before that they mean nothing."""
    if not task.is_finished:
        task = replace(task, success_count=None, fail_count=None, success_user_count=None)
    return as_json(task)


def _sums(found: list[UploadTask]) -> dict[str, object]:
    finished = [task for task in found if task.is_finished]
    counts = count(finished)
    return {
        "task_id": counted(len(found), "task"),
        "status": worded("{finished:,} finished", finished=len(finished)),
        "success_count": counts.success_count,
        "fail_count": counts.fail_count,
        "success_user_count": counts.success_user_count,
    }


@command
def wait(args: argparse.Namespace) -> None:
    """Wait until upload tasks are finished."""
    target = wanted(args.package_id, args.task_ids, args.filenames)
    check_fail_ratio(args.max_fail_ratio)
    if not args.poke_interval > 0 or not args.timeout > 0:
        raise InvalidInput(worded("--poke-interval and --timeout must be more than 0 seconds"))
    metrics = Metrics(args.wxbank_conn_id)
    with closing(WxBankHook(args.wxbank_conn_id).get_conn()) as client, _progress(client, target) as shown:
        tell = all_of(shown, metrics)
        try:
            counts = count(_finished(client, target, args.poke_interval, args.timeout, tell))
            tell(counts.event(target.package_id, ()))
        finally:
            tell(Ended("wait"))
    result = counts.of_package(target.package_id)
    show(args.output, result, [result], _WAIT_COLUMNS)
    _judge(counts, args.max_fail_ratio)


def _judge(counts: Counts, max_fail_ratio: float | None) -> None:
    if text := likely_mistake(counts):
        say(worded("warning: {text}", text=text))
    check_matched(counts, max_fail_ratio)


def _finished(
    client: Client, target: Wanted, interval: float, timeout: float, tell: Observer
) -> tuple[UploadTask, ...]:
    """Poll until the tasks are finished, through outages of WeChat Pay."""
    deadline = time.monotonic() + timeout
    last = _LastPoll()
    waiting = poll_loop(target, all_of(last, tell))
    seen: Seen = None
    while True:
        try:
            step = waiting.send(seen)
        except StopIteration as finished:
            tasks: tuple[UploadTask, ...] = finished.value
            return tasks
        if isinstance(step, Look):
            seen = run(looked(step, client))
            continue
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimedOut(
                worded(
                    "package {package_id} was not finished in {timeout:g} s: {note}",
                    package_id=target.package_id,
                    timeout=timeout,
                    note=last.note,
                )
            )
        time.sleep(min(interval, left))
        seen = None


class _LastPoll:
    """Keeps what the last successful look has seen, and warns about failed ones."""

    def __init__(self) -> None:
        self.note = worded("no look succeeded")

    def __call__(self, event: Event) -> None:
        match event:
            case PollMade():
                self.note = _why_not_over(event)
            case PollFailed():
                say(worded("warning: this look failed, the next one may not: {reason}", reason=event.reason))


@contextmanager
def _progress(client: Client, target: Wanted) -> Iterator[Observer]:
    """An observer that shows each poll: by a bar on a terminal, or else by lines."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _say_poll
        return
    with package_bar(worded("tasks"), console) as bar:
        shown = bar.add_task(target.package_id, total=None)
        total = target.count or list_tasks_page(client, target.package_id, limit=1).total_count

        def tell(event: Event) -> None:
            match event:
                case Finished():
                    bar.update(shown, total=event.tasks, completed=event.tasks)
                case PollMade(unfinished=int(unfinished)):
                    # The number is an upper bound, and what was finished stays finished: the bar never goes back.
                    done = max(bar.tasks[0].completed, total - unfinished, 0)
                    bar.update(shown, total=max(total, unfinished), completed=done)

        yield tell


def _say_poll(event: Event) -> None:
    if isinstance(event, PollMade):
        say(worded("Package {package_id}: {note}", package_id=event.package_id, note=_why_not_over(event)))


def _why_not_over(event: PollMade) -> str:
    """Why a wait is not over. The note is English, and says it in many ways; Chinese has the number instead."""
    if not is_chinese():
        return event.note
    if event.note == NO_TASK:
        return worded("It has no upload task yet")
    if event.unfinished is None:
        return worded("still processing")
    return worded("{tasks} not finished", tasks=counted(event.unfinished, "task"))
