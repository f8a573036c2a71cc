"""aiohttp's server with every bound set, and its own errors in our words.

A request that aiohttp cannot parse never reaches a route. Its answer to that echoes the request's first line, which can
hold a prompt; ours says what was wrong and nothing of what was sent, in the shape of the route as far as the line's
first bytes tell it. On the clients' side it is a request like any other: one Outcome, to the metrics and to the log.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from http import HTTPStatus
from typing import Any, Self, cast

import orjson
from aiohttp import web
from aiohttp.http import HttpVersion10, HttpVersion11, RawRequestMessage
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
)
from gateway.core.trace import new_request_id
from gateway.web.accept import Heads, Looking
from gateway.web.client_side import reset
from gateway.web.dialects import CHAT, Dialect, dialect_of
from gateway.web.record import Record
from gateway.web.services import Services
from gateway.web.settings import ServerSettings

_CONTINUE = "100-continue"
# As much of a request line as tells the route: "OPTIONS /v1/", after an empty line that some clients send.
_TELLING = 16


_FULL_ANSWER = orjson.dumps(CHAT.error_body(Overloaded("The gateway has too many connections.", retry_after=1.0), ""))
# What one connection too many is told: nothing is read or made for it.
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"Cache-Control: no-store\r\nServer: tokenweir\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
    % (len(_FULL_ANSWER), _FULL_ANSWER)
)


class ListenError(Exception):
    """An address cannot be listened on; the message is one line for the operator."""


class _Protocol(RequestHandler):
    """One client's connection.

    Args:
        server: Whose.
        services: Who is told of requests that could not be parsed; None where nobody is.
        options: aiohttp's own.
    """

    __slots__ = ("_begun", "_body", "_line", "_server", "_services")

    def __init__(self, server: _Server, services: Services | None, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._services = services
        self._body = EMPTY_PAYLOAD  # of the request that was parsed last
        self._line = b""  # how the request begins whose head has not come whole
        self._begun = -1  # how many heads had come before the one of which a part has

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
        A body whose framing breaks is told to the handler that reads it; aiohttp leaves it waiting for the rest.
        """
        if self._upgraded:
            return
        between = self._body.is_eof()
        super().data_received(data)
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
        self._server.heads.forget(self)
        super().connection_lost(exc)
        self._body = EMPTY_PAYLOAD

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


class _Server(web.Server):
    """Makes our protocol for each connection."""

    services: Services | None = None
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

    def count(self, connections: int) -> None:
        """Tell how many connections there are; another server, of another configuration, may have some as well."""
        if self.services is not None and connections != self._counted:
            self.services.metrics.connections(connections - self._counted)
            self._counted = connections

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return _Protocol(self, self.services, loop=self._loop, **self._kwargs)

    def pre_shutdown(self) -> None:
        """Close the connections on which nothing is under way."""
        for connection in self.connections:
            if isinstance(connection, _Protocol):
                connection.close_idle()


class Runner(web.AppRunner):
    """Runs an application with every bound set.

    Args:
        app: What to serve.
        settings: Deadlines and buffers.
        services: Who is told of requests that could not be parsed; None where nobody is.
        connections: Most connections at a time; as configured unless given.
    """

    def __init__(
        self,
        app: web.Application,
        settings: ServerSettings,
        services: Services | None = None,
        connections: int | None = None,
    ) -> None:
        super().__init__(
            app,
            access_log=None,
            handler_cancellation=True,
            auto_decompress=False,
            keepalive_timeout=settings.keepalive_timeout,
            max_line_size=int(settings.max_request_line),
            max_field_size=int(settings.max_header),
            shutdown_timeout=settings.shutdown_timeout,
        )
        self._services = services
        self._connections = connections or settings.max_connections
        self._header_timeout = settings.header_timeout
        self._looking: Looking | None = None

    async def cleanup(self) -> None:
        """End everything."""
        if self._looking is not None:
            self._looking.stop()
        if isinstance(self.server, _Server):
            self.server.count(0)
        await super().cleanup()

    async def accept(self, sock: socket.socket, backlog: int) -> web.SockSite:
        """Take the connections of a bound socket until the site that is returned is stopped, which closes the socket.

        Raises:
            OSError: It cannot be listened on.
        """
        site = web.SockSite(self, sock, backlog=backlog)
        await site.start()
        return site

    async def stop_accepting(self) -> None:
        """Take no more connections."""
        for site in self.sites:
            await site.stop()

    def close_idle(self) -> None:
        """Close the connections on which nothing is under way; what is under way goes on."""
        if self.server is not None:
            self.server.pre_shutdown()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        server = _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=asyncio.get_running_loop(),
            **made._kwargs,  # noqa: SLF001 - the only way to what AppRunner was given
        )
        server.services = self._services
        server.most = self._connections
        server.heads = Heads(self._header_timeout)
        self._looking = Looking(server.heads.interval, server.look)
        made.request_handler = None  # type: ignore[assignment]  # it serves nothing; do not keep the application twice
        return server


class BoundSocket:
    """A socket that is bound to HOST:PORT and refuses connections until it serves; close it at the end.

    Args:
        address: HOST:PORT.
        option: The option that chooses another, for the error.
        settings: The kernel's buffers: connections inherit the one for sending.

    Raises:
        ListenError: The address cannot be had.
    """

    def __init__(self, address: str, option: str, settings: ServerSettings) -> None:
        self._address = address
        self._backlog = settings.backlog
        self._option = option
        host, _, port = address.rpartition(":")
        try:
            family, kind, proto, _, target = socket.getaddrinfo(
                host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            self._socket = socket.socket(family, kind, proto)
        except OSError as error:
            raise self._refusal(error) from None
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, int(settings.send_buffer))
            self._socket.bind(target)
        except OSError as error:
            self._socket.close()
            raise self._refusal(error) from None
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> list[Any]:
        """The family's number, then what ``bind`` takes."""
        return [int(self._socket.family), *self._socket.getsockname()]

    @property
    def url(self) -> str:
        """Where it is reached."""
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def adapt(self, settings: ServerSettings) -> None:
        """Take other buffers for the connections to come."""
        self._backlog = settings.backlog
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, int(settings.send_buffer))

    def close(self) -> None:
        """Refuse connections, unless somebody accepts them still."""
        self._socket.close()

    async def serve(self, runner: Runner) -> None:
        """Have a runner that was set up accept connections; several may at a time.

        Raises:
            ListenError: Another process was quicker.
        """
        sock = self._socket.dup()
        sock.setblocking(False)
        try:
            await runner.accept(sock, self._backlog)
        except OSError as error:
            sock.close()
            raise self._refusal(error) from None

    def _refusal(self, error: OSError) -> ListenError:
        return ListenError(f"cannot listen on {self._address}: {error.strerror}; choose another with {self._option}")
