"""The library's metrics at a third of their price: some twenty of them are changed at the end of every stream.

Changed by the event loop's thread alone, so without locks. Of metrics with labels change the children only. Of
exemplars a bucket keeps the latest.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from typing import Any

import prometheus_client
import prometheus_client.values
from prometheus_client.samples import Exemplar


class Value:
    """One number, with the interface of the library's values."""

    __slots__ = ("_value",)
    _multiprocess = False

    def __init__(self, *_: Any, **__: Any) -> None:
        self._value = 0.0

    def inc(self, amount: float) -> None:
        """Add to it."""
        self._value += amount

    def set(self, value: float, timestamp: float | None = None) -> None:  # noqa: ARG002 - the library's interface
        """Change it."""
        self._value = value

    def get(self) -> float:
        """Return it."""
        return self._value

    def set_exemplar(self, exemplar: Exemplar) -> None:
        """Do nothing: where processes are summed up there are none."""

    def get_exemplar(self) -> Exemplar | None:
        """Return None."""


class Exemplified(Value):
    """One number, and the latest exemplar of it."""

    __slots__ = ("_exemplar",)

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()
        self._exemplar: Exemplar | None = None

    def set_exemplar(self, exemplar: Exemplar) -> None:
        """Keep one that was counted."""
        self._exemplar = exemplar

    def get_exemplar(self) -> Exemplar | None:
        """Return the latest, if there is one."""
        return self._exemplar


# The library chooses once for a process, by an environment variable; this is the same choice.
prometheus_client.values.ValueClass = Exemplified


class Counter(prometheus_client.Counter):
    """A counter."""

    def inc(self, amount: float = 1, exemplar: dict[str, str] | None = None) -> None:  # noqa: ARG002 - the library's
        """Count ``amount``, which is not negative."""
        self._value.inc(amount)


class Histogram(prometheus_client.Histogram):
    """A histogram that finds the bucket by halving."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Count ``amount``."""
        self._sum.inc(amount)
        bucket = self._buckets[bisect_left(self._upper_bounds, amount)]
        bucket.inc(1)
        if exemplar is not None:
            bucket.set_exemplar(Exemplar(exemplar, amount, time.time()))
