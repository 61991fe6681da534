# SPDX-License-Identifier: Apache-2.0
"""Our client against what the simulator does only if asked: what is right, but seldom."""

from __future__ import annotations

import pytest

from airflow_provider_wxbank.packages.endpoints import create_task, list_tasks
from airflow_provider_wxbank.simulator import Fault
from tests.conftest import PACKAGE, NewClient, NewSimulator
from tests.harness.files import agreement_file


@pytest.mark.parametrize("key_mode", ["certificates", "both"])
def test_a_serial_with_a_leading_zero_is_kept_as_it_is(
    new_simulator: NewSimulator, new_client: NewClient, key_mode: str
) -> None:
    simulator = new_simulator(leading_zero_serials=True, key_mode=key_mode)
    client = new_client(simulator, {"wechatpay_public_key": "", "wechatpay_public_key_id": ""})
    create_task(client, PACKAGE, *agreement_file(client, 1))
    assert len(list(list_tasks(client, PACKAGE))) == 1
    (task,) = simulator.report()["packages"][PACKAGE]["tasks"]
    assert (task["serial_no"][0], len(task["serial_no"])) == ("0", 40)


def test_a_request_is_never_sent_again_as_it_was(new_simulator: NewSimulator, new_client: NewClient) -> None:
    simulator = new_simulator(refuse_repeated_nonces=True)
    simulator.add_fault(Fault("drop", commit=True, times=2))
    client = new_client(simulator)
    assert list(list_tasks(client, PACKAGE)) == []
    assert simulator.report()["refused"] == {}
