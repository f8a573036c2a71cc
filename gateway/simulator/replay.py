"""Recordings: a ``.sse`` file whose bytes are streamed as they are, event by event at the chosen pace.

The bytes are never re-rendered, so padding, odd line ends and unknown events stay what they were. A request that wants
no stream gets the message that the recorded events add up to. A name from a request stays inside its directory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from gateway.core.claude import load_json
from gateway.core.sse import EventSplitter, parse_event
from gateway.simulator.frames import Frame
from gateway.simulator.refusals import Refused, invalid
from gateway.simulator.wire import Pace

_MAX_FILE = 256 * 1024 * 1024
_GROWING = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


def load(path: Path) -> list[bytes]:
    """Read a recording; one item per event, blank lines included, so that joining them gives the file."""
    if path.stat().st_size > _MAX_FILE:
        raise invalid(f"the recording {path.name} is over {_MAX_FILE} bytes")
    return split(path.read_bytes())


def split(data: bytes) -> list[bytes]:
    """Cut a stream into its events."""
    splitter = EventSplitter(_MAX_FILE)
    events = [whole for line in data.splitlines(keepends=True) if (whole := splitter.feed(line)[0])]
    rest = splitter.flush()
    return [*events, rest] if rest else events


def find(directory: Path, name: str) -> Path:
    """Return the recording that a request names; never one outside the directory."""
    path = (directory / name).resolve()
    if not path.is_relative_to(directory.resolve()) or not path.is_file():
        raise Refused(404, message=f"x-sim-replay: there is no recording {name!r}")
    return path


def frames(events: list[bytes], pace: Pace) -> Iterator[Frame]:
    """Give each event its moment: all of them are spaced, whatever they hold."""
    block = 0
    for event in events:
        name, data = parse_event(event)
        is_delta = name == b"content_block_delta"
        if is_delta or name == b"content_block_start":
            block = _index(data)
        yield Frame(pace.next(), event, int(is_delta), block)


def message(events: list[bytes]) -> bytes:
    """Add the events up to the message that they stream."""
    whole: dict[str, Any] = {}
    inputs: dict[int, str] = {}
    try:
        for event in events:
            _add(whole, inputs, _decoded(parse_event(event)[1]))
        for index, text in inputs.items():
            whole["content"][index]["input"] = _decoded(text.encode()) if text else {}
    except (KeyError, IndexError, TypeError):
        whole = {}
    if not whole:
        raise Refused(500, message="the recording is not one whole message; ask for it as a stream")
    return orjson.dumps(whole)


def _add(whole: dict[str, Any], inputs: dict[int, str], body: Any) -> None:
    match body.get("type") if isinstance(body, dict) else None:
        case "message_start":
            whole.update(body["message"])
        case "content_block_start":
            whole["content"].append(body["content_block"])
        case "content_block_delta":
            _grow(whole["content"][body["index"]], body["index"], inputs, body["delta"])
        case "message_delta":
            whole.update(body["delta"])
            whole["usage"] = {**whole.get("usage", {}), **body.get("usage", {})}
        case "error":
            raise Refused(500, message="the recording ends in an error event; ask for it as a stream")


def _grow(block: dict[str, Any], index: int, inputs: dict[int, str], delta: dict[str, Any]) -> None:
    kind = delta.get("type")
    if kind == "input_json_delta":
        inputs[index] = inputs.get(index, "") + delta["partial_json"]
    elif kind == "citations_delta":
        block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
    elif kind in _GROWING:
        field = _GROWING[kind]
        block[field] = block.get(field, "") + delta[field]


def _index(data: bytes | None) -> int:
    body = _decoded(data)
    index = body.get("index") if isinstance(body, dict) else 0
    return index if isinstance(index, int) else 0


def _decoded(data: bytes | None) -> Any:
    try:
        return load_json(data or b"null")
    except ValueError:
        return None
