# SPDX-License-Identifier: Apache-2.0
"""The client: every call signed, every answer verified, retried by kind, failed over once."""

from __future__ import annotations

import logging
import random as random_module
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any, TypeVar

from airflow_provider_wxbank.reporting.events import AnswerReceived, CallRepeated, Observer, all_of, nobody
from airflow_provider_wxbank.wechatpay.calls import Answer, Call, SignedCall, compact_json, parsed, sign, target
from airflow_provider_wxbank.wechatpay.crypto.certificates import verified_certificates
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import (
    CERTIFICATES,
    USE_PUBLIC_KEY,
    PlatformKey,
    PlatformKeys,
    check_serial_no,
)
from airflow_provider_wxbank.wechatpay.crypto.verification import BELIEVED, Nonces, verify
from airflow_provider_wxbank.wechatpay.errors import (
    InvalidCredentials,
    NotReached,
    OutcomeUnknown,
    QuotaReached,
    RateLimited,
    Refused,
    TryLater,
    Unauthorized,
    UnsignedRefusal,
    UnverifiedAnswer,
    WxBankError,
)
from airflow_provider_wxbank.wechatpay.hosts import Hosts
from airflow_provider_wxbank.wechatpay.refusals import (
    NO_CERTIFICATES,
    check_status,
    explained_401,
    is_sign_error,
    read_refusal,
)
from airflow_provider_wxbank.wechatpay.retries import MAX_LIMITED_ATTEMPTS, Trouble, next_attempt
from airflow_provider_wxbank.wechatpay.settings import Settings
from airflow_provider_wxbank.wechatpay.tracebacks import forgets_locals
from airflow_provider_wxbank.wechatpay.transport import Transport
from airflow_provider_wxbank.wechatpay.wire import NoAnswer, NotSent

T = TypeVar("T")

log = logging.getLogger(__name__)


class Client:
    """Signed and verified calls for one merchant; safe to use from many threads.

    :param settings: see :func:`~airflow_provider_wxbank.wechatpay.settings.read_settings`.
    :param clock: unix seconds.
    :param sleep: waits some seconds.
    :param random: uniform in [0, 1), for the jitter of pauses.
    :param max_attempts: attempts at a call, for callers that do not want to wait longer; with 1 it stays at one host.
    :param believed: the nonces of answers, each of which is accepted once.
    :param tell: hears of answers and of repeated calls, in whichever thread makes the call.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = random_module.random,
        max_attempts: int = MAX_LIMITED_ATTEMPTS,
        believed: Nonces = BELIEVED,
        tell: Observer = nobody,
    ) -> None:
        self.settings = settings
        self.keys = PlatformKeys(
            settings.public_key, self._download_certificates if settings.apiv3_key else None, clock
        )
        self._transport = Transport(settings)
        self._hosts = Hosts(settings.base_url, settings.backup_url)
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._max_attempts = max_attempts
        self._believed = believed
        self._tell = tell

    def close(self) -> None:
        """Close the idle connections."""
        self._transport.close()

    @contextmanager
    def observed(self, observer: Observer) -> Iterator[None]:
        """Let one more observer hear of what happens, for a while."""
        before = self._tell
        self._tell = all_of(before, observer)
        try:
            yield
        finally:
            self._tell = before

    @forgets_locals
    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, object] | None = None,
        json: object = None,
        serial_no: str | None = None,
        repeatable: bool | None = None,
    ) -> Any:
        """A signed and verified call of any APIv3 endpoint.

        :param path: path without host, for example ``/v3/certificates``; percent-encode what needs it.
        :param params: query, encoded here.
        :param json: body; sent, and signed, as compact UTF-8 JSON.
        :param serial_no: ``Wechatpay-Serial``; needed when the body holds encrypted fields.
        :param repeatable: whether the call may be sent again if it was perhaps taken; by default only a GET may.
        :return: the parsed JSON; None for an empty body.
        :raises WxBankError: see :mod:`airflow_provider_wxbank.wechatpay.errors`.
        """
        if serial_no is not None:
            check_serial_no(serial_no)
        method = method.upper()
        body = b"" if json is None else compact_json(json)
        call = Call(
            method,
            target(path, params),
            body,
            None if json is None else body,
            None if json is None else "application/json",
            serial_no or self.keys.request_serial,
            method == "GET" if repeatable is None else repeatable,
        )
        return parsed(self.send(call))

    def send(self, call: Call) -> Answer:
        """Send a call until it is answered with a verified 2xx.

        :raises Refused: WeChat Pay refuses the call (4xx), in a signed answer.
        :raises Unauthorized: a 401 that looks like WeChat Pay's own; it cannot sign one.
        :raises OutcomeUnknown: a call that is not repeatable was perhaps taken.
        :raises TryLater: not answered, 5xx, 429, or refused without a valid signature, even after retries.
        :raises UnverifiedAnswer: answered 2xx, but not verifiable, even after retries.
        """

        def verified(answer: Answer) -> Answer:
            # Errors that are only waited for cause no download: WeChat Pay may just have asked for fewer calls.
            is_waited_for = answer.status >= 500 or (answer.status == 429 and call.repeatable)
            key_of = self.keys.known_key if is_waited_for else self.keys.verification_key
            verify(answer.headers, answer.body, key_of, self._clock())
            return answer

        return self._send(call, verified)

    @forgets_locals
    def encryption_key(self) -> PlatformKey:
        """The platform key to encrypt with now; see :meth:`PlatformKeys.encryption_key`."""
        return self.keys.encryption_key()

    def _download_certificates(self) -> tuple[PlatformKey, ...]:
        apiv3_key = self.settings.apiv3_key
        assert apiv3_key is not None

        def keys_in(answer: Answer) -> tuple[PlatformKey, ...]:
            if answer.is_success:
                return verified_certificates(answer.headers, answer.body, apiv3_key, self._clock())
            # Not verification_key(), which would download: this is the download.
            verify(answer.headers, answer.body, self.keys.known_key, self._clock())
            return ()

        try:
            return self._send(Call("GET", CERTIFICATES), keys_in)
        except Refused as failure:
            if failure.refusal.verified and failure.refusal.code in NO_CERTIFICATES:
                raise InvalidCredentials(
                    f"this merchant has no platform certificates ({failure}); it uses WeChat Pay's public key: "
                    f"{USE_PUBLIC_KEY}, and leave the password empty"
                ) from failure
            raise

    def _send(self, call: Call, verified: Callable[[Answer], T]) -> T:
        """What :meth:`send` does; ``verified`` verifies an answer, and gives what is in it if it is a success."""
        hosts = self._hosts.in_order()
        failed_over = len(hosts) == 1
        for attempts in count(1):
            try:
                return self._attempt(hosts[0], call, verified)
            except _Failed as failed:
                again = next_attempt(
                    failed.trouble,
                    attempts,
                    repeatable=call.repeatable,
                    other_host_untried=not failed_over,
                    random=self._random,
                )
                if again is None or attempts >= self._max_attempts:
                    raise failed.error from failed.error.__cause__
                log.warning("%s; attempt %d follows in %.1f s", failed.error, attempts + 1, again.pause)
                self._tell(CallRepeated(str(call), failed.trouble.name, attempts + 1, again.pause))
            if again.other_host:
                failed_over = True
                self._hosts.prefer_other_than(hosts[0])
                hosts.reverse()
            self._sleep(again.pause)
        raise AssertionError("it counts until it returns")

    def _attempt(self, base_url: str, call: Call, verified: Callable[[Answer], T]) -> T:
        """One attempt: what is in a verified 2xx, a lasting error, or :class:`_Failed` for what a retry may mend."""
        what = f"{call} at {base_url}"
        # Outside of the block below: a call that cannot be signed was not sent, so its outcome is known.
        signed = sign(call, self.settings.merchant, self._clock())
        try:
            answer = self._transport.exchange(base_url, signed)
        except NotSent as failure:
            raise _Failed(Trouble.NOT_SENT, NotReached(f"{what} was not sent: {failure}")) from None
        except NoAnswer as failure:
            if failure.timed_out:
                self._hosts.prefer_other_than(base_url)
            trouble = Trouble.TIMED_OUT if failure.timed_out else Trouble.BROKEN
            raise _Failed(trouble, self._unclear(call, f"{what}: {failure}")) from None
        self._tell(AnswerReceived(str(call), answer.status, answer.clock_difference(self._clock())))
        try:
            value = self._believe(call, answer, verified)
        except UnverifiedAnswer as doubt:
            if answer.is_success:
                raise _Failed(Trouble.UNVERIFIED, self._unbelieved(call, what, answer, doubt)) from None
            raise self._refused(signed, answer, doubt) from None
        if answer.is_success:
            return value
        raise self._refused(signed, answer, None)

    def _believe(self, call: Call, answer: Answer, verified: Callable[[Answer], T]) -> T:
        """What is in an answer that verifies and was not accepted before.

        :raises UnverifiedAnswer: it cannot be trusted.
        """
        if answer.unverifiable:
            raise UnverifiedAnswer(answer.unverifiable)
        try:
            value = verified(answer)
        except WxBankError as failure:
            # The keys to verify with could not be had. A call that was perhaps taken must not seem refused.
            if call.repeatable or isinstance(failure, UnverifiedAnswer):
                raise
            raise UnverifiedAnswer(f"it cannot be verified: {failure}") from None
        check_status(answer)
        self._believed.take(answer.headers["Wechatpay-Nonce"])
        return value

    def _unbelieved(self, call: Call, what: str, answer: Answer, doubt: UnverifiedAnswer) -> WxBankError:
        if call.repeatable:
            # The class and the text are kept: they say which key is missing or what does not fit.
            return type(doubt)(f"{what}: {doubt} [Request-ID {answer.request_id}]")
        return self._unclear(call, f"{what} was answered {answer.status}, but {doubt}")

    def _refused(self, signed: SignedCall, answer: Answer, unverified: UnverifiedAnswer | None) -> Exception:
        """What to raise for an error answer. One that is not verified proves nothing: anybody may have given it."""
        call = signed.call
        refusal = read_refusal(call, answer, unverified, has_public_key=self.settings.public_key is not None)
        # 当天, "on this day", tells the day's quota from a rate limit; both may have the same code.
        if answer.status == 429 and refusal.verified and "当天" in refusal.message:
            return QuotaReached(f"{refusal}. The daily number of files is used up: run it again tomorrow")
        if answer.status == 429 and (refusal.verified or call.repeatable):
            # The task backs off for long only if WeChat Pay itself has said so.
            limited = RateLimited(f"{refusal}. It was not taken. Run it again later")
            return _Failed(Trouble.LIMITED, limited if refusal.verified else UnsignedRefusal(refusal))
        if answer.status == 401 and is_sign_error(refusal):
            merchant = self.settings.merchant
            return Unauthorized(explained_401(refusal, answer, signed.message, merchant, self._clock()))
        if answer.status >= 500 or answer.status == 202 or (unverified is not None and not call.repeatable):
            return _Failed(Trouble.SERVER_ERROR, self._unclear(call, str(refusal)))
        if unverified is None:
            return Refused(refusal)
        error = UnsignedRefusal(refusal)
        error.__cause__ = unverified
        return _Failed(Trouble.SERVER_ERROR, error)

    @staticmethod
    def _unclear(call: Call, text: str) -> TryLater:
        if call.repeatable:
            return TryLater(f"{text}. Run it again later")
        return OutcomeUnknown(f"{text}. Whether it was taken is not known")


class _Failed(Exception):
    """An attempt failed in a way that another may mend. It carries what to raise if there is no other."""

    def __init__(self, trouble: Trouble, error: WxBankError) -> None:
        super().__init__()
        self.trouble = trouble
        self.error = error
