# SPDX-License-Identifier: Apache-2.0
"""What WeChat Pay counted of finished upload tasks, and what to think of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from airflow_provider_wxbank.packages.tasks import UploadTask
from airflow_provider_wxbank.plurals import number_of
from airflow_provider_wxbank.reporting.events import Finished, FinishedFile
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, WaitFailed

MAX_NAMES = 5
"""Files that a message names one by one."""


@dataclass(frozen=True, slots=True)
class Counts:
    """The sums over finished tasks.

    :param success_user_count: WeChat Pay users matched; a number may belong to several.
    :param failed_files: files in which every row failed: most likely the key or the bank type is wrong. The first of
        them, if they were written with fewer names.
    :param unnamed: how many more such files there are.
    :param rows: numbers that were sent in the tasks' files; None if that is not known.
    :param unaccounted: by how many numbers the counts differ from the rows, file by file; None if that is not known.
    """

    tasks: int
    success_count: int
    fail_count: int
    success_user_count: int
    failed_files: tuple[str, ...] = ()
    rows: int | None = None
    unaccounted: int | None = None
    unnamed: int = 0

    @property
    def failed(self) -> int:
        """How many files failed in every row."""
        return len(self.failed_files) + self.unnamed

    def with_few_names(self) -> Counts:
        """The same, with no more names than a message shows: Airflow's database has little room for an event."""
        names = self.failed_files[:MAX_NAMES]
        return replace(self, failed_files=names, unnamed=self.failed - len(names))

    @property
    def fail_ratio(self) -> float:
        """Share of the numbers that did not match, 0 to 1."""
        return fail_ratio(self.success_count, self.fail_count)

    def plus(self, more: Counts) -> Counts:
        """The counts of these tasks and of others. Nothing is known of the rows of others."""
        return Counts(
            self.tasks + more.tasks,
            self.success_count + more.success_count,
            self.fail_count + more.fail_count,
            self.success_user_count + more.success_user_count,
            self.failed_files + more.failed_files,
            unnamed=self.unnamed + more.unnamed,
        )

    def since(self, earlier: Counts) -> Counts:
        """What was added to a package since it had the earlier counts."""
        return Counts(
            self.tasks - earlier.tasks,
            self.success_count - earlier.success_count,
            self.fail_count - earlier.fail_count,
            self.success_user_count - earlier.success_user_count,
            tuple(name for name in self.failed_files if name not in earlier.failed_files),
        )

    @classmethod
    def read(cls, value: object) -> Counts:
        """Counts as a mapping of them says, whoever has written it.

        :raises InvalidInput: it says none.
        """
        fields = value if isinstance(value, Mapping) else {}
        names = fields.get("failed_files") or ()
        if not isinstance(names, list | tuple):
            raise InvalidInput("failed_files of the counts is no list")
        return cls(
            _number(fields, "tasks"),
            _number(fields, "success_count"),
            _number(fields, "fail_count"),
            _number(fields, "success_user_count"),
            tuple(map(str, names)),
            # An older version has written all names.
            unnamed=_number(fields, "unnamed") if "unnamed" in fields else 0,
        )

    def of_package(self, package_id: str) -> dict[str, Any]:
        """A finished import as users get it: ``tasks`` is a count."""
        return {
            "package_id": package_id,
            "tasks": self.tasks,
            "rows": self.rows,
            "success_count": self.success_count,
            "fail_count": self.fail_count,
            "success_user_count": self.success_user_count,
            "unaccounted": self.unaccounted,
        }

    def event(self, package_id: str, files: Iterable[FinishedFile]) -> Finished:
        """What observers are told of a finished import."""
        return Finished(
            package_id,
            tuple(files),
            self.tasks,
            self.success_count,
            self.fail_count,
            self.success_user_count,
            self.failed,
            self.rows,
            self.unaccounted,
        )


def _number(fields: Mapping[str, object], name: str) -> int:
    value = fields.get(name)
    if type(value) is not int or value < 0:
        raise InvalidInput(f"{name} of the counts is no number")
    return value


def count(tasks: Iterable[UploadTask]) -> Counts:
    """Sum up finished tasks."""
    tasks = tuple(tasks)
    # WeChat Pay may leave a count out.
    return Counts(
        len(tasks),
        sum(task.success_count or 0 for task in tasks),
        sum(task.fail_count or 0 for task in tasks),
        sum(task.success_user_count or 0 for task in tasks),
        # Not one row: some numbers never match, but a wrong key or bank type spares none.
        tuple(task.filename for task in tasks if task.fail_count and not task.success_count),
    )


def finished_file(task: UploadTask) -> FinishedFile:
    """What observers are told of an upload task."""
    # Counts are valid only once a task is finished.
    if not task.is_finished:
        return FinishedFile(task.task_id, task.filename, _unix(task.create_time), None, None, None, None)
    return FinishedFile(
        task.task_id,
        task.filename,
        _unix(task.create_time),
        _unix(task.update_time),
        task.success_count or 0,
        task.fail_count or 0,
        task.success_user_count or 0,
    )


def _unix(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp())


def fail_ratio(success_count: int, fail_count: int) -> float:
    """Share of the numbers that did not match, 0 to 1."""
    # An import without a number has not failed.
    return fail_count / max(success_count + fail_count, 1)


def some_of(texts: Sequence[str], most: int) -> str:
    """The first of some texts, and how many more there are."""
    return "; ".join(texts[:most]) + (f"; and {len(texts) - most} more" if len(texts) > most else "")


def likely_mistake(counts: Counts) -> str | None:
    """What to say about files in which every row failed; None if there are none."""
    if not counts.failed_files:
        return None
    named = counts.failed_files[:MAX_NAMES]
    shown = ", ".join(named) + (", ..." if counts.failed > len(named) else "")
    return (
        f"Not one number matched in {number_of(counts.failed, 'file')} ({shown}). Most likely they were encrypted with "
        "another key than the one declared, or bank_type is wrong"
    )


def check_fail_ratio(max_fail_ratio: float | None) -> None:
    """:raises InvalidInput: it is neither None nor from 0 to 1."""
    if max_fail_ratio is not None and not (isinstance(max_fail_ratio, (int, float)) and 0 <= max_fail_ratio <= 1):
        raise InvalidInput(f"max_fail_ratio must be 0 to 1, not {max_fail_ratio!r}")


def check_matched(counts: Counts, max_fail_ratio: float | None) -> None:
    """:raises WaitFailed: more than this share of the numbers did not match."""
    if max_fail_ratio is not None and counts.fail_ratio > max_fail_ratio:
        raise WaitFailed(
            f"{counts.fail_count:,} of "
            f"{number_of(counts.success_count + counts.fail_count, 'number did not match', 'numbers did not match')} "
            f"({counts.fail_ratio:.2%}); max_fail_ratio allows {max_fail_ratio:.2%}"
        )
