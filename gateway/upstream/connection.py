"""One HTTP/1.1 connection to Claude, pushed: bytes go from the socket's callback straight to who wants them.

- A connection carries one exchange at a time. An exchange that is not ended in order closes its connection, because
  bytes that Claude still sends would otherwise belong to the next one, and because Claude bills what it generates.
- The sink is called synchronously for everything one read brought; ``pause`` and ``resume`` are the flow control.
- Until a sink is attached at most ``_PENDING_LIMIT`` bytes are read ahead.
- A body whose end is told by the connection's end is accepted; one that its own framing says is unfinished is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import httptools

from gateway.core.errors import GatewayError, UpstreamMalformed, UpstreamTruncated, UpstreamUnreachable

_PENDING_LIMIT = 256 * 1024
_INFORMATIONAL = 200


class BodySink(Protocol):
    """Who takes an answer's body."""

    def data(self, chunk: bytes) -> None:
        """Take what one read brought."""

    def end(self) -> None:
        """The body is complete."""

    def fail(self, error: GatewayError) -> None:
        """The body will not be complete."""


class Exchange:
    """One request and its answer.

    Attributes:
        head: Done when status and headers are there; fails with a GatewayError when they will not be.
        status: HTTP status.
        headers: Header names in lower case; of repeated ones the last.
        answered: Whether a byte of an answer has come.
        reused: Whether the connection had carried another exchange before.
    """

    __slots__ = (
        "_batch",
        "_connection",
        "_failure",
        "_head_size",
        "_keep_alive",
        "_max_headers",
        "_parser",
        "_sink",
        "_until_close",
        "answered",
        "complete",
        "head",
        "headers",
        "reused",
        "status",
    )

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop, max_headers: int) -> None:
        self._connection = connection
        self._parser = httptools.HttpResponseParser(self)
        self._sink: BodySink | None = None
        self._batch: list[bytes] = []
        self._failure: GatewayError | None = None
        self._max_headers = max_headers
        self._head_size = 0
        self._until_close = False
        self._keep_alive = False
        self.head: asyncio.Future[None] = loop.create_future()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.answered = False
        self.reused = connection.used
        self.complete = False

    def attach(self, sink: BodySink) -> None:
        """Give the body to the sink, beginning with what has come already."""
        self._sink = sink
        self.resume()
        self._deliver()

    def pause(self) -> None:
        """Stop reading; the kernel's buffer, then Claude, holds what comes."""
        self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        self._connection.resume()

    def abort(self) -> None:
        """End the exchange now, whatever its state; closes the connection unless the answer is complete."""
        self._sink = None
        self.head.cancel()
        self._connection.abandon(self)

    def feed(self, data: bytes) -> None:
        """Take what the socket brought."""
        self.answered = True
        try:
            if not self.head.done():
                self._measure_head(len(data))
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise UpstreamMalformed("Claude's answer is not valid HTTP.", detail=repr(error)) from error

    def flush(self) -> None:
        """Hand on what one read brought."""
        if self._sink is not None:
            self._deliver()
        elif self._batch and sum(map(len, self._batch)) > _PENDING_LIMIT:
            self.pause()

    def lose(self, error: GatewayError | None) -> None:
        """The connection is gone; None when the other side closed it in order."""
        if self.complete or self._failure is not None:
            return
        if error is None and self._until_close and self.head.done():
            self.complete = True
        else:
            self._failure = error or self._truncation()
            if not self.head.done():
                self.head.set_exception(self._failure)
                self.head.exception()  # retrieved: whoever waits raises it, and nobody waits after an abort
        self._deliver()

    def keeps_alive(self) -> bool:
        """Whether the connection can carry another exchange."""
        return self.complete and not self._until_close and self._keep_alive

    # What httptools calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Tell who waits for the head; an interim answer (103) is passed over."""
        self.status = self._parser.get_status_code()
        if self.status < _INFORMATIONAL:
            self.headers.clear()
            return
        self._until_close = "content-length" not in self.headers and "transfer-encoding" not in self.headers
        if not self.head.done():
            self.head.set_result(None)

    def on_body(self, body: bytes) -> None:
        """Collect what this read brings."""
        self._batch.append(body)

    def on_message_complete(self) -> None:
        """Note the end; ``flush`` tells the sink after the last bytes."""
        if self.status >= _INFORMATIONAL:
            self.complete = True
            self._keep_alive = bool(self._parser.should_keep_alive())  # the parser says so only now

    def _measure_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self._max_headers and self.status == 0:
            raise UpstreamMalformed("The head of Claude's answer is too large.")

    def _truncation(self) -> GatewayError:
        if self.answered:
            return UpstreamTruncated("The connection to Claude ended in the middle of the answer.")
        return UpstreamUnreachable("The connection to Claude ended before an answer.")

    def _deliver(self) -> None:
        sink = self._sink
        if sink is None:
            return
        if self._batch:
            batch = self._batch
            data = batch[0] if len(batch) == 1 else b"".join(batch)
            batch.clear()
            sink.data(data)
        if self.complete:
            self._sink = None
            sink.end()
        elif self._failure is not None:
            self._sink = None
            sink.fail(self._failure)


class Connection(asyncio.Protocol):
    """A socket to Claude.

    Args:
        on_idle: Called when an exchange has ended in order and another may follow.
        on_closed: Called once when the connection is of no more use.
    """

    def __init__(self, on_idle: Callable[[Connection], None], on_closed: Callable[[Connection], None]) -> None:
        self._on_idle = on_idle
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._paused = False
        self.idle_since = 0.0
        self.used = False

    @property
    def closing(self) -> bool:
        """Whether it can carry no exchange any more."""
        return self._transport is None or self._transport.is_closing()

    def start(self, loop: asyncio.AbstractEventLoop, head: bytes, body: bytes, max_headers: int) -> Exchange:
        """Send a request; the connection must be idle and open."""
        exchange = self._exchange = Exchange(self, loop, max_headers)
        if self._transport is None or self._transport.is_closing():
            exchange.lose(None)
            return exchange
        # One write for small requests: one packet. A large body is not copied for that.
        if len(body) < _PENDING_LIMIT:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        return exchange

    def pause(self) -> None:
        """Stop reading."""
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def abandon(self, exchange: Exchange) -> None:
        """Close at once if the exchange is the current one: what Claude still sends is of no use."""
        if exchange is self._exchange:
            self.close()

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "pause_reading")  # noqa: S101
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports are not asyncio's classes

    def data_received(self, data: bytes) -> None:
        """Feed the exchange; bytes that nobody asked for end the connection."""
        exchange = self._exchange
        if exchange is None:
            self.close()
            return
        try:
            exchange.feed(data)
        except UpstreamMalformed as error:
            exchange.lose(error)
            self.close()
            return
        if exchange.complete:
            self._finish(exchange)
        exchange.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the exchange."""
        self._transport = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            error = None if exc is None else _lost(exchange, exc)
            exchange.lose(error)
        self._on_closed(self)

    def _finish(self, exchange: Exchange) -> None:
        self._exchange = None
        self.used = True
        self.resume()
        if exchange.keeps_alive() and not self.closing:
            self._on_idle(self)
        else:
            self.close()


def _lost(exchange: Exchange, exc: Exception) -> GatewayError:
    if exchange.answered:
        return UpstreamTruncated("The connection to Claude broke in the middle of the answer.", detail=repr(exc))
    return UpstreamUnreachable("The connection to Claude broke before an answer.", detail=repr(exc))
