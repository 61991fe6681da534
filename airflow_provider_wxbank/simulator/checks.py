# SPDX-License-Identifier: Apache-2.0
"""What WeChat Pay refuses: the checks of a request, and the refusals that they end in.

They are written from the protocol alone, without the client's code, so that a mistake there is not repeated here.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from airflow_provider_wxbank.simulator.multipart import MAX_FILE_BYTES
from airflow_provider_wxbank.simulator.refusals import Refusal, Text, param_error
from airflow_provider_wxbank.simulator.suites import Suite

NONCE_SECONDS = 600.0
CLOCK_SECONDS = 300.0
MAX_FILE_ROWS = 5500

_ITEM = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Authorized:
    """The merchant whose requests are accepted.

    :param scheme: of its Authorization.
    :param verify: whether a signature over a message is the merchant's.
    """

    mchid: str
    serial_no: str
    scheme: str
    verify: Callable[[bytes, bytes], bool]


class Authorizations:
    """Checks signatures and the clock.

    :param clock: unix seconds.
    :param refuse_repeated_nonces: whether a nonce that came before is refused.
    """

    def __init__(
        self, merchant: Authorized, clock: Callable[[], float], *, refuse_repeated_nonces: bool = False
    ) -> None:
        self._merchant = merchant
        self._clock = clock
        self._refuse_repeated_nonces = refuse_repeated_nonces
        self._nonces: dict[str, float] = {}

    def check(self, header: str, method: str, url: str, signed_body: bytes | None) -> None:
        """Check an Authorization.

        :param signed_body: the signed part of the body; None if that cannot be told, so that no signature can be wrong.
        :raises Refusal: 401 SIGN_ERROR.
        """
        scheme, _, rest = header.partition(" ")
        if scheme != self._merchant.scheme:
            raise _sign_error(
                Text(
                    "Http头Authorization认证类型不正确",
                    f"the Authorization has another scheme than {self._merchant.scheme}",
                )
            )
        found = _ITEM.findall(rest)
        items = dict(found)
        expected = {"mchid", "nonce_str", "signature", "timestamp", "serial_no"}
        if ",".join(f'{name}="{value}"' for name, value in found) != rest or len(found) != 5 or set(items) != expected:
            raise _sign_error(
                Text(
                    "Http头Authorization值格式错误，请参考《微信支付商户REST API签名规则》",
                    "the Authorization is written wrongly, see the signing rules of WeChat Pay's REST API",
                )
            )
        if items["mchid"] != self._merchant.mchid:
            raise _sign_error(Text("商户号mchid不存在", "there is no such mchid"))
        if items["serial_no"] != self._merchant.serial_no:
            raise _sign_error(
                Text(
                    "商户证书序列号有误。请使用签名私钥匹配的证书序列号",
                    "wrong serial_no of the merchant certificate: it must be that of the key that signs",
                )
            )
        now = self._clock()
        if not re.fullmatch(r"[0-9]{1,12}", items["timestamp"]) or abs(int(items["timestamp"]) - now) > CLOCK_SECONDS:
            raise _sign_error(
                Text(
                    "Http头Authorization中的timestamp与发起请求的时间不得超过5分钟",
                    "the timestamp of the Authorization must be within 5 minutes of the time of the request",
                )
            )
        if not 1 <= len(items["nonce_str"]) <= 128:
            raise _sign_error(
                Text(
                    "Http头Authorization中的nonce_str长度错误",
                    "the nonce_str of the Authorization is too short or too long",
                )
            )
        if signed_body is not None:
            self._check_signature(items, method, url, signed_body)
        if self._refuse_repeated_nonces:
            self._check_nonce(items["nonce_str"], now)

    def _check_signature(self, items: Mapping[str, str], method: str, url: str, signed_body: bytes) -> None:
        message = f"{method}\n{url}\n{items['timestamp']}\n{items['nonce_str']}\n".encode() + signed_body + b"\n"
        try:
            is_right = self._merchant.verify(message, b64decode(items["signature"], validate=True))
        except ValueError:  # what is not Base64
            is_right = False
        if not is_right:
            text = Text("错误的签名，导致验签失败", "the signature is wrong")
            raise _sign_error(text, message, method, url)

    def _check_nonce(self, nonce_str: str, now: float) -> None:
        self._nonces = {nonce: seen for nonce, seen in self._nonces.items() if now - seen < NONCE_SECONDS}
        if nonce_str in self._nonces:
            raise _sign_error(
                Text("Http头Authorization中的nonce_str重复", "the nonce_str of the Authorization came before")
            )
        self._nonces[nonce_str] = now


def _sign_error(text: Text, signed: bytes = b"", method: str = "", url: str = "") -> Refusal:
    detail: dict[str, object] = {
        "detail": {"issue": "sign not match"},
        "field": "signature",
        "location": "authorization",
    }
    if signed:
        detail["sign_information"] = {
            "method": method,
            "url": url,
            "sign_message_length": len(signed),
            "truncated_sign_message": signed[:200].decode("utf-8", "replace"),
        }
    return Refusal(401, "SIGN_ERROR", text, detail, signed=False)


@dataclass(frozen=True, slots=True)
class Meta:
    """The ``meta`` part of an upload."""

    filename: str
    sha256: str
    bank_type: str


_SHAPES = {
    "filename": r"[A-Za-z0-9_.-]{4,128}",
    "sha256": r"[0-9a-fA-F]{64}",
    "bank_type": r"(?=.{1,32}$)[A-Z0-9]+(_[A-Z]+)?",
}


def check_meta(raw: bytes, part_filename: str | None = None) -> Meta:
    """What an upload says about its file. Unknown members are ignored.

    :param part_filename: the name that the file itself came with; it counts where ``meta`` has none.
    :raises Refusal: it is not a JSON object with sha256, bank_type and perhaps filename, each of its shape.
    """
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise param_error(Text("meta格式错误", "meta is not a JSON object"), "/meta")
    if part_filename is not None:
        value.setdefault("filename", part_filename)
    for name, shape in _SHAPES.items():
        if name not in value:
            text = Text(
                f"输入源“/body/{name}”映射到字段“{name}”必填性规则校验失败，此字段为必填项",
                f"meta has no {name}, which is required",
            )
            raise param_error(text, f"/{name}")
        if not isinstance(value[name], str) or not re.fullmatch(shape, value[name]):
            text = Text(
                f"输入源“/body/{name}”映射到值字段“{name}”字符串规则校验失败",
                f"{name} of meta does not have its shape: {shape}",
            )
            raise param_error(text, f"/{name}", value[name])
    return Meta(value["filename"], value["sha256"].lower(), value["bank_type"])


def check_file(meta: Meta, part_name: str | None, content: bytes) -> Sequence[bytes]:
    """The lines of an agreement file.

    :raises Refusal: the sha256, the size, the rows or the text are not as documented (chapter9_8_1).
    """
    if part_name is not None and part_name != meta.filename:
        text = Text("file的filename与meta不一致", "the filename of the file is not that of meta")
        raise param_error(text, "/filename", part_name)
    if not content:
        raise param_error(Text("文件为空", "the file is empty"), "/file")
    if len(content) > MAX_FILE_BYTES:
        raise param_error(Text("文件大小不能超过2MB", "the file is larger than 2 MB"), "/file")
    if hashlib.sha256(content).hexdigest() != meta.sha256:
        raise param_error(Text("文件sha256校验失败", "sha256 is not that of the file"), "/sha256", meta.sha256)
    if content.startswith(b"\xef\xbb\xbf") or b"\r" in content or not content.isascii():
        raise param_error(
            Text("文件格式错误", "the file is not text with one encrypted number a line and a line feed after each"),
            "/file",
        )
    lines = content.removesuffix(b"\n").split(b"\n")
    if len(lines) > MAX_FILE_ROWS:
        raise param_error(Text("单个文件最多支持上传5500条", "the file has more than 5,500 lines"), "/file", len(lines))
    if not all(lines):
        raise param_error(Text("文件中有空行", "the file has a blank line"), "/file")
    return lines


def check_algorithm_type(wanted: str | None, suite: Suite) -> None:
    """:raises Refusal: a download of certificates asks for another suite than the merchant's."""
    if (wanted or "RSA") != suite.algorithm_type:
        text = Text("algorithm_type错误", f"this merchant's certificates are those of {suite.algorithm_type}")
        raise param_error(text, "algorithm_type", wanted, "query")


_QUERY_SHAPES = {
    "filename": _SHAPES["filename"],
    "status": "PROCESSING|FINISHED",
    "offset": "[0-9]{1,9}",
    "limit": "[0-9]{1,9}",
}


def check_query(pairs: Sequence[tuple[str, str]]) -> tuple[str | None, str | None, int, int]:
    """Filename, status, offset and limit of a list request.

    :raises Refusal: an unknown or repeated name, or a value out of bounds.
    """
    query: dict[str, str] = {}
    for name, value in pairs:
        if name not in ("filename", "status", "offset", "limit"):
            raise param_error(Text("请求参数错误", "there is no such parameter"), name, location="query")
        if name in query:
            raise param_error(Text("请求参数重复", "the parameter is there twice"), name, value, "query")
        query[name] = value
    for name, shape in _QUERY_SHAPES.items():
        if name in query and not re.fullmatch(shape, query[name]):
            text = Text(f"{name}错误", f"{name} does not have its shape: {shape}")
            raise param_error(text, name, query[name], "query")
    limit = int(query.get("limit", 20))
    if not 1 <= limit <= 20:
        text = Text("单次最多查询20条记录", "limit must be from 1 to 20")
        raise param_error(text, "limit", limit, "query")
    return query.get("filename"), query.get("status"), int(query.get("offset", 0)), limit
