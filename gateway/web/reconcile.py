"""The ledger and the store of limits, compared: what each has counted of this day and month.

- Requests end all the time, and are in the store a moment before or after they are in the ledger; what runs is in the
  ledger and not in the store, and what a dead worker left is ended by each at a moment of its own. So what the store has
  must lie between the ledger without all these, and with them. Where nothing runs, both are the same.
- What differs by chance does not differ twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from gateway.core.quota.calendar import Calendar
from gateway.core.quota.holds import LEASE, HoldStore
from gateway.core.quota.limits import AppliedLimit, LimitSet
from gateway.core.quota.told import shown
from gateway.ledger.books import Books, Ended
from gateway.ledger.spending import Spending, spending
from gateway.web.standing import states_of

# A request that ended so many seconds ago is in both: the store's time limit, and what the ledger gathers.
_BEHIND = 1.0


class Owner(NamedTuple):
    """Who used something, as the ledger has it."""

    tenant: str
    key_id: str
    end_user: str


class Difference(NamedTuple):
    """A counter that is not what the ledger says.

    Attributes:
        owner: Who uses it, or one of them.
        limit: The limit.
        store: What the store has counted.
        ledger: What the ledger has.
    """

    owner: Owner
    limit: AppliedLimit
    store: int
    ledger: int

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        unit, scope = self.limit.unit, self.limit.scope
        named = {"key": self.owner.key_id, "user": self.owner.end_user}.get(scope, self.owner.tenant)
        return {
            "tenant": self.owner.tenant,
            "scope": scope,
            "owner": named,
            "name": self.limit.name,
            "unit": unit,
            "ledger": shown(unit, self.ledger),
            "store": shown(unit, self.store),
        }


class Reconciliation:
    """Compares the ledger with the store.

    Args:
        books: The ledger.
        holds: The store.
        limits_of: The limits of whoever used something; None where nobody knows them any more.
        calendar: Where days and months begin.
    """

    def __init__(
        self, books: Books, holds: HoldStore, limits_of: Callable[[Owner], LimitSet | None], calendar: Calendar
    ) -> None:
        self._books = books
        self._holds = holds
        self._limits_of = limits_of
        self._calendar = calendar

    async def differences(self, tenant: str | None = None) -> list[Difference]:
        """Return every counter that is not what the ledger says; of one tenant, or of all.

        Raises:
            DatabaseFailed: The ledger cannot be read.
            StoreUnavailable: The store is away.
        """
        if not await self._compared(tenant):
            return []
        await asyncio.sleep(_BEHIND)
        return await self._compared(tenant)

    async def _compared(self, tenant: str | None) -> list[Difference]:
        now = time.time()
        before = await self._ledger(tenant, Ended(now - _BEHIND, now - LEASE))
        counted = [found async for found in self._counted(await self._ledger(tenant))]
        after = await self._ledger(tenant)
        least, most = before.counters(), after.counters()
        found = []
        for owner, limit, used in counted:
            assert limit.span is not None  # noqa: S101 - only those are asked for
            low, high = (side[limit.span].get(limit.key, 0) for side in (least, most))
            if not low <= used <= high:
                found.append(Difference(owner, limit, used, low if used < low else high))
        return found

    async def _ledger(self, tenant: str | None, ended: Ended | None = None) -> Spending:
        return await asyncio.to_thread(spending, self._books, self._calendar, tenant=tenant, ended=ended)

    async def _counted(self, ledger: Spending) -> Any:
        """Yield what the store has counted of each limit that somebody in the ledger has."""
        for realm, limits in self._limits(ledger).items():
            states = await states_of(self._holds, realm, [limit for _, limit in limits.values()])
            for owner, limit in limits.values():
                yield owner, limit, states[limit.key].used

    def _limits(self, ledger: Spending) -> dict[str, dict[str, tuple[Owner, AppliedLimit]]]:
        found: dict[str, dict[str, tuple[Owner, AppliedLimit]]] = {}
        for owner in {Owner(some.tenant, some.key_id, some.end_user) for some in ledger.spent}:
            limits = self._limits_of(owner)
            if limits is not None:
                of_realm = found.setdefault(limits.realm, {})
                of_realm.update((limit.key, (owner, limit)) for limit in _of_periods(limits, owner))
        return found


def _of_periods(limits: LimitSet, owner: Owner) -> Iterator[AppliedLimit]:
    for limit in limits.of_caller("", owner.end_user or None):
        if limit.span is not None and limit.scope != "address":
            yield limit
