"""The operators' endpoints for all workers: the same as a single process has, by the supervisor's own small server.

- It knows four paths and GET and HEAD, reads a head of 16 KiB at most and no body, and has 64 connections at most.
- Metrics are rendered in a thread, one scrape at a time; the supervisor goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from gateway.core.errors import GatewayError, InvalidRequest, MethodNotAllowed, NotFound
from gateway.core.trace import new_request_id
from gateway.supervisor.group import Group
from gateway.tasks import TaskOwner

_LONGEST_HEAD = 16 * 1024
_MOST_CONNECTIONS = 64
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
_JSON = "application/json; charset=utf-8"


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    headers: Mapping[str, str]
    keeps: bool


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    kind: str = _JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class Ops:
    """Answers operators, Prometheus, and whoever looks after processes.

    Args:
        group: The workers.
        failed: Told of a fault of ours.
    """

    def __init__(self, group: Group, failed: Callable[[BaseException], None]) -> None:
        self._group = group
        self._connections = 0
        self._tasks = TaskOwner(failed)
        self._rendering = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics")
        self._server: asyncio.Server | None = None

    async def serve(self, sock: socket.socket) -> None:
        """Answer on a bound socket."""
        self._server = await asyncio.start_server(self._accepted, sock=sock, limit=_LONGEST_HEAD)

    async def close(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.close()
        await self._tasks.close()
        self._rendering.shutdown(wait=False)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.spawn(self._connected(reader, writer))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= _MOST_CONNECTIONS:
                while await self._exchange(reader, writer):
                    pass
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._connections -= 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer a request; return whether another may come."""
        async with asyncio.timeout(self._group.handover.keepalive_timeout):
            head = await reader.readuntil(b"\r\n\r\n")
        request = _parsed(head)
        answer = (
            _refusal(InvalidRequest("This is no request without a body."))
            if request is None
            else await self._answer(request)
        )
        keeps = request is not None and request.keeps
        writer.write(_written(answer, head_only=request is not None and request.method == "HEAD", keeps=keeps))
        await writer.drain()
        return keeps

    async def _answer(self, request: _Request) -> _Answer:
        answers = {
            "/livez": self._alive,
            "/readyz": self._ready,
            "/metrics": self._metrics,
            "/openapi.json": self._document,
        }
        answer = answers.get(request.path)
        if answer is None:
            return _refusal(NotFound("Not found. Served here: GET /livez, /readyz, /metrics and /openapi.json."))
        if request.method not in {"GET", "HEAD"}:
            return _refusal(MethodNotAllowed(request.method, ("GET", "HEAD")), Allow="GET,HEAD")
        return await answer(request)

    async def _alive(self, _: _Request) -> _Answer:
        return _Answer(200, b'{"status":"ok"}')

    async def _ready(self, _: _Request) -> _Answer:
        checks, in_flight = await self._group.readiness()
        ready = all(result == "ok" for result in checks.values())
        body = {"status": "ok" if ready else "unavailable", "checks": checks, "in_flight": in_flight}
        return _Answer(
            200 if ready else 503,
            json.dumps(body, separators=(",", ":")).encode(),
            headers={"Cache-Control": "no-store"},
        )

    async def _metrics(self, request: _Request) -> _Answer:
        look, accept = await self._group.look(), request.headers.get("accept", "")
        loop = asyncio.get_running_loop()
        body, kind = await loop.run_in_executor(self._rendering, look.render, accept)
        return _Answer(200, body, kind)

    async def _document(self, _: _Request) -> _Answer:
        return _Answer(200, self._group.handover.ops_document.encode())


def _refusal(error: GatewayError, **headers: str) -> _Answer:
    """Return an error in the shape of the public address."""
    request_id = new_request_id()
    body = json.dumps({"error": str(error), "code": error.code, "requestId": request_id}, separators=(",", ":"))
    return _Answer(error.status, body.encode(), headers={"X-Request-Id": request_id, **headers})


def _parsed(head: bytes) -> _Request | None:
    """Return the request; None for what is none, or has a body, which nothing here takes."""
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    parts = first.split(" ")
    if len(parts) != len(("method", "target", "version")) or not parts[2].startswith("HTTP/1."):
        return None
    pairs = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
        return None
    connection = headers.get("connection", "").lower()
    keeps = connection == "keep-alive" if parts[2] == "HTTP/1.0" else "close" not in connection
    return _Request(parts[0], parts[1].partition("?")[0], headers, keeps)


def _written(answer: _Answer, *, head_only: bool, keeps: bool) -> bytes:
    headers = {
        "Content-Type": answer.kind,
        "Content-Length": str(len(answer.body)),
        "Server": "tokenweir",
        "Connection": "keep-alive" if keeps else "close",
        **answer.headers,
    }
    lines = [f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}", *(f"{k}: {v}" for k, v in headers.items())]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return head if head_only else head + answer.body
