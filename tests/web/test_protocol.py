"""What comes behind a request while it is handled: it never hides that the client has gone, and costs no memory."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from aiohttp import web

from gateway.web.server import BoundSocket, Runner
from gateway.web.settings import ServerSettings
from tests.support.aftermath import memory, nothing_left
from tests.support.gateway import configuration
from tests.support.observed import eventually, observed
from tests.support.raw_client import connected, dechunked, parse_head, request_bytes
from tests.support.scripted_upstream import BLOCK, END, SSE_HEAD, START, answer, scripted_upstream, text_delta

PATIENCE = 20
# Without a cause to look, a gateway would notice a lost client at its next heartbeat, after 15 s.
PROMPT = 3
BEGINNING = START + BLOCK + text_delta("Hel")
WHOLE = b'{"type":"message","content":[{"type":"text","text":"Hi"}],"usage":{"input_tokens":1,"output_tokens":1}}'
WHOLE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(WHOLE)
GET = request_bytes("GET", "/health")
LEAVE = {"half-closes": lambda raw: raw.half_close(), "resets": lambda raw: raw.reset()}


@pytest.fixture(params=["/api/chat/stream", "/v1/messages"])
def path(request):
    return request.param


@pytest.fixture(params=[True, False], ids=["streamed", "whole"])
def streamed(request):
    return request.param


@pytest.fixture
def shop(tmp_path):
    return lambda claude: observed(configuration(tmp_path, claude.url))


def ask(caller, path, *, stream: bool = True, padding: int = 0) -> bytes:
    asked = [{"role": "user", "content": "Hi" + " " * padding}]
    body = {"message": "Hi" + " " * padding, "stream": stream}
    if path == "/v1/messages":
        body = {"model": "claude-x", "max_tokens": 9, "messages": asked, "stream": stream}
    return request_bytes("POST", path, f"x-api-key: {caller.key}", body=json.dumps(body).encode())


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


BEHIND = {
    "40 requests": lambda _caller, _path: GET * 40,
    "a body of 1 MB": lambda caller, path: ask(caller, path, padding=1_000_000),
    "a head without an end": lambda _caller, _path: b"GET /health HTTP/1.1\r\n" + b"X-A: %b\r\n" % (b"a" * 8000) * 100,
    "what is no request": lambda _caller, _path: b"\0" * 1_000_000,
}


@pytest.fixture(params=BEHIND)
def behind(request):
    return BEHIND[request.param]


class Claude:
    """Says a part, then the rest when it may, or nothing until it is left."""

    def __init__(self, *, streamed: bool, silent: bool = False) -> None:
        self._silent = silent
        self._parts = (SSE_HEAD + chunk(BEGINNING), chunk(text_delta("lo") + END) + b"0\r\n\r\n")
        if not streamed:
            self._parts = (WHOLE_HEAD + WHOLE[:10], WHOLE[10:])
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, peer) -> None:
        await peer.send(self._parts[0])
        self.asked.set()
        if self._silent:
            await peer.closed()
        else:
            await self.go.wait()
            await peer.send(self._parts[1])


@pytest.mark.parametrize("leave", LEAVE)
async def test_a_client_that_sends_much_and_leaves_is_noticed_at_once(shop, path, streamed, behind, leave):
    script = Claude(streamed=streamed, silent=True)
    async with (
        scripted_upstream(script) as claude,
        shop(claude) as (caller, outcomes),
    ):
        async with (
            nothing_left(caller, outcomes),
            connected(caller.gateway.url, ask(caller, path, stream=streamed)) as raw,
        ):
            async with asyncio.timeout(PATIENCE):
                await script.asked.wait()
                if streamed:
                    await raw.until(b"Hel")
            async with asyncio.timeout(PROMPT):
                await raw.send(behind(caller, path))
                LEAVE[leave](raw)
                await claude.all_closed.wait()
        outcome = await outcomes.only()
    assert (outcome.kind, outcome.error_code, len(claude.requests)) == ("disconnected", None, 1)


@pytest.mark.parametrize("leave", LEAVE)
@pytest.mark.parametrize("kind", ["40 requests", "a body of 1 MB"])
async def test_a_client_that_sends_all_in_one_go_and_leaves_is_noticed_at_once(shop, path, streamed, kind, leave):
    script = Claude(streamed=streamed, silent=True)
    async with (
        scripted_upstream(script) as claude,
        shop(claude) as (caller, outcomes),
    ):
        async with nothing_left(caller, outcomes), connected(caller.gateway.url) as raw:
            async with asyncio.timeout(PATIENCE):
                await raw.send(ask(caller, path, stream=streamed) + BEHIND[kind](caller, path))
                await script.asked.wait()
            async with asyncio.timeout(PROMPT):
                LEAVE[leave](raw)
                await claude.all_closed.wait()
        outcome = await outcomes.only()
    assert (outcome.kind, outcome.error_code, len(claude.requests)) == ("disconnected", None, 1)


async def test_a_client_that_sends_much_and_stays_gets_its_answer_and_then_the_end(shop, path, streamed, behind):
    script = Claude(streamed=streamed)
    async with (
        scripted_upstream(script) as claude,
        shop(claude) as (caller, outcomes),
    ):
        async with (
            nothing_left(caller, outcomes),
            connected(caller.gateway.url, ask(caller, path, stream=streamed)) as raw,
            asyncio.timeout(PATIENCE),
        ):
            await script.asked.wait()
            head = await raw.until(b"\r\n\r\n") if streamed else b""
            await raw.send(behind(caller, path))
            (protocol,) = caller.gateway._generation.public.server.connections
            await eventually(lambda: protocol.last)
            script.go.set()
            told = head + await raw.rest()
        outcome = await outcomes.only()
    assert outcome.kind == "done"
    assert_whole(told, path, streamed=streamed)
    if not streamed:
        assert parse_head(told.partition(b"\r\n\r\n")[0])[1]["Connection"] == "close"


def assert_whole(told: bytes, path: str, *, streamed: bool) -> None:
    head, _, body = told.partition(b"\r\n\r\n")
    assert parse_head(head)[0] == 200
    if streamed:
        body = dechunked(body)
        assert b"lo" in body
        assert (b"message_stop" if path == "/v1/messages" else b'"done"') in body
    else:
        assert json.loads(body)


async def test_a_client_that_goes_on_sending_gets_its_answer_and_costs_no_memory(shop, path, streamed):
    script = Claude(streamed=streamed)
    async with (
        scripted_upstream(script) as claude,
        shop(claude) as (caller, outcomes),
        nothing_left(caller, outcomes),
        connected(caller.gateway.url, ask(caller, path, stream=streamed)) as raw,
        asyncio.timeout(60),
    ):
        await script.asked.wait()
        before = memory()
        await raw.send(request_bytes("POST", path, "Content-Length: 1000000000"))
        for number in range(1000):
            if number == 800:
                script.go.set()
            await raw.send(b"x" * 65_536)
        assert memory() - before < 16_000_000
        told = await raw.rest()
    assert_whole(told, path, streamed=streamed)


async def send_forever(raw) -> None:
    while True:
        await raw.send(b"x" * 65_536)


async def test_a_client_that_never_stops_sending_is_cut_off(shop, path):
    async with (
        scripted_upstream(answer(200, WHOLE)) as claude,
        shop(claude) as (caller, outcomes),
        nothing_left(caller, outcomes),
        connected(caller.gateway.url) as raw,
        asyncio.timeout(60),
    ):
        (protocol,) = caller.gateway._generation.public.server.connections
        protocol._lingering_time = 0.1
        await raw.send(ask(caller, path, stream=False) + GET * 40)
        began = time.monotonic()
        with pytest.raises(ConnectionError):
            await send_forever(raw)
        assert time.monotonic() - began < PROMPT


@pytest.mark.parametrize("split", [False, True], ids=["in one piece", "byte by byte"])
async def test_one_small_request_behind_another_is_answered_after_it(shop, path, streamed, split):
    first, second = Claude(streamed=streamed), answer(200, WHOLE)
    async with (
        scripted_upstream(first, second) as claude,
        shop(claude) as (caller, outcomes),
        nothing_left(caller, outcomes, requests=2),
        connected(caller.gateway.url, ask(caller, path, stream=streamed)) as raw,
        asyncio.timeout(PATIENCE),
    ):
        await first.asked.wait()
        following = ask(caller, path, stream=False, padding=8000 if not split else 0)
        for piece in [following[i : i + 1] for i in range(len(following))] if split else [following]:
            await raw.send(piece)
            if split:
                await asyncio.sleep(0)
        first.go.set()
        if streamed:
            await raw.until(b"0\r\n\r\n")
        else:
            assert (await raw.answer())[0] == 200
        status, headers, _ = await raw.answer()
    assert (status, headers.get("Connection")) == (200, None)


async def test_large_requests_on_one_connection_each_after_the_answer_before_are_all_served(shop, path, streamed):
    scripts = [Claude(streamed=streamed) for _ in range(20)]
    for script in scripts:
        script.go.set()
    async with (
        scripted_upstream(*scripts) as claude,
        shop(claude) as (caller, outcomes),
        nothing_left(caller, outcomes, requests=20),
        connected(caller.gateway.url) as raw,
        asyncio.timeout(PATIENCE),
    ):
        for _ in scripts:
            await raw.send(ask(caller, path, stream=streamed, padding=100_000))
            if streamed:
                await raw.until(b"0\r\n\r\n")
            else:
                assert (await raw.answer())[0] == 200


async def test_a_request_may_be_large_as_soon_as_the_answer_before_is_out():
    """What its handler has to do still is not the client's concern."""
    go = asyncio.Event()

    async def handler(request):
        size = len(await request.read())
        response = web.StreamResponse(headers={"Content-Length": "7"})
        await response.prepare(request)
        await response.write_eof(b"%7d" % size)
        await go.wait()
        return response

    app = web.Application(client_max_size=2**24)
    app.router.add_post("/", handler)
    runner = Runner(app, ServerSettings())
    await runner.setup()
    with BoundSocket("127.0.0.1:0", "--listen", ServerSettings()) as bound:
        await bound.serve(runner)
        async with connected(f"http://{bound.address}") as raw, asyncio.timeout(PATIENCE):
            await raw.send(request_bytes("POST", "/", body=b"x"))
            assert (await raw.answer())[2] == b"      1"
            (connection,) = runner.server.connections
            following = request_bytes("POST", "/", body=b"x" * 1_000_000)
            await raw.send(following[:200_000])
            await eventually(lambda: connection._body.total_bytes > 190_000)
            go.set()
            await raw.send(following[200_000:])
            assert (await raw.answer())[2] == b"1000000"
    await runner.cleanup()


async def test_too_much_behind_a_refusal_ends_the_connection_after_it(shop, path):
    async with (
        scripted_upstream() as claude,
        shop(claude) as (caller, outcomes),
        nothing_left(caller, outcomes),
        connected(caller.gateway.url) as raw,
    ):
        await raw.send(request_bytes("POST", path, "x-api-key: wrong", body=b"{}") + GET * 40)
        head, _, body = (await raw.rest()).partition(b"\r\n\r\n")
    assert parse_head(head)[0] == 401
    assert json.loads(body)
