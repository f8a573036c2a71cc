"""What one process may let in by itself while the shared store is away: its share of each limit.

- Of a budget it is the share of what was left when the store was last heard of that counter, of other limits the share
  of the whole. So all processes together stay within the limit, but for requests that were in flight when the store
  went away: those of slots and windows are not counted here.
- A limit that is too small to be shared admits nobody.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from gateway.core.quota.holds import Held, HoldStore, Refused, Reservation
from gateway.core.quota.limits import AppliedLimit
from gateway.quota.failure import unavailable

# Budgets whose standing is remembered, 200 bytes each; the rest counts as if it were new.
_MOST_SEEN = 20_000


class LocalShare:
    """Enforces a share of each limit in memory.

    Args:
        replicas: Processes that share the limits.
        make: Makes an empty store of one process, for each time that the shared one is away.
        unix: Unix seconds.

    Attributes:
        store: What was let in since the shared store went away; None while it is there.
    """

    def __init__(self, replicas: int, make: Callable[[], HoldStore], unix: Callable[[], float]) -> None:
        self._replicas = replicas
        self._make = make
        self._unix = unix
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self.store: HoldStore | None = None

    def begin(self) -> None:
        """The shared store is away."""
        self.store = self._make()

    def end(self) -> None:
        """The shared store is there again, and has been told of everything."""
        self.store = None

    def see(self, asked: Reservation, answer: Held | Refused) -> None:
        """Remember how much of each budget is gone, as the shared store says."""
        now = self._unix()
        for limit, state in zip(asked.limits, answer.states, strict=False):
            if limit.span is not None and state.reset is not None:
                self._seen[limit.key] = (state.used + state.held, now + state.reset)
                self._seen.move_to_end(limit.key)
        while len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)

    async def reserve(self, asked: Reservation) -> Held | Refused:
        """Hold everything of this process' shares, or nothing.

        Raises:
            StoreUnavailable: It is more than a share, and not more than the limit.
        """
        if self.store is None:
            self.begin()
        assert self.store is not None  # noqa: S101 - made in the line above
        limits = tuple([self._share(limit, asked.amount(limit)) for limit in asked.limits])
        return await self.store.reserve(asked._replace(limits=limits))

    def _share(self, limit: AppliedLimit, amount: int) -> AppliedLimit:
        gone, until = self._seen.get(limit.key, (0, 0.0))
        left = limit.amount - gone if self._unix() < until else limit.amount
        share = max(0, left) // self._replicas
        if share < amount <= limit.amount:
            raise unavailable(f"{limit.name}: this process' share is {share}")
        return replace(limit, amount=max(1, share)) if amount <= limit.amount else limit
