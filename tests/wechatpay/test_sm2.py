# SPDX-License-Identifier: Apache-2.0
"""Everything in the vectors of the suite SM2, which were made with OpenSSL, comes out the same here."""

from __future__ import annotations

import base64
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import gmssl_pyx
import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from requests.structures import CaseInsensitiveDict

from airflow_provider_wxbank.agreements.encryption import encrypt
from airflow_provider_wxbank.agreements.files import batches, rows_that_fit
from airflow_provider_wxbank.agreements.lines import check_encrypted
from airflow_provider_wxbank.agreements.processes import FEW, EncryptionProcesses
from airflow_provider_wxbank.wechatpay.crypto import sm2, sm2_points
from airflow_provider_wxbank.wechatpay.crypto.certificates import read_certificates, verified_certificates
from airflow_provider_wxbank.wechatpay.crypto.der import members
from airflow_provider_wxbank.wechatpay.crypto.keys import read_public_key
from airflow_provider_wxbank.wechatpay.crypto.pem import load_certificate, load_private_key, load_public_key
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import PlatformKey, find_key
from airflow_provider_wxbank.wechatpay.crypto.rsa import RSA
from airflow_provider_wxbank.wechatpay.crypto.signing import Merchant, PemSigner, authorization, string_to_sign
from airflow_provider_wxbank.wechatpay.crypto.sm2 import CURVE as SM2_CURVE
from airflow_provider_wxbank.wechatpay.crypto.sm2 import SM2, Sm2PrivateKey, Sm2PublicKey
from airflow_provider_wxbank.wechatpay.crypto.suites import MAX_NUMBER_BYTES, PublicKey
from airflow_provider_wxbank.wechatpay.crypto.verification import verify
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidCredentials,
    InvalidInput,
    UnknownSerial,
    UnverifiedAnswer,
    WrongSignature,
)
from airflow_provider_wxbank.wechatpay.settings import Settings, read_settings
from tests.conftest import numbers
from tests.vectors import SHANGMI, VECTORS

KEYS: dict[str, str] = SHANGMI["keys"]
SIGNED_AT = 1730563203.0
SECRET = "0123456789abcdef0123456789abcdef"
PLATFORMS = ("platform_1", "platform_2")


def ids(cases: list[dict[str, Any]]) -> list[str]:
    return [case["name"] for case in cases]


def platform_key(name: str) -> PublicKey:
    return load_certificate(KEYS[f"{name}_cert"].encode(), name)[1]


def key_of(serial_no: str) -> PublicKey:
    keys = [PlatformKey(KEYS[f"{name}_serial"], platform_key(name)) for name in PLATFORMS]
    key = find_key(keys, serial_no)
    if key is None:
        raise UnknownSerial(serial_no)
    return key.public_key


def private_key(name: str) -> Sm2PrivateKey:
    key = load_private_key(KEYS[f"{name}_private"], name)
    assert isinstance(key, Sm2PrivateKey)
    return key


def decrypted(name: str, line: str | bytes) -> str:
    number: bytes = gmssl_pyx.sm2_decrypt(private_key(name).secret, base64.b64decode(line, validate=True))
    return number.decode()


def settings(**extra: Any) -> Settings:
    fields = {
        "merchant_serial_no": KEYS["merchant_serial"],
        "merchant_private_key": KEYS["merchant_private"],
        "naming_secret": SECRET,
    }
    return read_settings(SHANGMI["mchid"], KEYS["apiv3_key"], None, {**fields, **extra})


@pytest.fixture(autouse=True)
def quiet(capfd: pytest.CaptureFixture[str]) -> Any:
    """The library never writes its lines past the logs, which begin with its own file, whatever is verified."""
    yield
    captured = capfd.readouterr()
    assert "GmSSL" not in captured.out + captured.err


# Requests


@pytest.mark.parametrize("case", SHANGMI["requests"], ids=ids(SHANGMI["requests"]))
def test_a_request_is_signed_so_that_the_merchants_key_verifies_it(case: dict[str, Any]) -> None:
    merchant = settings().merchant
    message = string_to_sign(
        case["method"], case["url_signed"], int(case["timestamp"]), case["nonce"], case["body_signed"].encode()
    )
    assert message == case["message"].encode()
    public = load_public_key(KEYS["merchant_public"], "public key")
    assert public == merchant.signer.public_key == load_certificate(KEYS["merchant_cert"].encode(), "certificate")[1]
    assert public.verify(message, base64.b64decode(case["a_valid_signature"]))
    header = authorization(merchant, message, int(case["timestamp"]), case["nonce"])
    (signature,) = re.findall(r'signature="([^"]+)"', header)
    assert header.replace(signature, case["a_valid_signature"]) == case["authorization"]
    assert public.verify(message, base64.b64decode(signature, validate=True))
    assert signature not in (case["a_valid_signature"], authorization(merchant, message, 1, "n"))


# Answers


@pytest.mark.parametrize("case", SHANGMI["responses"], ids=ids(SHANGMI["responses"]))
def test_a_valid_answer_verifies(case: dict[str, Any]) -> None:
    verify(CaseInsensitiveDict(case["headers"]), case["body"].encode(), key_of, SM2, SIGNED_AT)


@pytest.mark.parametrize("case", SHANGMI["bad_responses"], ids=ids(SHANGMI["bad_responses"]))
def test_a_bad_answer_does_not_verify(case: dict[str, Any]) -> None:
    with pytest.raises(WrongSignature):
        verify(CaseInsensitiveDict(case["headers"]), case["body"].encode(), key_of, SM2, SIGNED_AT)


def test_an_answer_of_the_other_suite_is_not_believed() -> None:
    case = VECTORS["responses"][0]
    headers, body = CaseInsensitiveDict(case["headers"]), base64.b64decode(case["body_base64"])
    with pytest.raises(UnverifiedAnswer, match=r"only WECHATPAY2-SM2-WITH-SM3 goes with the merchant's SM2 key"):
        verify(headers, body, key_of, SM2, SIGNED_AT)
    case = SHANGMI["responses"][0]
    with pytest.raises(UnverifiedAnswer, match=r"only WECHATPAY2-SHA256-RSA2048 goes with the merchant's RSA key"):
        verify(CaseInsensitiveDict(case["headers"]), case["body"].encode(), key_of, RSA, SIGNED_AT)


MESSAGE = b"1730563203\nnonce\n{}\n"


def test_what_is_no_signature_fails_and_breaks_nothing() -> None:
    key = private_key("platform_1")
    public, n = key.public_key, sm2_points.N
    right = key.sign(MESSAGE)
    r, s = decode_dss_signature(right)
    assert public.verify(MESSAGE, right)
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    wrong = [
        b"", b"0", b"0\x06", raw, raw.hex().encode(), right + b"\0", right[:-1], b"\x30\x80" + right[2:], bytes(72),
        b"\xff" * 256, base64.b64encode(right),
        *(encode_dss_signature(*pair) for pair in ((0, s), (r, 0), (0, 0), (r, n), (n, s), (r + n, s), (r, s + n))),
        # r + s is the order, so that the sum of the points is that of a signature without the key.
        encode_dss_signature(r, n - r), encode_dss_signature(s, r), encode_dss_signature(r, n - s),
        encode_dss_signature(1, 1), encode_dss_signature(1 << 4000, s),
        b"\x30\x06\x02\x01\x80\x02\x01\x01", b"\x30\x07\x02\x02\x00\x01\x02\x01\x01",
    ]  # fmt: skip
    assert [one for one in wrong if public.verify(MESSAGE, one)] == []
    source = random.Random(1)
    for _ in range(200):
        spoiled = bytearray(right)
        spoiled[source.randrange(len(right))] ^= 1 << source.randrange(8)
        assert not public.verify(MESSAGE, bytes(spoiled))
    assert not public.verify(MESSAGE + b"\n", right)
    assert not private_key("platform_2").public_key.verify(MESSAGE, right)
    assert not public.verify(MESSAGE, gmssl_pyx.sm2_sign(key.secret, public.point, MESSAGE, signer_id=b"another id"))
    assert not public.verify(MESSAGE, gmssl_pyx.sm2_sign(key.secret, public.point, MESSAGE, signer_id=None))


def test_a_point_at_infinity_is_no_signature() -> None:
    """``s * G + (r + s) * key`` is infinity for a key whose private half is known and an ``r`` that fits."""
    key, n = private_key("platform_1"), sm2_points.N
    secret = int.from_bytes(key.secret, "big")
    s = 12345
    r = (-s * pow(secret, -1, n) - s) % n
    assert sm2_points.sum_of(s, (r + s) % n, sm2_points.times(secret) or (0, 0)) is None
    assert not key.public_key.verify(MESSAGE, encode_dss_signature(r, s))


def test_numbers_out_of_bounds_are_no_signature_even_if_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a digest that is made to fit, which no message has."""
    key, n = private_key("platform_1").public_key, sm2_points.N
    point = sm2_points.times(int.from_bytes(private_key("platform_1").secret, "big")) or (0, 0)
    asked: list[bytes] = []

    def agrees(_: bytes, message: bytes, signature: bytes, **options: bytes) -> bool:
        asked.append(signature)
        return True

    monkeypatch.setattr(gmssl_pyx, "sm2_verify", agrees)
    for r, s, is_right in ((3, 1, True), (0, 1, False), (3, 1 + n, False), (3 + n, 1, False)):
        x, _ = sm2_points.sum_of(s % n, (r + s) % n, point) or (0, 0)
        with monkeypatch.context() as patch:
            patch.setattr(sm2, "_sm3", lambda *_, r=r, x=x: ((r - x) % n).to_bytes(32, "big"))
            assert key.verify(MESSAGE, encode_dss_signature(r, s)) is is_right
    assert len(asked) == 1


def test_the_library_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is computed here can only refuse."""
    key = private_key("platform_1")
    right = key.sign(MESSAGE)
    asked: list[bytes] = []
    with monkeypatch.context() as patch:
        patch.setattr(gmssl_pyx, "sm2_verify", lambda *given, **_: asked.append(given[2]))
        assert not key.public_key.verify(MESSAGE, right)
        assert not key.public_key.verify(MESSAGE + b" ", right)
    assert asked == [right]


def test_points_are_those_of_the_library() -> None:
    n = sm2_points.N
    for _ in range(20):
        point, secret = gmssl_pyx.sm2_key_generate()
        x, y = sm2_points.times(int.from_bytes(secret, "big")) or (0, 0)
        assert x.to_bytes(32, "big") + y.to_bytes(32, "big") == point
        assert sm2_points.is_on_curve((x, y))
        assert not sm2_points.is_on_curve((x, y + 1))
        assert sm2_points.sum_of(0, 1, (x, y)) == (x, y)
        assert sm2_points.sum_of(5, 7, (x, y)) == sm2_points.times((5 + 7 * int.from_bytes(secret, "big")) % n)
    g = sm2_points.G
    assert sm2_points.times(n) is sm2_points.times(0) is None
    assert sm2_points.times(n - 1) == (g[0], sm2_points.P - g[1])
    assert sm2_points.sum_of(1, 1, g) == sm2_points.times(2)
    assert not sm2_points.is_on_curve((g[0] + sm2_points.P, g[1]))


# Certificates


def test_certificates_are_unsealed_and_verified_with_themselves() -> None:
    vector = SHANGMI["certificates"]
    headers, body = CaseInsensitiveDict(vector["response"]["headers"]), vector["response"]["body"].encode()
    assert vector["url"] == SM2.certificates
    keys = read_certificates(body, KEYS["apiv3_key"], SM2)
    assert {key.serial_no: key.public_key for key in keys} == {
        KEYS[f"{name}_serial"]: load_public_key(KEYS[f"{name}_public"], name) for name in PLATFORMS
    }
    assert verified_certificates(headers, body, KEYS["apiv3_key"], SM2, SIGNED_AT).keys == keys
    with pytest.raises(UnverifiedAnswer, match="APIv3 key"):
        read_certificates(body, vector["wrong_key_must_fail"], SM2)
    with pytest.raises(WrongSignature):
        verified_certificates(headers, body + b" ", KEYS["apiv3_key"], SM2, SIGNED_AT)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda entry: entry.update(serial_no="5157F09EFDC096DE15EBE81A47057A7232F1B8E2"),
        lambda entry: entry["encrypt_certificate"].update(algorithm="AEAD_AES_256_GCM"),
        lambda entry: entry["encrypt_certificate"].update(ciphertext=""),
        lambda entry: entry["encrypt_certificate"].update(ciphertext="AAAA"),
        lambda entry: entry["encrypt_certificate"].update(nonce=""),
        lambda entry: entry["encrypt_certificate"].update(nonce="x" * 200),
        lambda entry: entry["encrypt_certificate"].update(associated_data="other"),
    ],
)
def test_a_certificate_list_that_is_wrong_is_not_believed(spoil: Any) -> None:
    content = json.loads(SHANGMI["certificates"]["response"]["body"])
    spoil(content["data"][0])
    with pytest.raises(UnverifiedAnswer):
        read_certificates(json.dumps(content).encode(), KEYS["apiv3_key"], SM2)


# Keys


def test_keys_of_two_suites_do_not_go_together() -> None:
    rsa = VECTORS["keys"]
    of_rsa = {
        "merchant_serial_no": rsa["merchant_serial"],
        "merchant_private_key": rsa["merchant_private_pkcs8"],
        "wechatpay_public_key_id": rsa["wechatpay_public_key_id"],
    }
    with pytest.raises(InvalidCredentials) as raised:
        read_settings(SHANGMI["mchid"], None, None, {**of_rsa, "wechatpay_public_key": KEYS["platform_1_public"]})
    assert str(raised.value) == (
        "wechatpay_public_key is an SM2 key, and the merchant's private key is an RSA key: take both from one "
        "application at WeChat Pay, RSA keys with RSA keys"
    )
    with pytest.raises(InvalidCredentials, match="is an RSA key, and the merchant's private key is an SM2 key"):
        settings(
            wechatpay_public_key=rsa["wechatpay_public_key"], wechatpay_public_key_id=rsa["wechatpay_public_key_id"]
        )
    with pytest.raises(UnverifiedAnswer, match="not encrypted with AEAD_SM4_GCM"):
        read_certificates(VECTORS["certificates"]["response_body"].encode(), KEYS["apiv3_key"], SM2)
    with pytest.raises(UnverifiedAnswer, match="not encrypted with AEAD_AES_256_GCM"):
        read_certificates(SHANGMI["certificates"]["response"]["body"].encode(), KEYS["apiv3_key"], RSA)


def test_a_public_key_of_the_same_suite_goes_with_it() -> None:
    read = settings(wechatpay_public_key=KEYS["platform_1_public"], wechatpay_public_key_id="PUB_KEY_ID_01")
    assert read.public_key == PlatformKey("PUB_KEY_ID_01", platform_key("platform_1"))
    assert read.merchant.suite is SM2
    assert read.identity != settings().identity
    with pytest.raises(InvalidCredentials, match="is the merchant's own public key"):
        settings(wechatpay_public_key=KEYS["merchant_public"], wechatpay_public_key_id="PUB_KEY_ID_01")


def test_without_a_naming_secret_it_is_asked_for() -> None:
    with pytest.raises(InvalidCredentials, match="needs naming_secret, since the signatures of an SM2 key differ"):
        settings(naming_secret="")


def element(tag: int, *parts: bytes) -> bytes:
    """An element of DER with fewer than 256 bytes."""
    value = b"".join(parts)
    return bytes([tag, *([0x81] if len(value) > 127 else []), len(value)]) + value


def pkcs8(secret: bytes, public: bytes | None = None, algorithm: str = "2a8648ce3d0201") -> str:
    """A private key as people may have it."""
    public = b"" if public is None else element(0xA1, element(0x03, b"\0\x04", public))
    inner = element(0x30, element(0x02, b"\1"), element(0x04, secret), public)
    kind = element(0x30, element(0x06, bytes.fromhex(algorithm)), SM2_CURVE)
    der = element(0x30, element(0x02, b"\0"), kind, element(0x04, inner))
    return f"-----BEGIN PRIVATE KEY-----\n{base64.encodebytes(der).decode()}-----END PRIVATE KEY-----\n"


def test_a_private_key_is_checked_when_it_is_read() -> None:
    key = private_key("merchant")
    point, secret = key.public_key.point, key.secret
    assert load_private_key(pkcs8(secret, point), "key") == load_private_key(pkcs8(secret), "key") == key
    other = private_key("platform_1").public_key.point
    n = sm2_points.N
    for text, told in (
        (pkcs8(secret, other), "key is an SM2 key whose private and public half do not belong together: take"),
        (pkcs8(bytes(32)), "key is an SM2 key whose number is out of its bounds"),
        (pkcs8((n - 1).to_bytes(32, "big")), "key is an SM2 key whose number is out of its bounds"),
        (pkcs8(b"\xff" * 32), "key is an SM2 key whose number is out of its bounds"),
        (pkcs8(secret, algorithm="2a864886f70d010101"), "key is not a readable private key: it is an SM2 key that was"),
        (KEYS["merchant_public"], "key is a public key: take the whole apiclient_key.pem"),
        (KEYS["merchant_private"].replace("PRIVATE KEY", "EC PRIVATE KEY"), "nor an SM2 key in PKCS#8"),
    ):
        with pytest.raises(InvalidCredentials) as raised:
            load_private_key(text, "key")
        assert str(raised.value).startswith(told) or told in str(raised.value)
        assert secret.hex() not in str(raised.value)


def test_a_public_key_is_a_point_of_the_curve() -> None:
    right = load_public_key(KEYS["platform_1_public"], "key")
    assert read_public_key(right.der) == right
    for der, told in (
        (right.der[:-1] + bytes([right.der[-1] ^ 1]), "key is an SM2 key whose point is not on the curve"),
        (right.der[:-64] + bytes(64), "key is an SM2 key whose point is not on the curve"),
        (right.der[:-1], "1 line"),
        (right.der + b"\0", "something was added"),
        (right.der[:25] + b"\0\2" + right.der[27:], "it is an SM2 key that was changed, or is not in the form"),
    ):
        text = f"-----BEGIN PUBLIC KEY-----\n{base64.encodebytes(der).decode()}-----END PUBLIC KEY-----\n"
        with pytest.raises(InvalidCredentials) as raised:
            load_public_key(text, "key")
        assert told in str(raised.value) or "not a readable public key" in str(raised.value)


def test_a_key_does_not_show_itself() -> None:
    key = private_key("merchant")
    assert key.secret.hex() not in repr(settings())
    assert repr(key.secret) not in repr(key)
    assert settings().merchant.signer.public_key.about == "SM2, 256 bits"


def test_without_the_extra_the_connection_says_what_to_install() -> None:
    code = f"""
import sys
sys.modules["gmssl_pyx"] = None
from airflow_provider_wxbank.wechatpay.settings import read_settings
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials
try:
    extra = {{"merchant_serial_no": "1", "merchant_private_key": {KEYS["merchant_private"]!r}}}
    read_settings("1", "x" * 32, None, extra)
except InvalidCredentials as failure:
    print(failure)
"""
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert shown.stderr == ""
    assert shown.stdout == (
        "merchant_private_key is an SM2 key, which needs a package more: "
        "pip install 'airflow-provider-wxbank[shangmi]'\n"
    )


def test_a_merchant_with_another_suite_does_not_need_it() -> None:
    code = "import sys, airflow_provider_wxbank.wechatpay.client; print('gmssl_pyx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"


# Lines


@pytest.mark.parametrize("case", SHANGMI["sm2_ciphertexts"], ids=lambda case: case["plaintext"][:20])
def test_what_is_encrypted_here_decrypts_as_the_vectors_do(case: dict[str, Any]) -> None:
    assert decrypted(case["key"], case["ciphertext"]) == case["plaintext"]
    key = platform_key(case["key"])
    line = encrypt(key, case["plaintext"])
    assert decrypted(case["key"], line) == case["plaintext"]
    assert check_encrypted(f"{case['ciphertext']}\n{line}\n".encode(), "users.csv", SM2) == 2
    assert len(line) < key.line_bytes(len(case["plaintext"].encode()))


def test_a_line_is_as_long_as_is_said_and_not_longer() -> None:
    key = platform_key("platform_1")
    for size in (1, 28, 104, 127, 128, 214):
        lengths = {len(line) + 1 for line in key.encrypt_lines(["7" * size] * 60).splitlines()}
        assert max(lengths) == key.line_bytes(size)
    assert key.line_bytes(1) == 149
    assert key.line_bytes(MAX_NUMBER_BYTES) == 437


def test_as_many_numbers_go_into_a_file_as_surely_fit() -> None:
    key = PlatformKey("0A", platform_key("platform_1"))
    short, long = numbers(5500), [f"{index:0214d}" for index in range(5500)]
    assert rows_that_fit(key.public_key, short) == 5500
    assert rows_that_fit(key.public_key, long) == 4576 == 2_000_000 // 437
    mixed = [*long[:4000], *numbers(9000)]
    parts = [part for _, part in batches([mixed], lambda: key, 5500)]
    assert [number for part in parts for number in part] == mixed
    # 4,000 lines of 437 bytes leave room for 1,491 of 169.
    assert [len(part) for part in parts] == [5491, 5500, 2009]
    again = [part for _, part in batches([mixed], lambda: key, 5500)]
    assert again == parts
    assert len(key.public_key.encrypt_lines(parts[0])) <= 2_000_000


def test_child_processes_encrypt() -> None:
    key, rows = platform_key("platform_1"), numbers(FEW + 1)
    with EncryptionProcesses(1) as processes:
        lines = processes.encrypt_lines(key, rows).splitlines()
    assert [decrypted("platform_1", line) for line in lines] == rows


def near(block: bytes) -> Iterator[bytes]:
    """Blocks that differ in form from one that is right."""
    x, y, c3, c2 = (one.value for one in members(block))
    integer, octets = 0x02, 0x04
    parts = (integer, x), (integer, y), (octets, c3), (octets, c2)
    assert element(0x30, *(element(*part) for part in parts)) == block
    for place, wrong in (
        (0, (octets, x)),
        (0, (integer, b"")),
        (0, (integer, b"\x80" + x[-31:])),
        (0, (integer, b"\0\0" + x[-31:])),
        (1, (integer, b"\0\x01")),
        (2, (octets, c3[1:])),
        (2, (integer, c3)),
        (3, (octets, b"")),
        (3, (integer, c2)),
    ):
        yield element(0x30, *(element(*(wrong if index == place else part)) for index, part in enumerate(parts)))
    yield element(0x31, *(element(*part) for part in parts))
    yield element(0x30, *(element(*part) for part in parts[:3]))
    yield element(0x30, *(element(*part) for part in (*parts, parts[3])))
    yield b"\x30\x82\x00" + block[-len(block) + 2 :] if block[1] == 0x81 else b"\x30\x81" + block[1:]


def test_a_file_that_is_encrypted_already_is_checked_line_by_line() -> None:
    key = platform_key("platform_1")
    assert isinstance(key, Sm2PublicKey)
    content = key.encrypt_lines(numbers(5))
    lines = content.splitlines(keepends=True)
    assert check_encrypted(content, "users.csv", SM2) == 5
    block = base64.b64decode(lines[0])
    of_rsa = f"{VECTORS['oaep'][0]['ciphertext']}\n".encode()
    off_curve = bytes([*block[:30], block[30] ^ 1, *block[31:]])
    for line, told in (
        (lines[2], "line 6 is the same as line 3: SM2 makes another line of the same number each time"),
        (of_rsa, "line 6 is not an encrypted number: expected Base64 of an SM2 ciphertext as ASN.1"),
        (base64.b64encode(b"202400000000000001" * 6) + b"\n", "line 6 is not an encrypted number"),
        (base64.b64encode(block + b"\0") + b"\n", "line 6 is not an encrypted number"),
        *((base64.b64encode(one) + b"\n", "line 6 is not an encrypted number") for one in near(block)),
        (base64.b64encode(block[:-1]) + b"\n", "line 6 is not an encrypted number"),
        (base64.b64encode(off_curve) + b"\n", "line 6 is Base64 of text that is not encrypted"),
    ):
        with pytest.raises(InvalidInput) as raised:
            check_encrypted(content + line, "users.csv", SM2)
        assert told in str(raised.value)
    with pytest.raises(InvalidInput, match="expected Base64 of one RSA block"):
        check_encrypted(content, "users.csv", RSA)


def test_a_signer_of_pem_signs_for_its_serial() -> None:
    signer = PemSigner("5F", private_key("merchant"))
    merchant = Merchant("1900000001", signer)
    assert (merchant.serial_no, merchant.suite) == ("5F", SM2)
    assert signer.public_key.verify(MESSAGE, signer.sign(MESSAGE))
