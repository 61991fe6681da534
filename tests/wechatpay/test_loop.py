# SPDX-License-Identifier: Apache-2.0
"""Calls in an event loop: nobody else in it waits for them, and what is given up is gone."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
import traceback
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, cast

import pytest

from airflow_provider_wxbank.packages.endpoints import acreate_task, alist_tasks, alist_tasks_page, tasks_path
from airflow_provider_wxbank.simulator import Fault, Simulator
from airflow_provider_wxbank.wechatpay.calls import Call
from airflow_provider_wxbank.wechatpay.errors import NotReached, OutcomeUnknown, TryLater
from airflow_provider_wxbank.wechatpay.loop import AsyncClient
from airflow_provider_wxbank.wechatpay.sockets import _POOLS, MAX_SOCKETS, MAX_SOCKETS_A_HOST, Pool, sockets
from airflow_provider_wxbank.wechatpay.threads import off_loop
from airflow_provider_wxbank.wechatpay.tracebacks import forgets_locals
from tests.conftest import PACKAGE, NewClient, NewSimulator
from tests.harness.connections import settings_of
from tests.harness.files import agreement_file
from tests.harness.waiting import auntil, until

CALL = Call("GET", tasks_path(PACKAGE))


class Nobody(ThreadPoolExecutor):
    """The executor of a loop that nobody may use: it is everybody's."""

    def submit(self, *arguments: Any, **options: Any) -> Any:
        raise AssertionError(f"a thread that all share was asked for: {arguments}")


def run_alone(flow: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run in a loop without threads that all share; nothing is left open."""

    async def alone() -> Any:
        asyncio.get_running_loop().set_default_executor(Nobody())
        result = await flow()
        assert _POOLS == {}
        return result

    return asyncio.run(alone())


@contextmanager
def hanging_server() -> Iterator[tuple[str, set[socket.socket], Callable[[], int]]]:
    """Takes connections and requests, and never answers; its URL, the open connections, and how many there were."""
    open_now: set[socket.socket] = set()
    times = 0

    def hold(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while connection.recv(65_536):
                pass
        open_now.discard(connection)

    def serve() -> None:
        nonlocal times
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                times += 1
                open_now.add(connection)
                threads.append(threading.Thread(target=hold, args=(connection,)))
                threads[-1].start()

    threads = [threading.Thread(target=serve)]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        threads[0].start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", open_now, lambda: times
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def test_calls_use_no_thread_that_others_need(simulator: Simulator, new_client: NewClient) -> None:
    """The look-up of a name, keys, and a whole upload included."""
    settings = settings_of(simulator, host=simulator.airflow_connection()["host"].replace("127.0.0.1", "localhost"))
    file = agreement_file(new_client(simulator), 0)

    async def flow() -> list[str]:
        client = AsyncClient(settings)
        await acreate_task(client, PACKAGE, *file)
        return [task.filename async for task in alist_tasks(client, PACKAGE)]

    assert run_alone(flow) == [file[2]]


@pytest.mark.parametrize("fault", ["drop", "hang", "internal-error", "too-many-requests"])
def test_an_upload_that_fails_in_a_loop_is_of_unknown_outcome_as_ever(
    simulator: Simulator, new_client: NewClient, fault: str
) -> None:
    file = agreement_file(new_client(simulator), 0)
    simulator.add_fault(Fault(fault, on="upload", seconds=5.0))

    async def flow() -> None:
        await acreate_task(AsyncClient(settings_of(simulator, read_timeout=1.0), max_attempts=1), PACKAGE, *file)

    with pytest.raises(TryLater if fault == "too-many-requests" else OutcomeUnknown):
        run_alone(flow)


def test_a_call_that_is_given_up_is_gone(simulator: Simulator) -> None:
    with hanging_server() as (url, connections, _):

        async def flow() -> None:
            client = AsyncClient(settings_of(simulator, host=url, read_timeout=600))
            async with sockets():
                call = asyncio.create_task(client.asend(CALL))
                await auntil(lambda: bool(connections))
                call.cancel()
                # It would take ten minutes, if it waited for the answer.
                with pytest.raises(asyncio.CancelledError):
                    await call

        run_alone(flow)
        until(lambda: not connections)


def test_a_host_that_hangs_has_few_sockets_and_leaves_some_for_others(simulator: Simulator) -> None:
    assert MAX_SOCKETS_A_HOST < MAX_SOCKETS
    with hanging_server() as (url, connections, times):

        async def flow() -> None:
            hanging = AsyncClient(settings_of(simulator, host=url, read_timeout=600))
            calls = [asyncio.create_task(hanging.asend(CALL)) for _ in range(200)]
            await auntil(lambda: times() >= MAX_SOCKETS_A_HOST)
            # While all of these wait, somebody else's call goes through.
            page = await alist_tasks_page(AsyncClient(settings_of(simulator)), PACKAGE)
            assert page.total_count == 0
            assert len(connections) == times() == MAX_SOCKETS_A_HOST
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

        run_alone(flow)


def test_calls_that_are_cancelled_leave_their_room_to_others(simulator: Simulator) -> None:
    with hanging_server() as (one, _, ones), hanging_server() as (other, _, others):

        async def flow() -> None:
            clients = [AsyncClient(settings_of(simulator, host=url, read_timeout=600)) for url in (one, other)]
            sent = 0

            def all_arrived() -> bool:
                return ones() + others() >= sent

            async with sockets():
                for used, room in ((clients, MAX_SOCKETS), *(([client], MAX_SOCKETS_A_HOST) for client in clients)):
                    calls = [asyncio.create_task(client.asend(CALL)) for client in used for _ in range(MAX_SOCKETS)]
                    sent += room
                    await auntil(all_arrived)
                    # Those under way, those that wait for room at all, and those that wait for room at their host.
                    for call in calls:
                        call.cancel()
                    await asyncio.gather(*calls, return_exceptions=True)

        run_alone(flow)


def test_calls_use_the_socket_of_the_call_before(simulator: Simulator) -> None:
    async def flow() -> int:
        client = AsyncClient(settings_of(simulator))
        async with sockets():
            for _ in range(5):
                await client.asend(CALL)
            return len(simulator.app.wire.transports)

    assert run_alone(flow) == 1


def test_many_tasks_download_certificates_once(simulator: Simulator) -> None:
    async def flow() -> set[str]:
        client = AsyncClient(settings_of(simulator))
        calls = [client.asend(CALL) for _ in range(15)] + [client.encryption_key() for _ in range(15)]
        await asyncio.gather(*calls)
        return {key.serial_no for key in client.keys.known()}

    assert len(run_alone(flow)) == 1
    assert simulator.report()["requests"]["certificates"] == 1


def test_whoever_waits_for_a_download_that_is_given_up_makes_it_itself(simulator: Simulator) -> None:
    simulator.add_fault(Fault("hang", on="certificates", times=1, seconds=5.0))

    async def flow() -> str:
        client = AsyncClient(settings_of(simulator))
        first = asyncio.create_task(client.encryption_key())
        await auntil(lambda: bool(simulator.report()["requests"].get("certificates")))
        second = asyncio.create_task(client.encryption_key())
        await asyncio.sleep(0)
        first.cancel()
        # Without the pause that follows a download that failed.
        return (await second).serial_no

    assert run_alone(flow)
    assert simulator.report()["requests"]["certificates"] == 2


def test_a_poll_is_tried_once_and_a_long_list_until_it_is_read(simulator: Simulator) -> None:
    async def flow(*, is_patient: bool) -> int:
        client = AsyncClient(settings_of(simulator), max_attempts=1, random=lambda: 0.0)
        await client.encryption_key()
        simulator.add_fault(Fault("internal-error", on="list", times=1))
        page = await alist_tasks_page(client.patient if is_patient else client, PACKAGE)
        return page.total_count

    with pytest.raises(TryLater):
        run_alone(lambda: flow(is_patient=False))
    assert simulator.report()["requests"]["list"] == 1
    assert run_alone(lambda: flow(is_patient=True)) == 0


def test_after_a_host_that_cannot_be_reached_the_next_poll_asks_the_other(new_simulator: NewSimulator) -> None:
    """Each poll is tried once, so the change of the host is left to the next one."""
    simulator = new_simulator()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"

        async def flow() -> int:
            settings = settings_of(simulator, host=nobody, backup_host=simulator.airflow_connection()["host"])
            client = AsyncClient(settings, max_attempts=1)
            with pytest.raises(NotReached):
                await client.encryption_key()
            return (await alist_tasks_page(AsyncClient(settings), PACKAGE)).total_count

        assert run_alone(flow) == 0


# What one call meets is no matter of another


def test_who_shares_a_failure_goes_on_when_another_meets_it(simulator: Simulator) -> None:
    """A failure's traceback has the frames of all who met it; clearing those of others would end their coroutines."""
    simulator.add_fault(Fault("internal-error", on="certificates"))

    async def flow() -> list[int]:
        client = AsyncClient(settings_of(simulator), max_attempts=1)

        @forgets_locals
        async def key() -> None:
            await client.encryption_key()

        async def one(index: int) -> int:
            met: list[TryLater] = []
            try:
                await key()
            except TryLater as failure:
                met.append(failure)
            has_failed[index].set()
            if index < 4:
                await has_failed[index + 1].wait()
            frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(met[0].__traceback__)]
            assert frames.count("one") == 1
            return index

        has_failed = [asyncio.Event() for _ in range(5)]
        return await asyncio.wait_for(asyncio.gather(*map(one, range(5))), 30)

    assert run_alone(flow) == list(range(5))


def test_a_coroutine_that_has_caught_a_failure_is_not_ended_with_it() -> None:
    """Two callers may await one task, and are given the same failure by asyncio itself."""

    async def failing() -> None:
        raise TryLater("x")

    @forgets_locals
    async def call() -> None:
        raise TryLater("y")

    async def flow() -> str:
        task = asyncio.ensure_future(failing())
        has_caught, may_go_on = asyncio.Event(), asyncio.Event()

        async def first() -> str:
            with suppress(TryLater):
                await task
            has_caught.set()
            await may_go_on.wait()
            return "it went on"

        running = asyncio.create_task(first())
        await has_caught.wait()
        try:
            await task
        except TryLater:
            with pytest.raises(TryLater, match="y"):
                await call()
        may_go_on.set()
        return await running

    assert run_alone(flow) == "it went on"


def of_a_row() -> None:
    raise KeyError("row 7")


def in_a_circle() -> None:
    """What is raised here is the cause of the failure that it came of."""
    try:
        try:
            of_a_row()
        except KeyError as failure:
            raise RuntimeError("wrapped") from failure
    except RuntimeError as failure:
        raise cast("KeyError", failure.__cause__)  # noqa: B904  # raised as it is


@pytest.mark.parametrize("own", [of_a_row, in_a_circle])
@pytest.mark.parametrize("fault", ["redirect", "drop", "internal-error", "hang"])
def test_what_a_caller_handles_meanwhile_is_its_own(simulator: Simulator, own: Callable[[], None], fault: str) -> None:
    simulator.add_fault(Fault(fault, on="list", seconds=1.0))

    async def flow() -> list[str]:
        client = AsyncClient(settings_of(simulator, read_timeout=0.5), max_attempts=1)
        try:
            try:
                own()
            except KeyError:
                with pytest.raises(TryLater):
                    await client.asend(CALL)
                raise
        except KeyError as failure:
            return [frame.f_code.co_name for frame, _ in traceback.walk_tb(failure.__traceback__)]
        return []

    names = run_alone(flow)
    assert names[0] == "flow"
    assert names[-1] == "of_a_row"


@contextmanager
def proxy(answer: bytes) -> Iterator[str]:
    """A proxy that answers every CONNECT so; its host and port."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.recv(65_536)
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        *((f"HTTP/1.1 {status} Auth\r\nContent-Length: 0\r\n\r\n".encode(), f"answered {status}") for status in (
            101, 204, 302, 403, 407, 502,
        )),
        (b"", "the proxy did not connect"),
        (b"SSH-2.0-OpenSSH\r\n", "the proxy did not connect"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", "the proxy did not connect"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "TLS|did not connect"),
    ],
    ids=str,
)  # fmt: skip
def test_no_error_tells_the_password_of_a_proxy(simulator: Simulator, answer: bytes, told: str) -> None:
    async def flow(place: str) -> str:
        settings = settings_of(simulator, host="https://pay.example", proxies=f"http://user:geheim%4077@{place}")
        with pytest.raises(NotReached) as raised:
            await AsyncClient(settings, max_attempts=1).asend(CALL)
        return "".join(traceback.format_exception(raised.value))

    with proxy(answer) as place:
        shown = run_alone(lambda: flow(place))
    assert "geheim" not in shown
    assert re.search(told, shown), shown


@pytest.mark.parametrize("extra", ["an answer", "half an answer", "no HTTP"])
def test_what_comes_when_nothing_was_asked_answers_no_question(simulator: Simulator, extra: str) -> None:
    unasked = {
        "an answer": b"HTTP/1.1 299 Unasked\r\nContent-Length: 2\r\n\r\n{}",
        "half an answer": b"HTTP/1.1 299 Unasked\r\nContent-Le",
        "no HTTP": b"hello\r\n",
    }[extra]

    async def flow() -> int:
        client = AsyncClient(settings_of(simulator))
        async with sockets() as pool:
            await client.asend(CALL)
            (before,) = list(simulator.app.wire.transports.values())
            # The transport belongs to another thread, but its socket does not.
            os.write(before.get_extra_info("socket").fileno(), unasked)
            await auntil(lambda: not any(one.is_connected() for one, _ in kept(pool)))
            return (await alist_tasks_page(client, PACKAGE)).total_count

    def kept(pool: Pool) -> list[Any]:
        connector = pool.session.connector
        assert connector is not None
        return [one for places in connector._conns.values() for one in places]

    assert run_alone(flow) == 0


def test_names_that_cannot_be_looked_up_keep_nobody_from_reading_files(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()

    def look_up(*_: Any) -> Any:
        assert may_end.wait(60)
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    async def flow() -> str:
        calls = [
            asyncio.create_task(AsyncClient(settings_of(simulator, host=f"https://pay{index}.example")).asend(CALL))
            for index in range(8)
        ]
        await asyncio.sleep(0)
        try:
            return await asyncio.wait_for(off_loop("files", lambda: "read"), 30)
        finally:
            may_end.set()
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    assert run_alone(flow) == "read"


@pytest.mark.parametrize("more", [0, 1])
def test_all_hosts_together_have_few_sockets(simulator: Simulator, more: int) -> None:
    with hanging_server() as (one, _, ones), hanging_server() as (other, _, others):

        async def flow() -> None:
            calls = [
                asyncio.create_task(AsyncClient(settings_of(simulator, host=url, read_timeout=600)).asend(CALL))
                for _ in range(MAX_SOCKETS // 2 + more)
                for url in (one, other)
            ]
            await auntil(lambda: ones() + others() >= MAX_SOCKETS)
            # Whoever waits for a socket would have had one by now.
            for _ in range(50):
                await asyncio.sleep(0.001)
            assert ones() + others() == MAX_SOCKETS
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

        run_alone(flow)
