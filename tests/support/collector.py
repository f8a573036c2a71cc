"""A collector of OpenTelemetry's spans, as OTLP over HTTP has them."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Span(NamedTuple):
    """One span; ids in hex, times in seconds."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    failed: bool
    started: float
    ended: float
    attributes: dict[str, Any]
    service: str


class Collector:
    """What was exported so far.

    Attributes:
        url: What `[traces] endpoint` is set to.
        raw: The bodies, decompressed.
    """

    def __init__(self) -> None:
        self.url = ""
        self.raw: list[bytes] = []

    @property
    def spans(self) -> list[Span]:
        """All spans, by their start."""
        return sorted([span for body in self.raw for span in _spans(body)], key=lambda span: span.started)

    def named(self, name: str) -> Span:
        """Return the only span of a name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        packed = request.headers.get("Content-Encoding") == "gzip" and body.startswith(b"\x1f\x8b")
        self.raw.append(gzip.decompress(body) if packed else body)
        return web.Response()


def _spans(body: bytes) -> list[Span]:
    told = ExportTraceServiceRequest.FromString(body)
    return [
        Span(
            span.name,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.kind,
            span.status.code == span.status.STATUS_CODE_ERROR,
            span.start_time_unix_nano / 1e9,
            span.end_time_unix_nano / 1e9,
            _values(span.attributes),
            _values(resource.resource.attributes)["service.name"],
        )
        for resource in told.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _values(attributes: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(one) for one in value.array_value.values] if kind == "array_value" else getattr(value, kind)


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    async with TestServer(app) as server:
        collector.url = str(server.make_url("")).rstrip("/")
        yield collector
