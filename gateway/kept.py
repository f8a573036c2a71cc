"""What outlives a configuration: the counters of limits and of metrics, and the ledger."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from gateway.config import Config
from gateway.core.pricing import PriceBook
from gateway.core.quota.holds import HoldStore
from gateway.hold_stores import open_hold_store
from gateway.ledger.journal import DIRECTORY
from gateway.ledger.ledger import Ledger, open_ledger
from gateway.log import Log
from gateway.metrics import Metrics
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
    holds: HoldStore
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
    ledger = await stack.enter_async_context(
        open_ledger(
            config.database_url, config.data_dir / DIRECTORY, config.ledger, busy_timeout=config.keys.busy_timeout
        )
    )
    writer = ledger.writer
    metrics.quota.watch_ledger(lambda: writer.waiting, lambda: writer.journal_depth, lambda: writer.ping() is None)
    tasks = TaskOwner(lambda error: log.error("background task failed", exc_info=error))
    holds = await open_hold_store(config, metrics, ledger.books, tasks, stack)
    stack.push_async_callback(tasks.close)
    tasks.spawn(ledger.look_after())
    return Kept(metrics, holds, logs, ledger)
