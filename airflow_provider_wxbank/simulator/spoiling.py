# SPDX-License-Identifier: Apache-2.0
"""Sends an answer, or what a fault makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers

from airflow_provider_wxbank.simulator.faults import Fault
from airflow_provider_wxbank.simulator.platform import Platform
from airflow_provider_wxbank.simulator.refusals import prefers_english

ENDLESS_BYTES = 200_000_000
TRICKLE_SECONDS = 0.1

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(slots=True)
class Wire:
    """The open connections by the client's address, for faults below HTTP, and whether the server is stopping.

    ``recorded`` is the last answer that was sent unspoiled.
    """

    transports: dict[tuple[str, int], asyncio.Transport] = field(default_factory=dict)
    stopping: asyncio.Event | None = None
    recorded: Reply | None = None

    def close(self, client: tuple[str, int], *, reset: bool = False) -> None:
        """Close a connection; with ``reset``, by a TCP reset."""
        transport = self.transports.get(client)
        if transport is None:
            return
        if reset:
            connection = transport.get_extra_info("socket")
            # Lingering for no time makes the system send a reset instead of an orderly end.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()

    async def trickle(self, client: tuple[str, int], raw: bytes, receive: Receive) -> None:
        """Write an answer's own bytes one at a time, then close the connection."""
        for start in range(len(raw)):
            await self.pause(TRICKLE_SECONDS, receive)
            transport = self.transports.get(client)
            if transport is None or transport.is_closing():
                return
            transport.write(raw[start : start + 1])
        self.close(client)

    async def pause(self, seconds: float, receive: Receive) -> None:
        """Wait, but no longer than the client and the server are there."""
        waits: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(_disconnected(receive)),
            asyncio.ensure_future(asyncio.sleep(seconds)),
        ]
        if self.stopping is not None:
            waits.append(asyncio.ensure_future(self.stopping.wait()))
        _, rest = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in rest:
            wait.cancel()


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer."""

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)

    def all_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers, with those that every answer has."""
        added = {"Content-Length": str(len(self.body)), "Request-ID": f"SIM{secrets.token_hex(16).upper()}-0"}
        return [(name.encode(), value.encode()) for name, value in {**self.headers, **added}.items()]

    def raw(self) -> bytes:
        """The answer as it goes over the wire, with the connection closed after it."""
        lines = [b"%s: %s" % header for header in [*self.all_headers(), (b"Connection", b"close")]]
        return b"\r\n".join(
            [b"HTTP/1.1 %d %s" % (self.status, HTTPStatus(self.status).phrase.encode()), *lines, b"", self.body]
        )

    async def send(self, send: Send, part: int | None = None) -> None:
        """Send the whole answer, or only the first ``part`` bytes of its body."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.all_headers()})
        body = self.body if part is None else self.body[:part]
        await send({"type": "http.response.body", "body": body, "more_body": part is not None})


async def send_spoiled(
    reply: Reply,
    fault: Fault | None,
    wire: Wire,
    scope: MutableMapping[str, Any],
    receive: Receive,
    send: Send,
    platform: Platform,
) -> None:
    """Send a reply, or what a fault makes of it."""
    client = tuple(scope["client"])
    kind = fault.kind if fault else ""
    seconds = fault.seconds if fault else 0.0
    match kind:
        case "":
            wire.recorded = reply
            await reply.send(send)
        case "replay":
            await (wire.recorded or reply).send(send)
        case "reset" | "drop":
            wire.close(client, reset=kind == "reset")
            await _disconnected(receive)
        case "hang":
            await wire.pause(seconds, receive)
            wire.close(client)
            await _disconnected(receive)
        case "hang-during" | "truncate":
            await reply.send(send, len(reply.body) // 2)
            if kind == "hang-during":
                await wire.pause(seconds, receive)
            wire.close(client)
            await _disconnected(receive)
        case "trickle":
            await reply.send(send, 0)
            for start in range(len(reply.body)):
                await wire.pause(TRICKLE_SECONDS, receive)
                await send({"type": "http.response.body", "body": reply.body[start : start + 1], "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        case "trickle-headers":
            await wire.trickle(client, reply.raw(), receive)
            await _disconnected(receive)
        case "slow":
            await wire.pause(seconds, receive)
            await reply.send(send)
        case "endless":
            await _send_endless(reply, send)
        case _:
            await _spoiled(reply, kind, platform, Headers(scope=scope)).send(send)


def _spoiled(reply: Reply, kind: str, platform: Platform, requested: Headers) -> Reply:
    match kind:
        case "bad-gateway":
            return _of_gateway(502)
        case "gateway-401" | "gateway-403" | "gateway-404" | "gateway-407" | "gateway-413":
            return _of_gateway(int(kind.removeprefix("gateway-")))
        case "redirect":
            return Reply(302, b"", {"Location": "http://127.0.0.1:1/"})
        case "redirect-nowhere":
            return Reply(307, b"<html><body>307</body></html>", {"Content-Type": "text/html", "Location": "http://["})
        case "redirect-bomb":
            # A million zeros a thousand times: the parts are packed one by one, and unpacked as one.
            return Reply(302, gzip.compress(bytes(1_000_000)) * 1_000, {"Content-Encoding": "gzip", "Location": "/"})
        case "huge-header":
            return Reply(reply.status, reply.body, {**reply.headers, "X-Padding": "x" * 1_000_000})
        case "tampered":
            changed = reply.body[:-2] + bytes([reply.body[-2] ^ 1]) + reply.body[-1:]
            return Reply(reply.status, changed, reply.headers)
        case "signtest" | "signtest-prefix":
            signature = reply.headers.get("Wechatpay-Signature", "")
            kept = signature[19:] if kind == "signtest" else signature
            return Reply(
                reply.status, reply.body, {**reply.headers, "Wechatpay-Signature": f"WECHATPAY/SIGNTEST/{kept}"}
            )
    if kind not in _ERRORS:
        return reply
    status, code, message = _ERRORS[kind]
    if prefers_english(requested.get("Accept-Language")):
        message = _ENGLISH.get(code, message)
    signer = platform.answering(requested.get("Wechatpay-Serial"))
    body = json.dumps({"code": code, "message": message}, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if kind.startswith("unsigned-"):
        return Reply(status, body, headers)
    return Reply(status, body, {**headers, **platform.signed_headers(signer, body, platform.clock())})


def _of_gateway(status: int) -> Reply:
    """What a gateway in between answers by itself."""
    text = f"<html><body>{status} {HTTPStatus(status).phrase}</body></html>"
    return Reply(status, text.encode(), {"Content-Type": "text/html"})


_ERRORS = {
    "too-many-requests": (429, "FREQUENCY_LIMITED", "频率超限，请稍后重试"),
    "quota-reached": (429, "FREQUENCY_LIMIT_EXCEED", "当天上传文件数已达上限，请明天再试"),
    "unsigned-quota": (429, "FREQUENCY_LIMIT_EXCEED", "当天上传文件数已达上限，请明天再试"),
    "unsigned-sign-error": (401, "SIGN_ERROR", "错误的签名，导致验签失败"),
    "internal-error": (500, "SYSTEM_ERROR", "系统异常，请稍后重试"),
    "unavailable": (503, "SERVICE_UNAVAILABLE", "服务不可用，过载保护"),
    "forbidden": (403, "NO_AUTH", "商户号无权限使用该接口"),
    "accepted": (202, "ACCEPTED", "请求已接受，但尚未处理"),
}

_ENGLISH = {
    "FREQUENCY_LIMITED": "too many requests; try again later",
    "FREQUENCY_LIMIT_EXCEED": "the day's number of files is used up; try again tomorrow",
    "SYSTEM_ERROR": "internal error; try again later",
    "SERVICE_UNAVAILABLE": "overloaded; try again later",
    "NO_AUTH": "the merchant has no permission for this interface",
    "ACCEPTED": "accepted, but not processed yet",
}


async def _send_endless(reply: Reply, send: Send) -> None:
    headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    piece = b" " * 65536
    with contextlib.suppress(OSError):
        for _ in range(ENDLESS_BYTES // len(piece)):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
