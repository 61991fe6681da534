# SPDX-License-Identifier: Apache-2.0
"""The command that runs a simulator, as a process of its own."""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.harness.raw_client import CERTIFICATES, PATIENCE_SECONDS, RawClient, Upload

pytestmark = pytest.mark.slow

COMMAND = (sys.executable, "-m", "airflow_provider_wxbank.simulator")
EXPORT = "export AIRFLOW_CONN_WXBANK_DEFAULT="
START_SECONDS = PATIENCE_SECONDS
STOP_SECONDS = 60.0
"""Far less than the hour that a fault hangs."""


@dataclass(frozen=True, slots=True)
class Running:
    """A simulator's process that has said how to connect to it."""

    process: subprocess.Popen[bytes]
    said: str

    @property
    def connection(self) -> dict[str, Any]:
        """The connection in the export line, taken apart as a shell and Airflow do."""
        (line,) = [line for line in self.said.splitlines() if line.startswith(EXPORT)]
        word, assignment = shlex.split(line)
        assert word == "export"
        connection = json.loads(assignment.partition("=")[2])
        assert isinstance(connection, dict)
        return connection

    @property
    def client(self) -> RawClient:
        return RawClient(self.connection)


@contextmanager
def running(*options: str, umask: int = -1) -> Iterator[Running]:
    """Start the command on a free port."""
    process = subprocess.Popen(
        [*COMMAND, "--port", "0", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, umask=umask
    )
    try:
        yield Running(process, _said(process))
    finally:
        process.kill()
        process.communicate()


def _said(process: subprocess.Popen[bytes]) -> str:
    """What it says until the end of the export line."""
    assert process.stdout is not None
    said, deadline = b"", time.monotonic() + START_SECONDS
    while EXPORT.encode() not in said or not said.endswith(b"\n"):
        readable, _, _ = select.select([process.stdout], [], [], deadline - time.monotonic())
        piece = os.read(process.stdout.fileno(), 65536) if readable else b""
        assert piece, f"it said only {said!r}"
        said += piece
    return said.decode()


def ended(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=START_SECONDS, check=False)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Running]:
    """A command that has been given many options."""
    with running(
        "--mode", "both", "--processing-seconds", "0", "--quota", "1", "--offset-unit", "row",
        "--unmatched-ratio", "1", "--fault", "internal-error:on=find,times=1",
        "--fault", "forbidden:on=find,times=1", "--leading-zero-serials", "--refuse-repeated-nonces",
    ) as process:  # fmt: skip
        yield process


def test_the_export_line_connects(simulator: Running) -> None:
    assert simulator.client.tasks("8473295").status == 200


def test_the_export_line_is_a_connection_of_this_provider(simulator: Running) -> None:
    assert simulator.connection["conn_type"] == "wxbank"
    assert {"host", "login", "password", "extra"} < set(simulator.connection)


def test_it_says_that_it_is_not_for_production(simulator: Running) -> None:
    assert "NOT FOR PRODUCTION" in simulator.said


def test_it_says_where_the_report_is(simulator: Running) -> None:
    assert f"{simulator.connection['host']}/simulator/report" in simulator.said


def test_options_reach_the_simulator(simulator: Running) -> None:
    client, key = simulator.client, simulator.client.public_key()
    uploads = [Upload(key.encrypt("1001"), f"file-{index}.csv", key.serial_no) for index in range(2)]
    assert [client.upload("8473295", upload).status for upload in uploads] == [200, 429]
    (task,) = client.tasks("8473295").value["data"]
    assert (task["status"], task["fail_count"]) == ("FINISHED", 1)


def test_what_no_source_says_can_be_asked_for(simulator: Running) -> None:
    client = simulator.client
    assert client.certificates()[0].serial_no.startswith("0")
    headers = client.signed("GET", CERTIFICATES)
    assert [client.send("GET", CERTIFICATES, headers).status for _ in range(2)] == [200, 401]


def test_faults_are_told_one_after_the_other(simulator: Running) -> None:
    statuses = [simulator.client.tasks("8473296", "filename=file-0001.csv").status for _ in range(3)]
    assert statuses == [500, 403, 200]


def test_the_connection_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "connection.json"
    with running("--connection-file", str(path), umask=0) as process:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert json.loads(path.read_text()) == process.connection
        assert list(tmp_path.iterdir()) == [path]


def test_a_connection_file_takes_the_place_of_one_that_others_could_read(tmp_path: Path) -> None:
    path = tmp_path / "connection.json"
    path.write_text("old")
    path.chmod(0o644)
    with running("--connection-file", str(path), umask=0):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@contextmanager
def under_way(process: Running, method: str, url: str, requests: int = 1) -> Iterator[HTTPConnection]:
    """A request that has arrived and is not answered yet."""
    address = urlsplit(process.connection["host"])
    connection = HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE_SECONDS)
    try:
        connection.request(method, url, headers={"Accept": "*/*"})
        deadline = time.monotonic() + PATIENCE_SECONDS
        while sum(process.client.report()["requests"].values()) < requests:
            assert time.monotonic() < deadline
        yield connection
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("number", "fault"),
    [(signal.SIGTERM, None), (signal.SIGTERM, "hang"), (signal.SIGTERM, "endless"), (signal.SIGINT, "hang")],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else str(value),
)
def test_a_signal_ends_it_in_order_and_soon(number: signal.Signals, fault: str | None) -> None:
    with ExitStack() as stack:
        process = stack.enter_context(running(*(("--fault", fault) if fault else ())))
        if fault:
            stack.enter_context(under_way(process, "GET", CERTIFICATES))
        begin = time.monotonic()
        process.process.send_signal(number)
        assert process.process.wait(STOP_SECONDS) == 0
        assert time.monotonic() - begin < STOP_SECONDS


def test_it_says_nothing_of_its_faults_nor_of_its_end() -> None:
    kinds = ("reset", "drop", "truncate", "hang-during:seconds=0.1", "huge-header", "hang")
    faults = [f"--fault={kind}{',' if ':' in kind else ':'}times=1" for kind in kinds]
    with running(*faults) as process:
        for _ in kinds[:-1]:
            with pytest.raises((OSError, HTTPException)):
                process.client.call("GET", CERTIFICATES)
        with under_way(process, "GET", CERTIFICATES, len(kinds)):
            process.process.terminate()
            out, err = process.process.communicate(timeout=STOP_SECONDS)
        assert (out, err) == (b"", b"")


def assert_one_line(result: subprocess.CompletedProcess[str], line: str) -> None:
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == f"wxbank-simulator: {line}\n"


def test_the_suite_is_an_option() -> None:
    with running("--suite", "sm2", "--mode", "both") as process:
        assert "keys: both of SM2. NOT FOR PRODUCTION" in process.said
        extra = process.connection["extra"]
        assert {"merchant_private_key", "wechatpay_public_key", "naming_secret"} < set(extra)
        of_curve = b64decode("".join(extra["wechatpay_public_key"].splitlines()[1:-1]))
        assert bytes.fromhex("06082a811ccf5501822d") in of_curve


def test_without_its_package_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['gmssl_pyx'] = None; "
        "from airflow_provider_wxbank.simulator.__main__ import main; sys.exit(main(['--suite', 'sm2', '--port', '0']))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert_one_line(
        result,
        "127.0.0.1:0: SM2 needs gmssl_pyx: pip install 'airflow-provider-wxbank[simulator,shangmi]'",
    )


def test_a_port_in_use_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert_one_line(
            ended("--port", str(port)),
            f"127.0.0.1:{port}: Address already in use: a simulator that still runs, or another program, has this port "
            "(ss -ltnp shows which). End it, or choose another port with --port, 0 for a free one",
        )


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1"])
def test_a_host_that_others_reach_is_refused_in_one_line(host: str) -> None:
    line = f"{host}:0: the simulator listens on loopback only, not on {host}; a container has --all-interfaces"
    assert_one_line(ended("--host", host, "--port", "0"), line)


def test_in_a_container_it_listens_everywhere_and_says_so() -> None:
    with running("--all-interfaces") as process:
        address = urlsplit(process.connection["host"])
        assert address.hostname == "127.0.0.1"
        # Another interface, as the one that the container's port leads to; the client asks for its own loopback.
        with socket.create_connection(("127.0.0.2", address.port), timeout=PATIENCE_SECONDS) as connection:
            connection.sendall(f"GET /simulator/report HTTP/1.0\r\nHost: {address.netloc}\r\n\r\n".encode())
            assert connection.recv(12) == b"HTTP/1.1 200"
        process.process.terminate()
        _, said = process.process.communicate(timeout=STOP_SECONDS)
    assert b"it listens on all interfaces: whoever reaches one can use it" in said


def test_a_port_that_cannot_be_is_refused_in_one_line() -> None:
    assert_one_line(ended("--port", "65536"), "127.0.0.1:65536: bind(): port must be 0-65535.")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fault", "explode"), "argument --fault: fault 'explode' is none of too-many-requests, "),
        (("--fault", "drop:commit=yes"), "argument --fault: 'commit=yes': commit is true or false"),
        (("--mode", "none"), "argument --mode: invalid choice"),
        (("--keys", "both"), "argument --keys: it is a folder; where platform keys come from is --mode both"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_bad_option_is_refused(options: tuple[str, ...], message: str) -> None:
    result = ended("--port", "0", *options)
    assert result.returncode == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert "Traceback" not in result.stderr
