"""More load than there is room for: refused at once, counted by the bound, and what runs goes on."""

from __future__ import annotations

import asyncio
import io
import json
import resource
import time
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.support.gateway import configuration
from tests.support.observed import eventually, observed
from tests.support.process import serving
from tests.support.raw_client import connected, request_bytes
from tests.support.scripted_upstream import BLOCK, END, SSE_HEAD, START, scripted_upstream, text_delta
from tests.support.workers import children

CHAT = "/api/chat/stream"


class Finish:
    """A Claude whose answers end when the test says so."""

    def __init__(self) -> None:
        self.now = asyncio.Event()
        self.more = asyncio.Event()

    async def script(self, peer) -> None:
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("Hel"))
        more = asyncio.get_running_loop().create_task(self.more.wait())
        over = asyncio.get_running_loop().create_task(self.now.wait())
        await asyncio.wait({more, over}, return_when="FIRST_COMPLETED")
        if more.done():
            await peer.chunk(text_delta("lo"))
        await over
        more.cancel()
        await peer.chunk(END)
        await peer.end()


@contextmanager
def blocked_loop(seconds: float):
    """Keep the event loop busy: after each turn it is blocked for so long."""
    loop = asyncio.get_running_loop()

    def block() -> None:
        nonlocal again
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
        again = loop.call_soon(block)

    again = loop.call_soon(block)
    try:
        yield
    finally:
        again.cancel()


def _files_of(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def _shed(caller, bound: str) -> float:
    async with caller.session.get(caller.gateway.ops_url + "/metrics") as response:
        text = await response.text()
    (line,) = [line for line in text.splitlines() if line.startswith(f'tokenweir_shed_total{{bound="{bound}"}}')]
    return float(line.split()[-1])


async def test_at_twice_the_load_the_limit_holds_and_the_rest_is_told_at_once(tmp_path):
    finish = Finish()
    async with (
        scripted_upstream(finish.script) as claude,
        observed(configuration(tmp_path, claude.url, server={"max_streams": 5})) as (caller, outcomes),
    ):
        streams = caller.gateway.services.streams
        most = 0

        async def ask() -> int:
            nonlocal most
            async with caller.post(CHAT, {"message": "hi"}) as response:
                most = max(most, len(streams))
                if response.status == 503:
                    assert response.headers["Retry-After"] == "1"
                await response.read()
                return response.status

        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(ask()) for _ in range(20)]
            refused = await outcomes.reach(15)  # while the five still run
            assert {(o.error_code, o.limit, o.kind) for o in refused} == {
                ("overloaded", "server.max_streams", "refused")
            }
            finish.now.set()
        assert sorted(task.result() for task in asked) == [200] * 5 + [503] * 15
        await outcomes.reach(20)
        assert most <= 5
        assert len(claude.requests) == 5
        assert len(streams) == 0
        assert await _shed(caller, "server.max_streams") == 15
        async with caller.post(CHAT, {"message": "hi"}) as response:
            assert response.status == 200


@pytest.mark.parametrize("framing", ["Content-Length: 1000", "Transfer-Encoding: chunked"])
async def test_what_follows_a_refused_body_is_the_next_request_and_nothing_else(tmp_path, framing):
    """The refusal comes before the body does; the body is thrown away and never read as a request."""
    smuggled = request_bytes("GET", "/health", "X-Request-Id: smuggled")
    body = smuggled.ljust(1000) if "Length" in framing else b"%x\r\n%b\r\n0\r\n\r\n" % (len(smuggled), smuggled)
    async with scripted_upstream() as claude, observed(configuration(tmp_path, claude.url)) as (caller, outcomes):
        caller.gateway.services.streams.shed(active=True)
        async with connected(caller.gateway.url, request_bytes("POST", CHAT, framing)) as raw:
            status, headers, told = await raw.answer()
            assert (status, headers["Retry-After"], json.loads(told)["code"]) == (503, "1", "overloaded")
            await raw.send(body)
            caller.gateway.services.streams.shed(active=False)
            await raw.send(request_bytes("GET", "/health", "X-Request-Id: next"))
            assert (await raw.answer())[0] == 200
        refused, health = await outcomes.reach(2)
    assert (refused.status, refused.tenant) == (503, "")
    assert (health.route, health.client_request_id) == ("/health", "next")


async def test_who_asks_before_sending_a_body_is_refused_without_being_told_to_go_on(tmp_path):
    async with scripted_upstream() as claude, observed(configuration(tmp_path, claude.url)) as (caller, _):
        caller.gateway.services.streams.shed(active=True)
        head = request_bytes("POST", CHAT, "Expect: 100-continue", "Content-Length: 10")
        async with connected(caller.gateway.url, head) as raw:
            assert (await raw.answer())[0] == 503


async def test_a_body_for_which_there_is_no_room_is_refused_before_the_key_is_looked_at(tmp_path):
    async with (
        scripted_upstream() as claude,
        observed(configuration(tmp_path, claude.url, server={"max_bodies": 1000})) as (caller, outcomes),
    ):
        for _ in range(2):
            async with connected(caller.gateway.url, request_bytes("POST", CHAT, "Content-Length: 1001")) as raw:
                status, headers, _ = await raw.answer()
                assert (status, headers["Retry-After"]) == (503, "1")
        assert {(o.limit, o.error_code) for o in await outcomes.reach(2)} == {("server.max_bodies", "overloaded")}
        assert await _shed(caller, "server.max_bodies") == 2


async def test_of_large_bodies_at_once_as_many_get_through_as_there_is_room_for(tmp_path):
    """Each has its room from the start: a second one is not let in only to run out of it half-way."""
    body = json.dumps({"message": "x" * 900}).encode()
    async with (
        scripted_upstream() as claude,
        observed(configuration(tmp_path, claude.url, server={"max_bodies": 1500})) as (caller, outcomes),
    ):
        sent = request_bytes("POST", CHAT, f"x-api-key: {caller.key}", body=body)
        async with connected(caller.gateway.url, sent[:-800]) as first:
            await eventually(lambda: caller.gateway.services.bodies.used == len(body))
            async with connected(caller.gateway.url, sent[:-800]) as second:
                assert (await second.answer())[0] == 503
            await first.send(sent[-800:])
            assert b'"type":"done"' in await first.until(b'"type":"done"')
        await outcomes.reach(2)
        assert caller.gateway.services.bodies.used == 0


async def test_a_loop_that_lags_refuses_what_is_new_until_it_has_caught_up(tmp_path):
    finish = Finish()
    sections = {"server": {"max_loop_lag": "60ms"}, "metrics": {"lag_interval": "20ms"}}
    async with (
        scripted_upstream(finish.script) as claude,
        observed(configuration(tmp_path, claude.url, **sections)) as (caller, outcomes),
    ):
        streams = caller.gateway.services.streams
        async with caller.post(CHAT, {"message": "hi"}) as running:
            await running.content.readuntil(b"Hel")
            with blocked_loop(0.15):
                await eventually(lambda: streams.full)
                async with caller.post(CHAT, b"no JSON", authorization="Bearer nonsense") as refused:
                    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
                async with caller.get("/health") as health:
                    assert health.status == 200
                async with caller.session.get(caller.gateway.ops_url + "/readyz") as ready:
                    assert ready.status == 200
                finish.more.set()
                await running.content.readuntil(b'"lo"')
            finish.now.set()
            assert b'"type":"done"' in await running.read()
        await eventually(lambda: not streams.full)
        async with caller.post(CHAT, {"message": "hi"}) as response:
            assert response.status == 200
            await response.read()
        shed = [o for o in await outcomes.reach(4) if o.error_code == "overloaded"]
        assert [(o.limit, o.kind) for o in shed] == [("server.max_loop_lag", "refused")]
        assert await _shed(caller, "server.max_loop_lag") == 1


async def test_a_client_gets_the_refusal_whole_though_it_is_still_sending(tmp_path):
    """A connection closed under a client that sends would be a reset, and the answer lost."""
    async with scripted_upstream() as claude, observed(configuration(tmp_path, claude.url)) as (caller, _):
        caller.gateway.services.streams.shed(active=True)
        async with aiohttp.ClientSession() as session:
            for _ in range(3):
                async with session.post(caller.gateway.url + CHAT, data=io.BytesIO(b"x" * 5_000_000)) as response:
                    assert response.status == 503
                    assert (await response.json())["code"] == "overloaded"


async def test_a_process_without_open_files_serves_whom_it_has_tells_it_and_recovers(tmp_path):
    """Connections that it cannot take are closed at once, not left to hang; when some go, new ones are served."""
    async with (
        serving(tmp_path, "serve", ANTHROPIC_API_KEY="sk-ant-mine") as gateway,
        connected(gateway.url) as friend,
        connected(gateway.ops_url) as ops,
        AsyncExitStack() as crowd,
    ):
        for raw in (friend, ops):
            await raw.send(request_bytes("GET", "/"))
            assert (await raw.answer())[0] in {404, 405}
        pid = gateway.process.pid
        room = 8
        limit = _files_of(pid) + room
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        many = [await crowd.enter_async_context(connected(gateway.url)) for _ in range(40)]
        await gateway.until("no open files left")
        ends = [asyncio.get_running_loop().create_task(raw.rest()) for raw in many]
        await eventually(lambda: sum(end.done() for end in ends) >= len(many) - room)
        await friend.send(request_bytes("GET", "/health"))
        assert (await friend.answer())[0] == 200
        for raw in many:
            raw.reset()
        await asyncio.wait(ends)
        await gateway.until("there are open files again")
        async with connected(gateway.url, request_bytes("GET", "/health")) as raw:
            assert (await raw.answer())[0] == 200
        await ops.send(request_bytes("GET", "/metrics"))
        assert b"tokenweir_open_files_exhausted_total 1.0" in (await ops.answer())[2]


async def test_the_limit_of_open_files_is_raised_to_what_the_streams_need(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, before[1]))  # the process inherits it
    try:
        async with serving(
            tmp_path, "serve", ANTHROPIC_API_KEY="k", TOKENWEIR_SERVER__MAX_STREAMS="300",
            TOKENWEIR_SERVER__MAX_CONNECTIONS="300",
        ) as gateway:  # fmt: skip
            assert resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)[0] == 856
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("workers", [1, 2])
async def test_too_few_open_files_for_the_streams_are_told_at_the_start(tmp_path, workers):
    many = "2000000000"  # more than any system allows
    async with serving(
        tmp_path,
        "serve",
        f"--workers={workers}",
        ANTHROPIC_API_KEY="k",
        TOKENWEIR_SERVER__MAX_STREAMS=many,
        TOKENWEIR_SERVER__MAX_CONNECTIONS=many,
    ) as gateway:
        event = "the limit of open files allows fewer streams"
        if workers == 1:
            await gateway.until(event)
        (told,) = [json.loads(line) for line in gateway.said.splitlines() if event in line]
        serves = next(iter(children(gateway.process.pid)), gateway.process.pid)
        assert told["level"] == "warning"
        assert told["open_files"] == resource.prlimit(serves, resource.RLIMIT_NOFILE)[0]
        assert told["streams"] == (told["open_files"] - 256) // 2
