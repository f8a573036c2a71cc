"""When connections are opened ahead of need.

- The first try comes at once, like everything that replaces a connection in use.
- After a failure there is one try at a time, after pauses that double up to a minute. A connection that the other side
  closes within a second is a failure as well: opening it again and again would be a busy loop with a network in it.
- Failures are forgotten when an exchange ends well, or when a connection has lasted.
"""

from __future__ import annotations

import random
from collections.abc import Callable

# Seconds. Many requests at once make one try of it.
_SOON = 0.02
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_LASTING = 1.0


class Warmth:
    """Decides how many to open, and when.

    Args:
        wanted: Idle connections to keep.
        jitter: A random number from 0 to 1.

    Attributes:
        failures: In a row.
    """

    def __init__(self, wanted: int, jitter: Callable[[], float] = random.random) -> None:
        self.wanted = wanted
        self.failures = 0
        self._jitter = jitter

    def pause(self) -> float:
        """Return the seconds until the next try."""
        if not self.failures:
            return _SOON
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self.failures - 1, 10))
        return longest * (0.5 + self._jitter() / 2)

    def missing(self, there: int, room: int) -> int:
        """Return how many to open, with some there or under way and room for so many."""
        most = room if not self.failures else min(1, room)
        return max(0, min(self.wanted - there, most))

    def closed(self, lasted: float) -> None:
        """Note that the other side has closed an idle one."""
        self.failures = self.failures + 1 if lasted < _LASTING else 0
