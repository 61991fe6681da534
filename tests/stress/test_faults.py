# SPDX-License-Identifier: Apache-2.0
"""The matrix of faults, reduced; ``make faults`` runs all of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_0_PLUS

from airflow_provider_wxbank.simulator.faults import KINDS
from tests.harness.airflow_home import environment
from tests.stress import faults
from tests.stress.fault_cases import COMMITTED, Case, matrix, reduced
from tests.stress.fault_runs import Outcome

CASE = Case("drop", "upload", "once")


@pytest.fixture
def isolated(tmp_path: Path) -> Iterator[None]:
    """Processes that are started meanwhile have an Airflow home of their own."""
    before = dict(os.environ)
    os.environ.update(environment(tmp_path, tmp_path, {}))
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.usefixtures("isolated")
def test_no_fault_loses_or_doubles_a_number_or_tells_one() -> None:
    """Each version of Airflow meets half of them: what a fault leads to is decided in code that imports none."""
    ended = faults.run_all(reduced()[int(AIRFLOW_V_3_0_PLUS) :: 2], workers=4)
    assert [f"{case}: {outcome}" for case, outcome in ended if faults.is_bad(case, outcome)] == []
    assert {outcome.ended for _, outcome in ended} == {"at once", "recovered"}


OF_KEYS = frozenset(
    {
        "unsigned", "tampered", "stale", "unknown-serial", "signtest", "signtest-prefix", "expired-certificate",
        "lying-certificates", "wrong-apiv3-key", "forged-certificates", "withdrawn-certificate",
    }
)  # fmt: skip
"""Kinds whose outcome the suite decides."""


@pytest.mark.usefixtures("isolated")
def test_the_same_holds_of_keys_and_signatures_in_sm2() -> None:
    cases = [case for case in reduced() if case.events or {fault.kind for fault in case.faults} & OF_KEYS]
    assert len(cases) > 12
    some = [replace(case, suite="sm2") for case in cases[int(AIRFLOW_V_3_0_PLUS) :: 2]]
    ended = faults.run_all(some, workers=4)
    assert [f"{case}: {outcome}" for case, outcome in ended if faults.is_bad(case, outcome)] == []
    assert {outcome.ended for _, outcome in ended} == {"at once", "recovered"}


def test_every_kind_of_fault_is_in_the_matrix_at_every_step_where_it_does_something() -> None:
    steps: dict[str, set[str]] = {}
    for case in matrix():
        for fault in case.faults:
            steps.setdefault(fault.kind, set()).add(fault.on)
    assert set(steps) == set(KINDS)
    everywhere = {"upload", "find", "list", "certificates"}
    few = {kind for kind in KINDS if not steps[kind] >= everywhere}
    assert few == {
        "expired-certificate", "wrong-apiv3-key", "forged-certificates", "withdrawn-certificate", "changing-page",
        "lost-rows",
    }  # fmt: skip
    committed = {fault.kind for case in matrix() for fault in case.faults if fault.commit}
    assert committed == COMMITTED


def test_the_reduced_matrix_has_every_kind_and_every_other_row() -> None:
    assert {fault.kind for case in reduced() for fault in case.faults} == set(KINDS)
    assert {case.fault.removesuffix(", taken") for case in reduced()} == {
        case.fault.removesuffix(", taken") for case in matrix()
    }


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("unclear"),
        Outcome("hung"),
        Outcome("at once", lost=1),
        Outcome("at once", doubled=1),
        Outcome("recovered", twice=1),
        Outcome("recovered", plain=1),
    ],
)
def test_what_must_not_happen_shows_in_the_table_and_the_exit_code(outcome: Outcome) -> None:
    assert faults.is_bad(CASE, outcome)
    good = Outcome("at once")
    assert not faults.is_bad(CASE, good)
    assert faults.table([(CASE, outcome)]) != faults.table([(CASE, good)])
