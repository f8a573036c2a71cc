"""What the ledger is told of a request."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.core.outcome import Outcome, Usage
from gateway.core.pricing import PriceBook
from gateway.core.quota.amounts import nano
from gateway.core.quota.calendar import Calendar
from gateway.core.quota.holds import LEASE, Held
from gateway.core.quota.limits import key_of
from gateway.ledger.rows import Admitted, Answer, Checkpoint, Completed, Spent

if TYPE_CHECKING:
    from gateway.web.record import Record


def admitted(record: Record, held: Held, calendar: Calendar, worker_id: str) -> Admitted:
    """Return what is known of a request that was let in."""
    principal = record.principal
    assert principal is not None  # noqa: S101 - who asks is known by now
    return Admitted(
        request_id=record.request_id,
        tenant=principal.tenant,
        key_id=key_of(principal),
        end_user=principal.end_user or "",
        model=record.model,
        dialect=record.dialect,
        route=record.route,
        stream=record.stream,
        received_at=time.time() - (time.monotonic() - record.started),
        day=calendar.at("day", held.admitted_at).name,
        worker_id=worker_id,
    )


def checkpoint(usage: Usage | None, cost_usd: float | None, model: str, prices: PriceBook) -> Checkpoint:
    """Return what a request used by now; its lease lasts for as long as the limits' own."""
    now = time.time()
    return Checkpoint(now, now + LEASE, _spent(usage, cost_usd, model, prices))


def ended_at(record: Record) -> float | None:
    """Return when a request ended, Unix seconds, as its row will say."""
    if record.entry is None or record.ended is None:
        return None
    return record.entry.received_at + (record.ended - record.started)


def completed(entry: Admitted, outcome: Outcome, prices: PriceBook, *, counted: bool) -> Completed:
    """Return how a request ended."""
    first = outcome.first_token
    model = outcome.model_answered or outcome.model
    return Completed(
        at=entry.received_at + outcome.duration,
        spent=_spent(outcome.usage, outcome.cost_usd, model, prices),
        answer=Answer(
            outcome.upstream,
            outcome.attempts,
            outcome.upstream_request_id,
            outcome.model_answered,
            None if first is None else entry.received_at + first,
        ),
        kind=outcome.kind,
        status=outcome.status,
        stop_reason=outcome.stop_reason,
        error_code=outcome.error_code,
        counted=1 if counted else 0,
    )


def _spent(usage: Usage | None, cost_usd: float | None, model: str, prices: PriceBook) -> Spent:
    if usage is None:
        return Spent()
    return Spent(
        usage.input_tokens,
        usage.output_tokens,
        usage.thinking_tokens,
        usage.cache_read_tokens,
        usage.cache_write_5m_tokens,
        usage.cache_write_1h_tokens,
        usage.web_search_requests,
        nano(cost_usd or 0.0),
        prices.source(model),
        usage.estimated,
    )
