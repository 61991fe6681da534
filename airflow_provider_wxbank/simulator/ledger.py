# SPDX-License-Identifier: Apache-2.0
"""What has arrived: packages, their tasks, and digests of the numbers. The numbers themselves are never kept."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_provider_wxbank.simulator.checks import Meta
from airflow_provider_wxbank.simulator.platform import BEIJING, beijing
from airflow_provider_wxbank.simulator.refusals import Refusal, Text, invalid_request
from airflow_provider_wxbank.simulator.settings import SimulatorSettings
from airflow_provider_wxbank.simulator.suites import Key

COUNTS = ("success_count", "fail_count", "success_user_count")

TWO_USERS = 13
"""How many of 256 numbers belong to two WeChat Pay users."""


def numbers_digest(numbers: Iterable[str]) -> str:
    """A digest of a set of numbers, whatever their order: of the sorted SHA-256 digests of each number, one a line."""
    return _set_digest({hashlib.sha256(number.encode()).digest() for number in numbers})


def _set_digest(digests: Iterable[bytes]) -> str:
    return hashlib.sha256("\n".join(sorted(one.hex() for one in digests)).encode()).hexdigest()


@dataclass(slots=True)
class Undecrypted:
    """A file whose lines are still to be decrypted.

    :param start: where it begins among the files that are kept for that.
    :param size: its bytes.
    :param check: the check, once it has been asked for.
    """

    key: Key
    start: int
    size: int
    check: Future[None] | None = None


@dataclass(slots=True)
class Task:
    """An upload task.

    :param digests: SHA-256 of each number decrypted so far.
    :param undecrypted: the lines that are left to be decrypted.
    :param checked: unix seconds at which all lines were decrypted; infinite while they are being decrypted.
    :param lost: rows that are not counted.
    """

    task_id: str
    package_id: str
    meta: Meta
    rows: int
    size: int
    serial_no: str
    created: float
    digests: list[bytes] = field(default_factory=list, repr=False)
    undecryptable: int = 0
    undecrypted: Undecrypted | None = field(default=None, repr=False)
    checked: float = 0.0
    lost: int = 0


@dataclass(slots=True)
class Ledger:
    """All packages of the merchant.

    :param whole_bodies: how many times an upload of a filename was received in full.
    """

    settings: SimulatorSettings
    packages: dict[str, dict[str, Task]] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    whole_bodies: Counter[str] = field(default_factory=Counter)
    uploads_under_way: int = 0
    max_concurrent_uploads: int = 0
    _by_day: Counter[str] = field(default_factory=Counter)
    _last_id: int = 100

    def check_package(self, package_id: str) -> None:
        """:raises Refusal: there is no such package."""
        if self.settings.packages is not None and package_id not in self.settings.packages:
            raise Refusal(404, "RESOURCE_NOT_EXISTS", Text("号码包不存在", "there is no such package"))

    def check_new(self, package_id: str, filename: str) -> None:
        """:raises Refusal: the filename exists in the package, or the day's files are used up."""
        if filename in self.packages.get(package_id, {}):
            # A guess: the code for a duplicate filename is documented nowhere.
            raise invalid_request(
                Text(
                    "文件名已存在，同一个号码包的多个上传任务的文件名不可重复",
                    "the filename exists: the upload tasks of a package have different ones",
                ),
                "/filename",
                filename,
            )
        if self._by_day[self._today()] >= self.settings.daily_file_quota:
            raise Refusal(
                429,
                "FREQUENCY_LIMIT_EXCEED",
                Text("当天上传文件数已达上限，请明天再试", "the day's number of files is used up; try again tomorrow"),
            )

    def add(self, package_id: str, meta: Meta, rows: int, size: int, serial_no: str) -> Task:
        """Commit an upload."""
        self._last_id += 1
        task = Task(str(self._last_id), package_id, meta, rows, size, serial_no, self.settings.clock())
        self.packages.setdefault(package_id, {})[meta.filename] = task
        self._by_day[self._today()] += 1
        return task

    def page(
        self, package_id: str, filename: str | None, status: str | None, offset: int, limit: int
    ) -> dict[str, Any]:
        """A page of the tasks that a list request asks for, in their order. What ``offset`` counts is a setting."""
        # One moment for the whole page: a task that ends meanwhile is not told as FINISHED among the others.
        now = self.settings.clock()
        tasks = [
            task
            for task in self.packages.get(package_id, {}).values()
            if task.created <= now - self.settings.listing_delay_seconds
            and filename in (None, task.meta.filename)
            and status in (None, self._status(task, now))
        ]
        if self.settings.newest_first:
            tasks.reverse()
        start = offset * limit if self.settings.offset_unit == "page" else offset
        return {
            "data": [self.as_json(task, "milliseconds", now) for task in tasks[start : start + limit]],
            "total_count": len(tasks),
            "offset": offset,
            "limit": limit,
        }

    def _status(self, task: Task, now: float) -> str:
        """FINISHED once the processing time is over, and all lines are decrypted if they are to be."""
        return "FINISHED" if now >= self._finished(task) else "PROCESSING"

    def _finished(self, task: Task) -> float:
        return max(task.created + self.settings.processing_seconds, task.checked)

    def counts(self, task: Task) -> tuple[int, int, int]:
        """Success, fail and user counts. Lines that are not decrypted yet are counted as if they would decrypt."""
        ratio = self.settings.unmatched_ratio
        matched = [one for one in task.digests if int.from_bytes(one[:4], "big") >= ratio * 2**32]
        assumed = task.rows - len(task.digests) - task.undecryptable
        counted = task.rows - task.lost
        success = min(len(matched) + assumed - round(assumed * ratio), counted)
        users = success + sum(one[4] < TWO_USERS for one in matched)
        return success, counted - success, users

    def as_json(self, task: Task, timespec: str, now: float | None = None) -> dict[str, Any]:
        """A task as WeChat Pay answers it. It has counts once it is finished."""
        status = self._status(task, self.settings.clock() if now is None else now)
        updated = self._finished(task) if status == "FINISHED" else task.created
        value: dict[str, Any] = {
            "task_id": task.task_id,
            "package_id": task.package_id,
            "filename": task.meta.filename,
            "create_time": beijing(task.created, timespec),
            "update_time": beijing(updated, timespec),
            "status": status,
            "bank_type": task.meta.bank_type,
        }
        if status == "FINISHED":
            value.update(zip(COUNTS, self.counts(task), strict=True))
        return value

    def report(self, faults: Counter[str], finish: Callable[[Iterable[Task]], None]) -> dict[str, Any]:
        """Everything that a test wants to prove.

        :param finish: decrypts the lines of some tasks that are left.
        """
        # Copies, since uploads may come in meanwhile.
        finish([task for tasks in list(self.packages.values()) for task in list(tasks.values())])
        return {
            "requests": {step: self.requests[step] for step in ("upload", "find", "list", "certificates")},
            "accepted_uploads": sum(map(len, list(self.packages.values()))),
            "refused": dict(self.refused),
            "faults": dict(faults),
            "max_concurrent_uploads": self.max_concurrent_uploads,
            "whole_bodies": dict(self.whole_bodies),
            "packages": {name: self._package_report(tasks.values()) for name, tasks in list(self.packages.items())},
        }

    def _package_report(self, tasks: Iterable[Task]) -> dict[str, Any]:
        tasks = list(tasks)
        distinct = {one for task in tasks for one in task.digests}
        lines = sum(task.rows for task in tasks)
        undecryptable = sum(task.undecryptable for task in tasks)
        return {
            "tasks": [
                {
                    **dict.fromkeys(COUNTS),
                    **self.as_json(task, "seconds"),
                    "rows": task.rows,
                    "bytes": task.size,
                    "sha256": task.meta.sha256,
                    "serial_no": task.serial_no,
                }
                for task in tasks
            ],
            "lines": lines,
            "distinct_numbers": len(distinct),
            "repeated_numbers": lines - undecryptable - len(distinct),
            "undecryptable": undecryptable,
            "numbers_digest": _set_digest(distinct),
        }

    def _today(self) -> str:
        return datetime.fromtimestamp(self.settings.clock(), BEIJING).date().isoformat()
