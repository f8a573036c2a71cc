"""Every way in which Claude can fail, caused for real: the client is told, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from tests.support.aftermath import memory, nothing_left
from tests.support.gateway import configuration
from tests.support.observed import observed
from tests.support.raw_client import connected, request_bytes
from tests.support.scripted_upstream import (
    BLOCK,
    HELLO,
    PING,
    SSE_HEAD,
    START,
    answer,
    scripted_upstream,
    stream,
    text_delta,
)
from tests.support.upstreams import refusing_port

BEGINNING = START + BLOCK + text_delta("Hel")
HALF_EVENT = b'event: content_block_delta\ndata: {"type":"content_blo'
OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
LIMITED = b'{"type":"error","error":{"type":"rate_limit_error","message":"Too many"}}'
JSON = b"content-type: application/json"
SSE = b"content-type: text/event-stream"
SHORT = {"first_event_timeout": "200ms", "chat_first_event_timeout": "200ms", "idle_timeout": "200ms"}
MIB = 1024 * 1024


@pytest.fixture(params=["/api/chat/stream", "/v1/messages"])
def path(request):
    return request.param


@pytest.fixture
def shop(tmp_path):
    return lambda url, **upstream: observed(configuration(tmp_path, url, upstream={"retries": 0, **upstream}))


def ask(caller, path):
    body = {"message": "Hi"}
    if path == "/v1/messages":
        body = {"model": "claude-x", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    return request_bytes("POST", path, f"x-api-key: {caller.key}", "connection: close", body=json.dumps(body).encode())


async def told(caller, path) -> bytes:
    """Return all that a client is told; its connection must end in order."""
    async with connected(caller.gateway.url, ask(caller, path)) as raw:
        everything = await raw.rest()
    assert everything.startswith(b"HTTP/1.1 ")
    return everything


def say(*parts: bytes, then: str = "hang"):
    """Send some bytes; then close, reset or hang."""

    async def script(peer):
        await peer.send(*parts)
        if then == "close":
            peer.writer.close()
        elif then == "reset":
            peer.reset()
        await peer.closed()

    return script


def begun(*parts: bytes, then: str = "hang"):
    return say(SSE_HEAD, *(b"%x\r\n%b\r\n" % (len(part), part) for part in parts), then=then)


FAULTS = {
    "hangs before headers": (say(), "upstream_timeout"),
    "hangs in headers": (say(SSE_HEAD[:60]), "upstream_timeout"),
    "hangs after headers": (begun(), "upstream_timeout"),
    "hangs after an event": (begun(BEGINNING), "upstream_timeout"),
    "hangs in mid-event": (begun(BEGINNING, HALF_EVENT), "upstream_timeout"),
    "hangs in a chunk's size": (say(SSE_HEAD, b"1"), "upstream_timeout"),
    "closes before headers": (say(then="close"), "upstream_unreachable"),
    "closes in headers": (say(SSE_HEAD[:60], then="close"), "upstream_truncated"),
    "closes after headers": (begun(then="close"), "upstream_truncated"),
    "closes in mid-event": (begun(BEGINNING, HALF_EVENT, then="close"), "upstream_truncated"),
    "resets before headers": (say(then="reset"), "upstream_unreachable"),
    "resets in headers": (say(SSE_HEAD[:60], then="reset"), "upstream_truncated"),
    "resets after headers": (begun(then="reset"), "upstream_truncated"),
    "resets in mid-event": (begun(BEGINNING, HALF_EVENT, then="reset"), "upstream_truncated"),
    "garbage for HTTP": (say(b"\x00\xff" * 500, then="close"), "upstream_malformed"),
    "TLS for HTTP": (say(b"\x15\x03\x01\x00\x02\x02\x46", then="close"), "upstream_malformed"),
    "garbage for chunks": (say(SSE_HEAD, b"zz\r\n"), "upstream_malformed"),
    "garbage for events": (begun(BEGINNING, b"event: message_delta\ndata: {garbage\n\n"), "upstream_malformed"),
    "garbage for a first event": (begun(b"event: message_start\ndata: \xff\xfe\n\n"), "upstream_malformed"),
    "two lengths": (say(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"), "upstream_malformed"),
    "length and chunks": (say(SSE_HEAD.replace(b"\r\n\r\n", b"\r\ncontent-length: 3\r\n\r\n")), "upstream_malformed"),
    "wrong content type": (answer(200, HELLO, b"content-type: text/html"), "upstream_malformed"),
    "no content type": (answer(200, HELLO, b"x: y"), "upstream_malformed"),
    "gzip": (answer(200, gzip.compress(HELLO), SSE, b"content-encoding: gzip"), "upstream_malformed"),
    "429 without retry-after": (answer(429, LIMITED, JSON), "upstream_rate_limit_error"),
    "429 with retry-after": (answer(429, LIMITED, JSON, b"retry-after: 7"), "upstream_rate_limit_error"),
    "529 without retry-after": (answer(529, OVERLOADED, JSON), "upstream_overloaded_error"),
    "529 with retry-after": (answer(529, OVERLOADED, JSON, b"retry-after: 7"), "upstream_overloaded_error"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_told_and_leaves_nothing_behind(shop, path, fault):
    script, code = FAULTS[fault]
    async with (
        scripted_upstream(script) as claude,
        shop(claude.url, **(SHORT if code == "upstream_timeout" else {})) as (caller, outcomes),
    ):
        async with nothing_left(caller, outcomes):
            said = await told(caller, path)
        outcome = await outcomes.only()
    assert (outcome.kind, outcome.error_code) == ("error", code)
    assert outcome.error_origin == "upstream"
    assert len(claude.requests) == outcome.attempts == 1
    streamed = b"text/event-stream" in said.partition(b"\r\n\r\n")[0]
    assert said.rstrip().endswith(b"}" if not streamed else b"0")
    assert (b'"error"' in said) if path == "/v1/messages" else (code.encode() in said or b"rate_limited" in said)
    assert (b"retry-after: 7" in said.lower()) == ("with retry" in fault)


async def test_a_port_that_refuses_is_told(shop, path):
    async with shop(f"http://127.0.0.1:{refusing_port()}") as (caller, outcomes):
        async with nothing_left(caller, outcomes):
            said = await told(caller, path)
        outcome = await outcomes.only()
    assert said.startswith(b"HTTP/1.1 502")
    assert outcome.error_code == "upstream_unreachable"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 64])
async def test_a_name_that_cannot_be_resolved_is_told(shop, path, host):
    async with shop(f"http://{host}:9") as (caller, outcomes):
        async with nothing_left(caller, outcomes):
            said = await told(caller, path)
        outcome = await outcomes.only()
    assert said.startswith(b"HTTP/1.1 502")
    assert outcome.error_code == "upstream_unreachable"


# What is too large. The other side sends on for as long as somebody takes it.


class Flood:
    """Sends a beginning, and then the same again and again, up to 100 MB."""

    def __init__(self, beginning: bytes, again: bytes) -> None:
        self._beginning = beginning
        self._again = again
        self.sent = 0

    async def __call__(self, peer) -> None:
        await peer.send(self._beginning)
        while self.sent < 100_000_000:
            await peer.send(self._again)
            self.sent += len(self._again)
        await peer.closed()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


FLOODS = {
    "event": (SSE_HEAD + chunk(BEGINNING + b"data: "), chunk(b"x" * 65536), 16 * MIB),
    "event in lines": (SSE_HEAD + chunk(BEGINNING), chunk(b"data: x\n" * 8192), 16 * MIB),
    "event alone": (SSE_HEAD + chunk(b"data: "), chunk(b"x" * 65536), 16 * MIB),
    "header": (b"HTTP/1.1 200 OK\r\nx: ", b"x" * 65536, 64 * 1024),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 10000, 64 * 1024),
    "status line": (b"HTTP/1.1 200 ", b"x" * 65536, 64 * 1024),
    "hints": (b"", b"HTTP/1.1 103 Hint\r\nx: y\r\n\r\n" * 2000, 64 * 1024),
    "chunk extension": (SSE_HEAD + b"1;", b"x" * 65536, 64 * 1024),
    "trailers": (SSE_HEAD + chunk(BEGINNING) + b"0\r\n", b"x: y\r\n" * 10000, 64 * 1024),
}
# What is on its way when the gateway closes: buffers of both sides' kernels.
UNDER_WAY = 12 * MIB


@pytest.mark.parametrize("what", FLOODS)
async def test_what_is_too_large_is_cut_off_early_and_its_memory_comes_back(shop, path, what):
    beginning, again, limit = FLOODS[what]
    flood = Flood(beginning, again)
    async with (
        scripted_upstream(flood) as claude,
        shop(claude.url) as (caller, outcomes),
    ):
        before = memory()
        async with nothing_left(caller, outcomes):
            await told(caller, path)
        outcome = await outcomes.only()
        async with asyncio.timeout(20):
            await claude.all_closed.wait()
        assert memory() - before < 48 * MIB
    assert flood.sent <= limit + UNDER_WAY
    assert outcome.error_code == "upstream_malformed"


async def test_a_stream_without_an_end_is_cut_off(shop, path):
    flood = Flood(SSE_HEAD + chunk(BEGINNING), chunk(PING * 1000))
    async with (
        scripted_upstream(flood) as claude,
        shop(claude.url, max_stream="1MiB") as (caller, outcomes),
    ):
        async with nothing_left(caller, outcomes):
            said = await told(caller, path)
        outcome = await outcomes.only()
    assert flood.sent < MIB + UNDER_WAY
    assert outcome.error_code == "upstream_malformed"
    assert b"Hel" in said


# What is tried again.


@pytest.mark.parametrize("status", [429, 529])
async def test_a_refusal_that_asks_for_a_retry_is_tried_again_and_leaves_nothing_behind(shop, path, status):
    refused = answer(status, OVERLOADED, JSON, b"retry-after-ms: 1")
    async with (
        scripted_upstream(refused, refused, stream(HELLO)) as claude,
        shop(claude.url, retries=2) as (caller, outcomes),
    ):
        async with nothing_left(caller, outcomes):
            assert b"Hel" in await told(caller, path)
        outcome = await outcomes.only()
    assert (outcome.kind, outcome.attempts, len(claude.requests)) == ("done", 3, 3)


async def test_kept_connections_that_claude_closes_are_replaced_unseen(shop, path):
    async def once(peer):
        await stream(HELLO)(peer)
        peer.writer.close()

    async with (
        scripted_upstream(once) as claude,
        shop(claude.url) as (caller, outcomes),
        nothing_left(caller, outcomes, requests=5),
    ):
        for _ in range(5):
            assert b"lo" in await told(caller, path)
    assert {outcome.kind for outcome in outcomes.all} == {"done"}
    assert {outcome.attempts for outcome in outcomes.all} == {1}
    assert claude.connections >= 5
