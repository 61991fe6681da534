# SPDX-License-Identifier: Apache-2.0
"""Who lets the page ask WeChat Pay about a package: a row in Airflow's log table, and not one for each look."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from airflow_provider_wxbank.reporting.audit import leave_row

EVENT = "wxbank_package"

VISIT_SECONDS = 3600.0
"""Seconds for which looks of a user at a package are one visit, in one worker process of the API server."""

MAX_VISITS = 10_000
"""Visits that are remembered. Whoever comes then begins a new one, and leaves another row."""


class Visits:
    """Notes in Airflow's log table who looks at which package: once a visit, since an open page looks again and again.

    :param clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._begun: dict[tuple[str, str, str], float] = {}

    def note(self, user: str, wxbank_conn_id: str, package_id: str) -> None:
        """Leave a row, if this look begins a visit."""
        if self._begins((user, wxbank_conn_id, package_id)):
            leave_row(EVENT, user, {"wxbank_conn_id": wxbank_conn_id, "package_id": package_id})

    def _begins(self, visit: tuple[str, str, str]) -> bool:
        now = self._clock()
        with self._lock:
            # The oldest comes first.
            while self._begun:
                oldest = next(iter(self._begun))
                if now - self._begun[oldest] < VISIT_SECONDS and len(self._begun) < MAX_VISITS:
                    break
                del self._begun[oldest]
            if visit in self._begun:
                return False
            self._begun[visit] = now
            return True
