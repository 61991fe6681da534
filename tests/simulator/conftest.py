# SPDX-License-Identifier: Apache-2.0
"""Simulators for many tests, and for one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.harness.simulators import Bank, NewBank, new_package, start


@pytest.fixture
def new_bank() -> Iterator[NewBank]:
    """Starts simulators of the test's own; options are those of SimulatorSettings."""
    with ExitStack() as stack:
        yield lambda **options: start(stack, **options)


@pytest.fixture(scope="session")
def shared() -> Iterator[Bank]:
    """A simulator for many tests; it finishes tasks at once."""
    with ExitStack() as stack:
        yield start(stack)


@pytest.fixture(scope="session")
def slow_shared() -> Iterator[Bank]:
    """A simulator for many tests; a task takes a minute of its clock, and three of ten numbers do not match."""
    with ExitStack() as stack:
        yield start(stack, processing_seconds=60.0, unmatched_ratio=0.3)


@pytest.fixture(scope="session")
def later_shared() -> Iterator[Bank]:
    """A simulator for many tests; it decrypts nothing before the report is asked for."""
    with ExitStack() as stack:
        yield start(stack, check="later")


@pytest.fixture
def bank(shared: Bank) -> Iterator[Bank]:
    """The shared simulator, without faults before and after."""
    yield shared
    shared.simulator.clear_faults()


@pytest.fixture
def package() -> str:
    """A package that no other test uses."""
    return new_package()
