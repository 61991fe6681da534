# SPDX-License-Identifier: Apache-2.0
"""The simulator answers its own address only: no page of a browser can rotate its keys."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from airflow_provider_wxbank.simulator import serve
from tests.harness.raw_client import CERTIFICATES, PATIENCE_SECONDS
from tests.harness.simulators import Bank, start


@pytest.fixture(scope="module")
def bank() -> Iterator[Bank]:
    """A simulator for all tests."""
    with ExitStack() as stack:
        yield start(stack)


REQUESTS = ["POST /simulator/rotate", "GET /simulator/report", "DELETE /simulator/faults", f"GET {CERTIFICATES}"]

OWN_HOSTS = ["127.0.0.1:{port}", "localhost:{port}", "LocalHost:{port}", "[::1]:{port}"]

OTHER_HOSTS = [
    "evil.example:{port}",
    "evil.example",
    "127.0.0.1:{port}.evil.example",
    "127.0.0.1.evil.example:{port}",
    "localhost.:{port}",
    "127.0.0.1",
    "127.0.0.1:1",
    "127.0.0.2:{port}",
    "user@127.0.0.1:{port}",
    "api.mch.weixin.qq.com",
    "",
]

OWN_ORIGINS = ["http://127.0.0.1:{port}", "http://localhost:{port}", "http://[::1]:{port}"]

OTHER_ORIGINS = [
    "null",
    "http://evil.example",
    "http://evil.example:{port}",
    "http://127.0.0.1:{port}.evil.example",
    "http://127.0.0.1:1",
    "http://127.0.0.1",
    "https://127.0.0.1:{port}",
    "127.0.0.1:{port}",
    "",
]


def asked(bank: Bank, request: str, *headers: str, version: str = "1.1") -> tuple[int, bytes]:
    """Status and body of the answer to a request that is written by hand; ``{port}`` is the simulator's."""
    port = urlsplit(bank.simulator.base_url).port
    lines = [f"{request} HTTP/{version}", *(header.replace("{port}", str(port)) for header in headers)]
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def is_answered(bank: Bank, request: str, *headers: str) -> bool:
    """Whether a request had an answer other than that it is a stranger's, and only then an effect."""
    before = (bank.simulator.platform.certificates[-1].serial_no, bank.simulator.report()["requests"])
    status, body = asked(bank, request, *headers)
    if status != 403:
        # What is not signed is refused for that reason.
        assert status == (401 if CERTIFICATES in request else 200)
        return True
    assert "its own address only" in json.loads(body)["error"]
    assert before == (bank.simulator.platform.certificates[-1].serial_no, bank.simulator.report()["requests"])
    return False


@pytest.mark.parametrize("request_line", REQUESTS)
@pytest.mark.parametrize("host", OWN_HOSTS)
def test_its_own_hosts_are_answered(bank: Bank, request_line: str, host: str) -> None:
    assert is_answered(bank, request_line, f"Host: {host}")


@pytest.mark.parametrize("request_line", REQUESTS)
@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_other_hosts_are_refused(bank: Bank, request_line: str, host: str) -> None:
    assert not is_answered(bank, request_line, f"Host: {host}")


@pytest.mark.parametrize("request_line", REQUESTS)
@pytest.mark.parametrize("origin", OWN_ORIGINS)
def test_its_own_pages_are_answered(bank: Bank, request_line: str, origin: str) -> None:
    assert is_answered(bank, request_line, "Host: 127.0.0.1:{port}", f"Origin: {origin}")


@pytest.mark.parametrize("request_line", REQUESTS)
@pytest.mark.parametrize("origin", OTHER_ORIGINS)
def test_other_pages_are_refused(bank: Bank, request_line: str, origin: str) -> None:
    assert not is_answered(bank, request_line, "Host: 127.0.0.1:{port}", f"Origin: {origin}")


def test_of_two_origins_both_must_be_its_own(bank: Bank) -> None:
    own, other = "Origin: http://127.0.0.1:{port}", "Origin: http://evil.example"
    assert not is_answered(bank, REQUESTS[0], "Host: 127.0.0.1:{port}", own, other)


def test_no_host_is_refused(bank: Bank) -> None:
    assert asked(bank, REQUESTS[0], version="1.0")[0] == 403


def test_the_host_counts_and_not_an_address_in_the_request_line(bank: Bank) -> None:
    status, _ = asked(bank, "POST http://127.0.0.1/simulator/rotate", "Host: evil.example")
    assert status == 403


def test_a_stranger_who_sends_much_reads_the_refusal(bank: Bank) -> None:
    body = b"A" * 5_000_000
    answer = bank.client.send("POST", "/simulator/faults", {"Origin": "http://evil.example"}, body)
    assert answer.status == 403


def test_a_relay_is_answered_once_it_is_named() -> None:
    with ExitStack() as stack:
        bank = start(stack)
        assert not is_answered(bank, REQUESTS[1], "Host: Relay.example:8080")
        bank.simulator.answer_at("http://relay.example:8080")
        assert is_answered(bank, REQUESTS[1], "Host: Relay.example:8080")
        assert is_answered(bank, REQUESTS[1], "Host: 127.0.0.1:{port}")


def test_a_simulator_at_another_loopback_address_answers_it() -> None:
    with serve(host="127.0.0.2") as simulator:
        address = urlsplit(simulator.base_url)
        with socket.create_connection((address.hostname, address.port), timeout=PATIENCE_SECONDS) as connection:
            connection.sendall(f"GET /simulator/report HTTP/1.0\r\nHost: {address.netloc}\r\n\r\n".encode())
            assert connection.recv(12) == b"HTTP/1.1 200"
