# SPDX-License-Identifier: Apache-2.0
"""What happens, as values, and how observers are told.

An observer is any callable that takes an event. It is called in the thread in which something happened, so it has to be
quick. Its result is ignored; of those that :func:`all_of` joins, one that fails is left out from then on. This module
imports no other of the package, so that every layer can tell what it does. No event holds an agreement number or a
secret.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Step = Literal["export", "upload", "wait"]

FailureKind = Literal[
    "InvalidInput", "InvalidCredentials", "Refused", "TryLater", "WaitFailed", "UnverifiedAnswer", "Timeout", "Other"
]
"""What a failure is, by what can be done about it: the classes in :mod:`.wechatpay.errors`, Airflow's, or another."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AnswerReceived:
    """An answer came, right or wrong. Nothing in it is trusted yet.

    :param call: method and target.
    :param clock_difference: seconds by which this machine's clock is ahead of the answer's ``Date``; None without one.
    """

    call: str
    status: int
    clock_difference: float | None


@dataclass(frozen=True, slots=True)
class CallMade:
    """A call was sent once, or could not be.

    :param endpoint: ``create_task``, ``find_task``, ``list_tasks``, ``certificates`` or ``other``.
    :param outcome: ``ok``, or what went wrong: a kind of trouble as below, in lower case; or, where repeating it mends
        nothing, ``refused``, ``unauthorized``, ``quota_reached`` or ``failed``.
    :param seconds: from when it was sent until its answer was verified.
    """

    endpoint: str
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CallRepeated:
    """A call failed and is sent again.

    :param trouble: what kind of failure, as :class:`~airflow_provider_wxbank.wechatpay.retries.Trouble` names it.
    :param attempt: the number of the next attempt.
    :param pause: seconds until then.
    """

    call: str
    trouble: str
    attempt: int
    pause: float


@dataclass(frozen=True, slots=True)
class Began:
    """A step of an import begins."""

    step: Step


@dataclass(frozen=True, slots=True)
class FileExported:
    """An agreement file was written."""

    filename: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Exported:
    """An export is whole: its manifest is written.

    :param manifest: its URI with its identity.
    :param skipped: rows that were left out.
    """

    manifest: str
    files: int
    rows: int
    bytes: int
    skipped: int


@dataclass(frozen=True, slots=True)
class UploadPlanned:
    """What an upload is going to send has been checked.

    :param manifest: the manifest's URI with its identity; None for a single file.
    :param filenames: of the files, in their order.
    :param quota: how many files the merchant may upload in a day.
    """

    package_id: str
    files: int
    rows: int
    manifest: str | None
    bank_type: str | None = None
    filenames: Sequence[str] = ()
    quota: int | None = None


@dataclass(frozen=True, slots=True)
class QuotaAsked:
    """An upload has asked how many more files the day takes.

    :param left: as many at least, as far as the package tells.
    """

    package_id: str
    left: int


@dataclass(frozen=True, slots=True)
class FileUploaded:
    """WeChat Pay has one more file of an upload.

    :param adopted: whether it was there already, or was found there after an upload of unknown outcome.
    :param done_files: files of this upload that WeChat Pay has; ``done_rows`` are the numbers in them.
    :param processing_seconds: about how long WeChat Pay takes for those that were sent; 0 if none was.
    """

    package_id: str
    filename: str
    task_id: str
    rows: int
    adopted: bool
    done_files: int
    done_rows: int
    processing_seconds: int


@dataclass(frozen=True, slots=True)
class FileNotUploaded:
    """A file of an upload was not taken, or it is not known whether it was.

    :param error: the name of its error's class; ``text`` is what it says.
    """

    package_id: str
    filename: str
    error: str
    text: str


@dataclass(frozen=True, slots=True)
class PollMade:
    """A wait has looked, and is not over.

    :param wanted: how many tasks are waited for; None for all of the package.
    :param unfinished: how many of them are not finished, at most; None if this poll does not tell.
    :param note: why it is not over.
    """

    package_id: str
    wanted: int | None
    unfinished: int | None
    note: str


@dataclass(frozen=True, slots=True)
class PollFailed:
    """A look of a wait has failed. The next one may not."""

    package_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class FinishedFile:
    """What WeChat Pay counted for one file. Times are unix seconds, or None where WeChat Pay left them out."""

    task_id: str
    filename: str
    created: int | None
    finished: int | None
    success_count: int | None
    fail_count: int | None
    success_user_count: int | None


@dataclass(frozen=True, slots=True)
class Finished:
    """A wait is over: all its tasks are finished.

    :param files: all of the tasks' files; empty where the wait does not tell.
    :param failed_files: in how many files not one number matched.
    :param rows: numbers that were sent in these files; None if that is not known.
    :param unaccounted: by how many numbers the counts differ from the rows, file by file; None if that is not known.
    """

    package_id: str
    files: tuple[FinishedFile, ...]
    tasks: int
    success_count: int
    fail_count: int
    success_user_count: int
    failed_files: int
    rows: int | None = None
    unaccounted: int | None = None


@dataclass(frozen=True, slots=True)
class ReceiptWritten:
    """A wait has its receipt: it was written now, or by an earlier try of the task.

    :param receipt: its URI with its identity.
    :param sha256: of its content, lower-case hexadecimal.
    """

    package_id: str
    receipt: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A step of an import has failed, perhaps before it began. Another try of its task may follow.

    :param error: the name of the error's class.
    :param text: what it says; None if the error is not ours, and may quote anything.
    :param is_lasting: whether another try would fail in the same way, unless something is changed.
    """

    step: Step
    error: str
    kind: FailureKind
    text: str | None
    is_lasting: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """A step of an import has ended, well or not."""

    step: Step


Event = (
    AnswerReceived
    | CallMade
    | CallRepeated
    | Began
    | FileExported
    | Exported
    | UploadPlanned
    | QuotaAsked
    | FileUploaded
    | FileNotUploaded
    | PollMade
    | PollFailed
    | Finished
    | ReceiptWritten
    | Failed
    | Ended
)

Observer = Callable[[Event], None]


def nobody(event: Event) -> None:
    """The observer for when nobody observes."""


class all_of:  # noqa: N801  # made where an observer is
    """One observer for several. One of them that fails is named in the log, and hears nothing more.

    A class as small as can be, since each of a thousand waits has some: see :class:`.shared_in`.
    """

    __slots__ = ("_listening",)

    def __init__(self, *observers: Observer) -> None:
        self._listening = observers

    def __call__(self, event: Event) -> None:
        """Tell them all. Several threads may do so at the same time."""
        for observer in self._listening:
            try:
                observer(event)
            except Exception as failure:
                log.warning("%s is told nothing more: %s: %s", observer, type(failure).__name__, failure)
                self._listening = tuple(one for one in self._listening if one is not observer)
