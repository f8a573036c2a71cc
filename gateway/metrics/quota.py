"""What is counted of limits: holds, how they end, and how full budgets are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from gateway.core.quota.holds import LimitState, Overshoot
from gateway.core.quota.limits import NANO
from gateway.metrics.families import Families
from gateway.metrics.labels import Children, Values

Settlement = Literal["exact", "estimated", "cancelled"]


class QuotaMetrics:
    """Counts what happens to holds.

    Args:
        families: The metrics.
        limit: Names of limits as labels.
        tenant: Names of tenants as labels.
    """

    def __init__(self, families: Families, limit: Values, tenant: Values) -> None:
        self._limit, self._tenant = limit, tenant
        self._holds, self._expired = families.holds, families.expired_holds
        self._unbooked, self._ledger_waiting = families.unbooked, families.ledger_waiting
        self._ledger_journal, self._ledger_up = families.ledger_journal, families.ledger_up
        self._store_seconds, self._store_failures = Children(families.store_seconds), Children(families.store_failures)
        self._arrears_dropped, self._store_up = families.arrears_dropped, families.store_up
        self._store_arrears, self._store_skew = families.store_arrears, families.store_skew
        self._settlements = Children(families.settlements)
        self._overshoots, self._overshoot_usd = Children(families.overshoots), Children(families.overshoot_usd)
        self._warnings, self._used = Children(families.quota_warnings), families.quota_used
        for kind in get_args(Settlement):  # a series that starts at its first increment hides it from rate()
            self._settlements[kind,]

    def watch(self, held: Callable[[], int]) -> None:
        """Have the number of live holds read whenever somebody asks for it."""
        self._holds.set_function(held)

    def expired(self, holds: int = 1) -> None:
        """Count holds whose lease ran out."""
        self._expired.inc(holds)

    def admitted(self, tenant: str, states: tuple[LimitState, ...]) -> None:
        """Note how full the budgets are after a request was let in."""
        fullest = -1.0
        for state in states:
            if state.span is None:
                continue
            if state.name.startswith("tenant-"):
                fullest = max(fullest, (state.used + state.held) / state.limit)
        if fullest >= 0:
            self._used.labels(self._tenant(tenant)).set(fullest)

    def warned(self, limit: str) -> None:
        """Count a request that was let in although little is left of a limit."""
        self._warnings[self._limit(limit),].inc()

    def unbooked(self) -> None:
        """Count a request that the ledger could not take."""
        self._unbooked.inc()

    def store_took(self, operation: str, seconds: float) -> None:
        """Note how long an operation of the shared store took."""
        self._store_seconds[operation,].observe(seconds)

    def store_failed(self, operation: str) -> None:
        """Count an operation of the shared store that failed."""
        self._store_failures[operation,].inc()

    def arrears_dropped(self) -> None:
        """Count an end that the shared store will not be told of."""
        self._arrears_dropped.inc()

    def watch_store(self, up: Callable[[], bool], arrears: Callable[[], int], skew: Callable[[], float]) -> None:
        """Have the state of the shared store read whenever somebody asks for it."""
        self._store_up.set_function(lambda: float(up()))
        self._store_arrears.set_function(arrears)
        self._store_skew.set_function(skew)

    def watch_ledger(self, waiting: Callable[[], int], journal: Callable[[], int], up: Callable[[], bool]) -> None:
        """Have the state of the ledger read whenever somebody asks for it."""
        self._ledger_waiting.set_function(waiting)
        self._ledger_journal.set_function(journal)
        self._ledger_up.set_function(lambda: float(up()))

    def settled(self, kind: Settlement) -> None:
        """Count the end of a hold."""
        self._settlements[kind,].inc()

    def overshot(self, over: Overshoot) -> None:
        """Count a budget that a request took past its limit."""
        limit = self._limit(over.limit)
        self._overshoots[limit,].inc()
        if over.unit == "usd":
            self._overshoot_usd[limit,].inc(over.amount / NANO)
