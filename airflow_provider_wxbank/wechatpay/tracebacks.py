# SPDX-License-Identifier: Apache-2.0
"""A failure carries the local variables of every function that it passed through, customers' numbers among them.

Airflow and similar tools can print these variables beside a traceback (Airflow does with ``DEV=1``). So they are
cleared where a failure leaves this package. The traceback itself stays.
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
        # Functions that still run keep their variables: those that called this package.
        traceback.clear_frames(one.__traceback__)
        # An ExceptionGroup holds its failures apart from its cause and context.
        waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
