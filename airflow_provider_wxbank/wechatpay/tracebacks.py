# SPDX-License-Identifier: Apache-2.0
"""A failure carries the local variables of every function that it passed through, customers' numbers among them.

Airflow and similar tools can print these variables beside a traceback (Airflow does with ``DEV=1``). So they are
cleared where a failure leaves this package. The traceback itself stays.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from inspect import iscoroutinefunction
from types import FrameType, TracebackType
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

# What every exception has, whatever its class says: one may let nobody set anything, or have something else by these
# names that raises. Forgetting must never fail, since whatever is raised then would take the place of the failure.
TRACEBACK: Any = BaseException.__dict__["__traceback__"]
CAUSE: Any = BaseException.__dict__["__cause__"]
CONTEXT: Any = BaseException.__dict__["__context__"]
SUPPRESSED: Any = BaseException.__dict__["__suppress_context__"]
ARGUMENTS: Any = BaseException.__dict__["args"]
IN_GROUP: Any = BaseExceptionGroup.__dict__["exceptions"]


def forgets_locals(function: Callable[P, R]) -> Callable[P, R]:
    """Let failures of a function or coroutine show neither its arguments nor the local variables of what it called."""
    # Both wrappers catch BaseException: Ctrl-C and Airflow's task timeout carry the same frames.
    if iscoroutinefunction(function):

        @wraps(function)
        async def arun(*args: Any, **kwargs: Any) -> Any:
            callers_own = handled_now()
            try:
                return await function(*args, **kwargs)
            except BaseException as failure:
                forget_locals(failure, callers_own)
                raise
            finally:
                del args, kwargs, callers_own

        return cast("Callable[P, R]", arun)

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        callers_own = handled_now()
        try:
            return function(*args, **kwargs)
        except BaseException as failure:
            forget_locals(failure, callers_own)
            raise
        finally:
            # This frame is in the traceback, too, and cannot be cleared while it runs.
            del args, kwargs, callers_own

    return run


Handled = dict[int, tuple[BaseException, TracebackType | None]]
"""Failures by their ids, each with the traceback that it had then."""


def handled_now() -> Handled:
    """What is being handled, and all that led to it: it is the caller's own, and is left as it is now."""
    return {id(one): (one, TRACEBACK.__get__(one)) for one in _led_to(sys.exception())}


def forget_locals(failure: BaseException, callers_own: Handled) -> None:
    """Clear the local variables in the tracebacks of a failure and of all failures that led to it.

    :param callers_own: what the caller was handling when it called us. What this has met since then is not its own.
    """
    for one in _led_to(failure):
        _, callers = callers_own.get(id(one), (None, None))
        trace = TRACEBACK.__get__(one)
        # Whoever raises it again puts its own frames before those it had.
        while trace is not None and trace is not callers:
            if _has_ended(trace.tb_frame):
                trace.tb_frame.clear()
            trace = trace.tb_next
        if SUPPRESSED.__get__(one) and id(one) not in callers_own:
            # What was raised "from None" is not shown, but would be kept, with a text of others that may quote a row.
            CONTEXT.__set__(one, None)


def forget_frames(failure: BaseException, callers_own: Handled) -> None:
    """Break the circles of what a library has raised: its frames, and what they hold, hold the failures they have met.

    Only the collector could free them, in an outage for thousands of calls a minute, and it holds an event loop
    meanwhile.

    :param callers_own: what a caller was handling when the library was called. It keeps the traceback it had then.
    """
    for one in _led_to(failure):
        _, callers = callers_own.get(id(one), (None, None))
        TRACEBACK.__set__(one, callers)


def _led_to(failure: BaseException | None) -> Iterator[BaseException]:
    """A failure and all that led to it, each once: causes and contexts may form a circle."""
    waiting = [failure]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [CAUSE.__get__(one), CONTEXT.__get__(one)]
        # It holds its failures apart from its cause and context. Others may have something else by that name.
        if issubclass(type(one), BaseExceptionGroup):
            waiting += IN_GROUP.__get__(one)


def _has_ended(frame: FrameType) -> bool:
    """Whether nothing will go on in a frame.

    A coroutine or generator that has caught the failure and gone on waits somewhere; until Python 3.13 it would end if
    its frame were cleared. Python does not tell, but a frame has its code and variables itself only once it has ended.
    """
    return any(held is frame.f_code for held in gc.get_referents(frame))
