"""Clients that take nothing of what is left of an answer that is over: dropped in the end, whatever it was."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from aiohttp import web

from gateway.web.server import BoundSocket, Runner
from gateway.web.settings import ServerSettings
from gateway.web.unsent import LOOKS, Unsent, unsent_bytes
from tests.support.aftermath import nothing_left
from tests.support.gateway import configuration
from tests.support.observed import eventually, observed
from tests.support.raw_client import dechunked, request_bytes
from tests.support.scripted_upstream import BLOCK, END, START, scripted_upstream, stream, text_delta
from tests.support.slow_client import dropped, narrow, to_the_end

PATIENCE = 20
TEXT = "word " * 6000
STREAM = START + BLOCK + text_delta(TEXT) + END
# What the kernel takes is less than the answer, and the gateway's own buffer has room for all of the rest.
SERVER = {"send_buffer": 4096, "slow_client_timeout": "200ms"}


class Transport:
    """A connection that has been given some bytes."""

    def __init__(self, size: int = 100) -> None:
        self.size = size
        self.aborted = False
        self._socket = socket.socket()
        self._socket.close()

    def get_write_buffer_size(self) -> int:
        return self.size

    def get_extra_info(self, _: str) -> SimpleNamespace:
        return SimpleNamespace(fileno=lambda: -1, setsockopt=lambda *_: None)

    def abort(self) -> None:
        self.aborted = True


class Connection(SimpleNamespace):
    """One on which a request has been answered."""

    def __init__(self) -> None:
        super().__init__(_current_request=None, _request_count=1, _messages=[])

    __hash__ = object.__hash__  # type: ignore[assignment]


class Looks:
    """Looks at one connection."""

    def __init__(self) -> None:
        self.transport, self.connection, self.dropped = Transport(), Connection(), 0
        self.unsent = Unsent(1.0, self._drop)

    def _drop(self) -> None:
        self.dropped += 1

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self.unsent.look({self.connection: self.transport})


def test_a_client_that_takes_nothing_for_so_many_looks_is_dropped_once():
    looks = Looks()
    looks.look(LOOKS)
    assert not looks.transport.aborted
    looks.look()
    assert looks.transport.aborted
    looks.transport.size = 0
    looks.look(2 * LOOKS)
    assert looks.dropped == 1


def test_one_that_takes_a_little_now_and_then_is_not():
    looks = Looks()
    for _ in range(20):
        looks.look(LOOKS)
        looks.transport.size -= 1
    assert not looks.transport.aborted


def test_what_another_answer_adds_begins_a_new_time():
    looks = Looks()
    looks.look(LOOKS)
    looks.connection._request_count += 1
    looks.transport.size += 100
    looks.look(LOOKS)
    assert not looks.transport.aborted
    looks.look()
    assert looks.transport.aborted


def test_a_request_that_waits_its_turn_begins_none():
    looks = Looks()
    for _ in range(LOOKS + 1):
        looks.connection._request_count += 1
        looks.connection._messages.append("one")
        looks.look()
    assert looks.transport.aborted


def test_what_has_a_handler_is_left_to_it():
    looks = Looks()
    looks.connection._current_request = object()
    looks.look(3 * LOOKS)
    assert not looks.transport.aborted
    assert unsent_bytes({looks.connection: looks.transport}) == 0
    looks.connection._current_request = None
    assert unsent_bytes({looks.connection: looks.transport}) == 100


def test_there_is_something_to_look_at_while_bytes_wait():
    looks = Looks()
    connections = {looks.connection: looks.transport}
    assert looks.unsent.look(connections)
    looks.transport.size = 0
    assert not looks.unsent.look(connections)


@pytest.fixture(params=["/api/chat/stream", "/v1/messages"])
def path(request):
    return request.param


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **server: observed(configuration(tmp_path, claude.url, server={**SERVER, **server}))


def ask(caller, path, *headers: str) -> bytes:
    body = {"message": "Hi"}
    if path == "/v1/messages":
        asked = [{"role": "user", "content": "Hi"}]
        body = {"model": "claude-x", "max_tokens": 9, "stream": True, "messages": asked}
    return request_bytes("POST", path, f"x-api-key: {caller.key}", *headers, body=json.dumps(body).encode())


@pytest.mark.parametrize("headers", [(), ("connection: close",)])
async def test_a_client_that_reads_nothing_of_a_stream_that_is_over_is_dropped(shop, path, headers):
    async with (
        scripted_upstream(stream(STREAM)) as claude,
        shop(claude) as (caller, outcomes),
        nothing_left(caller, outcomes),
        narrow(caller.gateway.url, ask(caller, path, *headers)) as sock,
        asyncio.timeout(PATIENCE),
    ):
        assert (await outcomes.only()).kind == "done"
        streams = caller.gateway.services.streams
        assert not streams.running
        assert streams.held_bytes() > 10_000
        await eventually(lambda: streams.held_bytes() == 0)
        with pytest.raises(ConnectionResetError):
            await to_the_end(sock)
        assert await dropped(caller) == 1


async def test_one_that_reads_it_slowly_gets_all_of_it(shop, path):
    async with (
        scripted_upstream(stream(STREAM)) as claude,
        shop(claude, slow_client_timeout="600ms") as (caller, outcomes),
        nothing_left(caller, outcomes),
        narrow(caller.gateway.url, ask(caller, path, "connection: close")) as sock,
        asyncio.timeout(PATIENCE),
    ):
        told = await to_the_end(sock, 2000, 0.05)
        assert TEXT.encode() in dechunked(told.partition(b"\r\n\r\n")[2])
        assert await dropped(caller) == 0


async def test_the_same_goes_for_what_no_claude_was_asked_for(shop):
    asked = request_bytes("GET", "/openapi.json")
    async with scripted_upstream() as claude, shop(claude) as (caller, outcomes):
        async with (
            nothing_left(caller, outcomes),
            narrow(caller.gateway.url, asked) as sock,
            asyncio.timeout(PATIENCE),
        ):
            streams = caller.gateway.services.streams
            await eventually(lambda: streams.held_bytes() > 0)
            await eventually(lambda: streams.held_bytes() == 0)
            with pytest.raises(ConnectionResetError):
                await to_the_end(sock)
        assert await dropped(caller) == 1


@asynccontextmanager
async def answering(size: int):
    """A server on its own that answers everything with so many bytes."""

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * size)

    settings = ServerSettings(send_buffer=4096, slow_client_timeout=0.6)
    app = web.Application()
    app.router.add_get("/", handler)
    runner = Runner(app, settings)
    with BoundSocket("127.0.0.1:0", "--listen", settings) as bound:
        await runner.setup()
        await bound.serve(runner)
        yield runner, f"http://{bound.address}"


async def test_what_was_said_before_the_server_ended_can_be_taken_after_it():
    asked = request_bytes("GET", "/")
    async with (
        answering(40_000) as (runner, url),
        narrow(url, asked) as slow,
        narrow(url, asked) as stalled,
        asyncio.timeout(PATIENCE),
    ):
        await eventually(lambda: unsent_bytes(runner.server._connections) > 50_000)
        await runner.cleanup()
        told = await to_the_end(slow, 2000, 0.03)
        assert len(told.partition(b"\r\n\r\n")[2]) == 40_000
        await eventually(lambda: not runner._left)
        with pytest.raises(ConnectionResetError):
            await to_the_end(stalled)
