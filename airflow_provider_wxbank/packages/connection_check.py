# SPDX-License-Identifier: Apache-2.0
"""Does a connection work? It is examined step by step with harmless calls, and the answer is for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal

from airflow_provider_wxbank.packages.endpoints import list_tasks_page, tasks_path
from airflow_provider_wxbank.plurals import number_of
from airflow_provider_wxbank.reporting.events import AnswerReceived
from airflow_provider_wxbank.wechatpay.calls import Call, parsed, target
from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import is_public_key_id
from airflow_provider_wxbank.wechatpay.crypto.verification import MAX_CLOCK_DIFFERENCE
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidCredentials,
    InvalidInput,
    NotReached,
    Refused,
    TryLater,
    Unauthorized,
    UnknownSerial,
    UnsignedRefusal,
    UnverifiedAnswer,
    WrongSignature,
    WxBankError,
)
from airflow_provider_wxbank.wechatpay.kept import kept_list
from airflow_provider_wxbank.wechatpay.merchants import read_merchant
from airflow_provider_wxbank.wechatpay.refusals import clock_hint
from airflow_provider_wxbank.wechatpay.settings import KeyMode, Settings, read_settings

PROBE_PACKAGE_ID = "0000"
"""A package that no merchant has: reading its tasks changes nothing, and even its refusal is signed."""

Outcome = Literal["ok", "failed", "skipped"]

_MODES: dict[KeyMode, str] = {
    "certificates": "certificates, which are to be downloaded and decrypted with the APIv3 key",
    "public key": "public key, which encrypts and verifies; nothing is downloaded",
    "both": "both, while migrating: the public key encrypts; answers signed with a certificate are verified, too",
}

_STEPS = ("connection", "private key", "mode", "network", "clock", "signature", "answers", "permission", "package")

_SUMMED_UP = ("private key", "mode", "signature", "answers", "permission")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the examination of a connection.

    :param outcome: ``ok``, ``failed`` or ``skipped``.
    :param message: what was found, and what to do if it failed.
    :param failure: the error behind a failed step.
    """

    name: str
    outcome: Outcome
    message: str
    failure: WxBankError | None = None

    @classmethod
    def failed(cls, name: str, failure: WxBankError, message: str = "") -> Step:
        """A step that failed with an error."""
        return cls(name, "failed", message or str(failure), failure)


def walk(
    mchid: str | None,
    apiv3_key: str | None,
    host: str | None,
    extra: Mapping[str, object],
    port: int | None = None,
    package_id: str | None = None,
) -> Iterator[Step]:
    """Examine the fields of a connection, then what WeChat Pay answers. After a failure the rest is skipped.

    The fields are those of :func:`~airflow_provider_wxbank.wechatpay.settings.read_settings`.

    :param package_id: a number package that should be readable.
    """
    try:
        merchant = read_merchant(mchid, extra)
    except (InvalidCredentials, TryLater) as failure:
        yield Step.failed("private key", failure)
        yield from skipped_after("private key", package_id)
        return
    yield Step("private key", "ok", f"{merchant.signer.about}, to sign as API certificate {merchant.serial_no}")
    try:
        settings = read_settings(mchid, apiv3_key, host, extra, port)
    except (InvalidCredentials, InvalidInput, TryLater) as failure:
        yield Step.failed("mode", failure)
        yield from skipped_after("mode", package_id)
        return
    with closing(Client(settings, kept=kept_list(settings))) as client:
        yield from call_steps(client, package_id)


def call_steps(client: Client, package_id: str | None = None) -> Iterator[Step]:
    """Sign a call and verify its answer, in the connection's key mode.

    The call reads the tasks of a package that does not exist. Whether WeChat Pay lists none or refuses, a signed answer
    shows that it accepts our signature and that we can verify its own. An APIv3 key is tried by downloading the
    certificates. A public key must have signed the answer, since uploads are encrypted with it.

    :param client: a new one: certificates that it has already would verify what the public key should have signed.
    """
    yield Step("mode", "ok", _MODES[client.settings.mode])
    heard: list[AnswerReceived] = []
    with client.observed(lambda event: heard.append(event) if isinstance(event, AnswerReceived) else None):
        asked = _ask(client)
    found = _Asked(client, asked, heard)
    looks = [found.network, found.clock, found.signature, found.answers, found.permission]
    if package_id is not None:
        looks.append(lambda: _package(client, package_id))
    for look in looks:
        step = look()
        yield step
        if step.outcome == "failed":
            yield from skipped_after(step.name, package_id)
            return


def skipped_after(name: str, package_id: str | None) -> Iterator[Step]:
    """The steps that are not tried after one that failed."""
    steps = _STEPS if package_id is not None else _STEPS[:-1]
    for skipped in steps[steps.index(name) + 1 :]:
        yield Step(skipped, "skipped", f"needs {name}")


def in_one_message(steps: Iterable[Step]) -> tuple[bool, str]:
    """Whether the connection works, and what to say about it: what failed, or else what is right.

    A missing permission is mentioned, but it is not the connection that has to be corrected.
    """
    found = list(steps)
    for step in found:
        if step.outcome == "failed" and step.name != "permission":
            return False, step.message
    told = (f"{step.name.capitalize()}: {step.message}." for step in found if step.name in _SUMMED_UP)
    return True, " ".join(told)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What came of a harmless call. Each step tells a part of it.

    :param asked: an error, which may be a signed refusal; None if the answer was right.
    :param heard: the answers that came, verified or not.
    """

    client: Client
    asked: WxBankError | None
    heard: Sequence[AnswerReceived]

    @property
    def failure(self) -> WxBankError | None:
        """The error, unless it proves as much as an answer does."""
        return None if self.asked is None or _is_signed_refusal(self.asked) else self.asked

    def network(self) -> Step:
        """Whether anything answers."""
        if self.failure is not None and not self.heard:
            return self._failed("network", self.failure)
        return Step("network", "ok", f"{self.client.settings.base_url} answers")

    def clock(self) -> Step:
        """Whether this machine's clock is right."""
        difference = self.heard[-1].clock_difference if self.heard else None
        if difference is None:
            return Step("clock", "skipped", "the answer does not tell its time")
        if self.failure is not None and abs(difference) > MAX_CLOCK_DIFFERENCE:
            return Step.failed("clock", self.failure, _cause_first(self.failure, clock_hint(difference)))
        return Step("clock", "ok", f"{abs(difference):.0f} s apart; WeChat Pay allows {MAX_CLOCK_DIFFERENCE} s")

    def signature(self) -> Step:
        """Whether our signature is accepted."""
        if isinstance(self.failure, UnverifiedAnswer | UnsignedRefusal):
            return Step("signature", "skipped", "an answer without a valid signature does not tell")
        if isinstance(self.failure, Unauthorized | TryLater):
            return self._failed("signature", self.failure)
        return Step("signature", "ok", f"requests of merchant {self.client.settings.merchant.mchid} are accepted")

    def answers(self) -> Step:
        """Whether answers verify; while migrating, the APIv3 key is tried, too."""
        if self.failure is not None:
            return self._failed("answers", self.failure)
        client, note = self.client, ""
        if client.settings.mode == "both":
            try:
                client.refresh_keys()
            except WxBankError as failure:
                if not (isinstance(failure, InvalidCredentials) and isinstance(failure.__cause__, Refused)):
                    return self._failed("answers", failure)
                # WeChat Pay itself says, in a signed answer, that there are none.
                note = ". The merchant has no platform certificates any more: empty the password"
        known = client.keys.known()
        serials = ", ".join(key.serial_no for key in known)
        has_certificates = not all(is_public_key_id(key.serial_no) for key in known)
        keys = "platform keys, the certificates decrypted with the APIv3 key" if has_certificates else "platform keys"
        if has_certificates and (authorities := client.settings.authorities) is not None:
            keys += f" and signed by {authorities}"
        elif has_certificates:
            note += ". Any issuer will do: no root certificate is filled in"
        return Step("answers", "ok", f"they verify; {keys}: {serials}{note}")

    def permission(self) -> Step:
        """Whether the merchant may use number packages."""
        if isinstance(self.asked, Refused) and self.asked.refusal.status == 403:
            message = "The merchant may not use number packages yet: ask WeChat Pay for the permission"
            return Step.failed("permission", self.asked, message)
        return Step("permission", "ok", "the merchant may use number packages")

    def _failed(self, name: str, failure: WxBankError) -> Step:
        return Step.failed(name, failure, _told(failure, self.client.settings))


def _ask(client: Client) -> WxBankError | None:
    """What comes of a harmless call: an error, which may be a signed refusal, or None if the answer is right."""
    try:
        if client.settings.mode == "certificates":
            client.refresh_keys()
        _probe(client)
    except WxBankError as failure:
        if not _is_signed_refusal(failure):
            return failure
        return _signed_by_certificate(client) or failure
    return _signed_by_certificate(client)


def _is_signed_refusal(failure: WxBankError) -> bool:
    """Whether a refusal proves as much as an answer does: our signature was accepted, and its own is verified."""
    return isinstance(failure, Refused) and not isinstance(failure, Unauthorized) and failure.refusal.verified


def _probe(client: Client) -> None:
    asked = client.keys.request_serial
    call = Call("GET", target(tasks_path(PROBE_PACKAGE_ID), {"offset": 0, "limit": 1}), serial_no=asked)
    try:
        answer = client.send(call)
    except UnsignedRefusal as failure:
        doubt = failure.__cause__
        if isinstance(doubt, UnknownSerial | WrongSignature):
            # It is signed, but not with the connection's key: the message has to say which key is wrong.
            raise type(doubt)(f"{doubt}. {failure}") from failure
        raise
    parsed(answer)


def _signed_by_certificate(client: Client) -> InvalidCredentials | None:
    """The error, if an answer that the public key should have signed was verified with a certificate.

    Certificates are downloaded only once an answer, be it a refusal, is signed with one.
    """
    asked = client.keys.request_serial
    certificates = [key.serial_no for key in client.keys.known() if not is_public_key_id(key.serial_no)]
    if asked is None or not certificates:
        return None
    return InvalidCredentials(
        f"WeChat Pay does not sign with the public key {asked} but with a certificate ({', '.join(certificates)}): "
        "compare wechatpay_public_key_id with the merchant platform. If the migration to the public key was stopped, "
        "empty both fields"
    )


def _package(client: Client, package_id: str) -> Step:
    try:
        page = list_tasks_page(client, package_id, limit=1)
    except WxBankError as failure:
        return Step.failed("package", failure, _told(failure, client.settings))
    return Step("package", "ok", f"package {package_id} has {number_of(page.total_count, 'upload task')}")


def _told(failure: WxBankError, settings: Settings) -> str:
    """A failure for a person: what to correct, then what happened."""
    match failure:
        case Unauthorized(refusal=refusal) | UnsignedRefusal(refusal=refusal) if refusal.hint:
            return _cause_first(failure, refusal.hint)
        case NotReached():
            return f"No connection to {settings.base_url}: check the network, the proxy and the host. {failure}"
        case WrongSignature() if settings.public_key is not None and settings.public_key.serial_no in str(failure):
            return f"wechatpay_public_key is not WeChat Pay's {settings.public_key.serial_no}: {failure}"
        case UnknownSerial() if settings.public_key is not None:
            return (
                f"WeChat Pay does not sign with {settings.public_key.serial_no}: compare wechatpay_public_key_id with "
                f"the merchant platform. {failure}"
            )
        case UnverifiedAnswer():
            return f"WeChat Pay's answer does not verify: {failure}"
    return str(failure)


def _cause_first(failure: WxBankError, cause: str) -> str:
    """The cause, then what happened. Behind the answer, a short field would cut the cause off."""
    happened = replace(failure.refusal, hint="") if isinstance(failure, Unauthorized | UnsignedRefusal) else failure
    return f"{cause}. {happened}"
