"""aiohttp's server with every bound set, and its own errors in our words.

A request that aiohttp cannot parse never reaches a route. Its answer to that echoes the request's first line, which can
hold a prompt; ours says what was wrong and nothing of what was sent.
"""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus
from typing import Self

import orjson
import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from gateway.core.errors import GatewayError, GatewayFault, HeaderTooLarge, InvalidRequest, QueryTooLong
from gateway.core.trace import new_request_id
from gateway.web.client_side import reset
from gateway.web.dialects import CHAT
from gateway.web.settings import ServerSettings

log = structlog.get_logger()


class ListenError(Exception):
    """An address cannot be listened on; the message is one line for the operator."""


class _Protocol(RequestHandler):
    """One client's connection."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        """Parse what came.

        A body whose framing breaks is told to the handler that reads it; aiohttp leaves it waiting for the rest.
        """
        super().data_received(data)
        request = self._current_request
        if request is None or not self._messages or not isinstance(self._messages[-1][0], _ErrInfo):
            return
        if not request.content.is_eof():
            self.close()
            request.content.set_exception(web.RequestPayloadError("broken framing"))
            request.content.feed_eof()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """Return the answer to a request that could not be parsed, or whose handling broke."""
        self.log_exception("Error handling request", exc_info=exc)
        if request.writer.output_size:
            # Not closed in order: without framing that would look like the answer's end.
            reset(request.transport)
            raise ConnectionResetError
        error = self._error(status, exc)
        request_id = new_request_id()
        log.info("request not understood", request_id=request_id, status=error.status, reason=type(exc).__name__)
        response = web.Response(
            status=error.status,
            body=orjson.dumps(CHAT.error_body(error, request_id)),
            content_type="application/json",
            headers={
                "X-Request-Id": request_id,
                "request-id": request_id,
                "Vary": "Origin",
                "Cache-Control": "no-store",
                "Server": "tokenweir",
            },
        )
        response.force_close()
        return response

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


class _Server(web.Server):
    """Makes our protocol for each connection."""

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return _Protocol(self, loop=self._loop, **self._kwargs)

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
    """

    def __init__(self, app: web.Application, settings: ServerSettings) -> None:
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
