# SPDX-License-Identifier: Apache-2.0
"""What a watch knows of a package, so that it can tell which tasks are new, in whatever order they are listed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from airflow_provider_wxbank.packages.counts import Counts, count
from airflow_provider_wxbank.packages.tasks import UploadTask

MAX_NEWEST = 100
"""Tasks that are known one by one. A task may be listed late, so the very newest one alone would not do."""


_NOT_KEPT = ("failed_files", "unnamed", "rows", "unaccounted")
"""Of the counts: names that would grow, and what no list tells."""


@dataclass(frozen=True, slots=True)
class Known:
    """The sums over all known tasks, and which are the newest of them.

    :param counts: of all.
    :param after: unix seconds. Every known task that was made later is one of ``newest``. None: that is not known.
    :param newest: ids, each with the time at which its task was made, in unix seconds.
    """

    counts: Counts = field(default_factory=partial(Counts, 0, 0, 0, 0))
    after: float | None = 0.0
    newest: Mapping[str, float] = field(default_factory=dict)

    def is_new(self, task: UploadTask) -> bool:
        """Whether a task is certainly none of the known ones. One that was made long ago may be new all the same."""
        if self.after is None or task.create_time is None:
            return False
        return task.create_time.timestamp() > self.after and task.task_id not in self.newest

    def plus(self, new: Iterable[UploadTask]) -> Known:
        """What is known with more tasks."""
        new = tuple(new)
        counts = self.counts.plus(count(new))
        times = {task.task_id: task.create_time.timestamp() for task in new if task.create_time is not None}
        if self.after is None or len(times) < len(new):
            return Known(counts, None)
        newest = {**self.newest, **times}
        after = max([self.after, *sorted(newest.values(), reverse=True)[MAX_NEWEST : MAX_NEWEST + 1]])
        return Known(counts, after, {task_id: time for task_id, time in newest.items() if time > after})

    def write(self) -> dict[str, Any]:
        """Its form as JSON."""
        sums = {name: value for name, value in asdict(self.counts).items() if name not in _NOT_KEPT}
        return {**sums, "after": self.after, "newest": dict(self.newest)}

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Known:
        """The other way round; an older version has written the sums alone."""
        sums = {name: number for name, number in value.items() if name not in ("after", "newest")}
        return cls(Counts(**{**sums, "failed_files": ()}), value.get("after"), value.get("newest") or {})
