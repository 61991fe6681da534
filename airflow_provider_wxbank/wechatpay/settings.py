"""What a client is told: merchant, platform keys, hosts, timeouts; read and checked before anything is sent."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials, InvalidInput
from airflow_provider_wxbank.wechatpay.keys import PlatformKey, is_public_key_id
from airflow_provider_wxbank.wechatpay.pem import MAX_PEM_CHARACTERS, load_private_key, load_public_key
from airflow_provider_wxbank.wechatpay.signing import Merchant

MAIN_HOST = "https://api.mch.weixin.qq.com"
BACKUP_HOST = "https://api2.mch.weixin.qq.com"
"""Another city's access point (P/4012075113)."""

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0
"""Seconds without a byte."""

DAILY_FILE_QUOTA = 6000
"""Files that WeChat Pay takes of a merchant in a day, Asia/Shanghai (FAQ 4015182386)."""

KeyMode = Literal["certificates", "public key", "both"]

_MCHID = re.compile(r"[0-9]{1,32}")
_SERIAL = re.compile(r"[0-9A-Fa-f]{1,64}")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a client needs to know.

    :param apiv3_key: 32 characters; None in public-key mode.
    :param public_key: WeChat Pay's public key; None in certificate mode.
    :param base_url: scheme, host and port, without a path.
    :param backup_url: the host asked after a timeout, or None.
    :param connect_timeout: seconds.
    :param read_timeout: seconds without a byte.
    :param proxies: scheme to proxy URL, as requests takes them; None for the environment's.
    :param daily_file_quota: files that WeChat Pay takes of the merchant in a day.
    """

    merchant: Merchant
    apiv3_key: str | None = field(default=None, repr=False)
    public_key: PlatformKey | None = None
    base_url: str = MAIN_HOST
    backup_url: str | None = BACKUP_HOST
    connect_timeout: float = CONNECT_TIMEOUT
    read_timeout: float = READ_TIMEOUT
    proxies: Mapping[str, str] | None = field(default=None, repr=False)
    daily_file_quota: int = DAILY_FILE_QUOTA

    @property
    def mode(self) -> KeyMode:
        """Where the platform keys come from."""
        if self.public_key is None:
            return "certificates"
        return "public key" if self.apiv3_key is None else "both"

    @property
    def identity(self) -> Hashable:
        """Equal for settings that say the same; keys that are read twice are not equal themselves."""
        public_key = self.public_key and (self.public_key.serial_no, self.public_key.public_key.public_numbers())
        return (
            (self.merchant.mchid, self.merchant.serial_no, self.merchant.private_key.public_key().public_numbers()),
            (self.apiv3_key, public_key, self.base_url, self.backup_url),
            (self.connect_timeout, self.read_timeout, tuple(sorted((self.proxies or {}).items()))),
            self.daily_file_quota,
        )


def read_settings(
    mchid: str | None,
    apiv3_key: str | None,
    host: str | None,
    extra: Mapping[str, object],
    port: int | None = None,
) -> Settings:
    """Settings from the fields of a connection; every field is checked, key files are read.

    :param host: base URL; empty for WeChat Pay's own.
    :param extra: ``merchant_serial_no``, ``merchant_private_key`` or ``merchant_private_key_file``,
        ``wechatpay_public_key`` or ``wechatpay_public_key_file`` with ``wechatpay_public_key_id``, ``backup_host``,
        ``connect_timeout``, ``read_timeout``, ``proxies``, ``daily_file_quota``.
    :param port: of the host, if it does not say so itself; None or 0 for the scheme's own.
    :raises InvalidCredentials: an identity or a key is missing or wrong.
    :raises InvalidInput: another field is wrong.
    """
    texts = _texts(extra)
    merchant = read_merchant(mchid, extra)
    public_key = _public_key(texts)
    secret = (apiv3_key or "").strip() or None
    if secret is None and public_key is None:
        raise InvalidCredentials(
            "the connection has no platform key: fill in wechatpay_public_key with wechatpay_public_key_id "
            "(public-key mode), or the APIv3 key as password (certificate mode), or both (migration)"
        )
    if secret is not None and len(secret.encode()) != 32:
        raise InvalidCredentials(f"the APIv3 key (password) must have 32 characters, not {len(secret)}")
    base_url = _with_port(base_url_of(host, "host") or MAIN_HOST, port)
    backup_url = base_url_of(texts.get("backup_host"), "backup_host")
    if backup_url is None and base_url == MAIN_HOST:
        backup_url = BACKUP_HOST
    return Settings(
        merchant,
        secret,
        public_key,
        base_url,
        backup_url,
        _seconds(extra.get("connect_timeout"), "connect_timeout", CONNECT_TIMEOUT),
        _seconds(extra.get("read_timeout"), "read_timeout", READ_TIMEOUT),
        _proxies(extra.get("proxies")),
        _files(extra.get("daily_file_quota")),
    )


def base_url_of(text: str | None, what: str) -> str | None:
    """A base URL: ``https`` (also when no scheme is given), or ``http`` to loopback; None for an empty text.

    :raises InvalidInput: plain http to another machine, or more than scheme, host and port.
    """
    text = (text or "").strip()
    if not text:
        return None
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        hostname, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidInput(f"{what} is not a URL") from None
    if parts.scheme not in ("https", "http") or not hostname:
        raise InvalidInput(f"{what} must be a URL like {MAIN_HOST}, not one with scheme {parts.scheme!r}")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise InvalidInput(f"{what} must be scheme, host and port alone, without path, query or user")
    if parts.scheme == "http" and not is_loopback(hostname):
        raise InvalidInput(
            f"{what} uses plain http to {hostname}: agreement numbers go over https only; plain http is for a "
            "simulator on 127.0.0.1"
        )
    name = f"[{hostname}]" if ":" in hostname else hostname
    return f"{parts.scheme}://{name}" + (f":{port}" if port else "")


def _with_port(base_url: str, port: int | None) -> str:
    parts = urlsplit(base_url)
    if not port or port == (parts.port or {"https": 443, "http": 80}[parts.scheme]):
        return base_url
    if parts.port is not None:
        raise InvalidInput(f"port is {port}, but host says {parts.port}: leave port empty, or make them equal")
    if not 0 < port < 65536:
        raise InvalidInput(f"port must be 1 to 65535, not {port}")
    return f"{base_url}:{port}"


def is_loopback(hostname: str) -> bool:
    """Whether a host name can only be this machine."""
    if hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return False


def read_merchant(mchid: str | None, extra: Mapping[str, object]) -> Merchant:
    """The merchant of a connection, who signs; see :func:`read_settings`.

    :raises InvalidCredentials: its id, serial number or private key is missing or wrong.
    """
    mchid = (mchid or "").strip()
    texts = _texts(extra)
    if not mchid:
        raise InvalidCredentials("the connection has no merchant id: fill in mchid as its login")
    if not _MCHID.fullmatch(mchid):
        raise InvalidCredentials("the merchant id (login) must be digits only")
    serial_no = texts.get("merchant_serial_no", "").replace(":", "")
    if not serial_no:
        raise InvalidCredentials("the connection has no merchant_serial_no: the serial of the API certificate")
    if not _SERIAL.fullmatch(serial_no):
        raise InvalidCredentials("merchant_serial_no must be hexadecimal, as the merchant platform shows it")
    pem = _text_or_file(texts, "merchant_private_key")
    if pem is None:
        raise InvalidCredentials(
            "the connection has no private key: fill in merchant_private_key (the text of apiclient_key.pem) "
            "or merchant_private_key_file (its path)"
        )
    return Merchant(mchid, serial_no.upper(), load_private_key(pem, "merchant_private_key"))


def _texts(extra: Mapping[str, object]) -> dict[str, str]:
    return {name: value.strip() for name, value in extra.items() if isinstance(value, str)}


def _public_key(texts: Mapping[str, str]) -> PlatformKey | None:
    pem = _text_or_file(texts, "wechatpay_public_key")
    key_id = texts.get("wechatpay_public_key_id", "")
    if pem is None and not key_id:
        return None
    if pem is None or not key_id:
        raise InvalidCredentials(
            "wechatpay_public_key (or wechatpay_public_key_file) and wechatpay_public_key_id belong together; "
            f"{'the key' if pem is None else 'the id'} is missing"
        )
    if not is_public_key_id(key_id):
        raise InvalidCredentials("wechatpay_public_key_id must be PUB_KEY_ID_ followed by digits")
    return PlatformKey(key_id, load_public_key(pem, "wechatpay_public_key"))


def _text_or_file(texts: Mapping[str, str], name: str) -> str | None:
    text, path = texts.get(name), texts.get(f"{name}_file")
    if text and path:
        raise InvalidCredentials(f"fill in {name} or {name}_file, not both")
    if path:
        try:
            with Path(path).open(encoding="ascii") as file:
                return file.read(MAX_PEM_CHARACTERS + 1)
        except (OSError, ValueError) as failure:
            reason = failure.strerror if isinstance(failure, OSError) else "it is not a text file"
            raise InvalidCredentials(f"{name}_file cannot be read: {path}: {reason}") from None
    return text or None


def _seconds(value: object, what: str, default: float) -> float:
    if value is None or value == "":
        return default
    try:
        seconds = float(value) if isinstance(value, (int, float, str)) else 0.0
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 600:
        raise InvalidInput(f"{what} must be a number of seconds above 0 and up to 600")
    return seconds


def _files(value: object) -> int:
    if value is None or value == "":
        return DAILY_FILE_QUOTA
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 7 and 0 < int(text) <= 1_000_000):
        raise InvalidInput("daily_file_quota must be a number of files from 1 to 1000000")
    return int(text)


def _proxies(value: object) -> Mapping[str, str] | None:
    if not value:
        return None
    if isinstance(value, str):
        value = {"https": value, "http": value}
    if not isinstance(value, dict) or not all(isinstance(one, str) for pair in value.items() for one in pair):
        raise InvalidInput('proxies must be one proxy URL, or an object like {"https": "http://proxy:3128"}')
    for scheme, url in value.items():
        # It may have a password, so it is not quoted.
        if url and not _is_proxy(url):
            raise InvalidInput(f"proxies: the one for {scheme[:40]!r} is not a URL like http://proxy:3128")
    return value


def _is_proxy(url: str) -> bool:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
