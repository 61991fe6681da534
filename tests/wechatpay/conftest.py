# SPDX-License-Identifier: Apache-2.0
"""A simulator with certificates, whose time the test moves."""

from __future__ import annotations

import pytest

from airflow_provider_wxbank.simulator import Simulator
from tests.conftest import NewSimulator
from tests.harness.clock import Clock


@pytest.fixture
def certified(new_simulator: NewSimulator, clock: Clock) -> Simulator:
    return new_simulator(clock=clock)


def downloads(simulator: Simulator) -> int:
    """How often its certificates were downloaded."""
    number: int = simulator.report()["requests"]["certificates"]
    return number
