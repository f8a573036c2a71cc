"""What outlives a configuration: the counters of limits and of metrics, and the ledger."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from gateway.config import Config
from gateway.core.pricing import PriceBook
from gateway.core.quota.calendar import Calendar
from gateway.core.quota.rebuilt import Spent, counters
from gateway.core.units import zone_of
from gateway.ledger.books import Sum
from gateway.ledger.journal import DIRECTORY
from gateway.ledger.ledger import Ledger, open_ledger
from gateway.log import Log
from gateway.metrics import Metrics
from gateway.quota.memory import MemoryHoldStore
from gateway.tasks import TaskOwner

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Kept:
    """What outlives a configuration: limits go on counting, and no counter goes back.

    Attributes:
        metrics: All metrics.
        holds: What callers hold of their limits.
        logs: Every log there was, for the lines that they dropped.
        ledger: The row of each request.
    """

    metrics: Metrics
    holds: MemoryHoldStore
    logs: list[Log]
    ledger: Ledger


async def open_kept(config: Config, stack: AsyncExitStack) -> Kept:
    """Make it, until the stack is closed.

    Raises:
        StoreError: The database cannot be used.
    """
    logs: list[Log] = []
    metrics = Metrics(
        config.metrics,
        known_model=PriceBook(config.prices).known,
        dropped_log_lines=lambda: sum(log_to.dropped for log_to in logs),
    )
    stack.callback(metrics.close)
    limits = config.limits
    holds = MemoryHoldStore(
        Calendar(zone_of(limits.time_zone)),
        tombstone_ttl=limits.tombstone_ttl,
        max_tombstones=limits.max_tombstones,
        max_windows=limits.max_windows,
        on_expired=metrics.quota.expired,
    )
    metrics.quota.watch(lambda: holds.held)
    ledger = await stack.enter_async_context(
        open_ledger(
            config.database_url, config.data_dir / DIRECTORY, config.ledger, busy_timeout=config.keys.busy_timeout
        )
    )
    writer = ledger.writer
    metrics.quota.watch_ledger(lambda: writer.waiting, lambda: writer.journal_depth, lambda: writer.ping() is None)
    await _restore(holds, ledger, config)
    tasks = TaskOwner(lambda error: log.error("background task failed", exc_info=error))
    stack.push_async_callback(tasks.close)
    tasks.spawn(ledger.look_after())
    return Kept(metrics, holds, logs, ledger)


async def _restore(holds: MemoryHoldStore, ledger: Ledger, config: Config) -> None:
    """Count what the ledger has of this day and month: the process before this one counted it."""
    calendar, now = Calendar(zone_of(config.limits.time_zone)), time.time()
    today, month = calendar.at("day", now).name, calendar.at("month", now).name
    sums = await asyncio.to_thread(ledger.books.spent, f"{month}-01", today, running=True)
    spent = [_spent(found) for found in sums]
    for span, used in counters(spent, today, config.server.workers).items():
        holds.restore(span, used)


def _spent(found: Sum) -> Spent:
    day, tenant, key_id, end_user = found.of
    entered = found.input_tokens + found.cache_read_tokens + found.cache_write_5m_tokens + found.cache_write_1h_tokens
    return Spent(day, tenant, key_id, end_user, found.requests, entered, found.output_tokens, found.cost_nano_usd)
