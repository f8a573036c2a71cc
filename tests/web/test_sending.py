"""Whole answers on their way: their slots are held until the kernel has them, and not for longer than pays."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.core.errors import AccessCut
from tests.support.aftermath import nothing_left
from tests.support.gateway import configuration
from tests.support.observed import eventually, observed
from tests.support.raw_client import parse_head, request_bytes
from tests.support.scripted_upstream import answer, scripted_upstream
from tests.support.slow_client import dropped, narrow, to_the_end

PATIENCE = 20
NARROW = {"write_buffer": 4096, "send_buffer": 4096}


def message(size: int) -> bytes:
    content = [{"type": "text", "text": "x" * size}]
    usage = {"input_tokens": 3, "output_tokens": 4}
    return json.dumps({"type": "message", "model": "m", "content": content, "usage": usage}).encode()


@pytest.fixture(params=["/api/chat/stream", "/v1/messages"])
def path(request):
    return request.param


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: observed(configuration(tmp_path, claude.url, **sections))


def ask(caller, path, *headers: str) -> bytes:
    body = {"message": "Hi", "stream": False}
    if path == "/v1/messages":
        body = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    return request_bytes("POST", path, f"x-api-key: {caller.key}", *headers, body=json.dumps(body).encode())


@pytest.mark.parametrize(("size", "server"), [(8_000_000, {}), (30_000, NARROW)])
async def test_a_client_that_reads_nothing_of_a_large_answer_is_dropped(shop, path, size, server):
    async with (
        scripted_upstream(answer(200, message(size))) as claude,
        shop(claude, server={**server, "slow_client_timeout": "400ms"}) as (caller, outcomes),
        nothing_left(caller, outcomes),
        narrow(caller.gateway.url, ask(caller, path)) as sock,
        asyncio.timeout(PATIENCE),
    ):
        streams = caller.gateway.services.streams
        await eventually(lambda: streams.held_bytes() > size / 2)
        assert len(streams) == 1
        assert not outcomes.all
        outcome = await outcomes.only()
        assert (outcome.kind, outcome.error_code, outcome.status) == ("error", "slow_client", 200)
        assert outcome.usage is not None
        assert outcome.usage.output_tokens == 4
        with pytest.raises(ConnectionResetError):
            await to_the_end(sock)
        assert await dropped(caller) == 1


@pytest.mark.parametrize("size", [3_000, 40_000])
async def test_one_that_reads_slowly_gets_all_of_it_and_then_the_next_answer(shop, path, size):
    async with (
        scripted_upstream(answer(200, message(size)), answer(200, message(10))) as claude,
        shop(claude, server={**NARROW, "slow_client_timeout": "600ms"}) as (caller, outcomes),
        nothing_left(caller, outcomes, requests=2),
        narrow(caller.gateway.url, ask(caller, path)) as sock,
        asyncio.timeout(PATIENCE),
    ):
        loop, read = asyncio.get_running_loop(), b""
        while b"\r\n\r\n" not in read:
            read += await loop.sock_recv(sock, 3000)
        head, _, body = read.partition(b"\r\n\r\n")
        status, headers = parse_head(head)
        while len(body) < int(headers["Content-Length"]):
            await asyncio.sleep(0.18)  # longer than from one look to the next
            body += await loop.sock_recv(sock, 3000)
        assert status == 200
        assert headers["Content-Type"] == "application/json"
        assert headers["Cache-Control"] == "no-store"
        assert b"x" * size in body
        await loop.sock_sendall(sock, ask(caller, path, "connection: close"))
        assert b"xxxxxxxxxx" in await to_the_end(sock)
        assert [outcome.kind for outcome in await outcomes.reach(2)] == ["done", "done"]
        assert outcomes.all[0].client_bytes == len(body)


async def test_the_time_of_the_request_is_over_also_for_one_that_takes_a_little_now_and_then(shop, path):
    limits = {"chat_timeout": "1s", "total_timeout": "1s"}
    async with (
        scripted_upstream(answer(200, message(8_000_000))) as claude,
        shop(claude, server=NARROW, upstream=limits) as (caller, outcomes),
        nothing_left(caller, outcomes),
        narrow(caller.gateway.url, ask(caller, path)) as sock,
        asyncio.timeout(PATIENCE),
    ):
        with pytest.raises(ConnectionResetError):
            await to_the_end(sock, 3000, 0.01)
        assert (await outcomes.only()).error_code == "deadline_exceeded"


async def test_access_that_ends_resets_a_client_that_has_a_part(shop, path):
    async with (
        scripted_upstream(answer(200, message(8_000_000))) as claude,
        shop(claude) as (caller, outcomes),
        nothing_left(caller, outcomes),
        narrow(caller.gateway.url, ask(caller, path)) as sock,
        asyncio.timeout(PATIENCE),
    ):
        streams = caller.gateway.services.streams
        await eventually(lambda: streams.held_bytes() > 7_000_000)
        assert streams.cut(AccessCut("Access was ended.")) == 1
        outcome = await outcomes.only()
        assert (outcome.kind, outcome.error_code) == ("error", "access_cut")
        with pytest.raises(ConnectionResetError):
            await to_the_end(sock)


async def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(shop, path):
    async with (
        scripted_upstream(answer(200, message(8_000_000))) as claude,
        shop(claude) as (caller, outcomes),
        nothing_left(caller, outcomes),
        asyncio.timeout(PATIENCE),
    ):
        async with narrow(caller.gateway.url, ask(caller, path)):
            streams = caller.gateway.services.streams
            await eventually(lambda: streams.held_bytes() > 7_000_000)
        assert (await outcomes.only()).kind == "disconnected"
