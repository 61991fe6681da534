# SPDX-License-Identifier: Apache-2.0
"""How a command runs and ends: its log goes to stderr, an error is one line, the exit code says what happened."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from functools import wraps
from threading import Timer, current_thread, main_thread
from types import FrameType

from airflow.providers.common.compat.sdk import AirflowNotFoundException, redact

from airflow_provider_wxbank._compat import HAS_STRUCTLOG
from airflow_provider_wxbank.cli.named import Named
from airflow_provider_wxbank.cli.words import worded
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidCredentials,
    InvalidInput,
    Refused,
    TryLater,
    UnverifiedAnswer,
    WaitFailed,
    WrongReceipt,
    WxBankError,
)

PATIENCE = 1.0
"""Seconds that a command may take to end, once it was told to, before it says so."""


class Exit(IntEnum):
    """Exit codes."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    INPUT = 3
    CREDENTIALS = 4
    REFUSED = 5
    TRY_LATER = 6
    UNVERIFIED = 7
    WAIT_FAILED = 8
    TIMED_OUT = 9
    WRONG_RECEIPT = 10
    NOT_CONFIRMED = 11
    INTERRUPTED = 128 + signal.SIGINT
    PIPE_CLOSED = 128 + signal.SIGPIPE
    TERMINATED = 128 + signal.SIGTERM


class Failed(WxBankError):
    """A command cannot be run here; the message says why."""


class NotConfirmed(WxBankError):
    """What cannot be undone was not agreed to, or nobody could be asked; nothing was sent."""


class TimedOut(WaitFailed):
    """The tasks were not finished in time."""


class PipeClosed(Exception):
    """Nobody reads what is printed any more."""


_CODES: tuple[tuple[type[BaseException], Exit], ...] = (
    # First, since an Unauthorized is a Refused, too, and it is the connection that has to be corrected.
    (InvalidCredentials, Exit.CREDENTIALS),
    (AirflowNotFoundException, Exit.CREDENTIALS),
    # As is a WrongReceipt an InvalidInput.
    (WrongReceipt, Exit.WRONG_RECEIPT),
    (InvalidInput, Exit.INPUT),
    (Refused, Exit.REFUSED),
    (TryLater, Exit.TRY_LATER),
    (UnverifiedAnswer, Exit.UNVERIFIED),
    (TimedOut, Exit.TIMED_OUT),
    (WaitFailed, Exit.WAIT_FAILED),
    (NotConfirmed, Exit.NOT_CONFIRMED),
)

_HINTS = {
    Exit.UNEXPECTED: worded("-v shows where it happened"),
    Exit.CREDENTIALS: worded("the command check tells which part of the connection is wrong"),
    Exit.TRY_LATER: worded("nothing has to be changed: run the same command again later"),
    Exit.UNVERIFIED: worded("the command check tells whether the platform keys are right"),
    Exit.TIMED_OUT: worded("the same command again goes on waiting"),
}

_HINTS_OF_UPLOAD = {
    **_HINTS,
    Exit.TRY_LATER: worded(
        "the same command again, with the same list, goes on where this one ended; no file is uploaded twice"
    ),
}


def exit_code(failure: BaseException) -> Exit:
    """The exit code of an error."""
    return next((code for kind, code in _CODES if isinstance(failure, kind)), Exit.UNEXPECTED)


def kind_of(failure: BaseException) -> str:
    """A word for programs for what went wrong. It tells apart what has the exit code of a wrong receipt."""
    return failure.kind if isinstance(failure, WrongReceipt) else exit_code(failure).name.lower()


def command(function: Callable[[argparse.Namespace], int | None]) -> Callable[[argparse.Namespace], None]:
    """Make a function a command. It takes the parsed arguments, and its exit code is in SystemExit unless it is 0."""

    @wraps(function)
    def run(args: argparse.Namespace) -> None:
        verbose, named = getattr(args, "verbose", False), Named.of(function.__name__, args)
        with _log_to_stderr(verbose, named), _connections_of_airflow(), _ends_on_signals() as received:
            try:
                code = function(args) or Exit.OK
            except PipeClosed:
                # Python flushes stdout at its end, and would complain about the closed pipe again.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                code = Exit.PIPE_CLOSED
            except KeyboardInterrupt:
                code = 128 + (received[0] if received else signal.SIGINT)
            except Exception as failure:
                code = exit_code(failure)
                hints = _HINTS_OF_UPLOAD if function.__name__ == "upload" else _HINTS
                _tell(failure, hints.get(code), named, verbose=verbose)
        if code:
            sys.exit(int(code))

    return run


def _tell(failure: Exception, hint: str | None, named: Named, *, verbose: bool) -> None:
    """Print an error in one line, and what helps. Of an error that is not ours, only the first line is printed."""
    if verbose:
        say("".join(traceback.format_exception(failure)).rstrip())
    text = str(failure)
    if not isinstance(failure, WxBankError):
        text = f"{type(failure).__name__}: {next(iter(text.splitlines()), '')[:500]}"
    else:
        text = named.in_text(text)
    notes = "".join(f" ({note})" for note in getattr(failure, "__notes__", ()))
    say(worded("error: {text}", text=printable(text + notes)))
    if hint and not isinstance(failure, Failed):
        say(worded("hint: {text}", text=hint))


def printable(text: str) -> str:
    """A text in one line that does nothing to a terminal: names of files, runs and users may hold any character."""
    return "".join(one if one.isprintable() else " " for one in text)


def say(text: str) -> None:
    """Print something that is not the result: on stderr, without the secrets that Airflow knows."""
    sys.stderr.write(f"{redact(text)}\n")


class _StderrHandler(logging.Handler):
    """Writes to whatever stderr is at the moment: a progress bar replaces it to stay below the log."""

    def __init__(self, level: int, named: Named) -> None:
        super().__init__(level)
        self._named = named

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        # What others log may have such a name for something else.
        say(self._named.in_text(text) if record.name.startswith("airflow_provider_wxbank.") else text)


@contextmanager
def _log_to_stderr(verbose: bool, named: Named) -> Iterator[None]:
    """Send warnings to stderr, and with ``verbose`` the whole log. stdout is for results."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    handler = _StderrHandler(logging.INFO if verbose else logging.WARNING, named)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    root.handlers[:] = [handler]
    root.setLevel(handler.level)
    try:
        with warnings.catch_warnings(), _structlog_through_logging():
            if not verbose:
                warnings.simplefilter("ignore")
            yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


@contextmanager
def _structlog_through_logging() -> Iterator[None]:
    """Send structlog's messages to the handler above: Airflow 3 logs with it, straight to stdout."""
    if not HAS_STRUCTLOG:
        yield
        return
    import structlog
    from structlog import stdlib

    before = structlog.get_config()
    structlog.configure(
        [stdlib.filter_by_level, stdlib.PositionalArgumentsFormatter(), stdlib.render_to_log_kwargs],
        wrapper_class=stdlib.BoundLogger,
        logger_factory=stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def _connections_of_airflow() -> Iterator[None]:
    """Let hooks find connections in Airflow's database, too, as ``airflow connections test`` does on Airflow 3."""
    name = "_AIRFLOW_PROCESS_CONTEXT"
    before = os.environ.get(name)
    os.environ.setdefault(name, "server")
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


@contextmanager
def _ends_on_signals() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM end the command in order: what is under way is finished. A second signal ends it at once.

    Both are safe: the next run adopts what was uploaded.

    :return: the signals that came.
    """
    received: list[int] = []
    patience = Timer(
        PATIENCE, say, [worded("Finishing what is under way; Ctrl-C again ends it at once, which is safe")]
    )

    def end(number: int, frame: FrameType | None) -> None:
        if received:
            os._exit(128 + number)
        received.append(number)
        patience.start()
        raise KeyboardInterrupt

    # Python takes signal handlers in its main thread only.
    if current_thread() is not main_thread():
        yield received
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        patience.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
