"""Uploading agreement files, each exactly once, whatever fails in between.

The natural key of an upload is (package, filename): WeChat Pay takes a filename once in a package. A filename is made
from the numbers inside, so a file that is there already is this very file and is adopted, never sent again.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from threading import Event, Lock

from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidInput,
    OutcomeUnknown,
    QuotaReached,
    Refused,
    TryLater,
    Unauthorized,
    UnverifiedAnswer,
    WxBankError,
)
from airflow_provider_wxbank.wechatpay.packages import UploadTask, create_task, find_task
from airflow_provider_wxbank.wechatpay.quota import files_left_today
from airflow_provider_wxbank.wechatpay.retries import pause

MAX_POSTS = 6
"""Times that one file is posted because nothing was known of it after the last time."""

LOOKS = 6
"""Times that WeChat Pay is asked for a file that it may have, but does not list: half a minute in all."""

FILE_SECONDS = 40 * 60
"""WeChat Pay's time for one full file (FAQ 4015182386: about 40 minutes)."""

NUMBERS_AN_HOUR = 1_300_000
"""Numbers that WeChat Pay processes (FAQ 4015182386: 1.3 million an hour)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OutgoingFile:
    """An agreement file to upload.

    :param sha256: of the content, as lower-case hexadecimal; None if the content is made just now.
    :param read: gives the content; called once, by the thread that uploads.
    """

    filename: str
    rows: int
    bank_type: str
    serial_no: str
    read: Callable[[], bytes] = field(repr=False)
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file that WeChat Pay has. Of its content nothing is kept: it can be made of plain numbers.

    :param adopted: whether it was there already, or was found there after an upload of unknown outcome.
    """

    filename: str
    rows: int
    task_id: str
    adopted: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an upload is; totals are None while they are not known yet."""

    files: int
    rows: int
    total_files: int | None
    total_rows: int | None


def processing_seconds(rows: int) -> int:
    """About how long WeChat Pay processes numbers, without queueing: a guide, not a promise."""
    return max(FILE_SECONDS, round(rows * 3600 / NUMBERS_AN_HOUR))


def upload_once(
    client: Client,
    package_id: str,
    file: OutgoingFile,
    sleep: Callable[[float], None] = time.sleep,
) -> Uploaded:
    """Upload a file so that it is in the package exactly once.

    :raises OutcomeUnknown: not settled yet; the next run settles it.
    :raises Refused: WeChat Pay refuses the file, and has none of this name.
    """
    content = file.read()
    if file.sha256 is not None and hashlib.sha256(content).hexdigest() != file.sha256:
        raise InvalidInput(f"{file.filename} was changed after its export (its sha256 differs): export again")
    unclear: WxBankError | None = None
    for posts in range(1, MAX_POSTS + 1):
        try:
            task = create_task(client, package_id, content, file.bank_type, file.filename, file.serial_no)
        except (OutcomeUnknown, Unauthorized) as failure:
            # No more than a lost answer does an unsigned refusal prove that the file was not taken.
            unclear = failure
            log.warning("%s; asking for %s", failure, file.filename)
            looks = 1
        except Refused as failure:
            # Which code a duplicate filename gets is documented nowhere, so any refusal may mean that.
            if unclear is None and not _may_mean_exists(failure):
                looks = 1
            else:
                unclear, looks = failure, LOOKS
            if (found := _look(client, package_id, file.filename, looks, sleep)) is not None:
                return _adopted(file, found)
            if unclear is None:
                raise
            raise OutcomeUnknown(
                f"{file.filename} was perhaps taken, but is not listed yet: {failure}. Run it again later"
            ) from failure
        else:
            return Uploaded(file.filename, file.rows, task.task_id, adopted=False)
        if (found := _look(client, package_id, file.filename, looks, sleep)) is not None:
            return _adopted(file, found)
        sleep(pause(posts, lambda: 0.5))
    assert unclear is not None
    raise unclear


def _look(
    client: Client, package_id: str, filename: str, looks: int, sleep: Callable[[float], None]
) -> UploadTask | None:
    for look in range(1, looks + 1):
        if (task := find_task(client, package_id, filename)) is not None:
            return task
        if look < looks:
            sleep(pause(look + 1, lambda: 0.5))
    return None


def _adopted(file: OutgoingFile, task: UploadTask) -> Uploaded:
    if task.bank_type not in (None, file.bank_type):
        raise InvalidInput(
            f"the package has {file.filename} already, but for bank_type {task.bank_type}, not {file.bank_type}"
        )
    log.info("Adopted %s: it is there already as task %s", file.filename, task.task_id)
    return Uploaded(file.filename, file.rows, task.task_id, adopted=True)


def _may_mean_exists(failure: Refused) -> bool:
    text = f"{failure.refusal.message} {failure.refusal.detail}".lower()
    return any(word in text for word in ("重复", "已存在", "exist", "duplicate", "文件名"))


def check_max_workers(max_workers: int) -> None:
    """:raises InvalidInput: not 1 to 64."""
    if not isinstance(max_workers, int) or not 1 <= max_workers <= 64:
        raise InvalidInput(f"max_workers must be 1 to 64, not {max_workers!r}")


class Uploads:
    """Uploads many files into one package, some at a time, in their order.

    Who ran before is met again: with at most ``max_workers`` uploads under way, files start in order and none starts
    after a failure, so fewer than ``max_workers`` files can be missing before the last one that is there. Therefore
    files are asked for before they are sent, but only until ``max_workers`` were found missing: a first run asks that
    often, a run after a killed one asks for what is there, and no file goes over the wire twice.

    :param max_workers: uploads at a time; no more files than that are in memory.
    :param known: filename to task id of files that an earlier try uploaded: nobody is asked for them, and they are not
        read.
    :param on_progress: called after each file, by the thread that called :meth:`run`.
    :param clock: unix seconds.
    """

    def __init__(
        self,
        client: Client,
        package_id: str,
        *,
        max_workers: int = 8,
        total_files: int | None = None,
        total_rows: int | None = None,
        known: Mapping[str, str] | None = None,
        on_progress: Callable[[Uploaded, Progress], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_max_workers(max_workers)
        self._client = client
        self._package_id = package_id
        self._max_workers = max_workers
        self.progress = Progress(0, 0, total_files, total_rows)
        self._known = known or {}
        self._on_progress = on_progress
        self._sleep = sleep
        self._clock = clock
        self._missing = 0
        self._left_today: int | None = None
        self._lock = Lock()
        self._stopped = Event()

    def stop(self) -> None:
        """Start no more uploads; those under way are finished."""
        self._stopped.set()

    def run(self, files: Iterable[OutgoingFile]) -> list[Uploaded]:
        """Upload every file; after a failure start no more, let those under way end, and raise the first failure.

        :return: in the order of the files.
        """
        self._left_today = self._ask_what_is_left()
        results: dict[int, Uploaded] = {}
        failures: list[tuple[str, Exception]] = []
        under_way: dict[Future[Uploaded], tuple[int, str]] = {}
        with ThreadPoolExecutor(self._max_workers, thread_name_prefix="wxbank-upload") as pool:
            try:
                for index, file in enumerate(files):
                    under_way[pool.submit(self._upload, file)] = index, file.filename
                    if len(under_way) >= self._max_workers:
                        self._collect(under_way, results, failures)
                    if failures or self._stopped.is_set():
                        break
            finally:
                while under_way:
                    self._collect(under_way, results, failures)
                self._report(results.values(), failures)
        if failures:
            raise failures[0][1]
        if self._stopped.is_set():
            raise TryLater(f"stopped after {len(results)} files; run it again to upload the rest")
        return [results[index] for index in sorted(results)]

    def _upload(self, file: OutgoingFile) -> Uploaded:
        if file.filename in self._known:
            return Uploaded(file.filename, file.rows, self._known[file.filename], adopted=True)
        if self._missing < self._max_workers:
            if (task := find_task(self._client, self._package_id, file.filename)) is not None:
                return _adopted(file, task)
            with self._lock:
                self._missing += 1
        self._take_from_quota()
        return upload_once(self._client, self._package_id, file, self._sleep)

    def _ask_what_is_left(self) -> int | None:
        """How many files the day's quota leaves; None for no limit. It is a forecast, and WeChat Pay has the word."""
        files = (self.progress.total_files or 0) - len(self._known)
        if files <= 0:
            return None
        try:
            left = files_left_today(self._client, self._package_id, files, self._clock())
        except (TryLater, UnverifiedAnswer) as failure:
            log.warning("What is left of the day's quota is not known: %s", failure)
            return None
        if left is not None:
            log.warning(
                "Package %s can take %d more files today, of a quota of %d; what is more has to wait for the next day",
                self._package_id,
                left,
                self._client.settings.daily_file_quota,
            )
        return left

    def _take_from_quota(self) -> None:
        with self._lock:
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
                results[index] = uploaded = future.result()
            except Exception as failure:
                failures.append((filename, failure))
            else:
                self.progress = replace(
                    self.progress, files=self.progress.files + 1, rows=self.progress.rows + uploaded.rows
                )
                if self._on_progress is not None:
                    self._on_progress(uploaded, self.progress)

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
