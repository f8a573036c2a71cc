"""Cross-origin requests: which browsers may read our answers, and what a preflight is told.

- A listed origin (configured, or mapped to an anonymous tenant) is named in ``Access-Control-Allow-Origin``; no other
  is, and never ``*``, so that every answer says ``Vary: Origin``.
- A preflight from an unlisted origin is a 403. A real request from one is served if it carries a valid key: it may
  come from a program; a browser will not show the answer.
- The browser may send what the SDKs and the frontends send: ``x-stainless-*`` and ``anthropic-*`` are prefixes, so the
  headers asked for are checked one by one and named back.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from gateway.core.errors import OriginNotAllowed
from gateway.core.origins import Origins

EXPOSED = "X-Request-Id, request-id, Retry-After, RateLimit, RateLimit-Policy"
# By these Claude's SDK decides whether and when it tries again; without them it would in a browser, against our word.
EXPOSED_TO_SDKS = f"{EXPOSED}, retry-after-ms, x-should-retry"
_HEADERS = frozenset({"accept", "authorization", "cache-control", "content-type", "last-event-id", "x-api-key"}) | {
    "traceparent",
    "tracestate",
    "x-request-id",
    "x-requested-with",
}
_PREFIXES = ("anthropic-", "x-stainless-")
_MAX_AGE = "7200"  # Chromium's own cap


def is_preflight(request: web.Request) -> bool:
    """Whether the browser asks before it sends the real request."""
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def preflight(request: web.Request, origins: Origins, methods: str) -> web.Response:
    """Return the answer to a preflight.

    Args:
        request: The preflight.
        origins: Who may come.
        methods: What the route takes, as in ``Allow``.

    Raises:
        OriginNotAllowed: The origin is not listed.
    """
    origin = request.headers.get("Origin")
    if origin is None or not origins.cors_allowed(origin):
        raise OriginNotAllowed("This origin is not allowed. Add it to [server] cors_origins or to an [[anonymous]].")
    asked = request.headers.get("Access-Control-Request-Headers", "")
    allowed = [name for part in asked.split(",") if (name := part.strip().lower()) and _header_allowed(name)]
    headers = {"Access-Control-Allow-Methods": methods, "Access-Control-Max-Age": _MAX_AGE}
    if allowed:
        headers["Access-Control-Allow-Headers"] = ", ".join(allowed)
    return web.Response(status=204, headers=headers)


def _header_allowed(name: str) -> bool:
    return name in _HEADERS or name.startswith(_PREFIXES)


def cors_headers(origin: str | None, origins: Origins, exposed: str) -> Mapping[str, str]:
    """Return what an answer says about the origin that asked.

    Args:
        origin: Who asked.
        origins: Who may read.
        exposed: The headers that it may read.
    """
    if origin is None or not origins.cors_allowed(origin):
        return {}
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": exposed}
