"""The load: clients that ask, read, check every token, and ask again at once.

A client has one connection and one request in flight. What is counted is counted between ``open`` and ``close`` of the
window; what is checked is checked always.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import httptools

from tools.bench.tokens import MARK, clipped, moments, problem

_OK = 200
_AFTER_FAILURE = 0.02  # seconds; a gateway that refuses is not to be asked in a tight loop


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask, with what, and how a whole answer ends."""

    host: str
    port: int
    request: bytes
    end: bytes


@dataclass
class Tally:
    """What all clients of one run have seen.

    Attributes:
        open: Whether the window is open.
        timed: Whether the delay of single tokens is noted, which costs the harness.
        tokens: Tokens that arrived in the window.
        streams: Answers that came to their end in the window.
        first: Seconds from request to first token.
        delays: Nanoseconds from the upstream's write to the client's read.
        problems: What was wrong with answers, and how often.
    """

    open: bool = False
    timed: bool = False
    tokens: int = 0
    streams: int = 0
    first: list[float] = field(default_factory=list)
    delays: list[int] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    stopping: bool = False


class Client(asyncio.Protocol):
    """One client."""

    def __init__(self, target: Target, tokens: int, tally: Tally) -> None:
        self._target = target
        self._expected = tokens
        self._tally = tally
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._pieces: list[bytes] = []
        self._asked = 0.0
        self._waiting = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # always a TCP connection's
        """Ask for the first time."""
        self._transport = transport
        self._parser = httptools.HttpResponseParser(self)
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Read the answer."""
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Count what came; a parser's callback."""
        tally = self._tally
        self._pieces.append(body)
        count = body.count(MARK)
        if not count or not tally.open:
            self._waiting = self._waiting and not count
            return
        tally.tokens += count
        if self._waiting:
            self._waiting = False
            tally.first.append(time.monotonic() - self._asked)
        if tally.timed:
            now = time.monotonic_ns()
            tally.delays.extend([now - sent for sent in moments(body)])

    def on_message_complete(self) -> None:
        """Check the whole answer, and ask again; a parser's callback."""
        tally, body = self._tally, b"".join(self._pieces)
        status = self._parser.get_status_code()
        wrong = problem(body, self._expected, self._target.end) if status == _OK else f"{status}: {clipped(body)}"
        if wrong is not None:
            self._fail(wrong)
            return
        tally.streams += tally.open
        if not tally.stopping:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note it, unless it was meant."""
        lost, self._transport = self._transport, None
        if lost is not None and not self._tally.stopping:
            self._fail(f"the connection was lost: {exc or 'closed in order'}")

    def stop(self) -> None:
        """Leave, whatever is in flight."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    async def connect(self) -> None:
        """Begin."""
        await self._loop.create_connection(lambda: self, self._target.host, self._target.port)

    def _ask(self) -> None:
        self._pieces.clear()
        self._waiting = True
        self._asked = time.monotonic()
        if self._transport is not None:
            self._transport.write(self._target.request)

    def _fail(self, problem: str) -> None:
        self._tally.problems[problem] += 1
        if self._transport is not None:
            self._loop.call_later(_AFTER_FAILURE, self._ask)


def request(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return a request's bytes."""
    lines = {"host": "127.0.0.1", "content-type": "application/json", "accept": "text/event-stream", **headers}
    lines["content-length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body
