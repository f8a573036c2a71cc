"""What ``/api/chat/stream`` answers: frames byte by byte, their metadata, headers, and the JSON of ``stream: false``."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.frames import frames, joined
from tests.support.gateway import configuration, serving
from tests.support.raw_client import connected, dechunked, parse_head
from tests.support.scripted_upstream import (
    BLOCK,
    END,
    HELLO,
    PING,
    START,
    answer,
    event,
    scripted_upstream,
    stream,
    text_delta,
)

THINKING = event("content_block_delta", ',"index":0,"delta":{"type":"thinking_delta","thinking":"Hmm."}')
TEXT_FRAME = re.compile(rb'data: \{"token":"[^"]+","type":"text","timestamp":\d{13}\}\n\n')
DONE_FRAME = re.compile(rb'data: \{"token":"","type":"done","timestamp":\d{13},"metadata":\{.*\}\}\n\n')
MESSAGE = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-5-5",
        "content": [
            {"type": "thinking", "thinking": "Hmm.", "signature": "x"},
            {"type": "text", "text": "Hel"},
            {"type": "tool_use", "id": "t", "name": "n", "input": {}},
            {"type": "text", "text": "lo"},
        ],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 12, "output_tokens": 5},
    }
).encode()


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: serving(configuration(tmp_path, claude.url, **sections))


async def test_a_post_streams_one_text_frame_for_each_delta_and_ends_in_done(shop):
    async with (
        scripted_upstream() as claude,
        shop(claude) as caller,
        caller.post("/api/chat/stream", {"message": "Hello"}) as response,
    ):
        body = await response.read()
    assert response.status == 200
    *texts, done = frames(body)
    assert [(f["type"], f["token"]) for f in texts] == [("text", "Hel"), ("text", "lo")]
    assert done["type"] == "done"
    assert done["token"] == ""
    assert done["metadata"]["usage"] == {
        "inputTokens": 12,
        "outputTokens": 5,
        "cacheReadTokens": 3,
        "cacheCreationTokens": 0,
    }
    sent = json.loads(claude.requests[0].body)
    assert sent["messages"] == [{"role": "user", "content": "Hello"}]
    assert claude.requests[0].headers["x-api-key"] == "sk-ant-secret-of-the-operator"


async def test_a_frame_is_one_data_line_and_a_blank_line_and_nothing_else_is_sent(shop):
    async with (
        scripted_upstream() as claude,
        shop(claude) as caller,
        caller.get("/api/chat/stream?message=Hello") as response,
    ):
        body = await response.read()
    assert b"\r" not in body
    assert re.fullmatch(TEXT_FRAME.pattern + TEXT_FRAME.pattern + DONE_FRAME.pattern, body), body


async def test_the_metadata_of_done_holds_every_field_in_its_type(shop):
    async with (
        scripted_upstream() as claude,
        shop(claude) as caller,
        caller.post("/api/chat/stream", {"message": "Hello"}) as response,
    ):
        metadata = frames(await response.read())[-1]["metadata"]
    types = {name: type(value) for name, value in metadata.items()}
    assert types == {
        "requestId": str,
        "model": str,
        "stopReason": str,
        "usage": dict,
        "timeToFirstTokenMs": int,
        "durationMs": int,
        "tokensPerSecond": float,
        "costUsd": float,
    }
    assert metadata["requestId"] == response.headers["X-Request-Id"]
    assert metadata["model"] == "claude-sonnet-5-5"
    assert metadata["stopReason"] == "end_turn"
    assert 0 <= metadata["timeToFirstTokenMs"] <= metadata["durationMs"]
    assert metadata["tokensPerSecond"] > 0
    assert metadata["costUsd"] > 0


async def test_an_answer_without_text_has_no_time_to_first_token_and_still_ends_in_done(shop):
    async with (
        scripted_upstream(stream(START + END)) as claude,
        shop(claude) as caller,
        caller.post("/api/chat/stream", {"message": "Hello"}) as response,
    ):
        (done,) = frames(await response.read())
    assert done["type"] == "done"
    assert done["metadata"]["timeToFirstTokenMs"] is None
    assert done["metadata"]["usage"]["outputTokens"] == 5


async def test_the_headers_of_a_stream_are_those_of_the_contract(shop):
    async with (
        scripted_upstream() as claude,
        shop(claude) as caller,
        caller.post("/api/chat/stream", {"message": "Hello"}) as response,
    ):
        await response.read()
    headers = response.headers
    assert headers["Content-Type"] == "text/event-stream"
    assert headers["Cache-Control"] == "no-store, no-transform"
    assert headers["X-Accel-Buffering"] == "no"
    assert headers["Vary"] == "Origin"
    assert headers["request-id"] == "req_claude"
    assert headers["X-Request-Id"].startswith("req_gw")
    assert not [name for name in headers if name.lower().startswith("anthropic-")]


async def test_a_stream_is_chunked_and_its_framing_is_complete(shop):
    request = (
        b"GET /api/chat/stream?message=Hello HTTP/1.1\r\nhost: gateway\r\nx-api-key: %b\r\nconnection: close\r\n\r\n"
    )
    async with (
        scripted_upstream() as claude,
        shop(claude) as caller,
        connected(caller.gateway.url, request % caller.key.encode()) as raw,
    ):
        status, headers = parse_head(await raw.until(b"\r\n\r\n"))
        body = dechunked(await raw.rest())
    assert status == 200
    assert headers["Transfer-Encoding"] == "chunked"
    assert joined(frames(body)) == "Hello"


async def test_text_of_every_script_is_sent_as_utf_8(shop):
    text = "Größe 你好 🎉 \\u2028 \\\\ \\n"
    async with (
        scripted_upstream(stream(START + BLOCK + text_delta(text) + END, 1)) as claude,
        shop(claude) as caller,
        caller.post("/api/chat/stream", {"message": "Hello"}) as response,
    ):
        body = await response.read()
    assert joined(frames(body)) == json.loads(f'"{text}"')
    assert "你好 🎉".encode() in body


@pytest.mark.parametrize(
    ("thinking", "sent"),
    [
        (True, {"type": "adaptive"}),
        ({"type": "enabled", "budget_tokens": 2000}, {"type": "enabled", "budget_tokens": 2000}),
    ],
)
async def test_thinking_is_shown_in_frames_of_its_own_to_those_who_ask(shop, thinking, sent):
    body = START + BLOCK + THINKING + text_delta("Yes") + END
    async with (
        scripted_upstream(stream(body)) as claude,
        shop(claude) as caller,
        caller.post("/api/chat/stream", {"message": "Hello", "thinking": thinking}) as response,
    ):
        read = frames(await response.read())
    assert [(f["type"], f["token"]) for f in read] == [("thinking", "Hmm."), ("text", "Yes"), ("done", "")]
    assert json.loads(claude.requests[0].body)["thinking"] == sent


@pytest.mark.parametrize("thinking", [{}, {"thinking": False}, {"thinking": {"type": "disabled"}}, {"thinking": None}])
async def test_thinking_is_not_shown_to_those_who_do_not_ask(shop, thinking):
    body = START + BLOCK + THINKING + text_delta("Yes") + END
    async with (
        scripted_upstream(stream(body)) as claude,
        shop(claude) as caller,
        caller.post("/api/chat/stream", {"message": "Hello", **thinking}) as response,
    ):
        read = frames(await response.read())
    assert [(f["type"], f["token"]) for f in read] == [("text", "Yes"), ("done", "")]


async def test_pings_tools_citations_and_unknown_events_make_no_frames(shop):
    body = (
        START
        + PING
        + event("content_block_delta", ',"index":0,"delta":{"type":"input_json_delta","partial_json":"{"}')
        + event("content_block_delta", ',"index":0,"delta":{"type":"citations_delta","citation":{}}')
        + event("content_block_delta", ',"index":0,"delta":{"type":"a_delta_of_tomorrow","text":"no"}')
        + event("an_event_of_tomorrow", ',"text":"no"')
        + b": a comment\n\n"
        + text_delta("Yes")
        + END
    )
    async with (
        scripted_upstream(stream(body)) as claude,
        shop(claude) as caller,
        caller.post("/api/chat/stream", {"message": "Hello"}) as response,
    ):
        read = frames(await response.read())
    assert [(f["type"], f["token"]) for f in read] == [("text", "Yes"), ("done", "")]


async def test_without_streaming_the_answer_is_one_json_object(shop):
    async with (
        scripted_upstream(answer(200, MESSAGE)) as claude,
        shop(claude) as caller,
        caller.post("/api/chat/stream", {"message": "Hello", "stream": False}) as response,
    ):
        body = await response.json()
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert set(body) == {"text", "metadata"}
    assert body["text"] == "Hello"
    metadata = body["metadata"]
    assert metadata["requestId"] == response.headers["X-Request-Id"]
    assert metadata["model"] == "claude-sonnet-5-5"
    assert metadata["stopReason"] == "end_turn"
    assert metadata["usage"]["inputTokens"] == 12
    assert metadata["usage"]["outputTokens"] == 5
    assert metadata["tokensPerSecond"] > 0
    assert metadata["costUsd"] > 0
    assert json.loads(claude.requests[0].body)["stream"] is False


async def test_many_requests_use_one_connection_at_both_sides(shop):
    async with scripted_upstream(stream(HELLO)) as claude, shop(claude) as caller:
        for _ in range(3):
            async with caller.post("/api/chat/stream", {"message": "Hello"}) as response:
                assert joined(frames(await response.read())) == "Hello"
        assert claude.connections == 1
    assert len(claude.requests) == 3
