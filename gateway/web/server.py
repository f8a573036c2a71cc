"""aiohttp's server with every bound set, and the sockets that it listens on."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from typing import Any, Self

from aiohttp import web

from gateway.core.errors import SlowClient
from gateway.web.accept import Heads, Looking
from gateway.web.client_side import drop
from gateway.web.protocol import Server
from gateway.web.services import Services
from gateway.web.settings import ServerSettings
from gateway.web.unsent import Connections, Unsent, unsent_bytes


# Seconds between two looks at what is left at the end.
_OFTEN = 0.02


class ListenError(Exception):
    """An address cannot be listened on; the message is one line for the operator."""


class Runner(web.AppRunner):
    """Runs an application with every bound set.

    Args:
        app: What to serve.
        settings: Deadlines and buffers.
        services: Who is told of requests that could not be parsed; None where nobody is.
        connections: Most connections at a time; as configured unless given.
        tls: How to speak TLS; HTTP alone if None.
    """

    def __init__(
        self,
        app: web.Application,
        settings: ServerSettings,
        services: Services | None = None,
        connections: int | None = None,
        tls: ssl.SSLContext | None = None,
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
        self._tls = tls
        self._looking: Looking | None = None
        self._unsent = Unsent(settings.slow_client_timeout, self._dropped)
        self._looking_at_unsent: Looking | None = None
        self._left: Connections = {}  # after the end: closed, but for what their clients have not taken

    async def cleanup(self) -> None:
        """End everything; what has been said is for the clients to take still, while they do."""
        if self._looking is not None:
            self._looking.stop()
        if isinstance(self.server, Server):
            self.server.count(0)
        connections = dict(self._connections_open())
        await super().cleanup()
        self._left = {each: transport for each, transport in connections.items() if transport.get_write_buffer_size()}
        self._look_at_unsent()

    async def accept(self, sock: socket.socket, backlog: int) -> web.SockSite:
        """Take the connections of a bound socket until the site that is returned is stopped, which closes the socket.

        Raises:
            OSError: It cannot be listened on.
        """
        site = _Site(self, sock, backlog=backlog, ssl_context=self._tls)
        site.handshake_timeout = None if self._tls is None else self._header_timeout
        await site.start()
        return site

    async def stop_accepting(self) -> None:
        """Take no more connections."""
        for site in self.sites:
            await site.stop()

    async def taken(self, seconds: float) -> None:
        """Wait until clients have taken what is left of answers that are over; who has not by then is reset."""
        end = time.monotonic() + seconds
        while unsent_bytes(self._connections_open()) and time.monotonic() < end:
            await asyncio.sleep(_OFTEN)  # nobody tells of it
        for transport in tuple(self._connections_open().values()):
            if transport.get_write_buffer_size():
                drop(transport)

    def close_idle(self) -> None:
        """Close the connections on which nothing is under way; what is under way goes on."""
        if self.server is not None:
            self.server.pre_shutdown()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        server = Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=asyncio.get_running_loop(),
            **made._kwargs,  # noqa: SLF001 - the only way to what AppRunner was given
        )
        server.services = self._services
        server.most = self._connections
        server.secured = self._tls is not None
        server.heads = Heads(self._header_timeout)
        self._looking = Looking(server.heads.interval, server.look)
        self._looking_at_unsent = Looking(self._unsent.interval, self._look_at_unsent)
        if self._services is not None:
            self._services.streams.left_bytes = lambda: unsent_bytes(self._connections_open())
        made.request_handler = None  # type: ignore[assignment]  # it serves nothing; do not keep the application twice
        return server

    def _connections_open(self) -> Connections:
        return self._left if self.server is None else self.server._connections  # noqa: SLF001 - with their transports

    def _look_at_unsent(self) -> None:
        some = self._unsent.look(self._connections_open())
        if self.server is None and self._looking_at_unsent is not None and not some:
            self._looking_at_unsent.stop()
            self._left = {}

    def _dropped(self) -> None:
        if self._services is not None:
            self._services.metrics.flow.ended(SlowClient.code)


class _Site(web.SockSite):
    """Gives a handshake as much time as a head: a connection is no connection of ours until it is over."""

    handshake_timeout: float | None = None

    async def start(self) -> None:
        """Take connections."""
        await web.BaseSite.start(self)
        server = self._runner.server
        assert server is not None  # noqa: S101 - the runner was set up
        self._server = await asyncio.get_running_loop().create_server(
            server,
            sock=self._sock,
            ssl=self._ssl_context,
            backlog=self._backlog,
            ssl_handshake_timeout=self.handshake_timeout,
        )


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
    def address(self) -> str:
        """Where it is reached: HOST:PORT."""
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

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
