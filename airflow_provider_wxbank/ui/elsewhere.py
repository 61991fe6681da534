# SPDX-License-Identifier: Apache-2.0
"""Packages that were filled elsewhere: what WeChat Pay lists of them, asked by threads of our own.

Whoever looks at a package gets at once what is known. All requests to Airflow's API server share a few threads, so none
of them may wait for a connection's secrets or for WeChat Pay. However much is looked at, little is asked: one question
at a time with each connection, about at most :data:`PLACES` packages a connection, each once in an interval.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from threading import Lock, Thread
from typing import Literal

from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_wxbank.hooks import WxBankHook
from airflow_provider_wxbank.packages.endpoints import list_tasks, list_tasks_page, tasks_path
from airflow_provider_wxbank.packages.tasks import UploadTask
from airflow_provider_wxbank.wechatpay.calls import Answer, Call
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import TryLater, WxBankError
from airflow_provider_wxbank.wechatpay.kept import kept_list
from airflow_provider_wxbank.wechatpay.settings import Settings

POLL_SECONDS = 60.0
"""Seconds between two questions about one package: a sensor's own interval, by default."""

PLACES = 10
"""Packages of one connection that are remembered and asked for."""

ALL_PLACES = 200
"""The same, of all connections."""

KEPT_INTERVALS = 2
"""Intervals for which a package keeps its place while nobody looks at it."""

THREADS = 4
"""Connections with which WeChat Pay is asked at the same time."""

THREAD_NAME = "wxbank-page"

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
"""What the timeouts of a connection are cut to, since somebody is looking at a page."""

QUESTION_SECONDS = 120.0
"""Seconds after which a list that is still being read is given up. That is enough for some ten thousand files."""

log = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True)
class Seen:
    """What somebody who looks at a package gets.

    :param question: ``asking`` while WeChat Pay is being asked or will be next, ``answered`` once it was, ``later`` if
        too much is asked for already.
    :param listed: what is known, perhaps from before; None if nothing is.
    :param failure: why the last question was not answered; None if it was.
    :param tried_at: unix seconds of the end of the last question; None if there was none.
    """

    question: Literal["asking", "answered", "later"]
    listed: Listed | None = None
    failure: str | None = None
    tried_at: float | None = None


@dataclass(slots=True)
class _Place:
    looked_at: float
    seen: Seen = field(default_factory=lambda: Seen("asking"))


class Packages:
    """What WeChat Pay lists of packages, shared by all who look.

    A package's list is read when it is first asked for, 20 tasks a call. It is read again when what was processing is
    finished, or when more has come. In between it takes one call, for how many tasks are processing, as a sensor asks,
    or for how many there are.

    :param interval: seconds between two questions about one package.
    :param clock: unix seconds.
    """

    def __init__(self, interval: float = POLL_SECONDS, clock: Callable[[], float] = time.time) -> None:
        self.interval = interval
        self._clock = clock
        self._lock = Lock()
        self._places: dict[tuple[str, str], _Place] = {}
        # What is to be asked, by connection. The connection whose turn is next comes first.
        self._waiting: dict[str, deque[str]] = {}
        self._asking: set[str] = set()
        self._threads = 0

    def look(self, wxbank_conn_id: str, package_id: str) -> Seen:
        """What is known of a package, at once. If it is older than the interval, a thread asks for it meanwhile.

        :raises InvalidInput: the package id is invalid.
        """
        tasks_path(package_id)
        key = wxbank_conn_id, package_id
        now = self._clock()
        with self._lock:
            place = self._places.get(key)
            if place is None:
                if not self._make_room(wxbank_conn_id, now):
                    return Seen("later")
                place = self._places[key] = _Place(now)
                self._ask_soon(*key)
            place.looked_at = now
            tried_at = place.seen.tried_at
            # A time that lies ahead counts as over, too: the clock was set back.
            if place.seen.question == "answered" and not 0 <= now - (tried_at or 0.0) < self.interval:
                place.seen = replace(place.seen, question="asking")
                self._ask_soon(*key)
            return place.seen

    def _make_room(self, wxbank_conn_id: str, now: float) -> bool:
        """Whether there is a place for another package of a connection. What nobody looks at any more is forgotten."""
        for key, place in list(self._places.items()):
            if place.seen.question == "answered" and now - place.looked_at > KEPT_INTERVALS * self.interval:
                del self._places[key]
        used = sum(conn_id == wxbank_conn_id for conn_id, _ in self._places)
        return used < PLACES and len(self._places) < ALL_PLACES

    def _ask_soon(self, wxbank_conn_id: str, package_id: str) -> None:
        self._waiting.setdefault(wxbank_conn_id, deque()).append(package_id)
        if self._threads < THREADS:
            Thread(target=self._ask_all, name=THREAD_NAME, daemon=True).start()
            self._threads += 1

    def _ask_all(self) -> None:
        """Ask until nothing is waiting, except for what other threads will ask when they are done."""
        while (key := self._next()) is not None:
            # Without the lock: a place is not removed while it is being asked for.
            known = self._places[key].seen.listed
            listed, failure = self._answer(*key, known)
            with self._lock:
                self._places[key].seen = Seen("answered", listed or known, failure, self._clock())
                self._asking.discard(key[0])

    def _next(self) -> tuple[str, str] | None:
        with self._lock:
            wxbank_conn_id = next((one for one in self._waiting if one not in self._asking), None)
            if wxbank_conn_id is None:
                self._threads -= 1
                return None
            packages = self._waiting.pop(wxbank_conn_id)
            package_id = packages.popleft()
            if packages:
                # Behind all others, so that no connection has two turns before another has one.
                self._waiting[wxbank_conn_id] = packages
            self._asking.add(wxbank_conn_id)
            return wxbank_conn_id, package_id

    def _answer(self, wxbank_conn_id: str, package_id: str, known: Listed | None) -> tuple[Listed | None, str | None]:
        """What WeChat Pay lists now, or why that is not known."""
        try:
            with (
                closing(WxBankHook(wxbank_conn_id).get_conn()) as patient,
                closing(_HurriedClient(patient.settings)) as client,
            ):
                return self._ask(client, package_id, known), None
        except AirflowNotFoundException:
            return None, f"there is no connection {wxbank_conn_id}"
        except WxBankError as failure:
            return None, str(failure)
        except Exception as failure:
            # A secrets backend may raise anything, and its text may be a secret, so the user does not see it.
            log.warning("The page could not ask about a package with %s", wxbank_conn_id, exc_info=True)
            return None, (
                f"the connection {wxbank_conn_id} could not be used ({type(failure).__name__}); the log of the API "
                "server says more"
            )

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


class _HurriedClient(Client):
    """A client that tries everything once, and gives up a long list while somebody is still looking at the page."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(
            replace(
                settings,
                connect_timeout=min(settings.connect_timeout, CONNECT_SECONDS),
                read_timeout=min(settings.read_timeout, READ_SECONDS),
            ),
            max_attempts=1,
            kept=kept_list(settings),
        )
        self._ends_at = time.monotonic() + QUESTION_SECONDS

    def send(self, call: Call) -> Answer:
        if time.monotonic() > self._ends_at:
            raise TryLater(
                f"the list was not read to its end within {QUESTION_SECONDS:.0f} s; the package has too many files "
                "for this page, or WeChat Pay is slow"
            )
        return super().send(call)


def _unfinished(listed: Listed) -> int:
    return sum(not task.is_finished for task in listed.tasks)
