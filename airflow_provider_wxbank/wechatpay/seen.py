# SPDX-License-Identifier: Apache-2.0
"""The newest list of certificates that was seen, by this process or by another one of its user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from airflow_provider_wxbank.wechatpay.calls import Answer
from airflow_provider_wxbank.wechatpay.crypto.certificates import kept_certificates
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import CertificateList
from airflow_provider_wxbank.wechatpay.errors import WxBankError
from airflow_provider_wxbank.wechatpay.kept import KeptList
from airflow_provider_wxbank.wechatpay.settings import Settings


class SeenLists:
    """What was seen of a merchant's lists. :meth:`.CertificateList.following` says which one may come next.

    :param kept: where processes keep it for each other; None if they do not.
    :param clock: unix seconds.
    """

    def __init__(self, settings: Settings, kept: KeptList | None, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._kept = kept
        self._clock = clock

    def kept(self) -> CertificateList | None:
        """What some process has kept last, verified anew; None if there is nothing that verifies."""
        settings = self._settings
        found = self._kept.read() if self._kept is not None else None
        if settings.apiv3_key is None or found is None:
            return None
        try:
            verified = kept_certificates(
                found.headers,
                found.body,
                settings.apiv3_key,
                settings.merchant.suite,
                self._clock(),
                settings.authorities,
            )
        except WxBankError:
            return None
        return replace(verified, withdrawn=found.withdrawn)

    def newest(self, own: CertificateList | None) -> CertificateList | None:
        """The newer one of what this process has seen itself and what is kept."""
        seen = [one for one in (self.kept(), own) if one is not None]
        return max(seen, key=lambda one: one.signed_at, default=None)

    def keep(self, answer: Answer, found: CertificateList) -> CertificateList:
        """Keep a list that has just come.

        :return: the newest one, which another process may have kept meanwhile.
        :raises UnverifiedAnswer: it does not follow what another process has kept meanwhile.
        """
        if self._kept is None:
            return found
        kept = self.kept()
        if kept is not None and kept.signed_at > found.signed_at:
            return kept
        found = found.following(kept)
        self._kept.write(answer.headers, answer.body, found.withdrawn)
        return found
