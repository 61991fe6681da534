"""What WeChat Pay refuses: every check of a request, and the refusal that it answers.

Written from the protocol alone and without the client's code, so that a mistake there is not made here, too.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

NONCE_SECONDS = 600.0
CLOCK_SECONDS = 300.0
MAX_FILE_BYTES = 2_000_000
MAX_FILE_ROWS = 5500
MAX_NUMBER_BYTES = 214

_ITEM = re.compile(r'(\w+)="([^"]*)"')


class Refusal(Exception):
    """An error answer.

    :param signed: WeChat Pay signs errors, too, but not those to a request whose signature is wrong (P/4013053420).
    """

    def __init__(
        self, status: int, code: str, message: str, detail: Mapping[str, object] | None = None, *, signed: bool = True
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail
        self.signed = signed


def param_error(message: str, field: str = "", location: str = "body") -> Refusal:
    """400 PARAM_ERROR, the nearest documented relative of what these endpoints answer (P/4012557248)."""
    return Refusal(400, "PARAM_ERROR", message, {"field": field, "issue": message, "location": location})


@dataclass(frozen=True, slots=True)
class Authorized:
    """The merchant whose requests are accepted."""

    mchid: str
    serial_no: str
    public_key: RSAPublicKey


class Authorizations:
    """Checks signatures, the clock and that no nonce comes twice.

    :param clock: unix seconds.
    """

    def __init__(self, merchant: Authorized, clock: Callable[[], float]) -> None:
        self._merchant = merchant
        self._clock = clock
        self._nonces: dict[str, float] = {}

    def check(self, header: str, method: str, url: str, signed_body: bytes) -> None:
        """:raises Refusal: 401 SIGN_ERROR."""
        scheme, _, rest = header.partition(" ")
        if scheme != "WECHATPAY2-SHA256-RSA2048":
            raise _sign_error("Http头Authorization认证类型不正确")
        found = _ITEM.findall(rest)
        items = dict(found)
        expected = {"mchid", "nonce_str", "signature", "timestamp", "serial_no"}
        if ",".join(f'{name}="{value}"' for name, value in found) != rest or len(found) != 5 or set(items) != expected:
            raise _sign_error("Http头Authorization值格式错误，请参考《微信支付商户REST API签名规则》")
        if items["mchid"] != self._merchant.mchid:
            raise _sign_error("商户号mchid不存在")
        if items["serial_no"] != self._merchant.serial_no:
            raise _sign_error("商户证书序列号有误。请使用签名私钥匹配的证书序列号")
        now = self._clock()
        if not re.fullmatch(r"[0-9]{1,12}", items["timestamp"]) or abs(int(items["timestamp"]) - now) > CLOCK_SECONDS:
            raise _sign_error("Http头Authorization中的timestamp与发起请求的时间不得超过5分钟")
        if not 1 <= len(items["nonce_str"]) <= 128:
            raise _sign_error("Http头Authorization中的nonce_str长度错误")
        message = f"{method}\n{url}\n{items['timestamp']}\n{items['nonce_str']}\n".encode() + signed_body + b"\n"
        try:
            self._merchant.public_key.verify(
                b64decode(items["signature"], validate=True), message, PKCS1v15(), SHA256()
            )
        except (InvalidSignature, binascii.Error, ValueError):
            raise _sign_error("错误的签名，导致验签失败", message, method, url) from None
        self._nonces = {nonce: seen for nonce, seen in self._nonces.items() if now - seen < NONCE_SECONDS}
        if items["nonce_str"] in self._nonces:
            raise _sign_error("Http头Authorization中的nonce_str重复")
        self._nonces[items["nonce_str"]] = now


def _sign_error(message: str, signed: bytes = b"", method: str = "", url: str = "") -> Refusal:
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
    return Refusal(401, "SIGN_ERROR", message, detail, signed=False)


@dataclass(frozen=True, slots=True)
class Meta:
    """The ``meta`` part of an upload."""

    filename: str
    sha256: str
    bank_type: str


def check_meta(raw: bytes) -> Meta:
    """:raises Refusal: not a JSON object with exactly filename, sha256 and bank_type, each of its shape."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or set(value) != {"filename", "sha256", "bank_type"}:
        raise param_error("meta格式错误", "/meta")
    for name, shape in (
        ("filename", r"[A-Za-z0-9_.-]{4,128}"),
        ("sha256", r"[0-9a-fA-F]{64}"),
        ("bank_type", r"(?=.{1,32}$)[A-Z0-9]+(_[A-Z]+)?"),
    ):
        if not isinstance(value[name], str) or not re.fullmatch(shape, value[name]):
            raise param_error(f"输入源“/body/{name}”映射到值字段“{name}”字符串规则校验失败", f"/{name}")
    return Meta(value["filename"], value["sha256"].lower(), value["bank_type"])


def check_file(meta: Meta, part_name: str | None, content: bytes) -> Sequence[bytes]:
    """The lines of an agreement file.

    :raises Refusal: sha256, size, rows or text are not as documented (chapter9_8_1).
    """
    if part_name is not None and part_name != meta.filename:
        raise param_error("file的filename与meta不一致", "/file")
    if not content:
        raise param_error("文件为空", "/file")
    if len(content) > MAX_FILE_BYTES:
        raise param_error("文件大小不能超过2MB", "/file")
    if hashlib.sha256(content).hexdigest() != meta.sha256:
        raise param_error("文件sha256校验失败", "/sha256")
    if content.startswith(b"\xef\xbb\xbf") or b"\r" in content or not content.isascii():
        raise param_error("文件格式错误", "/file")
    lines = content.removesuffix(b"\n").split(b"\n")
    if len(lines) > MAX_FILE_ROWS:
        raise param_error("单个文件最多支持上传5500条", "/file")
    if not all(lines):
        raise param_error("文件中有空行", "/file")
    return lines


def decrypt(key: RSAPrivateKey, line: bytes) -> bytes | None:
    """The number in a line, or None if the line does not decrypt to one."""
    try:
        block = b64decode(line, validate=True)
        number = key.decrypt(block, OAEP(MGF1(SHA1()), SHA1(), None))  # noqa: S303  # the protocol's
        number.decode()
    except ValueError:
        return None
    return number if 0 < len(number) <= MAX_NUMBER_BYTES else None


def check_query(pairs: Sequence[tuple[str, str]]) -> tuple[str | None, str | None, int, int]:
    """Filename, status, offset and limit of a list request.

    :raises Refusal: an unknown or repeated name, or a value out of bounds.
    """
    query = dict(pairs)
    if len(query) != len(pairs) or not set(query) <= {"filename", "status", "offset", "limit"}:
        raise param_error("请求参数错误", location="query")
    filename, status = query.get("filename"), query.get("status")
    if filename is not None and not re.fullmatch(r"[A-Za-z0-9_.-]{4,128}", filename):
        raise param_error("filename错误", "filename", "query")
    if status not in (None, "PROCESSING", "FINISHED"):
        raise param_error("status错误", "status", "query")
    numbers = {}
    for name, default in (("offset", "0"), ("limit", "20")):
        text = query.get(name, default)
        if not re.fullmatch(r"[0-9]{1,9}", text):
            raise param_error(f"{name}错误", name, "query")
        numbers[name] = int(text)
    if not 1 <= numbers["limit"] <= 20:
        raise param_error("单次最多查询20条记录", "limit", "query")
    return filename, status, numbers["offset"], numbers["limit"]
