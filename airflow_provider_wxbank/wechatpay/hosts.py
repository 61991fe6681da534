# SPDX-License-Identifier: Apache-2.0
"""Which host is asked first: the main one, or for a while the backup."""

from __future__ import annotations

import time
from collections.abc import Callable

BACKUP_SECONDS = 60.0
"""Seconds for which the backup is asked first once the main host did not answer in time."""


class Hosts:
    """The hosts of a connection, one or two.

    :param clock: seconds that only grow.
    """

    def __init__(self, base_url: str, backup_url: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._base_url = base_url
        self._backup_url = backup_url
        self._clock = clock
        # Shared by threads without a lock: at worst, a call asks the hosts in the other order.
        self._prefer_backup_until = 0.0

    def in_order(self) -> list[str]:
        """Their base URLs; the first is to be asked first."""
        if self._backup_url is None:
            return [self._base_url]
        hosts = [self._base_url, self._backup_url]
        return hosts[::-1] if self._clock() < self._prefer_backup_until else hosts

    def prefer_other_than(self, base_url: str) -> None:
        """Ask the other host first from now on."""
        # A timeout of the backup ends the preference at once, since the main host is the normal one.
        to_backup = base_url != self._backup_url
        self._prefer_backup_until = self._clock() + BACKUP_SECONDS if to_backup else 0.0
