# SPDX-License-Identifier: Apache-2.0
"""What tasks record of their import, for the page "WeChat Pay packages" and its links: counts, names and times.

It is kept in XComs of the task, the one place that a task, a trigger and Airflow's API server share on every Airflow
that has the page. :data:`KEY` has the sums (:class:`Sums`), :data:`FAILURE` why the task failed (:class:`Failure`).
What grows with the files is in pieces, as columns (:class:`UploadedFile`, :class:`FinishedFile`, :class:`MissingFile`).
This module writes and reads these XComs, each with a version number. Nothing else depends on them.

Whoever writes a DAG can put anything under these keys. So what is read is checked, and what is not a record is None.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from typing import Any

from airflow_provider_wxbank.reporting.events import FailureKind, FinishedFile, PollMade, Step
from airflow_provider_wxbank.reporting.fields import as_list, as_name, as_number, as_place, as_text, one_of

KEY = "wxbank_import"
"""The XCom with the sums of a task."""

FAILURE = "wxbank_failure"
"""The XCom with the failure that ended the task. Airflow removes it when the next try begins."""

UPLOADED = "wxbank_uploaded_"
"""XComs with what was uploaded; the number of the piece follows."""

FINISHED = "wxbank_finished_"
"""XComs with what WeChat Pay counted; the number of the piece follows."""

MISSING = "wxbank_missing_"
"""XComs with the files that a failed upload has not uploaded; the number of the piece follows."""

VERSION = 2
"""The version that is written. No other is read. A trigger's event has the same pieces: a wait that was deferred before
it was changed ends with its counts, and without its files on the page."""

WAIT_SECONDS = 300.0
"""Seconds after which a wait is recorded again even if nothing has changed."""

PIECE = 250
"""Files in a piece: about 25 kB."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What WeChat Pay counted for all tasks of a wait.

    :param unaccounted: by how many numbers that differs from what was sent; None if that is not known.
    """

    tasks: int
    success_count: int
    fail_count: int
    success_user_count: int
    failed_files: int
    unaccounted: int | None = None


@dataclass(frozen=True, slots=True)
class Sums:
    """What a task has recorded under :data:`KEY` so far. What it has not told is None.

    :param manifest: what the task wrote or uploads: to be compared, not to be shown or opened.
    :param files: files that were exported, or uploaded so far; ``rows`` are the numbers in them.
    :param skipped: rows that an export left out.
    :param total_files: files that an upload has to upload; ``total_rows`` are the numbers in them.
    :param quota: files that the merchant may upload in a day. ``sent`` were sent since ``day``, unix seconds at which
        their day began.
    :param tasks: upload tasks that are waited for, of which ``processing`` were not finished at ``at``, unix seconds.
    :param at: when an upload or a wait was seen last, unix seconds. It has been as it is ``since`` then.
    """

    step: Step
    wxbank_conn_id: str | None = None
    package_id: str | None = None
    bank_type: str | None = None
    manifest: str | None = None
    files: int | None = None
    rows: int | None = None
    skipped: int | None = None
    total_files: int | None = None
    total_rows: int | None = None
    quota: int | None = None
    day: int | None = None
    sent: int | None = None
    tasks: int | None = None
    processing: int | None = None
    at: int | None = None
    since: int | None = None
    counts: Counted | None = None

    def write(self) -> dict[str, Any]:
        """Its form in an XCom, without what would not be read: a task may fail because of what it was given."""
        told = {name: value for name, value in asdict(self).items() if name == "step" or _is_fact(name, value)}
        return {"version": VERSION, **told}

    @classmethod
    def read(cls, value: object) -> Sums | None:
        """The record in a value; None if it is not a record."""
        try:
            facts = _mapping(value)
            return cls(
                one_of(Step, facts.get("step")),
                **{name: read(facts[name]) for name, read in _FACTS.items() if facts.get(name) is not None},
            )
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task failed, as :class:`~.events.Failed` tells it.

    :param at: unix seconds.
    """

    step: Step
    error: str
    kind: FailureKind
    text: str | None
    is_lasting: bool
    at: int

    def write(self) -> dict[str, Any]:
        """Its form in an XCom."""
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def read(cls, value: object) -> Failure | None:
        """The failure in a value; None if it is none."""
        try:
            facts = _mapping(value)
            text = facts.get("text")
            return cls(
                one_of(Step, facts.get("step")),
                as_name(facts.get("error")),
                one_of(FailureKind, facts.get("kind")),
                None if text is None else as_text(text),
                facts.get("is_lasting") is True,
                as_number(facts.get("at")),
            )
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class MissingFile:
    """A file that an upload has not uploaded."""

    filename: str


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file of an upload.

    :param at: unix seconds at which it was uploaded; None if it was there already.
    """

    filename: str
    task_id: str
    rows: int | None
    at: int | None


File = UploadedFile | FinishedFile | MissingFile


def pieces(files: Iterable[File]) -> Iterator[dict[str, Any]]:
    """Files in the form of XComs, :data:`PIECE` files in each: a list for each field."""
    rest = iter(files)
    while some := list(islice(rest, PIECE)):
        names = [field.name for field in fields(some[0])]
        yield {"version": VERSION, **{name: [getattr(one, name) for one in some] for name in names}}


class WaitNews:
    """Which polls of a wait are worth a record.

    :param clock: unix seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._last: Sums | None = None

    def news(self, sums: Sums, event: PollMade) -> Sums | None:
        """The record that a poll is worth; None if it is worth none."""
        at, processing = int(self._clock()), event.unfinished
        if processing is not None and event.wanted is not None:
            processing = min(processing, event.wanted)
        last = self._last
        if last is not None and processing is None:
            return None
        if last is not None and processing == last.processing and at - (last.at or 0) < WAIT_SECONDS:
            return None
        since = at if last is None or processing != last.processing else last.since
        self._last = replace(
            sums, package_id=event.package_id, tasks=event.wanted, processing=processing, at=at, since=since
        )
        return self._last


def read_uploaded(value: object) -> list[UploadedFile | None]:
    """The files of a piece of :data:`UPLOADED`; None in place of one that is invalid."""
    return [None if row is None else UploadedFile(*row) for row in _rows(value, UploadedFile)]


def read_finished(value: object) -> list[FinishedFile | None]:
    """The files of a piece of :data:`FINISHED`; None in place of one that is invalid."""
    return [None if row is None else FinishedFile(*row) for row in _rows(value, FinishedFile)]


def read_missing(value: object) -> list[MissingFile | None]:
    """The files of a piece of :data:`MISSING`; None in place of one that is invalid."""
    return [None if row is None else MissingFile(*row) for row in _rows(value, MissingFile)]


def _rows(value: object, kind: type[File]) -> list[tuple[Any, ...] | None]:
    """The rows of a piece; None in place of an invalid row, and a single None for an invalid piece."""
    names = [field.name for field in fields(kind)]
    try:
        columns = [as_list(_mapping(value).get(name)) for name in names]
        rows = zip(*columns, strict=True)
        return [_row(names, row) for row in rows]
    except ValueError:
        return [None]


def _row(names: Sequence[str], row: Sequence[object]) -> tuple[Any, ...] | None:
    try:
        return tuple(
            as_name(one) if name in ("filename", "task_id") else None if one is None else as_number(one)
            for name, one in zip(names, row, strict=True)
        )
    except ValueError:
        return None


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict) or value.get("version") != VERSION:
        raise ValueError
    return value


def _is_fact(name: str, value: object) -> bool:
    try:
        _FACTS[name](value)
    except ValueError:
        return False
    return True


def _counted(value: object) -> Counted:
    if not isinstance(value, dict):
        raise ValueError
    told = {name: as_number(value.get(name)) for name in Counted.__slots__ if name != "unaccounted"}
    unaccounted = value.get("unaccounted")
    return Counted(**told, unaccounted=None if unaccounted is None else as_number(unaccounted))


_FACTS: Mapping[str, Callable[[object], Any]] = {
    **dict.fromkeys(("wxbank_conn_id", "package_id", "bank_type"), as_name),
    "manifest": as_place,
    **dict.fromkeys(
        (
            "files",
            "rows",
            "skipped",
            "total_files",
            "total_rows",
            "quota",
            "day",
            "sent",
            "tasks",
            "processing",
            "at",
            "since",
        ),
        as_number,
    ),
    "counts": _counted,
}
