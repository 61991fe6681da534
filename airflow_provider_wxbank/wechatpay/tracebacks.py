# SPDX-License-Identifier: Apache-2.0
"""A failure carries the local variables of every function that it passed through, customers' numbers among them.

Airflow and similar tools can print these variables beside a traceback (Airflow does with ``DEV=1``). So they are
cleared where a failure leaves this package. The traceback itself stays.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, iscoroutinefunction
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

_PACKAGE = __name__.partition(".")[0]


def forgets_locals(function: Callable[P, R]) -> Callable[P, R]:
    """Let failures of a function or coroutine show neither its arguments nor the local variables of what it called."""
    # Both wrappers catch BaseException: Ctrl-C and Airflow's task timeout carry the same frames.
    if iscoroutinefunction(function):

        @wraps(function)
        async def arun(*args: Any, **kwargs: Any) -> Any:
            try:
                return await function(*args, **kwargs)
            except BaseException as failure:
                forget_locals(failure)
                raise
            finally:
                del args, kwargs

        return cast("Callable[P, R]", arun)

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BaseException as failure:
            forget_locals(failure)
            raise
        finally:
            # This frame is in the traceback, too, and cannot be cleared while it runs.
            del args, kwargs

    return run


def forget_locals(failure: BaseException) -> None:
    """Clear the local variables in the tracebacks of a failure and of all failures that led to it."""
    waiting: list[BaseException | None] = [failure]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        # Causes and contexts may form a circle.
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        _clear(one.__traceback__)
        # An ExceptionGroup holds its failures apart from its cause and context.
        if one.__suppress_context__:
            # What was raised "from None" is not shown, but would be kept, with a text of others that may quote a row.
            one.__context__ = None
        waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]


def _clear(trace: TracebackType | None) -> None:
    is_own = False
    while trace is not None:
        frame = trace.tb_frame
        is_own = is_own or frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE
        # Above our own frames may be a coroutine of somebody else, which has caught this failure and gone on. It would
        # end if its frame were cleared.
        if is_own or not frame.f_code.co_flags & (CO_COROUTINE | CO_ASYNC_GENERATOR):
            # Functions that still run keep their variables: those that called this package.
            with suppress(RuntimeError):
                frame.clear()
        trace = trace.tb_next
