"""What ``/api/chat/stream`` does when Claude fails: a stream never ends in order without ``done`` or ``error``."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.frames import frames, joined
from tests.support.gateway import configuration, serving
from tests.support.raw_client import connected, dechunked, parse_head
from tests.support.scripted_upstream import (
    BLOCK,
    END,
    HELLO,
    SSE_HEAD,
    START,
    answer,
    event,
    scripted_upstream,
    stream,
    text_delta,
)

BEGINNING = START + BLOCK + text_delta("Hel")
OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_x"}'
ERROR_EVENT = b"event: error\ndata: " + OVERLOADED + b"\n\n"


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: serving(configuration(tmp_path, claude.url, **sections))


def body_of(*parts: bytes, end: str):
    """Send parts of a stream, each in a chunk, then end: in order, by a cut, by a reset, or not at all."""

    async def script(peer):
        await peer.send(SSE_HEAD)
        for part in parts:
            await peer.chunk(part)
        if end == "in order":
            await peer.end()
            return
        if end == "cut":
            peer.writer.close()
        if end == "reset":
            peer.reset()
        await peer.closed()

    return script


def raw_body(data: bytes):
    async def script(peer):
        await peer.send(SSE_HEAD, data)
        await peer.closed()

    return script


def post(caller, message: str = "Hi") -> bytes:
    body = json.dumps({"message": message}).encode()
    head = b"POST /api/chat/stream HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\nx-api-key: %b\r\ncontent-length: %d\r\n\r\n"
    return head % (caller.key.encode(), len(body)) + body


async def read(caller):
    """Return the frames of an answer, whose framing must be complete, and its head."""
    async with connected(caller.gateway.url, post(caller)) as raw:
        status, headers = parse_head(await raw.until(b"\r\n\r\n"))
        assert status == 200
        return frames(dechunked(await raw.rest())), headers


# Ends that are none.


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param(body_of(BEGINNING, b'event: content_block_delta\ndata: {"ty', end="cut"), "upstream_truncated", id="mid-event"),
        pytest.param(body_of(BEGINNING, b'event: content_block_delta\ndata: {"ty', end="in order"), "upstream_truncated", id="mid-event, in order"),
        pytest.param(body_of(BEGINNING, end="cut"), "upstream_truncated", id="between events"),
        pytest.param(body_of(BEGINNING, end="in order"), "upstream_truncated", id="between events, in order"),
        pytest.param(body_of(BEGINNING, end="reset"), "upstream_truncated", id="reset"),
        pytest.param(body_of(BEGINNING, end="never"), "upstream_timeout", id="stall"),
        pytest.param(body_of(BEGINNING, b'event: content_block_delta\ndata: {"ty', end="never"), "upstream_timeout", id="stall mid-event"),
        pytest.param(body_of(BEGINNING, b"event: content_block_delta\ndata: {garbage\n\n", end="never"), "upstream_malformed", id="no JSON"),
        pytest.param(raw_body(b"%x\r\n%b\r\nzz\r\n" % (len(BEGINNING), BEGINNING)), "upstream_malformed", id="no chunks"),
        pytest.param(body_of(BEGINNING, ERROR_EVENT, end="in order"), "upstream_overloaded_error", id="error event"),
        pytest.param(body_of(BEGINNING, ERROR_EVENT, end="never"), "upstream_overloaded_error", id="error event, then silence"),
    ],
)  # fmt: skip
async def test_a_stream_that_dies_ends_in_an_error_frame_after_all_that_came(shop, script, code):
    async with scripted_upstream(script) as claude, shop(claude, upstream={"idle_timeout": "200ms"}) as caller:
        told, headers = await read(caller)
    text, error = told
    assert (text["type"], text["token"]) == ("text", "Hel")
    assert error["type"] == "error"
    assert isinstance(error["timestamp"], int)
    assert error["token"].endswith(".")
    assert error["metadata"]["code"] == code
    assert error["metadata"]["retryable"] is True
    assert error["metadata"]["requestId"] == headers["X-Request-Id"]
    assert len(claude.requests) == 1  # the client has seen an event: there is no other attempt


async def test_an_event_over_the_limit_ends_the_stream_in_an_error_frame(shop):
    go = asyncio.Event()

    async def script(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(BEGINNING)
        await go.wait()
        await peer.chunk(b"data: " + b"x" * 70_000)
        await peer.closed()

    async with (
        scripted_upstream(script) as claude,
        shop(claude, upstream={"max_event": 65536}) as caller,
        connected(caller.gateway.url, post(caller)) as raw,
    ):
        await raw.until(b"\r\n\r\n")
        first = await raw.until(b"\n\n\r\n")
        go.set()
        told = frames(dechunked(first + await raw.rest()))
        async with asyncio.timeout(10):
            await claude.all_closed.wait()
    assert [frame["type"] for frame in told] == ["text", "error"]
    assert told[-1]["metadata"]["code"] == "upstream_malformed"


async def test_a_stream_that_says_nothing_at_all_is_tried_again_and_then_an_error(shop):
    async with (
        scripted_upstream(body_of(end="in order")) as claude,
        shop(claude, upstream={"retries": 1}) as caller,
    ):
        ((error,), _) = await read(caller)
    assert error["type"] == "error"
    assert error["metadata"]["code"] == "upstream_truncated"
    assert len(claude.requests) == 2


async def test_what_follows_an_error_event_is_not_shown(shop):
    async with (
        scripted_upstream(body_of(BEGINNING, ERROR_EVENT + text_delta("lo") + END, end="in order")) as claude,
        shop(claude) as caller,
    ):
        told, _ = await read(caller)
    assert [frame["type"] for frame in told] == ["text", "error"]


async def test_an_error_event_about_our_key_shows_nothing_of_it(shop):
    kind = b'{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key sk-ant-secret"}}'
    async with (
        scripted_upstream(body_of(BEGINNING, b"event: error\ndata: " + kind + b"\n\n", end="in order")) as claude,
        shop(claude) as caller,
    ):
        told, _ = await read(caller)
    assert told[-1]["metadata"]["code"] == "upstream_credential"
    assert told[-1]["metadata"]["retryable"] is False
    assert "sk-ant" not in json.dumps(told)


@pytest.mark.parametrize(
    "script",
    [
        answer(200, b"<html>Welcome</html>", b"content-type: text/html"),
        answer(200, b'{"type":"message"}', b"content-type: application/json"),
        answer(200, HELLO, b"content-type: text/event-stream", b"content-encoding: gzip"),
        answer(302, b"", b"location: http://elsewhere.example"),
        answer(204, b""),
    ],
)
async def test_an_answer_that_is_no_stream_is_a_502_before_any_frame(shop, script):
    async with (
        scripted_upstream(script) as claude,
        shop(claude, upstream={"retries": 0}) as caller,
        caller.post("/api/chat/stream", {"message": "Hi"}) as response,
    ):
        told = await response.json()
    assert response.status == 502
    assert told["error"] == "Failed to stream response"
    assert told["code"] == "upstream_malformed"


async def test_a_body_that_lacks_only_its_last_blank_line_is_complete(shop):
    async with scripted_upstream(body_of(HELLO[:-2], end="in order")) as claude, shop(claude) as caller:
        told, _ = await read(caller)
    assert [frame["type"] for frame in told] == ["text", "text", "done"]


async def test_a_body_that_goes_on_after_message_stop_keeps_nobody_waiting(shop):
    async with scripted_upstream(body_of(HELLO, end="never")) as claude, shop(claude) as caller:
        told, _ = await read(caller)
        async with asyncio.timeout(10):
            await claude.all_closed.wait()
    assert [frame["type"] for frame in told] == ["text", "text", "done"]


# The status is held until Claude answers.


class Held:
    """A script that waits with its answer until the test says so."""

    def __init__(self, then) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self._then = then

    async def __call__(self, peer) -> None:
        self.asked.set()
        await self.go.wait()
        await self._then(peer)


async def test_a_late_error_is_still_a_true_status(shop):
    held = Held(answer(529, OVERLOADED))
    async with (
        scripted_upstream(held) as claude,
        shop(claude, upstream={"retries": 0}) as caller,
        connected(caller.gateway.url, post(caller)) as raw,
    ):
        async with asyncio.timeout(10):
            await held.asked.wait()
        held.go.set()
        status, headers, _ = await raw.answer()
    assert status == 529
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("then", "types"),
    [
        (answer(529, OVERLOADED), ["error"]),
        (answer(400, OVERLOADED), ["error"]),
        (answer(200, b"", b"content-type: text/html"), ["error"]),
        (stream(HELLO), ["text", "text", "done"]),
    ],
)
async def test_after_commit_after_the_client_gets_200_a_heartbeat_and_then_frames(shop, then, types):
    held = Held(then)
    upstream = {"retries": 0}
    server = {"commit_after": "20ms", "heartbeat": "20ms"}
    async with (
        scripted_upstream(held) as claude,
        shop(claude, server=server, upstream=upstream) as caller,
        connected(caller.gateway.url, post(caller)) as raw,
    ):
        status, headers = parse_head(await raw.until(b"\r\n\r\n"))
        first = await raw.until(b"3\r\n:\n\n\r\n") + await raw.until(b"3\r\n:\n\n\r\n")
        held.go.set()
        body = dechunked(first + await raw.rest())
    assert status == 200
    assert headers["Content-Type"] == "text/event-stream"
    assert [frame["type"] for frame in frames(body)] == types
    assert body.startswith(b":\n\n:\n\n")


async def test_an_error_after_the_commit_carries_when_to_come_back(shop):
    held = Held(answer(429, OVERLOADED, b"content-type: application/json", b"retry-after-ms: 2500"))
    async with (
        scripted_upstream(held) as claude,
        shop(claude, server={"commit_after": 0}, upstream={"retries": 0}) as caller,
        connected(caller.gateway.url, post(caller)) as raw,
    ):
        await raw.until(b":\n\n")
        held.go.set()
        body = await raw.until(b"0\r\n\r\n")
    assert b'"retryAfterMs":2500' in body


async def test_heartbeats_do_not_end_the_right_to_retry(shop):
    held = Held(answer(529, OVERLOADED, b"content-type: application/json", b"retry-after-ms: 1"))
    async with (
        scripted_upstream(held, stream(HELLO)) as claude,
        shop(claude, server={"commit_after": 0}) as caller,
        connected(caller.gateway.url, post(caller)) as raw,
    ):
        first = (await raw.until(b":\n\n\r\n")).partition(b"\r\n\r\n")[2]
        held.go.set()
        told = frames(dechunked(first + await raw.rest()))
    assert [frame["type"] for frame in told] == ["text", "text", "done"]
    assert len(claude.requests) == 2


@pytest.mark.parametrize(
    "first",
    [
        answer(529, OVERLOADED, b"content-type: application/json", b"retry-after-ms: 1"),
        body_of(ERROR_EVENT, end="in order"),
        body_of(event("ping"), ERROR_EVENT, end="in order"),
        body_of(event("ping"), end="cut"),
        body_of(end="reset"),
    ],
)
async def test_before_the_first_event_another_attempt_follows_unseen(shop, first):
    async with scripted_upstream(first, stream(HELLO)) as claude, shop(claude) as caller:
        told, _ = await read(caller)
    assert joined(told) == "Hello"
    assert [frame["type"] for frame in told] == ["text", "text", "done"]
    assert len(claude.requests) == 2


async def test_silence_in_mid_stream_is_filled_with_heartbeats(shop):
    go = asyncio.Event()

    async def script(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(BEGINNING)
        await go.wait()
        await peer.chunk(text_delta("lo") + END)
        await peer.end()

    async with (
        scripted_upstream(script) as claude,
        shop(claude, server={"heartbeat": "20ms"}) as caller,
        connected(caller.gateway.url, post(caller)) as raw,
    ):
        await raw.until(b"\r\n\r\n")
        first = await raw.until(b"\r\n3\r\n:\n\n\r\n")
        go.set()
        told = frames(dechunked(first + await raw.rest()))
    assert joined(told) == "Hello"
    assert told[-1]["type"] == "done"


# The deadline of the whole answer.


async def test_the_total_deadline_ends_a_stream_in_an_error_frame(shop):
    async with (
        scripted_upstream(body_of(BEGINNING, end="never")) as claude,
        shop(claude, upstream={"chat_timeout": "300ms"}) as caller,
    ):
        told, _ = await read(caller)
        async with asyncio.timeout(10):
            await claude.all_closed.wait()
    assert [frame["type"] for frame in told] == ["text", "error"]
    assert told[-1]["metadata"]["code"] == "deadline_exceeded"


async def test_the_total_deadline_before_claude_answers_is_a_504(shop):
    async with (
        scripted_upstream(lambda peer: peer.closed()) as claude,
        shop(claude, upstream={"chat_timeout": "1s"}) as caller,
        caller.post("/api/chat/stream", {"message": "Hi"}) as response,
    ):
        assert response.status == 504
        assert (await response.json())["code"] == "deadline_exceeded"


async def test_the_total_deadline_after_the_commit_is_an_error_frame(shop):
    async with (
        scripted_upstream(lambda peer: peer.closed()) as claude,
        shop(claude, upstream={"chat_timeout": "1s"}, server={"commit_after": 0}) as caller,
    ):
        ((error,), _) = await read(caller)
    assert error["metadata"]["code"] == "deadline_exceeded"


async def test_the_deadline_is_sixty_seconds_unless_configured(tmp_path):
    assert configuration(tmp_path, "http://127.0.0.1:1").upstream.chat_timeout == 60


# Access that ends.


async def test_a_suspended_tenants_stream_is_cut_with_an_error_frame(shop):
    async with (
        scripted_upstream(body_of(BEGINNING, end="never")) as claude,
        shop(claude) as caller,
        connected(caller.gateway.url, post(caller)) as raw,
    ):
        await raw.until(b"\r\n\r\n")
        first = await raw.until(b"\n\n\r\n")
        caller.gateway.store.suspend("acme", cut_streams=True)
        await caller.gateway.services.directory.synchronise()
        told = frames(dechunked(first + await raw.rest()))
    assert [frame["type"] for frame in told] == ["text", "error"]
    assert told[-1]["metadata"]["code"] == "access_cut"
    assert told[-1]["metadata"]["retryable"] is False
