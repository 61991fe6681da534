# SPDX-License-Identifier: Apache-2.0
"""Sessions with tokens, and their PINs: a wrong one is tried once, since a token is locked after a few."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import pkcs11

from airflow_provider_wxbank.wechatpay.errors import AGAIN, InvalidCredentials, TryLater
from airflow_provider_wxbank.wechatpay.signers.pkcs11_uri import PIN_FIELD

T = TypeVar("T")

SESSION_SECONDS = 60.0
"""A token has so many sessions; others give them back."""

_REFUSED_PINS: set[tuple[str, bytes, str]] = set()
"""By module and serial number of the token. A child of this process knows them, too."""

_WRONG_PIN = (
    pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinLocked, pkcs11.PinExpired,
    pkcs11.UserPinNotInitialized,
)  # fmt: skip


def when_free(open_session: Callable[[], T], sleep: Callable[[float], None], clock: Callable[[], float]) -> T:
    """A session, as soon as the token has one left.

    :raises TryLater: it had none for :data:`SESSION_SECONDS`.
    """
    deadline = clock() + SESSION_SECONDS
    while True:
        try:
            return open_session()
        except pkcs11.SessionCount:
            if clock() >= deadline:
                raise TryLater(f"the token has had no free session for {SESSION_SECONDS:.0f} s{AGAIN}") from None
        sleep(0.5)


def check_tries(flags: Any) -> None:
    """:raises InvalidCredentials: a wrong PIN would lock the token, or it is locked."""
    if flags & pkcs11.TokenFlag.USER_PIN_LOCKED:
        raise InvalidCredentials("the token's PIN is locked: unlock it with the token's own tool")
    if flags & pkcs11.TokenFlag.USER_PIN_FINAL_TRY:
        raise InvalidCredentials(
            f"the token allows one more PIN before it is locked, and it is not risked: check the PIN of the connection "
            f"({PIN_FIELD}, pin-source or pin-value), then log in once with it by hand: pkcs11-tool --login --test"
        )


def check_pin(path: str, token: Any, pin: str | None) -> None:
    """:raises InvalidCredentials: this PIN was refused before, or a wrong one would lock the token."""
    if pin is not None and _tried(path, token, pin) in _REFUSED_PINS:
        raise InvalidCredentials(
            f"{_refused(token)}; this process has tried it once, and does not try it again, since that could lock the "
            "token"
        )
    if pin is not None:
        check_tries(token.flags)


def logged_in(path: str, token: Any, pin: str | None) -> Any:
    """A session with a token, logged in.

    :param path: of the module.
    :raises InvalidCredentials: the token does not take the PIN.
    :raises TryLater: it has no free session.
    """
    try:
        return when_free(lambda: token.open(user_pin=pin), time.sleep, time.monotonic)
    except _WRONG_PIN as failure:
        if pin is not None:
            _REFUSED_PINS.add(_tried(path, token, pin))
        raise InvalidCredentials(
            f"{_refused(token)}: {type(failure).__name__}; correct it. It is not tried again, since that could "
            "lock the token"
        ) from None
    except pkcs11.UserAlreadyLoggedIn:
        # Something else in this process has logged in through the same module.
        return when_free(token.open, time.sleep, time.monotonic)


def _tried(path: str, token: Any, pin: str) -> tuple[str, bytes, str]:
    return path, token.serial, pin


def _refused(token: Any) -> str:
    return f"the token {token.label} does not take the PIN of the connection ({PIN_FIELD}, pin-source or pin-value)"
