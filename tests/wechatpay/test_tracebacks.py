# SPDX-License-Identifier: Apache-2.0
"""A failure leaves the package with its traceback, and without the values that its functions had."""

from __future__ import annotations

import asyncio
import signal
import threading
import traceback
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from airflow_provider_wxbank.packages.endpoints import create_task, list_tasks_page
from airflow_provider_wxbank.simulator import Fault, Simulator
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import OutcomeUnknown, WxBankError
from airflow_provider_wxbank.wechatpay.tracebacks import forgets_locals
from tests.conftest import PACKAGE
from tests.harness.connections import settings_of
from tests.harness.files import agreement_file
from tests.harness.garbage import left_to_the_collector
from tests.harness.waiting import PATIENCE, until

NUMBER = "202400000000000001"


def inner(number: str) -> None:
    held = [number]
    raise ValueError(f"row {len(held)}")


def chained(number: str) -> None:
    try:
        inner(number)
    except ValueError as failure:
        raise KeyError("again") from failure


def grouped(number: str) -> None:
    try:
        inner(number)
    except ValueError as failure:
        raise ExceptionGroup("several", [failure])  # noqa: B904  # its member is the cause


@pytest.mark.parametrize("function", [inner, chained, grouped])
def test_a_failure_holds_no_local_variables(function: Callable[[str], None]) -> None:
    with pytest.raises((ValueError, KeyError, ExceptionGroup)) as raised:
        forgets_locals(function)(NUMBER)
    told = "".join(traceback.TracebackException.from_exception(raised.value, capture_locals=True).format())
    here = told.count(f"NUMBER = {NUMBER!r}")
    assert told.count(NUMBER) == here
    assert f"in {function.__name__}" in told
    assert "held[0]" not in told


def failing(number: str) -> None:
    raise ValueError(number[:3])


@contextmanager
def keeping(failures: list[ValueError]) -> Iterator[None]:
    """Let whoever has this block go on when it fails; the failure has met its frame."""
    try:
        yield
    except ValueError as failure:
        failures.append(failure)


async def going_on(failures: list[ValueError], goes_on: asyncio.Event) -> str:
    """Has met a failure, and waits."""
    with keeping(failures):
        failing(NUMBER)
    await goes_on.wait()
    return "it went on"


async def yields(failures: list[ValueError], goes_on: asyncio.Event) -> str:
    """The same, in a generator that waits where it has yielded."""

    async def stream() -> AsyncGenerator[str, None]:
        with keeping(failures):
            failing(NUMBER)
        yield "first"
        yield "it went on"

    values = stream()
    await anext(values)
    await goes_on.wait()
    return await anext(values)


def in_steps(failures: list[ValueError]) -> Generator[str, None, None]:
    with keeping(failures):
        failing(NUMBER)
    yield "first"
    yield "it went on"


async def steps(failures: list[ValueError], goes_on: asyncio.Event) -> str:
    """The same, in a generator without a loop."""
    values = in_steps(failures)
    next(values)
    await goes_on.wait()
    return next(values)


@pytest.mark.parametrize("other", [going_on, yields, steps])
@pytest.mark.parametrize("as_future", [True, False])
def test_nobody_is_ended_who_has_met_the_same_failure(other: Callable[..., Any], as_future: bool) -> None:
    """Whoever works for several hands the same failure to each of them, and waits for the next order."""

    async def flow() -> str:
        failures: list[ValueError] = []
        goes_on = asyncio.Event()
        running = asyncio.create_task(other(failures, goes_on))
        while not failures:  # noqa: ASYNC110  # it is there in the next round
            await asyncio.sleep(0)

        @forgets_locals
        async def call() -> None:
            if as_future:
                handed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                handed.set_exception(failures[0])
                await handed
            raise failures[0]

        for _ in range(2):
            with pytest.raises(ValueError, match="202") as raised:
                await call()
        ended = next(trace for trace in raised.traceback if trace.name == "failing")
        assert "number" not in ended.frame.f_locals
        # An asynchronous generator is ended some rounds of the loop later.
        for _ in range(10):
            await asyncio.sleep(0)
        goes_on.set()
        return str(await asyncio.wait_for(running, PATIENCE))

    assert asyncio.run(flow()) == "it went on"


class Foreign(Exception):
    """An exception as others have them: what it calls by a name of Python's is its own, and nobody may change it."""

    exceptions: Any = None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class OfThreads(Foreign):
    """As invoke's ThreadException: it holds what is no exception."""

    exceptions = (("ValueError", "text"),)


def with_a_reason(kind: type[Exception]) -> None:
    """Raise what has a reason that it does not show."""
    number = [NUMBER]
    try:
        raise ValueError(f"row {len(number)}")
    except ValueError:
        raise kind("the caller's") from None


def in_blocking_code(kind: type[Exception]) -> Exception:
    try:
        with_a_reason(kind)
    except kind as own:
        with pytest.raises(KeyError, match="'a'"):
            forgets_locals(dict[str, str]().__getitem__)("a")
        return own
    raise AssertionError


def in_a_coroutine(kind: type[Exception]) -> Exception:
    @forgets_locals
    async def ours() -> None:
        raise KeyError("a")

    async def flow() -> Exception:
        try:
            with_a_reason(kind)
        except kind as own:
            with pytest.raises(KeyError, match="'a'"):
                await ours()
            return own
        raise AssertionError

    return asyncio.run(flow())


@pytest.mark.parametrize("kind", [RuntimeError, Foreign, OfThreads])
@pytest.mark.parametrize("handling", [in_blocking_code, in_a_coroutine])
def test_what_a_caller_handles_is_left_as_it_is(kind: type[Exception], handling: Callable[..., Exception]) -> None:
    own = handling(kind)
    assert isinstance(own.__context__, ValueError)
    assert own.__context__.__traceback__ is not None
    assert own.__context__.__traceback__.tb_frame.f_locals["number"] == [NUMBER]


def raised_again(number: str, own: Exception) -> None:
    """As by what is broken for good, and keeps its failure."""
    raise own


def raised_for_ours(number: str, own: Exception) -> None:
    """What the caller handles is raised while ours is handled, as by a callback."""
    try:
        inner(number)
    except ValueError:
        raise own  # noqa: B904  # what is handled is to be its context


@pytest.mark.parametrize("ours", [raised_again, raised_for_ours])
def test_what_the_callers_own_meets_in_our_functions_is_forgotten(ours: Callable[[str, Exception], None]) -> None:
    number = NUMBER
    try:
        with_a_reason(RuntimeError)
    except RuntimeError as own:
        with pytest.raises(RuntimeError) as raised:
            forgets_locals(ours)(number, own)
    knows_it = {
        frame.f_code.co_name: NUMBER in repr(frame.f_locals)
        for one in (raised.value, raised.value.__context__)
        if one is not None
        for frame, _ in traceback.walk_tb(one.__traceback__)
    }
    assert not knows_it[ours.__name__]
    assert not knows_it.get(inner.__name__)
    assert knows_it[with_a_reason.__name__]


@dataclass(frozen=True)
class Deadline(Exception):
    """What somebody's alarm raises, wherever the program is. Nothing of it can be set."""

    seconds: float


class WrongText(Exception):
    """A common slip: its text is no text."""

    def __str__(self) -> str:
        return self.args[0]  # type: ignore[no-any-return]  # that is the slip


class NoText(Exception):
    """It has none at all."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class NamesOfItsOwn(ExceptionGroup[Exception]):
    """It has something else by the names that every exception has, and that cannot be had."""

    @property
    def exceptions(self) -> Any:
        raise RuntimeError("exceptions")

    __traceback__ = __cause__ = __context__ = args = exceptions


def caused_by_itself() -> Exception:
    failure = RuntimeError("a circle")
    failure.__cause__ = failure
    return failure


def caused_by_each_other() -> Exception:
    failure, other = RuntimeError("one"), RuntimeError("other")
    failure.__cause__, other.__cause__ = other, failure
    return failure


def an_argument_of_itself() -> Exception:
    failure = RuntimeError("x")
    failure.args = (failure,)
    return failure


def of_ten_thousand() -> Exception:
    failure = RuntimeError("0")
    for _ in range(10_000):
        outer = RuntimeError("x")
        outer.__cause__, failure = failure, outer
    return failure


ODD = (
    partial(Deadline, 1.0),
    partial(WrongText, 1.0),
    NoText,
    partial(NamesOfItsOwn, "some", [ValueError()]),
    caused_by_itself,
    caused_by_each_other,
    an_argument_of_itself,
    of_ten_thousand,
)


@contextmanager
def alarm(when: Callable[[], bool], failure: Exception) -> Iterator[None]:
    """Raises a failure in the block once something is so."""

    def ring(*_: object) -> None:
        raise failure

    def wait() -> None:
        until(when)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, ring)
    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        yield
    finally:
        waiting.join()
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("new", ODD)
def test_an_upload_whose_outcome_is_unknown_is_told_as_that_whatever_was_raised(
    simulator: Simulator, new: Callable[[], Exception]
) -> None:
    simulator.add_fault(Fault("hang", on="upload", seconds=2.0))
    with closing(Client(settings_of(simulator), max_attempts=1)) as client:
        upload = agreement_file(client, 1)
        failure = new()
        with (
            alarm(lambda: simulator.report()["requests"]["upload"] > 0, failure),
            pytest.raises(OutcomeUnknown, match=type(failure).__name__),
        ):
            create_task(client, PACKAGE, *upload)


@pytest.mark.parametrize("new", ODD)
def test_what_a_caller_handles_changes_nothing_of_what_we_do(new: Callable[[], Exception]) -> None:
    @forgets_locals
    def ours(fails: bool) -> int:
        if fails:
            raise KeyError(NUMBER)
        return 1

    try:
        raise new()
    except Exception:
        assert ours(False) == 1
        with pytest.raises(KeyError):
            ours(True)


def test_a_failure_that_nobody_may_change_does_not_keep_what_it_came_of() -> None:
    @forgets_locals
    def ours() -> None:
        try:
            inner(NUMBER)
        except ValueError:
            raise Deadline(1.0) from None

    with pytest.raises(Deadline) as raised:
        ours()
    assert raised.value.__context__ is None


@pytest.mark.parametrize(
    "fault", ["redirect", "drop", "reset", "hang", "truncate", "endless", "huge-header", "internal-error", "tampered"]
)
def test_a_call_that_fails_leaves_nothing_to_the_collector(simulator: Simulator, fault: str) -> None:
    """Only the collector could free it, and with it what the call has sent."""
    with closing(Client(settings_of(simulator, read_timeout=0.5), max_attempts=1)) as client:
        list_tasks_page(client, PACKAGE)
        simulator.add_fault(Fault(fault, on="list", seconds=1.0))
        with left_to_the_collector() as left, pytest.raises(WxBankError):
            list_tasks_page(client, PACKAGE)
    assert left == []


def test_what_a_function_returns_or_raises_is_its_own() -> None:
    assert forgets_locals(len)("abc") == 3
    with pytest.raises(ZeroDivisionError, match="by zero"):
        forgets_locals(divmod)(1, 0)
