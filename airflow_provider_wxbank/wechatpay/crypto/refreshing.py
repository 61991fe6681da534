# SPDX-License-Identifier: Apache-2.0
"""The platform keys of one merchant, and their refresh (P/4012551764, P/4012154180).

There are three modes; what a connection holds decides which:

* certificates: downloaded, decrypted with the APIv3 key, verified with themselves;
* public key: one key with its ``PUB_KEY_ID_...``, nothing is downloaded;
* both, while a merchant migrates from the first to the second: the public key encrypts and is asked for in every
  request; certificates are downloaded only once an answer is signed with one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from airflow_provider_wxbank.wechatpay.crypto.platform_keys import (
    SIGNS_WITH_PUBLIC_KEY,
    CertificateList,
    PlatformKey,
    find_key,
    is_public_key_id,
)
from airflow_provider_wxbank.wechatpay.crypto.suites import PublicKey
from airflow_provider_wxbank.wechatpay.errors import InvalidCredentials, UnknownSerial, WxBankError, for_another

REFRESH_AFTER = 6 * 3600
"""Seconds after which certificates are downloaded again; WeChat Pay asks for less than 12 hours (P/4012551764)."""

DOWNLOAD_PAUSE = 30
"""Seconds between two downloads, whatever asks for them, so that unknown serials cannot cause a storm of them."""

log = logging.getLogger(__name__)


class Turn(Protocol):
    """Lets one caller at a time do something: one thread, or one task of an event loop."""

    async def take(self, *, wait: bool) -> bool:
        """Begin, once nobody else is at it; or without waiting, if nobody is."""

    def give_back(self) -> None:
        """Let the next one begin."""


class PlatformKeys:
    """The platform keys of one merchant, as safe to use from many threads as ``turn`` is.

    :param public_key: WeChat Pay's public key, in the modes that have one.
    :param download: downloads and verifies the certificates, in the modes that have an APIv3 key; it is told the newest
        list so far, which the new one must follow.
    :param turn: lets one caller at a time download.
    :param clock: unix seconds.
    :param kept: the list that another process downloaded. Whatever its age, the next one must follow it. One of the
        last hours verifies answers until this process has downloaded one, as any list does that is at hand. But it
        encrypts only in the place of an older one, when no new one can be had: what was encrypted with a key that
        WeChat Pay has withdrawn since cannot be taken back.
    """

    def __init__(
        self,
        public_key: PlatformKey | None,
        download: Callable[[CertificateList | None], Awaitable[CertificateList]] | None,
        turn: Turn,
        clock: Callable[[], float] = time.time,
        kept: Callable[[], CertificateList | None] = lambda: None,
    ) -> None:
        self._public_key = public_key
        self._download = download
        self._clock = clock
        self._turn = turn
        self._kept = kept
        self._has_looked = False
        self._recalled: tuple[PlatformKey, ...] = ()
        self._recalled_at = float("-inf")
        self._certificates: tuple[PlatformKey, ...] = ()
        self._newest: CertificateList | None = None
        self._downloaded_at = self._tried_at = float("-inf")
        self._failure: WxBankError | None = None

    @property
    def request_serial(self) -> str | None:
        """What every request names in ``Wechatpay-Serial`` so that the public key signs the answer, or None."""
        return self._public_key.serial_no if self._public_key else None

    def known(self) -> tuple[PlatformKey, ...]:
        """The keys at hand, without asking for more."""
        return ((self._public_key,) if self._public_key else ()) + (self._certificates or self._recalled)

    async def encryption_key(self) -> PlatformKey:
        """The key to encrypt with now: the public key, else the certificate that came into force last.

        Take it once per file and keep its serial with the file: the next call may give another key.

        :raises InvalidCredentials: there is none.
        """
        if self._public_key is not None:
            return self._public_key
        # Old certificates still encrypt, so nobody waits while somebody else downloads.
        await self._refresh(lambda: self._is_over(self._downloaded_at, REFRESH_AFTER), wait=not self._certificates)
        now = self._clock()
        # A new certificate is listed before it is in force.
        in_force = [key for key in self._certificates if key.effective <= now < key.expires]
        if not in_force:
            self._raise_failure()
            raise InvalidCredentials(
                "WeChat Pay lists no platform certificate that is in force; download one in the merchant "
                "platform or change to WeChat Pay's public key (wechatpay_public_key)"
            )
        return max(in_force, key=lambda key: key.effective)

    async def verification_key(self, serial_no: str) -> PublicKey:
        """The public key of the serial that an answer names. An unknown serial causes at most one download a pause.

        :raises UnknownSerial: there is no such key, or it has expired.
        """
        # A public key is never downloaded.
        if not is_public_key_id(serial_no):
            await self._recall()
            await self._refresh(self._is_old, wait=not self.known())
            # WeChat Pay may sign with a certificate that is newer than the last download.
            await self._refresh(lambda: self._unexpired(serial_no) is None, wait=True)
        return self.known_key(serial_no)

    def known_key(self, serial_no: str) -> PublicKey:
        """The public key of a serial among those at hand; nothing is downloaded.

        :raises UnknownSerial: there is no such key, or it has expired.
        """
        found = self._unexpired(serial_no)
        if found is None:
            raise UnknownSerial(self._unknown(serial_no))
        return found.public_key

    async def refresh(self) -> None:
        """Download the certificates now, whatever their age, where the mode has any.

        :raises WxBankError: the download failed; the certificates at hand stay.
        """
        if self._download is not None:
            await self._turn.take(wait=True)
            try:
                await self._try_download()
                self._raise_failure()
            finally:
                self._turn.give_back()

    async def _recall(self) -> None:
        """Begin with what an earlier process has kept."""
        if self._has_looked or self._download is None:
            return
        await self._turn.take(wait=True)
        try:
            self._look()
        finally:
            self._turn.give_back()

    def _look(self) -> None:
        """Look once for what was kept. Whoever calls it has the turn."""
        if self._has_looked:
            return
        self._newest = self._kept()
        self._has_looked = True
        # It may be of some minutes ahead of this machine's clock.
        signed_at = min(self._newest.signed_at, self._clock()) if self._newest else float("-inf")
        if self._newest and not self._is_over(signed_at, REFRESH_AFTER):
            self._recalled, self._recalled_at = self._newest.keys, signed_at

    def _unexpired(self, serial_no: str) -> PlatformKey | None:
        now = self._clock()
        return find_key((key for key in self.known() if key.expires > now), serial_no)

    def _is_old(self) -> bool:
        return self._is_over(self._downloaded_at if self._certificates else self._recalled_at, REFRESH_AFTER)

    def _is_over(self, since: float, seconds: float) -> bool:
        """Whether some seconds have passed. If the clock was set back they have: it may have run ahead before."""
        return not 0 <= self._clock() - since <= seconds

    async def _refresh(self, is_due: Callable[[], bool], *, wait: bool) -> None:
        """Download once if due.

        :param wait: whether to wait while somebody else downloads.
        """
        if self._download is None or not is_due() or not await self._turn.take(wait=wait):
            return
        # Asked again: somebody else may have downloaded while this one waited for its turn.
        try:
            if is_due() and self._is_over(self._tried_at, DOWNLOAD_PAUSE):
                await self._try_download()
        finally:
            self._turn.give_back()
        # While there are certificates at hand, a failed refresh fails nothing else.
        if not (self._certificates or self._recalled):
            self._raise_failure()

    async def _try_download(self) -> None:
        assert self._download is not None
        # Before the download, so that a failure is followed by the same pause.
        tried_before, self._tried_at = self._tried_at, self._clock()
        self._look()
        try:
            self._newest = await self._download(self._newest)
        except WxBankError as failure:
            # Kept for callers that come within the pause: they get it without a call.
            self._failure = for_another(failure)
            self._take_newer()
            if self._certificates or self._recalled:
                log.warning("The platform certificates could not be refreshed; the ones at hand stay: %s", failure)
        except BaseException:
            # Given up in the middle, by Ctrl-C or with the task: whoever comes next need not wait for the pause.
            self._tried_at = tried_before
            raise
        else:
            self._failure = None
            self._certificates = self._newest.keys
            self._downloaded_at = self._clock()
            log.info("Platform certificates: %s", ", ".join(key.serial_no for key in self._certificates))

    def _take_newer(self) -> None:
        """Change old certificates for those of a newer list that another process has kept: what is at hand may have
        been withdrawn.
        """
        kept = self._kept() if self._certificates else None
        if kept is not None and self._newest is not None and kept.signed_at > self._newest.signed_at:
            self._newest, self._certificates = kept, kept.keys

    def _raise_failure(self) -> None:
        # Read once: another caller's download may succeed in between.
        if (failure := self._failure) is not None:
            raise for_another(failure)

    def _unknown(self, serial_no: str) -> str:
        at_hand = ", ".join(key.serial_no for key in self.known()) or "none"
        if is_public_key_id(serial_no) and self._public_key is None:
            advice = SIGNS_WITH_PUBLIC_KEY
        elif is_public_key_id(serial_no):
            advice = "compare wechatpay_public_key_id with the merchant platform"
        elif self._download is None:
            advice = "to accept certificates too, as during migration, fill in the APIv3 key (password)"
        elif self._certificates:
            advice = "it is not in WeChat Pay's list of certificates"
        else:
            advice = "WeChat Pay's list of certificates was not downloaded"
        return f"the answer is signed with the platform key {serial_no[:64]}; at hand: {at_hand}; {advice}"
