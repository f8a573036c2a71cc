"""What connections may cost: open files, heads that do not come, and looks at both."""

from __future__ import annotations

import asyncio
import json
import resource

import pytest
from structlog.testing import capture_logs

from gateway.web.accept import Capacity, Heads, Looking, OpenFiles, capacity, raise_open_files, tell_of_few_files
from gateway.web.settings import ServerSettings
from tests.support.gateway import configuration
from tests.support.observed import eventually, observed
from tests.support.raw_client import connected, request_bytes
from tests.support.scripted_upstream import HELLO, SSE_HEAD, scripted_upstream

NOWHERE = "http://127.0.0.1:1"
SETTINGS = ServerSettings()


class Waiting:
    """A connection on which heads come when the test says so."""

    def __init__(self) -> None:
        self.heads = 0
        self.given_up = 0

    def give_up(self) -> None:
        self.given_up += 1


@pytest.fixture
def files():
    """Lower this process's limit of open files for a while."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda soft: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (2**31, Capacity(10_000, 20_000)),
        (30_256, Capacity(10_000, 20_000)),
        (20_256, Capacity(10_000, 10_000)),
        (18_600, Capacity(9_172, 9_172, 18_600)),
        (1024, Capacity(384, 384, 1024)),
        (64, Capacity(24, 24, 64)),
    ],
)
def test_each_stream_that_is_let_in_has_a_second_open_file(files, expected):
    assert capacity(SETTINGS, files) == expected


def test_fewer_connections_than_streams_need_no_more_files():
    few = ServerSettings(max_connections=100)
    assert capacity(few, 1024) == Capacity(100, 100)


def test_as_many_open_files_are_allowed_as_are_needed_and_never_fewer_than_before(files):
    files(500)
    raise_open_files(ServerSettings(max_connections=400, max_streams=200))
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 856
    raise_open_files(ServerSettings(max_connections=40, max_streams=20))
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 856


@pytest.mark.parametrize(
    ("settings", "level"),
    [
        (SETTINGS, "info"),
        (ServerSettings(max_connections=15_000), "info"),
        (ServerSettings(max_streams=10_000), "warning"),
        (ServerSettings(max_streams=400), "warning"),
    ],
)
def test_too_few_open_files_are_told_with_the_room_that_there_is_and_warn_who_set_the_streams(files, settings, level):
    files(1024)
    with capture_logs() as lines:
        tell_of_few_files(settings)
        tell_of_few_files(ServerSettings(max_streams=300))
    (line,) = lines
    assert (line["log_level"], line["open_files"], line["streams"]) == (level, 1024, 384)
    assert line["max_streams"] == settings.max_streams


def test_a_head_that_does_not_come_in_its_time_is_given_up():
    heads, waiting = Heads(10.0), Waiting()
    heads.expect(waiting)
    for _ in range(10):
        heads.sweep()
    assert not waiting.given_up
    heads.sweep()
    heads.sweep()
    assert waiting.given_up == 1


def test_time_counts_from_the_first_byte_whatever_comes_later():
    heads, waiting = Heads(10.0), Waiting()
    for _ in range(11):
        heads.expect(waiting)
        heads.sweep()
    assert waiting.given_up == 1


def test_a_head_that_came_is_not_given_up_and_the_next_one_has_its_own_time():
    heads, waiting = Heads(10.0), Waiting()
    heads.expect(waiting)
    for _ in range(8):
        heads.sweep()
    waiting.heads += 1
    heads.expect(waiting)
    for _ in range(10):
        heads.sweep()
    assert not waiting.given_up
    heads.sweep()
    assert waiting.given_up == 1


def test_a_connection_that_is_gone_is_not_given_up():
    heads, waiting, other = Heads(1.0), Waiting(), Waiting()
    heads.expect(waiting)
    heads.forget(waiting)
    heads.forget(other)
    for _ in range(9):
        heads.sweep()
    assert not waiting.given_up


async def test_looking_goes_on_until_it_is_stopped():
    seen = 0
    enough = asyncio.Event()

    def look() -> None:
        nonlocal seen
        seen += 1
        if seen == 3:
            looking.stop()
            enough.set()

    looking = Looking(0.001, look)
    async with asyncio.timeout(15):
        await enough.wait()
    assert looking._timer.cancelled()


def test_running_out_of_open_files_is_told_once_and_so_is_the_end_of_it(files):
    told = []
    open_files = OpenFiles(lambda: told.append(1))
    open_files.look()
    with capture_logs() as lines:
        files(3)
        try:
            open_files.look()
            open_files.look()
        finally:
            files(512)
        open_files.look()
        open_files.look()
    assert told == [1]
    assert [line["log_level"] for line in lines] == ["error", "warning"]


@pytest.fixture
def gateway(tmp_path):
    return lambda url=NOWHERE, **server: observed(configuration(tmp_path, url, server=server))


@pytest.mark.parametrize(
    "part",
    [b"G", b"GET /health HTTP/1.1\r\n", b"GET /health HTTP/1.1\r\nHost: gateway.test\r\nX-Slow: on", b"POST /v1/messa"],
)
async def test_a_head_that_stops_half_way_is_a_408_and_one_outcome(gateway, part):
    async with gateway(header_timeout="200ms") as (caller, outcomes), connected(caller.gateway.url, part) as raw:
        status, headers, body = await raw.answer()
        assert await raw.rest() == b""
        outcome = await outcomes.only()
        await eventually(lambda: not caller.gateway._generation.public.server.connections)
    assert status == 408
    assert headers["X-Request-Id"] == outcome.request_id
    assert (outcome.status, outcome.error_code, outcome.kind) == (408, "request_timeout", "refused")
    assert b"did not arrive in time" in body
    assert ("type" in json.loads(body)) is part.startswith(b"POST /v1/")


async def test_a_head_that_trickles_is_a_408_however_steadily_it_comes(gateway):
    async with gateway(header_timeout="200ms") as (caller, outcomes), connected(caller.gateway.url, b"GET /") as raw:
        answered = asyncio.get_running_loop().create_task(raw.answer())
        while not answered.done():
            raw.writer.write(b"x")
            await asyncio.wait({answered}, timeout=0.01)
        assert answered.result()[0] == 408
        assert (await outcomes.only()).error_code == "request_timeout"


async def test_a_second_head_that_stops_half_way_is_a_408_too(gateway):
    async with gateway(header_timeout="200ms") as (caller, outcomes), connected(caller.gateway.url) as raw:
        await raw.send(request_bytes("GET", "/health"))
        assert (await raw.answer())[0] == 200
        await raw.send(b"GET /hea")
        assert (await raw.answer())[0] == 408
        assert [o.status for o in await outcomes.reach(2)] == [200, 408]


async def test_half_a_head_behind_a_request_is_a_408_when_that_was_answered(gateway):
    async with gateway(header_timeout="200ms") as (caller, outcomes), connected(caller.gateway.url) as raw:
        await raw.send(request_bytes("GET", "/health") + b"GET /hea")
        assert (await raw.answer())[0] == 200
        await raw.send(b"l")
        assert (await raw.answer())[0] == 408
        await outcomes.reach(2)


async def test_a_connection_that_sends_nothing_is_closed_without_a_word(gateway):
    async with gateway(header_timeout="200ms") as (caller, outcomes), connected(caller.gateway.url, b"\r\n") as raw:
        assert await raw.rest() == b""
        assert not outcomes.all


async def test_a_connection_that_was_used_may_rest_for_longer_than_a_head(gateway):
    """Its keep-alive time is another one; empty lines are no head."""
    async with gateway(header_timeout="100ms") as (caller, outcomes), connected(caller.gateway.url) as raw:
        server = caller.gateway._generation.public.server
        await raw.send(request_bytes("GET", "/health"))
        await raw.answer()
        await raw.send(b"\r\n")
        looks = server.heads._look + 12
        await eventually(lambda: server.heads._look > looks)
        await raw.send(request_bytes("GET", "/health"))
        assert (await raw.answer())[0] == 200
        await outcomes.reach(2)


async def test_a_stream_may_last_longer_than_a_head(gateway):
    over = asyncio.Event()

    async def script(peer):
        await peer.send(SSE_HEAD)
        await over.wait()
        await peer.chunk(HELLO)
        await peer.end()

    async with scripted_upstream(script) as claude, gateway(claude.url, header_timeout="100ms") as (caller, outcomes):
        server = caller.gateway._generation.public.server
        sent = request_bytes("GET", "/api/chat/stream?message=hi", f"x-api-key: {caller.key}")
        async with connected(caller.gateway.url, sent) as raw:
            await raw.until(b"\r\n\r\n")
            looks = server.heads._look + 12
            await eventually(lambda: server.heads._look > looks)
            over.set()
            assert b'"type":"done"' in await raw.until(b'"type":"done"')
            await outcomes.only()


async def test_one_connection_too_many_is_told_so_at_once_and_the_others_stay(gateway):
    async with gateway(max_connections=2) as (caller, outcomes):
        url, ops = caller.gateway.url, caller.gateway.ops_url
        async with connected(url) as one, connected(url) as two:
            for raw in (one, two):
                await raw.send(request_bytes("GET", "/health"))
                assert (await raw.answer())[0] == 200
            async with connected(url) as third:
                status, headers, body = await third.answer()
                assert (status, headers["Retry-After"], json.loads(body)["code"]) == (503, "1", "overloaded")
                assert await third.rest() == b""
            await one.send(request_bytes("GET", "/health"))
            assert (await one.answer())[0] == 200
        await eventually(lambda: not caller.gateway._generation.public.server.connections)
        async with connected(url, request_bytes("GET", "/health")) as raw:
            assert (await raw.answer())[0] == 200
            metrics = ""

            async def counted() -> bool:
                nonlocal metrics
                async with caller.session.get(ops + "/metrics") as response:
                    metrics = await response.text()
                return "tokenweir_connections 1.0" in metrics

            async with asyncio.timeout(15):
                while not await counted():
                    pass
        assert "tokenweir_connections_refused_total 1.0" in metrics
        await outcomes.reach(4)
