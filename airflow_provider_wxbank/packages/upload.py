# SPDX-License-Identifier: Apache-2.0
"""Uploads many agreement files, some at a time, within the day's quota. After a failure the next run goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event, Lock
from typing import Any

from airflow_provider_wxbank.agreements.outgoing import Outgoing, OutgoingFile, check_same_files
from airflow_provider_wxbank.packages.endpoints import find_task
from airflow_provider_wxbank.packages.pace import processing_seconds
from airflow_provider_wxbank.packages.quota import files_left_today
from airflow_provider_wxbank.packages.upload_once import Uploaded, adopted, upload_once
from airflow_provider_wxbank.plurals import number_of
from airflow_provider_wxbank.reporting.events import (
    FileNotUploaded,
    FileUploaded,
    Observer,
    QuotaAsked,
    UploadPlanned,
    nobody,
)
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidInput,
    QuotaReached,
    TryLater,
    UnverifiedAnswer,
)

MAX_WORKERS = 64

log = logging.getLogger(__name__)


def check_max_workers(max_workers: int) -> None:
    """:raises InvalidInput: not 1 to 64."""
    if type(max_workers) is not int or not 1 <= max_workers <= MAX_WORKERS:
        raise InvalidInput(f"max_workers must be 1 to {MAX_WORKERS}, not {max_workers!r}")


class Upload:
    """Uploads many files into one package, some at a time, in their order.

    What an earlier run has uploaded is found again at little cost. With at most ``max_workers`` uploads under way,
    files start in order and none starts after a failure, so fewer than ``max_workers`` files can be missing before the
    last one that is there. Files are therefore asked for before they are sent, but only until ``max_workers`` were
    found missing. A first run asks that often, a run after a killed one asks for what is there, and no file goes over
    the wire twice.

    :param max_workers: uploads at a time; no more files than that are in memory.
    :param known: filename to task id of files that an earlier try uploaded: WeChat Pay is not asked for them, and they
        are not read.
    :param tell: hears of each file, from the thread that called :meth:`run`.
    :param clock: unix seconds.
    """

    def __init__(
        self,
        client: Client,
        package_id: str,
        *,
        max_workers: int = 8,
        known: Mapping[str, str] | None = None,
        tell: Observer = nobody,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_max_workers(max_workers)
        self._client = client
        self._package_id = package_id
        self._max_workers = max_workers
        self._known = known or {}
        self._tell = tell
        self._sleep = sleep
        self._clock = clock
        self._missing = 0
        self._done_rows = self._sent_rows = 0
        self._left_today: int | None = None
        self._lock = Lock()
        self._stopped = Event()

    def stop(self) -> None:
        """Start no more uploads; those under way are still finished."""
        self._stopped.set()

    def run(self, outgoing: Outgoing) -> list[Uploaded]:
        """Upload every file. After a failure start no more, let those under way end, and raise the first failure.

        :return: what was uploaded, in the order of the files.
        :raises InvalidInput: an earlier try has uploaded files that are no longer among these.
        """
        # Before anything is sent: what is in the package stays there.
        check_same_files(outgoing.filenames, self._known, self._package_id)
        names, quota = tuple(outgoing.filenames), self._client.settings.daily_file_quota
        self._tell(
            UploadPlanned(
                self._package_id, len(names), outgoing.rows, outgoing.manifest, outgoing.bank_type, names, quota
            )
        )
        self._left_today = self._ask_what_is_left(len(names))
        results: dict[int, Uploaded] = {}
        failures: list[tuple[str, Exception]] = []
        under_way: dict[Future[Uploaded], tuple[int, str]] = {}
        with ThreadPoolExecutor(self._max_workers, thread_name_prefix="wxbank-upload") as pool:
            try:
                for index, file in enumerate(outgoing.files):
                    # Never more than can run at once: each of them holds its numbers in memory.
                    under_way[pool.submit(self._upload, file)] = index, file.filename
                    if len(under_way) >= self._max_workers:
                        self._collect(under_way, results, failures)
                    if failures or self._stopped.is_set():
                        break
            finally:
                # Whatever has failed, observers must hear of every file that WeChat Pay has taken.
                while under_way:
                    self._collect(under_way, results, failures)
                self._report(results.values(), failures)
        if failures:
            raise failures[0][1]
        if self._stopped.is_set():
            raise TryLater(f"stopped after {number_of(len(results), 'file')}; run it again to upload the rest")
        return [results[index] for index in sorted(results)]

    def _upload(self, file: OutgoingFile) -> Uploaded:
        if file.filename in self._known:
            return Uploaded(file.filename, file.rows, self._known[file.filename], adopted=True)
        # Once so many were missing, no file behind them can be there; see the class.
        if self._missing < self._max_workers:
            if (task := find_task(self._client, self._package_id, file.filename)) is not None:
                return adopted(file, task)
            with self._lock:
                self._missing += 1
        self._take_from_quota()
        return upload_once(self._client, self._package_id, file, self._sleep)

    def _ask_what_is_left(self, files: int) -> int | None:
        """How many files the day's quota leaves; None for no limit. This is a forecast: WeChat Pay decides."""
        files -= len(self._known)
        # Whether there is room for one file its own upload tells, with one call less.
        if files <= 1:
            return None
        try:
            left = files_left_today(self._client, self._package_id, files, self._clock())
        except (TryLater, UnverifiedAnswer) as failure:
            # Without a forecast WeChat Pay will refuse what is too much.
            log.warning("What is left of the day's quota is not known: %s", failure)
            return None
        self._tell(QuotaAsked(self._package_id, left.files))
        if left.is_enough:
            return None
        log.warning(
            "Package %s can take %d more files today, of a quota of %d; what is more has to wait for the next day",
            self._package_id,
            left.files,
            self._client.settings.daily_file_quota,
        )
        return left.files

    def _take_from_quota(self) -> None:
        with self._lock:
            # Not even tried: the whole file would be sent only to be refused.
            if self._left_today == 0:
                raise QuotaReached(
                    f"the day's quota of {self._client.settings.daily_file_quota} files is used up in package "
                    f"{self._package_id}: run it again after midnight, Asia/Shanghai. (If WeChat Pay grants this "
                    "merchant more, set daily_file_quota in the connection)"
                )
            if self._left_today is not None:
                self._left_today -= 1

    def _collect(
        self,
        under_way: dict[Future[Uploaded], tuple[int, str]],
        results: dict[int, Uploaded],
        failures: list[tuple[str, Exception]],
    ) -> None:
        """Wait for at least one upload to end, and take what has ended."""
        done, _ = wait(under_way, return_when=FIRST_COMPLETED)
        for future in done:
            index, filename = under_way.pop(future)
            try:
                results[index] = one = future.result()
            except Exception as failure:
                # Not raised here: others are still under way.
                failures.append((filename, failure))
                self._tell(FileNotUploaded(self._package_id, filename, type(failure).__name__, str(failure)))
            else:
                self._done_rows += one.rows
                self._sent_rows += 0 if one.adopted else one.rows
                self._tell(
                    FileUploaded(
                        self._package_id, one.filename, one.task_id, one.rows, one.adopted, len(results),
                        self._done_rows, processing_seconds(self._sent_rows),
                    )
                )  # fmt: skip

    def _report(self, uploaded: Collection[Uploaded], failures: Collection[tuple[str, Exception]]) -> None:
        adopted = sum(one.adopted for one in uploaded)
        log.info(
            "Package %s: %d files uploaded, %d adopted, %d failed",
            self._package_id,
            len(uploaded) - adopted,
            adopted,
            len(failures),
        )
        for filename, failure in failures:
            log.error("Not uploaded: %s: %s", filename, failure)


def result_of(package_id: str, outgoing: Outgoing, uploaded: Collection[Uploaded]) -> dict[str, Any]:
    """The result of an upload as users get it, in an XCom or as JSON."""
    result = {
        "package_id": package_id,
        "bank_type": outgoing.bank_type,
        "rows": sum(one.rows for one in uploaded),
        "tasks": [_task(one) for one in uploaded],
    }
    return result if outgoing.manifest is None else {**result, "manifest": outgoing.manifest}


def _task(one: Uploaded) -> dict[str, Any]:
    task = {"task_id": one.task_id, "filename": one.filename, "rows": one.rows}
    # Only where it is so: WeChat Pay then has bytes that this upload did not send.
    return {**task, "adopted": True} if one.adopted else task
