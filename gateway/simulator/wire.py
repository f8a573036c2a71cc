"""The script on the wire: Claude's event stream, and the same answer as one message.

Field order, the ping after the first ``content_block_start``, the empty first ``input_json_delta``, the spaces before
an event's last brace: all as recorded from Claude. Usage is cumulative: ``message_start`` tells the input and a first
output token, ``message_delta`` repeats it with the final output.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.core.claude import dump_text
from gateway.simulator.cache import InputUsage
from gateway.simulator.frames import PING, Frame
from gateway.simulator.script import Block, Script

_PADS = tuple(b" " * length for length in range(16))
_DELTAS = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}


@dataclass(frozen=True, slots=True)
class Head:
    """What names an answer: ``id`` of the message, the model that gives it, and its input."""

    id: str
    model: str
    usage: InputUsage


@dataclass(slots=True)
class Pace:
    """When each token leaves: an absolute schedule with seeded jitter.

    Attributes:
        opening: Seconds to the headers and the opening events; Claude's come some time before the first token.
        first: Seconds to the first token.
        spacing: Seconds between tokens.
        jitter: Most that a token is late.
        random: Source of jitter and padding.
    """

    opening: float
    first: float
    spacing: float
    jitter: float
    random: random.Random
    sent: int = 0
    last: float = 0.0

    def now(self) -> float:
        """The moment of what follows the last token at once."""
        return max(self.last, self.opening)

    def next(self) -> float:
        """The moment of the next token; never before the last one."""
        late = self.jitter * self.random.random() if self.jitter and self.spacing else 0.0
        self.last = max(self.last, self.first + self.sent * self.spacing + late)
        self.sent += 1
        return self.last


def stream(script: Script, head: Head, pace: Pace) -> Iterator[Frame]:
    """Render the event stream."""
    event = _Events(pace.random)
    yield Frame(pace.opening, event("message_start", {"message": _message(head, [], None, None, _input(head, 1))}))
    if not script.blocks:
        yield Frame(pace.opening, PING)
    for index, block in enumerate(script.blocks):
        yield Frame(pace.now(), event("content_block_start", {"index": index, "content_block": _opened(block)}))
        if index == 0:
            yield Frame(pace.now(), PING)
        yield from _deltas(block, index, pace, event)
        yield Frame(pace.now(), event("content_block_stop", {"index": index}))
    delta = {"stop_reason": script.stop_reason, "stop_sequence": script.stop_sequence, "stop_details": _details(script)}
    yield Frame(pace.now(), event("message_delta", {"delta": delta, "usage": _totals(script, head)}))
    yield Frame(pace.now(), event("message_stop", {}))


def message(script: Script, head: Head) -> bytes:
    """Render the answer as one message."""
    usage = _input(head, script.output_tokens)
    if script.thinking_asked:
        usage["output_tokens_details"] = {"thinking_tokens": script.thinking_tokens}
    whole = _message(head, [_closed(block) for block in script.blocks], script.stop_reason, script.stop_sequence, usage)
    whole["stop_details"] = _details(script)
    return orjson.dumps(whole)


def delta_event(index: int, kind: str, field: str, text: str, pad: bytes = b"") -> bytes:
    """One content delta as an event."""
    return b"%b%b%b}\n\n" % (_delta_head(index, kind, field), dump_text(text), b"}" + pad)


class _Events:
    """Renders events, each with some spaces before its last brace."""

    def __init__(self, source: random.Random) -> None:
        self._random = source

    def __call__(self, name: str, fields: dict[str, Any]) -> bytes:
        body = orjson.dumps({"type": name, **fields})[:-1]
        return b"event: %b\ndata: %b%b}\n\n" % (name.encode(), body, self.pad())

    def pad(self) -> bytes:
        return _PADS[self._random.getrandbits(4)]


def _delta_head(index: int, kind: str, field: str) -> bytes:
    return (
        f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":{index},'
        f'"delta":{{"type":"{kind}","{field}":'
    ).encode()


def _deltas(block: Block, index: int, pace: Pace, event: _Events) -> Iterator[Frame]:
    kind, field = _DELTAS[block.kind]
    head = _delta_head(index, kind, field)
    if block.kind == "tool_use" or block.hidden:
        yield Frame(pace.now(), b'%b""}%b}\n\n' % (head, event.pad()), 0, index)
    for piece in block.pieces:
        at = pace.next()
        if not block.hidden:
            yield Frame(at, b"%b%b}%b}\n\n" % (head, dump_text(piece), event.pad()), 1, index)
    if block.signature:
        yield Frame(
            pace.now(), delta_event(index, "signature_delta", "signature", block.signature, event.pad()), 0, index
        )


def _opened(block: Block) -> dict[str, Any]:
    match block.kind:
        case "text":
            return {"type": "text", "text": ""}
        case "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}
        case "tool_use":
            return {"type": "tool_use", "id": block.id, "name": block.name, "input": {}, "caller": {"type": "direct"}}


def _closed(block: Block) -> dict[str, Any]:
    whole = "".join(block.pieces)
    match block.kind:
        case "text":
            return {"type": "text", "text": whole}
        case "thinking":
            return {"type": "thinking", "thinking": "" if block.hidden else whole, "signature": block.signature}
        case "tool_use":
            return {**_opened(block), "input": _parsed(whole)}


def _parsed(given: str) -> Any:
    try:
        return orjson.loads(given)
    except orjson.JSONDecodeError:  # max_tokens cut it
        return {}


def _message(
    head: Head, content: list[dict[str, Any]], reason: str | None, sequence: str | None, usage: dict[str, Any]
) -> dict[str, Any]:
    return {
        "model": head.model,
        "id": head.id,
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "stop_details": None,
        "usage": usage,
    }


def _details(script: Script) -> dict[str, Any] | None:
    if script.stop_reason != "refusal":
        return None
    return {"type": "refusal", "category": None, "explanation": None}


def _input(head: Head, output_tokens: int) -> dict[str, Any]:
    usage = head.usage
    return {
        "input_tokens": usage.plain,
        "cache_creation_input_tokens": usage.written,
        "cache_read_input_tokens": usage.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.written_5m,
            "ephemeral_1h_input_tokens": usage.written_1h,
        },
        "output_tokens": output_tokens,
        "service_tier": "standard",
        "inference_geo": "not_available",
    }


def _totals(script: Script, head: Head) -> dict[str, Any]:
    totals: dict[str, Any] = {
        "input_tokens": head.usage.plain,
        "cache_creation_input_tokens": head.usage.written,
        "cache_read_input_tokens": head.usage.read,
        "output_tokens": script.output_tokens,
    }
    if script.thinking_asked:
        totals["output_tokens_details"] = {"thinking_tokens": script.thinking_tokens}
    return totals
