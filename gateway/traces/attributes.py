"""What spans say of a request, in the names of OpenTelemetry's conventions; our own are below ``tokenweir``.

Nothing of what was asked or answered, no credential, no address, no end user: what the log line has.
https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from __future__ import annotations

from gateway.core.outcome import Outcome, Usage
from gateway.traces.steps import Value

_CLIENT_GONE = 499


def of_request(outcome: Outcome) -> dict[str, Value]:
    """Return the attributes of the span of the whole request."""
    return _known(
        {
            "http.request.method": outcome.method,
            "http.route": outcome.route,
            "http.response.status_code": outcome.status,
            "error.type": outcome.error_code,
            "tokenweir.request_id": outcome.request_id,
            "tokenweir.tenant": outcome.tenant or None,
            "tokenweir.key_id": outcome.key_id,
            "tokenweir.dialect": outcome.dialect,
            "tokenweir.kind": outcome.kind,
            "tokenweir.phase": outcome.phase,
            "tokenweir.limit": outcome.limit,
            "tokenweir.attempts": outcome.attempts,
            "tokenweir.cost_usd": outcome.cost_usd,
        }
    )


def of_generation(outcome: Outcome) -> dict[str, Value]:
    """Return the attributes of the call that answered: what was generated."""
    return _tokens(outcome.usage) | _known(
        {
            "gen_ai.request.model": outcome.model or None,
            "gen_ai.response.model": outcome.model_answered,
            "gen_ai.response.finish_reasons": [outcome.stop_reason] if outcome.stop_reason else None,
            "tokenweir.upstream.request_id": outcome.upstream_request_id,
        }
    )


def _tokens(usage: Usage | None) -> dict[str, Value]:
    if usage is None:
        return {}
    return {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_creation_tokens,
    }


def of_call(model: str, upstream: str) -> dict[str, Value]:
    """Return the attributes of every call to an upstream."""
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": model,
        "tokenweir.upstream": upstream,
    }


def failed(outcome: Outcome) -> bool:
    """Say whether the request's span is an error: a caller's own mistake is none of the server's."""
    return outcome.error_origin in ("gateway", "upstream") and outcome.status != _CLIENT_GONE


def _known(values: dict[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if value is not None}
