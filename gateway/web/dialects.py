"""The client protocols as the pipeline sees them: one row each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from gateway.core.call import Call, Encoder
from gateway.core.claude import Fold
from gateway.core.dialects import chat, messages
from gateway.core.errors import GatewayError, MethodNotAllowed, RateLimited, Unauthenticated, UpstreamRefused

_RETRIED_BY_SDKS = frozenset({408, 409, 429})
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Dialect:
    """One client protocol.

    Attributes:
        name: Its name in metrics and logs.
        encoder: Makes the encoder of one stream.
        error_body: Makes the JSON body of an error that comes before a stream.
        verbatim: Whether Claude's own answers go through as they came.
        content_type: Of its streams, as its clients know it.
    """

    name: str
    encoder: Callable[[Fold, Call], Encoder]
    error_body: Callable[[GatewayError, str], dict[str, Any]]
    verbatim: bool
    content_type: str

    def error_response(self, error: GatewayError, request_id: str) -> web.Response:
        """Return the answer for an error that comes before a stream."""
        told = error if self.verbatim and isinstance(error, UpstreamRefused) else None
        headers = {"Cache-Control": "no-store", **(told.headers if told else {})}
        fields = self.error_body(error, headers.get("request-id", request_id))
        seconds = fields.get("retryAfter", error.retry_seconds)
        if seconds is not None:
            headers.setdefault("retry-after", str(seconds))
        # Claude says so with every refusal of its own; a coding tool tried a 401 again for a minute without it.
        forever = isinstance(error, RateLimited) and not error.retryable
        if forever or (self.verbatim and not error.retryable and (told is None or _retried(error.status))):
            headers.setdefault("x-should-retry", "false")
        if isinstance(error, Unauthenticated):
            headers["WWW-Authenticate"] = "Bearer"
        if isinstance(error, MethodNotAllowed):
            headers["Allow"] = error.allowed
        body = (told and told.body) or orjson.dumps(fields)
        return web.Response(status=error.status, body=body, content_type="application/json", headers=headers)


def _retried(status: int) -> bool:
    """Whether Claude's SDKs try again after this status unless told otherwise."""
    return status in _RETRIED_BY_SDKS or status >= _SERVER_ERROR


CHAT = Dialect(
    "chat",
    lambda fold, call: chat.ChatEncoder(fold, thinking=call.thinking),
    chat.error_body,
    verbatim=False,
    content_type="text/event-stream",
)
MESSAGES = Dialect(
    "messages",
    lambda fold, _: messages.MessagesEncoder(fold),
    messages.error_body,
    verbatim=True,
    content_type="text/event-stream; charset=utf-8",
)


def dialect_of(path: str) -> Dialect:
    """Return the dialect in which errors of a path are told: Claude's own under ``/v1``, the frontends' elsewhere."""
    return MESSAGES if path == "/v1" or path.startswith("/v1/") else CHAT
