"""The store of holds that a configuration asks for: this process' own, or one that processes share through Redis.

Either begins with what the ledger has of this day and month: a process' own at its start, a shared one whenever it
finds that it lost what a tenant used.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from gateway.config import Config
from gateway.core.quota.calendar import Calendar
from gateway.core.quota.holds import HoldStore
from gateway.core.quota.limits import realm_of, tenant_of
from gateway.core.quota.rebuilt import Spent, counters
from gateway.core.units import zone_of
from gateway.ledger.books import Books, Sum
from gateway.metrics import Metrics
from gateway.quota.memory import MemoryHoldStore
from gateway.tasks import TaskOwner

if TYPE_CHECKING:
    from gateway.quota.redis_rebuild import Rebuilt

# A row is written within so many seconds of its request's end, and the time for which what ended is gathered.
_WRITTEN_WITHIN = 0.2


async def open_hold_store(
    config: Config, metrics: Metrics, books: Books, tasks: TaskOwner, stack: AsyncExitStack
) -> HoldStore:
    """Make it, until the stack is closed.

    Raises:
        StoreError: The ledger cannot be read.
    """
    if config.redis_url is None:
        return await _own(config, metrics, books)
    return _shared(config, config.redis_url.get_secret_value(), metrics, books, tasks, stack)


async def _own(config: Config, metrics: Metrics, books: Books) -> HoldStore:
    limits = config.limits
    calendar, now = Calendar(zone_of(limits.time_zone)), time.time()
    holds = MemoryHoldStore(
        calendar,
        tombstone_ttl=limits.tombstone_ttl,
        max_tombstones=limits.max_tombstones,
        max_windows=limits.max_windows,
        on_expired=metrics.quota.expired,
    )
    metrics.quota.watch(lambda: holds.held)
    metrics.quota.watch_store(lambda: True, lambda: 0, lambda: 0.0)
    first, today = _month(calendar, now)
    sums = await asyncio.to_thread(books.spent, first, today)
    for span, used in counters(map(_spent, sums), today, config.server.workers).items():
        holds.restore(span, used)
    return holds


def _shared(
    config: Config, url: str, metrics: Metrics, books: Books, tasks: TaskOwner, stack: AsyncExitStack
) -> HoldStore:
    # Its client takes 8 MB: only those pay for it who use it.
    from gateway.quota.guarded import GuardedHoldStore, GuardPolicy, Watcher  # noqa: PLC0415 - see above
    from gateway.quota.redis_link import RedisLink  # noqa: PLC0415
    from gateway.quota.redis_store import RedisHoldStore  # noqa: PLC0415

    limits, calendar = config.limits, Calendar(zone_of(config.limits.time_zone))
    link = RedisLink(url, limits.store_connections)
    stack.push_async_callback(link.close)
    told = metrics.quota
    store = RedisHoldStore(
        link,
        tasks.spawn,
        calendar,
        rebuild=_Books(books, calendar, _WRITTEN_WITHIN + config.log.gather),
        tombstone_ttl=limits.tombstone_ttl,
        on_expired=told.expired,
    )
    policy = GuardPolicy(limits.on_store_failure, limits.store_timeout, limits.replicas)
    guarded = GuardedHoldStore(
        store,
        policy,
        tasks.spawn,
        watcher=Watcher(told.store_took, told.store_failed, told.arrears_dropped),
        local=lambda: MemoryHoldStore(calendar),
    )
    stack.push_async_callback(guarded.close)
    told.watch(lambda: store.held)
    told.watch_store(lambda: guarded.working, lambda: guarded.arrears, lambda: store.skew)
    return guarded


class _Books:
    """Says what a realm used, for a store that was lost.

    Args:
        books: The ledger.
        calendar: Where days and months begin.
        delay: Seconds by which the ledger is behind, at most.
    """

    def __init__(self, books: Books, calendar: Calendar, delay: float) -> None:
        self._books = books
        self._calendar = calendar
        self._delay = delay

    async def __call__(self, realm: str, begun: float) -> Rebuilt:
        """Return what it used until the ledger is behind; that is after the store began, so no end is missed."""
        from gateway.quota.redis_rebuild import Rebuilt  # noqa: PLC0415 - only with a shared store

        await asyncio.sleep(min(self._delay, max(0.0, begun + self._delay - time.time())))
        now = time.time()
        until = now - self._delay
        first, today = _month(self._calendar, now)
        sums = await asyncio.to_thread(self._books.spent, first, today, tenant=tenant_of(realm), ended_by=until)
        spent = [some for some in map(_spent, sums) if realm_of(some.tenant, some.key_id) == realm]
        found = counters(spent, today)
        return Rebuilt({**found["day"], **found["month"]}, until)


def _month(calendar: Calendar, now: float) -> tuple[str, str]:
    """Return the first day of this month, and today."""
    today, month = calendar.at("day", now).name, calendar.at("month", now).name
    return f"{month}-01", today


def _spent(found: Sum) -> Spent:
    day, tenant, key_id, end_user = found.of
    entered = found.input_tokens + found.cache_read_tokens + found.cache_write_5m_tokens + found.cache_write_1h_tokens
    return Spent(day, tenant, key_id, end_user, found.requests, entered, found.output_tokens, found.cost_nano_usd)
