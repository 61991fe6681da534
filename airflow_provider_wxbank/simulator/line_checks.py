# SPDX-License-Identifier: Apache-2.0
"""Checks lines in the background, while requests are answered.

Decrypting a line takes from a quarter of a millisecond to a whole one, so a file takes seconds, and longer on a busy
machine. No client waits so long for an answer. So a few lines are decrypted before the answer, and all of them here:
in processes, since threads would hold up the server, and with the files on disk until their turn comes, so that memory
stays bounded.
"""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from threading import Lock, local
from typing import IO

from airflow_provider_wxbank.simulator import lines as child_code
from airflow_provider_wxbank.simulator.ledger import Task, Undecrypted
from airflow_provider_wxbank.simulator.lines import LENGTHS, digests_of, unpacked
from airflow_provider_wxbank.simulator.settings import Check
from airflow_provider_wxbank.simulator.suites import Key

FEW = 500
"""Files of at most this many lines are decrypted without a process, since starting one takes as long."""

SAMPLE_LINES = 20

INHERITED = ("LD_LIBRARY_PATH", "TMPDIR")
"""Variables of the environment that a child needs in addition to the path of its modules."""


def lines_before_answer(lines: Sequence[bytes], check: Check) -> Sequence[bytes]:
    """The lines that are decrypted before an upload is answered: few enough for the answer to be in time."""
    if check == "later":
        return ()
    if check == "all" and len(lines) <= FEW:
        return lines
    return lines[:: max(len(lines) // SAMPLE_LINES, 1)][:SAMPLE_LINES]


class Ended(Exception):
    """The simulator ended, or was reset, before all lines were decrypted."""


class LineChecks:
    """Decrypts the lines that are left after uploads, in child processes that are started when they are first needed.

    :param clock: unix seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pool = ThreadPoolExecutor(_cores(), thread_name_prefix="wxbank-simulator-lines")
        self._own = local()
        self._children: list[_Child] = []
        self._spool = _Spool()
        self._lock = Lock()
        self._has_ended = False

    def keep(self, key: Key, lines: Sequence[bytes]) -> Undecrypted:
        """Keep the lines of a file until they are decrypted.

        :raises Ended: they never will be.
        """
        with self._lock:
            if self._has_ended:
                raise Ended
            return Undecrypted(key, *self._spool.put(b"\n".join(lines)))

    def begin(self, task: Task) -> None:
        """Let a task's lines be decrypted when their turn comes.

        :raises Ended: they never will be.
        """
        with self._lock:
            rest = task.undecrypted
            if rest is not None and rest.check is None:
                if self._has_ended:
                    raise Ended
                rest.check = self._pool.submit(self._decrypt, task, rest)

    def finish(self, tasks: Iterable[Task]) -> None:
        """Wait until all lines of some tasks are decrypted.

        :raises Ended: they never will be.
        """
        tasks = list(tasks)
        for task in tasks:
            self.begin(task)
        for task in tasks:
            rest = task.undecrypted
            if rest is not None and rest.check is not None:
                try:
                    rest.check.result()
                except CancelledError:
                    raise Ended from None

    def end(self) -> None:
        """End the processes, whatever they are doing."""
        with self._lock:
            self._has_ended = True
            children = list(self._children)
        self._pool.shutdown(wait=False, cancel_futures=True)
        # Killed before the pool's threads are waited for, since these wait for the children.
        for child in children:
            child.kill()
        self._pool.shutdown()
        for child in children:
            child.close()
        with self._lock:
            self._spool.close()

    def _decrypt(self, task: Task, rest: Undecrypted) -> None:
        lines = self._spool.take(rest.start, rest.size).split(b"\n")
        digests = self._digests(rest.key, lines)
        task.digests = [one for one in digests if one is not None]
        task.undecryptable = digests.count(None)
        if task.checked == math.inf:
            task.checked = self._clock()
        task.undecrypted = None

    def _digests(self, key: Key, lines: Sequence[bytes]) -> list[bytes | None]:
        if len(lines) > FEW:
            try:
                return self._child().digests(key, lines)
            except (OSError, EOFError):
                # It was killed, perhaps because memory ran out, or could not be started. The lines are decrypted here.
                self._own.child = None
        with self._lock:
            if self._has_ended:
                raise Ended
        return digests_of(key.decrypt, lines)

    def _child(self) -> _Child:
        """The child of this thread."""
        child: _Child | None = getattr(self._own, "child", None)
        if child is None:
            with self._lock:
                if self._has_ended:
                    raise Ended
                child = self._own.child = _Child()
                self._children.append(child)
        return child


class _Child:
    """A process that decrypts. It ends when its standard input closes, so it ends with this process in any case."""

    def __init__(self) -> None:
        env = {name: os.environ[name] for name in INHERITED if name in os.environ}
        # It imports what this process would import, but nothing from the current folder or from that of its own file.
        env["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(  # noqa: S603  # this interpreter and our own code
            [sys.executable, "-P", child_code.__file__], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def digests(self, key: Key, lines: Sequence[bytes]) -> list[bytes | None]:
        """As :func:`.lines.digests_of`.

        :raises OSError: the process has ended.
        :raises EOFError: the same.
        """
        jobs, answers = self._process.stdin, self._process.stdout
        assert jobs is not None
        assert answers is not None
        der = key.der
        content = b"\n".join(lines)
        jobs.write(LENGTHS.pack(len(der), len(content)) + der + content)
        jobs.flush()
        size = 32 * len(lines)
        answer = answers.read(size)
        if len(answer) < size:
            raise EOFError
        return unpacked(answer)

    def kill(self) -> None:
        """End it at once. A thread that waits for its answer gets an EOFError."""
        self._process.kill()

    def close(self) -> None:
        """Collect the process and close its pipes."""
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()


@dataclass(slots=True)
class _Spool:
    """Contents on disk, in one file without a name. Its space is used again once all of them were taken."""

    _file: IO[bytes] = field(default_factory=TemporaryFile)
    _end: int = 0
    _count: int = 0
    _lock: Lock = field(default_factory=Lock)

    def put(self, content: bytes) -> tuple[int, int]:
        """Keep a content; return where it begins, and its length."""
        with self._lock:
            start = self._end
            self._file.seek(start)
            self._file.write(content)
            self._file.flush()
            self._end += len(content)
            self._count += 1
        return start, len(content)

    def take(self, start: int, size: int) -> bytes:
        """A content, which is not kept any longer."""
        with self._lock:
            self._file.seek(start)
            content = self._file.read(size)
            self._count -= 1
            if not self._count:
                self._file.truncate(0)
                self._end = 0
        return content

    def close(self) -> None:
        self._file.close()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
