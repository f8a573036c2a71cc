"""Label values, bounded.

A label value that a caller can choose is a way to fill the memory of Prometheus. So every value passes a ``Values``:
it keeps what it let through, lets through at most ``limit`` values, and answers ``other`` for the rest, for good.
Children are looked up by tuples of such values only, and are made once: ``metric.labels()`` takes a lock and 1.4 µs,
a dict 0.05 µs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from gateway.metrics.quick import Counter, Histogram

OTHER = "other"
NONE = "none"

M = TypeVar("M", Counter, Histogram)


class Values:
    """The values that one label may take.

    Args:
        limit: How many; the ones met later are ``other``.
        allowed: Says whether a value not met before may be one; asked again for each refused one, so it must be cheap.
    """

    def __init__(self, limit: int, allowed: Callable[[str], bool] | None = None) -> None:
        self._limit = limit
        self._allowed = allowed
        self._known: dict[str, str] = {"": NONE, OTHER: OTHER, NONE: NONE}
        self._room = limit

    def __call__(self, value: str) -> str:
        """Return the value to label with: itself, ``other``, or ``none`` for an empty one."""
        return self._known.get(value) or self._meet(value)

    def _meet(self, value: str) -> str:
        if self._room <= 0 or (self._allowed is not None and not self._allowed(value)):
            return OTHER
        self._room -= 1
        self._known[value] = value
        return value


class Children(dict[tuple[str, ...], M], Generic[M]):
    """The children of one metric by their label values, made when first asked for.

    Ask only with values that passed ``Values``: this dict does not forget.
    """

    def __init__(self, metric: M) -> None:
        super().__init__()
        self._metric: M = metric

    def __missing__(self, key: tuple[str, ...]) -> M:
        child = self[key] = self._metric.labels(*key)
        return child
