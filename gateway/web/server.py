"""aiohttp's server with every bound set, and its own errors in our words.

A request that aiohttp cannot parse never reaches a route. Its answer to that echoes the request's first line, which can
hold a prompt; ours says what was wrong and nothing of what was sent.
"""

from __future__ import annotations

import asyncio
import socket
from http import HTTPStatus

import orjson
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from gateway.core.errors import InvalidRequest, QueryTooLong
from gateway.web.dialects import CHAT
from gateway.web.settings import ServerSettings

# A request line with the longest query that is taken (web/routes.py), and room to answer a longer one with a 414.
_MAX_LINE = 256 * 1024
# A header line: the longest that SDKs and browsers send are betas and cookies.
_MAX_HEADER = 32 * 1024
_BACKLOG = 4096


class ListenError(Exception):
    """An address cannot be listened on; the message is one line for the operator."""


class _Protocol(RequestHandler):
    """One client's connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to a request that could not be parsed, or whose handling broke."""
        if status != HTTPStatus.BAD_REQUEST:
            return super().handle_error(request, status, exc, message)
        error = (
            QueryTooLong("The request line, or a header, is too long.")
            if isinstance(exc, LineTooLong)
            else InvalidRequest("The request is not valid HTTP.")
        )
        body = orjson.dumps(CHAT.error_body(error, ""))
        response = web.Response(status=error.status, body=body, content_type="application/json")
        response.force_close()
        return response


class _Server(web.Server):
    """Makes our protocol for each connection."""

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return _Protocol(self, loop=self._loop, **self._kwargs)


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
            keepalive_timeout=settings.keepalive_timeout,
            max_line_size=_MAX_LINE,
            max_field_size=_MAX_HEADER,
            shutdown_timeout=1.0,
        )

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


def listening_socket(address: str, option: str, send_buffer: int) -> socket.socket:
    """Return a socket that listens on HOST:PORT; connections inherit the cap of its send buffer.

    Raises:
        ListenError: It cannot be had; names the option that chooses another.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family, kind, proto, _, target = socket.getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, proto)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}; choose another with {option}") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        sock.bind(target)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on {address}: {error.strerror}; choose another with {option}") from None
    sock.setblocking(False)
    return sock
