"""AWS's event stream as server-sent events: whatever the pieces, whatever is in it, whatever is wrong with it."""

from __future__ import annotations

import json

import pytest

from gateway.core.errors import UpstreamMalformed
from gateway.upstream.cloud_bedrock import EventFrames
from tests.support.clouds import chunk, chunks, exception, frame
from tests.support.scripted_upstream import HELLO, text_delta
from tests.support.whatwg import interpret

LIMIT = 1024 * 1024


def fed(raw: bytes, size: int = 0, limit: int = LIMIT) -> tuple[bytes, EventFrames]:
    frames = EventFrames(limit)
    step = size or len(raw) or 1
    return b"".join(frames.feed(raw[start : start + step]) for start in range(0, len(raw), step)), frames


@pytest.mark.parametrize("size", [0, 1, 2, 3, 11, 12, 13, 64, 300])
def test_pieces_of_any_size_make_the_same_events(size):
    body, frames = fed(chunks(HELLO), size)
    assert body == HELLO
    assert frames.failure is None


def test_recorded_events_survive_with_their_json_unchanged(recording):
    """Whatever Claude has said so far comes out of the frames as it went in, under its own name."""
    sent = [(json.loads(data)["type"], data) for _, data in recording.events if _is_event(data)]
    body, frames = fed(b"".join(chunk(data.encode()) for _, data in sent), 1500)
    assert frames.failure is None
    assert [(name, json.loads(data)) for name, data in interpret(body)] == [(n, json.loads(d)) for n, d in sent]


def _is_event(data: str) -> bool:
    try:
        body = json.loads(data)
    except ValueError:
        return False
    return isinstance(body, dict) and isinstance(body.get("type"), str)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"type":"new_event","x":1.0}', b'event: new_event\ndata: {"type":"new_event","x":1.0}\n\n'),
        (b'{ "type" : "ping" }', b'event: ping\ndata: { "type" : "ping" }\n\n'),
        (b'{"x":1,"type":"late"}', b'event: late\ndata: {"x":1,"type":"late"}\n\n'),
        (b'{"type":"Odd.Name-2"}', b'event: Odd.Name-2\ndata: {"type":"Odd.Name-2"}\n\n'),
        (b'{"x":1}', b'data: {"x":1}\n\n'),
        (b"[1]", b"data: [1]\n\n"),
        (b"[DONE]", b"data: [DONE]\n\n"),
        (b'{\r\n"type":\n"ping"}', b'event: ping\ndata: {  "type": "ping"}\n\n'),
        (b'{"a":0,"type":"two\\nlines"}', b'data: {"a":0,"type":"two\\nlines"}\n\n'),
        ('{"a":0,"type":"ä"}'.encode(), 'data: {"a":0,"type":"ä"}\n\n'.encode()),
    ],
)
def test_an_event_is_named_after_its_type_and_passed_on_on_one_line(data, expected):
    assert fed(chunk(data))[0] == expected


@pytest.mark.parametrize(
    ("kind", "claudes"),
    [
        ("throttlingException", "rate_limit_error"),
        ("modelStreamErrorException", "api_error"),
        ("internalServerException", "api_error"),
        ("modelTimeoutException", "timeout_error"),
        ("serviceUnavailableException", "overloaded_error"),
        ("validationException", "invalid_request_error"),
        ("accessDeniedException", "permission_error"),
        ("somethingNewException", "api_error"),
    ],
)
def test_an_exception_in_the_stream_is_an_error_event(kind, claudes):
    body, frames = fed(chunk(b'{"type":"ping"}') + exception(kind, "Too many tokens."))
    error = {"type": "error", "error": {"type": claudes, "message": "Too many tokens."}}
    assert interpret(body)[1] == ("error", json.dumps(error, separators=(",", ":")))
    assert frames.failure is None


def test_an_error_without_a_payload_is_told_by_its_headers():
    headers = {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "It broke."}
    ((name, data),) = interpret(fed(frame(headers, b""))[0])
    assert name == "error"
    assert json.loads(data)["error"] == {"type": "api_error", "message": "It broke."}


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"metrics":1}', b'{"bytes":null}', b"[]"])
def test_a_message_without_an_event_of_claudes_is_left_out(payload):
    headers = {":event-type": "metadata", ":message-type": "event"}
    body, frames = fed(frame(headers, payload) + chunk(b'{"type":"ping"}'))
    assert interpret(body) == [("ping", '{"type":"ping"}')]
    assert frames.failure is None


def damaged(at: int) -> bytes:
    raw = bytearray(chunk(b'{"type":"ping"}'))
    raw[at] ^= 1
    return bytes(raw)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(damaged(0), id="length"),
        pytest.param(damaged(9), id="checksum-of-the-lengths"),
        pytest.param(damaged(20), id="header"),
        pytest.param(damaged(-10), id="payload"),
        pytest.param(damaged(-1), id="checksum"),
        pytest.param(frame({":message-type": "event"}, b"not JSON"), id="not-json"),
        pytest.param(frame({":message-type": "event"}, b'{"bytes":"*"}'), id="not-base64"),
        pytest.param(HELLO, id="server-sent-events"),
        pytest.param(b"<html>" * 10, id="html"),
    ],
)
def test_what_came_before_the_damage_is_passed_on_and_then_it_is_told(raw):
    body, frames = fed(chunk(b'{"type":"ping"}') + raw)
    assert body == b'event: ping\ndata: {"type":"ping"}\n\n'
    assert isinstance(frames.failure, UpstreamMalformed)
    assert frames.failure.detail is not None
    assert "html" not in frames.failure.detail


def test_a_message_that_does_not_end_is_over_the_limit_at_some_point():
    raw = chunk(text_delta("x" * 20_000))
    body, frames = fed(raw[:-1], 1000, limit=8000)
    assert body == b""
    assert frames.failure is not None
    assert "larger than" in str(frames.failure)
    assert fed(raw, 1000, limit=20_000)[1].failure is None
