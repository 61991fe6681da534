"""The examination of a connection, step by step: ``airflow wxbank check``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from airflow_provider_wxbank.wechatpay.client import Client
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidCredentials,
    InvalidInput,
    Refused,
    TryLater,
    Unauthorized,
    UnverifiedAnswer,
    WxBankError,
)
from airflow_provider_wxbank.wechatpay.packages import list_tasks_page
from airflow_provider_wxbank.wechatpay.settings import KeyMode, read_merchant, read_settings
from airflow_provider_wxbank.wechatpay.verification import MAX_CLOCK_DIFFERENCE

PROBE_PACKAGE_ID = "0000"
"""A package that no merchant has: reading its tasks changes nothing, and even its refusal is signed."""

Outcome = Literal["ok", "failed", "skipped"]

_MODES: dict[KeyMode, str] = {
    "certificates": "platform certificates are downloaded and decrypted with the APIv3 key",
    "public key": "WeChat Pay's public key encrypts and verifies; nothing is downloaded",
    "both": "WeChat Pay's public key encrypts; answers signed with a certificate are verified, too (migration)",
}

_STEPS = ("connection", "private key", "mode", "network", "clock", "signature", "answers", "permission", "package")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the examination of a connection.

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
    """Examine the fields of a connection, then what WeChat Pay answers with them; after a failure the rest is skipped.

    The fields are those of :func:`~airflow_provider_wxbank.wechatpay.settings.read_settings`.

    :param package_id: a number package that should be readable.
    """
    try:
        merchant = read_merchant(mchid, extra)
    except InvalidCredentials as failure:
        yield Step.failed("private key", failure)
        yield from skipped_after("private key", package_id)
        return
    bits = merchant.private_key.key_size
    yield Step("private key", "ok", f"RSA, {bits} bits, of API certificate {merchant.serial_no}")
    try:
        settings = read_settings(mchid, apiv3_key, host, extra, port)
    except (InvalidCredentials, InvalidInput) as failure:
        yield Step.failed("mode", failure)
        yield from skipped_after("mode", package_id)
        return
    yield Step("mode", "ok", f"{settings.mode}: {_MODES[settings.mode]}")
    client = Client(settings)
    try:
        yield from call_steps(client, package_id)
    finally:
        client.close()


def call_steps(client: Client, package_id: str | None = None) -> Iterator[Step]:
    """Sign a call and verify its answer, in the connection's key mode.

    In certificate mode the certificates are downloaded first, which tries the APIv3 key. Then the tasks of a package
    that does not exist are read: whether WeChat Pay lists none or refuses, a signed answer shows that it accepted our
    signature and that we can verify its own.
    """
    for step in _steps_until_failure(client, package_id):
        yield step
        if step.outcome == "failed":
            yield from skipped_after(step.name, package_id)
            return


def skipped_after(name: str, package_id: str | None) -> Iterator[Step]:
    """The steps that are not tried after one that failed."""
    steps = _STEPS if package_id is not None else _STEPS[:-1]
    for skipped in steps[steps.index(name) + 1 :]:
        yield Step(skipped, "skipped", f"needs {name}")


def _steps_until_failure(client: Client, package_id: str | None) -> Iterator[Step]:
    """The steps; nobody asks for more after one that failed."""
    before = client.answers_received
    failure = _ask(client)
    if failure is not None and client.answers_received == before:
        yield Step.failed("network", failure)
    yield Step("network", "ok", f"{client.settings.base_url} answers")
    yield _clock(client, failure)
    if isinstance(failure, Refused) and not isinstance(failure, Unauthorized) and not failure.refusal.verified:
        yield Step("signature", "skipped", "an answer without a valid signature does not tell")
        yield Step.failed(
            "answers",
            failure,
            "WeChat Pay, or something in between, answered without a valid signature, so its keys could not be "
            f"checked: {failure}",
        )
    if isinstance(failure, Unauthorized | TryLater):
        yield Step.failed("signature", failure)
    yield Step("signature", "ok", f"requests of merchant {client.settings.merchant.mchid} are accepted")
    if isinstance(failure, UnverifiedAnswer):
        yield Step.failed("answers", failure, f"WeChat Pay's answer does not verify: {failure}")
    if failure is not None and not isinstance(failure, Refused):
        yield Step.failed("answers", failure)
    yield Step("answers", "ok", f"they verify; platform keys: {_serials(client)}")
    if isinstance(failure, Refused) and failure.refusal.status == 403:
        message = "The merchant may not use number packages yet: ask WeChat Pay for the permission."
        yield Step.failed("permission", failure, message)
    yield Step("permission", "ok", "the merchant may use number packages")
    if package_id is not None:
        yield _package(client, package_id)


def _ask(client: Client) -> WxBankError | None:
    """What comes of a harmless call: a failure, or None."""
    try:
        if client.settings.mode == "certificates":
            client.keys.refresh()
        list_tasks_page(client, PROBE_PACKAGE_ID, limit=1)
    except WxBankError as failure:
        return failure
    return None


def _clock(client: Client, failure: WxBankError | None) -> Step:
    difference = client.clock_difference
    if difference is None:
        return Step("clock", "skipped", "the answer does not tell its time")
    if failure is not None and abs(difference) > MAX_CLOCK_DIFFERENCE:
        cause = f"This machine's clock differs by {difference:.0f} s from WeChat Pay's: set it right"
        return Step.failed("clock", failure, f"{cause}. {failure}")
    return Step("clock", "ok", f"{abs(difference):.0f} s apart; WeChat Pay allows {MAX_CLOCK_DIFFERENCE} s")


def _package(client: Client, package_id: str) -> Step:
    try:
        page = list_tasks_page(client, package_id, limit=1)
    except WxBankError as failure:
        return Step.failed("package", failure)
    return Step("package", "ok", f"package {package_id} has {page.total_count} upload tasks")


def _serials(client: Client) -> str:
    return ", ".join(key.serial_no for key in client.keys.known())
