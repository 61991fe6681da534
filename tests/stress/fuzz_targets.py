# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed: everything of the package that takes bytes from outside.

A target takes any bytes. It returns when the package did what it should, with its own errors or without; anything else
that it raises is a defect, and so is taking long. Inputs that once were defects are kept in ``tests/stress/crashes``
and given to the targets again by ``tests/packages/test_hostile_input.py``.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import socket
import tempfile
import threading
from base64 import b64decode, b64encode, encodebytes
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import fsspec
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from requests import Request
from requests.structures import CaseInsensitiveDict

from airflow_provider_wxbank.agreements import manifest as manifests
from airflow_provider_wxbank.agreements.lines import check_encrypted
from airflow_provider_wxbank.agreements.numbers import problem
from airflow_provider_wxbank.agreements.seal import sealed
from airflow_provider_wxbank.agreements.sources.dialect import Dialect
from airflow_provider_wxbank.agreements.sources.files import read_files
from airflow_provider_wxbank.agreements.sources.streams import MAX_LINE_BYTES
from airflow_provider_wxbank.agreements.storage import Location
from airflow_provider_wxbank.packages.connection_check import call_steps, in_one_message
from airflow_provider_wxbank.packages.endpoints import create_task, find_task, list_tasks
from airflow_provider_wxbank.packages.poll import poll
from airflow_provider_wxbank.packages.tasks import parse_time
from airflow_provider_wxbank.packages.wanted import wanted
from airflow_provider_wxbank.wechatpay.calls import Answer, SignedCall
from airflow_provider_wxbank.wechatpay.client import Client, Sender
from airflow_provider_wxbank.wechatpay.crypto import pem, sm2
from airflow_provider_wxbank.wechatpay.crypto.certificates import read_certificates, verified_certificates
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import find_key
from airflow_provider_wxbank.wechatpay.crypto.rsa import MAX_KEY_BITS, MIN_KEY_BITS, RSA, RsaPublicKey
from airflow_provider_wxbank.wechatpay.crypto.sm2 import SM2, Sm2PublicKey
from airflow_provider_wxbank.wechatpay.crypto.verification import Nonces, verify
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidCredentials,
    InvalidInput,
    UnknownSerial,
    UnverifiedAnswer,
    WxBankError,
)
from airflow_provider_wxbank.wechatpay.flows import run
from airflow_provider_wxbank.wechatpay.sending import NoAnswer
from airflow_provider_wxbank.wechatpay.settings import is_loopback, read_settings
from airflow_provider_wxbank.wechatpay.transport import Transport
from tests.vectors import SHANGMI, VECTORS

KEYS = VECTORS["keys"]
APIV3_KEY = KEYS["apiv3_key"]
PACKAGE = "8473295"
FILENAME = "active_user_0001.csv"
NOW = float(VECTORS["responses"][0]["headers"]["Wechatpay-Timestamp"])
NAMING_KEY = b"k" * 32
PEM_LABELS = ("PRIVATE KEY", "RSA PRIVATE KEY", "PUBLIC KEY", "CERTIFICATE", "EC PRIVATE KEY", "RSA PUBLIC KEY")
QUOTE = 24
"""Characters of an input that a message must not repeat."""


@dataclass(frozen=True, slots=True)
class Target:
    """Something that takes bytes from outside.

    :param seeds: inputs to start from.
    :param words: what is worth putting into inputs.
    :param max_bytes: longest input.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    words: tuple[str, ...] = ()
    max_bytes: int = 20_000


def shown(failure: WxBankError) -> str:
    """The text of an error, which must be one that a log can take."""
    text = str(failure)
    text.encode()
    assert text.isprintable(), "a message could forge lines of a log"
    assert len(text) < 10_000
    return text


# Answers of WeChat Pay, through the whole client


class Canned:
    """In the place of the transport: answers as the fuzzer wants them, then none."""

    def __init__(self, answers: Iterable[bytes]) -> None:
        self._answers = iter(answers)
        self._nonces = count(1)

    def exchange(self, base_url: str, signed: SignedCall) -> Answer:
        """The next answer: a line with the status and perhaps ``signed``, header lines, an empty line, the body."""
        data = next(self._answers, None)
        if data is None:
            raise NoAnswer("no answer within 1 s", timed_out=True)
        head, _, body = data.partition(b"\n\n")
        first, *lines = head.split(b"\n")
        words = first.split()
        digits = words[0].decode("latin-1") if words else ""
        status = int(digits) if digits.isascii() and digits.isdigit() and len(digits) == 3 else 200
        headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
        for line in lines:
            name, _, value = line.partition(b":")
            headers[name.decode("latin-1").strip()] = _header(value)
        if b"signed" in words[1:]:
            headers.update(signed_headers(body, f"N{next(self._nonces)}"))
        return Answer(status, headers, body)

    def close(self) -> None:
        """Nothing to close."""


def _header(value: bytes) -> str:
    return value.decode("latin-1").replace("\r", "").strip()


def signed_headers(body: bytes, nonce: str) -> dict[str, str]:
    """The headers of a right signature with WeChat Pay's public key of the test vectors."""
    timestamp = str(int(NOW))
    message = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
    signature = private_key("wechatpay_public_private").sign(message, PKCS1v15(), SHA256())
    return {
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Serial": KEYS["wechatpay_public_key_id"],
        "Wechatpay-Signature": b64encode(signature).decode(),
    }


@cache
def private_key(name: str) -> RSAPrivateKey:
    """A private key of the test vectors."""
    key = load_pem_private_key(KEYS[name].encode(), None)
    assert isinstance(key, RSAPrivateKey)
    return key


@cache
def _settings() -> Any:
    extra = {
        "merchant_serial_no": KEYS["merchant_serial"],
        "merchant_private_key": KEYS["merchant_private_pkcs8"],
        "wechatpay_public_key": KEYS["wechatpay_public_key"],
        "wechatpay_public_key_id": KEYS["wechatpay_public_key_id"],
    }
    return read_settings(VECTORS["mchid"], APIV3_KEY, "http://127.0.0.1:1", extra)


def canned_client(answers: Iterable[bytes]) -> Client:
    """A client that gets these answers, in the mode that takes certificates and the public key."""
    return client_over(Canned(answers))


def client_over(sender: Sender) -> Client:
    """A client that sends so."""
    return Client(
        _settings(), clock=lambda: NOW, sleep=lambda _: None, random=lambda: 0.5, believed=Nonces(), sender=sender
    )


def fuzz_client(data: bytes) -> None:
    """Operation, newline, and the answers that the client gets, with ``====`` between them."""
    operation, _, rest = data.partition(b"\n")
    client = canned_client(rest.split(b"\n====\n"))
    with suppress(WxBankError):
        try:
            _operate(client, operation)
        except WxBankError as failure:
            shown(failure)
            raise


def _operate(client: Client, operation: bytes) -> None:
    match operation:
        case b"create":
            task = create_task(client, PACKAGE, b"x\n", "ICBC_DEBIT", FILENAME, KEYS["wechatpay_public_key_id"])
            assert task.filename == FILENAME
        case b"find":
            found = find_task(client, PACKAGE, FILENAME)
            assert found is None or found.filename == FILENAME
        case b"poll":
            seen = run(poll(client, wanted(PACKAGE)))
            assert seen.note.isprintable()
        case b"examine":
            _, text = in_one_message(call_steps(client))
            assert text.isprintable()
        case b"request":
            client.request("POST", "/v3/x", json={})
        case _:
            ids = [task.task_id for task in list_tasks(client, PACKAGE)]
            assert len(ids) == len(set(ids))
            assert "".join(ids).isprintable()


def client_seeds() -> list[bytes]:
    """Every operation with answers that suit it, and with some that do not."""
    task = VECTORS["responses"][0]["body"].encode()
    finished = json.dumps({**json.loads(task), "status": "FINISHED", "success_count": 3}).encode()
    page = b'{"total_count":1,"offset":0,"limit":20,"data":[%s]}' % finished
    empty = b'{"total_count":0,"data":null}'
    information = {"truncated_sign_message": "POST\n/v3\n1\nN\n", "sign_message_length": 5}
    refusal = json.dumps(
        {
            "code": "SIGN_ERROR",
            "message": "签名错误",
            "detail": {"field": "x", "issue": "y", "detail": {"location": "body"}, "sign_information": information},
        }
    ).encode()
    certificates = _list_answer()
    pages = b"\n====\n".join(
        b'200 signed\n\n{"total_count":3,"data":[%s]}' % page_of
        for page_of in (
            finished,
            finished.replace(b'"101"', b'"102"'),
            finished.replace(b'"101"', b'"103"'),
        )
    )
    return [
        b"create\n200 signed\n\n" + task,
        b"create\n200\n\n" + task,
        b"create\n401\nDate: Mon, 23 Nov 2026 12:00:00 GMT\nRequest-ID: 08F5\n\n" + refusal,
        b"create\n500\n\n" + refusal,
        b"find\n200 signed\n\n" + page,
        b"find\n404 signed\nRequest-ID: 1\n\n" + refusal,
        b"list\n" + pages,
        b"poll\n200 signed\n\n" + empty + b"\n====\n200 signed\n\n" + page,
        b"examine\n403 signed\n\n" + refusal,
        b"request\n429 signed\n\n" + refusal,
        b"request\n204 signed\n\n",
        certificates,
    ]


def _list_answer() -> bytes:
    response = VECTORS["certificates"]["response"]
    headers = "".join(f"{name}: {value}\n" for name, value in response["headers"].items()).encode()
    page = b"200\n" + headers + b"\n" + b64decode(response["body_base64"])
    return b"find\n200\nWechatpay-Serial: 5157F09E\nWechatpay-Timestamp: 1\n\n{}\n====\n" + page


# What comes over a socket


class _RawServer:
    """Answers each request, on a connection of its own, with the same bytes."""

    def __init__(self) -> None:
        self.answer = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, name="raw-server", daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection, suppress(OSError):
                connection.settimeout(5)
                request = b""
                while b"\r\n\r\n" not in request and (piece := connection.recv(65536)):
                    request += piece
                connection.sendall(self.answer)


@cache
def _raw_server() -> _RawServer:
    return _RawServer()


class _CheckedTransport(Transport):
    def exchange(self, base_url: str, signed: SignedCall) -> Answer:
        answer = super().exchange(base_url, signed)
        assert 200 <= answer.status < 300 or 400 <= answer.status < 600
        assert len(answer.body) <= len(_raw_server().answer), "something was unpacked"
        return answer


@cache
def _raw_client() -> Client:
    settings = replace(_settings(), base_url=_raw_server().url, connect_timeout=5.0, read_timeout=5.0)
    sender = _CheckedTransport(settings)
    return Client(settings, clock=lambda: NOW, sleep=lambda _: None, random=lambda: 0.5, sender=sender)


def fuzz_transport(data: bytes) -> None:
    """What a server writes after a request, whatever it is: status line, headers and body included."""
    _raw_server().answer = data
    try:
        _raw_client().request("POST", "/v3/x")
    except WxBankError as failure:
        shown(failure)
    else:
        assert b"wechatpay-signature" in data.lower(), "an answer was believed that nobody signed"


def transport_seeds() -> list[bytes]:
    """Answers as servers write them, right and wrong; redirects among them."""
    body = VECTORS["responses"][0]["body"].encode()
    headers = "".join(f"{name}: {value}\r\n" for name, value in signed_headers(body, "N0").items()).encode()
    packed = gzip.compress(bytes(1_000_000))
    ok, chunked = b"HTTP/1.1 200 OK\r\n", b"Transfer-Encoding: chunked\r\n\r\n"
    return [
        ok + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        ok + headers + chunked + b"%x\r\n" % len(body) + body + b"\r\n0\r\nX-Trailer: x\r\n\r\n",
        ok + headers * 2 + b"\r\n" + body,
        ok + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed) + packed,
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Encoding: gzip\r\n\r\n" + packed,
        b"HTTP/1.1 307 Moved\r\nLocation: http://[\r\nContent-Length: 9\r\n\r\n<html>",
        b"HTTP/1.1 301 Moved\r\nLocation: /\xff\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + ok + b"\r\n",
        b"HTTP/1.1 500 Oops\r\nSet-Cookie: a=b; Max-Age=x; expires=Mon, 23 Nov 2026 12:00:00 GMT\r\n\r\n{}",
        ok + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        ok + b"Content-Length: -2\r\nContent-Encoding: Identity\r\n\r\n{}" + ok + b"\r\n{}",
        ok + chunked + b"-2\r\n{}\r\nzz\r\n",
        ok + b"no header\r\n folded\r\n: none\r\n\r\n{}",
        b"HTTP/1.0 204 None\r\nRetry-After: 1\r\nConnection: keep-alive\r\n\r\n",
        b"HTTP/1.1 429 Slow\r\nRetry-After: \xff\r\nContent-Length: 2,2\r\n\r\n{}",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ]


# Signatures


def fuzz_verification(data: bytes) -> None:
    """Header lines, an empty line, the body: what is not signed by WeChat Pay is not believed."""
    head, _, body = data.partition(b"\n\n")
    headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    for line in head.split(b"\n"):
        name, _, value = line.partition(b":")
        headers[name.decode("latin-1").strip()] = _header(value)
    try:
        verify(headers, body, _platform_key, RSA, NOW)
    except UnverifiedAnswer as failure:
        shown(failure)
    else:
        signed = f"{headers['Wechatpay-Timestamp']}\n{headers['Wechatpay-Nonce']}\n".encode("latin-1") + body + b"\n"
        assert signed in _signed_messages(), "an answer was believed that WeChat Pay did not sign"


@cache
def _signed_messages() -> frozenset[bytes]:
    return frozenset(
        f"{one['headers']['Wechatpay-Timestamp']}\n{one['headers']['Wechatpay-Nonce']}\n".encode()
        + b64decode(one["body_base64"])
        + b"\n"
        for one in [*VECTORS["responses"], VECTORS["certificates"]["response"]]
    )


@cache
def _platform_keys() -> dict[str, RsaPublicKey]:
    return {
        KEYS["wechatpay_public_key_id"]: RsaPublicKey.of(private_key("wechatpay_public_private").public_key()),
        KEYS["platform_1_serial"]: RsaPublicKey.of(private_key("platform_1_private").public_key()),
        KEYS["platform_2_serial"]: RsaPublicKey.of(private_key("platform_2_private").public_key()),
    }


def _platform_key(serial_no: str) -> RsaPublicKey:
    if serial_no not in _platform_keys():
        raise UnknownSerial("there is no such key")
    return _platform_keys()[serial_no]


def verification_seeds() -> list[bytes]:
    """The answers of the test vectors, right and wrong."""
    return [
        "".join(f"{name}: {value}\n" for name, value in one["headers"].items()).encode()
        + b"\n"
        + b64decode(one["body_base64"])
        for one in [*VECTORS["responses"], *VECTORS["bad_responses"], VECTORS["certificates"]["response"]]
    ]


# Certificates


def fuzz_certificates(data: bytes) -> None:
    """The raw body of ``GET /v3/certificates``, signed by nobody."""
    with suppress(UnverifiedAnswer, InvalidCredentials):
        try:
            for key in read_certificates(data, APIV3_KEY, RSA):
                assert find_key([key], key.serial_no) is key
            verified_certificates({}, data, APIV3_KEY, RSA, NOW)
        except WxBankError as failure:
            shown(failure)
            raise


def fuzz_sealed_certificates(data: bytes) -> None:
    """A list in JSON, an empty line, and what is put, rightly sealed, into each of its entries; or a certificate."""
    head, _, content = data.partition(b"\n\n")
    try:
        value = json.loads(head)
    except (ValueError, RecursionError):
        value, content = json.loads(_sealed_head()), _pem("CERTIFICATE", data)
    entries = value.get("data") if isinstance(value, dict) else None
    for entry in entries if isinstance(entries, list) else []:
        sealed = entry.get("encrypt_certificate") if isinstance(entry, dict) else None
        if isinstance(sealed, dict):
            with suppress(KeyError, ValueError, AttributeError, TypeError):
                cipher = AESGCM(APIV3_KEY.encode())
                associated = sealed.get("associated_data", "").encode()
                sealed["ciphertext"] = b64encode(cipher.encrypt(sealed["nonce"].encode(), content, associated)).decode()
    fuzz_certificates(json.dumps(value).encode())


def _sealed_head() -> bytes:
    content = json.loads(VECTORS["certificates"]["response_body"])
    content["data"] = content["data"][:1]
    return json.dumps(content).encode()


def _pem(label: str, der: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n{encodebytes(der).decode()}-----END {label}-----\n".encode()


def _der(text: str) -> bytes:
    return b64decode("".join(text.strip().splitlines()[1:-1]))


def certificate_seeds() -> list[bytes]:
    """The list of the test vectors."""
    body = VECTORS["certificates"]["response_body"].encode()
    return [body, body.replace(b'"expire_time"', b'"expire_time "'), body.replace(b"+08:00", b""), b'{"data":[]}']


def sealed_seeds() -> list[bytes]:
    """An entry without its ciphertext, and a certificate to seal."""
    content = json.loads(VECTORS["certificates"]["response_body"])
    heads = []
    for entry in content["data"]:
        entry["encrypt_certificate"].pop("ciphertext")
        heads.append(json.dumps({"data": [entry]}).encode())
    certificates = [KEYS["platform_1_cert"], KEYS["platform_2_cert"], KEYS["merchant_cert"]]
    seeds = [head + b"\n\n" + text.encode() for head in heads for text in certificates]
    seeds += [_der(text) for text in certificates]
    return [*seeds, json.dumps(content).encode() + b"\n\n" + KEYS["wechatpay_public_key"].encode()]


# Keys as people paste them


def fuzz_pem(data: bytes) -> None:
    """A text that is pasted as a key: a key comes out, or an error that does not repeat the text.

    The bytes are taken as a text if they have dashes in a row, else as DER after a byte that chooses its label.
    """
    if b"---" not in data and data:
        data = _pem(PEM_LABELS[data[0] % len(PEM_LABELS)], data[1:])
    text = data.decode("utf-8", "replace")
    for load in (pem.load_private_key, pem.load_public_key):
        try:
            key = load(text, "key")
        except InvalidCredentials as failure:
            message = shown(failure)
            if (
                repeats(message, text)
                or failure.__cause__
                or not (failure.__suppress_context__ or not failure.__context__)
            ):
                raise AssertionError("the error repeats what was pasted, or carries one that may") from None
        else:
            public = getattr(key, "public_key", key)
            assert isinstance(public, RsaPublicKey | Sm2PublicKey)
            assert isinstance(public, Sm2PublicKey) or MIN_KEY_BITS <= public.key.key_size <= MAX_KEY_BITS
    with suppress(InvalidCredentials):
        pem.load_certificate(data, "certificate")


def repeats(message: str, text: str) -> bool:
    """Whether a message has a piece of a text in it that is long enough to matter."""
    message = message.replace("-----BEGIN PUBLIC KEY-----", "")
    return any(message[start : start + QUOTE] in text for start in range(len(message) - QUOTE + 1))


def pem_seeds() -> list[bytes]:
    """Keys in all layouts."""
    names = ("merchant_private_pkcs8", "merchant_private_pkcs1", "wechatpay_public_key", "platform_1_cert")
    texts = [KEYS[name] for name in names]
    texts += [SHANGMI["keys"][name] for name in ("merchant_private", "merchant_public", "platform_1_cert")]
    texts += [texts[0].replace("\n", "\\n"), texts[1].replace("\n", " "), texts[2].replace("\n", "")]
    return [text.encode() for text in texts] + [
        bytes([PEM_LABELS.index(KEYS[name].split("-----")[1].removeprefix("BEGIN "))]) + _der(KEYS[name])
        for name in names
    ]


# Connections


def fuzz_settings(data: bytes) -> None:
    """The extra of a connection as JSON; ``host`` and ``password`` are in it."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(value, dict):
        return
    given = {name: item for name, item in value.items() if name not in ("host", "password")}
    host, password = (item if isinstance(item := value.get(name), str) else None for name in ("host", "password"))
    extra = {
        "merchant_serial_no": KEYS["merchant_serial"],
        "wechatpay_public_key": KEYS["wechatpay_public_key"],
        "wechatpay_public_key_id": KEYS["wechatpay_public_key_id"],
        **given,
        # The one key, since a check of a key takes long; keys have a target of their own.
        "merchant_private_key": KEYS["merchant_private_pkcs8"],
    }
    extra.pop("merchant_private_key_file", None)
    extra.pop("wechatpay_public_key_file", None)
    try:
        settings = read_settings("1900000001", password, host, extra)
    except (InvalidInput, InvalidCredentials) as failure:
        text = str(failure)
        assert not (password and len(password) > 8 and password in text), "the message tells the password"
        return
    for url in filter(None, (settings.base_url, settings.backup_url)):
        assert (
            url.startswith("https://")
            or is_loopback(url.removeprefix("http://").rpartition(":")[0].strip("[]"))
            or (is_loopback(url.removeprefix("http://").strip("[]")))
        ), "plain http to another machine"
        with suppress(ValueError):
            # What is sent goes to this very host, however its name is written.
            assert (Request("GET", url + "/v3/x").prepare().url or "").lower().endswith("/v3/x")


def settings_seeds() -> list[bytes]:
    """Connections in the three modes."""
    return [
        json.dumps(one).encode()
        for one in (
            {"host": "http://127.0.0.1:8971", "password": APIV3_KEY},
            {"host": "https://[::1]:8971/", "backup_host": "api2.example", "connect_timeout": "2.5"},
            {"host": "http://localhost", "read_timeout": 1e3, "proxies": {"https": "http://proxy:3128"}},
            {"proxies": "http://proxy", "wechatpay_public_key_id": "PUB_KEY_ID_1", "merchant_serial_no": "1D:2E"},
        )
    ]


# Files


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    # In memory where the system has such a place, for speed.
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(prefix="wxbank-fuzz-", dir=memory if memory.is_dir() else None)


def _file(content: bytes, name: str) -> Location:
    path = Path(_folder().name) / name
    path.write_bytes(content)
    return Location(str(path), fsspec.filesystem("file"), str(path))


def fuzz_manifest(data: bytes) -> None:
    """A manifest that others wrote, and one with the same content and a right digest."""
    altered = _file(data, "manifest.json")
    try:
        manifests.read_manifest(altered, NAMING_KEY)
    except InvalidInput as failure:
        shown(failure)
    else:
        raise AssertionError("a manifest was believed that no export wrote")
    try:
        content = json.loads(data)
        if not isinstance(content, dict):
            return
        signed = sealed("manifest", b'",' + json.dumps(content).encode()[1:], NAMING_KEY)
    except (ValueError, RecursionError):
        return
    with suppress(InvalidInput):
        try:
            manifest = manifests.read_manifest(_file(signed, "manifest.json"), NAMING_KEY)
            assert manifest.rows > 0
            assert manifest.skipped_count >= 0
            again = manifests.to_bytes(manifest, NAMING_KEY)
            assert manifests.read_manifest(_file(again, "manifest.json"), NAMING_KEY) == manifest
        except InvalidInput as failure:
            shown(failure)
            raise


def manifest_seeds() -> list[bytes]:
    """Manifests as exports write them, and pieces of them."""
    file = {"filename": FILENAME, "rows": 2, "bytes": 690, "sha256": "0" * 64, "serial_no": "5157F09E"}
    content = {
        "version": 1, "bank_type": "ICBC_DEBIT", "prefix": "june", "created_at": "2026-11-23T12:00:00+00:00",
        "rows": 2, "skipped": {"count": 1, "positions": {"row": [3]}}, "files": [file],
    }  # fmt: skip
    return [json.dumps(content).encode(), json.dumps({**content, "hmac_sha256": "0" * 64}, indent=1).encode(), b"{}"]


def read_all(location: Location, column: str | None) -> list[tuple[int, object]] | str:
    """Positions and values that are read from files, or why they are refused."""
    found: list[tuple[int, object]] = []
    try:
        for values in read_files(location, column, Dialect()):
            found.extend(zip(values.positions, values.values, strict=True))
    except InvalidInput as failure:
        return shown(failure)
    return found


def naive_lines(content: bytes) -> list[tuple[int, object]]:
    """The lines of a text file, read the simple way."""
    lines = [line.removesuffix("\r") for line in content.removeprefix(b"\xef\xbb\xbf").decode().split("\n")]
    while lines and not lines[-1].strip(" "):
        lines.pop()
    return list(enumerate(lines, 1))


def naive_column(content: bytes, column: str) -> list[object] | None:
    """The values of a column of a CSV file that is in memory; None if it is not well-formed."""
    text = content.removeprefix(b"\xef\xbb\xbf").decode()
    try:
        rows = list(csv.reader(io.StringIO(text, newline="\n"), strict=True))
    except csv.Error:
        return None
    while rows and len(rows[-1]) < 2 and not "".join(rows[-1]).strip(" "):
        rows.pop()
    if not rows:
        return []
    header, *body = rows
    found = [index for index, name in enumerate(header) if name == column]
    found = found or [index for index, name in enumerate(header) if name.strip().lower() == column.strip().lower()]
    if len(found) != 1 or any(len(row) != len(header) for row in body):
        return None
    return [row[found[0]] for row in body]


def fuzz_text(data: bytes) -> None:
    """A text file: what is read of it is its lines, or it is refused without a word of what is in it."""
    read = read_all(_file(data, "users.txt"), None)
    if isinstance(read, str):
        _check_quotes_nothing(read, data)
    else:
        assert read == naive_lines(data)
        parted = [value for _, value in read if any(mark in str(value) for mark in ',\t"|;\x01')]
        assert all(map(problem, parted)), "a delimiter would be encrypted"


def fuzz_csv(data: bytes) -> None:
    """A column's name, newline, and a CSV file: what is read of it is that column."""
    name, _, content = data.partition(b"\n")
    column = name.decode("utf-8", "replace")
    read = read_all(_file(content, "users.csv"), column)
    if isinstance(read, str):
        _check_quotes_nothing(read.replace(repr(column), ""), content)
    else:
        assert [value for _, value in read] == naive_column(content, column)


def _check_quotes_nothing(message: str, content: bytes) -> None:
    message = message.replace(_folder().name, "")
    texts = [line.decode("utf-8", "replace") for line in content.split(b"\n")]
    pieces = [piece for text in texts for piece in text.replace('"', ",").split(",") if len(piece) >= 8]
    assert not [piece for piece in pieces if piece in message], "the message quotes the file"


def text_seeds() -> list[bytes]:
    """Files of one number a line, right and wrong."""
    return [
        b"20240000000000000001\n20240000000000000002\n", b"1\n\n3", b"agreement_no\n1\n", b"\xef\xbb\xbf1\n",
        b"1|2\n", b'"NULL"\n="1"\n', b"\\N\n",
        b"1\r\n2\r\n", b"1\n\xff\xfe\n", "号码1\n".encode(), b"1,2\n", b"1\n" + b"9" * (MAX_LINE_BYTES + 2),
    ]  # fmt: skip


def csv_seeds() -> list[bytes]:
    """CSV files, right and wrong."""
    return [
        b'agreement_no\nid,name,agreement_no\n1,"Li, ""Bank""",20240000000000000001\n2,"a\nb",20240000000000000002\n',
        b"a\n20240000000000000001,20240000000000000002\n", b"a\na\n1\n2", b'a\na\n"1"2\n', b'a\na\n"1\n',
        b"a\n\xef\xbb\xbfa\n1\n", b"a\na\r\n1\r\n", b"a\na,a\n1,1\n", b"a\n\na\n1\n", b"a\na,b\n1\n", b"a\n",
    ]  # fmt: skip


def fuzz_encrypted(data: bytes) -> None:
    """A file that is said to be encrypted: it has as many lines as blocks, or it is refused."""
    try:
        rows = check_encrypted(data, "users.csv", RSA)
    except InvalidInput as failure:
        shown(failure)
        return
    lines = data.splitlines()
    assert rows == len(lines)
    blocks = {len(b64decode(line, validate=True)) for line in lines}
    assert len(blocks) == 1
    assert min(blocks) >= 256


def encrypted_seeds() -> list[bytes]:
    """Lines of one and two blocks, right and wrong."""
    line = VECTORS["oaep"][0]["ciphertext"].encode()
    return [line + b"\n", line + b"\n" + line, line + b"\r\n", line[:-1] + b"\n", line + b"\n\n", b"\n", b""]


# The suite SM2


def fuzz_sm2(data: bytes) -> None:
    """What the first byte says: a signature (s), an encrypted number (l), a private (k) or a public key (p) in DER."""
    kind, content = data[:1], data[1:]
    if kind == b"s":
        request = SHANGMI["requests"][0]
        key = pem.load_public_key(SHANGMI["keys"]["merchant_public"], "key")
        is_right = content == b64decode(request["a_valid_signature"])
        assert key.verify(request["message"].encode(), content) is is_right
    elif kind == b"l":
        with suppress(InvalidInput):
            assert check_encrypted(b64encode(content), "users.csv", SM2) == 1
    elif kind in (b"k", b"p"):
        read = sm2.read_private_key if kind == b"k" else sm2.read_public_key
        with suppress(ValueError):
            assert read(content)


def sm2_seeds() -> list[bytes]:
    """One of each, and shapes near to a signature."""
    keys = SHANGMI["keys"]
    return [
        b"s" + b64decode(SHANGMI["requests"][0]["a_valid_signature"]),
        b"s0\x06\x02\x01\x01\x02\x01\x01",
        b"l" + b64decode(SHANGMI["sm2_ciphertexts"][0]["ciphertext"]),
        b"k" + _der(keys["merchant_private"]),
        b"p" + _der(keys["merchant_public"]),
    ]


# Small texts


def fuzz_time(data: bytes) -> None:
    """A time in an answer's body, and one in its header ``Date``."""
    text = data.decode("utf-8", "replace")
    moment = parse_time(text)
    assert moment is None or (isinstance(moment, datetime) and moment.tzinfo is not None)
    difference = Answer(401, {"Date": _header(data)}, b"").clock_difference(NOW)
    assert difference is None or isinstance(difference, float)


def time_seeds() -> list[bytes]:
    """Times as WeChat Pay writes them."""
    return [
        b"2026-11-23T12:00:00+08:00", b"2026-11-23T12:00:00.123+08:00", b"2026-11-23 12:00:00.Z",
        b"2026-11-23T12:00:00-0330", b"Mon, 23 Nov 2026 12:00:00 GMT", b"Mon, 01 Jan 0001 00:00:00 -2359",
    ]  # fmt: skip


_ANSWER_WORDS = (
    "200 signed", "401 signed", "429 signed", "503", "202 signed", "404", "create", "find", "list", "poll", "examine",
    "request", "====", '"data"', '"total_count"', '"offset"', '"limit"', '"task_id"', '"package_id"', '"filename"',
    '"status"', '"FINISHED"', '"create_time"', '"success_count"', '"code"', '"message"', '"detail"', '"field"',
    '"issue"', '"sign_information"', '"truncated_sign_message"', "null", "true", "-1", "1e999", "\\ud800",
    "Wechatpay-Timestamp:", "Wechatpay-Nonce:", "Wechatpay-Serial:", "Wechatpay-Signature:",
    "Wechatpay-Signature-Type:", "Request-ID:", "Date:",
)  # fmt: skip
_TRANSPORT_WORDS = (
    "HTTP/1.1 ", "HTTP/1.0 ", "100", "103", "200", "302", "304", "307", "429", "500", "\\x0d\\x0a",
    "\\x0d\\x0a\\x0d\\x0a",
    "Location: ", "http://[", "Content-Length: ", "Transfer-Encoding: chunked", "Content-Encoding: gzip", "identity",
    "Connection: keep-alive", "Connection: close", "Set-Cookie: ", "Retry-After: ", "Upgrade: ", "Keep-Alive: ",
    "Proxy-Connection: ", "Wechatpay-Timestamp: ", "Wechatpay-Nonce: ", "Date: ", "\\xff", "\\x00", "0", "-1",
    "ffffffff",
)  # fmt: skip
_CERTIFICATE_WORDS = (
    '"data"', '"serial_no"', '"effective_time"', '"expire_time"', '"encrypt_certificate"', '"algorithm"',
    '"AEAD_AES_256_GCM"', '"nonce"', '"associated_data"', '"ciphertext"', "0001-01-01T00:00:00", "9999-12-31T23:59:59",
    "null", "\\ud800", "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----",
)  # fmt: skip
_PEM_WORDS = (
    "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "-----BEGIN RSA PRIVATE KEY-----",
    "-----END RSA PRIVATE KEY-----", "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----",
    "-----BEGIN ENCRYPTED PRIVATE KEY-----", "-----BEGIN EC PRIVATE KEY-----", "-----BEGIN CERTIFICATE-----",
    "\\n", "\\r", "Proc-Type: 4,ENCRYPTED", "MII",
)  # fmt: skip
_MANIFEST_WORDS = (
    '"version"', '"bank_type"', '"prefix"', '"created_at"', '"rows"', '"skipped"', '"count"', '"positions"', '"files"',
    '"filename"', '"bytes"', '"sha256"', '"serial_no"', '"hmac_sha256"', "1", "-1", "1.5", "NaN", "null", "\\ud800",
    "{}", "[]",
)  # fmt: skip
_SETTINGS_WORDS = (
    '"host"', '"backup_host"', '"password"', '"connect_timeout"', '"read_timeout"', '"proxies"', '"merchant_serial_no"',
    '"wechatpay_public_key_id"', '"wechatpay_public_key"', "http://", "https://", "127.0.0.1", "[::1]", "localhost",
    "@", "\\\\", "#", "?", "%00", ":0", "null", "Infinity", "NaN",
)  # fmt: skip

TARGETS = {
    "client": Target(fuzz_client, client_seeds, _ANSWER_WORDS, 8_000),
    "transport": Target(fuzz_transport, transport_seeds, _TRANSPORT_WORDS),
    "verification": Target(fuzz_verification, verification_seeds, _ANSWER_WORDS),
    "certificates": Target(fuzz_certificates, certificate_seeds, _CERTIFICATE_WORDS),
    "sealed-certificates": Target(fuzz_sealed_certificates, sealed_seeds, _CERTIFICATE_WORDS),
    "pem": Target(fuzz_pem, pem_seeds, _PEM_WORDS, 65_000),
    "settings": Target(fuzz_settings, settings_seeds, _SETTINGS_WORDS, 4_000),
    "manifest": Target(fuzz_manifest, manifest_seeds, _MANIFEST_WORDS),
    "text": Target(fuzz_text, text_seeds, (",", '"', "\t", "\r", "\n", "\\xef\\xbb\\xbf", "1"), 200_000),
    "csv": Target(fuzz_csv, csv_seeds, (",", '"', '""', "\t", "\r", "\n", "\\xef\\xbb\\xbf", "\\x00"), 200_000),
    "encrypted": Target(fuzz_encrypted, encrypted_seeds, ("=", "==", "\r", "\n")),
    "sm2": Target(fuzz_sm2, sm2_seeds, ("\\x30\\x45", "\\x02\\x21\\x00", "\\x04\\x20", "\\x02\\x20"), 1_000),
    "time": Target(fuzz_time, time_seeds, ("Z", "+08:00", "T", ".", "Mon, ", " Nov ", " GMT", "-2359"), 100),
}


def saved_inputs(folder: Path) -> Iterator[tuple[str, Path]]:
    """The saved inputs in a folder, each with the target that it is for: the file's name begins with it."""
    for path in sorted(folder.glob("*--*")):
        yield path.name.partition("--")[0], path
