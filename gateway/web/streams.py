"""The requests in flight: counted, refused past a limit, renewed, and cut from outside.

Whether there is room is one comparison, whatever the reason that there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.core.errors import GatewayError, Overloaded
from gateway.core.principal import Principal
from gateway.core.quota.holds import Checkpoint


class Running(Protocol):
    """A request in flight."""

    @property
    def principal(self) -> Principal | None:
        """Who asks."""

    @property
    def held_bytes(self) -> int:
        """Bytes in memory for its client."""

    def cut(self, error: GatewayError) -> None:
        """End it with an error."""


class Holding(Protocol):
    """A request that holds a part of its limits."""

    def checkpoint(self) -> Checkpoint:
        """Return what it holds, and used so far."""

    def note(self) -> None:
        """Note what it used so far, in the ledger and for the next checkpoint."""


class Streams:
    """All requests in flight of this process.

    Args:
        limit: Most of them at a time.

    Attributes:
        running: Those of them that wait for something, and can be cut.
        holds: By request id, the requests whose holds are to be renewed.
        draining: Whether the process is about to stop.
        left_bytes: Returns the bytes in memory of answers that are over.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._ceiling = limit  # zero while new requests are refused whatever their number
        self._count = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self.running: set[Running] = set()
        self.holds: dict[str, Holding] = {}
        self.draining = False
        self.left_bytes: Callable[[], int] = int

    def __len__(self) -> int:
        """Return how many are in flight."""
        return self._count

    def enter(self) -> None:
        """Count one in; refuse it at once when there is no room.

        Raises:
            Overloaded: The limit is reached, or load is shed.
        """
        if self._count >= self._ceiling:
            raise self._refusal()
        self._count += 1
        self._empty.clear()

    @property
    def full(self) -> bool:
        """Whether ``enter`` would refuse."""
        return self._count >= self._ceiling

    def shed(self, active: bool) -> None:  # noqa: FBT001 - a switch
        """Refuse whatever comes, or no longer; what is in flight goes on."""
        self._ceiling = 0 if active else self._limit

    def _refusal(self) -> Overloaded:
        if self._ceiling:
            message, bound = "The gateway is at its limit of requests in flight.", "server.max_streams"
        else:
            message, bound = "The gateway has more to do than it can.", "server.max_loop_lag"
        return Overloaded(f"{message} Try again shortly.", retry_after=1.0, limit=bound)

    def leave(self) -> None:
        """Count one out."""
        self._count -= 1
        if not self._count:
            self._empty.set()

    def cut(self, error: GatewayError, whose: Callable[[Principal], bool] | None = None) -> int:
        """End all, or those of some principals, with an error; return how many."""
        jobs = [
            job for job in self.running if whose is None or (job.principal is not None and whose(job.principal))
        ]
        for job in jobs:
            job.cut(error)
        return len(jobs)

    def held_bytes(self) -> int:
        """Return the bytes in memory for all clients; any thread may ask."""
        return sum(job.held_bytes for job in tuple(self.running)) + self.left_bytes()

    async def wait_empty(self, seconds: float) -> bool:
        """Wait until none is in flight; False when the time is over first."""
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True
