"""Packages that were filled elsewhere: what WeChat Pay lists of them, asked no more often than a sensor would."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from threading import Lock

from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, WxBankError
from airflow_provider_wxbank.wechatpay.packages import UploadTask, list_tasks, list_tasks_page, tasks_path

POLL_SECONDS = 60.0
"""Seconds between two questions about one package: a sensor's own interval, by default."""

MAX_PACKAGES = 100
"""Packages that are remembered; the one that was looked at longest ago is forgotten first."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What is known of a package.

    :param asked_at: unix seconds of the last answer.
    :param listed_at: unix seconds at which the tasks were read; their states are of that time.
    :param processing: tasks that were processing at ``asked_at``.
    """

    tasks: tuple[UploadTask, ...]
    processing: int
    asked_at: float
    listed_at: float


@dataclass(slots=True)
class _Package:
    lock: Lock = field(default_factory=Lock)
    asked_at: float = float("-inf")
    seen: Listed | WxBankError | None = None


class Packages:
    """What WeChat Pay lists of packages, shared by all who look.

    A package's list is read when it is first asked for, 20 tasks a call, and again when what was processing is finished
    or more has come. In between it is one call: how many tasks are processing, as a sensor asks, or how many there are.

    :param interval: seconds between two questions about one package.
    :param clock: unix seconds.
    """

    def __init__(self, interval: float = POLL_SECONDS, clock: Callable[[], float] = time.time) -> None:
        self.interval = interval
        self._clock = clock
        self._lock = Lock()
        self._packages: dict[tuple[str, str], _Package] = {}

    def listed(self, wxbank_conn_id: str, package_id: str) -> Listed:
        """What is known of a package, at most ``interval`` seconds old.

        :raises WxBankError: WeChat Pay could not be asked; it is not asked again before ``interval`` has passed.
        """
        tasks_path(package_id)
        with self._lock:
            key = wxbank_conn_id, package_id
            package = self._packages.pop(key, _Package())
            self._packages[key] = package
            while len(self._packages) > MAX_PACKAGES:
                del self._packages[next(iter(self._packages))]
        with package.lock:
            if self._clock() - package.asked_at >= self.interval:
                known = package.seen if isinstance(package.seen, Listed) else None
                try:
                    with closing(WxBankHook(wxbank_conn_id).get_conn()) as client:
                        package.seen = self._ask(client, package_id, known)
                except AirflowNotFoundException:
                    package.seen = InvalidInput(f"there is no connection {wxbank_conn_id}")
                except WxBankError as failure:
                    package.seen = failure
                package.asked_at = self._clock()
            seen = package.seen
        assert seen is not None
        if isinstance(seen, WxBankError):
            raise seen
        return seen

    def _ask(self, client: Client, package_id: str, known: Listed | None) -> Listed:
        now = self._clock()
        if known is not None and not (processing := _unfinished(known)):
            if list_tasks_page(client, package_id, limit=1).total_count == len(known.tasks):
                return replace(known, asked_at=now)
        elif known is not None:
            still = list_tasks_page(client, package_id, status="PROCESSING", limit=1).total_count
            if 0 < still <= processing:
                return replace(known, asked_at=now, processing=still)
        tasks = tuple(list_tasks(client, package_id))
        return Listed(tasks, sum(not task.is_finished for task in tasks), now, now)


def _unfinished(listed: Listed) -> int:
    return sum(not task.is_finished for task in listed.tasks)
