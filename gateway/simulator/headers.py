"""The headers of Claude's answers, as recorded; the operator's account is a made-up one.

``server`` says honestly who answers; what Claude's edge adds about itself is left out.
"""

from __future__ import annotations

from datetime import UTC, datetime

ORGANIZATION = "00000000-0000-4000-8000-000000000000"
STREAM_TYPE = "text/event-stream; charset=utf-8"
_LIMITS = {"input-tokens": 2_000_000, "output-tokens": 400_000, "requests": 4_000, "tokens": 2_400_000}
_CORS_ALLOWED = "*"


def claude_headers(request_id: str, trace: str) -> dict[str, str]:
    """Headers of every answer of the API."""
    return {
        "request-id": request_id,
        "anthropic-organization-id": ORGANIZATION,
        "strict-transport-security": "max-age=31536000; includeSubDomains; preload",
        "traceresponse": trace,
        "server": "tokenweir-simulator",
        "x-robots-tag": "none",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    }


def rate_limits(now: float, *, used_tokens: int = 0, exhausted: bool = False) -> dict[str, str]:
    """The account's rate limits, in the order in which Claude sends them."""
    reset = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    headers: dict[str, str] = {}
    for name, limit in _LIMITS.items():
        used = {"requests": 1, "output-tokens": 0}.get(name, used_tokens)
        headers[f"anthropic-ratelimit-{name}-limit"] = str(limit)
        headers[f"anthropic-ratelimit-{name}-remaining"] = "0" if exhausted else str(max(0, limit - used))
        headers[f"anthropic-ratelimit-{name}-reset"] = reset
    return headers


def cors_headers() -> dict[str, str]:
    """What lets a page read the answer, when its SDK was told to allow browsers."""
    return {
        "access-control-allow-origin": "*",
        "access-control-expose-headers": "request-id, retry-after, x-should-retry",
    }


def preflight_headers(wanted: str) -> dict[str, str]:
    """The answer to a browser's question whether it may."""
    return {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "GET, POST, HEAD, OPTIONS",
        "access-control-allow-headers": wanted or _CORS_ALLOWED,
        "access-control-max-age": "600",
    }
