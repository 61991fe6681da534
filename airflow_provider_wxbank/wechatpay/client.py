"""The client: every call signed, every answer verified, retried by kind, failed over once."""

from __future__ import annotations

import json
import logging
import random as random_module
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from airflow_provider_wxbank.wechatpay.errors import (
    InvalidCredentials,
    InvalidInput,
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
from airflow_provider_wxbank.wechatpay.keys import (
    CERTIFICATES,
    USE_PUBLIC_KEY,
    PlatformKey,
    PlatformKeys,
    check_serial_no,
    verified_certificates,
)
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
from airflow_provider_wxbank.wechatpay.transport import Answer, Call, Transport
from airflow_provider_wxbank.wechatpay.verification import BELIEVED, Nonces, verify
from airflow_provider_wxbank.wechatpay.wire import NoAnswer, NotSent

BACKUP_SECONDS = 60.0
"""Seconds for which the other host is asked first once a host did not answer in time."""

_PATH = re.compile(r"/[A-Za-z0-9_.~!$&'()*+,;=:@%/-]*")

log = logging.getLogger(__name__)


class Client:
    """Signed and verified calls for one merchant; safe to use from many threads.

    :param settings: see :func:`~airflow_provider_wxbank.wechatpay.settings.read_settings`.
    :param clock: unix seconds.
    :param sleep: waits some seconds.
    :param random: uniform in [0, 1), for the jitter of pauses.
    :param max_attempts: at a call, for callers who do not want to wait longer; 1 also changes no host.
    :param believed: the nonces of answers, each of which is believed once.
    :ivar answers_received: how many answers came, verified or not; tells a broken network apart.
    :ivar clock_difference: seconds by which this machine's clock was ahead of the ``Date`` of the last answer, verified
        or not; None if it had none.
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
    ) -> None:
        self.settings = settings
        self.answers_received = 0
        self.clock_difference: float | None = None
        self.keys = PlatformKeys(
            settings.public_key, self._download_certificates if settings.apiv3_key else None, clock
        )
        self._transport = Transport(settings, clock)
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._max_attempts = max_attempts
        self._believed = believed
        self._prefer_backup_until = 0.0

    def close(self) -> None:
        """Close the idle connections."""
        self._transport.close()

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
        :param repeatable: whether the call may be sent again when it was perhaps taken; default: only GET.
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
        :raises Unauthorized: 401 that looks like WeChat Pay's own, which it cannot sign.
        :raises OutcomeUnknown: a call that is not repeatable was perhaps taken.
        :raises TryLater: not answered, 5xx, 429, or refused by who knows whom, retries included.
        :raises UnverifiedAnswer: answered 2xx, but not verifiable, retries included.
        """

        def check(answer: Answer) -> None:
            # Nothing is downloaded to verify an error that is only waited for: while WeChat Pay asks for less, that
            # would be more.
            is_waited_for = answer.status >= 500 or (answer.status == 429 and call.repeatable)
            key_of = self.keys.known_key if is_waited_for else self.keys.verification_key
            verify(answer.headers, answer.body, key_of, self._clock())

        return self._send(call, check)

    @forgets_locals
    def encryption_key(self) -> PlatformKey:
        """The platform key to encrypt with now; see :meth:`PlatformKeys.encryption_key`."""
        return self.keys.encryption_key()

    def _download_certificates(self) -> tuple[PlatformKey, ...]:
        apiv3_key = self.settings.apiv3_key
        assert apiv3_key is not None
        downloaded: list[PlatformKey] = []

        def check(answer: Answer) -> None:
            if 200 <= answer.status < 300:
                downloaded[:] = verified_certificates(answer.headers, answer.body, apiv3_key, self._clock())
            else:
                verify(answer.headers, answer.body, self.keys.known_key, self._clock())

        try:
            self._send(Call("GET", CERTIFICATES), check)
        except Refused as failure:
            if failure.refusal.verified and failure.refusal.code in NO_CERTIFICATES:
                raise InvalidCredentials(
                    f"this merchant has no platform certificates ({failure}); it uses WeChat Pay's public key: "
                    f"{USE_PUBLIC_KEY}, and leave the password empty"
                ) from failure
            raise
        return tuple(downloaded)

    def _send(self, call: Call, check: Callable[[Answer], None]) -> Answer:
        hosts = self._hosts()
        failed_over = len(hosts) == 1
        attempts = 0
        while True:
            attempts += 1
            try:
                return self._attempt(hosts[0], call, check)
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
            if again.other_host:
                failed_over = True
                hosts.reverse()
                self._prefer(hosts[0])
            self._sleep(again.pause)

    def _attempt(self, base_url: str, call: Call, check: Callable[[Answer], None]) -> Answer:
        """One attempt: a verified 2xx, a lasting error, or :class:`_Failed` for what a retry may mend."""
        what = f"{call} at {base_url}"
        try:
            answer = self._transport.exchange(base_url, call)
        except NotSent as failure:
            raise _Failed(Trouble.NOT_SENT, NotReached(f"{what} was not sent: {failure}")) from None
        except NoAnswer as failure:
            if failure.timed_out:
                self._prefer(self._other(base_url))
            trouble = Trouble.TIMED_OUT if failure.timed_out else Trouble.BROKEN
            raise _Failed(trouble, self._unclear(call, f"{what}: {failure}")) from None
        self.answers_received += 1
        self.clock_difference = answer.clock_difference(self._clock())
        unverified = self._unverified(call, answer, check)
        if 200 <= answer.status < 300 and answer.status != 202:
            if unverified is None:
                return answer
            if call.repeatable:
                # Its own class and text are kept: they say which key is missing or what does not fit.
                error: WxBankError = type(unverified)(f"{what}: {unverified} [Request-ID {answer.request_id}]")
            else:
                error = self._unclear(call, f"{what} was answered {answer.status}, but {unverified}")
            raise _Failed(Trouble.UNVERIFIED, error)
        raise self._refused(call, answer, unverified)

    def _refused(self, call: Call, answer: Answer, unverified: UnverifiedAnswer | None) -> Exception:
        """What to raise for an error answer. One that is not verified proves nothing: anybody may have given it."""
        refusal = read_refusal(call, answer, unverified, has_public_key=self.settings.public_key is not None)
        if answer.status == 429 and refusal.verified and "当天" in refusal.message:
            return QuotaReached(f"{refusal}. The daily number of files is used up: run it again tomorrow")
        if answer.status == 429 and (refusal.verified or call.repeatable):
            # The task backs off for long after WeChat Pay's own word only.
            limited = RateLimited(f"{refusal}. It was not taken. Run it again later")
            return _Failed(Trouble.LIMITED, limited if refusal.verified else UnsignedRefusal(refusal))
        if answer.status == 401 and is_sign_error(refusal):
            return Unauthorized(explained_401(refusal, answer, self.settings.merchant, self._clock()))
        if answer.status >= 500 or answer.status == 202 or (unverified is not None and not call.repeatable):
            return _Failed(Trouble.SERVER_ERROR, self._unclear(call, str(refusal)))
        if unverified is None:
            return Refused(refusal)
        error = UnsignedRefusal(refusal)
        error.__cause__ = unverified
        return _Failed(Trouble.SERVER_ERROR, error)

    def _unverified(self, call: Call, answer: Answer, check: Callable[[Answer], None]) -> UnverifiedAnswer | None:
        """Why an answer is not to be believed, or None if it is verified, and was not believed before."""
        if answer.unverifiable:
            return UnverifiedAnswer(answer.unverifiable)
        try:
            check(answer)
            check_status(answer)
            self._believed.take(answer.headers["Wechatpay-Nonce"])
        except UnverifiedAnswer as failure:
            return failure
        except WxBankError as failure:
            # The keys to verify with are not to be had. A call that was perhaps taken must not seem refused.
            if call.repeatable:
                raise
            return UnverifiedAnswer(f"it cannot be verified: {failure}")
        return None

    @staticmethod
    def _unclear(call: Call, text: str) -> TryLater:
        if call.repeatable:
            return TryLater(f"{text}. Run it again later")
        return OutcomeUnknown(f"{text}. Whether it was taken is not known")

    def _hosts(self) -> list[str]:
        settings = self.settings
        if settings.backup_url is None:
            return [settings.base_url]
        hosts = [settings.base_url, settings.backup_url]
        return hosts[::-1] if time.monotonic() < self._prefer_backup_until else hosts

    def _other(self, base_url: str) -> str:
        settings = self.settings
        return settings.backup_url or base_url if base_url == settings.base_url else settings.base_url

    def _prefer(self, base_url: str) -> None:
        to_backup = base_url == self.settings.backup_url
        self._prefer_backup_until = time.monotonic() + BACKUP_SECONDS if to_backup else 0.0


class _Failed(Exception):
    """An attempt failed in a way that another attempt may mend; carries what to raise if there is none."""

    def __init__(self, trouble: Trouble, error: WxBankError) -> None:
        super().__init__()
        self.trouble = trouble
        self.error = error


def compact_json(value: object) -> bytes:
    """UTF-8 JSON without spaces: the bytes that are signed and sent."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def target(path: str, params: Mapping[str, object] | None = None) -> str:
    """Path and query as they go over the wire; parameters that are None are left out.

    :raises InvalidInput: the path is not one, or has its own query.
    """
    if not _PATH.fullmatch(path) or path.startswith("//"):
        raise InvalidInput(f"{path[:100]!r} is not a path like /v3/certificates (query goes into params)")
    query = urlencode({name: value for name, value in (params or {}).items() if value is not None}, quote_via=quote)
    return f"{path}?{query}" if query else path


def parsed(answer: Answer) -> Any:
    """The JSON of a verified answer; None for an empty body.

    :raises UnverifiedAnswer: it is not JSON.
    """
    if not answer.body:
        return None
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        raise UnverifiedAnswer(f"the answer is not JSON [Request-ID {answer.request_id}]") from None
