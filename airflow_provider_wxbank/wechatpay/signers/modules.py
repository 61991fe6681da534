# SPDX-License-Identifier: Apache-2.0
"""PKCS#11 modules in this process, one thread at a time: opened, mended after a failure, opened anew after a fork.

python-pkcs11 initializes a module without arguments, which promises that no two threads are in it at once (PKCS#11
2.40, C_Initialize). So there is one lock and one session, whatever the number of threads. A login holds for all
sessions of a process anyway.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

import pkcs11
from pkcs11 import _pkcs11

from airflow_provider_wxbank.wechatpay.errors import AGAIN, InvalidCredentials, TryLater, WxBankError
from airflow_provider_wxbank.wechatpay.signers.logins import check_pin, logged_in
from airflow_provider_wxbank.wechatpay.signers.pkcs11_uri import FIELD, PIN_FIELD, KeyUri

T = TypeVar("T")

Place = tuple[int, bytes, str]
"""Of a token: its slot, serial number and label."""

_IMPORTED_BY = os.getpid()

TURN_SECONDS = 120.0
"""A signature of a slow token may take seconds, and others wait for it; a token that hangs is not waited for."""


@dataclass(frozen=True, slots=True)
class OpenToken:
    """A token with a session in which it was logged in to.

    :param keys: what was found in this session, by what was looked for.
    """

    pin: str | None = field(repr=False)
    session: Any
    keys: dict[Any, Any] = field(default_factory=dict)


class Module:
    """A module in this process, with the tokens of it that are open."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = Lock()
        self._library: Any = None
        self._open: dict[Place, OpenToken] = {}
        # By what URIs say of them; also of those that are not there any more.
        self._places: dict[Hashable, Place] = {}

    def use(self, uri: KeyUri, act: Callable[[OpenToken], T]) -> T:
        """What comes of an act with a token that is open. What fails is tried twice more: in a new session, and in a
        module that was initialized anew, which finds tokens that were pulled and put back.

        :raises InvalidCredentials: the connection has to be corrected.
        :raises TryLater: the token cannot be used now.
        """
        with self._turn():
            for mend in (self._close, self._end, None):
                try:
                    return act(self._opened(uri))
                except WxBankError:
                    raise
                except Exception as failure:
                    if mend is None:
                        self._end()
                        raise _told(uri, failure) from None
                    mend()
        raise AssertionError("the last one returns or raises")

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=TURN_SECONDS):
            raise TryLater(f"the token is busy: others have waited for it for {TURN_SECONDS:.0f} s{AGAIN}")
        try:
            yield
        finally:
            self._lock.release()

    def _opened(self, uri: KeyUri) -> OpenToken:
        wanted = tuple(sorted(uri.token.items()))
        place = self._places.get(wanted)
        opened = None if place is None else self._open.get(place)
        if opened is None or opened.pin != uri.pin:
            token = self._token(uri, was_there=place is not None)
            place = self._places[wanted] = token.slot.slot_id, token.serial, token.label
            # Another URI may name the same token.
            opened = self._open.get(place)
            if opened is None or opened.pin != uri.pin:
                check_pin(self._path, token, uri.pin)
                # One login is that of all sessions, so another PIN is tried without them.
                self._close(place)
                opened = self._open[place] = OpenToken(uri.pin, logged_in(self._path, token, uri.pin))
        return opened

    def _token(self, uri: KeyUri, *, was_there: bool) -> Any:
        found, names = self._find(uri)
        if not found:
            # A module may know those alone that were there when it was initialized.
            self._end()
            found, names = self._find(uri)
        check_one(uri, len(found), names, was_there=was_there)
        return found[0]

    def _find(self, uri: KeyUri) -> tuple[list[Any], list[str]]:
        """The tokens that are meant, and the names of all that are there."""
        if self._library is None:
            self._library = _new_library(self._path)
        elif not self._library.initialized:
            self._library.initialize()
        tokens = [(token, about(token)) for token in _tokens(self._library)]
        found = [
            token for token, told in tokens if all(told[name] == _form(name, one) for name, one in uri.token.items())
        ]
        return found, [f"token={told['token']}, serial={told['serial']}" for _, told in tokens]

    def _close(self, *places: Place) -> None:
        """Close the sessions with some tokens, or with all."""
        for place in places or tuple(self._open):
            opened = self._open.pop(place, None)
            if opened is not None:
                with suppress(Exception):
                    opened.session.close()

    def _end(self) -> None:
        """End all sessions, whatever state they are in; the next one begins anew."""
        self._close()
        if self._library is not None:
            with suppress(Exception):
                self._library.finalize()


_MODULES: dict[tuple[int, str], Module] = {}
"""By process, too: a module that a process has initialized is of no use to its children (PKCS#11 2.40, section 6.6),
nor is a lock that somebody held when it forked."""


def module(path: str) -> Module:
    """The module of a path in this process."""
    return _MODULES.setdefault((os.getpid(), path), Module(path))


def about(token: Any) -> dict[str, str]:
    """What a token says of itself, by the names of URIs."""
    slot = token.slot
    return {
        "token": token.label,
        "manufacturer": token.manufacturer_id,
        "model": token.model,
        "serial": token.serial.decode("utf-8", "replace"),
        "slot-id": str(slot.slot_id),
        "slot-description": slot.slot_description,
        "slot-manufacturer": slot.manufacturer_id,
    }


def _new_library(path: str) -> Any:
    """The library, initialized by this process itself.

    :raises InvalidCredentials: it cannot be loaded.
    """
    known = pkcs11._loaded.get(path)
    try:
        if known is None or os.getpid() == _IMPORTED_BY:
            return pkcs11.lib(path)
        # It was initialized before a fork. A module that notices a fork wants to be initialized; one that does not
        # takes itself for initialized, and has the sessions of the parent.
        try:
            return _pkcs11.lib(path)
        except pkcs11.PKCS11Error:
            known.reinitialize()
            return known
    except pkcs11.PKCS11Error as failure:
        if "while loading" not in str(failure):
            raise
    raise InvalidCredentials(f"the module {path} cannot be loaded: it is no PKCS#11 module for this machine")


def check_one(uri: KeyUri, count: int, names: list[str], *, was_there: bool) -> None:
    """Check that one token is meant.

    :param was_there: whether it was there before.
    :raises InvalidCredentials: several are, or the connection names one that was never there.
    :raises TryLater: it was pulled.
    """
    there = "; ".join(names) or "none"
    if count > 1:
        raise InvalidCredentials(f"{count} tokens have {uri.about_token}: add serial to {FIELD}; there are: {there}")
    if not count and (was_there or not names):
        state = "is not there any more" if was_there else "is not there"
        raise TryLater(f"the token with {uri.about_token} {state}: put it back; there are: {there}{AGAIN}")
    if not count:
        raise InvalidCredentials(
            f"no token has {uri.about_token}: correct {FIELD}, or put the token in; there are: {there}"
        )


def _tokens(library: Any) -> Iterator[Any]:
    for slot in library.get_slots(token_present=True):
        with suppress(pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised, pkcs11.DeviceRemoved):
            token = slot.get_token()
            if token.flags & pkcs11.TokenFlag.TOKEN_INITIALIZED:
                yield token


def _form(name: str, value: str) -> str:
    return str(int(value)) if name == "slot-id" and value.isdecimal() else value


def _told(uri: KeyUri, failure: Exception) -> WxBankError:
    """Our error for what the module says."""
    name = type(failure).__name__
    if isinstance(failure, pkcs11.UserNotLoggedIn) and uri.pin is None:
        return InvalidCredentials(f"the token with {uri.about_token} wants a PIN: fill in {PIN_FIELD}, or pin-source")
    if isinstance(failure, pkcs11.MechanismInvalid | pkcs11.KeyTypeInconsistent | pkcs11.KeySizeRange):
        return InvalidCredentials(f"the token with {uri.about_token} does not sign with {uri.about_key}: {name}")
    return TryLater(
        f"the token with {uri.about_token} fails, even in a new session: {name}; is it plugged in, and its service "
        f"running?{AGAIN}"
    )
