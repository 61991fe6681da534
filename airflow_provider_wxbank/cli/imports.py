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
from airflow_provider_wxbank.cli.output import Column, Row, beijing_minute, busy, rfc3339, show, thousands
from airflow_provider_wxbank.cli.words import counted, worded

if TYPE_CHECKING:
    from airflow_provider_wxbank.ui.imports import Import

_COLUMNS = (
    Column("DAG", "dag_id", folds=True),
    Column(worded("run"), "run_id", folds=True),
    Column(worded("package"), "package_id"),
    Column(worded("state"), "state"),
    Column(worded("began"), "begin", beijing_minute, is_optional=True),
    Column(worded("files"), "files", thousands, is_number=True, is_optional=True),
    Column(worded("numbers"), "rows", thousands, is_number=True, is_optional=True),
    Column(worded("matched"), "matched_ratio", "{:.2%}".format, is_number=True),
    Column(worded("error"), "error"),
)


@command
def imports(args: argparse.Namespace) -> None:
    """List the newest imports of DAGs."""
    if not HAS_PAGE:
        raise Failed(worded("imports are recorded, and can be listed, from Airflow 3.1 on; this one is older"))
    with busy(worded("Reading imports")):
        found = list(islice(_chosen(args), args.limit))
    rows = [_row(one) for one in found]
    show(args.output, rows, rows, _COLUMNS)
    if unreadable := sum(one.unreadable for one in found):
        say(worded("warning: {records} of these imports cannot be read here", records=counted(unreadable, "record")))
    if args.output == "table" and not found:
        say(worded("No import was found"))


def _chosen(args: argparse.Namespace) -> Iterator[Import]:
    """The imports that are asked for, newest first; read as far as they are."""
    # Here, since they import Airflow's models, and not every Airflow has what they need.
    from airflow.utils.session import create_session

    from airflow_provider_wxbank.ui.database import dags_with_imports
    from airflow_provider_wxbank.ui.search import Wanted, search

    wanted = Wanted(state=args.state, package_id=args.package_id)
    now, before = time.time(), None
    while True:
        # One session for each part: whoever reads a long history must not hold one transaction for all of it.
        with create_session() as session:
            dag_ids = dags_with_imports(session) if args.dag_id is None else [args.dag_id]
            found = search(session, dag_ids, wanted, args.limit, before, now)
        yield from found.imports
        if found.before is None:
            return
        before = found.before


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
