"""One HTTP/1.1 connection to Claude, pushed: bytes go from the socket's callback straight to who wants them.

- A connection carries one exchange at a time. An exchange that is not ended in order closes its connection, because
  bytes that Claude still sends would otherwise belong to the next one, and because Claude bills what it generates.
- The sink is called synchronously for everything one read brought; ``pause`` and ``resume`` are the flow control, and
  reach the connection only while the exchange is its current one.
- Until a sink is attached at most ``read_ahead`` bytes and one read are kept; heads and trailers have a limit too.
- A body whose end is told by the connection's end is accepted; one that its own framing says is unfinished is not.
- No header holds our credential, whatever the other side quotes. The body is as it came: who shows it hides that.
- Bytes after an answer's end are nobody's: the answer stands, its connection is not used again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from typing import Protocol, cast

import httptools

from gateway.core.errors import GatewayError, UpstreamMalformed, UpstreamTruncated, UpstreamUnreachable

# A request up to this size leaves in one write, so in few packets; copying it costs 20 µs. No bound: no setting.
_ONE_WRITE = 256 * 1024
# A read brings up to 250 KiB. Parsing it and what follows make some copies; of a piece at a time, S5 needs 0.2 MB less.
_PIECE = 64 * 1024
_INFORMATIONAL = 200
# Between a name and its value, and between headers, as if both were a line end: four bytes a header.
_BETWEEN = b"\r\n"


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
        complete: Whether the answer has come to its end.
        keeps_alive: Whether the connection can carry another exchange, once this one is complete.
        reused: Whether the connection had been idle before: it may have been closed at the other side meanwhile.
        hide: Returns bytes of the answer without our credential.
    """

    __slots__ = (
        "_barren",
        "_batch",
        "_connection",
        "_failure",
        "_held",
        "_max_headers",
        "_parser",
        "_raw",
        "_read_ahead",
        "_sink",
        "_until_close",
        "answered",
        "complete",
        "head",
        "headers",
        "hide",
        "keeps_alive",
        "reused",
        "status",
    )

    def __init__(
        self,
        connection: Connection,
        loop: asyncio.AbstractEventLoop,
        max_headers: int,
        read_ahead: int,
        hide: Callable[[bytes], bytes],
    ) -> None:
        self._connection = connection
        self._raw: list[tuple[bytes, bytes]] = []
        self._parser = httptools.HttpResponseParser(self)
        self._sink: BodySink | None = None
        self._batch: list[bytes] = []
        self._failure: GatewayError | None = None
        self._max_headers = max_headers
        self._read_ahead = read_ahead
        self._barren = 0
        self._held = False
        self._until_close = False
        self.head: asyncio.Future[None] = loop.create_future()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.answered = False
        self.complete = False
        self.keeps_alive = False
        self.reused = connection.reused
        self.hide = hide

    def attach(self, sink: BodySink) -> None:
        """Give the body to the sink, beginning with what has come already."""
        self._sink = sink
        self._deliver()
        if not self._held:  # neither now nor before by the sink
            self._connection.resume(self)

    def pause(self) -> None:
        """Stop reading; the kernel's buffer, then Claude, holds what comes."""
        self._held = True
        self._connection.pause(self)

    def resume(self) -> None:
        """Read on."""
        self._held = False
        self._connection.resume(self)

    def abort(self) -> None:
        """End the exchange now, whatever its state; closes the connection unless the answer is complete."""
        self._sink = None
        self.head.cancel()
        self._connection.abandon(self)

    def feed(self, data: bytes) -> None:
        """Take what the socket brought.

        Raises:
            UpstreamMalformed: It is not HTTP, or its head is too large.
        """
        self.answered = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.keeps_alive = False
            if not self.complete:
                raise _malformed(error) from None
        if not self._batch:
            self._measure(len(data))
        elif self._barren:
            self._barren = 0

    def flush(self) -> None:
        """Hand on what one read brought."""
        if self._sink is not None:
            self._deliver()
        elif self._batch and sum(map(len, self._batch)) > self._read_ahead:
            self._connection.pause(self)

    def end(self) -> None:
        """The other side has closed the connection in order, which is how some bodies end."""
        if self._until_close and self._failure is None:
            self.complete = True
            self._deliver()
        else:
            self.lose(None)

    def lose(self, cause: object) -> None:
        """The connection is gone."""
        detail = None if cause is None else repr(cause)
        if self.answered:
            self.fail(UpstreamTruncated("The connection to Claude ended in the middle of the answer.", detail=detail))
        else:
            self.fail(UpstreamUnreachable("The connection to Claude ended before an answer.", detail=detail))

    def fail(self, error: GatewayError) -> None:
        """The answer will not be complete."""
        if self.complete or self._failure is not None:
            return
        self._failure = error
        if not self.head.done():
            self.head.set_exception(error)
            self.head.exception()  # retrieved: whoever waits raises it, and nobody waits after an abort
        self._deliver()

    def let_go(self) -> None:
        """Drop the parser after the last byte: it holds the exchange, so only the garbage collector would find them."""
        del self._parser

    # What httptools calls.

    def on_message_begin(self) -> None:
        """Refuse a second answer to one request."""
        if self.complete:
            raise UpstreamMalformed("Claude answered twice.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; they are looked at when all are there."""
        self._raw.append((name, value))

    def on_headers_complete(self) -> None:
        """Tell who waits for the head; an interim answer (103) is passed over, and so is what comes after the body."""
        raw, self._raw = self._raw, []
        joined = _BETWEEN.join(chain.from_iterable(raw))
        if len(joined) + len(_BETWEEN) > self._max_headers:
            raise UpstreamMalformed("The head of Claude's answer is too large.")
        if self.hide(joined) != joined:
            raw = [(self.hide(name), self.hide(value)) for name, value in raw]
        self.status = self._parser.get_status_code()
        if self.status < _INFORMATIONAL:
            return
        headers = self.headers = {_lower(name): value.decode("latin-1") for name, value in raw}
        chunked = headers.get("transfer-encoding", "").lower().endswith("chunked")
        self._until_close = not chunked and "content-length" not in headers
        if not self.head.done():
            self.head.set_result(None)

    def on_body(self, body: bytes) -> None:
        """Collect what this read brings."""
        self._batch.append(body)

    def on_message_complete(self) -> None:
        """Note the end; ``flush`` tells the sink after the last bytes."""
        if self.status >= _INFORMATIONAL:
            self.complete = True
            self.keeps_alive = bool(self._parser.should_keep_alive())

    def _measure(self, size: int) -> None:
        """Bound what comes without a byte of body: heads that do not end, and trailers."""
        self._barren += size
        if self._barren > self._max_headers and not self.complete:
            raise UpstreamMalformed("The head of Claude's answer is too large.")

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

    Attributes:
        idle_since: For the pool: when it became idle last.
        reused: For the pool: whether it ever was.
    """

    def __init__(self, on_idle: Callable[[Connection], None], on_closed: Callable[[Connection], None]) -> None:
        self._on_idle = on_idle
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._paused = False
        self.idle_since = 0.0
        self.reused = False

    @property
    def closing(self) -> bool:
        """Whether it can carry no exchange any more."""
        return self._transport is None or self._transport.is_closing()

    def start(
        self,
        loop: asyncio.AbstractEventLoop,
        head: bytes,
        body: bytes,
        max_headers: int,
        read_ahead: int,
        hide: Callable[[bytes], bytes],
    ) -> Exchange:
        """Send a request; the connection must be idle. One that was lost meanwhile fails the exchange."""
        exchange = self._exchange = Exchange(self, loop, max_headers, read_ahead, hide)
        if self._transport is None or self._transport.is_closing():
            exchange.lose(None)
            return exchange
        # One write for small requests: one packet. A large body is not copied for that.
        if len(body) < _ONE_WRITE:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        return exchange

    def pause(self, exchange: Exchange) -> None:
        """Stop reading, if the exchange is the current one."""
        if exchange is self._exchange and not self._paused and self._transport and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self, exchange: Exchange | None) -> None:
        """Read on, if the exchange is the current one."""
        if exchange is self._exchange and self._paused and self._transport and not self._transport.is_closing():
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
        # uvloop's transports are not asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        bound = getattr(transport, "set_read_buffer_limits", None)
        if bound is not None:
            # TLS reads ahead while paused, and uvloop drops what it holds when the other side then closes. With this
            # the socket rests, too, from the first byte that waits: nothing is lost, and one read is all that waits.
            bound(high=1, low=0)

    def data_received(self, data: bytes) -> None:
        """Feed the exchange; bytes that nobody asked for end the connection."""
        if len(data) > _PIECE:
            for start in range(0, len(data), _PIECE):
                self.data_received(data[start : start + _PIECE])
            return
        exchange = self._exchange
        if exchange is None:
            self.close()
            return
        try:
            exchange.feed(data)
        except UpstreamMalformed as error:
            exchange.fail(error)
            self.close()
            return
        if exchange.complete:
            self._finish(exchange)
        exchange.flush()

    def eof_received(self) -> None:
        """Tell the exchange, and close: a request that is still on its way is of no use either."""
        if self._exchange is not None:
            self._exchange.end()
        self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the exchange."""
        self._transport = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lose(exc)
            exchange.let_go()
        self._on_closed(self)

    def _finish(self, exchange: Exchange) -> None:
        self._exchange = None
        exchange.let_go()
        self.resume(None)
        # An answer that came before the request was sent whole leaves the rest of it in the way of the next one.
        unsent = self._transport is not None and self._transport.get_write_buffer_size()
        if exchange.keeps_alive and not unsent and not self.closing:
            self._on_idle(self)
        else:
            self.close()


@lru_cache(maxsize=128)
def _lower(name: bytes) -> str:
    """Return a header's name as it is looked for; there are a few dozen, again and again."""
    return name.decode("latin-1").lower()


def _malformed(error: Exception) -> UpstreamMalformed:
    if isinstance(error.__context__, UpstreamMalformed):  # raised by a callback of ours
        return error.__context__
    return UpstreamMalformed("Claude's answer is not valid HTTP.", detail=repr(error))
