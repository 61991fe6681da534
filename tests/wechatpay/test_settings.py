# SPDX-License-Identifier: Apache-2.0
"""A connection is checked, field by field, before anything is sent."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials, InvalidInput
from airflow_provider_wxbank.wechatpay.settings import BACKUP_HOST, MAIN_HOST, Settings, read_settings
from tests.vectors import VECTORS

KEYS = VECTORS["keys"]
APIV3_KEY = VECTORS["certificates"]["apiv3_key"]
MERCHANT = {
    "merchant_serial_no": KEYS["merchant_serial"],
    "merchant_private_key": KEYS["merchant_private_pkcs8"],
}
PUBLIC_KEY = {
    "wechatpay_public_key": KEYS["wechatpay_public_key"],
    "wechatpay_public_key_id": KEYS["wechatpay_public_key_id"],
}
OTHER_KEY = KEYS["platform_1_private"]


def settings(
    login: str | None = VECTORS["mchid"], password: str | None = APIV3_KEY, host: str | None = "", **extra: Any
) -> Settings:
    return read_settings(login, password, host, {**MERCHANT, **extra})


def pem(key: Any, passphrase: bytes | None = None) -> str:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    text: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return text.decode()


def test_the_mode_follows_from_what_is_filled_in() -> None:
    assert settings().mode == "certificates"
    assert settings(password="", **PUBLIC_KEY).mode == "public key"
    assert settings(**PUBLIC_KEY).mode == "both"


def test_an_empty_host_means_wechat_pays_own_with_its_backup() -> None:
    assert (settings().base_url, settings().backup_url) == (MAIN_HOST, BACKUP_HOST)


def test_another_host_has_no_backup_unless_one_is_named() -> None:
    assert settings(host="http://127.0.0.1:8971/").backup_url is None
    named = settings(host="gateway.bank.example:8443", backup_host="https://other.bank.example")
    assert named.base_url == "https://gateway.bank.example:8443"
    assert named.backup_url == "https://other.bank.example"


def test_the_port_is_part_of_the_host() -> None:
    def read(host: str, port: int | None) -> tuple[str, str | None]:
        read = read_settings(VECTORS["mchid"], APIV3_KEY, host, MERCHANT, port)
        return read.base_url, read.backup_url

    assert read("", 443) == (MAIN_HOST, BACKUP_HOST)
    assert read("", 0) == (MAIN_HOST, BACKUP_HOST)
    assert read("https://pay.bank.example", 8443) == ("https://pay.bank.example:8443", None)
    assert read("http://127.0.0.1:8971", 8971) == ("http://127.0.0.1:8971", None)
    with pytest.raises(InvalidInput, match="port is 443, but host says 8971"):
        read("http://127.0.0.1:8971", 443)
    with pytest.raises(InvalidInput, match="port must be a whole number from 0 to 65535"):
        read("https://pay.bank.example", 84430)


@pytest.mark.parametrize(
    "host",
    [
        "https://api.mch.weixin.qq.com:443",
        "api.mch.weixin.qq.com:443",
        "HTTPS://API.mch.weixin.qq.com/",
        "https://api.mch.weixin.qq.com./",
        " https://api.mch.weixin.qq.com.:443/ ",
        "https://api.mch.\u200bweixin.qq.com",
    ],
)
@pytest.mark.parametrize("port", [None, 0, 443, "443", "", 443.0])
def test_wechat_pays_own_host_has_its_backup_however_it_is_written(host: str, port: object) -> None:
    read = read_settings(VECTORS["mchid"], APIV3_KEY, host, MERCHANT, port)
    assert (read.base_url, read.backup_url) == (MAIN_HOST, BACKUP_HOST)


def test_a_base_url_has_one_form() -> None:
    assert settings(host="HTTP://LOCALHOST:80/").base_url == "http://localhost"
    assert settings(host="https://pay.bank.example:80").base_url == "https://pay.bank.example:80"
    assert settings(host="https://[2001:DB8::1]:443").base_url == "https://[2001:db8::1]"
    assert settings(backup_host="Gateway.Bank.example:443").backup_url == "https://gateway.bank.example"
    with pytest.raises(InvalidInput, match="port is 8443, but host says 443"):
        read_settings(VECTORS["mchid"], APIV3_KEY, "https://pay.bank.example:443", MERCHANT, 8443)


def test_timeouts_are_seconds() -> None:
    assert (settings().connect_timeout, settings().read_timeout) == (5.0, 30.0)
    assert settings(connect_timeout="2.5", read_timeout=7).connect_timeout == 2.5
    assert settings(daily_file_quota="12000").daily_file_quota == 12_000
    assert settings(daily_file_quota="").daily_file_quota == settings().daily_file_quota == 6000


def test_every_field_may_come_as_text_and_digits_as_a_number() -> None:
    """Forms and secret stores give texts; a YAML file gives numbers."""
    as_text = settings(
        connect_timeout=" 2.5 ",
        read_timeout="60",
        daily_file_quota="12000",
        proxies='{"https": "http://proxy:3128"}',
    )
    as_numbers = settings(
        login=int(VECTORS["mchid"]),  # type: ignore[arg-type]  # what Airflow's types do not allow, but stores hold
        connect_timeout=2.5,
        read_timeout=60,
        daily_file_quota=12000.0,
        proxies={"https": "http://proxy:3128"},
    )
    assert as_text.identity == as_numbers.identity
    assert as_text.proxies == {"https": "http://proxy:3128"}
    assert settings(merchant_serial_no=1234567890123456789012345678901234567890).merchant.serial_no.startswith("1234")


@pytest.mark.parametrize(
    "field", ["password", "naming_secret", "merchant_private_key_pin", "merchant_private_key_token"]
)
@pytest.mark.parametrize("number", [31415926535897932384626433832795, 31415.5])
def test_a_secret_is_a_text_since_airflow_hides_no_number(field: str, number: float) -> None:
    device: dict[str, Any] = {"merchant_private_key": "", "merchant_private_key_uri": "pkcs11:token=a"}
    changes: dict[str, Any] = {**(device if field.startswith("merchant") else {}), field: number}
    with pytest.raises(InvalidCredentials, match="is a number, which Airflow does not hide: write it in") as raised:
        settings(**changes)
    assert "31415" not in str(raised.value)
    if field.startswith("merchant"):
        with pytest.raises(InvalidCredentials, match=rf"{field} is \*\*\*, what Airflow shows"):
            settings(**device, **{field: "***"})


def test_a_key_file_that_is_a_pipe_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key.pem")
    with pytest.raises(InvalidCredentials, match="it is not a file"):
        settings(merchant_private_key="", merchant_private_key_file=str(tmp_path / "key.pem"))


@pytest.mark.parametrize("empty", ["", None, {}])
def test_an_empty_field_is_none(empty: object) -> None:
    assert settings(proxies=empty).proxies is None


def test_a_proxy_is_one_url_or_one_a_scheme() -> None:
    assert settings().proxies is None
    assert settings(proxies="http://proxy:3128").proxies == {
        "https": "http://proxy:3128",
        "http": "http://proxy:3128",
    }
    assert settings(proxies={"https": "http://proxy:3128"}).proxies == {"https": "http://proxy:3128"}


@pytest.mark.parametrize(
    "text",
    [
        "1DDE55AD98ED71D6EDD4A4A16996DE7B47773A8C",
        "1dde55ad98ed71d6edd4a4a16996de7b47773a8c",
        "1D:DE:55:AD:98:ED:71:D6:ED:D4:A4:A1:69:96:DE:7B:47:77:3A:8C",
        "1dde 55ad 98ed 71d6 edd4 a4a1 6996 de7b 4777 3a8c",
        "1DDE55AD98ED71D6EDD4\r\nA4A16996DE7B47773A8C\n",
        "\u200e1D DE 55 AD\u00a098 ED 71 D6 ED D4 A4 A1 69 96 DE 7B 47 77 3A 8C",
        "serial=1DDE55AD98ED71D6EDD4A4A16996DE7B47773A8C",
        "Serial Number:\n    1d:de:55:ad:98:ed:71:d6:ed:d4:a4:a1:69:96:de:7b:47:77:3a:8c",
        "0x1dde55ad98ed71d6edd4a4a16996de7b47773a8c",
    ],
)
def test_a_serial_is_read_as_tools_show_it(text: str) -> None:
    assert settings(merchant_serial_no=text).merchant.serial_no == KEYS["merchant_serial"]


def test_a_decimal_serial_is_told_with_its_hexadecimal_form() -> None:
    with pytest.raises(InvalidCredentials, match=f"is decimal.*: fill in {KEYS['merchant_serial']}, its hexadecimal"):
        settings(merchant_serial_no=str(int(KEYS["merchant_serial"], 16)))


@pytest.mark.parametrize(
    ("password", "message"),
    [
        (APIV3_KEY.replace("c", "ｃ"), "character 13 of 32 is not ASCII, such as a full-width letter"),
        (APIV3_KEY[:-1] + "é", "character 32 of 32 is not ASCII"),
        (APIV3_KEY[:5] + " " + APIV3_KEY[5:], "character 6 of 33 is a blank"),
        (APIV3_KEY[:5] + "\u3000" + APIV3_KEY[6:], "character 6 of 32 is a blank"),
        (APIV3_KEY[:5] + "\n" + APIV3_KEY[5:], "character 6 of 33 is a blank"),
        (APIV3_KEY[:-1], "must have 32 characters, not 31"),
        (APIV3_KEY * 2, "must have 32 characters, not 64"),
        (VECTORS["mchid"], "must have 32 characters, not 10"),
        ("***", "in the place of a secret"),
        (True, "must be a text"),
    ],
)
def test_a_wrong_apiv3_key_is_told_without_its_characters(password: Any, message: str) -> None:
    with pytest.raises(InvalidCredentials, match=re.escape(message)) as raised:
        settings(password=password)
    assert not [start for start in range(28) if APIV3_KEY[start : start + 4] in str(raised.value)]


def test_what_nobody_sees_is_no_part_of_a_field() -> None:
    hidden = settings(login=f"\ufeff{VECTORS['mchid']}\u200b", password=APIV3_KEY.replace("c", "c\u200b"))
    assert hidden.identity == settings().identity


def test_keys_are_read_from_files(tmp_path: Path) -> None:
    private, public = tmp_path / "apiclient_key.pem", tmp_path / "pub_key.pem"
    private.write_text(KEYS["merchant_private_pkcs1"])
    public.write_text(KEYS["wechatpay_public_key"])
    read = read_settings(
        VECTORS["mchid"],
        None,
        None,
        {
            "merchant_serial_no": "1D:DE:55",
            "merchant_private_key_file": str(private),
            "wechatpay_public_key_file": str(public),
            "wechatpay_public_key_id": KEYS["wechatpay_public_key_id"],
        },
    )
    assert read.merchant.serial_no == "1DDE55"
    assert read.mode == "public key"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"login": None}, "no merchant id"),
        ({"login": "mch1"}, "digits only"),
        ({"merchant_serial_no": ""}, "no merchant_serial_no"),
        ({"login": "１９０００００００１"}, "digits only"),
        ({"login": True}, "must be a text"),
        ({"login": 1.9e9}, "must be a text"),
        ({"merchant_serial_no": "my serial"}, "hexadecimal"),
        ({"merchant_serial_no": "serial="}, "no merchant_serial_no"),
        ({"merchant_serial_no": True}, "merchant_serial_no must be a text"),
        ({"merchant_serial_no": 10**5000}, "merchant_serial_no has too many digits"),
        ({"merchant_serial_no": KEYS["wechatpay_public_key_id"]}, "is the id of WeChat Pay's public key"),
        ({"merchant_private_key": KEYS["merchant_private_pkcs8"].splitlines()}, "merchant_private_key must be a text"),
        ({**PUBLIC_KEY, "wechatpay_public_key_id": False}, "wechatpay_public_key_id must be a text"),
        ({"backup_host": ["https://api2.mch.weixin.qq.com"]}, "backup_host must be a text"),
        ({"merchant_private_key": ""}, "no private key"),
        ({"merchant_private_key": "MIIE..."}, "holds no PEM: take the whole apiclient_key.pem"),
        ({"merchant_private_key": "***"}, "in the place of a secret"),
        ({"merchant_private_key": "x" * 100_000}, "longer than"),
        ({"merchant_private_key": KEYS["merchant_private_pkcs8"] + OTHER_KEY}, "2 different private keys"),
        (
            {"merchant_private_key": KEYS["merchant_private_pkcs8"].replace("MII", "MIJ")},
            "not a readable private key",
        ),
        ({"merchant_private_key": KEYS["merchant_cert"]}, "is a certificate: take the whole apiclient_key.pem"),
        ({"merchant_private_key_file": "/there/is/none.pem"}, "not both"),
        ({"merchant_private_key": "", "merchant_private_key_file": "/there/is/none.pem"}, "No such file"),
        ({"password": ""}, "no platform key"),
        ({"password": "short"}, "32 characters, not 5"),
        ({"wechatpay_public_key": KEYS["wechatpay_public_key"]}, "the id is missing"),
        ({"wechatpay_public_key_id": KEYS["wechatpay_public_key_id"]}, "the key is missing"),
        ({**PUBLIC_KEY, "wechatpay_public_key_id": "5157F09E"}, "PUB_KEY_ID_"),
        ({**PUBLIC_KEY, "wechatpay_public_key": KEYS["merchant_cert"]}, "is a certificate: take the whole pub_key.pem"),
    ],
)
def test_a_wrong_identity_or_key_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidCredentials, match=message) as raised:
        settings(**changes)
    secrets = [KEYS["merchant_private_pkcs8"][100:140], APIV3_KEY]
    assert not [secret for secret in secrets if secret in str(raised.value)]


def test_a_key_must_be_rsa_of_2048_bits_without_a_passphrase() -> None:
    small = rsa.generate_private_key(65537, 1024)
    for key, message in (
        (pem(small), "1024 bits"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "not an RSA key"),
        (pem(rsa.generate_private_key(65537, 2048), b"secret"), "is encrypted, and no passphrase is taken"),
    ):
        with pytest.raises(InvalidCredentials, match=message):
            settings(merchant_private_key=key)
    elliptic = ec.generate_private_key(ec.SECP256R1()).public_key()
    text = elliptic.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(InvalidCredentials, match="not an RSA key"):
        settings(**{**PUBLIC_KEY, "wechatpay_public_key": text})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"host": "http://api.mch.weixin.qq.com"}, "plain http"),
        ({"host": "http://192.168.1.5:8971"}, "plain http"),
        ({"host": "http://127.0.0.1.evil.example"}, "plain http"),
        ({"backup_host": "http://api2.mch.weixin.qq.com"}, "backup_host uses plain http"),
        ({"host": "ftp://127.0.0.1"}, "scheme 'ftp'"),
        ({"host": "https://bank.example/wechat"}, "without path"),
        ({"host": "https://user:secret@bank.example"}, "without path, query or user"),
        ({"host": "https://bank.example:port"}, "not a URL"),
        ({"host": "https://"}, "must be a URL"),
        ({"host": "https://bank.example/?x"}, "without path"),
        ({"host": "https://."}, "must be a URL"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"connect_timeout": True}, "connect_timeout"),
        ({"connect_timeout": "1_0"}, "connect_timeout"),
        ({"connect_timeout": "１０"}, "connect_timeout"),
        ({"connect_timeout": "nan"}, "connect_timeout"),
        ({"connect_timeout": float("nan")}, "connect_timeout"),
        ({"connect_timeout": 10**400}, "connect_timeout"),
        ({"read_timeout": "soon"}, "read_timeout"),
        ({"daily_file_quota": "many"}, "daily_file_quota"),
        ({"daily_file_quota": 0}, "daily_file_quota"),
        ({"daily_file_quota": True}, "daily_file_quota"),
        ({"daily_file_quota": 0.5}, "daily_file_quota must be a whole number"),
        ({"daily_file_quota": -5}, "daily_file_quota"),
        ({"daily_file_quota": 10**9}, "daily_file_quota"),
        ({"daily_file_quota": "0000000001000000000"}, "daily_file_quota"),
        ({"read_timeout": []}, "read_timeout"),
        ({"read_timeout": 1e9}, "read_timeout"),
        ({"proxies": 3128}, "proxies"),
        ({"proxies": False}, "proxies"),
        ({"proxies": ["http://user:secret@proxy"]}, "proxies must be"),
        ({"proxies": '{"https": 3128}'}, "proxies must be"),
        ({"proxies": '{"https": "http://user:secret@proxy"'}, "proxies must be"),
        ({"proxies": '{"https": "http://user:secret@"}'}, "the one for 'https' is not a URL"),
        ({"proxies": "http://user:secret@proxy:99999"}, "the one for 'https' is not a URL"),
        ({"proxies": {"https": "http://user:secret@"}}, "the one for 'https' is not a URL"),
    ],
)
def test_another_wrong_field_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        settings(**changes)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("host", ["http://localhost:1", "http://[::1]:8971", "http://127.9.9.9"])
def test_plain_http_is_for_this_machine(host: str) -> None:
    assert settings(host=host).base_url == host


def test_nothing_shows_a_secret_when_it_is_printed() -> None:
    shown = repr(settings(**PUBLIC_KEY, proxies="http://user:pass@proxy"))
    assert APIV3_KEY not in shown
    assert "PRIVATE" not in shown
    assert "pass@proxy" not in shown


def test_a_naming_secret_is_long_enough_not_to_be_guessed() -> None:
    secret = "0123456789abcdef0123456789abcdef"
    assert settings(naming_secret=f" {secret}\n").naming_secret == secret
    assert settings(naming_secret="").naming_secret is settings().naming_secret is None
    assert secret not in repr(settings(naming_secret=secret))
    assert settings(naming_secret=secret).identity != settings().identity
    with pytest.raises(InvalidCredentials, match="naming_secret must have 32 characters or more, not 31"):
        settings(naming_secret=secret[1:])
    with pytest.raises(InvalidCredentials, match="naming_secret must have 8 different characters or more"):
        settings(naming_secret="0123456" * 5)
    # It has two forms, which look the same.
    with pytest.raises(InvalidCredentials, match="naming_secret must have characters of ASCII alone"):
        settings(naming_secret=f"é{secret}")
    with pytest.raises(InvalidCredentials, match=r"naming_secret is \*\*\*, what Airflow shows"):
        settings(naming_secret="***")
