"""Claude, or the way to it."""

from __future__ import annotations

from tools.monitoring.alert import Alert
from tools.monitoring.expressions import CREDENTIAL, FAILURES, RELAYED, THROTTLES, or_zero, rate
from tools.monitoring.objectives import UPSTREAM_FAILS, UPSTREAM_THROTTLES

_ASKED = rate("tokenweir_requests_total", "5m", RELAYED)
_CALLS = ("tokenweir_errors_total", "tokenweir_upstream_retries_total", "tokenweir_upstream_failovers_total")


def _per_request(codes: str) -> str:
    """Return how many calls for a request ended so, those that callers did not notice included."""
    return "(" + " + ".join(or_zero(rate(each, "5m", codes), _ASKED) for each in _CALLS) + f") / {_ASKED}"


ALERTS = [
    Alert(
        "TokenweirUpstreamFails", "the-upstream-fails", "page",
        f"{_per_request(FAILURES)} > {UPSTREAM_FAILS}", "2m",
        "Claude fails {{ $value | humanize }} times for each request to {{ $labels.job }}",
        "No connection, 5xx, 529, timeouts or broken answers. Retries and failovers hide some of it from callers.",
    ),
    Alert(
        "TokenweirUpstreamThrottles", "the-upstream-throttles", "ticket",
        f"{_per_request(THROTTLES)} > {UPSTREAM_THROTTLES}", "5m",
        "Claude's rate limit meets {{ $value | humanize }} of each request to {{ $labels.job }}",
        "The account's limits are below what tenants may ask. Lower the plans, ask Anthropic for more, or add an upstream.",
    ),
    Alert(
        "TokenweirCredentialRefused", "the-upstream-refuses-our-credential", "page",
        " or ".join(
            f"sum by (job, code) (increase({each}{{{CREDENTIAL}}}[5m])) > 0" for each in (_CALLS[0], _CALLS[2])
        ), "",
        "Claude refuses the credential of {{ $labels.job }}",
        "The key is wrong, revoked or without credit: no retry helps, and nobody is answered by this upstream.",
    ),
    Alert(
        "TokenweirBreakerOpen", "a-breaker-is-open", "page",
        "max by (job, upstream) (max_over_time(tokenweir_upstream_breaker_state[1m])) == 2", "1m",
        "The breaker of {{ $labels.upstream }} is open",
        "It failed so often that it is not asked; without another upstream callers get 503 at once. It closes by itself.",
    ),
]  # fmt: skip
