"""The one record that a request leaves: metrics, the log line and later the ledger are made from it alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gateway.core.errors import Origin
from gateway.core.flow import Flow

Kind = Literal["done", "refused", "error", "disconnected"]
Phase = Literal["upstream_wait", "before_first_token", "streaming", "finished"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens by price class; the last value that Claude gave of each.

    ``input_tokens`` excludes the cache's; ``thinking_tokens`` are part of ``output_tokens``.
    ``estimated`` says that Claude did not tell all of it: output was counted from what was received, input estimated.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    thinking_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    web_search_requests: int = 0
    estimated: bool = False

    @property
    def cache_creation_tokens(self) -> int:
        """Both lifetimes of cache writes together."""
        return self.cache_write_5m_tokens + self.cache_write_1h_tokens


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request ended. Times are seconds, all measured from the request's arrival unless said otherwise.

    Attributes:
        request_id: Ours, as in ``X-Request-Id``.
        upstream_request_id: Claude's ``request-id``, if it answered.
        trace_id: W3C trace id of the request, 32 hex digits; empty without a trace.
        traced: Whether its spans are kept.
        route: The matched route's pattern, e.g. ``/api/chat/stream``; ``other`` for unknown ones.
        method: HTTP method.
        dialect: ``chat``, ``messages``, or ``none`` for routes that are not relayed.
        status: HTTP status sent; 499 when the client left before one was.
        kind: ``done``; ``refused`` before the upstream was asked; ``error``; ``disconnected`` by the client.
        phase: How far it had come when it ended.
        error_code: Stable code of the error, if any.
        error_origin: Whose fault it was.
        limit: Name of the limit that refused, if one did: of a plan, or a bound of the gateway's own by its key.
        tenant: Tenant's name, empty before authentication.
        key_id: Key's public id, None for anonymous callers.
        model: Model asked for, after aliases; empty where none applies.
        model_answered: Model that Claude said it was.
        stream: Whether the answer was a stream.
        upstream: Name of the upstream that answered, empty if none was asked.
        attempts: Calls made to upstreams.
        usage: Tokens, None where nothing was generated.
        cost_usd: Price of the usage, None where nothing was generated.
        stop_reason: Claude's stop reason.
        first_token: Arrival to first content delta written to the client; None without one.
        first_text: Arrival to first text delta written to the client; None without one.
        upstream_first_token: Start of the answering upstream call to its first content delta.
        overhead: The gateway's own share of ``first_token``: all of it that was not spent waiting for the upstream.
        duration: Arrival to end.
        output_seconds: First content delta to the last.
        longest_gap: Longest silence between two content deltas of the stream.
        client_bytes: Bytes of body written to the client.
        client_request_id: The client's own ``X-Request-Id``, if it sent one that a log can hold.
        flow: How the stream flowed to the client; None when there is nothing to tell of it.
    """

    request_id: str
    upstream_request_id: str | None
    trace_id: str
    route: str
    method: str
    dialect: str
    status: int
    kind: Kind
    phase: Phase
    error_code: str | None
    error_origin: Origin | None
    limit: str | None
    tenant: str
    key_id: str | None
    model: str
    model_answered: str | None
    stream: bool
    upstream: str
    attempts: int
    usage: Usage | None
    cost_usd: float | None
    stop_reason: str | None
    first_token: float | None
    first_text: float | None
    upstream_first_token: float | None
    overhead: float | None
    duration: float
    output_seconds: float | None
    longest_gap: float | None
    client_bytes: int
    client_request_id: str | None = None
    traced: bool = False
    flow: Flow | None = None

    @property
    def tokens_per_second(self) -> float | None:
        """Output tokens over the time in which they arrived; None for a single delta or none."""
        if self.usage is None or not self.output_seconds:
            return None
        return self.usage.output_tokens / self.output_seconds
