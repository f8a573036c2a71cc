"""Event-loop lag: how late a timer runs, on a schedule that does not slip.

The due times are fixed in advance. A loop that was blocked for a second missed several of them, and each counts with
its own lateness; a sampler that sleeps *after* each sample would count that second once, and hide it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

_MOST_MISSED = 1000  # past it (a stopped process) the schedule starts anew instead of working off hours


class Schedule:
    """Due times, ``interval`` seconds apart."""

    def __init__(self, interval: float, now: float) -> None:
        self._interval = interval
        self._due = now + interval

    def wait(self, now: float) -> float:
        """Return the seconds until the next due time."""
        return max(0.0, self._due - now)

    def lags(self, now: float) -> Iterator[float]:
        """Yield how late each due time up to ``now`` is, and step over them."""
        for _ in range(_MOST_MISSED):
            if self._due > now:
                return
            yield now - self._due
            self._due += self._interval
        self._due = max(self._due, now + self._interval)


async def sample_loop_lag(
    observe: Callable[[float], None], interval: float, woke: Callable[[float], None] = lambda _: None
) -> None:
    """Give ``observe`` the loop's lag, for ever; run it as a task and cancel it at shutdown.

    ``woke`` is told once of each wake-up, how late it was.

    The clock is the system's, because uvloop's own is rounded to the millisecond and stands still within a step.
    """
    schedule = Schedule(interval, time.monotonic())
    while True:
        await asyncio.sleep(schedule.wait(time.monotonic()))
        lags = tuple(schedule.lags(time.monotonic()))
        for lag in lags:
            observe(lag)
        woke(lags[0] if lags else 0.0)
