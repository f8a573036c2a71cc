"""A whole answer on its way to its client: the slot is held until the kernel has it all, and for no longer than pays.

- A client that takes nothing for ``slow_client_timeout`` is reset, as one of a stream is; one that takes a little now
  and then has the time of the request.
- Progress is what the client's side has acknowledged: see ``ClientSide``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Self

from aiohttp import web

from gateway.core.errors import GatewayError, SlowClient, StreamTooLong
from gateway.web.client_side import drop, waiting_bytes

_LOOKS = 4


class Sending:
    """While it is entered, writing waits until all was taken; a client that is dropped ends the wait by its reset.

    Args:
        request: Whose answer; its connection must still be there.
        timeout: Seconds for which the client may take nothing.
        deadline: Monotonic time at which all must have been taken.
        failed: Told why, before the client is dropped.
    """

    def __init__(
        self, request: web.Request, timeout: float, deadline: float, failed: Callable[[GatewayError], None]
    ) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        self._transport: asyncio.Transport = transport
        self._timeout = timeout
        self._deadline = deadline
        self._failed = failed
        self._waiting: float = float("inf")
        self._progress_at = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes that the kernel has not taken from us yet."""
        return self._transport.get_write_buffer_size()

    def fail(self, error: GatewayError) -> None:
        """Drop the client: it has a part of the answer, so that nothing can be told to it."""
        self._failed(error)
        drop(self._transport)

    def __enter__(self) -> Self:
        self._transport.set_write_buffer_limits(high=0)
        self._arm(self._progress_at)
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._transport.is_closing():
            self._transport.set_write_buffer_limits()

    def _arm(self, now: float) -> None:
        wait = max(0.001, min(self._timeout / _LOOKS, self._deadline - now))
        self._timer = asyncio.get_running_loop().call_later(wait, self._look)

    def _look(self) -> None:
        self._timer = None
        now, waiting = time.monotonic(), waiting_bytes(self._transport)
        if waiting < self._waiting:
            self._waiting, self._progress_at = waiting, now
        elif now >= self._progress_at + self._timeout:
            self.fail(SlowClient("The client took nothing for too long."))
            return
        if now >= self._deadline:
            self.fail(StreamTooLong("The answer took longer than this gateway allows."))
            return
        self._arm(now)
