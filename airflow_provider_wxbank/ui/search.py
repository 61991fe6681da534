# SPDX-License-Identifier: Apache-2.0
"""Finding imports among the runs of months. What an import is comes from records, so runs are read to be judged."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock

from sqlalchemy.orm import Session

from airflow_provider_wxbank.ui.database import recent_runs, tasks_of
from airflow_provider_wxbank.ui.imports import Import, State, imports

RUNS_AT_ONCE = 50
"""DAG runs that are read with one query of each kind."""

MAX_RUNS = 1000
"""DAG runs that are read for one question at most. Who asks goes on from where it ended."""

MAX_SECONDS = 2.0
"""Seconds after which no more are read for a question. An installation may have thousands of tasks in a run."""

_going_on = Lock()
"""Held by the question that reads more than the newest runs: one at a time in a process, which has others to serve."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which imports are wanted; what is None or empty does not matter.

    :param text: words that are all in the names of DAG, run, package and user, in any case of letters.
    :param since: unix seconds; the DAG run began then or later, and before ``until``.
    """

    text: str = ""
    state: State | None = None
    package_id: str | None = None
    since: float | None = None
    until: float | None = None

    def fits(self, one: Import) -> bool:
        """Whether an import is wanted, as far as its records say. The time is for the database to know."""
        names = " ".join(filter(None, (one.dag_id, one.run_id, one.package_id, one.user))).casefold()
        return (
            self.state in (None, one.state)
            and self.package_id in (None, one.package_id)
            and all(word in names for word in self.text.casefold().split())
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What a question has found.

    :param imports: the newest first.
    :param unreadable: records that belong to no import and cannot be read.
    :param before: the id of a run, to go on with what is older; None if there is nothing older.
    """

    imports: list[Import]
    unreadable: int
    before: int | None


def search(
    session: Session, dag_ids: Collection[str], wanted: Wanted, enough: int, before: int | None, now: float
) -> Found:
    """The newest imports of some DAGs that are wanted: about as many as are enough, unless that takes too long.

    :param before: the id of a run; only older ones are looked at.
    """
    deadline = time.monotonic() + MAX_SECONDS
    found: list[Import] = []
    unreadable = 0
    # If only a few are asked for, and all are wanted, no more are read.
    at_once = min(enough, RUNS_AT_ONCE) if wanted == Wanted() else RUNS_AT_ONCE
    with ExitStack() as turn:
        for read in range(0, MAX_RUNS, at_once):
            if read == at_once:
                if not _going_on.acquire(blocking=False):
                    break
                turn.callback(_going_on.release)
            if read and time.monotonic() > deadline:
                break
            runs, has_more = recent_runs(session, dag_ids, at_once, before, wanted.since, wanted.until)
            tasks, others = tasks_of(session, runs)
            unreadable += others
            found += [one for run in runs for one, _ in imports(run, tasks.get(run.id, []), now) if wanted.fits(one)]
            before = runs[-1].id if has_more else None
            if before is None or len(found) >= enough:
                break
    return Found(found, unreadable, before)
