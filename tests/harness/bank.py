# SPDX-License-Identifier: Apache-2.0
"""A bank's database: its users, each with an agreement number, some of them active."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy.engine import Engine

User = tuple[str, bool]
"""An agreement number, and whether its owner is active."""


def fill(engine: Engine, users: Iterable[User], first_id: int = 0) -> None:
    """Make the table ``users`` of any database."""
    rows = [
        {"id": index, "number": number, "active": int(is_active)}
        for index, (number, is_active) in enumerate(users, first_id)
    ]
    with engine.begin() as connection:
        connection.execute(
            sqlalchemy.text("CREATE TABLE users (id INTEGER PRIMARY KEY, agreement_no VARCHAR(40), active INTEGER)")
        )
        if rows:
            connection.execute(sqlalchemy.text("INSERT INTO users VALUES (:id, :number, :active)"), rows)


@dataclass(frozen=True, slots=True)
class Bank:
    """A bank whose database is an SQLite file.

    :param numbers: of its active users, in their order.
    """

    path: Path
    numbers: Sequence[str]

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection to the database."""
        return {"conn_type": "sqlite", "host": str(self.path)}


def make_bank(path: Path, users: Iterable[User]) -> Bank:
    """Make the database of a bank, with ids from 1."""
    users = list(users)
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    fill(engine, users, first_id=1)
    engine.dispose()
    return Bank(path, [number for number, is_active in users if is_active])
