"""The store of holds that a configuration asks for: this process' own, or one that processes share through Redis.

Either begins with what the ledger has of this day and month: a process' own at its start, a shared one whenever it
finds that it lost what a tenant used.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from gateway.config import Config
from gateway.core.errors import StoreUnavailable
from gateway.core.quota.calendar import Calendar
from gateway.core.quota.holds import HoldStore
from gateway.core.quota.limits import tenant_of
from gateway.core.units import zone_of
from gateway.ledger.books import Books, Ended
from gateway.ledger.spending import spending
from gateway.ledger.writer import GATHER
from gateway.metrics import Metrics
from gateway.quota.memory import MemoryHoldStore
from gateway.tasks import TaskOwner

if TYPE_CHECKING:
    from gateway.quota.redis_rebuild import Rebuilt
    from gateway.quota.redis_store import RedisHoldStore

# A row is written within so many seconds of its request's end, and the time for which what ended is gathered.
_WRITTEN_WITHIN = 3 * GATHER


async def open_hold_store(
    config: Config, metrics: Metrics, books: Books, tasks: TaskOwner, stack: AsyncExitStack
) -> HoldStore:
    """Make it, until the stack is closed.

    Raises:
        StoreError: The ledger cannot be read.
    """
    if config.redis_url is None:
        return await _own(config, metrics, books)
    return await _shared(config, metrics, books, tasks, stack)


async def _own(config: Config, metrics: Metrics, books: Books) -> HoldStore:
    limits, calendar = config.limits, Calendar(zone_of(config.limits.time_zone))
    holds = MemoryHoldStore(
        calendar,
        tombstone_ttl=limits.tombstone_ttl,
        max_tombstones=limits.max_tombstones,
        max_windows=limits.max_windows,
        on_expired=metrics.quota.expired,
    )
    metrics.quota.watch(lambda: holds.held)
    metrics.quota.watch_store(lambda: True, lambda: 0, lambda: 0.0)
    spent = await asyncio.to_thread(spending, books, calendar)
    for span, used in spent.counters(config.server.workers).items():
        holds.restore(span, used)
    return holds


async def _shared(config: Config, metrics: Metrics, books: Books, tasks: TaskOwner, stack: AsyncExitStack) -> HoldStore:
    # Its client takes 6 MiB: only those pay for it who use it.
    from gateway.quota.guarded import GuardedHoldStore, GuardPolicy, Watcher  # noqa: PLC0415 - see above

    limits, told = config.limits, metrics.quota
    store = shared_store(config, books, tasks, stack, told.expired)
    guarded = GuardedHoldStore(
        store,
        GuardPolicy(limits.on_store_failure, limits.store_timeout, limits.replicas),
        tasks.spawn,
        watcher=Watcher(told.store_took, told.store_failed, told.arrears_dropped),
        local=lambda: MemoryHoldStore(Calendar(zone_of(limits.time_zone))),
    )
    stack.push_async_callback(guarded.close)
    await _known(store, limits.store_timeout, _behind(config))
    told.watch(lambda: store.held)
    told.watch_store(lambda: guarded.working, lambda: guarded.arrears, lambda: store.skew)
    return guarded


def shared_store(
    config: Config,
    books: Books,
    tasks: TaskOwner,
    stack: AsyncExitStack,
    on_expired: Callable[[int], None] = lambda _: None,
) -> RedisHoldStore:
    """Make the shared store alone, without a time limit, until the stack is closed."""
    from gateway.quota.redis_link import RedisLink  # noqa: PLC0415 - as above
    from gateway.quota.redis_store import RedisHoldStore  # noqa: PLC0415

    limits, calendar = config.limits, Calendar(zone_of(config.limits.time_zone))
    assert config.redis_url is not None  # noqa: S101 - the callers have looked
    link = RedisLink(config.redis_url.get_secret_value(), limits.store_connections)
    stack.push_async_callback(link.close)
    return RedisHoldStore(
        link,
        tasks.spawn,
        calendar,
        rebuild=_Books(books, calendar, _behind(config)),
        tombstone_ttl=limits.tombstone_ttl,
        on_expired=on_expired,
    )


def _behind(config: Config) -> float:
    """Return seconds by which the ledger is behind, at most."""
    return _WRITTEN_WITHIN + config.log.gather


async def _known(store: RedisHoldStore, within: float, behind: float) -> None:
    """Wait until a server that begins has lived long enough for the first request to be let in at once."""
    with suppress(TimeoutError, StoreUnavailable):  # then there is none, and requests get what the policy says
        async with asyncio.timeout(within):
            begun = await store.begun()
        await asyncio.sleep(_wait(begun, behind))


def _wait(begun: float, behind: float) -> float:
    """Return seconds until the ledger has all that ended before the store began; clocks may differ."""
    return min(behind, max(0.0, begun + behind - time.time()))


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

        await asyncio.sleep(_wait(begun, self._delay))
        until = time.time() - self._delay
        ended = Ended(until, until)
        spent = await asyncio.to_thread(spending, self._books, self._calendar, tenant=tenant_of(realm), ended=ended)
        found = spent.of(realm).counters()
        return Rebuilt({**found["day"], **found["month"]}, until)
