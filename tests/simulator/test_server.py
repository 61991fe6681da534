# SPDX-License-Identifier: Apache-2.0
"""How a simulator starts, listens and ends."""

from __future__ import annotations

import logging
import socket
import time
from contextlib import ExitStack
from threading import Thread
from urllib.parse import urlsplit

import pytest

from airflow_provider_wxbank.simulator import serve
from tests.harness.raw_client import (
    PATIENCE_SECONDS,
    tasks_path,
)
from tests.harness.simulators import Bank, set_faults, start


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::"])
def test_a_simulator_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(ValueError, match="loopback only"), serve(host=host):
        pass


def test_without_being_asked_it_listens_on_one_interface() -> None:
    with serve() as simulator:
        port = urlsplit(simulator.base_url).port
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", port)):
            pass


def test_a_simulator_that_ends_cuts_off_requests_that_hang() -> None:
    with ExitStack() as stack:
        bank = start(stack)
        set_faults(bank, {"kind": "hang"})
        errors = list[BaseException]()

        def ask() -> None:
            try:
                bank.client.tasks("8473295")
            except OSError as failure:
                errors.append(failure)

        thread = Thread(target=ask)
        thread.start()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not bank.simulator.report()["requests"]["list"]:
            assert time.monotonic() < deadline
        begin = time.monotonic()
        stack.close()
        thread.join()
    assert time.monotonic() - begin < PATIENCE_SECONDS
    assert len(errors) == 1


def test_an_upload_cut_off_half_way_is_none(bank: Bank, package: str, caplog: pytest.LogCaptureFixture) -> None:
    logger, address = logging.getLogger("uvicorn.error"), urlsplit(bank.simulator.base_url)
    logger.addHandler(caplog.handler)
    before = bank.simulator.report()["requests"]["upload"]
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE_SECONDS) as connection:
        head = f"POST {tasks_path(package)} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 1000\r\n\r\n"
        connection.sendall(head.encode() + b"half of it")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while bank.simulator.report()["requests"]["upload"] == before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert bank.client.tasks(package).value["total_count"] == 0
    logger.removeHandler(caplog.handler)
    assert not caplog.records
