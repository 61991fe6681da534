# SPDX-License-Identifier: Apache-2.0
"""The simulator's endpoints: a request is checked, committed, answered, and spoiled if a fault is due."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from airflow_provider_wxbank.simulator.addresses import is_answered
from airflow_provider_wxbank.simulator.checks import (
    Authorizations,
    check_algorithm_type,
    check_file,
    check_meta,
    check_query,
)
from airflow_provider_wxbank.simulator.faults import BEFORE_ANSWER, Fault, FaultPlan, faults_from_json
from airflow_provider_wxbank.simulator.ledger import Ledger
from airflow_provider_wxbank.simulator.line_checks import Ended, LineChecks, lines_before_answer
from airflow_provider_wxbank.simulator.lines import digests_of
from airflow_provider_wxbank.simulator.multipart import Body, Part, read_body
from airflow_provider_wxbank.simulator.platform import Platform, SigningKey
from airflow_provider_wxbank.simulator.refusals import Refusal, Text, invalid_request, param_error, prefers_english
from airflow_provider_wxbank.simulator.settings import SimulatorSettings
from airflow_provider_wxbank.simulator.spoiling import Reply, Wire, send_spoiled

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

CHUNK_LINES = 250
_TASKS = ["v3", "marketing", "bank", "packages"]


@dataclass(slots=True)
class App:
    """The ASGI application of one simulator.

    :param addresses: the ``host:port`` that it answers at.
    """

    settings: SimulatorSettings
    addresses: frozenset[str]
    platform: Platform
    ledger: Ledger
    faults: FaultPlan
    checks: LineChecks
    authorizations: Authorizations
    pool: ThreadPoolExecutor
    wire: Wire = field(default_factory=Wire)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            headers = request.headers
            if not is_answered(self.addresses, request.url.scheme, headers.getlist("Host"), headers.getlist("Origin")):
                await _refuse_stranger(request, send)
            elif request.url.path.startswith("/simulator/"):
                await self._serve_side(request, send)
            else:
                await self._serve(request, scope, receive, send)
        except ClientDisconnect:
            # The client has gone before its request was whole.
            return
        except Ended:
            await Reply(503).send(send)

    async def _serve(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        step = _step(request)
        self.ledger.requests[step] += 1
        fault = self.faults.next(step)
        body = await read_body(request.stream(), request.headers.get("Content-Type", ""))
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
                    faults = faults_from_json(json.loads((await read_body(request.stream(), "")).content))
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
        """See :meth:`Ledger.report`.

        :raises Ended: the simulator ends meanwhile.
        """
        return self.ledger.report(self.faults.done, self.checks.finish)

    async def _reply(self, request: Request, step: str, body: Body, fault: Fault | None) -> Reply:
        """WeChat Pay's answer, signed. A fault may choose who signs it, and with which time."""
        kind = fault.kind if fault else ""
        signer = self.platform.answering(request.headers.get("Wechatpay-Serial"))
        timestamp = self.settings.clock() - (600 if kind == "stale" else 0)
        headers = {"Content-Type": "application/json; charset=utf-8"}
        try:
            value, key = await self._handle(request, step, body, kind)
        except Refusal as refusal:
            self.ledger.refused[refusal.code] += 1
            content = _json(refusal.body(in_english=prefers_english(request.headers.get("Accept-Language"))))
            if refusal.signed and kind != "unsigned":
                headers.update(self.platform.signed_headers(signer, content, timestamp))
            return Reply(refusal.status, content, headers)
        content = b"[" * 1_000_000 if kind == "json-bomb" else value if isinstance(value, bytes) else _json(value)
        if kind in ("unknown-serial", "lying-certificates"):
            key = self.platform.stranger()
        if kind != "unsigned":
            headers.update(self.platform.signed_headers(key or signer, content, timestamp))
        return Reply(200, content, headers)

    async def _handle(
        self, request: Request, step: str, body: Body, kind: str
    ) -> tuple[bytes | Mapping[str, Any], SigningKey | None]:
        """The content of the answer, and who signs it if the request does not choose. Errors are raised as Refusal."""
        package_id = _package_id(request)
        is_upload = step == "upload" and package_id is not None
        signed_body = _signed_body(body, is_upload=is_upload)
        self.authorizations.check(
            request.headers.get("Authorization", ""), request.method, _url_on_the_wire(request), signed_body
        )
        if is_upload and signed_body is None and body.flaw is not None:
            raise param_error(*body.flaw, signed=False)
        for name in ("User-Agent", "Accept"):
            if not request.headers.get(name):
                text = Text(f"Http头缺少{name}", f"the request has no header {name}")
                raise invalid_request(text, name, location="header")
        if step == "certificates" and request.method == "GET":
            check_algorithm_type(request.query_params.get("algorithm_type"), self.platform.suite)
            return self._certificates(kind)
        if package_id is None and step != "certificates":
            raise Refusal(404, "RESOURCE_NOT_EXISTS", Text("接口不存在", "there is no such address"))
        if request.method not in ("GET", "POST") or package_id is None:
            raise Refusal(405, "METHOD_NOT_ALLOWED", Text("不支持的请求方法", "the method is not supported"))
        if not 4 <= len(package_id) <= 16:
            text = Text("package_id错误", "package_id must have 4 to 16 characters")
            raise param_error(text, "package_id", package_id, "url")
        self.ledger.check_package(package_id)
        if is_upload:
            self.ledger.uploads_under_way += 1
            self.ledger.max_concurrent_uploads = max(self.ledger.max_concurrent_uploads, self.ledger.uploads_under_way)
            try:
                if body.flaw is not None:
                    raise param_error(*body.flaw)
                return await self._upload(request, package_id, body.parts, kind), None
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
                Text(
                    "无可用的平台证书，请在商户平台-API安全申请使用微信支付公钥。可查看指引",
                    "no platform certificate; apply for the WeChat Pay public key in the merchant platform",
                ),
            )
        return self.platform.certificate_list(kind)

    async def _upload(self, request: Request, package_id: str, parts: Sequence[Part], kind: str) -> Mapping[str, Any]:
        key = self._declared_key(request.headers.get("Wechatpay-Serial"))
        file, raw_meta = sorted(parts, key=lambda part: part.name)
        meta = check_meta(raw_meta.content, file.filename)
        self.ledger.whole_bodies[meta.filename] += 1
        self.ledger.check_new(package_id, meta.filename)
        lines = check_file(meta, file.filename, file.content)
        at_once = lines_before_answer(lines, self.settings.check)
        digests = await self._digests(key, at_once)
        if None in digests:
            raise param_error(
                Text("平台私钥解密失败", "a line does not decrypt with the key that is declared"), "/file"
            )
        # Another upload of this name may have come in while lines were decrypted.
        self.ledger.check_new(package_id, meta.filename)
        rest = None if len(at_once) == len(lines) else self.checks.keep(key.private_key, lines)
        task = self.ledger.add(package_id, meta, len(lines), len(file.content), key.serial_no)
        task.lost = math.ceil(len(lines) / 10) if kind == "lost-rows" else 0
        if rest is None:
            task.digests = [one for one in digests if one is not None]
        else:
            task.undecrypted = rest
            if self.settings.check == "all":
                task.checked = math.inf
                self.checks.begin(task)
        return self.ledger.as_json(task, "seconds")

    def _declared_key(self, serial_no: str | None) -> SigningKey:
        field = "Wechatpay-Serial"
        if not serial_no:
            text = Text(
                f"HTTP header缺少微信支付平台证书序列号({field})",
                f"the request has no header {field}, the serial of the key that encrypted the lines",
            )
            raise param_error(text, field, location="header")
        key = self.platform.declared(serial_no)
        if key is None:
            text = Text(f"平台证书序列号{field}错误", f"{field} is not the serial of a key of WeChat Pay in force")
            raise param_error(text, field, serial_no, "header")
        return key

    async def _digests(self, key: SigningKey, lines: Sequence[bytes]) -> list[bytes | None]:
        loop = asyncio.get_running_loop()
        chunks = [lines[start : start + CHUNK_LINES] for start in range(0, len(lines), CHUNK_LINES)]
        parts = await asyncio.gather(
            *(loop.run_in_executor(self.pool, digests_of, key.private_key.decrypt, chunk) for chunk in chunks)
        )
        return [digest for part in parts for digest in part]

    def _list(self, request: Request, package_id: str) -> Mapping[str, Any]:
        filename, status, offset, limit = check_query(parse_qsl(request.url.query, keep_blank_values=True))
        return self.ledger.page(package_id, filename, status, offset, limit)

    def _add_foreign_task(self, package_id: str) -> None:
        """Add somebody else's task, listed before all others."""
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


def _signed_body(body: Body, *, is_upload: bool) -> bytes | None:
    """The signed part of a body: ``meta``, whatever else is wrong, or all of it; None if that cannot be told."""
    meta = body.part("meta")
    if meta is not None and not meta.is_cut:
        return meta.content
    return None if is_upload else body.content


async def _refuse_stranger(request: Request, send: Send) -> None:
    # To its end: a client that is still sending would not read the answer.
    await read_body(request.stream(), "")
    error = "this simulator answers its own address only, as Host and, if there is one, as Origin"
    await Reply(403, _json({"error": error}), {"Content-Type": "application/json"}).send(send)


def _url_on_the_wire(request: Request) -> str:
    path: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    return (path + (b"?" + query if query else b"")).decode("latin-1")


def _package_id(request: Request) -> str | None:
    """The package whose tasks the address names; None if it is another address."""
    root, *parts = request.url.path.split("/")
    return parts[4] if not root and len(parts) == 6 and parts[:4] == _TASKS and parts[5] == "tasks" else None


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
