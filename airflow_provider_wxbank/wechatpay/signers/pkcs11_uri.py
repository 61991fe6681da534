# SPDX-License-Identifier: Apache-2.0
"""``pkcs11:`` URIs (RFC 7512): which key, on which token, through which module, and where its PIN is.

No message quotes a URI or a value of it that may be secret.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials
from airflow_provider_wxbank.wechatpay.fields import read_secret
from airflow_provider_wxbank.wechatpay.files import read_file

SCHEME = "pkcs11"
FIELD = "merchant_private_key_uri"
PIN_FIELD = "merchant_private_key_pin"

MAX_URI_CHARACTERS = 2000
MAX_PIN_CHARACTERS = 255
MIN_PIN_CHARACTERS = 5
"""Airflow hides nothing that is shorter."""

MODULE_FOLDERS = (
    "/usr/lib/pkcs11",
    "/usr/lib64/pkcs11",
    "/usr/lib/*/pkcs11",
    "/usr/local/lib/pkcs11",
    "/usr/lib/softhsm",
    "/usr/lib/*/softhsm",
    "/usr/local/lib/softhsm",
    "/usr/local/lib",
    "/usr/lib",
    "/usr/lib64",
    "/usr/lib/*-linux-gnu",
)
"""Where a module is looked for by its name, the first one first."""

_TOKEN = ("token", "manufacturer", "model", "serial", "slot-id", "slot-description", "slot-manufacturer")
_KEY = ("object", "id", "type")
_QUERY = ("module-path", "module-name", "pin-source", "pin-value")
_PIN_INSIDE = re.compile(r"\bpin[-_a-z]*[=:]", re.IGNORECASE)
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class KeyUri:
    """What a URI says.

    :param token: what the token and its slot must have, by the URI's names of it.
    :param label: the key's ``object``; None for any.
    :param id: the key's ``id``; None for any.
    :param module: path of the module.
    :param pin: None if there is none to log in with.
    """

    token: Mapping[str, str]
    label: str | None
    id: bytes | None
    module: str
    pin: str | None = field(default=None, repr=False)

    @property
    def about_token(self) -> str:
        """The token as the URI has it, for messages."""
        return ", ".join(f"{name}={value}" for name, value in self.token.items()) or "any token"

    @property
    def about_key(self) -> str:
        """The key as the URI has it, for messages."""
        parts = [f"object={self.label}"] if self.label is not None else []
        parts += [f"id={self.id.hex()} (hexadecimal)"] if self.id is not None else []
        return ", ".join(parts) or "any private key"


def read_key_uri(uri: str, pin: str) -> KeyUri:
    """What a URI says, with its PIN read.

    :param uri: for example ``pkcs11:token=merchants;object=merchant-2026?module-path=/usr/lib/softhsm/libsofthsm2.so``.
    :param pin: the connection's ``merchant_private_key_pin``; empty for none.
    :raises InvalidCredentials: it says something that cannot be, or what it names cannot be read.
    """
    path, query = _attributes(uri)
    if path.get("type", "private") != "private":
        raise InvalidCredentials(f"{FIELD} has type={path['type'][:20]}: it must name a private key (type=private)")
    return KeyUri(
        {name: path[name] for name in _TOKEN if name in path},
        path.get("object"),
        unquote_to_bytes(_raw(uri)["id"]) if "id" in path else None,
        _module(query),
        _pin(query, pin),
    )


def pins_in(uri: str) -> set[str]:
    """The PINs that stand in a URI, as they are written and as they are meant, to be masked."""
    # In a URI with a mistake, they may be anywhere.
    found = re.findall(r"pin(?![-_]?source)[-_a-z]*(?:=|%3D)([^&;#?\s]*)", uri, re.IGNORECASE)
    return {form for one in found for form in (one, unquote(one)) if form}


def _attributes(uri: str) -> tuple[dict[str, str], dict[str, str]]:
    """The attributes of path and query, decoded."""
    raw = _raw(uri)
    if unknown := sorted(set(raw) - {*_TOKEN, *_KEY, *_QUERY}):
        raise InvalidCredentials(
            f"{FIELD} has {', '.join(one[:40] for one in unknown)}, which is not known here; known are "
            f"{', '.join((*_TOKEN, *_KEY))}, and behind a question mark {', '.join(_QUERY)}"
        )
    values = {name: unquote(value) for name, value in raw.items()}
    for name, value in values.items():
        if not value and name != "object":
            raise InvalidCredentials(f"{FIELD} has {name} without a value: fill it in, or leave it out")
        if name != "id" and "�" in value:
            raise InvalidCredentials(f"{FIELD}: {name} is not UTF-8 behind its percent signs")
    return (
        {name: value for name, value in values.items() if name not in _QUERY},
        {name: value for name, value in values.items() if name in _QUERY},
    )


def _raw(uri: str) -> dict[str, str]:
    """The attributes as they are written."""
    raw: dict[str, str] = {}
    for is_query, part in _parts(uri):
        name, equals, value = part.partition("=")
        inside = value if name in ("pin-value", "pin-source") else part
        if _PIN_INSIDE.search(unquote(unquote(inside))):
            raise InvalidCredentials(
                f"{FIELD} has a PIN where it is no attribute of its own: it belongs behind the question mark, as in "
                f"?module-path=...&pin-source=..., or into {PIN_FIELD}"
            )
        if not equals:
            raise InvalidCredentials(f"{FIELD} has a part that is not name=value; write ; in a value as %3B")
        if name in raw:
            raise InvalidCredentials(f"{FIELD} has {name[:40]} twice")
        if is_query != (name in _QUERY) and name in (*_TOKEN, *_KEY, *_QUERY):
            where = "behind a question mark" if not is_query else "before the question mark"
            raise InvalidCredentials(f"{FIELD}: {name} belongs {where} (RFC 7512)")
        raw[name] = value
    return raw


def _parts(uri: str) -> Iterator[tuple[bool, str]]:
    if len(uri) > MAX_URI_CHARACTERS:
        raise InvalidCredentials(f"{FIELD} is longer than {MAX_URI_CHARACTERS} characters")
    if any(one.isspace() for one in uri) or _PERCENT.search(uri):
        raise InvalidCredentials(f"{FIELD} has a blank, or % without two hexadecimal digits: write a blank as %20")
    path, _, query = uri.partition(":")[2].partition("?")
    yield from ((False, part) for part in path.split(";") if part)
    yield from ((True, part) for part in query.split("&") if part)


def _module(query: Mapping[str, str]) -> str:
    """The path of a module that is there, and that no other user can change: it is code that runs in this process."""
    path, name = query.get("module-path"), query.get("module-name")
    if (path is None) == (name is None):
        raise InvalidCredentials(
            f"{FIELD} must name the module of the token, behind a question mark: module-path=/usr/lib/.../lib....so, "
            "or module-name=softhsm2 for a library of this name in the usual folders"
        )
    found = _named(name) if path is None else Path(path)
    if not found.is_absolute():
        raise InvalidCredentials(f"{FIELD}: module-path must begin with /")
    try:
        found = found.resolve(strict=True)
        states = [(one, one.stat()) for one in (found, *found.parents)]
    except (OSError, ValueError, RuntimeError):
        raise InvalidCredentials(
            f"the module {found} is not there, or cannot be read: install it on every worker and triggerer, or correct "
            "module-path"
        ) from None
    if not found.is_file():
        raise InvalidCredentials(f"the module {found} is not a file")
    for one, state in states:
        if state.st_mode & stat.S_IWOTH:
            raise InvalidCredentials(f"the module {found} is not loaded, since everybody can write {one}")
        if state.st_uid not in (0, os.geteuid()):
            raise InvalidCredentials(
                f"the module {found} is not loaded, since {one} belongs to another user (id {state.st_uid}): it must "
                "belong to root, or to the user of Airflow"
            )
    return str(found)


def _named(name: str | None) -> Path:
    assert name is not None
    if "/" in name or "\0" in name or name.startswith("."):
        raise InvalidCredentials(f"{FIELD}: module-name is a name; a path belongs into module-path")
    for pattern in MODULE_FOLDERS:
        folders = sorted(Path("/").glob(pattern.lstrip("/")))
        for path in (folder / file for folder in folders for file in (f"lib{name}.so", f"{name}.so", name)):
            if path.is_file():
                return path
    raise InvalidCredentials(
        f"there is no module {name} in the usual folders ({', '.join(MODULE_FOLDERS)}): give its module-path"
    )


def _pin(query: Mapping[str, str], pin: str) -> str | None:
    """The PIN, from the one place where it is."""
    given = {PIN_FIELD: pin, "pin-value": query.get("pin-value", ""), "pin-source": query.get("pin-source", "")}
    places = [name for name, value in given.items() if value]
    if len(places) > 1:
        raise InvalidCredentials(f"the PIN is given twice, by {' and '.join(places)}: leave one")
    if not places:
        return None
    (place,) = places
    found = read_secret(_from_file(given[place]) if place == "pin-source" else given[place], place, "the PIN itself")
    if found and len(found) < MIN_PIN_CHARACTERS:
        raise InvalidCredentials(
            f"{place} is shorter than {MIN_PIN_CHARACTERS} characters, and Airflow hides nothing that is: set a longer "
            "PIN with the token's tool"
        )
    if not found or len(found) > MAX_PIN_CHARACTERS or not found.isprintable():
        raise InvalidCredentials(f"{place} is empty, too long, or has characters that no PIN has")
    return found


def _from_file(source: str) -> str:
    """The first line of the file that holds a PIN. A program, which RFC 7512 allows as well, is never run."""
    if source.startswith("file:"):
        parts = urlsplit(source)
        source = unquote(parts.path) if parts.netloc in ("", "localhost") else ""
    if not source.startswith("/"):
        raise InvalidCredentials(f"{FIELD}: pin-source must be the path of a file, which begins with /")
    try:
        content = read_file(Path(source), 4 * MAX_PIN_CHARACTERS + 8, check_mode=stat.S_IWOTH)
        return content.partition(b"\n")[0].decode("utf-8-sig")
    except (OSError, ValueError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else "it is no text in UTF-8"
        # What is no path at all may be the PIN.
        path = f" {source}" if _exists(source) else ""
        raise InvalidCredentials(f"the PIN cannot be read from pin-source{path}: {reason}") from None


def _exists(path: str) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:
        return False
