"""One client's end of a connection: what it sends, how it reads, and what it understood of the answer."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

import httptools

_TOLD = re.compile(rb'"(?:outputTokens|output_tokens)": ?(\d+)')
_FRAMES = {"chat": b'"type":"text"', "chat-get": b'"type":"text"', "messages": b"event: content_block_delta"}
_ENDS = {"chat": b'"type":"done"', "chat-get": b'"type":"done"', "messages": b"event: message_stop"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got.

    Attributes:
        status: HTTP status, None when no head came.
        complete: Whether the body came to the end that HTTP gives it.
        good: Whether it says of itself that it is whole.
        frames: Pieces of text that came.
        told: Output tokens that the answer says it has.
    """

    status: int | None
    complete: bool
    good: bool
    frames: int
    told: int | None


def understand(route: str, *, stream: bool, status: int | None, body: bytes, complete: bool) -> Answer:
    """Read the body of an answer."""
    told = _TOLD.findall(body)
    good = status == 200 and complete and (_ENDS[route] in body if stream else True)  # noqa: PLR2004 - HTTP's OK
    frames = body.count(_FRAMES[route]) if stream else 0
    return Answer(status, complete, good, frames, int(told[-1]) if told and good else None)


class Reader(asyncio.Protocol):
    """Reads answers, one after the other.

    Attributes:
        finished: Set when the answer is whole or the connection is over.
        reusable: Whether another request may follow.
    """

    def __init__(self) -> None:
        self.finished = asyncio.Event()
        self.reusable = False
        self._begin()

    def _begin(self) -> None:
        self.finished.clear()
        self.reusable = self.complete = False
        self.status: int | None = None
        self.body = bytearray()
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # always a TCP connection's
        """Keep the transport."""
        self.transport = transport

    def send(self, request: bytes) -> None:
        """Begin a request."""
        self._begin()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Read."""
        self._parser.feed_data(data)

    def on_headers_complete(self) -> None:
        """Note the status; a parser's callback."""
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        """Keep it; a parser's callback."""
        self.body += body

    def on_message_complete(self) -> None:
        """Note the end; a parser's callback."""
        self.complete = True
        self.reusable = self._parser.should_keep_alive()
        self.finished.set()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Note that nothing more can come."""
        self.reusable = False
        self.finished.set()
