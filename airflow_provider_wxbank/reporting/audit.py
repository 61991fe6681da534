# SPDX-License-Identifier: Apache-2.0
"""Who did what, in Airflow's log table: the page "Audit Log" shows it, and Airflow's own commands write there, too.

A row is evidence and no lock. As with Airflow's own commands, what cannot leave its row is told in the log and goes on:
a database that takes no rows must not stop an import.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime

log = logging.getLogger(__name__)

MAX_OWNER = 500
"""Characters that the table has for a user."""

_NO_TABLE = ("no such table", '"log" does not exist', "log' doesn't exist")
"""What SQLite, PostgreSQL and MySQL say of an Airflow whose database was never made: there, nobody expects a row."""


def leave_row(event: str, user: str, facts: Mapping[str, object]) -> None:
    """Leave a row in Airflow's log table.

    :param event: at most 60 characters.
    :param user: who did it.
    :param facts: ids and counts alone; what is None is left out.
    """
    extra = json.dumps({name: value for name, value in facts.items() if value is not None})
    # Without the class of the row: to make one, all of Airflow's models would have to be imported.
    row = {"event": event, "owner": user[:MAX_OWNER], "extra": extra, "dttm": datetime.now(UTC)}
    try:
        from airflow.models.log import Log
        from airflow.utils.session import create_session
        from sqlalchemy import insert

        with create_session() as session:
            session.execute(insert(Log.__table__).values(row))  # type: ignore[arg-type, unused-ignore]  # a table, typed as any FROM
    except Exception as failure:
        # The database's own words: those of SQLAlchemy have the row in them, and many lines.
        reason = next(iter(str(getattr(failure, "orig", failure)).splitlines()), "")
        if not any(text in reason for text in _NO_TABLE):
            log.warning("Airflow's log table has no row of %s: %s: %s", event, type(failure).__name__, reason[:300])


def system_user() -> str:
    """The user of this machine, whom Airflow's own commands name; their number if they have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
