"""Ends of requests that a store is still to be told of, in their order, up to a bound."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from gateway.core.quota.holds import Amounts, Reservation


class End(NamedTuple):
    """How a request ended: what it used, None when it is as if it had not been; and when, Unix seconds."""

    held: Reservation
    used: Amounts | None
    ended_at: float | None = None


class Arrears:
    """Keeps ends; the first end of a request counts.

    Args:
        most: Ends at most; past them the oldest is forgotten.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._ends: OrderedDict[str, End] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, end: End) -> Reservation | None:
        """Remember an end; return what was forgotten for it."""
        self._ends.setdefault(end.held.id, end)
        if len(self._ends) <= self._most:
            return None
        return self._ends.popitem(last=False)[1].held

    def all(self) -> tuple[End, ...]:
        """Return what is to be told, the oldest first; each stays until it is :meth:`told`."""
        return tuple(self._ends.values())

    def told(self, end: End) -> None:
        """The store knows."""
        self._ends.pop(end.held.id, None)
