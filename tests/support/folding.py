"""Events of Claude's for tests of what a stream comes down to, and both ways to fold them."""

from __future__ import annotations

import json

import pytest

from gateway.core.claude import Fold

WAYS = pytest.mark.parametrize("way", ["read", "skim"])


def event(body, name=None):
    text = body if isinstance(body, str) else json.dumps(body, separators=(",", ":"))
    name = body.get("type", "") if name is None else name
    return f"event: {name}\ndata: {text}".encode() if name else f"data: {text}".encode()


def delta(kind="text_delta", index=0, **fields):
    return event({"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}})


def start(usage=None, **fields):
    return event({"type": "message_start", "message": {"model": "claude-sonnet-5-5", "usage": usage, **fields}})


def finish(usage=None, reason="end_turn"):
    return event({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage})


STOP = event({"type": "message_stop"})


def fold(events, way="read", max_tokens=None):
    """Return the fold of a stream, and the deltas that were read."""
    folded = Fold(max_tokens)
    return folded, [getattr(folded, way)(event) for event in events]
