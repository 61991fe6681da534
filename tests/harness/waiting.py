# SPDX-License-Identifier: Apache-2.0
"""Waiting for conditions. A machine may be slow and busy with other work: no wait is over because it is."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 600.0
"""Seconds that only a failure waits out, on any machine."""


def until(is_so_far: Callable[[], bool], seconds: float = PATIENCE, otherwise: str = "nothing happened") -> None:
    """Wait.

    :raises TimeoutError: the time is over.
    """
    deadline = time.monotonic() + seconds
    while not is_so_far():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{otherwise} after {seconds:g} s")
        time.sleep(0.05)
