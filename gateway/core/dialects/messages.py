"""Claude's own API, verbatim: the bytes of each event go to the client as they came.

- The request's bytes go upstream unchanged; they are read, not rewritten.
- What a plan restricts is refused here, with Claude's own error shape.
- A repeated key could mean one model to us and another to Claude, so it is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic_core import from_json

from gateway.core.call import Call, Restrictions, Summary
from gateway.core.claude import Fold
from gateway.core.errors import Forbidden, GatewayError, InvalidRequest
from gateway.core.restrictions import check_betas, check_max_tokens, check_model

DEFAULT_VERSION = "2023-06-01"
# Above this size the parser that does not copy strings first is several times faster (30 MB: 7 ms against 55 ms).
_LARGE = 64 * 1024
# Of the caller's headers these describe the browser or the account, not the request.
_NOT_FORWARDED = frozenset({"anthropic-dangerous-direct-browser-access"})
_CHECKED_KEYS = (b'"model"', b'"max_tokens"', b'"stream"', b'"container"', b'"metadata"')


class MessagesEncoder:
    """Forwards one stream unchanged, and keeps the books."""

    forwards_errors = True

    __slots__ = ("_fold",)

    def __init__(self, fold: Fold) -> None:
        self._fold = fold

    def feed(self, raw: bytes, events: list[bytes], now_ms: int) -> bytes:  # noqa: ARG002 - the relay's interface
        """Return the bytes as they came."""
        skim = self._fold.skim
        for event in events:
            skim(event)
        return raw

    def done(self, summary: Summary, now_ms: int) -> bytes:  # noqa: ARG002 - the relay's interface
        """Return nothing: Claude's own ``message_stop`` has ended the stream."""
        return b""

    def error(self, error: GatewayError, request_id: str, now_ms: int) -> bytes:  # noqa: ARG002 - the same
        """Return an ``error`` event in Claude's shape."""
        return b"event: error\ndata: " + orjson.dumps(error_body(error, request_id)) + b"\n\n"


def error_body(error: GatewayError, request_id: str) -> dict[str, Any]:
    """Return Claude's error shape."""
    return {
        "type": "error",
        "error": {"type": error.claude_type, "message": error.message},
        "request_id": request_id,
    }


def forwarded_headers(headers: Mapping[str, str], allowed: Restrictions) -> dict[str, str]:
    """Return what goes upstream of a client's headers: Claude's own, never a credential.

    Raises:
        Forbidden: The plan does not include one of the betas.
    """
    forwarded = {"anthropic-version": DEFAULT_VERSION}
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith("anthropic-") and lower not in _NOT_FORWARDED:
            # Several lines of one list header are one list.
            joined = lower == "anthropic-beta" and lower in forwarded
            forwarded[lower] = f"{forwarded[lower]},{value}" if joined else value
    if allowed.betas:
        check_betas(forwarded.get("anthropic-beta", ""), allowed)
    return forwarded


def parse_messages(target: str, body: bytes, headers: Mapping[str, str], allowed: Restrictions) -> Call:
    """Read a request to ``/v1/messages`` or ``/v1/messages/count_tokens``.

    Raises:
        InvalidRequest: It is not what Claude takes, as far as we must understand it; names the field.
        ModelNotAllowed: The plan does not include the model.
        Forbidden: The plan does not include a beta, or resources of the operator's account.
    """
    fields = _object(body)
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("model: Field required" if model is None else "model: Input should be a valid string")
    check_model(model, allowed)
    max_tokens = fields.get("max_tokens")
    if isinstance(max_tokens, int):
        check_max_tokens(max_tokens, allowed)
    stream = fields.get("stream", False)
    if not isinstance(stream, bool):
        raise InvalidRequest("stream: Input should be a valid boolean")
    if not allowed.account_resources:
        _check_account_resources(fields)
    metadata = fields.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    return Call(
        method="POST",
        target=target,
        body=body,
        headers=forwarded_headers(headers, allowed),
        model=model,
        stream=stream and not target.partition("?")[0].endswith("/count_tokens"),
        max_tokens=max_tokens if isinstance(max_tokens, int) else None,
        end_user=user if isinstance(user, str) and user else None,
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        decoded = from_json(body, cache_strings="none") if len(body) > _LARGE else orjson.loads(body)
    except ValueError as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}") from None
    if not isinstance(decoded, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    if any(body.count(key) > 1 for key in _CHECKED_KEYS):
        _check_repeated_keys(body)
    return decoded


def _check_repeated_keys(body: bytes) -> None:
    def check(pairs: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise InvalidRequest(f"{key}: the key is given twice in one object.")
            seen.add(key)

    json.loads(body, object_pairs_hook=check)


def _check_account_resources(fields: dict[str, Any]) -> None:
    if fields.get("container") is not None:
        raise Forbidden("container: your plan does not allow resources of the account (account_resources).")
    pending: list[Any] = [fields.get("messages"), fields.get("system")]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if "file_id" in node:
                raise Forbidden("file_id: your plan does not allow resources of the account (account_resources).")
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
