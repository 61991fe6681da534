# SPDX-License-Identifier: Apache-2.0
"""How a simulator behaves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

KeyMode = Literal["certificates", "public-key", "both"]
Check = Literal["all", "sample", "later"]
SuiteName = Literal["rsa", "sm2"]


@dataclass(frozen=True, slots=True)
class SimulatorSettings:
    """How a simulator behaves.

    :param mchid: the one merchant that it knows.
    :param apiv3_key: 32 characters; None for a random one.
    :param merchant_private_key_pem: None for a throwaway key.
    :param key_mode: what WeChat Pay has given this merchant; ``both`` is a migration under way.
    :param processing_seconds: from upload to FINISHED.
    :param check: which lines are decrypted: ``all``; a ``sample`` of 20 at the upload and the rest when the report is
        asked for; or none before that (``later``). If there are more than 500 lines, ``all`` decrypts a sample before
        the answer and all of them in background processes, since a line takes a quarter of a millisecond or more. The
        task is PROCESSING until then.
    :param daily_file_quota: files a day, Asia/Shanghai (FAQ 4015182386: 6,000).
    :param latency_seconds: added to every answer.
    :param offset_unit: what ``offset`` counts in lists.
    :param newest_first: order of lists.
    :param unmatched_ratio: share of the numbers that do not match, chosen by their digests.
    :param listing_delay_seconds: how long after its upload a task is listed.
    :param packages: the packages that exist; None for any.
    :param refuse_repeated_nonces: whether a nonce is refused that came before within ten minutes. No source says that
        WeChat Pay does so, and SDKs send a request again as it was.
    :param leading_zero_serials: whether the serials of platform certificates begin with a zero, which some SDKs drop.
    :param suite: whether the merchant's and WeChat Pay's keys are of RSA or of SM2 (国密, extra ``shangmi``).
    :param pin_root: whether the connection has the simulator's root certificate.
    :param keys: a folder for the keys, in which those of an earlier start are used again; None for new ones.
    :param tls: whether it speaks https, with a certificate of a CA that is in ``keys``.
    :param clock: unix seconds.
    """

    mchid: str = "1900000001"
    apiv3_key: str | None = field(default=None, repr=False)
    merchant_private_key_pem: str | None = field(default=None, repr=False)
    key_mode: KeyMode = "certificates"
    processing_seconds: float = 2.0
    check: Check = "all"
    daily_file_quota: int = 6000
    latency_seconds: float = 0.0
    offset_unit: Literal["page", "row"] = "page"
    newest_first: bool = False
    unmatched_ratio: float = 0.0
    listing_delay_seconds: float = 0.0
    packages: frozenset[str] | None = None
    refuse_repeated_nonces: bool = False
    leading_zero_serials: bool = False
    suite: SuiteName = "rsa"
    pin_root: bool = False
    keys: Path | None = None
    tls: bool = False
    clock: Callable[[], float] = field(default=time.time, repr=False)
