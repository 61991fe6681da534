# SPDX-License-Identifier: Apache-2.0
"""The transport against servers that say anything: only our errors come out, and nothing is read without bounds."""

from __future__ import annotations

import contextlib
import gzip
import ipaddress
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import (
    NotReached,
    OutcomeUnknown,
    TryLater,
    UnverifiedAnswer,
    WrongSignature,
    WxBankError,
)
from airflow_provider_wxbank.wechatpay.retries import MAX_ATTEMPTS
from airflow_provider_wxbank.wechatpay.sending import MAX_ANSWER_BYTES
from airflow_provider_wxbank.wechatpay.settings import read_settings
from tests.harness.drivers import BOTH_DRIVERS, sender_of
from tests.stress.fuzz_targets import NOW, signed_headers
from tests.vectors import VECTORS

pytestmark = BOTH_DRIVERS

KEYS = VECTORS["keys"]
FILE_BYTES = 1_900_000
CA_FILES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
Handler = Callable[[socket.socket], None]


@contextmanager
def server(handle: Handler, *, receive_bytes: int | None = None, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A URL where a thread handles each connection.

    :param receive_bytes: what the system takes of a connection before the handler reads it.
    """

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if tls is None:
                handle(connection)
            else:
                with tls.wrap_socket(connection, server_side=True) as wrapped:
                    handle(wrapped)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=one, args=(connection,)))
                threads[-1].start()

    threads: list[threading.Thread] = []
    with socket.socket() as listener:
        if receive_bytes is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        threads.append(threading.Thread(target=serve))
        threads[0].start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def head_of(connection: socket.socket) -> bytes:
    """A request's head, and perhaps what came with it; empty when there is none."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    return data


def body_after(connection: socket.socket, head: bytes, pause: Callable[[], object] = lambda: None) -> int:
    """Read the body of a request, with a pause after each piece; its length."""
    start, _, body = head.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in start.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
    received = len(body)
    while received < length:
        piece = connection.recv(32_768)
        if not piece:
            break
        received += len(piece)
        pause()
    return received


def always(answer: bytes) -> Handler:
    """Answer each request so, then close."""

    def handle(connection: socket.socket) -> None:
        if head := head_of(connection):
            # A connection that is closed with something unread in it is reset.
            body_after(connection, head)
            connection.sendall(answer)

    return handle


def endless(start: bytes, repeated: bytes, sent: list[int]) -> Handler:
    """Answer with these bytes, then with others again and again until nobody takes them; counts them."""

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(start)
        piece = repeated * (65536 // len(repeated))
        while True:
            connection.sendall(piece)
            sent.append(len(piece))

    return handle


def signed(body: bytes, *more: str) -> bytes:
    """A right answer."""
    lines = [f"{name}: {value}" for name, value in signed_headers(body, token_hex(16)).items()]
    head = "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *lines, *more, "", ""])
    return head.encode("latin-1") + body


def client_of(url: str, driver: str = "blocking", **extra: object) -> Client:
    """A client in public-key mode, at the time of the test vectors."""
    fields: dict[str, object] = {
        "merchant_serial_no": KEYS["merchant_serial"],
        "merchant_private_key": KEYS["merchant_private_pkcs8"],
        "wechatpay_public_key": KEYS["wechatpay_public_key"],
        "wechatpay_public_key_id": KEYS["wechatpay_public_key_id"],
        "connect_timeout": 2,
        "read_timeout": 2,
    }
    settings = read_settings(VECTORS["mchid"], None, url, {**fields, **extra})
    return Client(
        settings, clock=lambda: NOW, sleep=lambda _: None, random=lambda: 0.5, sender=sender_of(driver, settings)
    )


@pytest.fixture(autouse=True)
def no_ca_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the caller's own."""
    for name in CA_FILES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def client(request: pytest.FixtureRequest, driver: str) -> Callable[..., Client]:
    """Makes clients that are closed in the end."""

    def make(url: str, **extra: object) -> Client:
        one = client_of(url, driver, **extra)
        request.addfinalizer(one.close)
        return one

    return make


NewClient = Callable[..., Client]


def get(client: Client) -> Any:
    return client.request("GET", "/v3/x")


def post(client: Client, size: int = 2) -> Any:
    return client.request("POST", "/v3/x", json={"x": "x" * size})


# Redirects


REDIRECTS = {
    "with a body": b"Location: /\r\nContent-Length: 9\r\n\r\n<html>302",
    "with a body that is cut off": b"Location: https://elsewhere.example/\r\nContent-Length: 900\r\n\r\n<html>302",
    "to an address that is none": b"Location: http://[\r\nContent-Length: 0\r\n\r\n",
    "to bytes that are no text": b"Location: /\xff\r\nContent-Length: 0\r\n\r\n",
    "to nowhere": b"Content-Length: 0\r\n\r\n",
    "twice": b"Location: /a\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n",
    "with a broken body": b"Location: /\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.parametrize("rest", REDIRECTS.values(), ids=REDIRECTS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_told_as_one_whatever_it_holds(client: NewClient, status: int, rest: bytes, driver: str) -> None:
    # Else the second call may be sent over the first one's connection while that is closed.
    with server(always(b"HTTP/1.1 %d Moved\r\nConnection: close\r\n" % status + rest)) as url:
        message = rf"a redirect \({status}\), which is not followed; a proxy or gateway may have answered"
        if driver == "loop" and rest.endswith(b"zz\r\n"):
            # aiohttp reads what has come of the body before it tells of the headers.
            message = "what was answered is not HTTP"
        with pytest.raises(TryLater, match=message):
            get(client(url))
        with pytest.raises(OutcomeUnknown, match=message):
            post(client(url))


def test_the_body_of_a_redirect_is_neither_read_nor_unpacked(client: NewClient) -> None:
    body = gzip.compress(bytes(100_000_000), 1)
    head = b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    with server(always(head + body)) as url:
        tracemalloc.start()
        try:
            with pytest.raises(OutcomeUnknown, match="a redirect"):
                post(client(url))
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()


def test_nobody_is_asked_where_a_redirect_leads_to(client: NewClient) -> None:
    asked: list[bytes] = []

    def elsewhere(connection: socket.socket) -> None:
        asked.append(head_of(connection))

    with server(elsewhere) as there:
        answer = f"HTTP/1.1 307 Moved\r\nLocation: {there}/v3/x\r\nContent-Length: 0\r\n\r\n".encode()
        with server(always(answer)) as url, pytest.raises(OutcomeUnknown):
            post(client(url))
    assert asked == []


# Answers that are none


HOSTILE = {
    "nothing": b"",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "an old protocol": b"HTTP/0.9 200 OK\r\n\r\n{}",
    "a new protocol": b"HTTP/2.0 200 OK\r\n\r\n{}",
    "a status that is no number": b"HTTP/1.1 2OO OK\r\n\r\n",
    "a status of one digit": b"HTTP/1.1 2 OK\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a status that nobody has": b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
    "no last status": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + signed(b"{}"),
    "another protocol from now on": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "a long status line": b"HTTP/1.1 200 " + b"x" * 70_000 + b"\r\n\r\n",
    "a long header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 1000 + b"\r\n",
    "a head that is cut off": b"HTTP/1.1 200 OK\r\nContent-Le",
    "lines that are no headers": b"HTTP/1.1 200 OK\r\nno header\r\n: none\r\n\x00\xff: \xff\r\n\r\n{}",
    "headers that are no latin": "HTTP/1.1 200 号码包\r\n号码包: 号码包\r\n\r\n{}".encode(),
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n{}",
    "a length of 5000 digits": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
    "a length of full-width digits": "HTTP/1.1 200 OK\r\nContent-Length: ２\r\n\r\n{}".encode(),
    "less than its length": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
    "a size of a chunk that is none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a negative chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    "a huge chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n{}",
    "a chunk of 5000 digits": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 5000 + b"\r\n{}",
    "chunks that end early": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "an unknown transfer encoding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a cookie that is none": b"HTTP/1.1 200 OK\r\nSet-Cookie: \xff=\x00; expires=never; max-age=x\r\n\r\n{}",
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
def test_whatever_is_answered_is_our_own_error(client: NewClient, answer: bytes, driver: str) -> None:
    with server(always(answer)) as url:
        if driver == "loop" and answer.startswith(b"HTTP/1.1 103"):
            # aiohttp knows these hints, and goes on to the answer behind them, which is signed.
            assert get(client(url)) == {}
            return
        with pytest.raises((TryLater, UnverifiedAnswer)) as raised:
            get(client(url))
        assert str(raised.value).isprintable()
        with pytest.raises(OutcomeUnknown, match="Whether it was taken is not known"):
            post(client(url))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: x\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", b"x"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", b"x"),
    ],
    ids=["100 Continue", "header", "trailer", "chunks", "chunk size", "until closed", "long", "redirect"],
)
def test_what_never_ends_is_ended(client: NewClient, start: bytes, repeated: bytes) -> None:
    sent: list[int] = []
    started = time.monotonic()
    with server(endless(start, repeated, sent)) as url, pytest.raises(OutcomeUnknown):
        post(client(url))
    # What the systems' buffers hold comes on top.
    assert sum(sent) < MAX_ANSWER_BYTES + 20_000_000
    assert time.monotonic() - started < 60


def test_a_cookie_is_never_sent_back(client: NewClient) -> None:
    heads: list[bytes] = []
    cookie = b"Set-Cookie: session=of-a-gateway; Path=/\r\nSet-Cookie: other=one\r\n"

    def handle(connection: socket.socket) -> None:
        while head := head_of(connection):
            heads.append(head)
            if len(heads) == 1:
                connection.sendall(b"HTTP/1.1 500 Oops\r\n" + cookie + b"Content-Length: 2\r\n\r\n{}")
            else:
                connection.sendall(signed(b"{}", "Set-Cookie: third=one"))

    with server(handle) as url:
        one = client(url)
        assert get(one) == get(one) == {}
        one.close()
    assert len(heads) == 3
    assert not [head for head in heads if b"cookie" in head.lower()]


def test_what_follows_an_answer_is_no_answer_to_the_next_call(client: NewClient) -> None:
    """Two answers to one call: the second must not be taken for that of the next call."""
    answers = iter([signed(b'{"for":1}') + signed(b'{"for":"nobody"}'), signed(b'{"for":2}')])

    def handle(connection: socket.socket) -> None:
        while head_of(connection):
            connection.sendall(next(answers))

    with server(handle) as url:
        one = client(url)
        assert [get(one), get(one)] == [{"for": 1}, {"for": 2}]
        one.close()


@pytest.mark.parametrize(
    "path", ["/v3/%e5%8f%b7", "/v3/%41%2f~%7E", "/v3/a/../b", "/v3/x;y=1,2", "/v3/%zz", "/v3/x@y:(z)!$&'*+="]
)
def test_what_is_signed_is_what_goes_over_the_wire(client: NewClient, path: str) -> None:
    """The answer is a 401, whose message has the string that was signed."""
    targets: list[str] = []

    def handle(connection: socket.socket) -> None:
        targets.append(head_of(connection).split(b" ")[1].decode())
        body = b'{"code":"SIGN_ERROR","message":"x"}'
        head = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
        connection.sendall(head + body)

    with server(handle) as url, pytest.raises(WxBankError) as raised:
        client(url).request("GET", path, params={"a": "号 码/é"})
    assert {f"'GET\\n{target}\\n" in str(raised.value).replace('"', "'") for target in targets} == {True}


@pytest.mark.parametrize("wrong", [{"method": "PO\r\nST"}, {"serial_no": "号码"}])
def test_a_request_that_http_cannot_carry_is_not_sent(client: NewClient, wrong: dict[str, str]) -> None:
    heads: list[bytes] = []
    with server(lambda connection: heads.append(head_of(connection))) as url:
        with pytest.raises(WxBankError) as raised:
            client(url).request(**{"method": "POST", "path": "/v3/x", "json": {}, **wrong})  # type: ignore[arg-type]
        assert not isinstance(raised.value, OutcomeUnknown)
    assert not any(heads)


# Sending


@pytest.mark.slow
def test_a_slow_line_is_no_reason_to_fail(client: NewClient) -> None:
    """1.9 MB take five times as long as either timeout."""
    pace = threading.Event()
    received: list[int] = []

    def handle(connection: socket.socket) -> None:
        received.append(body_after(connection, head_of(connection), lambda: pace.wait(0.025)))
        connection.sendall(signed(b"{}"))

    with server(handle, receive_bytes=32_768) as url:
        started = time.monotonic()
        assert post(client(url, connect_timeout=0.3, read_timeout=0.3), FILE_BYTES) == {}
        assert time.monotonic() - started > 1.2
    assert received == [FILE_BYTES + len('{"x":""}')]


def test_a_line_that_takes_nothing_more_is_given_up_and_told_with_its_field(client: NewClient) -> None:
    given_up = threading.Event()

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        given_up.wait(60)

    with server(handle, receive_bytes=32_768) as url:
        started = time.monotonic()
        try:
            with pytest.raises(OutcomeUnknown, match=r"took nothing more .* for 0\.4 s; .* raise read_timeout in the"):
                post(client(url, connect_timeout=5, read_timeout=0.4), FILE_BYTES)
            assert 0.4 <= time.monotonic() - started < 4
        finally:
            given_up.set()


def test_a_reading_call_that_cannot_be_sent_goes_to_the_backup_host(client: NewClient) -> None:
    """It counts as timed out."""
    given_up = threading.Event()

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        given_up.wait(60)

    def answer(connection: socket.socket) -> None:
        body_after(connection, head_of(connection))
        connection.sendall(signed(b"{}"))

    with server(handle, receive_bytes=32_768) as url, server(answer) as backup:
        try:
            one = client(url, backup_host=backup, connect_timeout=5, read_timeout=0.4)
            assert one.request("POST", "/v3/x", json={"x": "x" * FILE_BYTES}, repeatable=True) == {}
        finally:
            given_up.set()


def test_an_answer_that_comes_before_all_is_sent_is_read(client: NewClient) -> None:
    def handle(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    with server(handle) as url, pytest.raises(OutcomeUnknown, match="a redirect"):
        post(client(url), FILE_BYTES)


# Headers that make a signature say nothing


@pytest.mark.parametrize("name", [*signed_headers(b"", "N"), "wechatpay-NONCE", "Wechatpay-Signature-Type"])
def test_a_header_of_the_signature_that_comes_twice_is_told(client: NewClient, name: str) -> None:
    value = next((value for key, value in signed_headers(b"{}", "N").items() if key.lower() == name.lower()), "x")
    lines = [f"{name}: {value}"] * (2 if name.endswith("Type") else 1)
    message = rf"has {name.title()} more than once, so its signature says nothing"
    with server(always(signed(b"{}", *lines, "Connection: close"))) as url:
        with pytest.raises(UnverifiedAnswer, match=message) as raised:
            get(client(url))
        assert not isinstance(raised.value, WrongSignature)
        with pytest.raises(OutcomeUnknown, match=message):
            post(client(url))


@pytest.mark.parametrize("encoding", ["identity", "Identity", " IDENTITY ", "", "identity, identity"])
def test_an_answer_that_says_that_it_is_not_packed_is_taken(client: NewClient, encoding: str) -> None:
    with server(always(signed(b"{}", f"Content-Encoding: {encoding}"))) as url:
        assert get(client(url)) == {}


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "identity, gzip", "x-unknown"])
def test_an_answer_that_is_packed_unasked_is_told_and_not_unpacked(client: NewClient, encoding: str) -> None:
    answer = signed(gzip.compress(b"{}"), f"Content-Encoding: {encoding}", "Connection: close")
    with server(always(answer)) as url:
        with pytest.raises(UnverifiedAnswer, match="compressed, although that was not asked for"):
            get(client(url))
        with pytest.raises(OutcomeUnknown, match="compressed, although that was not asked for"):
            post(client(url))


# TLS and its certificates


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that signs itself, and beside it ``key.pem``."""
    folder = tmp_path_factory.mktemp("tls")
    key = generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    return folder / "cert.pem"


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    return context


@pytest.mark.parametrize("name", CA_FILES)
def test_the_environment_says_whose_certificates_are_trusted(
    client: NewClient, certificate: Path, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def handle(connection: socket.socket) -> None:
        body_after(connection, head_of(connection))
        connection.sendall(signed(b"{}"))

    with server(handle, tls=tls) as url:
        with pytest.raises(NotReached, match="the TLS connection was refused"):
            post(client(url))
        # What OpenSSL's own programs read is not asked.
        monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
        monkeypatch.setenv(name, str(certificate))
        assert post(client(url), FILE_BYTES) == {}


@pytest.mark.parametrize("name", CA_FILES)
@pytest.mark.parametrize("content", [None, b"", b"no certificate\n", b"\xff\x00"])
def test_a_ca_file_that_cannot_be_read_is_told_and_nothing_was_sent(
    client: NewClient,
    tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    content: bytes | None,
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(name, str(path))
    message = r"the file of CA certificates cannot be read: .*ca\.pem: .*_CA_BUNDLE"
    with server(always(signed(b"{}")), tls=tls) as url, pytest.raises(NotReached, match=message):
        post(client(url))


# Proxies


@contextmanager
def proxy() -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that refuses everything, and what it was asked."""
    asked: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        asked.append(head_of(connection))
        connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with server(handle) as url:
        yield url, asked


@contextmanager
def closed() -> Iterator[int]:
    """A port that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.mark.parametrize("place", ["environment", "connection"])
@pytest.mark.parametrize(
    ("host", "backup"),
    [
        ("http://127.0.0.1:{port}", ""),
        ("http://localhost:{port}", ""),
        ("http://127.1.2.3:{port}", ""),
        ("https://127.0.0.1:{port}", ""),
        ("https://localhost:{port}", ""),
        ("https://pay.example", "http://127.0.0.1:{port}"),
        ("https://pay.example", "https://127.0.0.1:{port}"),
        ("http://127.0.0.1:{port}", "https://pay.example"),
    ],
)
def test_this_machine_is_never_asked_through_a_proxy(
    client: NewClient, monkeypatch: pytest.MonkeyPatch, place: str, host: str, backup: str
) -> None:
    with proxy() as (url, asked), closed() as port:
        extra: dict[str, object] = {"backup_host": backup.format(port=port)}
        if place == "connection":
            extra["proxies"] = {"http": url, "https": url, "all": url}
        else:
            monkeypatch.delenv("NO_PROXY", raising=False)
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(name, url)
        with pytest.raises(NotReached):
            post(client(host.format(port=port), **extra))
    # Another machine is asked for a tunnel to it, which shows that the proxy is one.
    lines = {head.partition(b"\r\n")[0].rpartition(b" ")[0] for head in asked}
    assert lines == ({b"CONNECT pay.example:443"} if "pay.example" in host + backup else set())


def test_the_proxies_of_the_connection_come_before_those_of_the_environment(
    client: NewClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with proxy() as (own, asked), proxy() as (other, asked_other):
        monkeypatch.setenv("HTTPS_PROXY", other)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(NotReached, match="the proxy did not connect: .*403"):
            get(client("https://pay.example", proxies=own))
    assert (len(asked), len(asked_other)) == (MAX_ATTEMPTS, 0)
