"""Which worker takes the connections of which socket: state only, and what follows from it.

- There is a socket for each worker. While one has none, because it died or there are fewer workers now, another takes
  its connections: nobody waits at a closed counter.
- A socket changes hands without being closed. What waits at it is taken by the next one.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar


class Taker(Protocol):
    """A worker, as far as sockets go."""

    def listen(self, door: int) -> None:
        """Take the connections of a socket."""

    def leave(self, door: int) -> None:
        """Take no more of them."""


W = TypeVar("W", bound=Taker)


class Slots(Generic[W]):
    """The places for workers, and the sockets.

    Attributes:
        workers: Who has which place; None while it is empty.
    """

    def __init__(self) -> None:
        self.workers: list[W | None] = []
        self._takers: list[W | None] = []  # by socket

    def seat(self, workers: list[W], doors: int) -> list[W]:
        """Give all places to new workers, with so many sockets in all; return who had them."""
        before = [worker for worker in self.workers if worker is not None]
        self.workers = [*workers]
        self._takers += [None] * (doors - len(self._takers))
        self._assign()
        return before

    def fill(self, place: int, worker: W) -> None:
        """Give an empty place to a worker."""
        self.workers[place] = worker
        self._assign()

    def empty(self, worker: W) -> int | None:
        """Take a worker's place, and its sockets, from it; return the place, None if it has none."""
        if worker not in self.workers:
            return None
        place = self.workers.index(worker)
        self.workers[place] = None
        self._assign()
        return place

    def close(self) -> None:
        """Have no places and no sockets any more; whoever takes connections is told otherwise."""
        self.workers = []
        self._takers = []

    def _assign(self) -> None:
        seated = [worker for worker in self.workers if worker is not None]
        for index, before in enumerate(self._takers):
            own = self.workers[index] if index < len(self.workers) else None
            taker = own or (seated[index % len(seated)] if seated else None)
            if taker is before:
                continue
            if taker is not None:
                taker.listen(index)
            if before is not None:
                before.leave(index)
            self._takers[index] = taker
