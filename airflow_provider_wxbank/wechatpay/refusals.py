# SPDX-License-Identifier: Apache-2.0
"""Error answers as values: what WeChat Pay says, and what is to be done about it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace

from airflow_provider_wxbank.wechatpay.calls import Answer, Call
from airflow_provider_wxbank.wechatpay.crypto.platform_keys import CERTIFICATES, USE_PUBLIC_KEY
from airflow_provider_wxbank.wechatpay.crypto.signing import Merchant
from airflow_provider_wxbank.wechatpay.crypto.verification import MAX_CLOCK_DIFFERENCE
from airflow_provider_wxbank.wechatpay.errors import Refusal, UnverifiedAnswer

NO_CERTIFICATES = ("RESOURCE_NOT_EXISTS", "NOT_ENOUGH")
"""Codes of ``/v3/certificates`` for a merchant that has none, or none in force (P/4012069411)."""

_SIGN_ERROR = "SIGN_ERROR"
"""The only code that WeChat Pay's 401 has (P/4012072670)."""

_NO_MESSAGE = "no message"

_PACKAGES = "/v3/marketing/bank/packages/"

_ON_PACKAGES = {
    400: "Correct the input; repeating it unchanged will not help",
    403: "Ask WeChat Pay for the permission (号码包开通需要申请权限), and check that the mchid may use it",
    404: "Check the package id, in the merchant platform, and the host",
}
"""What to do about WeChat Pay's refusal of a call for a package, by HTTP status."""

_CODE = re.compile(r"[A-Z]+(_[A-Z]+)+")

_OF_NO_CERTIFICATES = (*NO_CERTIFICATES, "NO_AUTH", "SYSTEM_ERROR")
"""Codes with which ``/v3/certificates`` answers a merchant that has only a public key."""

_ON_401 = {
    ("timestamp", "发起请求的时间"): "Compare this machine's clock with WeChat Pay's: at most 5 minutes are allowed",
    ("APIv3密钥",): "Set the APIv3 key in the merchant platform, under API security (API安全)",
    ("未申请",): "Apply for an API certificate in the merchant platform, under API security (API安全)",
    ("作废", "过期"): (
        "The API certificate {serial_no} was withdrawn or has expired: renew it in the merchant platform, and give the "
        "connection the new merchant_serial_no and merchant_private_key, both"
    ),
    ("更换",): (
        "The API certificate {serial_no} was replaced: give the connection the merchant_serial_no and the "
        "merchant_private_key of the current one, both"
    ),
    ("Authorization", "认证类型"): "Something between here and WeChat Pay alters the header Authorization",
    ("序列号", "serial"): "merchant_serial_no {serial_no} is not a certificate of merchant {mchid}",
    ("签名",): (
        "merchant_private_key is not the key of merchant_serial_no {serial_no}: merchant id, serial and private key, "
        "all three must belong to one API certificate"
    ),
    ("",): "Compare merchant id, merchant_serial_no and private key: all three must belong to one API certificate",
}
"""What to do about a refused signature, by words in its message, the most specific first (P/4012072670)."""


def read_refusal(
    call: Call, answer: Answer, unverified: UnverifiedAnswer | None = None, *, has_public_key: bool = False
) -> Refusal:
    """An error answer as a value. If it is not WeChat Pay's JSON, only the status is kept.

    :param unverified: why the answer cannot be trusted; None if its signature was verified.
    :param has_public_key: whether the connection has WeChat Pay's public key.
    """
    body = _json_object(answer.body)
    code, message = body.get("code"), body.get("message")
    detail = body.get("detail")
    # Each text is cut and put into one line: an answer that is not verified may hold anything.
    refusal = Refusal(
        answer.status,
        _one_line(code)[:64] if isinstance(code, str) else "",
        _one_line(message)[:500] if isinstance(message, str) else _NO_MESSAGE,
        _detail_line(detail) if isinstance(detail, dict) else "",
        answer.request_id,
        unverified is None,
        str(call),
        doubt="" if unverified is None else str(unverified),
    )
    return replace(refusal, hint=_hint(call, refusal, has_public_key))


def _hint(call: Call, refusal: Refusal, has_public_key: bool) -> str:
    """What to do, as far as it is known who answered: a gateway's refusal says nothing about keys and permissions."""
    has_none = refusal.status in (400, 403, 404, 500) and refusal.code in _OF_NO_CERTIFICATES
    if call.target.partition("?")[0] == CERTIFICATES and has_none and not has_public_key and is_of_wechat_pay(refusal):
        # Without a certificate at hand such an answer cannot be verified, so its shape has to do.
        return f"If WeChat Pay answers so, this merchant may have a public key only: then {USE_PUBLIC_KEY}"
    return _ON_PACKAGES.get(refusal.status, "") if refusal.verified and call.target.startswith(_PACKAGES) else ""


def check_status(answer: Answer) -> None:
    """Check that the status, which is not signed, fits the body: only errors have a code and a message.

    :raises UnverifiedAnswer: it does not fit; something on the way has changed it.
    """
    body = _json_object(answer.body)
    has_code = isinstance(body.get("code"), str) and isinstance(body.get("message"), str)
    is_success = 200 <= answer.status < 300
    # A success may have members of these names, too, but not these alone.
    if has_code and is_success and body.keys() <= {"code", "message", "detail"}:
        raise UnverifiedAnswer(f"its status {answer.status} says success, but what is signed is an error{_CHANGED}")
    if not has_code and not is_success:
        raise UnverifiedAnswer(f"its status {answer.status} says an error, but what is signed is none{_CHANGED}")


_CHANGED = "; something on the way has changed the status, which no signature covers"


def is_of_wechat_pay(refusal: Refusal) -> bool:
    """Whether an error answer has WeChat Pay's shape: a code such as ``PARAM_ERROR``, and a message (P/4012081709)."""
    return _CODE.fullmatch(refusal.code) is not None and refusal.message != _NO_MESSAGE


def is_sign_error(refusal: Refusal) -> bool:
    """Whether a 401 is WeChat Pay's, as far as can be told without a signature: its own has one code only."""
    return refusal.verified or (refusal.code == _SIGN_ERROR and is_of_wechat_pay(refusal))


def explained_401(refusal: Refusal, answer: Answer, message: bytes, merchant: Merchant, now: float) -> Refusal:
    """A refused signature with what to do about it, and with both signing strings without their bodies.

    :param message: the string that was signed here.
    :param now: unix seconds.
    """
    difference = answer.clock_difference(now)
    # A clock that is too far off explains a 401, whatever the message says.
    if difference is not None and abs(difference) > MAX_CLOCK_DIFFERENCE:
        hint = clock_hint(difference)
    else:
        told = refusal.message.lower()
        # One is always found: the last word is empty, and so in every message.
        text = next(text for words, text in _ON_401.items() if any(word.lower() in told for word in words))
        hint = text.format(serial_no=merchant.serial_no, mchid=merchant.mchid)
    ours, theirs = f"Signed here: {shown_message(message)}", _their_message(answer)
    evidence = f"{ours}; signed for WeChat Pay: {theirs}" if theirs else ours
    # The usual doubt, that a signature is missing, would mislead: a 401 never has one (P/4013053420).
    doubt = "WeChat Pay signs no 401; if all of this is right, a proxy or gateway may have answered"
    return replace(refusal, doubt=doubt, hint=hint, evidence=evidence)


def clock_hint(difference: float) -> str:
    """What to do about a wrong clock.

    :param difference: seconds; see :meth:`.Answer.clock_difference`.
    """
    return f"This machine's clock differs by {difference:.0f} s from WeChat Pay's: set it right"


def shown_message(message: bytes) -> str:
    """A signing string as an error shows it: its first four lines, and only the length of the body."""
    # A body is input, which may be personal.
    *lines, body = message.split(b"\n", 4)
    return repr(b"\n".join(lines).decode("utf-8", "replace")) + f" and a body of {max(len(body) - 1, 0)} bytes"


def _their_message(answer: Answer) -> str:
    # Nobody has signed this answer, so every type and length in it is checked.
    detail = _json_object(answer.body).get("detail")
    information = detail.get("sign_information") if isinstance(detail, dict) else None
    if not isinstance(information, dict):
        return ""
    text = information.get("truncated_sign_message")
    if not isinstance(text, str):
        return ""
    lines = "\n".join(text.split("\n")[:4])[:1000]
    length = information.get("sign_message_length")
    return f"{lines!r}" + (f", {length} bytes in all" if isinstance(length, int) and length < 10**9 else "")


def _detail_line(detail: Mapping[str, object]) -> str:
    """Field, location and issue. ``value`` is left out: it is input, which may be personal."""
    # A SIGN_ERROR has its issue in a detail of its own, inside this one.
    inner = detail.get("detail")
    parts = {**(inner if isinstance(inner, dict) else {}), **detail}
    return ", ".join(
        f"{name}: {_one_line(str(parts[name]))}"[:200]
        for name in ("field", "location", "issue")
        if isinstance(parts.get(name), str) and parts[name]
    )


def _one_line(text: str) -> str:
    """A text from outside, made printable: it cannot forge a line of a log, and every log can take it."""
    return "".join(character if character.isprintable() else " " for character in text)


def _json_object(body: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):  # the latter for endless opening brackets
        return {}
    return value if isinstance(value, dict) else {}
