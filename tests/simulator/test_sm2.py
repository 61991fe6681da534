# SPDX-License-Identifier: Apache-2.0
"""The simulator in SM2, asked with signatures and lines of OpenSSL's command line."""

from __future__ import annotations

import re
import secrets
from base64 import b64decode, b64encode
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from airflow_provider_wxbank.simulator import Simulator, SimulatorSettings, numbers_digest, serve, sm2
from airflow_provider_wxbank.simulator.pem import pem
from airflow_provider_wxbank.simulator.suites import SUITES
from tests.conftest import NewSimulator
from tests.harness.openssl import (
    needs_openssl,
    sm2_decrypt,
    sm2_encrypt,
    sm2_sign,
    sm2_verifies,
)
from tests.harness.raw_client import Answer, RawClient, Upload, authorization, tasks_path
from tests.vectors import VECTORS

PACKAGE = "8473295"
SCHEME = "WECHATPAY2-SM2-WITH-SM3"
CERTIFICATES = "/v3/certificates?algorithm_type=SM2"


class OpensslSigner:
    """Signs a raw client's requests."""

    def __init__(self, simulator: Simulator, folder: Path) -> None:
        connection = simulator.airflow_connection()
        self.mchid: str = connection["login"]
        self.serial_no: str = connection["extra"]["merchant_serial_no"]
        self.pem: str = connection["extra"]["merchant_private_key"]
        self.folder = folder
        self.clock = simulator.settings.clock

    def header(self, method: str, url: str, signed: bytes = b"", scheme: str = SCHEME) -> dict[str, str | None]:
        """The header that signs a request."""
        items = {
            "mchid": self.mchid,
            "nonce_str": secrets.token_hex(16),
            "timestamp": str(int(self.clock())),
            "serial_no": self.serial_no,
        }
        message = f"{method}\n{url}\n{items['timestamp']}\n{items['nonce_str']}\n".encode() + signed + b"\n"
        signature = b64encode(sm2_sign(self.folder, self.pem, message)).decode()
        return {"Authorization": authorization({**items, "signature": signature}, scheme)}


@pytest.fixture
def simulator(new_simulator: NewSimulator) -> Simulator:
    return new_simulator(suite="sm2", key_mode="both")


@pytest.fixture
def raw(simulator: Simulator) -> RawClient:
    """Sends what it is told to; its own signatures are not used."""
    connection = simulator.airflow_connection()
    of_rsa = {**connection["extra"], "merchant_private_key": VECTORS["keys"]["merchant_private_pkcs8"]}
    return RawClient({**connection, "extra": of_rsa})


def public_pem(simulator: Simulator) -> str:
    return str(simulator.airflow_connection()["extra"]["wechatpay_public_key"])


def is_signed(simulator: Simulator, answer: Answer, folder: Path) -> bool:
    headers = answer.headers
    assert headers["Wechatpay-Signature-Type"] == SCHEME
    message = f"{headers['Wechatpay-Timestamp']}\n{headers['Wechatpay-Nonce']}\n".encode() + answer.body + b"\n"
    key = pem("PUBLIC KEY", simulator.platform.certificates[-1].private_key.public_der)
    return sm2_verifies(folder, key, message, b64decode(headers["Wechatpay-Signature"], validate=True))


@needs_openssl
def test_requests_and_lines_of_openssl_are_taken_and_answers_verify_there(
    simulator: Simulator, raw: RawClient, tmp_path: Path
) -> None:
    signer, numbers = OpensslSigner(simulator, tmp_path), ["20240000000001", "20240000000002"]
    lines = [b64encode(sm2_encrypt(tmp_path, public_pem(simulator), number.encode())) for number in numbers]
    serial_no = simulator.platform.public_key.serial_no
    upload = Upload(b"\n".join(lines) + b"\n", "file-0001.csv", serial_no)
    url = tasks_path(PACKAGE)
    answer = raw.send("POST", url, signer.header("POST", url, upload.meta_bytes()) | upload.headers(), upload.body())
    assert answer.status == 200, answer.body
    assert simulator.report()["packages"][PACKAGE]["numbers_digest"] == numbers_digest(numbers)
    listed = raw.send("GET", url, signer.header("GET", url))
    assert listed.value["total_count"] == 1
    assert is_signed(simulator, listed, tmp_path)


@needs_openssl
def test_certificates_are_sealed_and_signed_as_openssl_has_them(
    simulator: Simulator, raw: RawClient, tmp_path: Path
) -> None:
    signer = OpensslSigner(simulator, tmp_path)
    simulator.rotate_certificate()
    answer = raw.send("GET", CERTIFICATES, signer.header("GET", CERTIFICATES))
    assert is_signed(simulator, answer, tmp_path)
    entries = answer.value["data"]
    assert {entry["encrypt_certificate"]["algorithm"] for entry in entries} == {"AEAD_SM4_GCM"}
    public = pem("PUBLIC KEY", simulator.platform.root.key.public_der)
    for entry, key in zip(entries, simulator.platform.certificates, strict=True):
        certificate = x509.load_pem_x509_certificate(key.certificate)
        assert f"{certificate.serial_number:040X}" == entry["serial_no"] == key.serial_no
        assert certificate.not_valid_after_utc == datetime.fromisoformat(entry["expire_time"])
        assert certificate.signature_algorithm_oid.dotted_string == "1.2.156.10197.1.501", "SM2 with SM3"
        assert sm2_verifies(tmp_path, public, certificate.tbs_certificate_bytes, certificate.signature)


@needs_openssl
def test_what_is_wrong_is_refused(simulator: Simulator, raw: RawClient, tmp_path: Path) -> None:
    signer, url = OpensslSigner(simulator, tmp_path), tasks_path(PACKAGE)
    for headers in (
        signer.header("GET", url, scheme="WECHATPAY2-SHA256-RSA2048"),
        signer.header("GET", url + "?limit=1"),
        raw.signed("GET", url),
        {
            "Authorization": re.sub(
                r'signature="[^"]+"', 'signature=""', str(signer.header("GET", url)["Authorization"])
            )
        },
    ):
        answer = raw.send("GET", url, headers)
        assert (answer.status, answer.value["code"]) == (401, "SIGN_ERROR")
    plain = "/v3/certificates"
    assert raw.send("GET", plain, signer.header("GET", plain)).value["code"] == "PARAM_ERROR"
    other = pem("PUBLIC KEY", sm2.new_key().public_der)
    for line in (sm2_encrypt(tmp_path, other, b"1"), b"20240000000001" * 10):
        upload = Upload(b64encode(line) + b"\n", "file-0001.csv", simulator.platform.public_key.serial_no)
        header = signer.header("POST", url, upload.meta_bytes())
        answer = raw.send("POST", url, header | upload.headers(), upload.body())
        assert (answer.status, "平台私钥解密失败" in answer.body.decode()) == (400, True)
    assert simulator.report()["packages"] == {}


@needs_openssl
def test_its_keys_are_those_of_openssl(tmp_path: Path) -> None:
    key = sm2.new_key()
    private, public = pem("PRIVATE KEY", key.der), pem("PUBLIC KEY", key.public_der)
    assert sm2.read_key(private) == key
    assert sm2_verifies(tmp_path, public, b"message", key.sign(b"message"))
    assert key.verify(b"message", sm2_sign(tmp_path, private, b"message"))
    block = sm2_encrypt(tmp_path, public, b"1001")
    assert key.decrypt(block) == sm2_decrypt(tmp_path, private, block) == b"1001"


def test_a_key_of_the_other_suite_is_no_merchants(new_simulator: NewSimulator) -> None:
    of_rsa = VECTORS["keys"]["merchant_private_pkcs8"]
    with (
        pytest.raises(ValueError, match="not an SM2 key"),
        serve(SimulatorSettings(suite="sm2", merchant_private_key_pem=of_rsa)),
    ):
        pass


def test_the_connection_has_a_naming_secret_that_stays(new_simulator: NewSimulator) -> None:
    connections: list[dict[str, Any]] = [new_simulator(suite="sm2").airflow_connection() for _ in range(2)]
    first, second = (one["extra"]["naming_secret"] for one in connections)
    assert first == second
    assert len(first) == 64
    assert "naming_secret" not in new_simulator().airflow_connection()["extra"]
    assert SUITES["sm2"].scheme == SCHEME
