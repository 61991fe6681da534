# SPDX-License-Identifier: Apache-2.0
"""What the triggers of others feel of many deferred waits while WeChat Pay fails; prints JSON.

For each kind of failure a thousand waits of a thousand packages, over one connection and over fifty, run in one event
loop with a trigger of somebody else, which asks for a thread ten times a second.

Usage: python -m tests.benchmarks.outages
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from itertools import chain

from airflow.providers.common.compat.connection import get_async_connection
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_wxbank.packages import shared
from airflow_provider_wxbank.simulator import SimulatorSettings, serve
from airflow_provider_wxbank.triggers import TaskFinishedTrigger
from airflow_provider_wxbank.wechatpay import sockets
from airflow_provider_wxbank.wechatpay.settings import read_settings

WAITS = 1000
CONNECTIONS = (1, 50)
ROUNDS = 2
POLL_SECONDS = 60.0
FIRST_PACKAGE = 10_000_000
LATE_SECONDS = 5.0
KINDS = {"hangs": 40.0, "is late": 25.0, "refuses": 20.0, "says 429": 20.0}
"""Seconds of each: all waits have polled, and those that are to time out have done so."""


@dataclass(slots=True)
class Felt:
    """What others felt.

    :ivar thread: the longest that a thread of the loop's executor was waited for, in seconds.
    :ivar alone: the same in a process without waits meanwhile: that is what the machine does.
    :ivar held: the longest that the loop itself was held, had the machine been as fast as it can be.
    :ivar held_now: the same as it was: another guest of the machine can take half of its speed.
    :ivar cancelled: seconds until all waits were gone.
    :ivar sockets: the most that were open at once.
    :ivar asked: how many polls arrived.
    """

    thread: float = 0.0
    alone: float = 0.0
    held: float = 0.0
    held_now: float = 0.0
    cancelled: float = 0.0
    sockets: int = 0
    asked: int = 0


async def fail(kind: str) -> None:
    """Serve on a port of this machine, which is printed, and fail so. When standard input ends, print what came."""
    open_now = most = asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most, asked
        open_now += 1
        most = max(most, open_now)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                asked += 1
                if kind in ("hangs", "is late"):
                    # Until the other side gives up.
                    with suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(), 3600 if kind == "hangs" else LATE_SECONDS)
                        return
                status = b"429 Too Many Requests" if kind == "says 429" else b"503 Service Unavailable"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            open_now -= 1
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    if kind == "refuses":
        server.close()
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps([most, asked]), flush=True)


@contextmanager
def failing(kind: str, felt: Felt) -> Iterator[int]:
    """A port of this machine that fails so, in a process of its own."""
    command = [sys.executable, "-m", __spec__.name, "--fail", kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
            process.stdin.close()
            felt.sockets, felt.asked = json.loads(process.stdout.readline())
        finally:
            process.kill()


async def neighbour(felt: Felt) -> None:
    """A trigger of somebody else, which uses a thread."""
    while True:
        begin = time.perf_counter()
        await asyncio.to_thread(time.sleep, 0.0)
        felt.thread = max(felt.thread, time.perf_counter() - begin)
        await asyncio.sleep(0.1)


async def feel_alone() -> None:
    """Print what the neighbour feels without any waits, until standard input ends."""
    felt = Felt()
    other = asyncio.create_task(neighbour(felt))
    # In the loop itself, since threads are what is measured.
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    other.cancel()
    print(felt.thread, flush=True)


@contextmanager
def beside(felt: Felt) -> Iterator[None]:
    """Feel what a process without waits feels."""
    command = [sys.executable, "-m", __spec__.name, "--alone"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield
            felt.alone = float(process.communicate()[0])
        finally:
            process.kill()


def work() -> float:
    """How long some fixed work takes just now, in seconds of processor time: the fastest of three turns."""

    def turn() -> float:
        begin = time.thread_time()
        sum(range(100_000))
        return time.thread_time() - begin

    return min(turn() for _ in range(3))


def fastest_work() -> float:
    """The same at the best of times within some ten seconds."""

    def after_a_pause() -> float:
        time.sleep(0.1)
        return work()

    return min(after_a_pause() for _ in range(100))


async def pulse(felt: Felt, fastest: float) -> None:
    """Notices for how long the loop does nothing else, as far as it works: others may stop the whole machine.

    :param fastest: see :func:`fastest_work`.
    """
    while True:
        begin = time.thread_time()
        await asyncio.sleep(0.005)
        held = time.thread_time() - begin
        felt.held_now = max(felt.held_now, held)
        if held > felt.held:
            # At once, since the speed changes from second to second.
            felt.held = max(felt.held, held * min(1.0, fastest / work()))


async def follow(index: int, connections: int) -> None:
    """A deferred wait."""
    trigger = TaskFinishedTrigger(
        str(FIRST_PACKAGE + index), ["1"], poll_interval=POLL_SECONDS, wxbank_conn_id=f"bank_{index % connections}"
    )
    async for event in trigger.run():
        raise RuntimeError(f"it ended: {event}")


async def measure(kind: str, connections: int, seconds: float, connect: Callable[[int], None], fastest: float) -> Felt:
    """What is felt in some seconds.

    :param fastest: see :func:`fastest_work`.
    """
    felt = Felt()
    # What Airflow loads for its first connection is not ours; a triggerer has loaded it before.
    with suppress(AirflowNotFoundException):
        await get_async_connection("nobody", hook=BaseHook())
    # The garbage that is collected is that of the waits, and not what Airflow has loaded.
    gc.collect()
    gc.freeze()
    with beside(felt), failing(kind, felt) as port:
        connect(port)
        others = [asyncio.create_task(neighbour(felt)), asyncio.create_task(pulse(felt, fastest))]
        waits: list[asyncio.Task[None]] = []
        for index in range(WAITS):
            waits.append(asyncio.create_task(follow(index, connections)))
            # As the triggerer does.
            await asyncio.sleep(0)
        await asyncio.sleep(seconds)
        for other in others:
            other.cancel()
        for wait in waits:
            if wait.done():
                wait.result()
            wait.cancel()
        begin = time.perf_counter()
        await asyncio.gather(*waits, return_exceptions=True)
        while shared._IN_USE or sockets._POOLS:  # noqa: ASYNC110  # nobody tells of it
            await asyncio.sleep(0.005)
        felt.cancelled = time.perf_counter() - begin
    return felt


def main() -> None:
    """Print what was felt, by kind."""
    logging.disable(logging.ERROR)
    with serve(SimulatorSettings(key_mode="public-key")) as simulator:
        connection = simulator.airflow_connection()
    # Once a process, a private key is checked: for some 50 ms in which Python lets no thread do anything else.
    read_settings(connection["login"], connection["password"], connection["host"], connection["extra"])

    fastest = fastest_work()

    def connect(port: int) -> None:
        for index in range(max(CONNECTIONS)):
            own = {**connection, "login": str(1900000000 + index), "host": f"http://127.0.0.1:{port}"}
            os.environ[f"AIRFLOW_CONN_BANK_{index}"] = json.dumps(own)

    def longest(felt: Sequence[Felt]) -> Felt:
        thread = max(felt, key=lambda one: one.thread - one.alone)
        worst = {what.name: max(getattr(one, what.name) for one in felt) for what in fields(Felt)}
        return Felt(**{**worst, "thread": thread.thread, "alone": thread.alone})

    def worst(kind: str) -> dict[str, float]:
        rounds = [
            [asyncio.run(measure(kind, connections, KINDS[kind], connect, fastest)) for connections in CONNECTIONS]
            for _ in range(ROUNDS)
        ]
        # What is ours comes each time, and a stall of the machine does not.
        least = [longest(felt) for felt in rounds]
        thread = min(least, key=lambda one: one.thread - one.alone)
        return {
            **asdict(longest([*chain.from_iterable(rounds)])),
            "thread": thread.thread,
            "alone": thread.alone,
            "held": min(one.held for one in least),
            "held_now": min(one.held_now for one in least),
        }

    print(json.dumps({kind: worst(kind) for kind in KINDS}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fail"]:
        asyncio.run(fail(sys.argv[2]))
    elif sys.argv[1:] == ["--alone"]:
        asyncio.run(feel_alone())
    else:
        main()
