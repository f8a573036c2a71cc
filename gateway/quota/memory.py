"""The hold store of one process: dictionaries, no I/O, no task switch, no background task.

- Every operation first moves the clock (never back) and expires what is due, oldest first. Leases, tombstones and
  windows are each kept in the order in which they end, so that is one look at the front and constant work per item;
  and none at all before the earliest time at which anything can be due.
- Counters exist only for what was admitted: a refused request creates none, and one that counts nothing any more is
  dropped. Their number is bounded by the admissions of one window, and by ``max_windows`` in the worst case: past it,
  a request that would need a new counter is refused, because forgetting a counter would lift its limit.
- An operation costs the number of limits: about 10 us for a reserve and a settle under four limits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping

from gateway.core.quota.holds import (
    CONCURRENCY_RETRY_AFTER,
    ENDED,
    FIRST_LEASE,
    LEASE,
    Held,
    LimitState,
    Refused,
    Reservation,
)
from gateway.core.quota.limits import AppliedLimit, Unit
from gateway.core.quota.windows import MINUTE_BUCKETS, SlidingWindow

# Seconds of the store's clock.
_LOOK_EVERY = 1.0


class _Hold:
    """What a request holds: windows with the bucket of its admission, and counters of concurrency."""

    __slots__ = ("entries", "lease_until", "limits", "slots")

    def __init__(self, limits: tuple[AppliedLimit, ...], lease_until: float) -> None:
        self.limits = limits
        self.lease_until = lease_until
        self.entries: list[tuple[SlidingWindow, int, int]] = []
        self.slots: list[tuple[str, int]] = []


class MemoryHoldStore:
    """A :class:`~gateway.core.quota.holds.HoldStore` for a single worker.

    Args:
        tombstone_ttl: Seconds for which an ended or expired request is remembered; longer than the longest stream.
        max_tombstones: Ended requests remembered at most, the oldest forgotten first (about 150 bytes each); expired
            ones have as many places of their own. Within one process nothing is late by more than a few requests.
        max_windows: Windows at most (about 0.5 KiB each, up to 5 KiB for a busy one).
    """

    def __init__(
        self, *, tombstone_ttl: float = 3600.0, max_tombstones: int = 20_000, max_windows: int = 200_000
    ) -> None:
        self._tombstone_ttl = tombstone_ttl
        self._max_tombstones = max_tombstones
        self._max_windows = max_windows
        self._now = 0.0
        self._due = 0.0
        self._windows: dict[float, OrderedDict[str, SlidingWindow]] = {}
        self._window_count = 0
        self._running: dict[str, int] = {}
        # Both leases are as long for each hold in them, so each dictionary is in the order of expiry.
        self._fresh: OrderedDict[str, _Hold] = OrderedDict()
        self._renewed: OrderedDict[str, _Hold] = OrderedDict()
        self._expired: OrderedDict[str, _Hold] = OrderedDict()
        self._ended: OrderedDict[str, float] = OrderedDict()

    @property
    def held(self) -> int:
        """Requests that hold a lease."""
        return len(self._fresh) + len(self._renewed)

    @property
    def counters(self) -> int:
        """Counters in memory, of windows and of concurrency."""
        return self._window_count + len(self._running)

    @property
    def tombstones(self) -> int:
        """Requests remembered after their end."""
        return len(self._expired) + len(self._ended)

    async def reserve(self, reservation: Reservation, now: float) -> Held | Refused:
        """Hold everything that ``reservation`` asks for, or nothing."""
        now = self._advance(now)
        request_id, limits = reservation.id, reservation.limits
        known = self._live(request_id)
        if known is not None:
            return Held(known.lease_until, self._states(known.limits, now))
        if request_id in self._ended or request_id in self._expired:
            return Refused(ENDED, None, ())
        refusal = self._refusal(limits, reservation.amounts, now)
        if refusal is not None:
            return Refused(*refusal, self._states(limits, now))
        hold = _Hold(limits, now + FIRST_LEASE)
        states = self._take(hold, reservation.amounts, now)
        self._fresh[request_id] = hold
        self._due = min(self._due, hold.lease_until)
        return Held(hold.lease_until, states)

    async def renew(self, ids: Collection[str], now: float) -> frozenset[str]:
        """Prolong the leases of ``ids``; return those that are not known or have ended."""
        now = self._advance(now)
        return frozenset([request_id for request_id in ids if not self._renew(request_id, now)])

    async def settle(self, request_id: str, now: float) -> None:
        """End the hold and keep what it counted in windows."""
        self._end(request_id, self._advance(now))

    async def cancel(self, request_id: str, now: float) -> None:
        """End the hold and give back what it counted in windows."""
        now = self._advance(now)
        hold = self._end(request_id, now)
        if hold is not None:
            for window, bucket, amount in hold.entries:
                window.adjust(bucket, -amount, now)

    def _live(self, request_id: str) -> _Hold | None:
        return self._fresh.get(request_id) or self._renewed.get(request_id)

    def _refusal(
        self, limits: tuple[AppliedLimit, ...], amounts: Mapping[Unit, int], now: float
    ) -> tuple[str, float | None] | None:
        """Return the limit that has to be waited for longest, and how long; None if all of them admit."""
        name, longest = "", 0.0
        for limit in limits:
            wait = self._wait(limit, amounts.get(limit.unit, 0), now)
            if wait is None:
                return limit.name, None
            if wait > longest:
                name, longest = limit.name, wait
        return (name, longest) if name else None

    def _wait(self, limit: AppliedLimit, amount: int, now: float) -> float | None:
        """Return the seconds until ``limit`` admits ``amount``: 0 for now, None for never."""
        if not amount:
            return 0.0
        if amount > limit.amount:
            return None
        if limit.window is None:
            return 0.0 if self._running.get(limit.key, 0) + amount <= limit.amount else CONCURRENCY_RETRY_AFTER
        windows = self._windows.get(limit.window)
        window = None if windows is None else windows.get(limit.key)
        if window is not None:
            return window.retry_after(amount, limit.amount, now)
        return 0.0 if self._window_count < self._max_windows else limit.window

    def _take(self, hold: _Hold, amounts: Mapping[Unit, int], now: float) -> tuple[LimitState, ...]:
        """Count what is held; return where the limits stand then."""
        states = []
        for limit in hold.limits:
            amount = amounts.get(limit.unit, 0)
            if not amount:
                states.append(self._state(limit, now))
            elif limit.window is None:
                hold.slots.append((limit.key, amount))
                running = self._running[limit.key] = self._running.get(limit.key, 0) + amount
                states.append(LimitState(limit.name, limit.amount, limit.amount - running, None, None))
            else:
                window = self._window(limit.key, limit.window)
                hold.entries.append((window, window.add(amount, now), amount))
                used, reset = window.standing(now)
                states.append(LimitState(limit.name, limit.amount, limit.amount - used, reset, limit.window))
        return tuple(states)

    def _window(self, key: str, length: float) -> SlidingWindow:
        """Return the counter, as the last of its length to become idle."""
        windows = self._windows.setdefault(length, OrderedDict())
        window = windows.get(key)
        if window is None:
            window = windows[key] = SlidingWindow(length, MINUTE_BUCKETS)
            self._window_count += 1
        else:
            windows.move_to_end(key)
        return window

    def _run(self, hold: _Hold) -> None:
        for key, amount in hold.slots:
            self._running[key] = self._running.get(key, 0) + amount

    def _stop(self, hold: _Hold) -> None:
        for key, amount in hold.slots:
            left = self._running[key] - amount
            if left:
                self._running[key] = left
            else:
                del self._running[key]

    def _renew(self, request_id: str, now: float) -> bool:
        hold = self._fresh.pop(request_id, None) or self._renewed.pop(request_id, None)
        if hold is None:
            hold = self._expired.pop(request_id, None)
            if hold is None:
                return False
            self._run(hold)
        hold.lease_until = now + LEASE
        self._renewed[request_id] = hold
        self._due = min(self._due, hold.lease_until)
        return True

    def _end(self, request_id: str, now: float) -> _Hold | None:
        """End the request for good, and return what it held if this is its first end."""
        if request_id in self._ended:
            return None
        hold = self._fresh.pop(request_id, None) or self._renewed.pop(request_id, None)
        if hold is None:
            hold = self._expired.pop(request_id, None)
        else:
            self._stop(hold)
        forgotten_at = self._ended[request_id] = now + self._tombstone_ttl
        self._due = min(self._due, forgotten_at)
        if len(self._ended) > self._max_tombstones:
            self._ended.popitem(last=False)
        return hold

    def _states(self, limits: tuple[AppliedLimit, ...], now: float) -> tuple[LimitState, ...]:
        return tuple([self._state(limit, now) for limit in limits])

    def _state(self, limit: AppliedLimit, now: float) -> LimitState:
        name, amount, length = limit.name, limit.amount, limit.window
        if length is None:
            return LimitState(name, amount, max(0, amount - self._running.get(limit.key, 0)), None, None)
        windows = self._windows.get(length)
        window = None if windows is None else windows.get(limit.key)
        if window is None:
            return LimitState(name, amount, amount, length, length)
        used, reset = window.standing(now)
        return LimitState(name, amount, max(0, amount - used), reset, length)

    def _advance(self, now: float) -> float:
        """Move the clock, never back, and expire what is due."""
        if now <= self._now:
            return self._now
        self._now = now
        if now >= self._due:
            self._expire(self._fresh, now)
            self._expire(self._renewed, now)
            self._forget(now)
            self._due = self._next_due(now)
        return now

    def _next_due(self, now: float) -> float:
        """Return a time before which nothing is due; windows are looked at each second, for they only cost memory."""
        due = now + _LOOK_EVERY
        for leases in (self._fresh, self._renewed):
            if leases:
                due = min(due, next(iter(leases.values())).lease_until)
        if self._expired:
            due = min(due, next(iter(self._expired.values())).lease_until + self._tombstone_ttl)
        return min(due, next(iter(self._ended.values()))) if self._ended else due

    def _expire(self, leases: OrderedDict[str, _Hold], now: float) -> None:
        while leases:
            request_id, hold = next(iter(leases.items()))
            if hold.lease_until > now:
                return
            del leases[request_id]
            self._stop(hold)
            self._expired[request_id] = hold
            if len(self._expired) > self._max_tombstones:
                self._expired.popitem(last=False)

    def _forget(self, now: float) -> None:
        """Drop tombstones that are old enough, and windows that count nothing."""
        while self._expired and next(iter(self._expired.values())).lease_until + self._tombstone_ttl <= now:
            self._expired.popitem(last=False)
        while self._ended and next(iter(self._ended.values())) <= now:
            self._ended.popitem(last=False)
        for windows in self._windows.values():
            while windows and not next(iter(windows.values())).used(now):
                windows.popitem(last=False)
                self._window_count -= 1
