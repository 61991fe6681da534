# SPDX-License-Identifier: Apache-2.0
"""What a command that changes something leaves in Airflow's log table: a row when it begins, and one when it ends."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_wxbank.cli.command import Exit, NotConfirmed, exit_code
from airflow_provider_wxbank.reporting.audit import leave_row, system_user
from airflow_provider_wxbank.reporting.events import Event, Exported, FileUploaded, UploadPlanned

MAX_ID = 250
"""Characters of an id, as Airflow has them."""


class Counts:
    """The observer that keeps what a row says of a command's end.

    :ivar facts: counts.
    """

    def __init__(self) -> None:
        self.facts: dict[str, object] = {}
        self._adopted = 0

    def __call__(self, event: Event) -> None:
        match event:
            case Exported():
                self.facts |= {"files": event.files, "rows": event.rows, "skipped": event.skipped}
                self._note_identity(event.manifest)
            case UploadPlanned():
                self.facts |= {"total_files": event.files, "files": 0, "rows": 0, "adopted": 0}
                self._note_identity(event.manifest)
            case FileUploaded():
                self._adopted += event.adopted
                self.facts |= {"files": event.done_files, "rows": event.done_rows, "adopted": self._adopted}

    def _note_identity(self, manifest: str | None) -> None:
        # Without its path, which may say more than ids and counts: this alone ties an upload to its export.
        if (found := _IDENTITY.search(manifest or "")) is not None:
            self.facts["manifest"] = found[1]


_IDENTITY = re.compile(r"#([0-9a-f]{16})$")


@contextmanager
def audited(name: str, wxbank_conn_id: str, package_id: str | None = None) -> Iterator[Counts]:
    """Leave two rows around a command: ``cli_wxbank_NAME``, and ``cli_wxbank_NAME_ended`` with its outcome and counts.

    Neither has the query, its parameters, a path or the text of an error.

    :return: an observer, for the counts.
    """
    user, counts = system_user(), Counts()
    facts: dict[str, object] = {"host_name": socket.gethostname(), "wxbank_conn_id": wxbank_conn_id[:MAX_ID]}
    if package_id is not None:
        facts["package_id"] = package_id[:MAX_ID]
    leave_row(f"cli_wxbank_{name}", user, facts)
    ended: dict[str, object] = {"outcome": "done", "exit_code": int(Exit.OK)}
    try:
        yield counts
    except KeyboardInterrupt:
        ended = {"outcome": "interrupted"}
        raise
    except Exception as failure:
        outcome = "declined" if isinstance(failure, NotConfirmed) else "failed"
        ended = {"outcome": outcome, "exit_code": int(exit_code(failure)), "error": type(failure).__name__}
        raise
    finally:
        leave_row(f"cli_wxbank_{name}_ended", user, {**facts, **ended, **counts.facts})
