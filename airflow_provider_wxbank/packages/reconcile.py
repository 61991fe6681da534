# SPDX-License-Identifier: Apache-2.0
"""Do WeChat Pay's counts of a file add up to its rows? What is not accounted for is a number, and a warning.

WeChat Pay tells how many numbers of a file matched and how many did not, and never how many it was sent. The rows are
known from the upload's own result, which stays with the sensor: a trigger's row has no room for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeGuard

from airflow_provider_wxbank.packages.counts import Counts, count, some_of
from airflow_provider_wxbank.packages.tasks import UploadTask

MAX_OTHERS = 20_000
"""Characters of ids in a trigger's event: MySQL has room for 64 kB of it on Airflow 2."""

MAX_NAMED = 20
"""Files that a warning names one by one."""


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file of an upload, as its result tells."""

    filename: str
    rows: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A file whose counts do not add up to its rows.

    :param counted: numbers that matched and numbers that did not, together.
    """

    task_id: str
    filename: str
    rows: int
    counted: int


@dataclass(frozen=True, slots=True)
class Accounted:
    """How many numbers of each task were counted, in little room: nearly all files of an import have as many rows.

    :param usual: how many of a task that is not one of the others.
    :param others: task id to how many.
    """

    usual: int
    others: Mapping[str, int]

    @classmethod
    def of(cls, tasks: Iterable[UploadTask]) -> Accounted:
        """Of finished tasks."""
        counted = {task.task_id: (task.success_count or 0) + (task.fail_count or 0) for task in tasks}
        usual = Counter(counted.values()).most_common(1)[0][0] if counted else 0
        return cls(usual, {task_id: number for task_id, number in counted.items() if number != usual})

    def counted(self, task_id: str) -> int:
        """How many numbers of a task were counted."""
        return self.others.get(task_id, self.usual)

    def write(self) -> dict[str, Any] | None:
        """Its form in a trigger's event; None if it is too long for one."""
        has_room = sum(map(len, self.others)) <= MAX_OTHERS and len(self.others) <= MAX_OTHERS // 20
        return {"usual": self.usual, "others": dict(self.others)} if has_room else None

    @classmethod
    def read(cls, value: object) -> Accounted | None:
        """The other way round; None if it is anything else, such as the event of an older version."""
        fields = value if isinstance(value, Mapping) else {}
        usual, others = fields.get("usual"), fields.get("others")
        if not _is_count(usual) or not isinstance(others, Mapping) or not all(map(_is_count, others.values())):
            return None
        return cls(usual, {str(task_id): number for task_id, number in others.items()})


def finished_event(tasks: Collection[UploadTask]) -> dict[str, Any]:
    """What a trigger tells of finished tasks, however many they are: their counts, and how many numbers of each."""
    return {
        "status": "finished",
        "counts": asdict(count(tasks).with_few_names()),
        "accounted": Accounted.of(tasks).write(),
    }


def sent_files(results: Iterable[Any]) -> dict[str, SentFile] | None:
    """Task id to file of what uploads have sent; None if a result does not tell the rows of each.

    :param results: results of :class:`~airflow_provider_wxbank.operators.UploadTaskOperator`.
    """
    sent = {}
    for task in (task for result in results for task in result["tasks"]):
        rows = rows_of(task)
        if rows is None:
            return None
        sent[str(task["task_id"])] = SentFile(str(task.get("filename")), rows)
    return sent


def rows_of(task: Mapping[str, Any]) -> int | None:
    """The rows of a task in an upload's result; None if it does not tell, as an older version's."""
    rows = task.get("rows")
    return rows if _is_count(rows) else None


def reconciled(
    counts: Counts, sent: Mapping[str, SentFile] | None, accounted: Accounted | None
) -> tuple[Counts, tuple[Difference, ...]]:
    """The counts, with rows and what is not accounted for, and the files that differ.

    ``unaccounted`` sums up the differences file by file, whichever way: rows that were counted neither as matched nor
    as failed, and numbers that were counted without a row. So 0 means that every file agrees, and one file cannot hide
    another. Without ``accounted``, or if it contradicts the counts, only the sums can be compared.

    :param sent: what was sent; None if that is not known, and then nothing else is.
    """
    if sent is None:
        return counts, ()
    rows = sum(file.rows for file in sent.values())
    counted_rows = counts.success_count + counts.fail_count
    # Both come with an event that may have passed through many hands.
    if accounted is None or sum(map(accounted.counted, sent)) != counted_rows:
        difference = abs(rows - counted_rows)
        return replace(counts, rows=rows, unaccounted=difference), ()
    differing = tuple(
        Difference(task_id, file.filename, file.rows, counted)
        for task_id, file in sent.items()
        if (counted := accounted.counted(task_id)) != file.rows
    )
    unaccounted = sum(abs(one.rows - one.counted) for one in differing)
    return replace(counts, rows=rows, unaccounted=unaccounted), differing


def disagreement(package_id: str, counts: Counts, differing: Iterable[Difference]) -> str | None:
    """What to say about counts that do not add up; None if they do, or if that is not known."""
    if not counts.unaccounted:
        return None
    told = [f"{one.filename} (task {one.task_id}): {one.rows} rows, {one.counted} counted" for one in differing]
    files = f": {some_of(told, MAX_NAMED)}" if told else ", in files that cannot be told"
    return (
        f"Package {package_id}: what WeChat Pay counted does not add up to what was sent, by {counts.unaccounted} of "
        f"{counts.rows} numbers{files}. Ask WeChat Pay what became of them"
    )


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and value >= 0
