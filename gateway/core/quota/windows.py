"""A sliding window: how much was admitted in the last ``length`` seconds.

The window is kept in sub-buckets of ``length / buckets`` seconds. A bucket remembers the time of its *last* entry and
counts until ``length`` seconds after it, so each entry counts for at least ``length`` and less than
``length + length / buckets`` seconds. What follows from it:

- No window of that length, wherever it starts, holds more than the limit.
- A refusal comes at most ``length / buckets`` early: 1 s for a minute in 60 buckets, which is the resolution of
  ``Retry-After``. Fewer than 12 buckets would refuse more than 8 % of a window early, so that is the least.
- The wait that is told lies in ``(0, length]``.
- At most ``buckets + 1`` buckets exist, and never more than there were entries.
- The clock never goes back: an earlier ``now`` counts as the latest one seen. Callers pass a monotonic clock.
"""

from __future__ import annotations

MIN_BUCKETS = 12
MINUTE_BUCKETS = 60


class _Bucket:
    """Entries whose times fall into one sub-bucket."""

    __slots__ = ("count", "index", "last")

    def __init__(self, index: int, last: float, count: int) -> None:
        self.index = index
        self.last = last
        self.count = count


class SlidingWindow:
    """A counter over any ``length`` seconds.

    Args:
        length: Seconds.
        buckets: Sub-buckets; see the module for what they cost and buy.
    """

    __slots__ = ("_buckets", "_latest", "_sum", "_width", "length")

    def __init__(self, length: float, buckets: int = MINUTE_BUCKETS) -> None:
        if length <= 0 or buckets < MIN_BUCKETS:
            raise ValueError(f"a window is longer than 0 s and has at least {MIN_BUCKETS} buckets")
        self.length = length
        self._width = length / buckets
        # A list, although it is taken from at the front: with 61 at most that costs nothing, and an empty deque is
        # 600 bytes more, for each of a hundred thousand addresses.
        self._buckets: list[_Bucket] = []
        self._sum = 0
        self._latest = 0.0

    def __len__(self) -> int:
        return len(self._buckets)

    def _at(self, now: float) -> float:
        """Move on to ``now``, forget what has left the window, and return the time that counts."""
        if now > self._latest:
            self._latest = now
            horizon, buckets = self.length, self._buckets
            while buckets and buckets[0].last + horizon <= now:
                self._sum -= buckets.pop(0).count
        return self._latest

    def used(self, now: float) -> int:
        """Return what counts at ``now``; 0 means that the window may be forgotten."""
        self._at(now)
        return self._sum

    def add(self, amount: int, now: float) -> float:
        """Count ``amount``, whatever the limit, and return the time that it counts at, for :meth:`adjust`."""
        now = self._at(now)
        index = int(now // self._width)
        if self._buckets and self._buckets[-1].index == index:
            bucket = self._buckets[-1]
            bucket.last = now
            bucket.count += amount
        else:
            self._buckets.append(_Bucket(index, now, amount))
        self._sum += amount
        return now

    def adjust(self, at: float, by: int, now: float) -> None:
        """Change what was added at the time ``at`` by ``by``; what has left the window meanwhile stays as it was."""
        now = self._at(now)
        index = int(at // self._width)
        place = len(self._buckets)
        while place and self._buckets[place - 1].index >= index:
            place -= 1
        if place < len(self._buckets) and self._buckets[place].index == index:
            self._change(place, by)
        elif by > 0 and at + self.length > now:
            self._buckets.insert(place, _Bucket(index, at, by))
            self._sum += by

    def _change(self, place: int, by: int) -> None:
        bucket = self._buckets[place]
        by = max(by, -bucket.count)
        bucket.count += by
        self._sum += by
        if not bucket.count:
            del self._buckets[place]

    def retry_after(self, amount: int, limit: int, now: float) -> float | None:
        """Return the seconds until ``amount`` fits: 0 for now, None for never."""
        now = self._at(now)
        excess = self._sum + amount - limit
        if excess <= 0:
            return 0.0
        for bucket in self._buckets:
            excess -= bucket.count
            if excess <= 0:
                return self._leaves_in(bucket, now)
        return None

    def standing(self, now: float) -> tuple[int, float]:
        """Return what counts, and the seconds until something leaves the window: its whole length when it is empty."""
        now = self._at(now)
        return self._sum, self._leaves_in(self._buckets[0], now) if self._buckets else self.length

    def _leaves_in(self, bucket: _Bucket, now: float) -> float:
        return min(self.length, bucket.last + self.length - now)
