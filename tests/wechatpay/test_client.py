# SPDX-License-Identifier: Apache-2.0
"""The client against a real server: what is believed, what is repeated, where, and what is told."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from airflow_provider_wxbank.packages.connection_check import call_steps, in_one_message, walk
from airflow_provider_wxbank.packages.endpoints import create_task, find_task, list_tasks, list_tasks_page
from airflow_provider_wxbank.simulator import Fault
from airflow_provider_wxbank.wechatpay import retries, sockets, transport
from airflow_provider_wxbank.wechatpay.calls import Call
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.crypto.verification import Nonces
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidCredentials,
    InvalidInput,
    NotReached,
    OutcomeUnknown,
    QuotaReached,
    RateLimited,
    Refused,
    Replayed,
    TryLater,
    Unauthorized,
    UnknownSerial,
    UnsignedRefusal,
    UnverifiedAnswer,
)
from airflow_provider_wxbank.wechatpay.retries import MAX_ATTEMPTS, MAX_LIMITED_ATTEMPTS
from tests.conftest import PACKAGE, NewClient, NewSimulator
from tests.harness.drivers import BOTH_DRIVERS
from tests.harness.files import agreement_file
from tests.harness.waiting import PATIENCE, until
from tests.vectors import VECTORS

pytestmark = BOTH_DRIVERS

MODES = ("certificates", "public-key", "both")


@contextmanager
def closed_port() -> Iterator[str]:
    """A URL that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def silent_listener() -> Iterator[socket.socket]:
    """Connections to it are made, and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        listener.setblocking(False)
        yield listener


@contextmanager
def silent_server() -> Iterator[str]:
    """A URL where connections are made and nothing is ever said."""
    with silent_listener() as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def made_connections(listener: socket.socket) -> int:
    """How many connections were made to a listener since this was last asked."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


@contextmanager
def trickling_server(start: bytes) -> Iterator[str]:
    """A URL where every connection gets these bytes, and then one more every twentieth of a second."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor() as pool:

        def trickle(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(start)
                begin = time.monotonic()
                while not stop.wait(0.05) and time.monotonic() < begin + PATIENCE:
                    connection.sendall(b"x")

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    pool.submit(trickle, listener.accept()[0])

        pool.submit(serve)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stop.set()
            listener.shutdown(socket.SHUT_RDWR)


def read_request(connection: socket.socket) -> None:
    """Read a request to its end: what closes with something unread resets the connection, and its answer is lost."""
    with connection.makefile("rb") as request:
        length = 0
        while (line := request.readline()).strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        request.read(length)


@contextmanager
def raw_server(answer: bytes) -> Iterator[str]:
    """A URL where every connection gets these bytes after its request, and is closed."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    read_request(connection)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("mode", MODES)
def test_a_call_is_signed_and_its_answer_verified_in_every_mode(
    new_simulator: NewSimulator, new_client: NewClient, mode: str
) -> None:
    simulator = new_simulator(key_mode=mode)
    page = list_tasks_page(new_client(simulator), PACKAGE)
    assert (page.tasks, page.total_count, page.offset, page.limit) == ((), 0, 0, 20)
    assert simulator.report()["refused"] == {}


def test_certificates_are_not_downloaded_in_public_key_mode(new_simulator: NewSimulator, new_client: NewClient) -> None:
    simulator = new_simulator(key_mode="public-key")
    client = new_client(simulator)
    create_task(client, PACKAGE, *agreement_file(client, 1))
    assert simulator.report()["requests"]["certificates"] == 0


def test_any_endpoint_can_be_called(simulator: Any, new_client: NewClient) -> None:
    client = new_client(simulator)
    path = f"/v3/marketing/bank/packages/{PACKAGE}/tasks"
    assert (
        client.request("get", path, params={"limit": 5, "status": None, "filename": "a b.csv"[:0] or None})["limit"]
        == 5
    )
    with pytest.raises(Refused, match="404 RESOURCE_NOT_EXISTS"):
        client.request("GET", "/v3/there/is/none")
    with pytest.raises(Refused, match="404"):
        client.request("POST", "/v3/marketing/favor/stocks", json={"name": "号码包"})


@pytest.mark.parametrize("path", ["v3/certificates", "//evil.example/v3", "/v3/a b", "/v3?x=1", "http://evil.example/"])
def test_a_path_that_is_none_is_not_sent(simulator: Any, new_client: NewClient, path: str) -> None:
    with pytest.raises(InvalidInput, match="is not a path"):
        new_client(simulator).request("GET", path)


def test_a_refusal_tells_status_code_message_place_and_request_id(simulator: Any, new_client: NewClient) -> None:
    client = new_client(simulator)
    content, bank_type, filename, serial_no = agreement_file(client, 1)
    with pytest.raises(Refused) as raised:
        create_task(client, PACKAGE, content, bank_type, filename, "0A" * 20)
    refusal = raised.value.refusal
    assert (refusal.status, refusal.code, refusal.message, refusal.verified) == (
        400,
        "PARAM_ERROR",
        "平台证书序列号Wechatpay-Serial错误",
        True,
    )
    assert refusal.request_id.startswith("SIM")
    assert refusal.request_id in str(raised.value)
    assert "location: header" in str(raised.value)
    assert "repeating it unchanged will not help" in str(raised.value)
    assert find_task(client, PACKAGE, filename) is None
    assert serial_no != "0A" * 20


@pytest.mark.parametrize(
    ("kind", "commit"),
    [
        ("too-many-requests", False),
        ("internal-error", False),
        ("bad-gateway", False),
        ("gateway-401", False),
        ("gateway-403", True),
        ("gateway-404", False),
        ("gateway-407", False),
        ("gateway-413", False),
        ("unsigned-quota", False),
        ("replay", True),
        ("redirect", False),
        ("unavailable", False),
        ("accepted", False),
        ("reset", False),
        ("drop", False),
        ("truncate", True),
        ("unsigned", True),
        ("tampered", True),
        ("stale", True),
        ("unknown-serial", True),
        ("signtest", True),
        ("signtest-prefix", True),
        ("huge-header", True),
        ("json-bomb", True),
    ],
)
def test_a_question_is_asked_again_after_a_fault(
    simulator: Any, new_client: NewClient, kind: str, commit: bool
) -> None:
    client = new_client(simulator)
    client.encryption_key()
    simulator.add_fault(Fault(kind, on="list", times=1, commit=commit))
    if kind == "json-bomb":
        with pytest.raises(UnverifiedAnswer, match="not JSON"):
            list_tasks_page(client, PACKAGE)
    assert list_tasks_page(client, PACKAGE).total_count == 0
    assert simulator.report()["requests"]["list"] == 2


@pytest.mark.parametrize(
    ("kind", "error", "attempts"),
    [
        ("too-many-requests", RateLimited, MAX_LIMITED_ATTEMPTS),
        ("quota-reached", QuotaReached, 1),
        ("internal-error", TryLater, MAX_ATTEMPTS),
        ("bad-gateway", TryLater, MAX_ATTEMPTS),
        ("drop", TryLater, MAX_ATTEMPTS),
        ("truncate", TryLater, MAX_ATTEMPTS),
        ("endless", TryLater, MAX_ATTEMPTS),
        ("unsigned", UnverifiedAnswer, MAX_ATTEMPTS),
        ("tampered", UnverifiedAnswer, MAX_ATTEMPTS),
        ("unknown-serial", UnknownSerial, MAX_ATTEMPTS),
        ("forbidden", Refused, 1),
        ("redirect", TryLater, MAX_ATTEMPTS),
        ("gateway-401", UnsignedRefusal, MAX_ATTEMPTS),
        ("gateway-403", UnsignedRefusal, MAX_ATTEMPTS),
        ("gateway-404", UnsignedRefusal, MAX_ATTEMPTS),
        ("gateway-407", UnsignedRefusal, MAX_ATTEMPTS),
        ("gateway-413", UnsignedRefusal, MAX_ATTEMPTS),
        ("unsigned-quota", UnsignedRefusal, MAX_LIMITED_ATTEMPTS),
        ("unsigned-sign-error", Unauthorized, 1),
        ("replay", Replayed, MAX_ATTEMPTS),
    ],
)
def test_a_lasting_fault_ends_with_its_own_error(
    simulator: Any, new_client: NewClient, kind: str, error: type[Exception], attempts: int
) -> None:
    client = new_client(simulator)
    client.encryption_key()
    simulator.add_fault(Fault(kind, on="list"))
    with pytest.raises(error):
        list_tasks_page(client, PACKAGE)
    assert simulator.report()["requests"]["list"] == attempts


def test_pauses_grow_and_differ(simulator: Any, new_client: NewClient) -> None:
    pauses: list[float] = []
    client = new_client(simulator, sleep=pauses.append)
    simulator.add_fault(Fault("too-many-requests"))
    with pytest.raises(UnsignedRefusal):
        list_tasks_page(client, PACKAGE)
    # Nothing more is asked for, not even the keys to verify these answers with.
    assert simulator.report()["requests"]["certificates"] == 0
    assert len(pauses) == MAX_LIMITED_ATTEMPTS - 1
    assert all(0.25 * 2**n <= pause <= 0.5 * 2**n for n, pause in enumerate(pauses[:5]))
    assert max(pauses) <= 20
    assert len(set(pauses)) == len(pauses)


@pytest.mark.parametrize(
    ("kind", "commit"),
    [
        ("internal-error", False),
        ("internal-error", True),
        ("bad-gateway", True),
        ("gateway-401", False),
        ("gateway-403", True),
        ("gateway-404", True),
        ("gateway-407", False),
        ("gateway-413", False),
        ("unsigned-quota", True),
        ("redirect", True),
        ("replay", False),
        ("accepted", False),
        ("drop", False),
        ("drop", True),
        ("reset", True),
        ("truncate", True),
        ("unsigned", True),
        ("tampered", True),
        ("signtest", True),
        ("json-bomb", True),
    ],
)
def test_an_upload_of_unknown_outcome_is_not_repeated_by_itself(
    simulator: Any, new_client: NewClient, kind: str, commit: bool
) -> None:
    client = new_client(simulator)
    file = agreement_file(client, 1)
    simulator.add_fault(Fault(kind, on="upload", commit=commit))
    with pytest.raises(OutcomeUnknown, match="Whether it was taken is not known"):
        create_task(client, PACKAGE, *file)
    assert simulator.report()["requests"]["upload"] == 1


def test_an_upload_that_was_not_taken_is_repeated(simulator: Any, new_client: NewClient) -> None:
    client = new_client(simulator)
    simulator.add_fault(Fault("too-many-requests", on="upload", times=3))
    task = create_task(client, PACKAGE, *agreement_file(client, 1))
    assert task.package_id == PACKAGE
    assert simulator.report()["requests"]["upload"] == 4


def test_an_answer_about_another_file_is_not_believed(simulator: Any, new_client: NewClient) -> None:
    """Somebody in between repeats the signed answer to another upload."""
    client = new_client(simulator)
    content, bank_type, filename, serial_no = agreement_file(client, 1)
    create_task(client, PACKAGE, content, bank_type, filename, serial_no)
    answer = client.send(Call("GET", f"/v3/marketing/bank/packages/{PACKAGE}/tasks?filename={filename}&limit=1"))
    headers = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
    replayed = f"HTTP/1.1 200 OK\r\n{headers}\r\n".encode() + answer.body
    with raw_server(replayed) as url:

        def new_process() -> Client:
            """A client that has the keys, and remembers no answer."""
            other = new_client(simulator, {"host": url}, believed=Nonces())
            other.keys._certificates = client.keys._certificates
            other.keys._downloaded_at = time.time()
            return other

        with pytest.raises(UnverifiedAnswer, match="about other tasks"):
            find_task(new_process(), PACKAGE, "another_file.csv")
        with pytest.raises(OutcomeUnknown, match="not an upload task"):
            create_task(new_process(), PACKAGE, content, bank_type, "another_file.csv", serial_no)


def test_nothing_is_sent_to_the_place_of_a_redirect(simulator: Any, new_client: NewClient) -> None:
    client = new_client(simulator)
    simulator.add_fault(Fault("redirect", on="list"))
    with pytest.raises(TryLater, match=r"a redirect \(302\), which is not followed"):
        list_tasks_page(client, PACKAGE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["trickle", "trickle-headers"])
def test_an_answer_that_trickles_ends(
    simulator: Any, new_client: NewClient, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """It lasts at most four read timeouts, though a byte comes twenty times in each."""
    monkeypatch.setattr(retries, "MAX_ATTEMPTS", 1)
    client = new_client(simulator, {"read_timeout": 0.6})
    client.encryption_key()
    simulator.add_fault(Fault(kind, on="list"))
    with pytest.raises(TryLater, match="too slowly"):
        list_tasks_page(client, PACKAGE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "place"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Padding: ", "host"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", "host"),
        (b"HTTP/1.1 200 OK\r\nX-Padding: ", "proxies"),
    ],
)
def test_a_header_or_a_line_between_chunks_that_trickles_ends_too(
    simulator: Any, new_client: NewClient, monkeypatch: pytest.MonkeyPatch, start: bytes, place: str
) -> None:
    monkeypatch.setattr(retries, "MAX_ATTEMPTS", 1)
    with trickling_server(start) as url:
        extra = {"host": "https://pay.example", place: url, "connect_timeout": 1.0, "read_timeout": 0.6}
        # In an event loop, a proxy's tunnel must be made within the time for connecting.
        with pytest.raises(TryLater, match="too slowly|no connection within 1 s"):
            list_tasks_page(new_client(simulator, extra), PACKAGE)


@pytest.mark.slow
def test_a_timeout_goes_once_to_the_backup_host(simulator: Any, new_client: NewClient) -> None:
    with silent_listener() as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = new_client(simulator, {"host": url, "backup_host": simulator.base_url, "read_timeout": 2.0})
        assert list_tasks_page(client, PACKAGE).total_count == 0
        assert made_connections(silent) == 1
        # The host that timed out is left alone for a while.
        assert list_tasks_page(client, PACKAGE).total_count == 0
        assert made_connections(silent) == 0


def test_a_host_that_is_down_is_left_for_the_backup_host(simulator: Any, new_client: NewClient) -> None:
    with closed_port() as url:
        client = new_client(simulator, {"host": url, "backup_host": simulator.base_url})
        assert create_task(client, PACKAGE, *agreement_file(client, 1)).package_id == PACKAGE


def test_both_hosts_down_can_be_tried_later(simulator: Any, new_client: NewClient) -> None:
    with closed_port() as one, closed_port() as other:
        client = new_client(simulator, {"host": one, "backup_host": other})
        with pytest.raises(TryLater, match="was not sent"):
            list_tasks_page(client, PACKAGE)


@pytest.mark.slow
def test_an_upload_that_times_out_is_not_sent_to_the_backup_host_by_itself(
    simulator: Any, new_client: NewClient
) -> None:
    warm = new_client(simulator)
    file = agreement_file(warm, 1)
    with silent_server() as url:
        client = new_client(simulator, {"host": url, "backup_host": simulator.base_url, "read_timeout": 1.5})
        with pytest.raises(OutcomeUnknown, match=r"no answer within 1\.5 s"):
            create_task(client, PACKAGE, *file)
        # The question what became of it goes to the host that works.
        assert find_task(client, PACKAGE, file[2]) is None


def test_connections_are_used_again_while_they_are_fresh(
    simulator: Any, new_client: NewClient, monkeypatch: pytest.MonkeyPatch, driver: str
) -> None:
    client = new_client(simulator)
    list_tasks_page(client, PACKAGE)
    assert len(simulator.app.wire.transports) == 1
    list_tasks_page(client, PACKAGE)
    assert len(simulator.app.wire.transports) == 1
    (before,) = simulator.app.wire.transports
    if driver == "loop":
        client.close()
        until(lambda: not simulator.app.wire.transports)
        monkeypatch.setattr(sockets, "MAX_IDLE", 0.1)
        list_tasks_page(new_client(simulator), PACKAGE)
        until(lambda: not simulator.app.wire.transports)
    else:
        monkeypatch.setattr(transport, "MAX_IDLE", 0.0)
        list_tasks_page(client, PACKAGE)
        assert before not in simulator.app.wire.transports or len(simulator.app.wire.transports) == 2


@pytest.mark.slow
def test_connections_of_a_burst_do_not_stay_open(
    simulator: Any, new_client: NewClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "MAX_IDLE", 2.0)
    client = new_client(simulator)
    list_tasks_page(client, PACKAGE)
    simulator.add_fault(Fault("slow", on="list", seconds=1.5))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: list_tasks_page(client, PACKAGE), range(3)))
    assert len(simulator.app.wire.transports) == 3
    simulator.clear_faults()
    monkeypatch.setattr(transport, "MAX_IDLE", 0.0)
    list_tasks_page(client, PACKAGE)
    until(lambda: not simulator.app.wire.transports)


def test_plain_http_to_loopback_does_not_go_through_a_proxy_of_the_environment(
    simulator: Any, new_client: NewClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closed_port() as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.delenv("NO_PROXY")
        assert list_tasks_page(new_client(simulator), PACKAGE).total_count == 0


@pytest.mark.parametrize("proxy", ["http://user:secret@proxy:99999", "http://user:secret@:1", "x://user:secret@proxy"])
def test_a_proxy_of_the_environment_that_is_no_url_sends_nothing_and_is_not_quoted(
    simulator: Any, new_client: NewClient, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = new_client(simulator, {"host": "https://pay.example"})
    with pytest.raises(NotReached, match="a proxy of the connection or of the environment") as raised:
        create_task(client, PACKAGE, b"x\n", "ICBC_DEBIT", "june.csv", "5157F09E")
    assert "secret" not in str(raised.value)


def test_a_proxy_that_is_named_is_used(simulator: Any, new_client: NewClient) -> None:
    with closed_port() as url:
        client = new_client(simulator, {"host": "https://pay.example", "proxies": url})
        with pytest.raises(NotReached, match="the proxy did not connect"):
            list_tasks_page(client, PACKAGE)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "the answer is incomplete"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "the answer is incomplete|is not HTTP"),
    ],
)
def test_what_is_no_answer_is_none(simulator: Any, new_client: NewClient, answer: bytes, message: str) -> None:
    with raw_server(answer) as url, pytest.raises(TryLater, match=message):
        list_tasks_page(new_client(simulator, {"host": url}), PACKAGE)


def test_tls_to_a_server_without_it_is_not_sent(simulator: Any, new_client: NewClient) -> None:
    host = simulator.base_url.replace("http://", "https://")
    with pytest.raises(TryLater, match="TLS"):
        list_tasks_page(new_client(simulator, {"host": host}), PACKAGE)


# What test_connection and SIGN_ERROR tell apart.


def examine(client: Client) -> tuple[bool, str]:
    """What the test button tells of a client's connection."""
    return in_one_message(call_steps(client))


@pytest.mark.parametrize("mode", MODES)
def test_a_right_connection_is_told_so(new_simulator: NewSimulator, new_client: NewClient, mode: str) -> None:
    simulator = new_simulator(key_mode=mode)
    works, message = examine(new_client(simulator))
    assert works, message
    assert mode.replace("-", " ") in message
    assert simulator.report()["requests"]["upload"] == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_wrong_private_key_is_told(new_simulator: NewSimulator, new_client: NewClient, mode: str) -> None:
    simulator = new_simulator(key_mode=mode)
    wrong = {"merchant_private_key": VECTORS["keys"]["platform_1_private"]}
    works, message = examine(new_client(simulator, wrong))
    assert not works
    assert message.startswith("merchant_private_key is not the key of merchant_serial_no")
    assert "all three must belong to one API certificate" in message
    assert "Signed here: 'GET\\n/v3/" in message
    assert "signed for WeChat Pay: 'GET\\n/v3/" in message


@pytest.mark.parametrize("mode", MODES)
def test_a_wrong_serial_is_told(new_simulator: NewSimulator, new_client: NewClient, mode: str) -> None:
    simulator = new_simulator(key_mode=mode)
    works, message = examine(new_client(simulator, {"merchant_serial_no": "ABC123"}))
    assert not works
    assert message.startswith("merchant_serial_no ABC123 is not a certificate of merchant 1900000001")


@pytest.mark.parametrize("mode", MODES)
def test_a_wrong_clock_is_told(new_simulator: NewSimulator, new_client: NewClient, mode: str) -> None:
    simulator = new_simulator(key_mode=mode)
    works, message = examine(new_client(simulator, clock=lambda: time.time() + 1000))
    assert not works
    assert message.startswith("This machine's clock differs by 100")


def test_no_network_is_told(simulator: Any, new_client: NewClient) -> None:
    with closed_port() as url:
        works, message = examine(new_client(simulator, {"host": url}))
    assert not works
    assert message.startswith(f"No connection to {url}")


PACKAGES = [pytest.param(None, id="listed"), pytest.param(frozenset({PACKAGE}), id="refused")]
"""WeChat Pay may list the tasks of the package that no merchant has, or refuse; both answers are signed."""


@pytest.mark.parametrize("packages", PACKAGES)
@pytest.mark.parametrize("mode", ["public-key", "both"])
def test_a_wrong_public_key_is_told(
    new_simulator: NewSimulator, new_client: NewClient, mode: str, packages: frozenset[str] | None
) -> None:
    simulator = new_simulator(key_mode=mode, packages=packages)
    own = VECTORS["keys"]["wechatpay_public_key"]
    works, message = examine(new_client(simulator, {"wechatpay_public_key": own}))
    assert not works
    assert message.startswith("wechatpay_public_key is not WeChat Pay's PUB_KEY_ID_")


@pytest.mark.parametrize("packages", PACKAGES)
@pytest.mark.parametrize("mode", ["public-key", "both"])
def test_a_wrong_public_key_id_is_told(
    new_simulator: NewSimulator, new_client: NewClient, mode: str, packages: frozenset[str] | None
) -> None:
    simulator = new_simulator(key_mode=mode, packages=packages)
    works, message = examine(new_client(simulator, {"wechatpay_public_key_id": "PUB_KEY_ID_1"}))
    assert not works
    assert message.startswith("WeChat Pay does not sign with")
    assert "compare wechatpay_public_key_id" in message


@pytest.mark.parametrize("mode", ["certificates", "both"])
def test_a_wrong_apiv3_key_is_told(new_simulator: NewSimulator, new_client: NewClient, mode: str) -> None:
    simulator = new_simulator(key_mode=mode)
    simulator.add_fault(Fault("wrong-apiv3-key", on="certificates"))
    works, message = examine(new_client(simulator))
    assert not works
    assert "the APIv3 key (the connection's password) does not decrypt the certificate list" in message
    assert "or something altered the answer on its way" in message


def test_a_migration_that_is_over_is_told_but_works(new_simulator: NewSimulator, new_client: NewClient) -> None:
    simulator = new_simulator(key_mode="both")
    client = new_client(simulator)
    simulator.set_key_mode("public-key")
    works, message = examine(client)
    assert works
    assert "The merchant has no platform certificates any more: empty the password." in message


def test_a_missing_permission_is_told_but_the_keys_are_right(simulator: Any, new_client: NewClient) -> None:
    simulator.add_fault(Fault("forbidden", on="list"))
    works, message = examine(new_client(simulator))
    assert works
    assert "ask WeChat Pay for the permission" in message


def test_an_unsigned_refusal_proves_nothing(simulator: Any, new_client: NewClient) -> None:
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}"
    with raw_server(answer) as url:
        client = new_client(simulator, {"host": url})
        client.keys._downloaded_at = time.time()
        with pytest.raises(UnsignedRefusal, match="The answer is unsigned; a proxy or gateway may have answered"):
            list_tasks_page(client, PACKAGE)
        works, message = examine(client)
    assert not works
    assert "404" in message


def test_a_merchant_without_certificates_is_told_to_use_the_public_key(
    new_simulator: NewSimulator, new_client: NewClient
) -> None:
    simulator = new_simulator(key_mode="certificates")
    client = new_client(simulator)
    simulator.set_key_mode("public-key")
    with pytest.raises(UnsignedRefusal) as raised:
        client.encryption_key()
    told = str(raised.value)
    assert "404 RESOURCE_NOT_EXISTS: 无可用的平台证书" in told
    assert (
        "If WeChat Pay answers so, this merchant may have a public key only: then fill in wechatpay_public_key" in told
    )
    assert "if WeChat Pay signed it, this merchant signs with a public key: fill in wechatpay_public_key" in told
    assert "password" not in told
    assert "is not in WeChat Pay's list" not in told


def test_an_error_can_be_sent_between_processes(simulator: Any, new_client: NewClient) -> None:
    import pickle

    with pytest.raises(Unauthorized) as raised:
        list_tasks_page(new_client(simulator, {"merchant_serial_no": "ABC123"}), PACKAGE)
    again = pickle.loads(pickle.dumps(raised.value))
    assert str(again) == str(raised.value)
    assert again.refusal == raised.value.refusal


def test_a_walk_needs_no_more_pages_than_there_are(simulator: Any, new_client: NewClient) -> None:
    client = new_client(simulator)
    assert list(list_tasks(client, PACKAGE)) == []
    assert simulator.report()["requests"]["list"] == 1


def unsigned_answer(status: int, body: bytes) -> bytes:
    """An answer as it goes over the wire, without a signature."""
    return b"HTTP/1.1 %d No\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body


ADVICE = ("permission", "password", "APIv3 key", "merchant_", "wechatpay_", "package id", "Correct", "Signed here")
"""Words of what is to be done about keys, permissions and input."""


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 407, 413, 451, 429, 500, 504])
@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>No</body></html>",
        b"",
        b'{"error": "unauthorized"}',
        b'{"code": "UNAUTHORIZED", "message": "no token"}',
        b'{"code": 40301, "message": "blocked"}',
        b'{"code": "SIGN_ERROR"}',
    ],
    ids=["html", "empty", "error", "one-word", "number", "no-message"],
)
@pytest.mark.parametrize("path", ["/v3/certificates", f"/v3/marketing/bank/packages/{PACKAGE}/tasks"])
def test_what_a_gateway_says_is_worth_a_retry_and_no_advice(
    new_simulator: NewSimulator, new_client: NewClient, status: int, body: bytes, path: str
) -> None:
    answer = unsigned_answer(status, body)
    simulator = new_simulator(key_mode="certificates" if "certificates" in path else "public-key")
    with raw_server(answer) as url:
        client = new_client(simulator, {"host": url})
        ask = client.encryption_key if "certificates" in path else lambda: client.request("GET", path)
        with pytest.raises(TryLater) as raised:
            ask()
    assert not isinstance(raised.value, InvalidCredentials | Refused)
    told = str(raised.value)
    assert "The answer is unsigned; a proxy or gateway may have answered" in told
    assert not [word for word in ADVICE if word in told]


@pytest.mark.parametrize("code", ["INVALID_TOKEN", "AUTH_REQUIRED", "SIGN_ERRORS", "NOT_SIGN_ERROR"])
def test_a_401_with_a_code_that_wechat_pay_has_not_is_a_gateways(
    simulator: Any, new_client: NewClient, code: str
) -> None:
    body = b'{"code": "%s", "message": "No api key"}' % code.encode()
    with raw_server(unsigned_answer(401, body)) as url, pytest.raises(UnsignedRefusal) as raised:
        new_client(simulator, {"host": url}).request("GET", "/v3/certificates")
    assert not [word for word in ADVICE if word in str(raised.value)]


NO_CERTIFICATES = [
    (404, "RESOURCE_NOT_EXISTS", "无可用的平台证书，请在商户平台-API安全申请使用微信支付公钥"),
    (403, "NO_AUTH", "商户号无权限"),
    (500, "SYSTEM_ERROR", "系统异常，请稍后重试"),
    (400, "NOT_ENOUGH", "平台证书已过期失效"),
]


@pytest.mark.parametrize(("status", "code", "message"), NO_CERTIFICATES)
def test_how_a_merchant_with_only_the_public_key_looks_is_told_as_a_possibility(
    simulator: Any, new_client: NewClient, status: int, code: str, message: str
) -> None:
    body = f'{{"code":"{code}","message":"{message}"}}'.encode()
    answer = unsigned_answer(status, body)
    with raw_server(answer) as url:
        client = new_client(simulator, {"host": url})
        with pytest.raises(TryLater) as raised:
            client.encryption_key()
        works, told = examine(client)
    for text in (str(raised.value), told):
        assert message in text
        assert "a proxy or gateway may have answered" in text
        assert "If WeChat Pay answers so, this merchant may have a public key only: then fill in" in text
        assert "password" not in text
    assert not works


def test_the_same_answer_to_another_question_says_nothing_of_keys(simulator: Any, new_client: NewClient) -> None:
    """Neither a package that is not there, nor certificates that a migrating merchant has no more."""
    body = '{"code":"RESOURCE_NOT_EXISTS","message":"号码包不存在"}'.encode()
    answer = unsigned_answer(404, body)
    with raw_server(answer) as url:
        client = new_client(simulator, {"host": url})
        with pytest.raises(UnsignedRefusal, match="号码包不存在") as raised:
            list_tasks_page(client, PACKAGE)
    assert "public" not in str(raised.value)


def test_a_signed_refusal_is_verified_although_no_certificate_is_at_hand(
    new_simulator: NewSimulator, new_client: NewClient
) -> None:
    """So that what lasts is told as lasting by a process that has just started, too."""
    simulator = new_simulator(packages=frozenset({PACKAGE}))
    with pytest.raises(Refused, match="Check the package id") as raised:
        list_tasks_page(new_client(simulator), "8473296")
    assert raised.value.refusal.verified
    file = agreement_file(new_client(simulator), 1)
    simulator.add_fault(Fault("quota-reached", on="upload"))
    with pytest.raises(QuotaReached, match="WeChat Pay answered 429"):
        create_task(new_client(simulator), PACKAGE, *file)


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("商户未设置APIv3密钥", "Set the APIv3 key in the merchant platform"),
        ("商户未申请过证书", "Apply for an API certificate in the merchant platform"),
        ("商户证书序列号有误", "is not a certificate of merchant 1900000001"),
        ("商户证书已过期", "was withdrawn or has expired: renew it"),
        ("商户证书已作废", "was withdrawn or has expired: renew it"),
        ("商户证书序列号对应的证书已作废", "was withdrawn or has expired: renew it"),
        ("商户已更换证书", "was replaced: give the connection"),
        ("错误的签名，导致验签失败", "merchant_private_key is not the key of merchant_serial_no"),
        ("Http头Authorization值格式错误", "alters the header Authorization"),
        ("Http头Authorization认证类型不正确", "alters the header Authorization"),
        ("Http头Authorization中的timestamp与发起请求的时间不得超过5分钟", "Compare this machine's clock"),
        ("something new", "all three must belong to one API certificate"),
    ],
)
def test_each_message_of_a_refused_signature_has_its_own_advice(
    simulator: Any, new_client: NewClient, message: str, advice: str
) -> None:
    body = f'{{"code":"SIGN_ERROR","message":"{message}"}}'.encode()
    answer = unsigned_answer(401, body)
    with raw_server(answer) as url, pytest.raises(Unauthorized) as raised:
        list_tasks_page(new_client(simulator, {"host": url}), PACKAGE)
    told = str(raised.value)
    assert advice in told
    assert "Signed here: 'GET" in told
    assert "a proxy or gateway may have answered" in told


def test_in_certificate_mode_an_answer_by_a_public_key_says_what_to_fill_in(
    new_simulator: NewSimulator, new_client: NewClient
) -> None:
    simulator = new_simulator(key_mode="both")
    client = new_client(simulator, {"wechatpay_public_key": "", "wechatpay_public_key_id": ""})
    client.encryption_key()
    simulator.set_key_mode("public-key")
    with pytest.raises(UnknownSerial) as raised:
        list_tasks_page(client, PACKAGE)
    assert "this merchant signs with a public key: fill in wechatpay_public_key" in str(raised.value)


@pytest.mark.slow
def test_a_step_says_no_more_than_was_proven_by_then(simulator: Any, new_client: NewClient) -> None:
    connection = simulator.airflow_connection()
    simulator.add_fault(Fault("wrong-apiv3-key", on="certificates"))
    steps = {
        step.name: step
        for step in walk(connection["login"], connection["password"], connection["host"], connection["extra"])
    }
    assert steps["private key"].message.endswith(
        f"to sign as API certificate {connection['extra']['merchant_serial_no']}"
    )
    assert "are to be downloaded and decrypted" in steps["mode"].message
    assert (steps["signature"].outcome, steps["answers"].outcome) == ("skipped", "failed")
    simulator.clear_faults()
    answers = next(step for step in call_steps(new_client(simulator)) if step.name == "answers")
    assert answers.message.startswith("they verify; platform keys, the certificates decrypted with the APIv3 key: ")
