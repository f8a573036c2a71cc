"""The line of a request: one flat object with stable names, made from its ``Outcome``.

What is unknown is left out. Nothing here can hold a prompt, an answer, a key, or a query string: the route is the
pattern that matched, the key its public id. docs/logging.md lists every field (a test compares them).
"""

from __future__ import annotations

from typing import Any

from gateway.core.errors import (
    AccessCut,
    Draining,
    Overloaded,
    SlowClient,
    StreamTooLong,
    UpstreamCredential,
)
from gateway.core.outcome import Outcome

FIELDS = (
    *(
        "request_id",
        "upstream_request_id",
        "client_request_id",
        "trace_id",
        "route",
        "method",
        "dialect",
        "status",
        "kind",
        "phase",
    ),
    *(
        "error",
        "error_origin",
        "limit",
        "tenant",
        "key_id",
        "model",
        "model_answered",
        "stream",
        "upstream",
        "attempts",
    ),
    *("input_tokens", "output_tokens", "thinking_tokens", "cache_read_tokens"),
    *("cache_write_5m_tokens", "cache_write_1h_tokens", "web_search_requests", "usage_estimated", "cost_usd"),
    *("stop_reason", "ttft_ms", "first_text_ms", "upstream_ttft_ms", "overhead_ms", "duration_ms"),
    *("tokens_per_second", "longest_gap_ms", "client_bytes", "address"),
)
_LONGEST = 200  # a model's name is the caller's to choose, and the method too

# The gateway's own errors that are its duty, not its failure: nobody has to get up for them.
_DUTIES = frozenset(kind.code for kind in (Draining, Overloaded, SlowClient, StreamTooLong, AccessCut))


# What load balancers and clients ask every few seconds to see whether anybody is there.
_PROBES = frozenset(("/health", "/"))


def level_of(outcome: Outcome) -> str:
    """Return how loud the line is: ``error`` is what an operator must act on, ``debug`` what would flood the log."""
    if outcome.kind == "done" and outcome.route in _PROBES:
        return "debug"
    if outcome.kind in ("done", "disconnected") or outcome.error_origin == "client":
        return "info"
    if outcome.error_code == UpstreamCredential.code:
        return "error"
    if outcome.error_origin == "upstream" or outcome.error_code in _DUTIES:
        return "warning"
    return "error"


def fields_of(outcome: Outcome, address: str | None) -> dict[str, Any]:
    """Return the fields of the line in the order of ``FIELDS``, without those that are empty."""
    fields = {
        "request_id": outcome.request_id,
        "upstream_request_id": outcome.upstream_request_id,
        "client_request_id": outcome.client_request_id,
        "trace_id": outcome.trace_id,
        "route": outcome.route,
        "method": outcome.method,
        "dialect": outcome.dialect,
        "status": outcome.status,
        "kind": outcome.kind,
        "phase": outcome.phase,
        "error": outcome.error_code,
        "error_origin": outcome.error_origin,
        "limit": outcome.limit,
        "tenant": outcome.tenant,
        "key_id": outcome.key_id,
        "model": outcome.model,
        "model_answered": outcome.model_answered,
        "stream": outcome.stream,
        "upstream": outcome.upstream,
        "attempts": outcome.attempts,
        **_usage(outcome),
        "cost_usd": outcome.cost_usd,
        "stop_reason": outcome.stop_reason,
        "ttft_ms": _ms(outcome.first_token),
        "first_text_ms": _ms(outcome.first_text),
        "upstream_ttft_ms": _ms(outcome.upstream_first_token),
        "overhead_ms": _ms(outcome.overhead),
        "duration_ms": _ms(outcome.duration),
        "tokens_per_second": _rounded(outcome.tokens_per_second),
        "longest_gap_ms": _ms(outcome.longest_gap),
        "client_bytes": outcome.client_bytes,
        "address": address,
    }
    return {
        name: value[:_LONGEST] if value.__class__ is str else value
        for name, value in fields.items()
        if value is not None and value != ""
    }


def _usage(outcome: Outcome) -> dict[str, Any]:
    usage = outcome.usage
    if usage is None:
        return {}
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "thinking_tokens": usage.thinking_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_5m_tokens": usage.cache_write_5m_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "web_search_requests": usage.web_search_requests,
        "usage_estimated": usage.estimated,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
