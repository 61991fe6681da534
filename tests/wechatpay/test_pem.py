# SPDX-License-Identifier: Apache-2.0
"""Keys as people have them are taken; what is no usable key is told by what it is, without a character of it."""

from __future__ import annotations

import codecs
import json
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_plus

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    pkcs12,
)

from airflow_provider_wxbank.wechatpay.crypto.rsa import RsaPrivateKey
from airflow_provider_wxbank.wechatpay.crypto.signing import PemSigner
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials
from airflow_provider_wxbank.wechatpay.settings import Settings, read_settings
from tests.vectors import VECTORS

KEYS = VECTORS["keys"]
KEY = KEYS["merchant_private_pkcs8"]
CERTIFICATE = KEYS["merchant_cert"]
PUBLIC_KEY = KEYS["wechatpay_public_key"]
LINES = KEY.strip().splitlines()
FLAT = KEY.strip().replace("\n", " ")
BODY = "".join(LINES[1:-1])
RSA_KEY = load_pem_private_key(KEY.encode(), None)
assert isinstance(RSA_KEY, RSAPrivateKey)
NUMBERS = RSA_KEY.private_numbers()
OWN_PUBLIC_KEY = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
STORE = pkcs12.serialize_key_and_certificates(
    b"Tenpay Certificate",
    RSA_KEY,
    x509.load_pem_x509_certificate(CERTIFICATE.encode()),
    None,
    BestAvailableEncryption(b"1900000001"),
)
# What `openssl pkcs12 -nodes` writes of a store whose key has a Chinese name.
BAGS = f"""Bag Attributes
    localKeyID: 01 00 00 00
    friendlyName: 商户私钥 – 测试
    Microsoft CSP Name: C:\\new\\keys
Key Attributes: <No Attributes>
{KEY}Bag Attributes
    friendlyName: 商户证书
subject=CN=1900000001, O=某某银行
issuer=CN=Tenpay.com Root CA
{CERTIFICATE}"""


def read(text: str = "", **extra: Any) -> Settings:
    """A connection in public-key mode, by default with this text as its private key."""
    key = {"merchant_private_key": text} if text else {}
    fields = {
        "merchant_serial_no": KEYS["merchant_serial"],
        "wechatpay_public_key": PUBLIC_KEY,
        "wechatpay_public_key_id": KEYS["wechatpay_public_key_id"],
    }
    return read_settings(VECTORS["mchid"], None, None, {**fields, **key, **extra})


def is_the_key(settings: Settings) -> bool:
    signer = settings.merchant.signer
    assert isinstance(signer, PemSigner)
    assert isinstance(signer.private_key, RsaPrivateKey)
    return signer.private_key.key.private_numbers() == NUMBERS


def told(secret: str = BODY, **extra: Any) -> str:
    """The error that a connection with these fields is, which tells nothing of the key."""
    with pytest.raises(InvalidCredentials) as raised:
        read(**extra)
    message = str(raised.value)
    assert message.isprintable()
    assert not [start for start in range(0, len(secret) - 12, 4) if secret[start : start + 12] in message]
    return message


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(KEY.replace("\n", "\r\n"), id="windows"),
        pytest.param(KEY.replace("\n", "\r"), id="old mac"),
        pytest.param(KEY.replace("\n", "\\n"), id="written once"),
        pytest.param(KEY.replace("\n", "\\\\n"), id="written twice"),
        pytest.param(KEY.replace("\n", "\\\\\\\\n"), id="written thrice"),
        pytest.param(KEY.replace("\n", "\\r\\n"), id="written windows"),
        pytest.param(KEY.replace("/", "\\/"), id="slashes as PHP writes them in JSON"),
        pytest.param(json.dumps(json.dumps(KEY)), id="JSON in JSON, with its quotes"),
        pytest.param(FLAT, id="one line with blanks"),
        pytest.param(BODY.join((LINES[0], LINES[-1])), id="one line without blanks"),
        pytest.param("\n".join(f"    {line}  " for line in LINES), id="indented"),
        pytest.param("\n\n".join(LINES), id="empty lines"),
        pytest.param(f"\ufeff{KEY}", id="byte order mark"),
        pytest.param(KEY.replace("\n", "\n\ufeff"), id="byte order marks inside"),
        pytest.param("\u200b".join(KEY), id="zero-width spaces"),
        pytest.param("\u00ad\u2060\u200d\u202a".join(LINES), id="soft hyphens and the like for line breaks"),
        pytest.param(KEY.replace("\n", "\u00a0\n"), id="no-break spaces"),
        pytest.param(KEY.replace("\n", "\u3000"), id="ideographic spaces"),
        pytest.param(KEY.replace("\n", "\u2028"), id="line separators"),
        pytest.param(KEY.replace("-----", "–––––"), id="en dashes"),
        pytest.param(KEY.replace("-----", "——-"), id="autocorrected dashes"),
        pytest.param(KEY[1:], id="a dash was not copied"),
        pytest.param(f"商户私钥\n{KEY}请勿外传", id="Chinese comment"),
        pytest.param(f"'{KEY}'", id="in quotes"),
        pytest.param(BAGS, id="bag attributes, key and certificate"),
        pytest.param(CERTIFICATE + KEY + PUBLIC_KEY, id="bundle"),
        pytest.param(CERTIFICATE + KEYS["merchant_private_pkcs1"], id="bundle with PKCS#1"),
        pytest.param(KEY + FLAT, id="the same twice"),
    ],
)
def test_a_key_is_taken_in_the_layout_that_it_has(text: str) -> None:
    assert is_the_key(read(text))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(codecs.BOM_UTF8 + KEY.encode(), id="byte order mark"),
        pytest.param(codecs.BOM_UTF16_LE + BAGS.encode("utf-16-le"), id="UTF-16, little endian"),
        pytest.param(codecs.BOM_UTF16_BE + BAGS.encode("utf-16-be"), id="UTF-16, big endian"),
        pytest.param(KEY.encode("utf-16-le"), id="UTF-16 without a mark"),
        pytest.param(BAGS.encode("utf-8"), id="Chinese in UTF-8"),
        pytest.param(BAGS.encode("gb18030"), id="Chinese in GB18030"),
    ],
)
def test_a_key_file_is_read_in_the_encoding_that_it_has(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "apiclient_key.pem"
    file.write_bytes(data)
    assert is_the_key(read(merchant_private_key_file=str(file)))


def test_the_public_key_is_taken_out_of_a_bundle_too() -> None:
    settings = read(KEY, wechatpay_public_key=f"微信支付公钥\\n{CERTIFICATE}{PUBLIC_KEY}".replace("\n", "\\n"))
    assert settings.public_key == read(KEY).public_key


def pem(key: Any, kind: PrivateFormat, passphrase: bytes | None = None) -> str:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    text: bytes = key.private_bytes(Encoding.PEM, kind, encryption)
    return text.decode()


def without(number: int) -> str:
    return "\n".join(LINES[:number] + LINES[number + 1 :])


ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
# SubjectPublicKeyInfo and PrivateKeyInfo of SM2 keys begin so; which key it is does not matter.
SM2 = b64encode(bytes.fromhex("3041020100301306072a8648ce3d020106082a811ccf5501822d0427") + b"\x30\x25" + bytes(37))
SM2_KEY = f"-----BEGIN PRIVATE KEY-----\n{SM2.decode()}\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (pem(RSA_KEY, PrivateFormat.PKCS8, b"secret"), "is encrypted, and no passphrase is taken: take the whole"),
        (pem(RSA_KEY, PrivateFormat.TraditionalOpenSSL, b"secret"), "is encrypted, and no passphrase is taken"),
        (pem(RSA_KEY, PrivateFormat.TraditionalOpenSSL, b"secret").replace("\n", "\\n"), "is encrypted, and no"),
        (pem(RSA_KEY, PrivateFormat.OpenSSH), "is a key of SSH"),
        (b64encode(STORE).decode(), "is a PKCS#12 file (.p12, .pfx): take the whole apiclient_key.pem"),
        (CERTIFICATE, "is a certificate: take the whole apiclient_key.pem"),
        (CERTIFICATE.replace("CERTIFICATE", "CERTIFICATE REQUEST"), "is a request for a certificate"),
        (PUBLIC_KEY, "is a public key: take the whole apiclient_key.pem"),
        (CERTIFICATE + PUBLIC_KEY, "is a public key"),
        (KEY.replace("PRIVATE KEY", "PGP PRIVATE KEY BLOCK"), "is another kind of PEM"),
        (pem(ELLIPTIC, PrivateFormat.PKCS8), "is not an RSA key"),
        (pem(ELLIPTIC, PrivateFormat.TraditionalOpenSSL), "is an elliptic curve's key, not an RSA key"),
        (SM2_KEY, "it is an SM2 key that was changed"),
        (KEY + KEYS["platform_1_private"], "has 2 different private keys: leave the one that is meant"),
        (BODY, "is DER, or Base64 without the lines of dashes"),
        (FLAT.removeprefix(LINES[0]), "lacks the line -----BEGIN ...-----"),
        (FLAT.removesuffix(LINES[-1]), "lacks the line -----END ...-----"),
        (LINES[-1] + FLAT[len(LINES[0]) : -len(LINES[-1])] + LINES[0], "lacks a line of dashes that fits"),
        (without(1), "its first line is missing or was changed"),
        (without(2), "1 line(s) or a part of one are missing"),
        (without(len(LINES) - 3), "1 line(s) or a part of one are missing"),
        ("\n".join(LINES[:9] + LINES[12:]), "3 line(s) or a part of one are missing"),
        (KEY.replace(LINES[5], LINES[5][:-7]), "1 line(s) or a part of one are missing"),
        ("\n".join(LINES[:5] + LINES[4:]), "a line is there twice, or something was added"),
        (KEY.replace(LINES[7], "..."), "it has characters that no key has"),
        (KEY.replace(LINES[7], LINES[8]), "it was changed, or is of another kind"),
        (unquote_plus(KEY), 'its "+" have become blanks'),
        (unquote_plus(KEY.replace("\n", "\r\n")), 'its "+" have become blanks'),
        (unquote_plus(FLAT), 'its "+" have become blanks'),
        (quote(KEY), "is in a URL's form"),
        ("/etc/wxbank/apiclient_key.pem", "looks like a path, which belongs into the field whose name ends with _file"),
        ("***", "in the place of a secret"),
        ("wechat", "holds no PEM"),
    ],
)
def test_what_is_no_usable_private_key_is_told_by_what_it_is(text: str, message: str) -> None:
    found = told(merchant_private_key=text)
    assert found.startswith("merchant_private_key ")
    assert message in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (KEYS["wechatpay_public_private"], "is a private key: take the whole pub_key.pem"),
        (KEYS["platform_1_cert"], "is a certificate: take the whole pub_key.pem"),
        (OWN_PUBLIC_KEY, "is the merchant's own public key, not WeChat Pay's: take pub_key.pem"),
        (b64encode(STORE).decode(), "is a PKCS#12 file (.p12, .pfx): take the whole pub_key.pem"),
        ("\n".join(PUBLIC_KEY.splitlines()[:3] + PUBLIC_KEY.splitlines()[4:]), "1 line(s) or a part of one"),
        (SM2_KEY.replace("PRIVATE", "PUBLIC"), "it is an SM2 key that was changed"),
    ],
)
def test_what_is_not_wechat_pays_public_key_is_told_by_what_it_is(text: str, message: str) -> None:
    found = told("".join(text.split()), merchant_private_key=KEY, wechatpay_public_key=text)
    assert found.startswith("wechatpay_public_key ")
    assert message in found


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (STORE, "is a PKCS#12 file (.p12, .pfx): take the whole apiclient_key.pem"),
        (RSA_KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), "is DER, or Base64 without"),
        (b"\x30\x82\xff", "holds no PEM"),
        (b"", "holds no PEM"),
        (b"\x00" * 200_000, "is longer than"),
        (CERTIFICATE.encode("utf-16"), "is a certificate"),
    ],
)
def test_a_file_that_is_no_key_is_named_with_what_it_is(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "apiclient_cert.p12"
    file.write_bytes(data)
    found = told(merchant_private_key_file=str(file))
    assert f"merchant_private_key_file {file} " in found
    assert message in found


def test_a_path_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert "Is a directory" in told(merchant_private_key_file=str(tmp_path))
    # A NUL is among what nobody sees.
    assert "No such file" in told(merchant_private_key_file="/there\0/is/none")
