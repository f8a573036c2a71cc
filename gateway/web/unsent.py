"""What clients have not taken of answers that nobody looks after any more, and those who take nothing of it.

- aiohttp sends the end of an answer without a deadline, and a connection that it closes stays until all was taken.
  A client that reads nothing would keep its connection and the bytes for as long as it likes.
- A look now and then is enough: nothing is done per request, and of a connection on which nothing waits one number is
  read. What has a handler is that one's to look after.
- Progress is what the client's side has acknowledged. Time is counted in looks and not by a clock: a process that was
  stopped for a minute has not waited for anybody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

from aiohttp.web_protocol import RequestHandler

from gateway.web.client_side import drop, waiting_bytes

# How often in the time in which a client may take nothing.
LOOKS = 4

Connections = Mapping[RequestHandler, asyncio.Transport]


class _Seen(NamedTuple):
    begun: int  # requests: what another one adds is no lack of progress
    waiting: int
    look: int


class Unsent:
    """Drops clients that take nothing of what is left for them.

    Args:
        timeout: Seconds without progress; it is noticed at most one look later.
        dropped: Told of each.
    """

    def __init__(self, timeout: float, dropped: Callable[[], None]) -> None:
        self.interval = timeout / LOOKS
        self._dropped = dropped
        self._look = 0
        self._seen: dict[RequestHandler, _Seen] = {}

    def look(self, connections: Connections) -> bool:
        """Look at all connections; return whether there is one to be looked at again."""
        self._look += 1
        seen = {}
        for connection, transport in connections.items():
            if not transport.get_write_buffer_size() or _is_busy(connection):
                continue
            now = _Seen(_begun(connection), waiting_bytes(transport), self._look)
            before = self._seen.get(connection)
            if before is None or before.begun != now.begun or now.waiting < before.waiting:
                seen[connection] = now
            elif self._look < before.look + LOOKS:
                seen[connection] = before
            else:
                drop(transport)
                self._dropped()
        self._seen = seen
        return bool(seen)


def unsent_bytes(connections: Connections) -> int:
    """Return the bytes in memory that no handler looks after; any thread may ask."""
    size = 0
    for connection in tuple(connections):
        transport = connections.get(connection)
        if transport is not None and not _is_busy(connection):
            size += transport.get_write_buffer_size()
    return size


def _is_busy(connection: RequestHandler) -> bool:
    return connection._current_request is not None  # noqa: SLF001 - aiohttp tells it nowhere else


def _begun(connection: RequestHandler) -> int:
    return connection._request_count - len(connection._messages)  # noqa: SLF001 - the same
