"""The client protocols as the pipeline sees them: one row each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from gateway.core.call import Call, Encoder
from gateway.core.claude import Fold
from gateway.core.dialects import chat, messages
from gateway.core.errors import GatewayError, Unauthenticated, UpstreamRefused

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
    """

    name: str
    encoder: Callable[[Fold, Call], Encoder]
    error_body: Callable[[GatewayError, str], dict[str, Any]]
    verbatim: bool

    def error_response(self, error: GatewayError, request_id: str) -> web.Response:
        """Return the answer for an error that comes before a stream."""
        headers = {"Cache-Control": "no-store"}
        if error.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
        if isinstance(error, Unauthenticated):
            headers["WWW-Authenticate"] = "Bearer"
        body = None
        if self.verbatim:
            retried = error.status in _RETRIED_BY_SDKS or error.status >= _SERVER_ERROR
            if retried and not error.retryable:
                headers["x-should-retry"] = "false"
            body = error.body if isinstance(error, UpstreamRefused) else None
        if body is None:
            body = orjson.dumps(self.error_body(error, request_id))
        return web.Response(status=error.status, body=body, content_type="application/json", headers=headers)


CHAT = Dialect(
    "chat",
    lambda fold, call: chat.ChatEncoder(fold, thinking=call.thinking),
    chat.error_body,
    verbatim=False,
)
MESSAGES = Dialect("messages", lambda fold, _: messages.MessagesEncoder(fold), messages.error_body, verbatim=True)


def dialect_of(path: str) -> Dialect:
    """Return the dialect in which errors of a path are told: Claude's own under ``/v1``, the frontends' elsewhere."""
    return MESSAGES if path == "/v1" or path.startswith("/v1/") else CHAT
