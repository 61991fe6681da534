# SPDX-License-Identifier: Apache-2.0
"""Many deferred waits in one process, each for a package of its own; prints the seconds of CPU
that they took, and their polls, as JSON.

Usage: python -m tests.benchmarks.triggers WAITS SECONDS, with the connection wxbank_default in the environment
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import requests

from airflow_provider_wxbank import triggers
from airflow_provider_wxbank.packages import shared

FIRST_PACKAGE = 10_000_000
POLL_SECONDS = 60.0


async def measure(waits: int, seconds: float) -> tuple[float, float, int]:
    """Seconds of CPU until so many waits have begun, seconds of CPU in some seconds after that, and their polls."""

    async def follow(package: int) -> None:
        async for event in triggers.TaskFinishedTrigger(str(package), poll_interval=POLL_SECONDS).run():
            raise RuntimeError(f"it ended: {event}")

    begin = time.process_time()
    tasks = [asyncio.create_task(follow(FIRST_PACKAGE + index)) for index in range(waits)]
    # The connection, and each package.
    while len(shared._IN_USE) < 1 + waits:  # noqa: ASYNC110  # nobody tells of it
        await asyncio.sleep(0.05)
    started = time.process_time() - begin
    polls = lists()
    begin = time.process_time()
    await asyncio.sleep(seconds)
    taken = time.process_time() - begin
    polls = lists() - polls
    for task in tasks:
        if task.done():
            task.result()
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return started, taken, polls


def lists() -> int:
    """Lists that the simulator has been asked for."""
    host = json.loads(os.environ["AIRFLOW_CONN_WXBANK_DEFAULT"])["host"]
    count: int = requests.get(f"{host}/simulator/report", timeout=60).json()["requests"]["list"]
    return count


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(int(sys.argv[1]), float(sys.argv[2])))))
