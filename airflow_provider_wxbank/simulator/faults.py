# SPDX-License-Identifier: Apache-2.0
"""Faults on demand: which requests they meet, and how often."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, fields
from typing import get_args, get_type_hints

KINDS = {
    "too-many-requests": "429",
    "quota-reached": "429: the daily number of files is used up",
    "internal-error": "500 SYSTEM_ERROR",
    "bad-gateway": "502 with an HTML body, unsigned",
    "unavailable": "503 SERVICE_UNAVAILABLE",
    "forbidden": "403 NO_AUTH",
    "accepted": "202: accepted, not processed",
    "gateway-401": "401 with an HTML body, unsigned",
    "gateway-403": "403 with an HTML body, unsigned",
    "gateway-404": "404 with an HTML body, unsigned",
    "gateway-407": "407 with an HTML body, unsigned",
    "gateway-413": "413 with an HTML body, unsigned",
    "unsigned-quota": "429: the daily number of files is used up, unsigned",
    "unsigned-sign-error": "401 SIGN_ERROR, unsigned like any, to a request that is signed well",
    "replay": "the last answer that was whole, to whichever request, comes once more",
    "redirect": "302 to another host",
    "redirect-nowhere": "307 to an address that is none, with an HTML body",
    "redirect-bomb": "302 with a body of 1 MB that unpacks to 1 GB",
    "reset": "the connection is reset without an answer",
    "drop": "the connection is closed without an answer",
    "hang": "no answer for some seconds, then the connection is closed",
    "hang-during": "half of the answer, nothing for some seconds, then the connection is closed",
    "truncate": "half of the answer, then the connection is closed",
    "slow": "the answer comes after some seconds",
    "trickle": "the answer comes a byte every tenth of a second",
    "trickle-headers": "status line, headers and body come a byte every tenth of a second",
    "endless": "an answer of 200 MB",
    "huge-header": "an answer with a header of 1 MB",
    "json-bomb": "a signed answer of 1 MB of opening brackets",
    "unsigned": "the answer has no signature",
    "tampered": "a byte of the answer is changed after signing",
    "stale": "the answer was signed ten minutes ago",
    "unknown-serial": "the answer is signed by a key that nobody knows",
    "signtest": "a signature probe of 344 characters in all",
    "signtest-prefix": "a signature probe of a prefix and 344 characters",
    "expired-certificate": "the certificate list has an expired certificate only",
    "lying-certificates": "the certificate list is signed by a key that it does not carry",
    "wrong-apiv3-key": "the certificate list is encrypted with another APIv3 key",
    "forged-certificates": "the certificate list is made by somebody who has the APIv3 key: another root signed it",
    "withdrawn-certificate": "the certificate list has an older certificate only, which was withdrawn; it signs it",
    "changing-page": "a task of somebody else comes into the package before each list answer",
    "lost-rows": "a tenth of the file's rows, rounded up, are counted neither as matched nor as failed",
}
"""Kind of fault: what happens."""

STEPS = ("any", "upload", "find", "list", "certificates")
"""A request is an upload, a list with a filename (find), another list, or a download of the certificates."""

BEFORE_ANSWER = frozenset(KINDS) - {
    "hang-during", "truncate", "slow", "trickle", "trickle-headers", "endless", "huge-header", "json-bomb", "unsigned",
    "tampered", "stale", "unknown-serial", "signtest", "signtest-prefix", "expired-certificate", "lying-certificates",
    "wrong-apiv3-key", "forged-certificates", "withdrawn-certificate", "changing-page", "lost-rows",
}  # fmt: skip
"""Kinds that take the place of the answer; the others need a real one to spoil."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, and the requests that it meets.

    :param kind: one of :data:`KINDS`.
    :param on: one of :data:`STEPS`.
    :param every: 3 means every third of the matching requests.
    :param times: how many times at most; 0 for always.
    :param after: how many matching requests are left alone first.
    :param commit: for kinds that take the place of the answer: whether the request is processed all the same.
    :param seconds: for kinds that last.
    :raises ValueError: a wrong kind, step or number.
    """

    kind: str
    on: str = "any"
    every: int = 1
    times: int = 0
    after: int = 0
    commit: bool = False
    seconds: float = 3600.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"fault {self.kind!r} is none of {', '.join(KINDS)}")
        if self.on not in STEPS:
            raise ValueError(f"on={self.on!r} is none of {', '.join(STEPS)}")
        if self.every < 1 or self.times < 0 or self.after < 0 or not 0 <= self.seconds < math.inf:
            raise ValueError("every is 1 or more; times, after and seconds are 0 or more")


def parse_fault(text: str) -> Fault:
    """A fault written ``KIND[:name=value,...]``, for example ``drop:on=upload,every=3,commit=true``.

    :raises ValueError: it is not written like that.
    """
    kind, _, rest = text.partition(":")
    types = get_type_hints(Fault)
    values: dict[str, object] = {}
    for item in filter(None, rest.split(",")):
        name, equals, value = item.partition("=")
        if not equals or name not in types or name == "kind":
            known = ", ".join(field.name for field in fields(Fault) if field.name != "kind")
            raise ValueError(f"{item!r} is not NAME=VALUE with a name of {known}")
        if types[name] is bool and value not in ("true", "false"):
            raise ValueError(f"{item!r}: {name} is true or false")
        values[name] = value == "true" if types[name] is bool else types[name](value)
    return Fault(kind, **values)  # type: ignore[arg-type]  # converted by the fields' own types


def faults_from_json(value: object) -> list[Fault]:
    """The faults in a JSON list.

    :raises ValueError: it is not a list, or one of them is wrong.
    """
    if not isinstance(value, list):
        raise ValueError("faults are a list of objects")
    return [fault_from_json(one) for one in value]


def fault_from_json(value: object) -> Fault:
    """A fault from a JSON object with its fields.

    :raises ValueError: unknown fields, or values of another type.
    """
    types = get_type_hints(Fault)
    if not isinstance(value, dict) or not {"kind"} <= set(value) <= set(types):
        raise ValueError(f"a fault is an object with kind, and maybe others of {', '.join(types)}")
    for name, item in value.items():
        accepted = (int, float) if types[name] is float else (get_args(types[name]) or types[name])
        if not isinstance(item, accepted) or isinstance(item, bool) != (types[name] is bool):
            raise ValueError(f"{name} must be a {types[name].__name__}")
    return Fault(**value)


class FaultPlan:
    """Decides which requests meet a fault."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        self._faults: list[tuple[Fault, Counter[str]]] = []

    def add(self, fault: Fault) -> None:
        """Let a fault happen from now on."""
        self._faults.append((fault, Counter()))

    def clear(self) -> None:
        """No more faults."""
        self._faults.clear()

    def next(self, step: str) -> Fault | None:
        """The fault that a request at this step meets, if any: the first that is due."""
        due = None
        for fault, counts in self._faults:
            if fault.on not in ("any", step):
                continue
            # Also if another fault is due before this one: it counts requests, not its turns.
            counts["seen"] += 1
            turn = counts["seen"] - fault.after
            if (
                due is None
                and turn > 0
                and turn % fault.every == 0
                and (not fault.times or counts["done"] < fault.times)
            ):
                counts["done"] += 1
                self.done[fault.kind] += 1
                due = fault
        return due
