# SPDX-License-Identifier: Apache-2.0
"""A client written from the protocol alone, so that a mistake in ours and in the simulator does not cancel out."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

SCHEME = "WECHATPAY2-SHA256-RSA2048"
BOUNDARY = "boundary-of-the-raw-client"
CERTIFICATES = "/v3/certificates"
PATIENCE_SECONDS = 300.0
"""Only a failure waits so long."""


def tasks_path(package_id: str) -> str:
    """Where the tasks of a package are."""
    return f"/v3/marketing/bank/packages/{package_id}/tasks"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, read to its end."""

    status: int
    headers: Message
    body: bytes

    @property
    def value(self) -> dict[str, Any]:
        """The JSON object in the body."""
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value

    @property
    def is_signed(self) -> bool:
        """Whether it has any header of a signature."""
        return any(name.lower().startswith("wechatpay-") for name in self.headers)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key of WeChat Pay that encrypts lines and verifies answers."""

    serial_no: str
    key: RSAPublicKey

    def encrypt(self, *numbers: str) -> bytes:
        """An agreement file: a line for each number."""
        padding = OAEP(MGF1(SHA1()), SHA1(), None)
        return b"".join(b64encode(self.key.encrypt(number.encode(), padding)) + b"\n" for number in numbers)

    def verify(self, answer: Answer) -> None:
        """:raises InvalidSignature: this key did not sign the answer."""
        headers = answer.headers
        message = f"{headers['Wechatpay-Timestamp']}\n{headers['Wechatpay-Nonce']}\n".encode() + answer.body + b"\n"
        signature = b64decode(headers["Wechatpay-Signature"], validate=True)
        self.key.verify(signature, message, PKCS1v15(), SHA256())


@dataclass(frozen=True, slots=True)
class Signer:
    """The items of an Authorization, each of which a test may change before it is written."""

    mchid: str
    serial_no: str
    private_key: RSAPrivateKey
    clock: Callable[[], float]

    def items(self, method: str, url: str, signed: bytes, **changes: str) -> dict[str, str]:
        """The five items; changes other than of the signature are signed, too."""
        items = {
            "mchid": self.mchid,
            "nonce_str": secrets.token_hex(16),
            "timestamp": str(int(self.clock())),
            "serial_no": self.serial_no,
        } | changes
        message = f"{method}\n{url}\n{items['timestamp']}\n{items['nonce_str']}\n".encode() + signed + b"\n"
        signature = self.private_key.sign(message, PKCS1v15(), SHA256())
        return {"signature": b64encode(signature).decode()} | items


def authorization(items: Mapping[str, str], scheme: str = SCHEME) -> str:
    """An Authorization with these items."""
    return scheme + " " + ",".join(f'{name}="{value}"' for name, value in items.items())


@dataclass(frozen=True, slots=True)
class Upload:
    """What an upload sends; nothing is checked here."""

    content: bytes = field(repr=False)
    filename: str = "file-0001.csv"
    serial_no: str | None = None
    meta: Mapping[str, object] = field(default_factory=dict)

    def meta_bytes(self) -> bytes:
        """The text of the part ``meta``, which is what is signed; None takes a name out."""
        sha256 = hashlib.sha256(self.content).hexdigest()
        value = {"filename": self.filename, "sha256": sha256, "bank_type": "ICBC_DEBIT"} | dict(self.meta)
        return json.dumps({name: item for name, item in value.items() if item is not None}).encode()

    def body(self) -> bytes:
        """The multipart body."""
        return b"".join(
            (
                f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="meta"\r\n'.encode(),
                b"Content-Type: application/json\r\n\r\n" + self.meta_bytes() + b"\r\n",
                f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; '.encode(),
                f'filename="{self.filename}"\r\nContent-Type: text/plain\r\n\r\n'.encode() + self.content + b"\r\n",
                f"--{BOUNDARY}--\r\n".encode(),
            )
        )

    def headers(self) -> dict[str, str | None]:
        """The headers that only an upload has."""
        return {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Wechatpay-Serial": self.serial_no}


class RawClient:
    """Sends exactly what it is told to, on a new connection each time, and retries nothing.

    :param connection: an Airflow connection to a simulator.
    :param clock: unix seconds.
    """

    def __init__(self, connection: Mapping[str, Any], clock: Callable[[], float] = time.time) -> None:
        extra = connection["extra"]
        private_key = load_pem_private_key(extra["merchant_private_key"].encode(), None)
        assert isinstance(private_key, RSAPrivateKey)
        self.base_url: str = connection["host"]
        self.signer = Signer(connection["login"], extra["merchant_serial_no"], private_key, clock)
        self._apiv3_key: bytes = connection["password"].encode()
        self._extra: Mapping[str, str] = extra

    @contextmanager
    def opened(
        self, method: str, url: str, headers: Mapping[str, str | None] | None = None, body: bytes = b""
    ) -> Iterator[HTTPResponse]:
        """An answer of which only the head was read; headers that are None are not sent."""
        address = urlsplit(self.base_url)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=PATIENCE_SECONDS)
        sent = {"User-Agent": "raw-client", "Accept": "application/json"} | dict(headers or {})
        try:
            connection.request(method, url, body or None, {k: v for k, v in sent.items() if v is not None})
            with connection.getresponse() as response:
                yield response
        finally:
            connection.close()

    def send(self, method: str, url: str, headers: Mapping[str, str | None] | None = None, body: bytes = b"") -> Answer:
        """Send a request as it is, unsigned."""
        with self.opened(method, url, headers, body) as response:
            return Answer(response.status, response.headers, response.read())

    def signed(self, method: str, url: str, signed: bytes = b"", **changes: str) -> dict[str, str | None]:
        """The header that signs a request."""
        return {"Authorization": authorization(self.signer.items(method, url, signed, **changes))}

    def call(self, method: str, url: str, headers: Mapping[str, str | None] | None = None) -> Answer:
        """Send a signed request without a body."""
        return self.send(method, url, self.signed(method, url) | dict(headers or {}))

    def tasks(self, package_id: str, query: str = "", serial_no: str | None = None) -> Answer:
        """List tasks."""
        url = tasks_path(package_id) + (f"?{query}" if query else "")
        return self.call("GET", url, {"Wechatpay-Serial": serial_no})

    def upload(self, package_id: str, upload: Upload, headers: Mapping[str, str | None] | None = None) -> Answer:
        """Send an upload, signed over its meta."""
        url = tasks_path(package_id)
        signed = self.signed("POST", url, upload.meta_bytes())
        return self.send("POST", url, signed | upload.headers() | dict(headers or {}), upload.body())

    def certificates(self) -> list[PublicKey]:
        """Download and decrypt the platform certificates."""
        answer = self.call("GET", CERTIFICATES)
        assert answer.status == 200
        return [self.certificate_key(self.certificate(item), item["serial_no"]) for item in answer.value["data"]]

    def certificate(self, item: Mapping[str, Any]) -> x509.Certificate:
        """Decrypt one certificate of the list.

        :raises InvalidTag: it was encrypted with another APIv3 key.
        """
        sealed = item["encrypt_certificate"]
        pem = AESGCM(self._apiv3_key).decrypt(
            sealed["nonce"].encode(), b64decode(sealed["ciphertext"]), sealed["associated_data"].encode()
        )
        return x509.load_pem_x509_certificate(pem)

    @staticmethod
    def certificate_key(certificate: x509.Certificate, serial_no: str) -> PublicKey:
        """The key of a certificate whose serial is the one announced."""
        assert f"{certificate.serial_number:X}".zfill(40) == serial_no
        key = certificate.public_key()
        assert isinstance(key, RSAPublicKey)
        return PublicKey(serial_no, key)

    def public_key(self) -> PublicKey:
        """The WeChat Pay public key of the connection."""
        key = load_pem_public_key(self._extra["wechatpay_public_key"].encode())
        assert isinstance(key, RSAPublicKey)
        return PublicKey(self._extra["wechatpay_public_key_id"], key)

    def report(self) -> dict[str, Any]:
        """What the simulator says has arrived."""
        return self.send("GET", "/simulator/report").value

    def committed(self) -> dict[str, list[str]]:
        """The filenames that the simulator has taken, by package."""
        packages = self.report()["packages"]
        return {name: [task["filename"] for task in package["tasks"]] for name, package in packages.items()}

    def set_faults(self, *faults: Mapping[str, object]) -> Answer:
        """From now on, these faults and no others."""
        return self.send("POST", "/simulator/faults", body=json.dumps(faults).encode())
