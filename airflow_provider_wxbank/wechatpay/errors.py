# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, by what the caller can do about it.

================================ ==========================================================
class                            the caller can
================================ ==========================================================
:class:`InvalidInput`            correct the input; nothing was sent
:class:`WrongReceipt`            find the receipt as it was written, or who altered it
:class:`InvalidCredentials`      correct the connection: keys, serial numbers, clock
:class:`Refused`                 correct what WeChat Pay names, or ask WeChat Pay
:class:`TryLater`                run it again later; nothing has to be changed
:class:`WaitFailed`              see which numbers did not match, or correct what the message names
:class:`UnverifiedAnswer`        run it again; if it persists, see what alters the answers
================================ ==========================================================
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import Literal

AGAIN = ". Run it again later"
"""The advice at the end of errors that may pass."""


class WxBankError(Exception):
    """Anything that this package raises on purpose. Messages never carry an agreement number or a secret."""


class InvalidInput(WxBankError, ValueError):
    """The input is wrong: correct it. Raised before anything is sent."""


ReceiptProblem = Literal["altered", "other_receipt", "other_merchant", "sums", "differs_now"]


class WrongReceipt(InvalidInput):
    """A receipt was altered, is not whole, or says something else than WeChat Pay says now.

    :ivar kind: ``altered`` if it is not as it was written, or was sealed with another secret; ``other_receipt`` if it
        has not the identity that was asked for; ``other_merchant``; ``sums`` if its sums do not agree; ``differs_now``
        if WeChat Pay says something else today.
    """

    def __init__(self, message: str, kind: ReceiptProblem = "altered") -> None:
        super().__init__(message)
        self.kind = kind


class InvalidCredentials(WxBankError):
    """The connection is wrong: correct its keys, its serial numbers or the clock of this machine."""


class TryLater(WxBankError):
    """WeChat Pay cannot serve the call now, or was not reached; the same call can succeed later."""


class NotReached(TryLater):
    """There was no connection to WeChat Pay, so the call was not sent."""


class RateLimited(TryLater):
    """HTTP 429 in a signed answer, even after backing off. The call was not taken."""


class QuotaReached(TryLater):
    """The merchant's daily number of files is used up. Uploads are taken again from midnight, Asia/Shanghai."""


class OutcomeUnknown(TryLater):
    """An upload was sent, and it is not known whether it was taken. Running it again settles that."""


class WaitFailed(WxBankError):
    """Upload tasks cannot be waited for, or ended with too many numbers that did not match."""


class UnverifiedAnswer(WxBankError):
    """An answer's signature does not verify, or the answer does not fit the question, so it is not trusted."""


class UnknownSerial(UnverifiedAnswer):
    """An answer names a platform key that this connection does not have."""


class WrongSignature(UnverifiedAnswer):
    """An answer's signature was not made by the platform key that it names, or not over this answer."""


class Replayed(UnverifiedAnswer):
    """An answer has the nonce of an earlier one: something repeats WeChat Pay's answers."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error answer of WeChat Pay (P/4012081709).

    :param status: HTTP status.
    :param code: WeChat Pay's code, for example ``PARAM_ERROR``; empty when the answer was not WeChat Pay's JSON.
    :param message: WeChat Pay's text.
    :param detail: field, location and issue, already as one line; empty when there was none.
    :param request_id: the answer's ``Request-ID``, which WeChat Pay's support asks for.
    :param verified: whether the answer's signature was verified.
    :param hint: what to do.
    :param evidence: what support asks for.
    :param doubt: why the answer is not trusted, if it was not verified.
    """

    status: int
    code: str
    message: str
    detail: str = ""
    request_id: str = ""
    verified: bool = False
    call: str = ""
    hint: str = field(default="", repr=False)
    evidence: str = field(default="", repr=False)
    doubt: str = field(default="the answer is unsigned; a proxy or gateway may have answered", repr=False)

    def __str__(self) -> str:
        answer = f"{self.status} {self.code}".rstrip()
        # Only a signed answer shows who answered.
        told = f"WeChat Pay answered {answer} to {self.call}" if self.verified else f"{self.call} was answered {answer}"
        detail = f" ({self.detail})" if self.detail else ""
        doubt = "" if self.verified else self.doubt[:1].upper() + self.doubt[1:]
        rest = "".join(f". {text}" for text in (doubt, self.hint, self.evidence) if text)
        return f"{told}: {self.message}{detail} [Request-ID {self.request_id or 'none'}]{rest}"


class UnsignedRefusal(TryLater):
    """An error answer (4xx) that cannot be verified: a proxy or gateway may have given it, so it may pass.

    :ivar refusal: as in :class:`Refused`; ``doubt`` says why it is not trusted.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal}{AGAIN}")
        self.refusal = refusal

    def __reduce__(self) -> tuple[type[UnsignedRefusal], tuple[Refusal]]:
        # By default pickle and copy would give the message to __init__, which takes the refusal.
        return type(self), (self.refusal,)


class Refused(WxBankError):
    """WeChat Pay refused the call (4xx), in a signed answer: repeating it unchanged will not help.

    :ivar refusal: status, code, message, detail and Request-ID.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal

    def __reduce__(self) -> tuple[type[Refused], tuple[Refusal]]:
        # As for UnsignedRefusal.
        return type(self), (self.refusal,)


class Unauthorized(Refused, InvalidCredentials):
    """HTTP 401: WeChat Pay does not accept the signature.

    This is the one refusal that WeChat Pay cannot sign. One that looks like its own comes with advice, but may still
    be a gateway's, and pass.
    """


def without_advice(failure: BaseException) -> str:
    """What went wrong, where whoever reads it need not do anything, since it is tried again anyway."""
    return str(failure).replace(AGAIN, "")


def for_another(failure: WxBankError) -> WxBankError:
    """The same failure for another caller, who must never be given the same object.

    An exception has the frames of all who have met it, and keeps them: those of others, too, who may still run.
    """
    other = copy(failure)
    if hasattr(failure, "__notes__"):
        other.__notes__ = [*failure.__notes__]
    if isinstance(failure.__cause__, WxBankError):
        other.__cause__ = for_another(failure.__cause__)
    return other


def is_lasting(failure: BaseException) -> bool:
    """Whether the same task would fail in this way again, however often it is run."""
    # WeChat Pay cannot sign a 401, so it may be a proxy's, and pass.
    lasting = InvalidInput | InvalidCredentials | Refused | WaitFailed
    return isinstance(failure, lasting) and not isinstance(failure, Unauthorized)
