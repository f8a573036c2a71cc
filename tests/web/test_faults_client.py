"""Every way in which a client can leave, stall or misbehave: Claude is stopped, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.core.errors import UpstreamTruncated
from tests.support.aftermath import nothing_left
from tests.support.frames import frames
from tests.support.gateway import configuration
from tests.support.observed import eventually, observed
from tests.support.raw_client import connected, dechunked, parse_head, request_bytes
from tests.support.scripted_upstream import (
    BLOCK,
    END,
    HELLO,
    SSE_HEAD,
    START,
    answer,
    scripted_upstream,
    stream,
    text_delta,
)
from tests.support.slow_client import narrow, to_the_end

BEGINNING = START + BLOCK + text_delta("Hel")
PATIENCE = 20
# Small buffers everywhere, so that little has to be sent before somebody waits.
NARROW = {"write_buffer": 4096, "send_buffer": 4096}


@pytest.fixture(params=["/api/chat/stream", "/v1/messages"])
def path(request):
    return request.param


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: observed(configuration(tmp_path, claude.url, **sections))


def ask(caller, path, *headers: str, **more) -> bytes:
    body = {"message": "Hi", **more}
    if path == "/v1/messages":
        asked = [{"role": "user", "content": "Hi"}]
        body = {"model": "claude-x", "max_tokens": 9, "stream": True, "messages": asked, **more}
    return request_bytes("POST", path, f"x-api-key: {caller.key}", *headers, body=json.dumps(body).encode())


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Claude:
    """Sends a beginning, then what is to come again and again, and notes when it was told to stop."""

    def __init__(self, *beginning: bytes, again: bytes = b"") -> None:
        self._beginning = beginning
        self._again = again
        self.asked = asyncio.Event()
        self.sent = 0

    async def __call__(self, peer) -> None:
        sock = peer.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        await peer.send(*self._beginning)
        self.asked.set()
        while self._again:
            await peer.send(self._again)
            self.sent += len(self._again)
        await peer.closed()


# Leaving, at every phase and in every way.

LEAVE = {
    "closes": lambda raw: raw.writer.close(),
    "half-closes": lambda raw: raw.half_close(),
    "resets": lambda raw: raw.reset(),
}
MUCH = chunk(text_delta("x" * 1000) * 20)
PHASES = {
    "before the head": (Claude(), {}),
    "after the commit": (Claude(), {"commit_after": 0}),
    "after the head": (Claude(SSE_HEAD), {}),
    "in mid-stream": (Claude(SSE_HEAD, chunk(BEGINNING)), {}),
    "in mid-event": (Claude(SSE_HEAD, chunk(BEGINNING), chunk(b"event: content_block_delta\ndata: {")), {}),
    "while tokens flow": (Claude(SSE_HEAD, chunk(BEGINNING), again=chunk(text_delta("x"))), {}),
    "while Claude rests for it": (Claude(SSE_HEAD, chunk(BEGINNING), again=MUCH), NARROW),
}


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("phase", PHASES)
async def test_a_client_that_leaves_stops_claude_and_leaves_nothing_behind(shop, path, phase, leave):
    script, server = PHASES[phase]
    claudes = Claude(*script._beginning, again=script._again)
    async with (
        scripted_upstream(claudes) as claude,
        shop(claude, server=server) as (caller, outcomes),
    ):
        async with (
            nothing_left(caller, outcomes),
            connected(caller.gateway.url, ask(caller, path)) as raw,
            asyncio.timeout(PATIENCE),
        ):
            await claudes.asked.wait()
            if "mid" in phase or "flow" in phase:
                await raw.until(b"Hel")
            if "rests" in phase:
                raw.writer.transport.pause_reading()
                (job,) = caller.gateway.services.streams.running
                await eventually(lambda: job.relay.pauses > 0)
            LEAVE[leave](raw)
            await claude.all_closed.wait()
        outcome = await outcomes.only()
    assert (outcome.kind, outcome.error_code) == ("disconnected", None)
    assert len(claude.requests) == 1


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("sent", [b"POST /api/ch", b"POST /api/chat/stream HTTP/1.1\r\nHost: x\r\nConten"])
async def test_a_client_that_leaves_in_its_head_was_no_request(shop, sent, leave):
    async with (
        scripted_upstream() as claude,
        shop(claude) as (caller, outcomes),
    ):
        async with nothing_left(caller, outcomes, requests=0), connected(caller.gateway.url, sent) as raw:
            LEAVE[leave](raw)
        assert not claude.requests


@pytest.mark.parametrize("leave", ["closes", "resets"])
async def test_a_client_that_leaves_in_its_body_leaves_nothing_behind(shop, path, leave):
    async with (
        scripted_upstream() as claude,
        shop(claude) as (caller, outcomes),
    ):
        async with nothing_left(caller, outcomes), connected(caller.gateway.url, ask(caller, path)[:-5]) as raw:
            await eventually(lambda: len(caller.gateway.services.streams) == 1)
            LEAVE[leave](raw)
        outcome = await outcomes.only()
        assert not claude.requests
    assert outcome.kind == "disconnected"


@pytest.mark.parametrize(
    ("begun", "end"),
    [
        pytest.param([], ("disconnected", None), id="another attempt could have followed"),
        pytest.param([chunk(BEGINNING)], ("error", "upstream_truncated"), id="none could"),
    ],
)
async def test_a_client_that_leaves_in_the_moment_in_which_claude_fails(shop, path, begun, end):
    claudes = Claude(SSE_HEAD, *begun)
    async with (
        scripted_upstream(claudes) as claude,
        shop(claude) as (caller, outcomes),
    ):
        async with nothing_left(caller, outcomes), connected(caller.gateway.url, ask(caller, path)) as raw:
            await raw.until(b"Hel" if begun else b"\r\n\r\n")
            (job,) = caller.gateway.services.streams.running
            job.relay.fail(UpstreamTruncated("cut"))
            job.request.task.cancel()
            await outcomes.reach(1)
        outcome = await outcomes.only()
    assert (outcome.kind, outcome.error_code) == end


@pytest.mark.parametrize("leave", LEAVE)
async def test_a_client_that_leaves_while_it_waits_for_the_next_attempt(shop, path, leave):
    refused = asyncio.Event()

    async def script(peer):
        await peer.send(b"HTTP/1.1 529 Overloaded\r\nretry-after: 4\r\ncontent-length: 0\r\n\r\n")
        refused.set()

    async with (
        scripted_upstream(script) as claude,
        shop(claude) as (caller, outcomes),
    ):
        async with (
            nothing_left(caller, outcomes),
            connected(caller.gateway.url, ask(caller, path)) as raw,
            asyncio.timeout(PATIENCE),
        ):
            await refused.wait()
            LEAVE[leave](raw)
            await outcomes.reach(1)
        outcome = await outcomes.only()
    assert (outcome.kind, outcome.attempts, len(claude.requests)) == ("disconnected", 1, 1)


@pytest.mark.parametrize("leave", LEAVE)
async def test_a_client_that_leaves_while_a_whole_answer_is_made(shop, path, leave):
    claudes = Claude()
    async with (
        scripted_upstream(claudes) as claude,
        shop(claude) as (caller, outcomes),
    ):
        async with (
            nothing_left(caller, outcomes),
            connected(caller.gateway.url, ask(caller, path, stream=False)) as raw,
            asyncio.timeout(PATIENCE),
        ):
            await claudes.asked.wait()
            LEAVE[leave](raw)
            await claude.all_closed.wait()
        outcome = await outcomes.only()
    assert outcome.kind == "disconnected"


# Not reading.


async def test_a_client_that_reads_nothing_is_dropped_and_leaves_nothing_behind(shop, path):
    claudes = Claude(SSE_HEAD, chunk(BEGINNING), again=MUCH)
    async with (
        scripted_upstream(claudes) as claude,
        shop(claude, server={**NARROW, "slow_client_timeout": "200ms"}) as (caller, outcomes),
        nothing_left(caller, outcomes),
        narrow(caller.gateway.url, ask(caller, path)) as sock,
        asyncio.timeout(PATIENCE),
    ):
        await claude.all_closed.wait()
        outcome = await outcomes.only()
        with pytest.raises(ConnectionResetError):
            await to_the_end(sock)
    assert (outcome.kind, outcome.error_code, outcome.status) == ("error", "slow_client", 200)
    assert outcome.flow is not None
    assert outcome.flow.pauses == 1
    assert outcome.flow.paused > 0
    assert claudes.sent < 5_000_000


async def test_a_client_that_reads_a_byte_now_and_then_ends_like_one_that_reads_nothing(shop, path):
    """TCP tells the other side nothing of single bytes: there is no room for a packet until thousands were read."""
    claudes = Claude(SSE_HEAD, chunk(BEGINNING), again=MUCH)
    loop = asyncio.get_running_loop()
    async with (
        scripted_upstream(claudes) as claude,
        shop(claude, server={**NARROW, "slow_client_timeout": "200ms"}) as (caller, outcomes),
    ):
        async with (
            nothing_left(caller, outcomes),
            narrow(caller.gateway.url, ask(caller, path)) as sock,
            asyncio.timeout(PATIENCE),
        ):
            read = b""
            while not outcomes.all:
                read += await loop.sock_recv(sock, 1)
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await outcomes.reach(1)
            await claude.all_closed.wait()
        outcome = await outcomes.only()
    assert read.startswith(b"HTTP/1.1 200")
    assert outcome.error_code == "slow_client"


async def test_a_client_that_reads_slowly_gets_everything(shop, path):
    """Its frames may be fewer than Claude's events, its text is all of Claude's."""
    words = [f"{number} " for number in range(3000)]
    body = START + BLOCK + b"".join(map(text_delta, words)) + END
    async with (
        scripted_upstream(stream(body, 5000)) as claude,
        shop(claude, server={**NARROW, "merge_after": 4096}) as (caller, outcomes),
    ):
        async with (
            nothing_left(caller, outcomes),
            narrow(caller.gateway.url, ask(caller, path, "connection: close")) as sock,
            asyncio.timeout(60),
        ):
            told = await to_the_end(sock, 3000)
        outcome = await outcomes.only()
    body = dechunked(told.partition(b"\r\n\r\n")[2])
    assert outcome.kind == "done"
    assert outcome.flow is not None
    assert outcome.flow.pauses > 0
    tokens = frames(body)
    if path == "/v1/messages":
        shown = [token["delta"]["text"] for token in tokens if token["type"] == "content_block_delta"]
        assert shown == words
        assert outcome.flow.merged_frames == 0
    else:
        shown = [token["token"] for token in tokens if token["type"] == "text"]
        assert "".join(shown) == "".join(words)
        assert len(shown) + outcome.flow.merged_frames == len(words)
        assert outcome.flow.merged_frames > 0


# Asking for more than one thing at a time.


async def test_two_requests_sent_in_one_go_are_answered_in_turn(shop, path):
    whole = b'{"type":"message","content":[{"type":"text","text":"Hi"}],"usage":{"input_tokens":1,"output_tokens":1}}'
    async with (
        scripted_upstream(answer(200, whole)) as claude,
        shop(claude) as (caller, outcomes),
    ):
        async with (
            nothing_left(caller, outcomes, requests=2),
            connected(caller.gateway.url, ask(caller, path, stream=False) * 2) as raw,
        ):
            for _ in range(2):
                status, _, _ = await raw.answer()
                assert status == 200
        assert len(claude.requests) == 2
    assert {outcome.kind for outcome in outcomes.all} == {"done"}


async def test_a_request_that_comes_during_a_stream_is_answered_after_it(shop, path):
    go = asyncio.Event()

    async def script(peer):
        await peer.send(SSE_HEAD, chunk(BEGINNING))
        await go.wait()
        await peer.send(chunk(text_delta("lo") + END))
        await peer.end()

    async with (
        scripted_upstream(script, stream(HELLO)) as claude,
        shop(claude) as (caller, outcomes),
        nothing_left(caller, outcomes, requests=2),
        connected(caller.gateway.url, ask(caller, path)) as raw,
        asyncio.timeout(PATIENCE),
    ):
        await raw.until(b"Hel")
        await raw.send(ask(caller, path, "connection: close"))
        go.set()
        first, _, second = (await raw.rest()).partition(b"0\r\n\r\n")
    assert b"lo" in first
    assert b"HTTP/1.1" not in first
    head, _, body = second.partition(b"\r\n\r\n")
    assert parse_head(head)[0] == 200
    assert b"Hel" in dechunked(body)
    assert [outcome.kind for outcome in outcomes.all] == ["done", "done"]
