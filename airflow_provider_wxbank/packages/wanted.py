# SPDX-License-Identifier: Apache-2.0
"""Which upload tasks of a package are waited for."""

from __future__ import annotations

from base64 import b85decode, b85encode
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal, Protocol

from airflow_provider_wxbank.agreements.files import check_filename
from airflow_provider_wxbank.packages.endpoints import tasks_path
from airflow_provider_wxbank.packages.tasks import UploadTask
from airflow_provider_wxbank.wechatpay.errors import InvalidInput

DIGEST_BYTES = 5
"""Of a name. Among 6,000 names and 1,000 others, two that look alike have a probability of 5e-6; 4 bytes would make it
1e-3, and 6 do not leave room for 6,000 in a trigger's row."""

Names = Literal["task_ids", "filenames"]


class Named(Protocol):
    """What has the names of an upload task."""

    @property
    def task_id(self) -> str:
        """WeChat Pay's name for it."""

    @property
    def filename(self) -> str:
        """The name of its file."""


@dataclass(frozen=True, slots=True)
class Digests:
    """Names that are known by their digests alone, where the names themselves would take too much room.

    :param of: what they name tasks by.
    :param count: how many names there are.
    """

    of: Names
    count: int
    values: frozenset[bytes]

    @classmethod
    def made(cls, of: Names, names: Iterable[object]) -> Digests:
        """The digests of some names."""
        # An id may be given as a number, or twice; wanted() takes it so, too.
        distinct = set(map(str, names))
        return cls(of, len(distinct), frozenset(map(_digest, distinct)))

    def write(self) -> dict[str, Any]:
        """Its form as JSON: 6.25 characters for each name."""
        return {"of": self.of, "count": self.count, "digests": b85encode(b"".join(sorted(self.values))).decode()}

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Digests:
        """The other way round.

        :raises InvalidInput: it is not what :meth:`write` gives.
        """
        try:
            of, number, data = value["of"], value["count"], b85decode(value["digests"])
        except (TypeError, KeyError, ValueError):
            of, number, data = None, None, b""
        pieces = frozenset(data[start : start + DIGEST_BYTES] for start in range(0, len(data), DIGEST_BYTES))
        # Two of the names may look alike, but with fewer digests than that some are missing.
        is_whole = isinstance(number, int) and 0 < number <= len(pieces) + 1 and len(data) % DIGEST_BYTES == 0
        if of not in ("task_ids", "filenames") or not is_whole:
            raise InvalidInput("the digests of the tasks to wait for are damaged: clear the task to wait anew")
        return cls(of, number, pieces)

    def includes(self, task: Named) -> bool:
        """Whether a task's name is one of these."""
        return _digest(task.task_id if self.of == "task_ids" else task.filename) in self.values


def _digest(name: str) -> bytes:
    return sha256(name.encode()).digest()[:DIGEST_BYTES]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tasks of a package are waited for: those named by id or by filename, or without names all of them."""

    package_id: str
    task_ids: frozenset[str] | None = None
    filenames: frozenset[str] | None = None
    digests: Digests | None = None

    @property
    def count(self) -> int | None:
        """How many tasks are named; None if all of the package are meant."""
        if self.digests is not None:
            return self.digests.count
        named = self.task_ids or self.filenames
        return None if named is None else len(named)

    def includes(self, task: Named) -> bool:
        """Whether a task of the package is waited for."""
        if self.digests is not None:
            return self.digests.includes(task)
        if self.task_ids is not None:
            return task.task_id in self.task_ids
        return self.filenames is None or task.filename in self.filenames

    def missing(self, tasks: Collection[UploadTask]) -> tuple[int, str]:
        """How many of the named ones are not among some tasks, and the first of them as a text, if they are known."""
        if self.task_ids is not None:
            names = sorted(self.task_ids - {task.task_id for task in tasks})
        elif self.filenames is not None:
            names = sorted(self.filenames - {task.filename for task in tasks})
        else:
            return max((self.count or 0) - len(tasks), 0), ""
        return len(names), ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def wanted(
    package_id: str,
    task_ids: Iterable[str] | None = None,
    filenames: Iterable[str] | None = None,
    digests: Digests | None = None,
) -> Wanted:
    """What to wait for, checked.

    :raises InvalidInput: a wrong package id or filename, both lists at once, or an empty list.
    """
    tasks_path(package_id)
    if task_ids is not None and filenames is not None:
        raise InvalidInput("give task_ids or filenames, not both")
    chosen = Wanted(
        package_id,
        None if task_ids is None else frozenset(str(one) for one in task_ids),
        None if filenames is None else frozenset(filenames),
        digests,
    )
    for filename in chosen.filenames or ():
        check_filename(filename)
    # A wait for nothing would never end.
    if frozenset() in (chosen.task_ids, chosen.filenames):
        raise InvalidInput(f"the list of tasks to wait for in package {package_id} is empty")
    return chosen
