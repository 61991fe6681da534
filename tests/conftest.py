"""Real things for tests: a simulator on a socket, a connection to it, an Airflow home of their own."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

# Before anything imports Airflow: it reads its home at import.
_HOME = tempfile.mkdtemp(prefix="wxbank-test-home-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
for _name in [name for name in os.environ if name.startswith("AIRFLOW")]:
    del os.environ[_name]
os.environ.update(
    AIRFLOW_HOME=_HOME,
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
    # Airflow 2.11 warns of its own default.
    AIRFLOW__METRICS__TIMER_UNIT_CONSISTENCY="True",
    NO_PROXY="127.0.0.1,localhost",
    # Where the PostgreSQL of the tests keeps its socket.
    XDG_RUNTIME_DIR=_HOME,
)

from airflow_provider_wxbank.simulator import Simulator, SimulatorSettings, serve
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.settings import read_settings
from tests.vectors import VECTORS

PACKAGE = "8473295"

NewSimulator = Callable[..., Simulator]
NewClient = Callable[..., Client]


@pytest.fixture(scope="session")
def kept_simulators() -> Iterator[tuple[dict[SimulatorSettings, Simulator], ExitStack]]:
    """Simulators by their settings: one that runs is used again, with nothing kept but its address."""
    with ExitStack() as stack:
        yield {}, stack


@pytest.fixture
def new_simulator(kept_simulators: tuple[dict[SimulatorSettings, Simulator], ExitStack]) -> Iterator[NewSimulator]:
    """Gives simulators; options are those of SimulatorSettings."""
    kept, kept_stack = kept_simulators
    with ExitStack() as stack:

        def start(**options: Any) -> Simulator:
            options.setdefault("merchant_private_key_pem", VECTORS["keys"]["merchant_private_pkcs8"])
            options.setdefault("processing_seconds", 0.0)
            settings = SimulatorSettings(**options)
            if "clock" in options:
                return stack.enter_context(serve(settings))
            if settings not in kept:
                kept[settings] = kept_stack.enter_context(serve(settings))
            kept[settings].reset()
            return kept[settings]

        yield start


@pytest.fixture
def simulator(new_simulator: NewSimulator) -> Simulator:
    """A simulator in certificate mode, which finishes tasks at once."""
    return new_simulator()


@pytest.fixture
def new_client() -> Iterator[NewClient]:
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
            client = Client(settings, **options)
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
