"""The hold: what a request has reserved, for as long as its lease lasts.

Rules that every store keeps (``tests/quota`` checks them against each):

- *All or nothing.* A request takes from all limits of all scopes or from none; a refusal costs nothing.
- *At admission no limit is exceeded*, whatever crashed, came late or came twice before.
- *Idempotent by request id.* The first end of a hold counts; the same call again changes nothing. An id that has ended
  is never admitted again, so a ``reserve`` that arrives after its ``cancel`` takes no slot.
- *A lease that runs out* frees the concurrency slots; what was counted in windows stays. The hold leaves a tombstone,
  kept for longer than the longest stream: a late ``renew`` takes the slots again (the stream does run, so the count may
  pass the limit, and then the next ones wait), a late ``settle`` or ``cancel`` ends it.
- *Settle keeps, cancel gives back.* ``settle`` ends a request that reached the upstream or was the client's to answer
  for. ``cancel`` is for one that never got there through our fault: its windows are as if it had not been.
- *Each operation is one atomic step* of the store, and ``now`` is the store's own time or a monotonic clock.

The first lease is short, so that a worker which dies between ``reserve`` and its first ``renew`` blocks a slot for
10 s. A caller renews within :data:`FIRST_LEASE` and then every :data:`RENEW_EVERY`: three tries in a lease.

Token and money budgets will be further units in ``amounts``, windows of their own, and an amount that was really used
given to ``settle``; nothing of the rules changes for them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from gateway.core.quota.limits import AppliedLimit, Unit

# Part of the rules, no settings: whoever shares a store must agree on them.
FIRST_LEASE = 10.0
LEASE = 60.0
RENEW_EVERY = 15.0

# A slot may free at any moment, and nobody knows when: a second keeps a waiting client responsive without a storm.
CONCURRENCY_RETRY_AFTER = 1.0

ENDED = "request-id"
"""The "limit" of a reservation whose request id has already ended: an id is good for one request."""

ONE_STREAM: Mapping[Unit, int] = MappingProxyType({"requests": 1, "concurrent": 1})
ONE_REQUEST: Mapping[Unit, int] = MappingProxyType({"requests": 1})


class Reservation(NamedTuple):
    """What one request asks for.

    Attributes:
        id: The request's id, unique over all processes.
        limits: All limits that apply, each counter once.
        amounts: How much of each unit; what is absent is not taken. ``count_tokens`` takes :data:`ONE_REQUEST`.
    """

    id: str
    limits: tuple[AppliedLimit, ...]
    amounts: Mapping[Unit, int] = ONE_STREAM


class LimitState(NamedTuple):
    """Where a limit stands after the request, for headers.

    Attributes:
        name: The limit's public name.
        limit: The most that is admitted.
        remaining: What is left, never below 0.
        reset: Seconds until more is left; None where no time is known (concurrency).
        window: Seconds, None for concurrency.
    """

    name: str
    limit: int
    remaining: int
    reset: float | None
    window: float | None


class Held(NamedTuple):
    """The request may go on; its caller renews and ends the hold."""

    lease_until: float
    states: tuple[LimitState, ...]


class Refused(NamedTuple):
    """The request may not go on; nothing is held for it.

    Attributes:
        limit: Name of the limit that refuses; of several the one to wait for longest. :data:`ENDED` for a used-up id.
        retry_after: Seconds, None when waiting does not help.
        states: All limits, also those that would have admitted.
    """

    limit: str
    retry_after: float | None
    states: tuple[LimitState, ...]


class HoldStore(Protocol):
    """Where holds and counters live; see the module for the rules."""

    async def reserve(self, reservation: Reservation, now: float) -> Held | Refused:
        """Hold everything that ``reservation`` asks for, or nothing."""
        ...

    async def renew(self, ids: Collection[str], now: float) -> frozenset[str]:
        """Prolong the leases of ``ids`` to :data:`LEASE` from now; return those that are not known or have ended."""
        ...

    async def settle(self, request_id: str, now: float) -> None:
        """End the hold and keep what it counted in windows."""
        ...

    async def cancel(self, request_id: str, now: float) -> None:
        """End the hold and give back what it counted in windows."""
        ...
