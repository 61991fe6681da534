"""Error answers as values: what WeChat Pay says, and what is to be done about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from airflow_provider_wxbank.wechatpay.errors import Refusal
from airflow_provider_wxbank.wechatpay.signing import Merchant
from airflow_provider_wxbank.wechatpay.transport import Answer, Call
from airflow_provider_wxbank.wechatpay.verification import MAX_CLOCK_DIFFERENCE

_ADVICE = {
    301: "Redirects are not followed: check the host",
    302: "Redirects are not followed: check the host",
    307: "Redirects are not followed: check the host",
    308: "Redirects are not followed: check the host",
    400: "Correct the input; repeating it unchanged will not help",
    403: "Ask WeChat Pay for the permission (号码包开通需要申请权限), and check that the mchid may use it",
    404: "Check the package id, in the merchant platform, and the host",
}
"""What to do, by HTTP status."""


def read_refusal(call: Call, answer: Answer, *, verified: bool) -> Refusal:
    """An error answer as a value; one that is not WeChat Pay's JSON keeps its status only.

    :param verified: whether the answer's signature was verified.
    """
    body = _json_object(answer.body)
    code, message = body.get("code"), body.get("message")
    detail = body.get("detail")
    return Refusal(
        answer.status,
        _one_line(code)[:64] if isinstance(code, str) else "",
        _one_line(message)[:500] if isinstance(message, str) else "no message",
        _detail_line(detail) if isinstance(detail, dict) else "",
        answer.request_id,
        verified,
        str(call),
        _ADVICE.get(answer.status, ""),
    )


def explained_401(refusal: Refusal, answer: Answer, merchant: Merchant, now: float) -> Refusal:
    """A refused signature, with what to do about it; and both signing strings, bodies left out.

    :param now: unix seconds.
    """
    difference = answer.clock_difference(now)
    message = refusal.message.lower()
    if difference is not None and abs(difference) > MAX_CLOCK_DIFFERENCE:
        hint = clock_hint(difference)
    elif "序列号" in message or "serial" in message:
        hint = f"merchant_serial_no {merchant.serial_no} is not a certificate of merchant {merchant.mchid}"
    elif "timestamp" in message or "时间" in message:
        hint = "Compare this machine's clock with WeChat Pay's: more than 5 minutes apart are refused"
    elif "签名" in message:
        hint = (
            f"merchant_private_key is not the key of merchant_serial_no {merchant.serial_no}: merchant id, serial "
            "and private key, all three must belong to one API certificate"
        )
    else:
        hint = "Compare merchant id, merchant_serial_no and private key: all three must belong to one API certificate"
    ours, theirs = f"Signed here: {shown_message(answer.signed_message)}", _their_message(answer)
    return replace(refusal, hint=hint, evidence=f"{ours}; signed for WeChat Pay: {theirs}" if theirs else ours)


def clock_hint(difference: float) -> str:
    """What to do about a wrong clock.

    :param difference: seconds; see :meth:`.Answer.clock_difference`.
    """
    return f"This machine's clock differs by {difference:.0f} s from WeChat Pay's: set it right"


def shown_message(message: bytes) -> str:
    """A string to sign for an error message: its first four lines, and the body's length only."""
    *lines, body = message.split(b"\n", 4)
    return repr(b"\n".join(lines).decode("utf-8", "replace")) + f" and a body of {max(len(body) - 1, 0)} bytes"


def _their_message(answer: Answer) -> str:
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
    inner = detail.get("detail")
    parts = {**(inner if isinstance(inner, dict) else {}), **detail}
    return ", ".join(
        f"{name}: {_one_line(str(parts[name]))}"[:200]
        for name in ("field", "location", "issue")
        if isinstance(parts.get(name), str) and parts[name]
    )


def _one_line(text: str) -> str:
    """A text from outside that can forge no line of a log, and that every log can take."""
    return "".join(character if character.isprintable() else " " for character in text)


def _json_object(body: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
