# SPDX-License-Identifier: Apache-2.0
"""Receivers of metrics on loopback: one speaks StatsD over UDP, one OpenTelemetry's protocol over HTTP."""

from __future__ import annotations

import gzip
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

# name,tag=value,...:number|kind, as Airflow sends it with statsd_influxdb_enabled.
_STATSD = re.compile(r"(?P<name>[^,:|@]+)(?P<tags>(,[^,=:|@]+=[^,=:|@]+)*):(?P<value>[-+]?[0-9.e-]+)\|(?P<kind>c|g|ms)")
_KINDS = {"c": "counter", "g": "gauge", "ms": "timer"}


@dataclass(frozen=True, slots=True)
class Sample:
    """A value that came in."""

    name: str
    kind: str
    tags: frozenset[tuple[str, str]]
    value: float


@dataclass(slots=True)
class Received:
    """What has come in so far.

    :ivar raw: byte for byte.
    :ivar wrong: what is not of the protocol.
    """

    port: int = 0
    raw: list[bytes] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def take(self, raw: bytes, samples: list[Sample]) -> None:
        """Note what has come in."""
        with self.lock:
            self.raw.append(raw)
            self.samples.extend(samples)

    def ours(self) -> list[Sample]:
        """Those of this package, without Airflow's prefix."""
        with self.lock:
            return [
                Sample(one.name.removeprefix("airflow."), one.kind, one.tags, one.value)
                for one in self.samples
                if one.name.startswith("airflow.wxbank.")
            ]

    def total(self, name: str, **tags: str) -> float:
        """The sum over a name's values that have these tags."""
        return sum(one.value for one in self.ours() if one.name == name and one.tags >= tags.items())


@contextmanager
def statsd() -> Iterator[Received]:
    """A server of StatsD with tags."""
    received = Received()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        received.port = server.getsockname()[1]

        def serve() -> None:
            while datagram := server.recv(65_535):
                samples = []
                for line in datagram.decode().splitlines():
                    if (match := _STATSD.fullmatch(line)) is None:
                        received.wrong.append(line)
                        continue
                    tags = [tuple(tag.split("=")) for tag in match["tags"].split(",")[1:]]
                    samples.append(Sample(match["name"], _KINDS[match["kind"]], frozenset(tags), float(match["value"])))
                received.take(datagram, samples)

        thread = Thread(target=serve)
        thread.start()
        try:
            yield received
        finally:
            # An empty datagram ends it, behind all that came before.
            server.sendto(b"", server.getsockname())
            thread.join()


@contextmanager
def opentelemetry() -> Iterator[Received]:
    """A collector of OpenTelemetry: OTLP over HTTP, in protobuf."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            if self.path != "/v1/metrics":
                received.wrong.append(self.path)
            received.take(body, _samples(ExportMetricsServiceRequest.FromString(body)))
            answer = ExportMetricsServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        received.port = server.server_address[1]
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield received
        finally:
            server.shutdown()
            thread.join()


def _samples(request: Any) -> list[Sample]:
    samples = []
    for of_resource in request.resource_metrics:
        for of_scope in of_resource.scope_metrics:
            for metric in of_scope.metrics:
                what = metric.WhichOneof("data")
                kind = {"sum": "counter", "gauge": "gauge"}.get(what, "timer")
                for point in getattr(metric, what).data_points:
                    tags = frozenset((one.key, one.value.string_value) for one in point.attributes)
                    samples.append(Sample(metric.name, kind, tags, _value(point)))
    return samples


def _value(point: Any) -> float:
    if hasattr(point, "sum"):
        return float(point.sum)
    return float(point.as_int if point.WhichOneof("value") == "as_int" else point.as_double)
