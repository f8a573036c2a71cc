"""Connections to one upstream: kept alive, bounded, opened beside the request that wants one.

- At most ``max_connections`` carry an exchange at a time; who finds none free waits for at most ``pool_timeout``.
- Whoever was given a connection, or waits for one that is being opened, counts as one; the place is free again when
  the connection is idle, closed, or could not be opened. Nobody gives a place back by hand.
- A connection is opened in a task of the pool's: a client that leaves in the meantime does not waste it.
- The most recently used idle connection goes out first, so that the surplus ages and is closed.
- A few idle connections are kept open ahead of need (``warm.py``); they hold no place. Nothing is tried in a hurry:
  what cannot be reached, or closes at once, is tried again after ever longer pauses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import structlog

from gateway.core.errors import Draining, GatewayError, Overloaded, UpstreamUnreachable
from gateway.upstream.connection import Connection
from gateway.upstream.dial import Dialer, DialFailed
from gateway.upstream.interface import Connections
from gateway.upstream.settings import TransportSettings
from gateway.upstream.warm import Warmth

log = structlog.get_logger()

Spawn = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]


class Observer(Protocol):
    """Who is told what happens to one upstream's connections; never per request."""

    def opened(self, pool: Connections) -> None:
        """The pool's numbers may be read from now on, from any thread."""

    def closed(self, pool: Connections) -> None:
        """They do not count any more."""

    def connected(self, seconds: float) -> None:
        """One was opened."""

    def connect_failed(self, step: str) -> None:
        """One could not be opened: ``dns``, ``tcp``, ``proxy`` or ``tls`` failed."""

    def waited(self, seconds: float, *, in_vain: bool) -> None:
        """Somebody waited for one to become free; in vain if it took too long."""


class Unobserved:
    """Nobody."""

    def opened(self, pool: Connections) -> None:
        """Pass over it."""

    def closed(self, pool: Connections) -> None:
        """Pass over it."""

    def connected(self, seconds: float) -> None:
        """Pass over it."""

    def connect_failed(self, step: str) -> None:
        """Pass over it."""

    def waited(self, seconds: float, *, in_vain: bool) -> None:
        """Pass over it."""


@dataclass(frozen=True, slots=True)
class _Waiter:
    """Somebody who found no connection free."""

    fresh: bool
    since: float
    timer: asyncio.TimerHandle


class Pool:
    """Connections to one address.

    Args:
        name: The upstream's, for the log.
        dialer: Opens them.
        settings: Bounds and deadlines.
        spawn: Starts a task that somebody drains at shutdown; connections are opened in such tasks.
        observer: Is told what happens.
    """

    def __init__(
        self, name: str, dialer: Dialer, settings: TransportSettings, spawn: Spawn, observer: Observer | None = None
    ) -> None:
        self._name = name
        self._dialer = dialer
        self._settings = settings
        self._observer: Observer = observer or Unobserved()
        self._max_connections, self._keepalive = settings.max_connections, settings.keepalive
        self._spawn = spawn
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._busy = 0
        self._waiters: dict[asyncio.Future[Connection], _Waiter] = {}  # in the order of their coming
        self._sweeper: asyncio.TimerHandle | None = None
        self._warmth = Warmth(settings.warm_connections)
        self._warm = 0  # wanted, from warm_up() on
        self._warmer: asyncio.TimerHandle | None = None
        self._warming = 0
        self._reached = True
        self._closed = False
        self._observer.opened(self)

    @property
    def busy(self) -> int:
        """Connections that carry an exchange, or are being opened for one."""
        return self._busy

    @property
    def idle(self) -> int:
        """Connections that wait for an exchange."""
        return len(self._idle)

    def warm_up(self) -> None:
        """Keep the warm connections open from now on."""
        self._warm = min(self._warmth.wanted, self._keepalive)
        self._tend()

    def acquire(self, *, fresh: bool = False) -> asyncio.Future[Connection]:
        """Return a future of a connection, or of a GatewayError; cancel it to give up.

        Args:
            fresh: Do not take one that was used before: it may have been closed at the other side.
        """
        future: asyncio.Future[Connection] = self._loop.create_future()
        if self._closed:
            future.set_exception(_stopping())
        elif self._busy >= self._max_connections:
            timer = self._loop.call_later(self._settings.pool_timeout, self._give_up, future)
            self._waiters[future] = _Waiter(fresh, self._loop.time(), timer)
            future.add_done_callback(self._leave)
        else:
            self._busy += 1
            self._serve(future, fresh=fresh)
        return future

    def close(self) -> None:
        """Close every connection; who waits for one is told so."""
        self._closed = True
        self._observer.closed(self)
        for timer in (self._sweeper, self._warmer):
            if timer is not None:
                timer.cancel()
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
                if self._warmer is None and len(self._idle) < self._warm:
                    self._tend()
                return
            self._open.discard(connection)  # its end frees no place: it held none
        task = self._spawn(self._connect())
        task.add_done_callback(partial(self._connected, future))

    def _connected(self, future: asyncio.Future[Connection], task: asyncio.Task[Connection | GatewayError]) -> None:
        result = self._outcome(task)
        if isinstance(result, GatewayError):
            self._warmth.failures += 1
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
        started = self._loop.time()
        try:
            connection = await self._dialer.dial(lambda: Connection(self._on_idle, self._on_closed))
        except DialFailed as failed:
            self._observer.connect_failed(failed.step)
            self._note(failed.error)
            return failed.error
        except Overloaded as lack:
            return lack
        self._observer.connected(self._loop.time() - started)
        self._note(None)
        return connection

    def _note(self, error: GatewayError | None) -> None:
        """Note whether the upstream can be reached, and tell the operator of a change."""
        if error is not None and self._reached:
            log.warning("upstream cannot be reached", upstream=self._name, reason=error.detail)
        elif error is None and not self._reached:
            log.info("upstream can be reached again", upstream=self._name)
        self._reached = error is None

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
        self._observer.waited(self._loop.time() - waiter.since, in_vain=_in_vain(future))
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
        if self._warmth.failures:
            self._recover()
        if self._closed or len(self._idle) >= self._keepalive:
            connection.close()
            return
        self._keep(connection)
        self._release()

    def _keep(self, connection: Connection) -> None:
        connection.reused = True
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(self._settings.keepalive_timeout, self._sweep)

    def _on_closed(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
            self._warmth.closed(self._loop.time() - connection.idle_since)
            self._tend()
        elif connection in self._open:
            self._release()
        self._open.discard(connection)

    def _sweep(self) -> None:
        self._sweeper = None
        limit = self._loop.time() - self._settings.keepalive_timeout
        while len(self._idle) > self._warm and self._idle[0].idle_since <= limit:  # the oldest is first
            connection = self._idle.pop(0)
            self._open.discard(connection)
            connection.close()
        if len(self._idle) > self._warm:
            self._sweeper = self._loop.call_later(self._settings.keepalive_timeout / 2, self._sweep)

    # The connections that are kept warm.

    def _tend(self) -> None:
        """Set the time for opening what is missing, if anything is."""
        if self._warmer is None and not self._closed and len(self._idle) + self._warming < self._warm:
            self._warmer = self._loop.call_later(self._warmth.pause(), self._open_warm)

    def _open_warm(self) -> None:
        self._warmer = None
        room = min(self._max_connections - self._busy, self._keepalive - len(self._idle)) - self._warming
        for _ in range(self._warmth.missing(len(self._idle) + self._warming, room)):
            self._warming += 1
            self._spawn(self._connect()).add_done_callback(self._warmed)

    def _warmed(self, task: asyncio.Task[Connection | GatewayError]) -> None:
        self._warming -= 1
        result = self._outcome(task)
        if isinstance(result, Connection):
            self._open.add(result)
            self._keep(result)
        else:
            self._warmth.failures += 1
        self._tend()

    def _recover(self) -> None:
        """Forget the failures: what is missing is opened now."""
        self._warmth.failures = 0
        if self._warmer is not None:
            self._warmer.cancel()
            self._warmer = None
        self._tend()


def _stopping() -> GatewayError:
    return Draining("The gateway is restarting. Please try again.", retry_after=1.0)


def _in_vain(future: asyncio.Future[Connection]) -> bool:
    """Say whether a wait has taken too long; one that is not over yet is over now."""
    return future.done() and not future.cancelled() and isinstance(future.exception(), Overloaded)
