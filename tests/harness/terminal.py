# SPDX-License-Identifier: Apache-2.0
"""Tools in a terminal: what they tell, and how they end."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

STOPPED = 130


def say(text: str) -> None:
    """Tell what is being done."""
    print(f"==> {text}", flush=True)


def end_with(main: Callable[..., int], *arguments: object) -> NoReturn:
    """Run a tool and end with its exit code; SIGTERM ends it in order as Ctrl-C does, with exit code 130."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        sys.exit(main(*arguments))
    except KeyboardInterrupt:
        # Who stopped it may have closed the terminal.
        with contextlib.suppress(OSError):
            print("\nStopped; nothing keeps running.")
        sys.exit(STOPPED)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
