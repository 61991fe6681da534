# SPDX-License-Identifier: Apache-2.0
"""What happens in a call: it is signed, sent, verified, retried by kind, failed over once. Nothing here does I/O.

A :class:`.Driver` does it: one blocks its thread, another one waits in an event loop.
"""

from __future__ import annotations

import logging
import random as random_module
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import TypeVar

from airflow_provider_wxbank.reporting.events import AnswerReceived, CallRepeated, Observer, all_of, nobody
from airflow_provider_wxbank.wechatpay.attempts import Attempt, Failed
from airflow_provider_wxbank.wechatpay.calls import Answer, Call, SignedCall
from airflow_provider_wxbank.wechatpay.crypto.certificates import verified_certificates
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import USE_PUBLIC_KEY, CertificateList
from airflow_provider_wxbank.wechatpay.crypto.refreshing import PlatformKeys
from airflow_provider_wxbank.wechatpay.crypto.verification import (
    BELIEVED,
    Nonces,
    check_signature,
    serial_of,
    verify,
)
from airflow_provider_wxbank.wechatpay.errors import (
    AGAIN,
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
    without_advice,
)
from airflow_provider_wxbank.wechatpay.flows import Driver
from airflow_provider_wxbank.wechatpay.hosts import Hosts
from airflow_provider_wxbank.wechatpay.kept import KeptList
from airflow_provider_wxbank.wechatpay.refusals import (
    NO_CERTIFICATES,
    check_status,
    explained_401,
    is_sign_error,
    read_refusal,
)
from airflow_provider_wxbank.wechatpay.retries import MAX_LIMITED_ATTEMPTS, Trouble, next_attempt
from airflow_provider_wxbank.wechatpay.seen import SeenLists
from airflow_provider_wxbank.wechatpay.sending import NoAnswer, NotSent
from airflow_provider_wxbank.wechatpay.settings import Settings

T = TypeVar("T")

MAX_SIGNATURE_AGE = 60.0
"""Seconds that a signed call waits for room at most. WeChat Pay takes signatures of 5 minutes."""

log = logging.getLogger(__name__)


class Exchange:
    """Signed and verified calls for one merchant, over a driver.

    :param settings: see :func:`~airflow_provider_wxbank.wechatpay.settings.read_settings`.
    :param clock: unix seconds.
    :param random: uniform in [0, 1), for the jitter of pauses.
    :param max_attempts: attempts at a call, for callers that do not want to wait longer; with 1 it stays at one host.
    :param believed: the nonces of answers, each of which is accepted once.
    :param tell: hears of answers and of repeated calls, wherever the call is made.
    :param kept: keeps the list of certificates for the next process, and has that of the last one.
    """

    def __init__(
        self,
        settings: Settings,
        driver: Driver,
        *,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random_module.random,
        max_attempts: int = MAX_LIMITED_ATTEMPTS,
        believed: Nonces = BELIEVED,
        tell: Observer = nobody,
        kept: KeptList | None = None,
    ) -> None:
        self.settings = settings
        self._seen = SeenLists(settings, kept, clock)
        self.keys = PlatformKeys(
            settings.public_key,
            self._certificates if settings.apiv3_key else None,
            driver.new_turn(),
            clock,
            self._seen.kept,
        )
        self._suite = settings.merchant.suite
        self._driver = driver
        self._hosts = Hosts(settings.base_url, settings.backup_url)
        self._clock = clock
        self._random = random
        self._max_attempts = max_attempts
        self._believed = believed
        self._tell = tell

    @contextmanager
    def observed(self, observer: Observer) -> Iterator[None]:
        """Let one more observer hear of what happens, for a while."""
        before = self._tell
        self._tell = all_of(before, observer)
        try:
            yield
        finally:
            self._tell = before

    async def asend(self, call: Call) -> Answer:
        """Send a call until it is answered with a verified 2xx.

        :raises Refused: WeChat Pay refuses the call (4xx), in a signed answer.
        :raises Unauthorized: a 401 that looks like WeChat Pay's own; it cannot sign one.
        :raises OutcomeUnknown: a call that is not repeatable was perhaps taken.
        :raises TryLater: not answered, 5xx, 429, or refused without a valid signature, even after retries.
        :raises UnverifiedAnswer: answered 2xx, but not verifiable, even after retries.
        :raises InvalidCredentials: it cannot be signed. Nothing was sent; nor where TryLater says the same.
        """

        async def verified(answer: Answer) -> Answer:
            serial = serial_of(answer.headers, self._suite, self._clock())
            # Errors that are only waited for cause no download: WeChat Pay may just have asked for fewer calls.
            is_waited_for = answer.status >= 500 or (answer.status == 429 and call.repeatable)
            key = self.keys.known_key(serial) if is_waited_for else await self.keys.verification_key(serial)
            check_signature(answer.headers, answer.body, key)
            return answer

        return await self._send(call, verified)

    async def _certificates(self, newest: CertificateList | None) -> CertificateList:
        """Download the platform certificates, which must follow the newest list so far, whoever has seen it."""
        apiv3_key, authorities = self.settings.apiv3_key, self.settings.authorities
        assert apiv3_key is not None
        newest = self._seen.newest(newest)

        async def listed(answer: Answer) -> tuple[Answer, CertificateList | None]:
            headers, now = answer.headers, self._clock()
            if answer.is_success:
                found = verified_certificates(headers, answer.body, apiv3_key, self._suite, now, authorities)
                return answer, found.following(newest)
            # Not verification_key(), which would download: this is the download.
            verify(headers, answer.body, self.keys.known_key, self._suite, now)
            return answer, None

        try:
            answer, found = await self._send(Call("GET", self._suite.certificates, endpoint="certificates"), listed)
        except Refused as failure:
            if failure.refusal.verified and failure.refusal.code in NO_CERTIFICATES:
                raise InvalidCredentials(
                    f"this merchant has no platform certificates ({failure}); it uses WeChat Pay's public key: "
                    f"{USE_PUBLIC_KEY}, and leave the password empty"
                ) from failure
            raise
        assert found is not None, "an answer that is no success raises"
        return self._seen.keep(answer, found)

    async def _send(self, call: Call, verified: Callable[[Answer], Awaitable[T]]) -> T:
        """What :meth:`asend` does; ``verified`` verifies an answer, and gives what is in it if it is a success."""
        hosts = self._hosts.in_order()
        failed_over = len(hosts) == 1
        for attempts in count(1):
            try:
                with Attempt(call, self._tell) as attempt:
                    return await self._attempt(hosts[0], call, verified, attempt)
            except Failed as failed:
                again = next_attempt(
                    failed.trouble,
                    attempts,
                    repeatable=call.repeatable,
                    other_host_untried=not failed_over,
                    random=self._random,
                )
                if again is None or attempts >= self._max_attempts:
                    raise failed.last() from failed.cause
                text = without_advice(failed.error)
                log.warning("%s; attempt %d follows in %.1f s", text, attempts + 1, again.pause)
                self._tell(CallRepeated(str(call), failed.trouble.name, attempts + 1, again.pause))
            if again.other_host:
                failed_over = True
                hosts.reverse()
            await self._driver.sleep(again.pause)
        raise AssertionError("it counts until it returns")

    async def _attempt(
        self, base_url: str, call: Call, verified: Callable[[Answer], Awaitable[T]], attempt: Attempt
    ) -> T:
        """One attempt: what is in a verified 2xx, a lasting error, or :class:`Failed` for what a retry may mend."""
        what = f"{call} at {base_url}"
        try:
            # A call that cannot be signed was not sent. Whoever signs may be slow, and holds up nobody else.
            signed = await self._sign(call)
            async with self._driver.line(base_url):
                # A signature is good for some minutes alone, and there may have been no room for as long.
                if self._clock() - signed.signed_at > MAX_SIGNATURE_AGE:
                    signed = await self._sign(call)
                attempt.sends()
                answer = await self._driver.exchange(base_url, signed)
        except NotSent as failure:
            self._hosts.prefer_other_than(base_url)
            raise Failed(Trouble.NOT_SENT, NotReached(f"{what} was not sent: {failure}")) from None
        except NoAnswer as failure:
            if failure.timed_out:
                self._hosts.prefer_other_than(base_url)
            trouble = Trouble.TIMED_OUT if failure.timed_out else Trouble.BROKEN
            raise Failed(trouble, self._unclear(call, f"{what}: {failure}")) from None
        self._tell(AnswerReceived(str(call), answer.status, answer.clock_difference(self._clock())))
        try:
            value = await self._believe(call, answer, verified)
        except UnverifiedAnswer as doubt:
            if answer.is_success:
                raise Failed(Trouble.UNVERIFIED, self._unbelieved(call, what, answer, doubt)) from None
            raise self._refused(signed, answer, doubt) from None
        if answer.is_success:
            return value
        raise self._refused(signed, answer, None)

    async def _sign(self, call: Call) -> SignedCall:
        return await self._driver.sign(call, self.settings.merchant, self._clock)

    async def _believe(self, call: Call, answer: Answer, verified: Callable[[Answer], Awaitable[T]]) -> T:
        """What is in an answer that verifies and was not accepted before.

        :raises UnverifiedAnswer: it cannot be trusted.
        """
        if answer.unverifiable:
            raise UnverifiedAnswer(answer.unverifiable)
        try:
            value = await verified(answer)
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
            limited = RateLimited(f"{refusal}. It was not taken{AGAIN}")
            return Failed(Trouble.LIMITED, limited if refusal.verified else UnsignedRefusal(refusal))
        if answer.status == 401 and is_sign_error(refusal):
            merchant = self.settings.merchant
            return Unauthorized(explained_401(refusal, answer, signed.message, merchant, self._clock()))
        if answer.status >= 500 or answer.status == 202 or (unverified is not None and not call.repeatable):
            return Failed(Trouble.SERVER_ERROR, self._unclear(call, str(refusal)))
        if unverified is None:
            return Refused(refusal)
        error = UnsignedRefusal(refusal)
        error.__cause__ = unverified
        return Failed(Trouble.SERVER_ERROR, error)

    @staticmethod
    def _unclear(call: Call, text: str) -> TryLater:
        if call.repeatable:
            return TryLater(f"{text}{AGAIN}")
        return OutcomeUnknown(f"{text}. Whether it was taken is not known")
