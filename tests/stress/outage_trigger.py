# SPDX-License-Identifier: Apache-2.0
"""A trigger of somebody else, which needs a thread each second, as many triggers do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent


class ThreadTrigger(BaseTrigger):
    """Writes a line each second: the time, and how long it waited for a thread; until there is a file ``stop``."""

    def __init__(self, folder: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's own has no types
        self.folder = folder

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return f"{__name__}.ThreadTrigger", {"folder": self.folder}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for threads, again and again."""
        folder = Path(self.folder)
        while not (folder / "stop").exists():
            begin = time.time()
            await asyncio.to_thread(time.sleep, 0.0)
            with (folder / "pauses").open("a") as file:
                file.write(f"{begin} {time.time() - begin}\n")
            await asyncio.sleep(1)
        yield TriggerEvent("done")


class ThreadOperator(BaseOperator):
    """Defers to :class:`ThreadTrigger`."""

    def __init__(self, folder: str, **options: Any) -> None:
        super().__init__(**options)
        self.folder = folder

    def execute(self, context: Any) -> None:  # Airflow gives it
        """Defer."""
        self.defer(trigger=ThreadTrigger(self.folder), method_name="done", timeout=timedelta(hours=2))

    def done(self, context: Any, event: Any = None) -> None:
        """Nothing is left to do."""
