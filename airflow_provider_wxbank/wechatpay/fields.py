# SPDX-License-Identifier: Apache-2.0
"""Reads the fields of a connection, whatever type they come as: forms and secret stores may give anything as text."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from urllib.parse import urlsplit

from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials, InvalidInput

_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{0,9})?")


def read_text(value: object, what: str) -> str:
    """A field that is a text, or digits that came as a number. Invisible characters are left out.

    :param what: how messages name the field.
    :raises InvalidCredentials: it is of another type, for example a boolean or a list.
    """
    if value is None:
        return ""
    # A boolean is an int in Python.
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InvalidCredentials(f"{what} must be a text")
    try:
        return visible(str(value)).strip()
    except ValueError:  # Python does not write out an int of more than 4,300 digits
        raise InvalidCredentials(f"{what} has too many digits") from None


def read_secret(value: object, what: str, itself: str) -> str:
    """A field that is a secret. It must be a text: Airflow shows a number in its logs and on its pages.

    :param itself: what is to be filled in, for messages.
    :raises InvalidCredentials: it is no text, or what Airflow shows in the place of one.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise InvalidCredentials(
            f"{what} is a number, which Airflow does not hide: write it in quotes, and take another one if logs or "
            "pages have shown it"
        )
    text = read_text(value, what)
    if text == "***":
        raise InvalidCredentials(f"{what} is ***, what Airflow shows in the place of a secret: fill in {itself}")
    return text


def read_number(value: object, what: str, default: float, lowest: float, highest: float) -> float:
    """A field that is a whole number, or one as text.

    :raises InvalidInput: it is not one, or not from ``lowest`` to ``highest``.
    """
    if value is None or value == "":
        return default
    number = _number(value)
    if number is None or not number.is_integer() or not lowest <= number <= highest:
        raise InvalidInput(f"{what} must be a whole number from {lowest} to {highest}")
    return number


def read_seconds(value: object, what: str, default: float) -> float:
    """A field that is a number of seconds, or one as text.

    :raises InvalidInput: it is not one, or not above 0 and up to 600.
    """
    if value is None or value == "":
        return default
    seconds = _number(value)
    if seconds is None or not 0 < seconds <= 600:
        raise InvalidInput(f"{what} must be a number of seconds above 0 and up to 600")
    return seconds


def read_proxies(value: object) -> Mapping[str, str] | None:
    """Proxy URLs by scheme: one URL for all, or an object, also as JSON; None for the environment's.

    :raises InvalidInput: it is neither, or a URL is not one.
    """
    if isinstance(value, str) and value.strip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = False
    if value is None or value in ("", {}):
        return None
    if isinstance(value, str):
        value = {"https": value.strip(), "http": value.strip()}
    if not isinstance(value, dict) or not all(isinstance(one, str) for pair in value.items() for one in pair):
        raise InvalidInput('proxies must be one proxy URL, or an object like {"https": "http://proxy:3128"}')
    for scheme, url in value.items():
        # It may have a password, so it is not quoted.
        if url and not _is_proxy(url):
            raise InvalidInput(f"proxies: the one for {scheme[:40]!r} is not a URL like http://proxy:3128")
    return value


def visible(text: str) -> str:
    """A text without invisible characters: byte order marks, zero-width characters, soft hyphens, NULs."""
    if text.isascii() and "\0" not in text:
        return text
    # Cf is Unicode's category of invisible format characters. They come along when a text is copied.
    return "".join(one for one in text if one != "\0" and unicodedata.category(one) != "Cf")


def _number(value: object) -> float | None:
    """A number, also one as text. What only Python takes for one is refused: ``True``, ``1_0``, full-width digits."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # Infinity and what is not a number at all (NaN) fail this comparison, too.
        return float(value) if 0 <= value < 1e9 else None
    if isinstance(value, str) and _NUMBER.fullmatch(text := visible(value).strip()):
        return float(text)
    return None


def _is_proxy(url: str) -> bool:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
