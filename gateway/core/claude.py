"""Claude's event stream, folded into what the gateway must know of it.

- Usage is cumulative: of every field the last value wins; adding them up would count double.
- Unknown events, deltas and fields are no error; they pass.
- The first content delta of any kind starts the output; the first text delta is noted apart (thinking comes before).
- ``skim`` reads only what bookkeeping needs and leaves the deltas' JSON alone; ``read`` decodes every delta. One stream
  uses one of the two.
- Output that Claude never summed up, because the stream was cut, is estimated from the bytes that came.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from gateway.core.errors import GatewayError, UpstreamMalformed, UpstreamRefused
from gateway.core.outcome import Usage
from gateway.core.sse import parse_event

_DELTA = b"event: content_block_delta\ndata: "
_DELTA_LENGTH = len(_DELTA)
# A delta event besides its text: {"type":"content_block_delta","index":0,"delta":{...}} and the two lines' heads.
_DELTA_OVERHEAD = 125
# Claude's tokenizer makes 3 to 4 characters of one token in Western texts; 3 errs on the side of counting more.
_CHARACTERS_PER_TOKEN = 3

STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
TYPE_OF_STATUS = {status: name for name, status in STATUS_OF_TYPE.items()}
RETRYABLE_STATUSES = frozenset({408, 409, 429})
_CREDENTIAL_TYPES = frozenset({"authentication_error", "billing_error", "permission_error"})


def retryable_status(status: int) -> bool:
    """Whether Claude's SDKs would try again after this status."""
    return status in RETRYABLE_STATUSES or status >= 500  # noqa: PLR2004 - the class of server errors


def load_json(data: bytes) -> Any:
    """Decode JSON, lone surrogates included, which Claude may cut a character into.

    Raises:
        ValueError: It is not JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return json.loads(data)


def dump_text(text: str) -> bytes:
    """Encode a JSON string; a lone surrogate stays escaped, for the client to join with its other half."""
    try:
        return orjson.dumps(text)
    except TypeError:
        return json.dumps(text).encode()


def error_from_claude(body: Any, status: int | None = None, retry_after: float | None = None) -> UpstreamRefused:
    """Read one of Claude's error objects, lenient with what is missing.

    Args:
        body: The decoded ``{"type": "error", "error": {...}}``, or whatever came instead.
        status: The HTTP status it came with; None for an ``error`` event, whose type tells.
        retry_after: Seconds, from the answer's headers.
    """
    error = body.get("error") if isinstance(body, dict) else None
    error = error if isinstance(error, dict) else {}
    kind = error.get("type")
    if not isinstance(kind, str) or kind not in STATUS_OF_TYPE:
        kind = TYPE_OF_STATUS.get(status or 500, "api_error" if (status or 500) >= 500 else "invalid_request_error")  # noqa: PLR2004
    message = error.get("message")
    status = status or STATUS_OF_TYPE[kind]
    return UpstreamRefused(
        message if isinstance(message, str) and message else f"Claude answered with status {status}.",
        status=status,
        claude_type=kind,
        retryable=retryable_status(status),
        retry_after=retry_after,
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


class Fold:
    """What one stream has said so far.

    Attributes:
        model: Model that answers.
        stop_reason: Why it stopped, once known.
        started: Whether any event but pings has come.
        stopped: Whether ``message_stop`` has come.
        error: Claude's error event, or what is wrong with an event; nothing after it counts.
        deltas: Content deltas so far.
        text_seen: Whether a text delta was among them.
    """

    __slots__ = (
        "_characters",
        "_creation",
        "_output_told",
        "_usage",
        "deltas",
        "error",
        "model",
        "started",
        "stop_reason",
        "stopped",
        "text_seen",
    )

    def __init__(self) -> None:
        self.model: str | None = None
        self.stop_reason: str | None = None
        self.started = False
        self.stopped = False
        self.error: GatewayError | None = None
        self.deltas = 0
        self.text_seen = False
        self._characters = 0
        self._usage: dict[str, int] = {}
        self._creation: dict[str, int] = {}
        self._output_told = False

    def skim(self, event: bytes) -> None:
        """Take an event for bookkeeping alone."""
        if event.startswith(_DELTA):
            self.started = True
            self.deltas += 1
            self._characters += max(1, len(event) - _DELTA_OVERHEAD)
            if not self.text_seen and b'"text_delta"' in event:
                self.text_seen = True
            return
        self._take(event)

    def read(self, event: bytes) -> dict[str, Any] | None:
        """Take an event; return the delta object of a content delta, None for every other event."""
        if self.error is not None:
            return None
        if event.startswith(_DELTA) and b"\n" not in (data := event[_DELTA_LENGTH:]):
            return self._delta(self._decode(data))
        return self._take(event)

    def usage(self) -> Usage | None:
        """Return the tokens so far, None when nothing was said of any."""
        told = self._usage
        if not told and not self.deltas:
            return None
        creation = told.get("cache_creation_input_tokens", 0)
        one_hour = min(self._creation.get("ephemeral_1h_input_tokens", 0), creation)
        output = told.get("output_tokens", 0)
        if not self._output_told:
            output = max(output, self.deltas, self._characters // _CHARACTERS_PER_TOKEN)
        return Usage(
            input_tokens=told.get("input_tokens", 0),
            output_tokens=output,
            thinking_tokens=told.get("thinking_tokens", 0),
            cache_read_tokens=told.get("cache_read_input_tokens", 0),
            cache_write_5m_tokens=creation - one_hour,
            cache_write_1h_tokens=one_hour,
            web_search_requests=told.get("web_search_requests", 0),
            estimated=not self._output_told,
        )

    def take_message(self, message: dict[str, Any]) -> None:
        """Take a whole non-streaming message."""
        self._message(message)
        self._output_told = True
        self.stopped = True

    def _take(self, event: bytes) -> dict[str, Any] | None:
        name, data = parse_event(event)
        if data is None or name == b"ping":
            return None
        self.started = True
        if name in _KNOWN or not name:
            body = self._decode(data)
            if not isinstance(body, dict):
                return None
            kind = body.get("type")
            if kind == "content_block_delta":
                return self._delta(body)
            self._known(kind, body)
        return None

    def _known(self, kind: object, body: dict[str, Any]) -> None:
        match kind:
            case "message_start":
                message = body.get("message")
                self._message(message if isinstance(message, dict) else {})
            case "message_delta":
                delta = body.get("delta")
                if isinstance(delta, dict) and isinstance(delta.get("stop_reason"), str):
                    self.stop_reason = delta["stop_reason"]
                self._fold_usage(body.get("usage"), final=True)
            case "message_stop":
                self.stopped = True
            case "error":
                self.error = error_from_claude(body)

    def _message(self, message: dict[str, Any]) -> None:
        if isinstance(message.get("model"), str):
            self.model = message["model"]
        if isinstance(message.get("stop_reason"), str):
            self.stop_reason = message["stop_reason"]
        self._fold_usage(message.get("usage"), final=False)

    def _delta(self, body: Any) -> dict[str, Any] | None:
        self.started = True
        delta = body.get("delta") if isinstance(body, dict) else None
        if not isinstance(delta, dict):
            self.error = self.error or UpstreamMalformed("Claude sent a content delta that holds none.")
            return None
        self.deltas += 1
        text = delta.get("text") or delta.get("thinking") or delta.get("partial_json") or ""
        self._characters += len(text) if isinstance(text, str) else 1
        if delta.get("type") == "text_delta":
            self.text_seen = True
        return delta

    def _fold_usage(self, usage: Any, *, final: bool) -> None:
        if not isinstance(usage, dict):
            return
        for key in ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"):
            if (count := _count(usage.get(key))) is not None:
                self._usage[key] = count
        if final and "output_tokens" in usage:
            self._output_told = True
        self._fold_details(usage)

    def _fold_details(self, usage: dict[str, Any]) -> None:
        for group, key in (("output_tokens_details", "thinking_tokens"), ("server_tool_use", "web_search_requests")):
            details = usage.get(group)
            if isinstance(details, dict) and (count := _count(details.get(key))) is not None:
                self._usage[key] = count
        creation = usage.get("cache_creation")
        if isinstance(creation, dict):
            self._creation = {key: count for key in creation if (count := _count(creation[key])) is not None}

    def _decode(self, data: bytes) -> Any:
        try:
            return load_json(data)
        except ValueError:
            self.error = UpstreamMalformed("Claude sent an event that is not JSON.")
            return None


_KNOWN = frozenset(
    {b"message_start", b"content_block_delta", b"content_block_start", b"content_block_stop"}
    | {b"message_delta", b"message_stop", b"error"}
)
