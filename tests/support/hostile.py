"""Hostile bytes sent to a gateway, and what became of them: answers, outcomes, calls of Claude, and the connection."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass

from tests.support.gateway import Caller
from tests.support.observed import Outcomes, eventually
from tests.support.raw_client import connected

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
# A good request behind the hostile bytes: whether it is read as one tells how the gateway understood them.
AFTER = b"GET /health HTTP/1.1\r\nHost: gateway.test\r\nX-Request-Id: after\r\n\r\n"
KEY = b"<key>"


@dataclass(frozen=True)
class Fate:
    """What became of hostile bytes.

    Attributes:
        statuses: Of the answers, as far as a reset did not swallow them.
        outcomes: Status of each outcome.
        closed: Whether the connection ended.
        went_on: Whether the good request behind them was read as one.
    """

    statuses: list[int]
    outcomes: list[int]
    closed: bool
    went_on: bool


async def fate_of(caller: Caller, outcomes: Outcomes, data: bytes, after: bytes = AFTER) -> Fate:
    """Send hostile bytes and a good request behind them on a fresh connection; ``KEY`` in them becomes a key."""
    outcomes.all.clear()
    received = bytearray()
    closed = asyncio.Event()

    def went_on() -> bool:
        return any(outcome.client_request_id == "after" for outcome in outcomes.all)

    async def read(reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65_536):
                received.extend(chunk)
        closed.set()

    async with asyncio.TaskGroup() as group, connected(caller.gateway.url) as raw:
        reading = group.create_task(read(raw.reader))
        with contextlib.suppress(ConnectionError):
            await raw.send(data.replace(KEY, caller.key.encode()) + after)
        await eventually(lambda: closed.is_set() or (went_on() and len(statuses_of(received)) >= len(outcomes.all)))
        fate = Fate(statuses_of(received), [outcome.status for outcome in outcomes.all], closed.is_set(), went_on())
        reading.cancel()
    await at_rest(caller)
    return fate


def statuses_of(received: bytes) -> list[int]:
    """Return the status of each answer."""
    return [int(status) for status in _STATUS.findall(received)]


async def at_rest(caller: Caller) -> None:
    """Wait until nothing of any request is left: no slot, no room, no hold, no connection."""
    services, server = caller.gateway.services, caller.gateway._generation.public.server
    await eventually(lambda: not len(services.streams) and not services.streams.running and not services.streams.holds)
    await eventually(lambda: not services.bodies.used)
    await eventually(lambda: not server.connections and not server.heads._waiting)


def get(*headers: bytes, line: bytes = b"GET /health HTTP/1.1", host: bytes | None = b"Host: gateway.test") -> bytes:
    """Return a request without a body."""
    lines = [line, *([] if host is None else [host]), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def post(*headers: bytes, body: bytes = b"", path: bytes = b"/api/chat/stream") -> bytes:
    """Return a request with a key; the headers say where its body ends."""
    head = (b"Host: gateway.test", b"x-api-key: " + KEY, b"Content-Type: application/json", *headers)
    return b"POST %b HTTP/1.1\r\n%b\r\n\r\n%b" % (path, b"\r\n".join(head), body)


def sized(body: bytes, path: bytes = b"/api/chat/stream") -> bytes:
    """Return a request whose length says where its body ends."""
    return post(b"Content-Length: %d" % len(body), body=body, path=path)
