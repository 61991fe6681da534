# SPDX-License-Identifier: Apache-2.0
"""What each fault must do, as a client over a socket sees it."""

from __future__ import annotations

import gzip
import io
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.client import HTTPResponse, IncompleteRead, LineTooLong, RemoteDisconnected
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag

from tests.harness.raw_client import (
    CERTIFICATES,
    PATIENCE_SECONDS,
    tasks_path,
)
from tests.harness.simulators import NOON, Bank


def check_error(status: int, code: str) -> Callable[[Bank, str], None]:
    def check(bank: Bank, package: str) -> None:
        answer = bank.client.tasks(package)
        assert (answer.status, answer.value["code"]) == (status, code)
        bank.key.verify(answer)

    return check


def check_gateway(status: int) -> Callable[[Bank, str], None]:
    def check(bank: Bank, package: str) -> None:
        answer = bank.client.tasks(package)
        assert (answer.status, answer.headers["Content-Type"]) == (status, "text/html")
        assert answer.body.startswith(b"<html>")
        assert not answer.is_signed

    return check


def check_unsigned_error(status: int, code: str) -> Callable[[Bank, str], None]:
    def check(bank: Bank, package: str) -> None:
        answer = bank.client.tasks(package)
        assert (answer.status, answer.value["code"]) == (status, code)
        assert not answer.is_signed

    return check


def check_replay(bank: Bank, package: str) -> None:
    """What was answered to the upload comes to the question for the list, signature and all."""
    answer = bank.client.tasks(package)
    assert answer.value["filename"] == "file-0001.csv"
    assert answer.value.keys().isdisjoint({"data", "total_count"})
    bank.key.verify(answer)
    assert bank.client.tasks(package).headers["Wechatpay-Nonce"] == answer.headers["Wechatpay-Nonce"]


def check_redirect(bank: Bank, package: str) -> None:
    answer = bank.client.tasks(package)
    assert (answer.status, answer.headers["Location"]) == (302, "http://127.0.0.1:1/")


def check_redirect_nowhere(bank: Bank, package: str) -> None:
    answer = bank.client.tasks(package)
    assert (answer.status, answer.headers["Location"]) == (307, "http://[")
    assert answer.body.startswith(b"<html>")


def check_redirect_bomb(bank: Bank, package: str) -> None:
    answer = bank.client.tasks(package)
    assert (answer.status, answer.headers["Content-Encoding"]) == (302, "gzip")
    assert len(answer.body) < 2_000_000
    unpacked = gzip.GzipFile(fileobj=io.BytesIO(answer.body))
    assert sum(len(piece) for piece in iter(lambda: unpacked.read(10_000_000), b"")) == 1_000_000_000


def check_reset(bank: Bank, package: str) -> None:
    with pytest.raises(ConnectionResetError) as caught:
        bank.client.tasks(package)
    assert not isinstance(caught.value, RemoteDisconnected)


def check_drop(bank: Bank, package: str) -> None:
    with pytest.raises(RemoteDisconnected):
        bank.client.tasks(package)


def check_hang(bank: Bank, package: str) -> None:
    begin = time.monotonic()
    with pytest.raises(RemoteDisconnected):
        bank.client.tasks(package)
    assert 0.2 <= time.monotonic() - begin < PATIENCE_SECONDS


def opened_list(bank: Bank, package: str) -> Any:
    return bank.client.opened("GET", tasks_path(package), bank.client.signed("GET", tasks_path(package)))


def assert_half(response: HTTPResponse) -> None:
    length = int(response.headers["Content-Length"])
    with pytest.raises(IncompleteRead) as caught:
        response.read()
    assert len(caught.value.partial) == length // 2
    assert caught.value.partial.startswith(b'{"data":[')


def check_hang_during(bank: Bank, package: str) -> None:
    with opened_list(bank, package) as response:
        begin = time.monotonic()
        assert_half(response)
        assert 0.15 <= time.monotonic() - begin < PATIENCE_SECONDS


def check_truncate(bank: Bank, package: str) -> None:
    with opened_list(bank, package) as response:
        assert response.status == 200
        assert_half(response)


def check_slow(bank: Bank, package: str) -> None:
    begin = time.monotonic()
    answer = bank.client.tasks(package)
    assert 0.2 <= time.monotonic() - begin < PATIENCE_SECONDS
    assert answer.status == 200
    bank.key.verify(answer)


def check_trickle(bank: Bank, package: str) -> None:
    with opened_list(bank, package) as response:
        begin = time.monotonic()
        assert [response.read1(100) for _ in range(4)] == [b"{", b'"', b"d", b"a"]
        assert 0.2 <= time.monotonic() - begin < PATIENCE_SECONDS


@contextmanager
def opened_socket(
    bank: Bank, method: str, url: str, headers: Mapping[str, str | None], body: bytes
) -> Iterator[socket.socket]:
    """A request on a socket of its own, whose answer is still to be read."""
    address = urlsplit(bank.simulator.base_url)
    with socket.create_connection((address.hostname, address.port), timeout=PATIENCE_SECONDS) as connection:
        sent = {"User-Agent": "raw-client", "Accept": "application/json", **headers, "Content-Length": str(len(body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        connection.sendall(f"{method} {url} HTTP/1.1\r\nHost: {address.netloc}\r\n{lines}\r\n".encode() + body)
        yield connection


def check_trickle_headers(bank: Bank, package: str) -> None:
    url = tasks_path(package)
    with opened_socket(bank, "GET", url, bank.client.signed("GET", url), b"") as connection:
        begin = time.monotonic()
        assert [connection.recv(100) for _ in range(4)] == [b"H", b"T", b"T", b"P"]
        assert 0.2 <= time.monotonic() - begin < PATIENCE_SECONDS


def check_endless(bank: Bank, package: str) -> None:
    with opened_list(bank, package) as response:
        assert response.status == 200
        assert response.read(10_000_000) == b" " * 10_000_000


def check_huge_header(bank: Bank, package: str) -> None:
    with pytest.raises(LineTooLong):
        bank.client.tasks(package)


def check_json_bomb(bank: Bank, package: str) -> None:
    answer = bank.client.tasks(package)
    assert answer.body == b"[" * 1_000_000
    bank.key.verify(answer)


def check_unsigned(bank: Bank, package: str) -> None:
    answer = bank.client.tasks(package)
    assert (answer.status, answer.value["total_count"]) == (200, 1)
    assert not answer.is_signed


def check_tampered(bank: Bank, package: str) -> None:
    answer = bank.client.tasks(package)
    with pytest.raises(InvalidSignature):
        bank.key.verify(answer)
    original = answer.body[:-2] + bytes([answer.body[-2] ^ 1]) + answer.body[-1:]
    bank.key.verify(replace(answer, body=original))


def check_stale(bank: Bank, package: str) -> None:
    answer = bank.client.tasks(package)
    assert answer.headers["Wechatpay-Timestamp"] == str(int(NOON) - 600)
    bank.key.verify(answer)


def check_unknown_serial(bank: Bank, package: str) -> None:
    answer = bank.client.tasks(package)
    assert answer.is_signed
    assert answer.headers["Wechatpay-Serial"] != bank.key.serial_no
    with pytest.raises(InvalidSignature):
        bank.key.verify(answer)


def check_signtest(length: int) -> Callable[[Bank, str], None]:
    def check(bank: Bank, package: str) -> None:
        answer = bank.client.tasks(package)
        assert answer.status == 200
        signature = answer.headers["Wechatpay-Signature"]
        assert signature.startswith("WECHATPAY/SIGNTEST/")
        assert len(signature) == length

    return check


def check_expired_certificate(bank: Bank, package: str) -> None:
    (item,) = bank.client.call("GET", CERTIFICATES).value["data"]
    now = datetime.fromtimestamp(NOON, UTC)
    assert bank.client.certificate(item).not_valid_after_utc < now
    assert datetime.fromisoformat(item["expire_time"]) < now


def check_lying_certificates(bank: Bank, package: str) -> None:
    answer = bank.client.call("GET", CERTIFICATES)
    assert [item["serial_no"] for item in answer.value["data"]] == [bank.key.serial_no]
    assert answer.headers["Wechatpay-Serial"] != bank.key.serial_no
    with pytest.raises(InvalidSignature):
        bank.key.verify(answer)


def check_wrong_apiv3_key(bank: Bank, package: str) -> None:
    (item,) = bank.client.call("GET", CERTIFICATES).value["data"]
    with pytest.raises(InvalidTag):
        bank.client.certificate(item)


def check_forged_certificates(bank: Bank, package: str) -> None:
    assert not is_signed_by_root(bank)


def check_withdrawn_certificate(bank: Bank, package: str) -> None:
    """The root has signed it, earlier than the one in use."""
    in_use = bank.simulator.platform.certificates[0]
    assert is_signed_by_root(bank)
    (item,) = bank.client.call("GET", CERTIFICATES).value["data"]
    assert bank.client.certificate(item).not_valid_before_utc.timestamp() < in_use.effective


def is_signed_by_root(bank: Bank) -> bool:
    """Whether the root has signed the one certificate in the list, which has signed the list and is not in use."""
    answer = bank.client.call("GET", CERTIFICATES)
    (item,) = answer.value["data"]
    certificate = bank.client.certificate(item)
    assert answer.headers["Wechatpay-Serial"] == item["serial_no"] == f"{certificate.serial_number:X}"
    assert item["serial_no"] != bank.key.serial_no
    root = x509.load_pem_x509_certificate(bank.simulator.root_certificate.encode())
    assert certificate.issuer == root.subject
    try:
        certificate.verify_directly_issued_by(root)
    except InvalidSignature:
        return False
    return True


def check_changing_page(bank: Bank, package: str) -> None:
    for count in (2, 3):
        value = bank.client.tasks(package).value
        names = [task["filename"] for task in value["data"]]
        assert (value["total_count"], names.index("file-0001.csv")) == (count, count - 1)


def check_lost_rows(bank: Bank, package: str) -> None:
    bank.put(package, *(f"62220200000{number:05d}" for number in range(21)), name="file-0002.csv")
    whole, short = bank.client.report()["packages"][package]["tasks"]
    assert [whole[name] for name in ("rows", "success_count", "fail_count")] == [1, 1, 0]
    assert [short[name] for name in ("rows", "success_count", "fail_count")] == [21, 18, 0]


FAULTS: Mapping[str, Callable[[Bank, str], None]] = {
    "too-many-requests": check_error(429, "FREQUENCY_LIMITED"),
    "quota-reached": check_error(429, "FREQUENCY_LIMIT_EXCEED"),
    "internal-error": check_error(500, "SYSTEM_ERROR"),
    "bad-gateway": check_gateway(502),
    "gateway-401": check_gateway(401),
    "gateway-403": check_gateway(403),
    "gateway-404": check_gateway(404),
    "gateway-407": check_gateway(407),
    "gateway-413": check_gateway(413),
    "unsigned-quota": check_unsigned_error(429, "FREQUENCY_LIMIT_EXCEED"),
    "unsigned-sign-error": check_unsigned_error(401, "SIGN_ERROR"),
    "replay": check_replay,
    "unavailable": check_error(503, "SERVICE_UNAVAILABLE"),
    "forbidden": check_error(403, "NO_AUTH"),
    "accepted": check_error(202, "ACCEPTED"),
    "redirect": check_redirect,
    "redirect-nowhere": check_redirect_nowhere,
    "redirect-bomb": check_redirect_bomb,
    "reset": check_reset,
    "drop": check_drop,
    "hang": check_hang,
    "hang-during": check_hang_during,
    "truncate": check_truncate,
    "slow": check_slow,
    "trickle": check_trickle,
    "trickle-headers": check_trickle_headers,
    "endless": check_endless,
    "huge-header": check_huge_header,
    "json-bomb": check_json_bomb,
    "unsigned": check_unsigned,
    "tampered": check_tampered,
    "stale": check_stale,
    "unknown-serial": check_unknown_serial,
    "signtest": check_signtest(344),
    "signtest-prefix": check_signtest(363),
    "expired-certificate": check_expired_certificate,
    "lying-certificates": check_lying_certificates,
    "wrong-apiv3-key": check_wrong_apiv3_key,
    "forged-certificates": check_forged_certificates,
    "withdrawn-certificate": check_withdrawn_certificate,
    "changing-page": check_changing_page,
    "lost-rows": check_lost_rows,
}
