# SPDX-License-Identifier: Apache-2.0
"""Everything in the vectors, which were made with openssl and node, comes out the same here."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from requests.structures import CaseInsensitiveDict

from airflow_provider_wxbank.agreements.encryption import encrypt
from airflow_provider_wxbank.packages.endpoints import multipart
from airflow_provider_wxbank.wechatpay.crypto.certificates import read_certificates, verified_certificates
from airflow_provider_wxbank.wechatpay.crypto.pem import load_certificate, load_private_key, load_public_key
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import PlatformKey, find_key, same_serial
from airflow_provider_wxbank.wechatpay.crypto.rsa import RSA
from airflow_provider_wxbank.wechatpay.crypto.signing import Merchant, PemSigner, authorization, string_to_sign
from airflow_provider_wxbank.wechatpay.crypto.suites import PublicKey
from airflow_provider_wxbank.wechatpay.crypto.verification import verify
from airflow_provider_wxbank.wechatpay.errors import InvalidInput, UnknownSerial, UnverifiedAnswer
from tests.harness.keys import public_key
from tests.vectors import VECTORS

KEYS: dict[str, str] = VECTORS["keys"]
SIGNED_AT = 1730563201.0
"""The answers in the vectors were signed at this time."""


def ids(cases: list[dict[str, Any]]) -> list[str]:
    return [case["name"] for case in cases]


def platform_keys() -> list[PlatformKey]:
    return [
        PlatformKey(KEYS["wechatpay_public_key_id"], load_public_key(KEYS["wechatpay_public_key"], "public key")),
        *(
            PlatformKey(KEYS[f"{name}_serial"], load_certificate(KEYS[f"{name}_cert"].encode(), name)[1])
            for name in ("platform_1", "platform_2")
        ),
    ]


def key_of(serial_no: str) -> PublicKey:
    key = find_key(platform_keys(), serial_no)
    if key is None:
        raise UnknownSerial(serial_no)
    return key.public_key


def private_key(name: str) -> RSAPrivateKey:
    key = load_pem_private_key(KEYS[name].encode(), password=None)
    assert isinstance(key, RSAPrivateKey)
    return key


@pytest.mark.parametrize("layout", ["merchant_private_pkcs8", "merchant_private_pkcs1"])
@pytest.mark.parametrize("case", VECTORS["requests"], ids=ids(VECTORS["requests"]))
def test_a_request_is_signed_as_openssl_signs_it(case: dict[str, Any], layout: str) -> None:
    merchant = Merchant(VECTORS["mchid"], PemSigner(KEYS["merchant_serial"], load_private_key(KEYS[layout], "key")))
    body = case["body_signed"].encode()
    message = string_to_sign(case["method"], case["url_signed"], int(case["timestamp"]), case["nonce"], body)
    assert message == bytes.fromhex(case["message_hex"])
    assert authorization(merchant, message, int(case["timestamp"]), case["nonce"]) == case["authorization"]


def test_the_string_to_sign_ends_every_line_even_the_empty_last_one() -> None:
    assert string_to_sign("get", "/v3/certificates", 1, "n", b"") == b"GET\n/v3/certificates\n1\nn\n\n"


def test_an_upload_has_the_bytes_of_the_vector() -> None:
    case = VECTORS["requests"][0]
    content = case["file_text"].encode()
    body, content_type = multipart(case["meta"].encode(), "active_user_0001.csv", content, "wxpay-test-boundary-0001")
    assert hashlib.sha256(content).hexdigest() == case["file_sha256"]
    assert content_type == case["content_type"]
    assert body == base64.b64decode(case["multipart_base64"])
    assert hashlib.sha256(body).hexdigest() == case["multipart_sha256"]


@pytest.mark.parametrize("case", VECTORS["responses"], ids=ids(VECTORS["responses"]))
def test_a_valid_answer_verifies(case: dict[str, Any]) -> None:
    headers = CaseInsensitiveDict(case["headers"])
    verify(headers, base64.b64decode(case["body_base64"]), key_of, RSA, SIGNED_AT)


@pytest.mark.parametrize("case", VECTORS["bad_responses"], ids=ids(VECTORS["bad_responses"]))
def test_a_bad_answer_does_not_verify(case: dict[str, Any]) -> None:
    headers = CaseInsensitiveDict(case["headers"])
    expected = UnknownSerial if case["expect"] == "unknown-serial" else UnverifiedAnswer
    with pytest.raises(expected):
        verify(headers, base64.b64decode(case["body_base64"]), key_of, RSA, SIGNED_AT)


@pytest.mark.parametrize("seconds", [-300, 300])
def test_an_answer_may_be_five_minutes_apart(seconds: int) -> None:
    case = VECTORS["responses"][0]
    headers, body = CaseInsensitiveDict(case["headers"]), base64.b64decode(case["body_base64"])
    verify(headers, body, key_of, RSA, SIGNED_AT + seconds)
    with pytest.raises(UnverifiedAnswer, match=r"check this machine's clock"):
        verify(headers, body, key_of, RSA, SIGNED_AT + seconds * 1.01)


@pytest.mark.parametrize(
    "missing", ["Wechatpay-Timestamp", "Wechatpay-Nonce", "Wechatpay-Serial", "Wechatpay-Signature"]
)
def test_an_answer_without_one_of_its_headers_is_not_believed(missing: str) -> None:
    case = VECTORS["responses"][0]
    headers = CaseInsensitiveDict({key: value for key, value in case["headers"].items() if key != missing})
    with pytest.raises(UnverifiedAnswer, match=missing):
        verify(headers, base64.b64decode(case["body_base64"]), key_of, RSA, SIGNED_AT)


@pytest.mark.parametrize(
    ("header", "value", "message"),
    [
        ("Wechatpay-Signature-Type", "WECHATPAY2-SM2-WITH-SM3", "only WECHATPAY2-SHA256-RSA2048"),
        ("Wechatpay-Timestamp", "soon", "not a time"),
        ("Wechatpay-Timestamp", "９", "not a time"),
        ("Wechatpay-Signature", "%%%", "does not verify"),
        ("Wechatpay-Signature", "", "does not verify"),
    ],
)
def test_an_answer_with_a_broken_header_is_not_believed(header: str, value: str, message: str) -> None:
    case = VECTORS["responses"][0]
    headers = CaseInsensitiveDict({**case["headers"], header: value})
    with pytest.raises(UnverifiedAnswer, match=message):
        verify(headers, base64.b64decode(case["body_base64"]), key_of, RSA, SIGNED_AT)


def test_certificates_are_decrypted_with_the_apiv3_key() -> None:
    vector = VECTORS["certificates"]
    keys = read_certificates(vector["response_body"].encode(), vector["apiv3_key"], RSA)
    expected = {serial: load_certificate(pem.encode(), serial)[1] for serial, pem in vector["expected_pem"].items()}
    assert {key.serial_no: key.public_key for key in keys} == expected
    assert max(keys, key=lambda key: key.expires).serial_no == vector["newest_by_not_after"]


def test_another_apiv3_key_does_not_decrypt_certificates() -> None:
    vector = VECTORS["certificates"]
    with pytest.raises(UnverifiedAnswer, match="APIv3 key"):
        read_certificates(vector["response_body"].encode(), vector["wrong_key_must_fail"], RSA)


def test_a_certificate_list_is_verified_with_a_certificate_that_it_carries() -> None:
    vector = VECTORS["certificates"]
    response = vector["response"]
    headers, body = CaseInsensitiveDict(response["headers"]), base64.b64decode(response["body_base64"])
    keys = verified_certificates(headers, body, vector["apiv3_key"], RSA, SIGNED_AT).keys
    assert {key.serial_no for key in keys} == set(vector["expected_pem"])
    with pytest.raises(UnverifiedAnswer):
        verified_certificates(headers, body + b" ", vector["apiv3_key"], RSA, SIGNED_AT)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda entry: entry.update(serial_no="5157F09EFDC096DE15EBE81A47057A7232F1B8E2"),
        lambda entry: entry.pop("encrypt_certificate"),
        lambda entry: entry.update(serial_no=7),
        lambda entry: entry["encrypt_certificate"].update(algorithm="NONE"),
        lambda entry: entry["encrypt_certificate"].update(ciphertext="%"),
        lambda entry: entry.update(expire_time="never"),
    ],
)
def test_a_certificate_list_that_is_wrong_is_not_believed(spoil: Any) -> None:
    vector = VECTORS["certificates"]
    content = json.loads(vector["response_body"])
    spoil(content["data"][0])
    with pytest.raises(UnverifiedAnswer):
        read_certificates(json.dumps(content).encode(), vector["apiv3_key"], RSA)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"data":{}}', b'{"data":[1]}', b"[" * 100_000])
def test_something_else_than_a_certificate_list_is_not_believed(body: bytes) -> None:
    with pytest.raises(UnverifiedAnswer):
        read_certificates(body, VECTORS["certificates"]["apiv3_key"], RSA)


def test_the_lists_end_of_a_certificate_counts_if_it_is_earlier() -> None:
    vector = VECTORS["certificates"]
    content = json.loads(vector["response_body"])
    # The documented example has such keys with a space at their end.
    content["data"][0]["expire_time "] = "2027-01-01T00:00:00+08:00"
    del content["data"][0]["expire_time"]
    keys = read_certificates(json.dumps(content).encode(), vector["apiv3_key"], RSA)
    assert keys[0].expires == 1798732800.0


def test_serials_are_compared_as_numbers() -> None:
    assert same_serial("0A062CE505775F070CAB06E697F1BBD1AD4F4D87", "a062ce505775f070cab06e697f1bbd1ad4f4d87")
    assert not same_serial("PUB_KEY_ID_01", "PUB_KEY_ID_1")


@pytest.mark.parametrize("case", VECTORS["oaep"], ids=[case["plaintext"][:20] for case in VECTORS["oaep"]])
def test_what_is_encrypted_here_decrypts_as_the_vectors_do(case: dict[str, Any]) -> None:
    name = "wechatpay_public_private" if case["key"] == "wechatpay_public_key" else "platform_2_private"
    key = private_key(name)
    padding = OAEP(MGF1(SHA1()), SHA1(), None)
    assert key.decrypt(base64.b64decode(case["ciphertext"]), padding).decode() == case["plaintext"]
    line = encrypt(key_of(case["serial"]), case["plaintext"])
    assert len(line) == 344 == key_of(case["serial"]).line_bytes(1) - 1
    assert key.decrypt(base64.b64decode(line, validate=True), padding).decode() == case["plaintext"]


def test_215_bytes_are_refused() -> None:
    for text in ("9" * VECTORS["oaep_too_long"]["bytes"], "号" * 72, ""):
        with pytest.raises(InvalidInput, match=rf"has 1 to 214 bytes in UTF-8; this one has {len(text.encode())}$"):
            encrypt(key_of(KEYS["wechatpay_public_key_id"]), text)
    with pytest.raises(ValueError, match="Encryption failed"):
        key_of(KEYS["wechatpay_public_key_id"]).encrypt_lines(["9" * VECTORS["oaep_too_long"]["bytes"]])


@pytest.mark.parametrize(
    "paste",
    [
        lambda pem: pem,
        lambda pem: pem.replace("\n", "\\n"),
        lambda pem: pem.replace("\n", "\r\n"),
        lambda pem: pem.replace("\n", "\\r\\n"),
        lambda pem: pem.replace("\n", " "),
        lambda pem: pem.replace("\n", ""),
        lambda pem: f"  \n{pem}\n\n",
    ],
)
@pytest.mark.parametrize("layout", ["merchant_private_pkcs8", "merchant_private_pkcs1"])
def test_a_key_is_read_however_it_was_pasted(paste: Any, layout: str) -> None:
    key = load_private_key(paste(KEYS[layout]), "key")
    assert key.public_key == public_key(private_key("merchant_private_pkcs8"))


def test_the_vectors_hold_pem_certificates_that_are_read_as_they_are() -> None:
    certificate, _ = load_certificate(KEYS["platform_1_cert"].encode(), "certificate")
    assert certificate.public_bytes(Encoding.PEM).decode() == KEYS["platform_1_cert"]
