"""Connections to one upstream: kept alive, bounded, opened beside the request that wants one.

- At most ``max_connections`` carry an exchange at a time; who finds none free waits for at most ``pool_timeout``.
- Whoever was given a connection, or waits for one that is being opened, counts as one; the place is free again when
  the connection is idle, closed, or could not be opened. Nobody gives a place back by hand.
- A connection is opened in a task of the pool's: a client that leaves in the meantime does not waste it.
- The most recently used idle connection goes out first, so that the surplus ages and is closed.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohappyeyeballs

from gateway.core.errors import Draining, GatewayError, Overloaded, UpstreamTimeout, UpstreamUnreachable
from gateway.upstream.connection import Connection
from gateway.upstream.settings import TransportSettings

# RFC 8305's pause between two addresses of one host: the standard's figure, no setting.
_HAPPY_EYEBALLS_DELAY = 0.25

Spawn = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where an upstream listens."""

    host: str
    port: int
    tls: ssl.SSLContext | None


@dataclass(frozen=True, slots=True)
class _Waiter:
    """Somebody who found no connection free."""

    fresh: bool
    timer: asyncio.TimerHandle


class Pool:
    """Connections to one address.

    Args:
        address: Where to connect.
        settings: Bounds and deadlines.
        spawn: Starts a task that somebody drains at shutdown; connections are opened in such tasks.
    """

    def __init__(self, address: Address, settings: TransportSettings, spawn: Spawn) -> None:
        self._address = address
        self._settings = settings
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._busy = 0
        self._waiters: dict[asyncio.Future[Connection], _Waiter] = {}  # in the order of their coming
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def busy(self) -> int:
        """Connections that carry an exchange, or are being opened for one."""
        return self._busy

    def acquire(self, *, fresh: bool = False) -> asyncio.Future[Connection]:
        """Return a future of a connection, or of a GatewayError; cancel it to give up.

        Args:
            fresh: Do not take one that was used before: it may have been closed at the other side.
        """
        future: asyncio.Future[Connection] = self._loop.create_future()
        if self._closed:
            future.set_exception(_stopping())
        elif self._busy >= self._settings.max_connections:
            timer = self._loop.call_later(self._settings.pool_timeout, self._give_up, future)
            self._waiters[future] = _Waiter(fresh, timer)
            future.add_done_callback(self._leave)
        else:
            self._busy += 1
            self._serve(future, fresh=fresh)
        return future

    def close(self) -> None:
        """Close every connection; who waits for one is told so."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for waiter in tuple(self._waiters):
            self._leave(waiter)
            if not waiter.done():
                waiter.set_exception(_stopping())
        for connection in tuple(self._open):
            connection.close()

    def _serve(self, future: asyncio.Future[Connection], *, fresh: bool) -> None:
        while self._idle and not fresh:
            connection = self._idle.pop()
            if not connection.closing:
                future.set_result(connection)
                return
            self._open.discard(connection)  # its end frees no place: it held none
        task = self._spawn(self._connect())
        task.add_done_callback(partial(self._connected, future))

    def _connected(self, future: asyncio.Future[Connection], task: asyncio.Task[Connection | GatewayError]) -> None:
        result = self._outcome(task)
        if isinstance(result, GatewayError):
            self._release()
            if not future.done():
                future.set_exception(result)
            return
        self._open.add(result)
        if future.done():  # whoever waited has gone
            self._on_idle(result)
        else:
            future.set_result(result)

    def _outcome(self, task: asyncio.Task[Connection | GatewayError]) -> Connection | GatewayError:
        if task.cancelled():
            return _stopping()
        if (bug := task.exception()) is not None:  # told by whoever owns the task
            return UpstreamUnreachable("Claude could not be reached.", detail=repr(bug))
        result = task.result()
        if isinstance(result, Connection) and (self._closed or result.closing):
            result.close()
            closed_at_once = UpstreamUnreachable("Claude could not be reached.", detail="closed right after connecting")
            return _stopping() if self._closed else closed_at_once
        return result

    async def _connect(self) -> Connection | GatewayError:
        address, settings = self._address, self._settings
        try:
            async with asyncio.timeout(settings.connect_timeout):
                infos = await self._loop.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
                sock = await aiohappyeyeballs.start_connection(
                    infos,
                    happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY,
                    loop=self._loop,
                    socket_factory=self._make_socket,
                )
                _, connection = await self._loop.create_connection(
                    lambda: Connection(self._on_idle, self._on_closed),
                    sock=sock,
                    ssl=address.tls,
                    server_hostname=address.host if address.tls else None,
                )
        except TimeoutError:
            return UpstreamTimeout("Claude could not be reached in time.", detail="connect timed out")
        # uvloop raises RuntimeError for some sockets, and a host that is no host name is a ValueError.
        except (OSError, RuntimeError, ValueError) as error:
            return UpstreamUnreachable("Claude could not be reached.", detail=_reason(error))
        return connection

    def _make_socket(self, info: aiohappyeyeballs.AddrInfoType) -> socket.socket:
        family, kind, proto, _, _ = info
        sock = socket.socket(family, kind, proto)
        sock.setblocking(False)
        # Before connect: the window's scale is agreed on there.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._settings.receive_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def _give_up(self, future: asyncio.Future[Connection]) -> None:
        if not future.done():
            message, bound = "All connections to Claude are in use. Try again.", "upstream.max_connections"
            future.set_exception(Overloaded(message, retry_after=1.0, limit=bound))

    def _leave(self, future: asyncio.Future[Connection]) -> bool:
        """Take a future off the queue; return whether it asked for a fresh connection."""
        waiter = self._waiters.pop(future, None)
        if waiter is None:
            return False
        waiter.timer.cancel()
        return waiter.fresh

    def _release(self) -> None:
        self._busy -= 1
        while self._waiters:
            future = next(iter(self._waiters))
            fresh = self._leave(future)
            if not future.done():
                self._busy += 1
                self._serve(future, fresh=fresh)
                return

    def _on_idle(self, connection: Connection) -> None:
        if self._closed or len(self._idle) >= self._settings.keepalive:
            connection.close()
            return
        connection.reused = True
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._settings.keepalive_timeout, self._sweep)
        self._release()

    def _on_closed(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
        elif connection in self._open:
            self._release()
        self._open.discard(connection)

    def _sweep(self) -> None:
        self._sweeper = None
        limit = self._loop.time() - self._settings.keepalive_timeout
        while self._idle and self._idle[0].idle_since <= limit:  # the oldest is first
            connection = self._idle.pop(0)
            self._open.discard(connection)
            connection.close()
        if self._idle:
            self._sweeper = self._loop.call_later(self._settings.keepalive_timeout / 2, self._sweep)


def _stopping() -> GatewayError:
    return Draining("The gateway is restarting. Please try again.", retry_after=1.0)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    return f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
