"""aiohttp's server with every bound set, and its own errors in our words.

A request that aiohttp cannot parse never reaches a route. Its answer to that echoes the request's first line, which can
hold a prompt; ours says what was wrong and nothing of what was sent, in the shape of the route as far as the line's
first bytes tell it. On the clients' side it is a request like any other: one Outcome, to the metrics and to the log.
"""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus
from typing import Any, Self

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from gateway.core.errors import GatewayError, GatewayFault, HeaderTooLarge, InvalidRequest, QueryTooLong
from gateway.core.trace import new_request_id
from gateway.web.client_side import reset
from gateway.web.dialects import Dialect, dialect_of
from gateway.web.edge import tell
from gateway.web.record import Record
from gateway.web.services import Services
from gateway.web.settings import ServerSettings

# As much of a request line as tells the route: "OPTIONS /v1/", after an empty line that some clients send.
_TELLING = 16


class ListenError(Exception):
    """An address cannot be listened on; the message is one line for the operator."""


class _Protocol(RequestHandler):
    """One client's connection.

    Args:
        server: Whose.
        services: Who is told of requests that could not be parsed; None where nobody is.
        options: aiohttp's own.
    """

    __slots__ = ("_body", "_line", "_services")

    def __init__(self, server: web.Server, services: Services | None, **options: Any) -> None:
        super().__init__(server, **options)
        self._services = services
        self._body = EMPTY_PAYLOAD  # of the request that was parsed last
        self._line = b""  # how the request begins whose head has not come whole

    def data_received(self, data: bytes) -> None:
        """Parse what came.

        A body whose framing breaks is told to the handler that reads it; aiohttp leaves it waiting for the rest.
        """
        between = self._body.is_eof()
        super().data_received(data)
        if not self._messages:
            if between and len(self._line) < _TELLING:
                self._line = (self._line + data[:_TELLING])[:_TELLING]
            return
        message, self._body = self._messages[-1]
        if not isinstance(message, _ErrInfo):
            self._line = b""
            return
        self._line = (self._line + data[:_TELLING])[:_TELLING] if between else b""
        request = self._current_request
        if request is not None and not request.content.is_eof():
            self.close()
            request.content.set_exception(web.RequestPayloadError("broken framing"))
            request.content.feed_eof()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of the last body, which knows this connection: no circle is left for the garbage collector."""
        super().connection_lost(exc)
        self._body = EMPTY_PAYLOAD

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """Return the answer to a request that could not be parsed, or whose handling broke."""
        unparsed = status == HTTPStatus.BAD_REQUEST
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
        tell(record, services)

    def _error(self, status: int, exc: BaseException | None) -> GatewayError:
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


def _dialect_of(line: bytes) -> Dialect:
    """Return the dialect of a request line's beginning."""
    path = line.lstrip(b"\r\n").partition(b" ")[2].partition(b" ")[0]
    return dialect_of(path.decode("latin-1"))


class _Server(web.Server):
    """Makes our protocol for each connection."""

    services: Services | None = None

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
    """

    def __init__(self, app: web.Application, settings: ServerSettings, services: Services | None = None) -> None:
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

    async def stop_listening(self) -> None:
        """Refuse new connections and close the idle ones; what is under way goes on."""
        for site in self.sites:
            await site.stop()
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
        self._socket.close()

    async def serve(self, runner: Runner) -> None:
        """Accept connections for a runner that was set up.

        Raises:
            ListenError: Another process was quicker.
        """
        try:
            await web.SockSite(runner, self._socket, backlog=self._backlog).start()
        except OSError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: OSError) -> ListenError:
        return ListenError(f"cannot listen on {self._address}: {error.strerror}; choose another with {self._option}")
