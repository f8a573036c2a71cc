"""Addresses of one host, looked up beside the event loop.

- The system's look-up cannot be stopped, and it may hang for half a minute. So there is one at a time, in a thread of
  its own, which whoever needs the addresses waits for together: neither other hosts nor the process's end wait for it.
- What was found is used for ``fresh_for`` seconds; then DNS is asked again, because addresses move.
- Old addresses are better than none: when DNS has trouble, or takes longer than ``patience``, they are used again. When
  it says that there is no such host any more, they are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence

from aiohappyeyeballs import AddrInfoType

Lookup = Callable[[str, int], Sequence[AddrInfoType]]


def system_lookup(host: str, port: int) -> Sequence[AddrInfoType]:
    """Ask the system."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Resolver:
    """Looks up one host.

    Args:
        host: Name or address.
        port: What the addresses are for.
        fresh_for: Seconds for which an answer counts.
        patience: Seconds after which old addresses are used rather than waiting on.
        lookup: Blocks until it has the answer.
    """

    def __init__(
        self, host: str, port: int, *, fresh_for: float, patience: float, lookup: Lookup = system_lookup
    ) -> None:
        self._host = host
        self._port = port
        self._fresh_for = fresh_for
        self._patience = patience
        self._lookup = lookup
        self._loop = asyncio.get_running_loop()
        self._known: Sequence[AddrInfoType] = ()
        self._until = 0.0
        self._running: asyncio.Future[Sequence[AddrInfoType] | Exception] | None = None
        with contextlib.suppress(OSError, ValueError):  # a name: it is looked up when it is needed
            self._known = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
            self._until = float("inf")

    async def addresses(self) -> Sequence[AddrInfoType]:
        """Return where to connect.

        Raises:
            OSError, ValueError: There is nowhere.
        """
        if self._loop.time() < self._until:
            return self._known
        running = self._running or self._start()
        done, _ = await asyncio.wait({running}, timeout=self._patience if self._known else None)
        if not done:
            return self._known
        found = running.result()
        if not isinstance(found, Exception):
            return found
        if self._known and getattr(found, "errno", None) == socket.EAI_AGAIN:
            return self._known
        raise found

    def _start(self) -> asyncio.Future[Sequence[AddrInfoType] | Exception]:
        self._running = self._loop.create_future()
        threading.Thread(target=self._ask, name=f"look-up of {self._host}", daemon=True).start()
        return self._running

    def _ask(self) -> None:
        found: Sequence[AddrInfoType] | Exception
        try:
            found = self._lookup(self._host, self._port)
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
            found = error
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
            self._loop.call_soon_threadsafe(self._told, found)

    def _told(self, found: Sequence[AddrInfoType] | Exception) -> None:
        running, self._running = self._running, None
        if not isinstance(found, Exception):
            self._known, self._until = found, self._loop.time() + self._fresh_for
        elif getattr(found, "errno", None) != socket.EAI_AGAIN:
            self._known = ()
        if running is not None and not running.done():
            running.set_result(found)
