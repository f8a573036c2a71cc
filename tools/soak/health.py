"""Whether a process is as it was: its memory flat, its files closed, its load where it should be."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_MIB = 1024 * 1024
# Memory that comes and goes with what is in flight, and what the caches of a young process still take.
_SLACK = 8 * _MIB
_GROWTH = 1.05
# Until so many looks, a minute's, a young process grows whatever it does.
_WARM_UP = 12
_PART = 5
# The crowd follows the load, a quarter at most at a time.
_STEP = 1.25
_CROWDED = 0.85
_SMALLEST, _LARGEST = 4, 2000


@dataclass(frozen=True, slots=True)
class Memory:
    """What a series of resident sets says, in bytes; ``flat`` is whether it stayed within its bound."""

    before: float
    after: float
    bound: float

    @property
    def flat(self) -> bool:
        """Whether the end is within the bound."""
        return self.after <= self.bound

    def __str__(self) -> str:
        return f"{self.before / _MIB:.1f} MiB after the start, {self.after / _MIB:.1f} at the end ({self._allowed})"

    @property
    def _allowed(self) -> str:
        return f"at most {self.bound / _MIB:.1f}"


def memory(series: Sequence[int]) -> Memory | None:
    """Compare the first fifth after warming up with the last; None of too few values.

    Warming up takes the first fifth, and a minute at least.
    """
    part = max(_PART, len(series) // _PART)
    start = max(_WARM_UP, part)
    if len(series) < start + 2 * part:
        return None
    before = statistics.median(series[start : start + part])
    return Memory(before, statistics.median(series[-part:]), before * _GROWTH + _SLACK)


def crowd_size(now: int, load: float, wanted: float, others: float) -> int:
    """Return how many clients bring the gateway closer to the wanted load.

    Args:
        now: How many there are.
        load: Share of its core that the gateway used lately.
        wanted: Share that it is to use.
        others: Share of a core that the clients and the pretend Claude used: past most of it they were the limit.
    """
    if others > _CROWDED:
        return max(_SMALLEST, int(now / _STEP))
    factor = min(_STEP, max(1 / _STEP, wanted / max(load, 0.01)))
    return min(_LARGEST, max(_SMALLEST, round(now * factor)))


def leaks(before: dict[str, int], after: dict[str, int]) -> list[str]:
    """Return what is open now that was not at the start; SQLite opens its files when they are first needed."""
    return [
        f"{after.get(kind, 0)} open files of kind {kind}, {before.get(kind, 0)} at the start"
        for kind in sorted(set(after) - {"file"})
        if after.get(kind, 0) > before.get(kind, 0)
    ]
