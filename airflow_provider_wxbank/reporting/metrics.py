# SPDX-License-Identifier: Apache-2.0
"""The observer that counts and measures: metrics, through Airflow's own client for StatsD or OpenTelemetry.

:data:`METRICS` has them all; docs/metrics.md says the same for users. Tags name connections, packages, bank types and
kinds of outcomes: never a file, a task, or anything of an agreement number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Literal, ParamSpec, TypeVar

from airflow_provider_wxbank._compat import metrics_client, send_metrics
from airflow_provider_wxbank.packages.counts import fail_ratio
from airflow_provider_wxbank.reporting.events import (
    CallMade,
    CallRepeated,
    Ended,
    Event,
    Exported,
    FileNotUploaded,
    FileUploaded,
    Finished,
    PollFailed,
    PollMade,
    QuotaAsked,
    UploadPlanned,
)

P = ParamSpec("P")
T = TypeVar("T")

Kind = Literal["counter", "gauge", "timer"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric, and the tags that it always has."""

    kind: Kind
    tags: tuple[str, ...]


_CALL = ("connection", "endpoint", "outcome")
_EXPORT = ("connection", "bank_type")
_UPLOAD = ("connection", "package", "bank_type", "outcome")
_PACKAGE = ("connection", "package")

METRICS: Mapping[str, Metric] = {
    "wxbank.export.rows": Metric("counter", _EXPORT),
    "wxbank.export.files": Metric("counter", _EXPORT),
    "wxbank.export.skipped": Metric("counter", _EXPORT),
    "wxbank.upload.files": Metric("counter", _UPLOAD),
    "wxbank.upload.rows": Metric("counter", _UPLOAD),
    "wxbank.calls": Metric("counter", _CALL),
    "wxbank.calls.duration": Metric("timer", _CALL),
    "wxbank.calls.repeated": Metric("counter", ("connection", "trouble")),
    "wxbank.wait.polls": Metric("counter", (*_PACKAGE, "outcome")),
    "wxbank.wait.processing": Metric("gauge", _PACKAGE),
    "wxbank.wait.matched": Metric("counter", _PACKAGE),
    "wxbank.wait.failed": Metric("counter", _PACKAGE),
    "wxbank.wait.users": Metric("counter", _PACKAGE),
    "wxbank.wait.unaccounted": Metric("counter", _PACKAGE),
    "wxbank.wait.fail_ratio": Metric("gauge", _PACKAGE),
    "wxbank.quota.left": Metric("gauge", _PACKAGE),
}
"""All metrics, by name. Airflow puts its prefix before it, which is ``airflow`` by default."""

# What else an id may have would end a name or a tag in the protocol of StatsD.
_NOT_IN_TAGS = re.compile(r"[^A-Za-z0-9_.-]")


def sends_metrics(method: Callable[P, T]) -> Callable[P, T]:
    """Let a method send what was counted before it ends: its process may end with it."""

    @wraps(method)
    def sending(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        finally:
            send_metrics()

    return sending


class Metrics:
    """Sends what happens on one connection.

    :param bank_type: of an export.
    """

    def __init__(self, wxbank_conn_id: str, bank_type: str | None = None) -> None:
        self._connection = wxbank_conn_id
        self._bank_type = bank_type or ""
        self._left: int | None = None

    def __str__(self) -> str:
        return "Metrics"

    def __call__(self, event: Event) -> None:
        """Send what an event is worth."""
        match event:
            case CallMade():
                tags = {"endpoint": event.endpoint, "outcome": event.outcome}
                self._send("wxbank.calls", 1, **tags)
                self._send("wxbank.calls.duration", event.seconds * 1000, **tags)
            case CallRepeated():
                self._send("wxbank.calls.repeated", 1, trouble=event.trouble.lower())
            case Exported():
                for name in ("rows", "files", "skipped"):
                    self._send(f"wxbank.export.{name}", getattr(event, name), bank_type=self._bank_type)
            case UploadPlanned():
                self._bank_type = event.bank_type or ""
            case QuotaAsked():
                self._quota(event.package_id, event.left)
            case FileUploaded():
                self._file(event.package_id, "adopted" if event.adopted else "uploaded", event.rows)
                if self._left is not None and not event.adopted:
                    self._quota(event.package_id, self._left - 1)
            case FileNotUploaded():
                self._file(event.package_id, "failed")
                if event.error == "QuotaReached":
                    self._quota(event.package_id, 0)
            case PollMade() | PollFailed() | Finished():
                self._wait(event)
            case Ended():
                send_metrics()

    def _file(self, package: str, outcome: str, rows: int | None = None) -> None:
        tags = {"package": package, "bank_type": self._bank_type, "outcome": outcome}
        self._send("wxbank.upload.files", 1, **tags)
        if rows is not None:
            self._send("wxbank.upload.rows", rows, **tags)

    def _quota(self, package: str, left: int) -> None:
        self._left = max(left, 0)
        self._send("wxbank.quota.left", self._left, package=package)

    def _wait(self, event: PollMade | PollFailed | Finished) -> None:
        package = event.package_id
        if isinstance(event, Finished):
            counts = {"matched": event.success_count, "failed": event.fail_count, "users": event.success_user_count}
            for name, number in {**counts, "unaccounted": event.unaccounted or 0}.items():
                self._send(f"wxbank.wait.{name}", number, package=package)
            ratio = fail_ratio(event.success_count, event.fail_count)
            self._send("wxbank.wait.fail_ratio", ratio, package=package)
            self._send("wxbank.wait.processing", 0, package=package)
            return
        self._send("wxbank.wait.polls", 1, package=package, outcome="failed" if isinstance(event, PollFailed) else "ok")
        if isinstance(event, PollMade) and event.unfinished is not None:
            processing = event.unfinished if event.wanted is None else min(event.unfinished, event.wanted)
            self._send("wxbank.wait.processing", processing, package=package)

    def _send(self, name: str, value: float, **tags: str) -> None:
        """Send a value under a name of :data:`METRICS`, milliseconds for a timer."""
        metric, client = METRICS[name], metrics_client()
        tags = {"connection": self._connection, **tags}
        clean = {tag: _NOT_IN_TAGS.sub("_", tags[tag]) or "unknown" for tag in metric.tags}
        if metric.kind == "counter":
            client.incr(name, int(value), tags=clean)
        elif metric.kind == "gauge":
            client.gauge(name, value, tags=clean)
        else:
            client.timing(name, value, tags=clean)
