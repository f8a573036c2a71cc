"""The existing frontends' frames: one ``data: {json}`` line and a blank line each.

- One text delta of Claude's is one ``text`` frame: the client's display of tokens a second counts frames. Only for a
  client that lags the texts of one read are joined: it shows no token at its time, and a frame is ten times its text.
- ``done`` is the last frame of a good answer, ``error`` the last of a bad one; the client ignores other types, so
  ``thinking`` frames are sent only to callers that asked for thinking.
"""

from __future__ import annotations

import math
from typing import Any

import orjson

from gateway.core.call import Summary
from gateway.core.claude import DELTA, Fold, dump_text, retryable_status, well_formed
from gateway.core.errors import (
    GatewayError,
    InvalidRequest,
    MessageRequired,
    RateLimited,
    UpstreamMalformed,
    UpstreamRefused,
)
from gateway.core.outcome import Usage
from gateway.core.quota.told import as_json

_SERVER_ERROR = 500
_TOO_MANY = 429
# Seconds, for a 429 of Claude's that does not say when to come back.
_UNTOLD_WAIT = 5
# What a 429 names as its limit when it is not one of a plan's.
_LIMIT_OF_ORIGIN = {"client": "failed-authentications", "gateway": "gateway", "upstream": "upstream"}
# What a person can act on; Claude's own one-word messages for these are no help.
_SENTENCES = {
    "overloaded_error": "Claude is overloaded at the moment. Please try again shortly.",
    "api_error": "Claude had an internal error. Please try again.",
    "rate_limit_error": "Claude takes no more requests at the moment. Please try again shortly.",
    "timeout_error": "Claude took too long to answer. Please try again.",
}


class ChatEncoder:
    """Turns one stream of Claude's into frames.

    Args:
        fold: Where the stream's bookkeeping is kept.
        thinking: Whether ``thinking`` frames are sent.
    """

    forwards_errors = False
    merges = True

    __slots__ = ("_fold", "_thinking", "merged")

    def __init__(self, fold: Fold, *, thinking: bool = False) -> None:
        self._fold = fold
        self._thinking = thinking
        self.merged = 0

    def single(self, chunk: bytes, now_ms: float) -> bytes:
        """Return the frame for a text delta that came alone."""
        text = self._fold.text(chunk, alone=True)
        return b"" if text is None else b'data: {"token":%b,"type":"text","timestamp":%d}\n\n' % (text, now_ms)

    def feed(self, raw: bytes, events: list[bytes], now_ms: float, *, merge: bool = False) -> bytes:
        """Return the frames for these events."""
        if len(events) > 1 and events[0].startswith(DELTA) and (texts := self._fold.texts(raw)) is not None:
            return self._frames(b"text", texts, now_ms, merge=merge)
        runs: list[tuple[bytes, list[bytes]]] = []
        last = b""
        for event in events:
            shown, kind = self._fold.text(event), b"text"
            if shown is None:
                shown, kind = self._read(event)
            if shown is None:
                continue
            if kind != last:
                runs.append((kind, []))
                last = kind
            runs[-1][1].append(shown)
        return b"".join([self._frames(kind, texts, now_ms, merge=merge) for kind, texts in runs])

    def done(self, summary: Summary, now_ms: int) -> bytes:
        """Return the ``done`` frame."""
        return _data({"token": "", "type": "done", "timestamp": now_ms, "metadata": metadata_of(summary)})

    def error(self, error: GatewayError, request_id: str, now_ms: int) -> bytes:
        """Return the ``error`` frame."""
        metadata: dict[str, Any] = {"code": error.code, "retryable": error.retryable, "requestId": request_id}
        if error.retry_after is not None:
            metadata["retryAfterMs"] = math.ceil(error.retry_after * 1000)
        return _data({"token": sentence(error), "type": "error", "timestamp": now_ms, "metadata": metadata})

    def _read(self, event: bytes) -> tuple[bytes | None, bytes]:
        """Return what the client is shown of an event, as a JSON string, and the type of its frame."""
        delta = self._fold.read(event) or {}
        kind = delta.get("type")
        name = "text" if kind == "text_delta" else "thinking" if kind == "thinking_delta" and self._thinking else ""
        text = delta.get(name)
        return (dump_text(text) if isinstance(text, str) else None), name.encode()

    def _frames(self, kind: bytes, texts: list[bytes], now_ms: float, *, merge: bool) -> bytes:
        if merge and len(texts) > 1:
            self.merged += len(texts) - 1
            texts = [b'"%b"' % b"".join([text[1:-1] for text in texts])]
        begin, end = b'data: {"token":', b',"type":"%b","timestamp":%d}\n\n' % (kind, now_ms)
        return begin + (end + begin).join(texts) + end


def _data(frame: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(frame) + b"\n\n"


def metadata_of(summary: Summary) -> dict[str, Any]:
    """Return ``metadata`` as the ``done`` frame and the JSON answer carry it."""
    usage = summary.usage or Usage()
    quota = {"quota": [as_json(state) for state in summary.quota]} if summary.quota else {}
    return {
        "requestId": summary.request_id,
        "model": summary.model,
        "stopReason": summary.stop_reason,
        "usage": {
            "inputTokens": usage.input_tokens,
            "outputTokens": usage.output_tokens,
            "cacheReadTokens": usage.cache_read_tokens,
            "cacheCreationTokens": usage.cache_creation_tokens,
        },
        "timeToFirstTokenMs": summary.time_to_first_token_ms,
        "durationMs": summary.duration_ms,
        "tokensPerSecond": None if summary.tokens_per_second is None else round(summary.tokens_per_second, 1),
        "costUsd": None if summary.cost_usd is None else round(summary.cost_usd, 9),
        **quota,
    }


def sentence(error: GatewayError) -> str:
    """Return what a person is shown."""
    if isinstance(error, UpstreamRefused):
        return _SENTENCES.get(error.claude_type, error.message)
    return error.message


def error_body(error: GatewayError, request_id: str) -> dict[str, Any]:
    """Return the JSON body of an error that came before the stream."""
    body = {**_explained(error), "requestId": request_id}
    if error.retry_seconds is not None:
        body["retryAfter"] = error.retry_seconds
    if not error.retryable and retryable_status(error.status):
        body["retryable"] = False  # pages of other origins see no header that says so
    return body


def _explained(error: GatewayError) -> dict[str, Any]:
    if error.status == _TOO_MANY:
        limit = error.limit if isinstance(error, RateLimited) else _LIMIT_OF_ORIGIN[error.origin]
        told = {"retryAfter": _UNTOLD_WAIT, "code": RateLimited.code, "limit": limit}
        return {"error": "Too many requests", **told, "message": sentence(error)}
    if error.status >= _SERVER_ERROR:
        return {"error": "Failed to stream response", "message": sentence(error), "code": error.code}
    plain = error.status == InvalidRequest.status and not isinstance(error, MessageRequired)
    return {"error": sentence(error), "code": InvalidRequest.code if plain else error.code}


def answer_body(message: dict[str, Any], summary: Summary) -> dict[str, Any]:
    """Return the JSON answer of ``stream: false``: all text of Claude's message, and what it took.

    Raises:
        UpstreamMalformed: The message has no content, so that an empty answer would be a guess.
    """
    blocks = message.get("content")
    if not isinstance(blocks, list):
        raise UpstreamMalformed("Claude's answer holds no content.")
    texts = [block.get("text") for block in blocks if isinstance(block, dict) and block.get("type") == "text"]
    text = well_formed("".join(text for text in texts if isinstance(text, str)))
    return {"text": text, "metadata": metadata_of(summary)}
