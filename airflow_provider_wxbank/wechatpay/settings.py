# SPDX-License-Identifier: Apache-2.0
"""What a client is told: merchant, platform keys, hosts, timeouts; read and checked before anything is sent."""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from airflow_provider_wxbank.wechatpay.crypto.authorities import Authorities, read_authorities
from airflow_provider_wxbank.wechatpay.crypto.pem import load_public_key
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import PlatformKey, is_public_key_id
from airflow_provider_wxbank.wechatpay.crypto.signing import Merchant, check_naming
from airflow_provider_wxbank.wechatpay.crypto.suites import strange
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials, InvalidInput
from airflow_provider_wxbank.wechatpay.fields import read_number, read_proxies, read_seconds, read_secret, read_text
from airflow_provider_wxbank.wechatpay.merchants import read_merchant, text_or_file

MAIN_HOST = "https://api.mch.weixin.qq.com"
BACKUP_HOST = "https://api2.mch.weixin.qq.com"
"""Another city's access point (P/4012075113)."""

WECHAT_PAYS_HOSTS = ".mch.weixin.qq.com"
"""How the names of all its access points end."""

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0
"""Seconds without a byte."""

DAILY_FILE_QUOTA = 6000
"""Files that WeChat Pay takes from a merchant in a day, Asia/Shanghai (FAQ 4015182386)."""

MIN_NAMING_SECRET = 32
"""Characters. Numbers are easy to guess, so nothing else keeps a digest of them from being tried out."""

MIN_DIFFERENT = 8
"""Different characters of a naming secret. Of 64 random hexadecimal digits fewer are never seen."""

KeyMode = Literal["certificates", "public key", "both"]

_PORTS = {"https": 443, "http": 80}


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
    :param daily_file_quota: files that WeChat Pay takes from the merchant in a day.
    :param naming_secret: what keys filenames and manifests; None to derive it from the merchant's key.
    :param authorities: who issues platform certificates; None for anybody.
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
    naming_secret: str | None = field(default=None, repr=False)
    authorities: Authorities | None = field(default=None, repr=False)

    @property
    def mode(self) -> KeyMode:
        """Where the platform keys come from."""
        if self.public_key is None:
            return "certificates"
        return "public key" if self.apiv3_key is None else "both"

    @property
    def identity(self) -> Hashable:
        """Equal for settings that say the same. Key objects that were read twice are not equal themselves."""
        public_key = self.public_key and (self.public_key.serial_no, self.public_key.public_key.der)
        return (
            (self.merchant.mchid, self.merchant.serial_no, self.merchant.signer.public_key.der),
            (self.apiv3_key, public_key, self.base_url, self.backup_url),
            (self.connect_timeout, self.read_timeout, tuple(sorted((self.proxies or {}).items()))),
            (self.daily_file_quota, self.naming_secret),
            self.authorities and (self.authorities.what, *self.authorities.identity),
        )


def read_settings(
    mchid: object,
    apiv3_key: object,
    host: object,
    extra: Mapping[str, object],
    port: object = None,
) -> Settings:
    """Settings from the fields of a connection. Every field is checked, key files are read.

    Secret stores and forms may give anything as text: a number may come as text, an object as its JSON, digits as a
    number. Invisible characters are left out of texts.

    :param mchid: the merchant id.
    :param apiv3_key: 32 characters; empty in public-key mode.
    :param host: base URL; empty for WeChat Pay's own.
    :param extra: ``merchant_serial_no``; ``merchant_private_key``, ``merchant_private_key_file`` or
        ``merchant_private_key_uri`` with ``merchant_private_key_pin``;
        ``wechatpay_public_key`` or ``wechatpay_public_key_file`` with ``wechatpay_public_key_id``, ``backup_host``,
        ``connect_timeout``, ``read_timeout``, ``proxies``, ``daily_file_quota``, ``naming_secret``;
        ``wechatpay_root_certificate`` or ``wechatpay_root_certificate_file``.
    :param port: of the host, if the base URL has none; None or 0 for the scheme's own.
    :raises InvalidCredentials: an identity or a key is missing or wrong, or what should be a text is not one.
    :raises InvalidInput: another field is wrong.
    :raises TryLater: the device that has the key cannot be reached.
    """
    merchant = read_merchant(mchid, extra)
    public_key = _public_key(extra, merchant)
    secret = _apiv3_key(apiv3_key)
    if secret is None and public_key is None:
        raise InvalidCredentials(
            "the connection has no platform key: fill in wechatpay_public_key with wechatpay_public_key_id "
            "(public-key mode), or the APIv3 key as password (certificate mode), or both (migration)"
        )
    base_url = base_url_of(read_text(host, "host"), "host", read_number(port, "port", 0, 0, 65535)) or MAIN_HOST
    backup_url = base_url_of(read_text(extra.get("backup_host"), "backup_host"), "backup_host")
    if backup_url is None and base_url == MAIN_HOST:
        backup_url = BACKUP_HOST
    return Settings(
        merchant,
        secret,
        public_key,
        base_url,
        backup_url,
        read_seconds(extra.get("connect_timeout"), "connect_timeout", CONNECT_TIMEOUT),
        read_seconds(extra.get("read_timeout"), "read_timeout", READ_TIMEOUT),
        read_proxies(extra.get("proxies")),
        int(read_number(extra.get("daily_file_quota"), "daily_file_quota", DAILY_FILE_QUOTA, 1, 1_000_000)),
        _naming_secret(extra.get("naming_secret"), merchant),
        _authorities(extra, merchant, base_url),
    )


def base_url_of(text: str, what: str, port: float = 0) -> str | None:
    """A base URL in its one form: lower case, without the scheme's own port; None for an empty text.

    It is ``https``, also when no scheme is given, or ``http`` to loopback.

    :param port: a port that is given apart from the URL; 0 for none.
    :raises InvalidInput: plain http to another machine, two ports, or more than scheme, host and port.
    """
    text = text or (MAIN_HOST if port else "")
    if not text:
        return None
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        hostname, own_port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError:
        raise InvalidInput(f"{what} is not a URL") from None
    if parts.scheme not in _PORTS or not hostname:
        raise InvalidInput(f"{what} must be a URL like {MAIN_HOST}, not one with scheme {parts.scheme!r}")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise InvalidInput(f"{what} must be scheme, host and port alone, without path, query or user")
    if parts.scheme == "http" and not is_loopback(hostname):
        raise InvalidInput(
            f"{what} uses plain http to {hostname}: agreement numbers go over https only; plain http is for a "
            "simulator on 127.0.0.1"
        )
    if port and own_port is not None and own_port != port:
        raise InvalidInput(f"port is {port:.0f}, but {what} says {own_port}: leave port empty, or make them equal")
    number = port or own_port
    name = f"[{hostname}]" if ":" in hostname else hostname
    return f"{parts.scheme}://{name}" + (f":{number:.0f}" if number and number != _PORTS[parts.scheme] else "")


def is_loopback(hostname: str) -> bool:
    """Whether a host name can only be this machine."""
    if hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return False


def _apiv3_key(value: object) -> str | None:
    """The APIv3 key: ASCII, so that each of its characters is one byte of the AES key."""
    what = "the APIv3 key (password)"
    text = read_secret(value, what, "the key itself")
    if not text:
        return None
    for kind, is_of_kind in (("not ASCII, such as a full-width letter", _is_foreign), ("a blank", str.isspace)):
        places = [str(place) for place, one in enumerate(text, start=1) if is_of_kind(one)]
        if places:
            raise InvalidCredentials(
                f"{what} has 32 letters and digits, but character {places[0]} of {len(text)} is {kind}"
            )
    if len(text) != 32:
        raise InvalidCredentials(f"{what} must have 32 characters, not {len(text)}")
    return text


def _is_foreign(one: str) -> bool:
    return not one.isascii() and not one.isspace()


def _naming_secret(value: object, merchant: Merchant) -> str | None:
    text = read_secret(value, "naming_secret", "the secret itself")
    example = "fill in, for example, what `openssl rand -hex 32` gives"
    if text and len(text) < MIN_NAMING_SECRET:
        raise InvalidCredentials(
            f"naming_secret must have {MIN_NAMING_SECRET} characters or more, not {len(text)}: {example}"
        )
    if text and len(set(text)) < MIN_DIFFERENT:
        raise InvalidCredentials(f"naming_secret must have {MIN_DIFFERENT} different characters or more: {example}")
    # What looks the same elsewhere may have other bytes there (NFC and NFD), and be another secret.
    if not text.isascii():
        raise InvalidCredentials(f"naming_secret must have characters of ASCII alone: {example}")
    check_naming(merchant.suite, text or None)
    return text or None


def _public_key(extra: Mapping[str, object], merchant: Merchant) -> PlatformKey | None:
    key = text_or_file(extra, "wechatpay_public_key")
    key_id = read_text(extra.get("wechatpay_public_key_id"), "wechatpay_public_key_id")
    if key is None and not key_id:
        return None
    if key is None or not key_id:
        raise InvalidCredentials(
            "wechatpay_public_key (or wechatpay_public_key_file) and wechatpay_public_key_id belong together; "
            f"{'the key' if key is None else 'the id'} is missing"
        )
    if not is_public_key_id(key_id):
        raise InvalidCredentials("wechatpay_public_key_id must be PUB_KEY_ID_ followed by digits")
    public_key = load_public_key(*key)
    if public_key == merchant.signer.public_key:
        raise InvalidCredentials(
            f"{key[1]} is the merchant's own public key, not WeChat Pay's: take pub_key.pem from the merchant platform"
        )
    if reason := strange(public_key, merchant.suite):
        raise InvalidCredentials(f"{key[1]} {reason}")
    return PlatformKey(key_id, public_key)


def _authorities(extra: Mapping[str, object], merchant: Merchant, base_url: str) -> Authorities | None:
    """Who issues platform certificates: what is filled in; else, for WeChat Pay's own host, what is known of it."""
    given = text_or_file(extra, "wechatpay_root_certificate")
    if given is not None:
        return read_authorities(*given, merchant.suite)
    is_wechat_pays = (urlsplit(base_url).hostname or "").endswith(WECHAT_PAYS_HOSTS)
    if not is_wechat_pays or not merchant.suite.root:
        return None
    return read_authorities(merchant.suite.root, "the root certificate in this package", merchant.suite)
