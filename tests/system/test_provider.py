# SPDX-License-Identifier: Apache-2.0
"""Airflow's own commands know the provider, and complain of nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_wxbank.simulator import Simulator

NewAirflow = Callable[..., Any]

COMPLAINT = re.compile(r"warn|deprecat|error|exception|traceback", re.IGNORECASE)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("providers", "get", "airflow-provider-wxbank", "--full"), "WeChat Pay number packages for banks"),
        (("providers", "hooks"), "airflow_provider_wxbank.hooks"),
        (("providers", "behaviours"), "wxbank"),
        (("providers", "triggers"), "airflow_provider_wxbank.triggers"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_airflow_lists_the_provider(
    simulator: Simulator, new_forked_airflow: NewAirflow, command: tuple[str, ...], expected: str
) -> None:
    code, output = new_forked_airflow(simulator).command(*command, "--output", "json")
    assert code == 0, output
    (listed,) = [line for line in output.splitlines() if line.startswith("[")]
    (ours,) = [entry for entry in json.loads(listed) if "wxbank" in str(entry)]
    assert expected in str(ours)
    assert not COMPLAINT.search(output.replace(listed, "") + str(ours)), output


def test_a_command_that_imports_airflow_itself_complains_of_nothing(
    simulator: Simulator, new_airflow: NewAirflow
) -> None:
    code, output = new_airflow(simulator).command("providers", "list", "--output", "plain")
    assert code == 0, output
    ((name, *_),) = [line.split() for line in output.splitlines() if "wxbank" in line]
    assert name == "airflow-provider-wxbank"
    assert not COMPLAINT.search(output), output
