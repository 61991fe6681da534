# SPDX-License-Identifier: Apache-2.0
"""Real things for tests: a simulator on a socket, a connection to it, an Airflow home of their own."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

# Before anything imports Airflow: it reads its home at import.
_HOME = tempfile.mkdtemp(prefix="wxbank-test-home-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[_name]
# Texts are English, whatever the language of the machine is.
os.environ.pop("LANGUAGE", None)
os.environ.update(
    LC_ALL="C.UTF-8",
    AIRFLOW_HOME=_HOME,
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
    # Airflow 2.11 warns of its own default.
    AIRFLOW__METRICS__TIMER_UNIT_CONSISTENCY="True",
    NO_PROXY="127.0.0.1,localhost",
    # Of processes that tests start; this one has chosen its own above.
    TMPDIR=_HOME,
    # Where the PostgreSQL of the tests keeps its socket.
    XDG_RUNTIME_DIR=_HOME,
)

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from airflow_provider_wxbank.simulator import Simulator, SimulatorSettings, rsa, serve
from airflow_provider_wxbank.wechatpay import kept
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.settings import read_settings
from tests.harness.agreed_skips import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401  # hooks of pytest
from tests.harness.clock import Clock
from tests.harness.drivers import sender_of
from tests.harness.signers import slow_signers  # noqa: F401  # a fixture
from tests.harness.softhsm import hsm  # noqa: F401  # a fixture
from tests.vectors import SHANGMI, VECTORS

PACKAGE = "8473295"
KEYS = 40
"""More than a simulator has in a test."""

NewSimulator = Callable[..., Simulator]
NewClient = Callable[..., Client]


def pytest_sessionstart() -> None:
    """Ctrl-C and SIGTERM end the tests in order, so that no server keeps running; a shell's job in the background has
    Ctrl-C ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def few_keys() -> Iterator[None]:
    """Simulators take one of a few RSA keys in turn, where they would make a new one, which takes 40 ms."""
    made = cache(lambda _: generate_private_key(65537, 2048))
    turns = cycle(range(KEYS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rsa, "generate_private_key", lambda **_: made(next(turns)))
        yield


@pytest.fixture(autouse=True)
def kept_folder(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where lists of certificates are kept for the next process: for this test alone."""
    folder = Path(tempfile.mkdtemp(prefix="kept-", dir=_HOME))
    monkeypatch.setattr(kept, "gettempdir", lambda: str(folder))
    return folder


@pytest.fixture(scope="session")
def kept_simulators() -> Iterator[tuple[dict[SimulatorSettings, Simulator], Callable[..., Simulator]]]:
    """Simulators by their settings: one that runs is used again, with nothing kept but its address."""
    stacks: list[ExitStack] = []

    def start(settings: SimulatorSettings) -> Simulator:
        stacks.append(ExitStack())
        return stacks[-1].enter_context(serve(settings))

    yield {}, start
    # Each waits until its server has ended.
    with ThreadPoolExecutor(max(len(stacks), 1)) as pool:
        list(pool.map(ExitStack.close, stacks))


@pytest.fixture(scope="session")
def closing() -> Iterator[Callable[[ExitStack], None]]:
    """Ends simulators while the next tests run: it takes each 0.2 s, in which nothing is done."""
    ended: list[Future[None]] = []
    with ThreadPoolExecutor(2) as pool:
        yield lambda stack: ended.append(pool.submit(stack.close))
    for one in ended:
        one.result()


@pytest.fixture
def new_simulator(
    kept_simulators: tuple[dict[SimulatorSettings, Simulator], Callable[..., Simulator]],
    closing: Callable[[ExitStack], None],
) -> Iterator[NewSimulator]:
    """Gives simulators; options are those of SimulatorSettings."""
    kept, start_kept = kept_simulators
    with ExitStack() as stack:

        def start(**options: Any) -> Simulator:
            is_sm2 = options.get("suite") == "sm2"
            merchant = SHANGMI["keys"]["merchant_private"] if is_sm2 else VECTORS["keys"]["merchant_private_pkcs8"]
            options.setdefault("merchant_private_key_pem", merchant)
            options.setdefault("processing_seconds", 0.0)
            # Our client signs whatever it sends again anew.
            options.setdefault("refuse_repeated_nonces", True)
            settings = SimulatorSettings(**options)
            if "clock" in options:
                return stack.enter_context(serve(settings))
            if settings not in kept:
                kept[settings] = start_kept(settings)
            kept[settings].reset()
            return kept[settings]

        yield start
        closing(stack.pop_all())


@pytest.fixture
def clock() -> Clock:
    """A time that the test moves."""
    return Clock()


@pytest.fixture
def simulator(new_simulator: NewSimulator) -> Simulator:
    """A simulator in certificate mode, which finishes tasks at once."""
    return new_simulator()


@pytest.fixture
def driver(request: pytest.FixtureRequest) -> str:
    """How clients send; see :data:`tests.harness.drivers.BOTH_DRIVERS`."""
    chosen: str = getattr(request, "param", "blocking")
    return chosen


@pytest.fixture
def new_client(driver: str) -> Iterator[NewClient]:
    """Makes clients for simulators; ``extra`` adds to the connection's, options are those of Client."""
    with ExitStack() as stack:

        def make(simulator: Simulator, extra: dict[str, Any] | None = None, **options: Any) -> Client:
            connection = simulator.airflow_connection()
            settings = read_settings(
                connection["login"],
                connection["password"],
                (extra or {}).pop("host", connection["host"]),
                {**connection["extra"], **(extra or {})},
            )
            options.setdefault("sleep", lambda _: None)
            client = Client(settings, sender=sender_of(driver, settings), **options)
            stack.callback(client.close)
            return client

        yield make


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes a simulator the connection ``wxbank_default``."""

    def make(simulator: Simulator, **changes: Any) -> None:
        connection = {**simulator.airflow_connection(), **changes}
        monkeypatch.setenv("AIRFLOW_CONN_WXBANK_DEFAULT", json.dumps(connection))

    return make


def numbers(count: int, start: int = 0) -> list[str]:
    """Agreement numbers that nobody has."""
    return [f"2024{index:014d}" for index in range(start, start + count)]
