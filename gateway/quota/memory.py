"""The hold store of one process: dictionaries, no I/O, no task switch, no background task.

- Every operation first moves the clocks (never back) and expires what is due, oldest first. Leases and tombstones are
  each kept in the order in which they end, so that is one look at the front and constant work per item; and none at all
  before the earliest time at which anything can be due.
- Leases and windows go by the monotonic clock, days and months by the wall's.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from gateway.core.quota.calendar import Calendar, Span
from gateway.core.quota.holds import (
    ENDED,
    FIRST_LEASE,
    LEASE,
    Amounts,
    Checkpoint,
    Held,
    LimitState,
    Overshoot,
    Refused,
    Reservation,
)
from gateway.core.quota.limits import AppliedLimit
from gateway.quota.counters import Counters, Moment

# Seconds of the store's clock.
_LOOK_EVERY = 1.0


def _nobody() -> None:
    """Tell nobody."""


class _Hold:
    """What a request holds since its admission, and what counts if its lease runs out."""

    __slots__ = ("at", "lease_until", "reservation", "spent")

    def __init__(self, reservation: Reservation, at: Moment) -> None:
        self.reservation = reservation
        self.at = at
        self.lease_until = at.monotonic + FIRST_LEASE
        self.spent = reservation.spent


class MemoryHoldStore:
    """A :class:`~gateway.core.quota.holds.HoldStore` for a single worker.

    Args:
        calendar: Where days and months begin.
        tombstone_ttl: Seconds for which an ended or expired request is remembered; longer than the longest stream.
        max_tombstones: Ended requests remembered at most, the oldest forgotten first (about 150 bytes each); expired
            ones have as many places of their own. Within one process nothing is late by more than a few requests.
        max_windows: Windows and budgets at most (about 0.5 KiB each, up to 5 KiB for a busy one).
        monotonic: Seconds for leases and windows.
        unix: Seconds for days and months.
        on_expired: Told of each hold whose lease ran out.
    """

    def __init__(
        self,
        calendar: Calendar | None = None,
        *,
        tombstone_ttl: float = 3600.0,
        max_tombstones: int = 20_000,
        max_windows: int = 200_000,
        monotonic: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
        on_expired: Callable[[], None] = _nobody,
    ) -> None:
        self._counters = Counters(calendar or Calendar(), max_windows)
        self._tombstone_ttl = tombstone_ttl
        self._max_tombstones = max_tombstones
        self._monotonic = monotonic
        self._unix = unix
        self._on_expired = on_expired
        self._now = Moment(0.0, 0.0)
        self._due = 0.0
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
        """Counters in memory."""
        return len(self._counters)

    @property
    def tombstones(self) -> int:
        """Requests remembered after their end."""
        return len(self._expired) + len(self._ended)

    def restore(self, span: Span, used: Mapping[str, int]) -> None:
        """Say what was used in the current period, by counter; for a store that begins."""
        self._counters.restore(span, used, self._advance())

    async def reserve(self, reservation: Reservation) -> Held | Refused:
        """Hold everything that ``reservation`` asks for, or nothing."""
        now = self._advance()
        request_id = reservation.id
        known = self._fresh.get(request_id) or self._renewed.get(request_id)
        if known is not None:
            return Held(known.lease_until, known.at.unix, self._states(known.reservation.limits, now))
        if request_id in self._ended or request_id in self._expired:
            return Refused(ENDED, None, False, ())
        refused = self._refusal(reservation, now)
        if refused is not None:
            return refused
        hold = self._fresh[request_id] = _Hold(reservation, now)
        self._due = min(self._due, hold.lease_until)
        take, amount = self._counters.take, reservation.amount
        states = tuple([take(limit, amount(limit), now) for limit in reservation.limits])
        return Held(hold.lease_until, now.unix, states)

    async def renew(self, checkpoints: Sequence[Checkpoint]) -> frozenset[str]:
        """Prolong leases, and note what was used; return ids that are not known or have ended."""
        now = self._advance()
        return frozenset([held.id for held, spent in checkpoints if not self._renew(held.id, spent, now)])

    async def settle(
        self,
        held: Reservation,
        used: Amounts,
        ended_at: float | None = None,  # noqa: ARG002 - never lost while the process lives
    ) -> tuple[Overshoot, ...]:
        """End the hold and count what was used."""
        now = self._advance()
        live, hold = self._end(held.id, now)
        return () if hold is None else self._count(hold, used, now, live=live)

    async def cancel(self, held: Reservation) -> None:
        """End the hold and give back everything."""
        await self.settle(held, {})

    def problem(self) -> None:
        """Return why nobody is let in: it is always there."""

    async def look(self, realm: str, limits: tuple[AppliedLimit, ...]) -> tuple[LimitState, ...]:  # noqa: ARG002 - one
        """Return where limits stand, and hold nothing."""
        return self._states(limits, self._advance())

    def _refusal(self, reservation: Reservation, now: Moment) -> Refused | None:
        """Return a refusal by the limit that has to be waited for longest; None if all of them admit."""
        name, longest, spent = "", 0.0, False
        for limit in reservation.limits:
            wait = self._counters.wait(limit, reservation.amount(limit), now)
            if wait is None:
                continue
            if wait.seconds is None:
                return Refused(limit.name, None, False, self._states(reservation.limits, now))
            if wait.seconds > longest:
                name, longest, spent = limit.name, wait.seconds, wait.spent
        return Refused(name, longest, spent, self._states(reservation.limits, now)) if name else None

    def _count(self, hold: _Hold, used: Amounts, now: Moment, *, live: bool) -> tuple[Overshoot, ...]:
        """Count what was used instead of what is held, or of what an expired hold was settled at."""
        reservation, over = hold.reservation, []
        for limit in reservation.limits:
            held, counted = (reservation.amount(limit), 0) if live else (0, hold.spent.get(limit.unit, 0))
            excess = self._counters.move(limit, hold.at, -held, used.get(limit.unit, 0) - counted, now)
            if excess:
                over.append(Overshoot(limit.name, limit.unit, excess))
        return tuple(over)

    def _renew(self, request_id: str, spent: Amounts, now: Moment) -> bool:
        hold = self._fresh.pop(request_id, None) or self._renewed.pop(request_id, None)
        if hold is None:
            hold = self._expired.pop(request_id, None)
            if hold is None:
                return False
            for limit in hold.reservation.limits:
                self._counters.move(limit, hold.at, hold.reservation.amount(limit), -hold.spent.get(limit.unit, 0), now)
        hold.spent = spent
        hold.lease_until = now.monotonic + LEASE
        self._renewed[request_id] = hold
        self._due = min(self._due, hold.lease_until)
        return True

    def _end(self, request_id: str, now: Moment) -> tuple[bool, _Hold | None]:
        """End the request for good; return whether it was live, and what it held if this is its first end."""
        if request_id in self._ended:
            return False, None
        hold = self._fresh.pop(request_id, None) or self._renewed.pop(request_id, None)
        live = hold is not None
        if hold is None:
            hold = self._expired.pop(request_id, None)
        forgotten_at = self._ended[request_id] = now.monotonic + self._tombstone_ttl
        self._due = min(self._due, forgotten_at)
        if len(self._ended) > self._max_tombstones:
            self._ended.popitem(last=False)
        return live, hold

    def _states(self, limits: tuple[AppliedLimit, ...], now: Moment) -> tuple[LimitState, ...]:
        state = self._counters.state
        return tuple([state(limit, now) for limit in limits])

    def _advance(self) -> Moment:
        """Move the clocks, never back, and expire what is due."""
        before = self._now
        now = self._now = Moment(max(before.monotonic, self._monotonic()), max(before.unix, self._unix()))
        if now.monotonic >= self._due:
            self._expire(self._fresh, now)
            self._expire(self._renewed, now)
            self._forget(now)
            self._due = self._next_due(now.monotonic)
        return now

    def _next_due(self, now: float) -> float:
        """Return a time before which nothing is due; counters are looked at each second, for they only cost memory."""
        due = now + _LOOK_EVERY
        for leases in (self._fresh, self._renewed):
            if leases:
                due = min(due, next(iter(leases.values())).lease_until)
        if self._expired:
            due = min(due, next(iter(self._expired.values())).lease_until + self._tombstone_ttl)
        return min(due, next(iter(self._ended.values()))) if self._ended else due

    def _expire(self, leases: OrderedDict[str, _Hold], now: Moment) -> None:
        while leases:
            request_id, hold = next(iter(leases.items()))
            if hold.lease_until > now.monotonic:
                return
            del leases[request_id]
            self._count(hold, hold.spent, now, live=True)
            self._expired[request_id] = hold
            self._on_expired()
            if len(self._expired) > self._max_tombstones:
                self._expired.popitem(last=False)

    def _forget(self, now: Moment) -> None:
        """Drop tombstones that are old enough, and counters that count nothing."""
        while self._expired and next(iter(self._expired.values())).lease_until + self._tombstone_ttl <= now.monotonic:
            self._expired.popitem(last=False)
        while self._ended and next(iter(self._ended.values())) <= now.monotonic:
            self._ended.popitem(last=False)
        self._counters.forget(now)
