"""The answers of the OpenAPI document: which statuses there are, what they hold, and their headers.

- Examples are made by the code that answers, so that they are what it says.
- Every status that the gateway gives is listed; where Claude is asked, ``default`` stands for what else Claude may
  answer, which is passed on with its own status.
"""

from __future__ import annotations

from typing import Any

from gateway.core.errors import (
    BodyTooLarge,
    GatewayError,
    GatewayFault,
    InvalidRequest,
    MessageRequired,
    ModelNotAllowed,
    Overloaded,
    QueryTooLong,
    RateLimited,
    RequestTimeout,
    StoreUnavailable,
    TenantSuspended,
    Unauthenticated,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.web.dialects import CHAT, Dialect
from gateway.web.openapi_schemas import Schema, ref

_EXAMPLE_ID = "req_gw5f0c2a9be4d1730c68f2a1b9"
_LIMITS = r'^"[^"]*"(;[a-z]+=[^,;]+)+(, "[^"]*"(;[a-z]+=[^,;]+)+){0,2}$'

Content = dict[str, Any]


def _of_claude(kind: str, status: int, message: str) -> GatewayError:
    return UpstreamRefused(message, status=status, claude_type=kind, retryable=status >= 500)  # noqa: PLR2004 - HTTP


# Name of the component, what it means, and errors that it may hold.
_ERRORS: dict[str, tuple[str, str, tuple[GatewayError, ...]]] = {
    "400": ("BadRequest", "The request is wrong; the error names the field.", (InvalidRequest("model: required"),)),
    "401": ("Unauthenticated", "No key, or one that is not valid.", (Unauthenticated("An API key is required."),)),
    "403": (
        "Forbidden",
        "The caller is known and may not do this.",
        (ModelNotAllowed("Your plan does not include the model."), TenantSuspended("Access was suspended.")),
    ),
    "404": (
        "NotFound",
        "Claude does not know the model, or the page is not served here.",
        (_of_claude("not_found_error", 404, "model: claude-none"),),
    ),
    "408": ("BodyTimeout", "The request's body did not arrive in time.", (RequestTimeout("It did not arrive."),)),
    "413": ("TooLarge", "The body is over the gateway's limit, or Claude's.", (BodyTooLarge("It is over the limit."),)),
    "414": ("QueryTooLong", "The query string, or a field of it, is over its limit.", (QueryTooLong("Send a POST."),)),
    "429": (
        "TooManyRequests",
        "A limit is reached: one of the plan's, of failed authentications, or Claude's own.",
        (RateLimited("The limit is reached.", limit="tenant-requests-per-minute", retry_after=12.0),),
    ),
    "500": ("InternalError", "A fault of the gateway's, or Claude's.", (GatewayFault("Something went wrong."),)),
    "502": (
        "BadUpstream",
        "Claude could not be reached, or was not understood.",
        (UpstreamUnreachable("Claude cannot be reached."),),
    ),
    "503": (
        "Unavailable",
        "The gateway is at a bound of its own, restarting, or without its store.",
        (
            Overloaded("The gateway is at its limit.", retry_after=1.0),
            StoreUnavailable("Keys cannot be checked at the moment."),
        ),
    ),
    "504": ("TimedOut", "Claude, or the whole answer, took too long.", (UpstreamTimeout("It took too long."),)),
    "529": (
        "ClaudeOverloaded",
        "Claude is overloaded.",
        (_of_claude("overloaded_error", 529, "Overloaded"),),
    ),
    "default": ("OtherError", "Another status of Claude's.", (_of_claude("invalid_request_error", 422, "No."),)),
}
_WITH_RETRY_AFTER = frozenset({"429", "503", "529", "default"})


def headers() -> dict[str, Schema]:
    """Return the headers that answers carry, as components."""
    return {
        "X-Request-Id": _header("The gateway's id of the request, in its log too.", {"type": "string"}, always=True),
        "Request-Id": _header("Claude's id of the request where Claude answered, else the gateway's.", always=True),
        "Retry-After": _header("Seconds after which a retry may succeed.", {"type": "integer", "minimum": 0}),
        "RateLimit": _header(
            "What is left of the tightest three limits (draft-ietf-httpapi-ratelimit-headers); absent without limits.",
            {"type": "string", "pattern": _LIMITS, "examples": ['"tenant-requests-per-minute";r=17;t=42']},
        ),
        "RateLimit-Policy": _header(
            "The same limits: their size and window.",
            {"type": "string", "pattern": _LIMITS, "examples": ['"tenant-requests-per-minute";q=60;w=60']},
        ),
        "WWW-Authenticate": _header("How to authenticate.", {"type": "string", "const": "Bearer"}, always=True),
        "X-Should-Retry": _header("Whether Claude's SDKs retry.", {"type": "string", "enum": ["true", "false"]}),
    }


def _header(what: str, schema: Schema | None = None, *, always: bool = False) -> Schema:
    return {"description": what, "required": always, "schema": schema or {"type": "string"}}


def errors(dialect: Dialect) -> dict[str, Schema]:
    """Return every error of a dialect as components."""
    return {_component(dialect, status): _error(dialect, status) for status in _ERRORS}


def refusals(dialect: Dialect, *, without: tuple[str, ...] = ()) -> dict[str, Schema]:
    """Return the errors of an operation that asks Claude, by status."""
    kept = (status for status in _ERRORS if status not in without)
    return {status: {"$ref": f"#/components/responses/{_component(dialect, status)}"} for status in kept}


def answer(what: str, content: Content, *, limited: bool = True) -> Schema:
    """Return a good answer."""
    names = ("X-Request-Id", "Request-Id", *(("RateLimit", "RateLimit-Policy") if limited else ()))
    return {"description": what, "headers": _named(names), **({"content": content} if content else {})}


def json_of(name: str) -> Content:
    """Return the content of an answer that is one component in JSON."""
    return {"application/json": {"schema": ref(name)}}


def _component(dialect: Dialect, status: str) -> str:
    return f"{dialect.name.capitalize()}{_ERRORS[status][0]}"


def _error(dialect: Dialect, status: str) -> Schema:
    _, what, found = _ERRORS[status]
    if status == "400" and dialect is CHAT:
        found = (MessageRequired(), *found)
    names = ["X-Request-Id", "Request-Id", "RateLimit", "RateLimit-Policy"]
    if status in _WITH_RETRY_AFTER:
        names.append("Retry-After")
    if status == "401":
        names.append("WWW-Authenticate")
    if dialect.verbatim:
        names.append("X-Should-Retry")
    examples = {error.code: {"value": dialect.error_body(error, _EXAMPLE_ID)} for error in found}
    schema = ref("ClaudeError" if dialect.verbatim else "ChatError")
    content = {"application/json": {"schema": schema, "examples": examples}}
    return {"description": what, "headers": _named(names), "content": content}


def _named(names: tuple[str, ...] | list[str]) -> dict[str, Schema]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
