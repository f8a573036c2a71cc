"""Connections of ``/api/chat/stream``: HTTP/1.0 clients, and clients that leave, at any moment and in any way."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.support.frames import frames, joined
from tests.support.gateway import configuration, serving
from tests.support.raw_client import connected, parse_head
from tests.support.scripted_upstream import BLOCK, HELLO, SSE_HEAD, START, answer, scripted_upstream, stream, text_delta

BEGINNING = START + BLOCK + text_delta("Hel")
ONE_AT_A_TIME = {"default": {"concurrent_streams": 1}}


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: serving(configuration(tmp_path, claude.url, **sections))


def get(caller, version: str = "1.1", *headers: str) -> bytes:
    lines = ["host: gateway", f"x-api-key: {caller.key}", *headers]
    return "\r\n".join([f"GET /api/chat/stream?message=Hi HTTP/{version}", *lines, "", ""]).encode()


class Mute:
    """Sends what it is given and then nothing, until the gateway leaves."""

    def __init__(self, *sent: bytes) -> None:
        self._sent = sent
        self.asked = asyncio.Event()

    async def __call__(self, peer) -> None:
        await peer.send(*self._sent)
        self.asked.set()
        await peer.closed()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# HTTP/1.0.


@pytest.mark.parametrize("headers", [(), ("connection: keep-alive",)])
async def test_an_http_1_0_client_gets_the_stream_unframed_and_ended_by_close(shop, headers):
    async with (
        scripted_upstream(stream(HELLO, 7)) as claude,
        shop(claude) as caller,
        connected(caller.gateway.url, get(caller, "1.0", *headers)) as raw,
    ):
        status, sent = parse_head(await raw.until(b"\r\n\r\n"))
        body = await raw.rest()
    assert status == 200
    assert "Transfer-Encoding" not in sent
    assert "Content-Length" not in sent
    assert sent.get("Connection", "close") == "close"
    assert sent["Content-Type"] == "text/event-stream"
    assert body.startswith(b"data: {")
    assert joined(frames(body)) == "Hello"
    assert frames(body)[-1]["type"] == "done"


async def test_an_http_1_0_client_gets_heartbeats_and_the_error_frame_unframed(shop):
    claude_cuts = asyncio.Event()

    async def script(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(BEGINNING)
        await claude_cuts.wait()
        peer.reset()

    async with (
        scripted_upstream(script) as claude,
        shop(claude, server={"heartbeat": "20ms"}) as caller,
        connected(caller.gateway.url, get(caller, "1.0")) as raw,
    ):
        await raw.until(b"\r\n\r\n")
        first = await raw.until(b"\n\n:\n\n")
        claude_cuts.set()
        told = frames(first + await raw.rest())
    assert [frame["type"] for frame in told] == ["text", "error"]


async def test_an_http_1_0_client_gets_errors_before_the_stream_as_json(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        request = get(caller, "1.0").replace(b"message=Hi", b"message=")
        async with connected(caller.gateway.url, request) as raw:
            status, headers, body = await raw.answer()
    assert status == 400
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body)["error"] == "Message is required"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_end_that_cannot_be_told_is_a_reset(shop, version):
    """The client takes nothing, so that the error frame finds no room: it must not see an end in order."""
    big = START + BLOCK + b"".join(text_delta("x" * 60_000) for _ in range(400))
    server = {"slow_client_timeout": "200ms", "write_buffer": 4096, "send_buffer": 4096}
    async with (
        scripted_upstream(Mute(SSE_HEAD, chunk(big))) as claude,
        shop(claude, server=server) as caller,
        connected(caller.gateway.url, get(caller, version)) as raw,
    ):
        raw.writer.transport.pause_reading()
        async with asyncio.timeout(20):
            await claude.all_closed.wait()
        raw.writer.transport.resume_reading()
        with pytest.raises(ConnectionResetError):
            await raw.rest()


# Clients that leave.


LEAVE = {
    "close": lambda raw: raw.writer.close(),
    "half-close": lambda raw: raw.half_close(),
    "reset": lambda raw: raw.reset(),
}
SILENCES = {
    "before the head": ((), {}),
    "after the commit": ((), {"commit_after": 0}),
    "after the head": ((SSE_HEAD,), {}),
    "in mid-stream": ((SSE_HEAD, chunk(BEGINNING)), {}),
    "in mid-event": ((SSE_HEAD, chunk(BEGINNING), chunk(b"event: content_block_delta\ndata: {")), {}),
}


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("when", SILENCES)
async def test_a_client_that_leaves_stops_claude_at_once_and_frees_its_slot(shop, leave, when):
    sent, server = SILENCES[when]
    mute = Mute(*sent)
    async with (
        scripted_upstream(mute, stream(HELLO)) as claude,
        shop(claude, server=server, plans=ONE_AT_A_TIME) as caller,
        connected(caller.gateway.url, get(caller)) as raw,
    ):
        async with asyncio.timeout(20):
            await mute.asked.wait()
            if when == "in mid-stream":
                await raw.until(b"Hel")
            async with caller.get("/api/chat/stream?message=Hi") as response:
                assert response.status == 429
                assert (await response.json())["limit"] == "tenant-concurrent-streams"
            LEAVE[leave](raw)
            await claude.all_closed.wait()
        async with caller.get("/api/chat/stream?message=Hi") as response:
            assert response.status == 200
            assert joined(frames(await response.read())) == "Hello"
        assert len(claude.requests) == 2
        assert len(caller.gateway.services.streams) == 0


@pytest.mark.parametrize("leave", LEAVE)
async def test_a_client_that_leaves_while_its_json_answer_is_made_stops_claude(shop, leave):
    mute = Mute()
    body = b'{"message":"Hi","stream":false}'
    async with scripted_upstream(mute) as claude, shop(claude) as caller:
        request = get(caller, "1.1", f"content-length: {len(body)}").replace(b"GET", b"POST") + body
        async with connected(caller.gateway.url, request) as raw, asyncio.timeout(20):
            await mute.asked.wait()
            LEAVE[leave](raw)
            await claude.all_closed.wait()


async def test_a_client_that_leaves_between_two_attempts_gets_none_made(shop):
    """Claude refuses and asks to wait for four seconds; the client leaves in that time."""
    refused = asyncio.Event()

    async def script(peer):
        head = b"HTTP/1.1 529 Overloaded\r\nretry-after: 4\r\ncontent-length: 0\r\n\r\n"
        await peer.send(head)
        refused.set()

    async with (
        scripted_upstream(script) as claude,
        shop(claude, server={"commit_after": 0}, plans=ONE_AT_A_TIME) as caller,
        connected(caller.gateway.url, get(caller)) as raw,
        asyncio.timeout(20),
    ):
        await raw.until(b":\n\n")
        await refused.wait()
        raw.reset()
        await _until_empty(caller)
    assert len(claude.requests) == 1


async def test_a_client_that_leaves_in_the_middle_of_its_body_takes_no_slot(shop):
    async with (
        scripted_upstream() as claude,
        shop(claude, plans=ONE_AT_A_TIME) as caller,
        asyncio.timeout(20),
    ):
        async with connected(
            caller.gateway.url,
            get(caller, "1.1", "content-length: 1000").replace(b"GET", b"POST") + b'{"message',
        ) as raw:
            await raw.close()
        await _until_empty(caller)
        assert caller.gateway.services.bodies.used == 0
    assert not claude.requests


async def test_a_client_that_left_leaves_one_line_in_the_log(shop, tmp_path):
    mute = Mute(SSE_HEAD, chunk(BEGINNING))
    async with (
        scripted_upstream(mute) as claude,
        shop(claude) as caller,
        connected(caller.gateway.url, get(caller)) as raw,
        asyncio.timeout(20),
    ):
        await raw.until(b"Hel")
        raw.reset()
        await claude.all_closed.wait()
        await _until_empty(caller)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    (line,) = [line for line in lines if line["event"] == "request"]
    assert line["kind"] == "disconnected"
    assert line["phase"] == "streaming"
    assert line["status"] == 200
    assert line["usage_estimated"] is True


async def test_a_client_that_leaves_before_another_attempt_has_left_and_met_no_error(shop, tmp_path):
    async with (
        scripted_upstream(answer(200, b"", b"content-type: text/event-stream"), Mute()) as claude,
        shop(claude) as caller,
        connected(caller.gateway.url, get(caller)) as raw,
        asyncio.timeout(20),
    ):
        await raw.until(b"\r\n\r\n")  # the first attempt has its status, and breaks before an event
        raw.reset()
        await _until_empty(caller)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["kind"], line["level"], line.get("error")) == ("disconnected", "info", None)


async def _until_empty(caller) -> None:
    assert await caller.gateway.services.streams.wait_empty(10)
