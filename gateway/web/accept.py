"""What connections may cost: their number, the time until a request's head is whole, and the open files they need.

- A connection over the limit is told so and closed before anything is made for it. The limit leaves a file for the
  upstream's side of each request in flight, so that what was let in can be served.
- A head has ``header_timeout`` from its first byte, the first head of a connection from the connection's start. One
  timer looks after all connections: a head that comes whole, as nearly all do, costs nothing. Time is counted in looks
  and not by a clock: a process that was stopped for a minute has not waited for anybody.
- The event loop survives a lack of open files: it accepts a connection and closes it at once. It tells nobody of it,
  so a look each second does, once per change.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from gateway.web.settings import ServerSettings

# Besides connections: the database, its journal, the log, the event loop's own, idle connections to upstreams.
_OTHER_FILES = 256
LOOK_EVERY = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the limit of open files leaves of the configured limits.

    Attributes:
        streams: Requests in flight.
        connections: Connections of clients.
        files: The limit, where it is what limits.
    """

    streams: int
    connections: int
    files: int | None = None


def capacity(settings: ServerSettings, files: int) -> Capacity:
    """Return what ``files`` open files are enough for.

    Streams come first: an idle connection can be had again, a stream cannot.
    """
    room = files - min(_OTHER_FILES, files // 4)
    wanted = min(settings.max_streams, settings.max_connections)
    streams = min(wanted, room // 2)
    connections = min(settings.max_connections, room - streams)
    return Capacity(streams, connections, files if streams < wanted else None)


def open_files() -> int:
    """Return how many files this process may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 2**31 if soft == resource.RLIM_INFINITY else soft


def raise_open_files(settings: ServerSettings) -> None:
    """Allow as many open files as the configured limits need, as far as the system lets us."""
    wanted = settings.max_connections + settings.max_streams + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def tell_of_few_files(settings: ServerSettings) -> None:
    """Log it when there are not open files enough for the limits; a warning only where somebody asked for them."""
    room = capacity(settings, open_files())
    if room.files is not None:
        tell = log.warning if "max_streams" in settings.model_fields_set else log.info
        tell(
            "the limit of open files allows fewer streams than are configured",
            open_files=room.files,
            streams=room.streams,
            max_streams=settings.max_streams,
        )


class Awaited(Protocol):
    """A connection on which a head is awaited."""

    @property
    def heads(self) -> int:
        """How many heads have come."""

    def give_up(self) -> None:
        """End the wait."""


class Heads:
    """The connections that wait for a request's head, the longest first.

    Args:
        timeout: Seconds that a head may take; it is given up at most one look later.
    """

    def __init__(self, timeout: float) -> None:
        self.interval = min(LOOK_EVERY, timeout / 4)
        self._looks = math.ceil(timeout / self.interval) + 1
        self._look = 0
        self._waiting: dict[Awaited, tuple[int, int]] = {}

    def expect(self, connection: Awaited) -> None:
        """Begin the time of a head, unless it has begun."""
        waiting = self._waiting.get(connection)
        if waiting is not None:
            if waiting[1] == connection.heads:
                return
            del self._waiting[connection]  # it goes to the end
        self._waiting[connection] = (self._look + self._looks, connection.heads)

    def forget(self, connection: Awaited) -> None:
        """Stop caring for a connection."""
        self._waiting.pop(connection, None)

    def sweep(self) -> None:
        """Look: give up those whose time is over."""
        self._look += 1
        while self._waiting:
            connection, (until, number) = next(iter(self._waiting.items()))
            if until > self._look:
                return
            del self._waiting[connection]
            if connection.heads == number:
                connection.give_up()


class OpenFiles:
    """Notices when no file can be opened any more, and when one can.

    Args:
        exhausted: Told each time that it begins.
    """

    def __init__(self, exhausted: Callable[[], None]) -> None:
        self._exhausted = exhausted
        self._none_left = False

    def look(self) -> None:
        """Try one."""
        none_left = _none_left()
        if none_left is self._none_left:
            return
        self._none_left = none_left
        if none_left:
            self._exhausted()
            log.error("no open files left: connections are closed as they come", limit=open_files())
        else:
            log.warning("there are open files again")


def _none_left() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)
    return False


class Looking:
    """Calls something again and again until it is stopped.

    Args:
        interval: Seconds from one time to the next.
        look: What is called.
    """

    def __init__(self, interval: float, look: Callable[[], None]) -> None:
        self._interval = interval
        self._look = look
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(interval, self._again)

    def stop(self) -> None:
        """Call it no more."""
        self._timer.cancel()

    def _again(self) -> None:
        self._timer = self._loop.call_later(self._interval, self._again)
        self._look()
