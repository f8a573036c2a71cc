"""One client's connection: aiohttp's protocol where it leaves something open, and its own errors in our words.

- A request that aiohttp cannot parse never reaches a route. Its answer to that echoes the request's first line, which
  can hold a prompt; ours says what was wrong and nothing of what was sent, in the shape of the route as far as the
  line's first bytes tell it. On the clients' side it is a request like any other: one Outcome, to the metrics and to
  the log.
- What asks for another protocol, another version, or expects something unknown is dealt with here, before a route.
- A connection too many, and a head that does not come in its time, end here.
- While a request is handled its connection is read, always: what is not read hides that the client has gone. One small
  request may wait behind it; where more comes, all that came is thrown away, and the answer is the connection's last.
"""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import Any, cast

import orjson
from aiohttp import web
from aiohttp.http import HttpVersion10, HttpVersion11, RawRequestMessage, StreamWriter
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.core.errors import (
    GatewayError,
    GatewayFault,
    HeaderTooLarge,
    InvalidRequest,
    Overloaded,
    QueryTooLong,
    RequestTimeout,
    forget_way,
)
from gateway.core.trace import new_request_id
from gateway.web.accept import Heads
from gateway.web.client_side import drop, has_ended, is_secured, reset
from gateway.web.dialects import CHAT, Dialect, dialect_of
from gateway.web.record import Record
from gateway.web.services import Services

_CONTINUE = "100-continue"
# Bytes that may come behind a request that is handled: far below 512 KiB, where aiohttp stops reading a body.
_BEHIND = 16 * 1024
# As much of a request line as tells the route: "OPTIONS /v1/", after an empty line that some clients send.
_TELLING = 16
_FULL_ANSWER = orjson.dumps(CHAT.error_body(Overloaded("The gateway has too many connections.", retry_after=1.0), ""))
# What one connection too many is told: nothing is read or made for it.
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"Cache-Control: no-store\r\nServer: tokenweir\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
    % (len(_FULL_ANSWER), _FULL_ANSWER)
)


class Protocol(RequestHandler):
    """One client's connection.

    Args:
        server: Whose.
        services: Who is told of requests that could not be parsed; None where nobody is.
        options: aiohttp's own.

    Attributes:
        last: Whether the connection ends with the request that is handled, because too much came behind it.
    """

    __slots__ = ("_begun", "_behind", "_body", "_handled", "_line", "_server", "_services", "last")

    def __init__(self, server: Server, services: Services | None, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._services = services
        self._body = EMPTY_PAYLOAD  # of the request that was parsed last
        self._line = b""  # how the request begins whose head has not come whole
        self._begun = -1  # how many heads had come before the one of which a part has
        self._handled = 0  # how many requests have been
        self._behind = 0  # bytes that came behind the one that is
        self.last = False

    @property
    def heads(self) -> int:
        """How many heads have come."""
        return self._request_count

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve the connection, unless it is one too many."""
        if not self._server.admits():
            cast("asyncio.Transport", transport).write(_FULL)
            transport.close()
            return
        super().connection_made(transport)
        self._server.heads.expect(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came.

        A request for another protocol is answered like any other, and is its connection's last.
        """
        if self._upgraded or self.last:
            return
        between = self._body.is_eof()
        if self._waiting + between > 0:
            self._behind += len(data)
        super().data_received(data)
        self._take(data, between=between)
        waiting = self._waiting
        if waiting > 1 or self._behind > _BEHIND or (waiting == 1 and self._body.total_bytes > _BEHIND):
            self._throw_away()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send what a handler that is done returned.

        While the gateway stops, or exchanges its configuration, the answer is the connection's last, also one whose
        head promised otherwise: a client that hears of the end at once does not send its next request into nothing.
        """
        self._handled += 1
        self._behind = 0
        finished = await super().finish_response(request, resp, start_time)
        if self.last:
            self._linger()
        elif self._services is not None and self._services.streams.draining:
            self.close()
        return finished

    @property
    def _waiting(self) -> int:
        """How many requests wait behind the one that is handled, or is to be next; -1 where there is none.

        One whose answer is out counts as handled, although its handler may have something to do still: its client is
        free to ask for more.
        """
        request = self._current_request
        answered = request is not None and cast("StreamWriter", request.writer)._eof  # noqa: SLF001
        return self._request_count - self._handled - 1 - answered

    def _throw_away(self) -> None:
        """Take nothing more from a client that does not wait for its answer, but go on reading."""
        self.last = True
        self.close()
        untouched = self._request_count - len(self._messages) == self._handled
        self._messages = deque([self._messages[0]] if untouched else ())
        self._body, self._line, self._parser = EMPTY_PAYLOAD, b"", None
        self._reading_paused = self._buffer_paused = False
        self._resume_transport_reading()

    def _linger(self) -> None:
        """End the last answer in order; a connection closed under a client that sends would cost it the answer."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        self._force_close = True  # aiohttp does not close it, then
        if transport.can_write_eof():
            transport.write_eof()
        self.keep_alive(False)  # and the place of its timer, which ends with the connection, is free
        self._keepalive_handle = self._loop.call_later(self._lingering_time, transport.close)

    def _take(self, data: bytes, *, between: bool) -> None:
        """Note what has come of requests; ``between``: whether the data began where one may begin.

        A body whose framing breaks is told to the handler that reads it; aiohttp leaves it waiting for the rest.
        """
        if not self._messages:
            if between and data:
                self._take_part(data)
            return
        message, self._body = self._messages[-1]
        if not isinstance(message, _ErrInfo):
            self._line = b""
            if len(self._messages) > 1 or _is_odd(message):
                self._messages = deque((_tamed(message), body) for message, body in self._messages)
            return
        self._line = (self._line + data[:_TELLING])[:_TELLING] if between else b""
        request = self._current_request
        if request is not None and not request.content.is_eof():
            self.close()
            request.content.set_exception(web.RequestPayloadError("broken framing"))
            request.content.feed_eof()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of the last body, which knows this connection: no circle is left for the garbage collector."""
        forget_way(exc)  # aiohttp keeps it
        self._server.heads.forget(self)
        super().connection_lost(exc)
        self._body = EMPTY_PAYLOAD

    def eof_received(self) -> None:
        """Take a half-close for a departure; what such a client has not taken of an answer must not delay its notice."""
        super().eof_received()
        transport = self.transport
        if transport is None or self._current_request is None:
            return
        if transport.get_write_buffer_size() or is_secured(transport):  # TLS has a buffer that cannot be looked into
            drop(transport)

    def give_up(self) -> None:
        """End the wait for a head; where a part of it has come, its client is told."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            self._server.heads.expect(self)  # of the next one, while the one before is answered
        elif self._begun != self._request_count:
            self.force_close()
        else:
            self._request_count += 1
            self._messages.append((_ErrInfo(HTTPStatus.REQUEST_TIMEOUT, TimeoutError(), ""), EMPTY_PAYLOAD))
            waiter.set_result(None)

    def _take_part(self, data: bytes) -> None:
        """Note a part of a head; empty lines before one are none."""
        if len(self._line) < _TELLING:
            self._line = (self._line + data[:_TELLING])[:_TELLING]
        if self._begun == self._request_count or data.strip(b"\r\n"):
            self._begun = self._request_count
            self._server.heads.expect(self)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """Return the answer to a request that could not be parsed, or whose handling broke."""
        unparsed = status in (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_TIMEOUT)
        if not unparsed or self._services is None:
            self.log_exception("Error handling request", exc_info=exc)
        if request.writer.output_size:
            # Not closed in order: without framing that would look like the answer's end.
            reset(request.transport)
            raise ConnectionResetError
        error = self._error(status, exc)
        request_id = new_request_id()
        if unparsed and self._services is not None:
            self._tell(request_id, request.method, error, self._services)
        dialect = _dialect_of(self._line) if unparsed else dialect_of(request.path)
        response = dialect.error_response(error, request_id)
        response.headers.update(
            {"X-Request-Id": request_id, "request-id": request_id, "Vary": "Origin", "Server": "tokenweir"}
        )
        response.force_close()
        return response

    def _tell(self, request_id: str, method: str, error: GatewayError, services: Services) -> None:
        peer = self.transport and self.transport.get_extra_info("peername")
        record = Record(request_id, method, services.proxies.client_address(peer[0] if peer else ""))
        record.fail(error)
        record.status = error.status
        services.telling.tell(record)

    def _error(self, status: int, exc: BaseException | None) -> GatewayError:
        if status == HTTPStatus.REQUEST_TIMEOUT:
            return RequestTimeout("The request line and the headers did not arrive in time.")
        if status != HTTPStatus.BAD_REQUEST:
            return GatewayFault("Something went wrong inside the gateway.")
        if isinstance(exc, LineTooLong):
            # aiohttp tells a long header from a long request line by nothing but the limit that was passed.
            if exc.args[1] == self.max_field_size != self.max_line_size:
                return HeaderTooLarge(f"A header is over the limit of {self.max_field_size} bytes.")
            return QueryTooLong("The request line is too long.")
        return InvalidRequest("The request is not valid HTTP.")

    def close_idle(self) -> None:
        """Close the connection unless a request is on its way.

        aiohttp's own ``close`` would stop reading, so that a body on its way never ends, and an idle connection would
        stay open and deaf.
        """
        if self._current_request is None and not self._messages:
            self.force_close()


def _is_odd(message: RawRequestMessage) -> bool:
    return message.version is not HttpVersion11 or message.upgrade or "Expect" in message.headers


def _tamed(message: RawRequestMessage | _ErrInfo) -> RawRequestMessage | _ErrInfo:
    """Return what becomes of a request of another version, for another protocol, or with an expectation."""
    if isinstance(message, _ErrInfo):
        return message
    if message.version not in (HttpVersion10, HttpVersion11):
        return _ErrInfo(HTTPStatus.BAD_REQUEST, BadHttpMessage("unknown version"), "")
    if message.headers.get("Expect", _CONTINUE).lower() != _CONTINUE:
        # Ignored, as RFC 9110 allows: aiohttp would answer by itself, where nobody counts it.
        headers = CIMultiDict(message.headers)
        del headers["Expect"]
        message = message._replace(headers=CIMultiDictProxy(headers))
    # Whatever follows is of a protocol that is not spoken here, or lost: aiohttp's parser drops it.
    return message._replace(should_close=True) if message.upgrade else message


def _dialect_of(line: bytes) -> Dialect:
    """Return the dialect of a request line's beginning."""
    path = line.lstrip(b"\r\n").partition(b" ")[2].partition(b" ")[0]
    return dialect_of(path.decode("latin-1"))


class Server(web.Server):
    """Makes our protocol for each connection."""

    services: Services | None = None
    secured = False
    _counted = 0
    heads: Heads
    most: int

    def admits(self) -> bool:
        """Return whether there is room for another connection."""
        if len(self._connections) < self.most:
            return True
        if self.services is not None:
            self.services.metrics.connection_refused()
        return False

    def look(self) -> None:
        """Give up the heads whose time is over; count the connections."""
        self.heads.sweep()
        self.count(len(self._connections))
        if self.secured:
            # uvloop tells nobody of the end of a client's side under TLS while bytes wait for that client.
            for transport in filter(has_ended, tuple(self._connections.values())):
                drop(transport)

    def count(self, connections: int) -> None:
        """Tell how many connections there are; another server, of another configuration, may have some as well."""
        if self.services is not None and connections != self._counted:
            self.services.metrics.connections(connections - self._counted)
            self._counted = connections

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return Protocol(self, self.services, loop=self._loop, **self._kwargs)

    def pre_shutdown(self) -> None:
        """Close the connections on which nothing is under way."""
        for connection in self.connections:
            if isinstance(connection, Protocol):
                connection.close_idle()
