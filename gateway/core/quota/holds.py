"""The hold: what a request has reserved, for as long as its lease lasts.

Rules that every store keeps (``tests/quota`` checks them against each):

- *All or nothing.* A request takes from all limits of all scopes or from none; a refusal costs nothing.
- *At admission no limit is exceeded*, whatever crashed, came late or came twice before: what is used and what is held
  count alike.
- *Idempotent by request id.* The first end of a hold counts; the same call again changes nothing. An id that has ended
  is never admitted again, so a ``reserve`` that arrives after its ``cancel`` takes no slot.
- *What is held is replaced by what was used.* ``settle`` says it at the end. Windows and periods are those of the
  admission, however late the end comes. What was used beyond what was held counts too, also past a limit: the next
  ones wait.
- *Checkpoints.* ``renew`` prolongs the lease and says what was used so far. A lease that runs out is settled at the
  last checkpoint, before the first one at ``spent``, and its slots are free. It leaves a tombstone, kept for longer
  than the longest stream: a late ``renew`` holds everything again (the stream does run, so the count may pass the
  limit, and then the next ones wait), a late ``settle`` replaces the checkpoint, a late ``cancel`` takes it back.
- *Settle keeps, cancel gives back.* ``settle`` ends a request that reached the upstream or was the client's to answer
  for. ``cancel`` is for one that never got there through our fault: it is as if it had not been.
- *Each operation is one atomic step* of the store, whose own clock counts and never goes back.

The first lease is short, so that a worker which dies between ``reserve`` and its first ``renew`` blocks a slot for
10 s. A caller renews within :data:`FIRST_LEASE` and then every :data:`RENEW_EVERY`: three tries in a lease.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, Protocol

from gateway.core.quota.calendar import Span
from gateway.core.quota.limits import AppliedLimit, Unit

# Part of the rules, no settings: whoever shares a store must agree on them.
FIRST_LEASE = 10.0
LEASE = 60.0
RENEW_EVERY = 15.0

# A slot, or what others hold, may become free at any moment, and nobody knows when: a second keeps a waiting client
# responsive without a storm.
HELD_RETRY_AFTER = 1.0

ENDED = "request-id"
"""The "limit" of a reservation whose request id has already ended: an id is good for one request."""

Amounts = Mapping[Unit, int]
"""How much of each unit; what is absent is nothing. Dollars are in billionths."""

ONE_STREAM: Amounts = MappingProxyType({"requests": 1, "concurrent": 1})
ONE_REQUEST: Amounts = MappingProxyType({"requests": 1})


class Reservation(NamedTuple):
    """What one request asks for.

    Attributes:
        id: The request's id, unique over all processes.
        limits: All limits that apply, each counter once.
        budgets: What it holds of periods, which is the most that it can use, and of slots.
        rates: What it holds of sliding windows; the most that it can use would let hardly anybody else in.
        spent: What counts if its lease runs out before anybody says more: what it costs to have asked.
        realm: Whose limits they are, as :attr:`~gateway.core.quota.limits.LimitSet.realm`: what a shared store keeps
            together.
    """

    id: str
    limits: tuple[AppliedLimit, ...]
    budgets: Amounts = ONE_STREAM
    rates: Amounts = ONE_REQUEST
    spent: Amounts = ONE_REQUEST
    realm: str = ""

    def amount(self, limit: AppliedLimit) -> int:
        """Return what is held of a limit."""
        return (self.budgets if limit.window is None else self.rates).get(limit.unit, 0)


class Checkpoint(NamedTuple):
    """What a running request says of itself.

    Attributes:
        held: What it holds, so that a store which has lost that can hold it again.
        spent: What it used so far.
    """

    held: Reservation
    spent: Amounts


class LimitState(NamedTuple):
    """Where a limit stands after the request.

    Attributes:
        name: The limit's public name.
        unit: What is counted.
        limit: The most that is admitted.
        used: What was used and is settled.
        held: What requests in flight hold, this one included.
        reset: Seconds until more is left; None where no time is known (concurrency).
        window: Seconds of a window, of a period its whole length; None for concurrency.
        span: The calendar's period, None where there is none.
    """

    name: str
    unit: Unit
    limit: int
    used: int
    held: int
    reset: float | None
    window: float | None
    span: Span | None = None

    @property
    def remaining(self) -> int:
        """What is left, never below 0."""
        return max(0, self.limit - self.used - self.held)


class Held(NamedTuple):
    """The request may go on; its caller renews and ends the hold.

    Attributes:
        lease_until: By the store's clock.
        admitted_at: Unix seconds by the store's clock: the periods that it counts in are those of this time.
        states: All limits.
    """

    lease_until: float
    admitted_at: float
    states: tuple[LimitState, ...]


class Refused(NamedTuple):
    """The request may not go on; nothing is held for it.

    Attributes:
        limit: Name of the limit that refuses; of several the one to wait for longest. :data:`ENDED` for a used-up id.
        retry_after: Seconds, None when waiting does not help: it asks for more than the limit is.
        spent: Whether a budget is used up, so that nothing but its next period helps.
        states: All limits, also those that would have admitted.
    """

    limit: str
    retry_after: float | None
    spent: bool
    states: tuple[LimitState, ...]


class Overshoot(NamedTuple):
    """By how much one settlement took a budget past its limit."""

    limit: str
    unit: Unit
    amount: int


class HoldStore(Protocol):
    """Where holds and counters live; see the module for the rules."""

    async def reserve(self, reservation: Reservation) -> Held | Refused:
        """Hold everything that ``reservation`` asks for, or nothing."""
        ...

    async def renew(self, checkpoints: Sequence[Checkpoint]) -> frozenset[str]:
        """Prolong leases to :data:`LEASE` from now, and note what was used; return ids not known or ended."""
        ...

    async def settle(self, held: Reservation, used: Amounts, ended_at: float | None = None) -> tuple[Overshoot, ...]:
        """End the hold and count what was used; return the budgets that this took past their limit.

        Args:
            held: What it holds.
            used: What it used.
            ended_at: Unix seconds at which the ledger has its end: a store that was lost, and filled again from the
                ledger since, has counted it.
        """
        ...

    async def cancel(self, held: Reservation) -> None:
        """End the hold and give back everything."""
        ...

    def problem(self) -> str | None:
        """Return why nobody is let in now, None unless it is so."""
        ...

    async def look(self, realm: str, limits: tuple[AppliedLimit, ...]) -> tuple[LimitState, ...]:
        """Return where limits stand, and hold nothing."""
        ...
