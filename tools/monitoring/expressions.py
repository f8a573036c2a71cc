"""PromQL that more than one rule or panel is made of."""

from __future__ import annotations

from tools.monitoring.objectives import FIRST_TOKEN_WITHIN

# What is relayed to Claude; a probe that always succeeds says nothing about answers.
RELAYED = 'route!~"other|/|/health|/docs|/openapi.json|/streaming-demo.*|/api/quota"'

# Errors that are Claude's answer to a wrong request, or a caller's own doing.
_NOT_OURS = (
    "upstream_invalid_request_error|upstream_not_found_error|upstream_request_too_large|upstream_conflict_error"
    "|slow_client|access_cut"
)
FAILED = f'origin=~"gateway|upstream",code!~"{_NOT_OURS}"'
# Failures of an upstream's own: neither its limits, nor our credential, nor the request.
FAILURES = (
    'code=~"upstream_(error|unreachable|unavailable|timeout|truncated|malformed|api_error|timeout_error'
    '|overloaded_error)"'
)
THROTTLES = 'code=~"throttled|upstream_rate_limit_error"'
CREDENTIAL = 'code=~"upstream_(credential|authentication_error|billing_error|permission_error)"'


def rate(metric: str, window: str, *labels: str, by: str = "job") -> str:
    """Return the sum of a counter's rates."""
    return f"sum by ({by}) (rate({metric}{{{','.join(labels)}}}[{window}]))".replace("{}", "")


def or_zero(some: str, there: str) -> str:
    """Return a sum that is 0 instead of nothing, where there is another."""
    return f"({some} or 0 * {there})"


def grew(metric: str, window: str, by: str) -> str:
    """Return the condition that counters grew, or began: one that starts at its first event has no increase then."""
    began = f"sum by ({by}) ({metric} unless {metric} offset {window})"
    return f"(sum by ({by}) (increase({metric}[{window}])) > 0 or {began} > 0)"


def failed(window: str, how: str = "rate") -> str:
    """Return requests that failed by nobody's fault but ours or Claude's."""
    return _counted(f"tokenweir_errors_total{{{FAILED}}}", window, how)


def served(window: str, how: str = "rate") -> str:
    """Return requests that came to an end which is no error: answered, or left by the client."""
    labels = f'kind=~"done|disconnected",{RELAYED}'
    return _counted(f"tokenweir_requests_total{{{labels}}}", window, how)


def _counted(series: str, window: str, how: str) -> str:
    """Return a sum of series that begin with their first request: 0 until then."""
    there = f"sum by (job) ({how}(tokenweir_requests_total[{window}]))"
    return or_zero(f"sum by (job) ({how}({series}[{window}]))", there)


def late(window: str, how: str = "rate") -> str:
    """Return streams whose first token came too late."""
    return f"({streams(window, how)} - {_in_time(window, how)})"


def streams(window: str, how: str = "rate") -> str:
    """Return streams that had a first token."""
    return f"sum by (job) ({how}(tokenweir_time_to_first_token_seconds_count[{window}]))"


def _in_time(window: str, how: str) -> str:
    bucket = f'tokenweir_time_to_first_token_seconds_bucket{{le="{FIRST_TOKEN_WITHIN}"}}'
    return f"sum by (job) ({how}({bucket}[{window}]))"


def quantile(share: float, metric: str, window: str, *labels: str, by: str = "job") -> str:
    """Return a quantile of a histogram."""
    of = ", ".join(part for part in (by, "le") if part)
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', window, *labels, by=of)})"
