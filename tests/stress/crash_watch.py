# SPDX-License-Identifier: Apache-2.0
"""What reaches a simulator, when a process is killed, and when the next one is to be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from airflow_provider_wxbank.simulator import Simulator
from airflow_provider_wxbank.simulator.app import App
from tests.stress.crash_runs import WORKERS

STEP = 16
"""A killed upload gets at most so many requests further than the files that it finds."""

GRACE_SECONDS = 5.0
"""A request of a process that was killed may be read so long after its end."""


@dataclass(slots=True)
class Seen:
    """A request that reached the simulator.

    :param filename: of an upload that was received in full.
    """

    began: float
    ended: float = float("inf")
    filename: str | None = None


class Watch:
    """What reaches a simulator and when, by package, and when what was killed."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.seen: dict[str, list[Seen]] = defaultdict(list)
        self.kills: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self.seconds_to_take: Callable[[], float] = lambda: 0.0
        """How long the simulator takes from an upload's last byte to its task: a retry may come meanwhile."""

    def requests(self, package_id: str) -> int:
        """Requests for a package so far."""
        return len(self.seen[package_id])

    def taken(self, package_id: str) -> int:
        """Files that the package has."""
        return len(self.simulator.app.ledger.packages.get(package_id, {}))

    def kill(self, kill: Callable[[], None], package_id: str = "") -> None:
        """Kill with the time noted."""
        before = time.monotonic()
        kill()
        self.kills[package_id].append((before, time.monotonic()))

    def posts(self, package_id: str) -> int:
        """Uploads that were received in full."""
        return sum(one.filename is not None for one in self.seen[package_id])

    def sent_again(self, package_id: str) -> tuple[int, int]:
        """Of uploads after a file's first: those whose file was in flight at a kill, and the others.

        Each kill accounts for one upload of a file at most.
        """
        sent: dict[str, list[Seen]] = defaultdict(list)
        for one in self.seen[package_id]:
            if one.filename is not None:
                sent[one.filename].append(one)
        again = twice = 0
        for uploads in sent.values():
            in_flight = list(uploads)
            for before, after in self.kills[package_id]:
                met = [one for one in in_flight if one.began <= after + GRACE_SECONDS and one.ended >= before]
                if met:
                    in_flight.remove(met[0])
            accounted = min(len(uploads) - len(in_flight), len(uploads) - 1)
            again += accounted
            twice += len(uploads) - 1 - accounted
        return again, twice


@contextlib.contextmanager
def watched(simulator: Simulator) -> Iterator[Watch]:
    """Note what reaches a simulator; its methods are called as they are, with a note taken around them."""
    watch = Watch(simulator)
    current: ContextVar[Seen | None] = ContextVar("current", default=None)
    call, upload = App.__call__, App._upload

    async def noting_call(app: App, scope: Any, receive: Any, send: Any) -> None:
        parts = scope.get("path", "").split("/")
        if app is not simulator.app or "packages" not in parts:
            return await call(app, scope, receive, send)
        seen = Seen(time.monotonic())
        watch.seen[parts[parts.index("packages") + 1]].append(seen)
        current.set(seen)
        try:
            await call(app, scope, receive, send)
        finally:
            seen.ended = time.monotonic()

    async def noting_upload(
        app: App, request: Any, package_id: str, parts: Sequence[Any], kind: str
    ) -> Mapping[str, Any]:
        if (seen := current.get()) is not None:
            with contextlib.suppress(StopIteration, ValueError, KeyError):
                seen.filename = json.loads(next(one.content for one in parts if one.name == "meta"))["filename"]
            await asyncio.sleep(watch.seconds_to_take())
        return await upload(app, request, package_id, parts, kind)

    with patch.object(App, "__call__", noting_call), patch.object(App, "_upload", noting_upload):
        yield watch


@dataclass(slots=True)
class Moment:
    """When to kill: some seconds after something is so far."""

    is_so_far: Callable[[], bool]
    seconds: float
    _due: float | None = None

    def has_come(self) -> bool:
        """Whether it is now or past."""
        if self._due is None and self.is_so_far():
            self._due = time.monotonic() + self.seconds
        return self._due is not None and time.monotonic() >= self._due


def upload_moment(watch: Watch, package_id: str, files: int, dice: random.Random) -> Moment:
    """A random moment of an upload that begins now, from before its first request to after its last."""
    before, taken = watch.requests(package_id), watch.taken(package_id)
    missing = files - taken
    requests = taken + min(WORKERS, missing) + missing
    wanted = min(dice.randint(0, taken + STEP), requests)
    return Moment(lambda: watch.requests(package_id) - before >= wanted, dice.uniform(0, 0.1))


def export_moment(folder: Path, files: int, dice: random.Random, *, is_late: bool) -> Moment:
    """A random moment of an export that begins now.

    :param is_late: about when the manifest is written, perhaps after the end.
    """
    began = time.time_ns()
    wanted = files if is_late else dice.randint(0, files - 1)

    def written() -> int:
        count = 0
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    count += entry.name.endswith(".csv") and entry.stat().st_mtime_ns >= began
        return count

    return Moment(lambda: written() >= wanted, dice.uniform(0, 0.02))
