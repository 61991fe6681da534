# SPDX-License-Identifier: Apache-2.0
"""``imports``: the newest imports of DAGs, as the page lists them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from airflow_provider_wxbank._compat import HAS_PAGE
from airflow_provider_wxbank.cli.command import Failed, command, say
from airflow_provider_wxbank.cli.output import Column, Row, busy, local_minute, rfc3339, show, thousands
from airflow_provider_wxbank.plurals import number_of

if TYPE_CHECKING:
    from airflow_provider_wxbank.ui.imports import Import

RUNS = 50
"""DAG runs that are read at a time."""

_COLUMNS = (
    Column("DAG", "dag_id", folds=True),
    Column("run", "run_id", folds=True),
    Column("package", "package_id"),
    Column("state", "state"),
    Column("began", "begin", local_minute, is_optional=True),
    Column("files", "files", thousands, is_number=True, is_optional=True),
    Column("numbers", "rows", thousands, is_number=True, is_optional=True),
    Column("matched", "matched_ratio", "{:.2%}".format, is_number=True),
    Column("error", "error"),
)


@command
def imports(args: argparse.Namespace) -> None:
    """List the newest imports of DAGs."""
    if not HAS_PAGE:
        raise Failed("imports are recorded, and can be listed, from Airflow 3.1 on; this one is older")
    with busy("Reading imports"):
        found = list(islice(_chosen(args), args.limit))
    rows = [_row(one) for one in found]
    show(args.output, rows, rows, _COLUMNS)
    if unreadable := sum(one.unreadable for one in found):
        say(f"warning: {number_of(unreadable, 'record')} of these imports cannot be read here")
    if args.output == "table" and not found:
        say("No import was found")


def _chosen(args: argparse.Namespace) -> Iterator[Import]:
    """The imports that are asked for, newest first."""
    return (
        one
        for one in _all_imports(args.dag_id)
        if args.package_id in (None, one.package_id) and args.state in (None, one.state)
    )


def _all_imports(dag_id: str | None) -> Iterator[Import]:
    """Every import of a DAG, or of all, newest first; read as far as it is asked for."""
    # Here, since they import Airflow's models, and not every Airflow has what they need.
    from airflow.utils.session import create_session

    from airflow_provider_wxbank.ui import database
    from airflow_provider_wxbank.ui.imports import imports as imports_of

    now, before = time.time(), None
    while True:
        # One session for each part: whoever reads a long history must not hold one transaction for all of it.
        with create_session() as session:
            dag_ids = database.dags_with_imports(session) if dag_id is None else [dag_id]
            runs, has_more = database.recent_runs(session, dag_ids, RUNS, before)
            tasks, _ = database.tasks_of(session, runs)
        for run in runs:
            yield from (one for one, _ in imports_of(run, tasks.get(run.id, []), now))
        if not has_more:
            return
        before = runs[-1].id


def _row(one: Import) -> Row:
    """An import with what is asked for most; times in RFC 3339. What is not known is None."""
    counted = None if one.success_count is None or one.fail_count is None else one.success_count + one.fail_count
    failed = one.failed_tasks[0] if one.failed_tasks else None
    return {
        "dag_id": one.dag_id,
        "run_id": one.run_id,
        "run_state": one.run_state,
        "package_id": one.package_id,
        "state": one.state,
        "begin": None if one.begin is None else rfc3339(one.begin),
        "end": None if one.end is None else rfc3339(one.end),
        "files": one.files,
        "uploaded_files": one.uploaded,
        "finished_files": one.finished,
        "rows": one.rows,
        "success_count": one.success_count,
        "fail_count": one.fail_count,
        "success_user_count": one.success_user_count,
        "unaccounted": one.unaccounted,
        "matched_ratio": one.success_count / counted if counted and one.success_count is not None else None,
        "failed_task": None if failed is None else failed.task_id,
        "error": None if failed is None else failed.error or failed.cause,
        "message": None if failed is None else failed.text,
        "triggered_by": one.user,
    }
