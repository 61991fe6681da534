"""What a failure carries along: the values of every function that it passed through, customers' numbers among them.

Airflow, and tools like it, can print these local variables beside a traceback (``DEV=1``, for one). So they are
forgotten where a failure leaves this package; the traceback itself stays.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


def forgets_locals(function: Callable[P, R]) -> Callable[P, R]:
    """Let no failure of a function, or coroutine, tell the local variables of what it called, nor its arguments."""
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
            # This function is in the traceback, too.
            del args, kwargs

    return run


def forget_locals(failure: BaseException) -> None:
    """Clear the local variables in the tracebacks of a failure and of those that led to it."""
    waiting: list[BaseException | None] = [failure]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        # Functions that still run keep theirs: those that called this package.
        traceback.clear_frames(one.__traceback__)
        waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
