# SPDX-License-Identifier: Apache-2.0
"""Processes that encrypt, one for each core.

Why not threads: the library encrypts without holding Python's lock, but between two calls a thread waits for it, and
waits long while another thread reads rows. On 2 cores threads reached 0.64 to 0.90 of the speed of two processes that
do nothing else. These processes reach 0.93 to 0.98 (``make bench``).

They are plain child processes, not those of ``multiprocessing``. It forbids them where Airflow runs a task in a process
that is itself such a child (LocalExecutor of Airflow 2.11), and its processes would import Airflow's main module again.
Ours get numbers through a pipe and end when it closes, so they end with the task, whatever kills it.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from struct import Struct
from threading import Condition, Lock
from typing import IO, Self

from airflow_provider_wxbank.wechatpay.crypto.keys import read_public_key
from airflow_provider_wxbank.wechatpay.crypto.suites import PublicKey
from airflow_provider_wxbank.wechatpay.errors import TryLater

FEW = 500
"""Files of at most this many numbers are encrypted in this process: that takes 12 ms, and starting another 60 ms."""

MAX_PROCESSES = 8
"""The process that reads the rows cannot keep more than these busy."""

JOBS = 2
"""Files that a process has at a time: the one that it encrypts, and the next."""

PIPE_BYTES = 1 << 20
"""Bytes that a pipe holds: the next file, and a part of the last one until it is taken."""

END_SECONDS = 5.0
"""Seconds after which a process that was told to end is killed."""

_PASSED_ON = re.compile(
    r"PATH|LD_LIBRARY_PATH|DYLD_\w+|LANG|LC_\w+|TZ|TMPDIR|PYTHONHOME|OPENSSL_\w+|CRYPTOGRAPHY_\w+|COV(ERAGE|_CORE)_\w+"
)
"""Variables that a process needs to run and to be measured. It gets no others: ``AIRFLOW_CONN_...`` may hold keys."""

_COMMAND = f"import {__name__} as processes; processes.serve()"
_LENGTHS = Struct(">II")


class EncryptionProcesses:
    """Encrypts agreement files in child processes, which are started when they are first needed.

    :param count: how many at most; by default one for each core that this process may use, and at most 8.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = count or min(_cores(), MAX_PROCESSES)
        self._children: list[_Child] = []
        self._has_lost_one = False
        self._changed = Condition()

    @property
    def threads(self) -> int:
        """Threads that keep all processes busy."""
        return self.count * JOBS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """End the processes: gently after success, at once after a failure."""
        for child in self._children:
            child.close(at_once=kind is not None)

    def encrypt_lines(self, key: PublicKey, numbers: Sequence[str]) -> bytes:
        """As :meth:`.PublicKey.encrypt_lines`, in a process that is free; waits for one if need be.

        :raises TryLater: a process was killed.
        """
        if len(numbers) <= FEW:
            return key.encrypt_lines(numbers)
        child = self._take()
        try:
            return child.encrypt_lines(key, numbers)
        except (OSError, EOFError):
            self._has_lost_one = True
            raise self._lost() from None
        finally:
            with self._changed:
                child.jobs -= 1
                self._changed.notify_all()

    def _take(self) -> _Child:
        with self._changed:
            while True:
                if self._has_lost_one:
                    raise self._lost()
                child = min(self._children, key=lambda child: child.jobs, default=None)
                # An idle process comes before a new one, and a new one before a second job for one that is busy.
                if (child is None or child.jobs) and len(self._children) < self.count:
                    try:
                        child = _Child()
                    except OSError:
                        raise self._lost() from None
                    self._children.append(child)
                if child is not None and child.jobs < JOBS:
                    child.jobs += 1
                    return child
                self._changed.wait()

    def _lost(self) -> TryLater:
        return TryLater("a process that encrypts was killed, perhaps for want of memory; run the export again")


class _Child:
    """One process. While it works on one job, the next is sent, so that it never waits.

    :ivar jobs: how many it has.
    """

    def __init__(self) -> None:
        self.jobs = 0
        self._sending, self._receiving = Lock(), Lock()
        # It imports what this process would import, but nothing from the current folder.
        env = {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        self._process = subprocess.Popen(  # noqa: S603  # this interpreter and our own code
            [sys.executable, "-P", "-c", _COMMAND], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            pipesize=PIPE_BYTES,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout

    def encrypt_lines(self, key: PublicKey, numbers: Sequence[str]) -> bytes:
        with self._sending:
            _send(self._to, key.der, "\n".join(numbers).encode())
            # Before the next thread may send, since answers come in the order of the jobs.
            self._receiving.acquire()
        try:
            return _receive(self._from)[1]
        finally:
            self._receiving.release()

    def close(self, *, at_once: bool) -> None:
        if at_once:
            self._process.kill()
        # It ends by itself once its standard input is closed.
        with contextlib.suppress(OSError):
            self._to.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._from.close()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def serve() -> None:
    """What a child does: encrypt what comes through standard input, until it closes."""
    # A core file would hold numbers.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Ctrl-C reaches every process of a terminal; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            der, numbers = _receive(sys.stdin.buffer)
            _send(sys.stdout.buffer, b"", read_public_key(der).encrypt_lines(numbers.decode().split("\n")))


def _send(pipe: IO[bytes], first: bytes, second: bytes) -> None:
    pipe.write(_LENGTHS.pack(len(first), len(second)))
    pipe.write(first)
    pipe.write(second)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> tuple[bytes, bytes]:
    """:raises EOFError: the other side has ended."""
    lengths = _LENGTHS.unpack(_exactly(pipe, _LENGTHS.size))
    return _exactly(pipe, lengths[0]), _exactly(pipe, lengths[1])


def _exactly(pipe: IO[bytes], length: int) -> bytes:
    # A buffered pipe gives fewer bytes only at its end.
    content = pipe.read(length)
    if len(content) < length:
        raise EOFError
    return content
