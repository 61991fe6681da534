"""The simulator's endpoints: a request is checked, committed, answered, and spoiled if a fault is due."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request

from airflow_provider_wxbank.simulator.checks import (
    Authorizations,
    Refusal,
    check_file,
    check_meta,
    check_query,
    param_error,
)
from airflow_provider_wxbank.simulator.faults import BEFORE_ANSWER, Fault, FaultPlan, faults_from_json
from airflow_provider_wxbank.simulator.ledger import Ledger, Task, digests_of
from airflow_provider_wxbank.simulator.platform import Platform, SigningKey, signed_headers
from airflow_provider_wxbank.simulator.settings import SimulatorSettings
from airflow_provider_wxbank.simulator.spoiling import Reply, Wire, send_spoiled

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY = 8_000_000
CHUNK_LINES = 500
SAMPLE_LINES = 20

_TASKS = ["v3", "marketing", "bank", "packages"]


@dataclass(slots=True)
class App:
    """The ASGI application of one simulator."""

    settings: SimulatorSettings
    platform: Platform
    ledger: Ledger
    faults: FaultPlan
    authorizations: Authorizations
    pool: ThreadPoolExecutor
    wire: Wire = field(default_factory=Wire)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        if request.url.path.startswith("/simulator/"):
            await self._serve_side(request, send)
            return
        step = _step(request)
        self.ledger.requests[step] += 1
        fault = self.faults.next(step)
        try:
            body = await _read_body(request)
        except ClientDisconnect:
            # Who sent it is gone, and what came of it is not a request.
            return
        if self.settings.latency_seconds:
            await asyncio.sleep(self.settings.latency_seconds)
        if fault is None or fault.commit or fault.kind not in BEFORE_ANSWER:
            reply = await self._reply(request, step, body, fault)
        else:
            reply = Reply(200)
        await send_spoiled(reply, fault, self.wire, scope, receive, send, self.platform)

    async def _serve_side(self, request: Request, send: Send) -> None:
        """What only the simulator has, without signatures: the report and the faults."""
        status, value = 404, dict[str, Any](error="there is /simulator/report, /simulator/faults, /simulator/rotate")
        match request.method, request.url.path:
            case "GET", "/simulator/report":
                status, value = 200, await asyncio.get_running_loop().run_in_executor(None, self.report)
            case "POST", "/simulator/faults":
                try:
                    faults = faults_from_json(json.loads(await _read_body(request)))
                except (ValueError, RecursionError) as failure:
                    status, value = 400, {"error": str(failure)}
                else:
                    self.faults.clear()
                    for fault in faults:
                        self.faults.add(fault)
                    status, value = 200, {"faults": len(faults)}
            case "DELETE", "/simulator/faults":
                self.faults.clear()
                status, value = 200, {"faults": 0}
            case "POST", "/simulator/rotate":
                status, value = 200, {"serial_no": self.platform.rotate()}
        reply = Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})
        await reply.send(send)

    def report(self) -> dict[str, Any]:
        """See :meth:`Ledger.report`."""
        return self.ledger.report(self.faults.done, _decrypt_rest)

    async def _reply(self, request: Request, step: str, body: bytes, fault: Fault | None) -> Reply:
        """The answer of a faultless WeChat Pay, signed; a fault may choose who signs it, and when."""
        kind = fault.kind if fault else ""
        signer = self.platform.answering(request.headers.get("Wechatpay-Serial"))
        timestamp = self.settings.clock() - (600 if kind == "stale" else 0)
        headers = {"Content-Type": "application/json; charset=utf-8"}
        try:
            value, key = await self._handle(request, step, body, kind)
        except Refusal as refusal:
            self.ledger.refused[refusal.code] += 1
            error: dict[str, Any] = {"code": refusal.code, "message": refusal.message}
            if refusal.detail is not None:
                error["detail"] = refusal.detail
            content = _json(error)
            if refusal.signed and kind != "unsigned":
                headers.update(signed_headers(signer, content, timestamp))
            return Reply(refusal.status, content, headers)
        content = b"[" * 1_000_000 if kind == "json-bomb" else value if isinstance(value, bytes) else _json(value)
        if kind in ("unknown-serial", "lying-certificates"):
            key = self.platform.stranger()
        if kind != "unsigned":
            headers.update(signed_headers(key or signer, content, timestamp))
        return Reply(200, content, headers)

    async def _handle(
        self, request: Request, step: str, body: bytes, kind: str
    ) -> tuple[bytes | Mapping[str, Any], SigningKey | None]:
        """The content of the answer, and who signs it if that is not chosen by the request.

        :raises Refusal: an error answer.
        """
        parts = await _parts(request, body) if step == "upload" else []
        signed_body = next((part.content for part in parts if part.name == "meta"), body)
        self.authorizations.check(
            request.headers.get("Authorization", ""), request.method, _url_on_the_wire(request), signed_body
        )
        for name in ("User-Agent", "Accept"):
            if not request.headers.get(name):
                raise Refusal(400, "INVALID_REQUEST", f"Http头缺少{name}")
        package_id = _package_id(request)
        if step == "certificates" and request.method == "GET":
            return self._certificates(kind)
        if package_id is None and step != "certificates":
            raise Refusal(404, "RESOURCE_NOT_EXISTS", "接口不存在")
        if request.method not in ("GET", "POST") or package_id is None:
            raise Refusal(405, "METHOD_NOT_ALLOWED", "不支持的请求方法")
        self.ledger.check_package(package_id)
        if step == "upload":
            self.ledger.uploads_under_way += 1
            self.ledger.max_concurrent_uploads = max(self.ledger.max_concurrent_uploads, self.ledger.uploads_under_way)
            try:
                return await self._upload(request, package_id, parts), None
            finally:
                self.ledger.uploads_under_way -= 1
        if kind == "changing-page":
            self._add_foreign_task(package_id)
        return self._list(request, package_id), None

    def _certificates(self, kind: str) -> tuple[bytes, SigningKey]:
        if self.platform.mode == "public-key":
            raise Refusal(
                404,
                "RESOURCE_NOT_EXISTS",
                "无可用的平台证书，请在商户平台-API安全申请使用微信支付公钥。可查看指引",
            )
        return self.platform.certificate_list(
            wrong_apiv3_key=kind == "wrong-apiv3-key", expired_only=kind == "expired-certificate"
        )

    async def _upload(self, request: Request, package_id: str, parts: Sequence[Part]) -> Mapping[str, Any]:
        serial_no = request.headers.get("Wechatpay-Serial")
        if not serial_no:
            raise param_error("HTTP header缺少微信支付平台证书序列号(Wechatpay-Serial)", location="header")
        key = self.platform.declared(serial_no)
        if key is None:
            raise param_error("平台证书序列号Wechatpay-Serial错误", location="header")
        if [part.name for part in parts] != ["file", "meta"]:
            raise param_error("multipart必须恰好包含meta和file")
        file, raw_meta = parts
        meta = check_meta(raw_meta.content)
        content = file.content
        self.ledger.whole_bodies[meta.filename] += 1
        self.ledger.check_new(package_id, meta.filename)
        lines = check_file(meta, file.filename, content)
        chosen = _chosen(lines, self.settings.check)
        digests = await self._digests(key, chosen)
        if None in digests:
            raise param_error("平台私钥解密失败", "/file")
        # Another upload of this name may have come in while the lines were decrypted.
        self.ledger.check_new(package_id, meta.filename)
        task = self.ledger.add(package_id, meta, len(lines), len(content), serial_no)
        if len(chosen) == len(lines):
            task.digests = [one for one in digests if one is not None]
        else:
            task.undecrypted = key.private_key, lines
        return self.ledger.as_json(task, "seconds")

    async def _digests(self, key: SigningKey, lines: Sequence[bytes]) -> list[bytes | None]:
        loop = asyncio.get_running_loop()
        chunks = [lines[start : start + CHUNK_LINES] for start in range(0, len(lines), CHUNK_LINES)]
        parts = await asyncio.gather(
            *(loop.run_in_executor(self.pool, digests_of, key.private_key, chunk) for chunk in chunks)
        )
        return [digest for part in parts for digest in part]

    def _list(self, request: Request, package_id: str) -> Mapping[str, Any]:
        filename, status, offset, limit = check_query(parse_qsl(request.url.query, keep_blank_values=True))
        tasks = self.ledger.listed(package_id, filename, status)
        page = self.ledger.page(tasks, offset, limit)
        return {
            "data": [self.ledger.as_json(task, "milliseconds") for task in page],
            "total_count": len(tasks),
            "offset": offset,
            "limit": limit,
        }

    def _add_foreign_task(self, package_id: str) -> None:
        """A task of somebody else, in front of all that are listed."""
        meta = check_meta(
            _json({"filename": f"foreign-{secrets.token_hex(8)}.csv", "sha256": "0" * 64, "bank_type": "OTHERS"})
        )
        before = self.ledger.packages.get(package_id, {})
        if not self.settings.newest_first:
            self.ledger.packages[package_id] = {}
        self.ledger.add(package_id, meta, 1, 345, "").undecryptable = 1
        self.ledger.packages[package_id].update(before)


def _step(request: Request) -> str:
    if request.url.path == "/v3/certificates":
        return "certificates"
    if request.method == "POST":
        return "upload"
    return "find" if "filename" in request.query_params else "list"


async def _read_body(request: Request) -> bytes:
    """The whole body, so that a fault never hides behind an upload that is still on its way."""
    body = bytearray()
    async for piece in request.stream():
        if len(body) <= MAX_BODY:
            body += piece
    return bytes(body)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a multipart body."""

    name: str
    filename: str | None
    content: bytes = field(repr=False)


async def _parts(request: Request, body: bytes) -> list[Part]:
    """The parts of a multipart body, by name; none if it is not one."""
    if len(body) > MAX_BODY or not request.headers.get("Content-Type", "").startswith("multipart/form-data"):
        return []

    async def again() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        async with Request(request.scope, again).form(max_files=2, max_fields=2) as form:
            parts = [
                Part(name, None, value.encode())
                if isinstance(value, str)
                else Part(name, value.filename, await value.read())
                for name, value in form.multi_items()
            ]
    except (HTTPException, MultiPartException, KeyError, ValueError):
        return []
    return sorted(parts, key=lambda part: part.name)


def _url_on_the_wire(request: Request) -> str:
    path: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    return (path + (b"?" + query if query else b"")).decode("latin-1")


def _package_id(request: Request) -> str | None:
    root, *parts = request.url.path.split("/")
    if root or len(parts) != 6 or parts[:4] != _TASKS or parts[5] != "tasks":
        return None
    if not 4 <= len(parts[4]) <= 16:
        raise param_error("package_id错误", "package_id", "url")
    return parts[4]


def _chosen(lines: Sequence[bytes], check: str) -> Sequence[bytes]:
    """The lines to decrypt at once."""
    if check == "all":
        return lines
    return lines[:: max(len(lines) // SAMPLE_LINES, 1)][:SAMPLE_LINES] if check == "sample" else ()


def _decrypt_rest(task: Task) -> None:
    undecrypted = task.undecrypted
    if undecrypted is not None:
        digests = digests_of(*undecrypted)
        task.digests = [one for one in digests if one is not None]
        task.undecryptable = digests.count(None)
        task.undecrypted = None


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
