"""Claude's errors as it sends them: status, headers and body, in its own words.

The body is ``{"type":"error","error":{"type","message"},"request_id"}``, fields in this order, as recorded. Whether a
retry helps is told in ``x-should-retry``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from gateway.core.claude import TYPE_OF_STATUS, retryable_status

_MESSAGES = {
    "authentication_error": "invalid x-api-key",
    "billing_error": "Your credit balance is too low to access the Anthropic API.",
    "permission_error": "Your API key does not have permission to use the specified resource.",
    "not_found_error": "Not Found",
    "request_too_large": "Request exceeds the maximum size",
    "rate_limit_error": "This request would exceed your organization's rate limit of 4,000 requests per minute.",
    "api_error": "Internal server error",
    "timeout_error": "Request timed out",
    "overloaded_error": "Overloaded",
}
_FIRST_SERVER_ERROR = 500


@dataclass(slots=True)
class Refused(Exception):
    """The request ends with an error status; the server renders it.

    Attributes:
        status: HTTP status.
        kind: Claude's error type; empty takes the status's own.
        message: Claude's sentence; empty takes the kind's own.
        headers: Further headers, lower case.
    """

    status: int
    kind: str = ""
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fallback = "api_error" if self.status >= _FIRST_SERVER_ERROR else "invalid_request_error"
        self.kind = self.kind or TYPE_OF_STATUS.get(self.status, fallback)
        self.message = self.message or sentence(self.kind)
        self.args = (self.message,)
        self.headers.setdefault("x-should-retry", "true" if retryable_status(self.status) else "false")


def invalid(message: str) -> Refused:
    """A 400 that says what is wrong, as ``field: what``."""
    return Refused(400, message=message)


def sentence(kind: str) -> str:
    """Claude's usual sentence for an error type."""
    return _MESSAGES.get(kind, "Error")


def error_body(kind: str, message: str, request_id: str | None) -> bytes:
    """The body of an error answer; without a request id, the data of an ``error`` event."""
    body: dict[str, object] = {"type": "error", "error": {"type": kind, "message": message}}
    if request_id is not None:
        body["request_id"] = request_id
    return orjson.dumps(body)


def html_page(status: int) -> bytes:
    """What a proxy on the way says instead of Claude."""
    title = f"{status} Error"
    return f"<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n".encode()
