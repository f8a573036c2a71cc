"""Bodies: read whole or refused, and the memory for them is always given back."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib

import pytest

from gateway.core.errors import Overloaded
from gateway.web.body import BodyBudget
from tests.support.gateway import configuration
from tests.support.observed import eventually, observed
from tests.support.raw_client import connected, request_bytes
from tests.support.scripted_upstream import BLOCK, END, SSE_HEAD, START, scripted_upstream, text_delta

CHAT = "/api/chat/stream"
BODY = json.dumps({"message": "hi", "system": "x" * 5_000}).encode()
CHUNKED = ("Content-Type: application/json", "Transfer-Encoding: chunked")


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: observed(configuration(tmp_path, claude.url, **sections))


def _head(caller, *headers: str) -> bytes:
    return request_bytes("POST", CHAT, f"x-api-key: {caller.key}", *headers)


def test_room_that_is_not_there_is_not_taken():
    budget = BodyBudget(10)
    budget.take(8)
    with pytest.raises(Overloaded):
        budget.take(3)
    assert budget.used == 8
    budget.give_back(8)
    budget.take(10)


async def test_all_bodies_together_are_bounded_and_the_room_comes_back(shop):
    """One large request that runs leaves no room for another; when it has ended there is room again."""
    finish = asyncio.Event()

    async def slow(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("Hel"))
        await finish.wait()
        await peer.chunk(END)
        await peer.end()

    async with scripted_upstream(slow) as claude, shop(claude, server={"max_bodies": 8_000}) as (caller, outcomes):
        budget = caller.gateway.services.bodies
        async with caller.post(CHAT, BODY) as running:
            assert budget.used == len(BODY)
            async with caller.post(CHAT, BODY) as refused:
                assert refused.status == 503
                assert refused.headers["Retry-After"] == "1"
                assert (await refused.json())["code"] == "overloaded"
            finish.set()
            await running.read()
        await outcomes.reach(2)
        assert budget.used == 0
        async with caller.post(CHAT, BODY) as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"5\r\nhello\r\nzz\r\n", 400, "invalid_request"),
        (b"5\r\nhelloXX5\r\n", 400, "invalid_request"),
        (b"2710\r\n" + b"x" * 10_000 + b"\r\n0\r\n\r\n", 413, "request_too_large"),
    ],
)
async def test_a_broken_or_large_chunked_body_is_refused_and_leaves_nothing(shop, sent, status, code):
    async with scripted_upstream() as claude, shop(claude, server={"max_body": 9_000}) as (caller, outcomes):
        async with connected(caller.gateway.url, _head(caller, *CHUNKED)) as raw:
            await eventually(lambda: len(caller.gateway.services.streams) == 1)
            await raw.send(sent)
            answered, _, body = await raw.answer()
        assert (answered, json.loads(body)["code"]) == (status, code)
        outcome = await outcomes.only()
        assert (outcome.kind, outcome.error_origin, outcome.status) == ("refused", "client", status)
        assert caller.gateway.services.bodies.used == 0
        assert len(caller.gateway.services.streams) == 0
        assert not claude.requests


async def test_a_length_over_the_limit_is_refused_before_the_body_comes(shop):
    async with (
        scripted_upstream() as claude,
        shop(claude, server={"max_body": 9_000}) as (caller, _),
        connected(caller.gateway.url, _head(caller, "Content-Length: 9001")) as raw,
    ):
        status, _, body = await raw.answer()
    assert status == 413
    assert "9000 bytes" in json.loads(body)["error"]


async def test_a_body_that_trickles_is_a_408_when_its_time_is_over(shop):
    """However steadily it comes: a byte now and then must not keep a place for ever."""
    async with scripted_upstream() as claude, shop(claude, server={"body_timeout": "300ms"}) as (caller, outcomes):
        async with connected(caller.gateway.url, _head(caller, "Content-Length: 100000")) as raw:
            answered = asyncio.get_running_loop().create_task(raw.answer())
            while not answered.done():
                raw.writer.write(b"x")
                await asyncio.wait({answered}, timeout=0.01)
            status, _, body = answered.result()
        assert status == 408
        assert json.loads(body)["code"] == "request_timeout"
        assert (await outcomes.only()).error_code == "request_timeout"
        assert caller.gateway.services.bodies.used == 0


@pytest.mark.parametrize("leave", ["reset", "half_close"])
async def test_a_client_that_goes_during_its_body_leaves_nothing_behind(shop, leave):
    async with scripted_upstream() as claude, shop(claude) as (caller, outcomes):
        services = caller.gateway.services
        async with connected(caller.gateway.url, _head(caller, "Content-Length: 100000") + b'{"message') as raw:
            await eventually(lambda: services.bodies.used == 100_000)
            assert len(services.streams) == 1
            getattr(raw, leave)()
            outcome = await outcomes.only()
        assert services.bodies.used == 0
        assert len(services.streams) == 0
        assert not services.streams.holds
        assert not claude.requests
    assert (outcome.kind, outcome.phase, outcome.status) == ("disconnected", "upstream_wait", 499)
    assert outcome.tenant == "acme"


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_compressed_body_is_taken(shop, name, pack):
    async with (
        scripted_upstream() as claude,
        shop(claude) as (caller, _),
        caller.post(CHAT, pack(BODY), **{"Content-Encoding": name}) as response,
    ):
        assert response.status == 200
    assert json.loads(claude.requests[0].body)["system"] == "x" * 5_000


async def test_a_body_that_unpacks_to_more_than_the_limit_is_a_413(shop):
    bomb = gzip.compress(b" " * 20_000_000)
    async with scripted_upstream() as claude, shop(claude, server={"max_body": "1MiB"}) as (caller, outcomes):
        async with caller.post(CHAT, bomb, **{"Content-Encoding": "gzip"}) as response:
            assert response.status == 413
        await outcomes.only()
        assert caller.gateway.services.bodies.used == 0


async def test_a_body_that_is_not_what_its_encoding_says_is_a_400(shop):
    async with scripted_upstream() as claude, shop(claude) as (caller, outcomes):
        async with caller.post(CHAT, BODY, **{"Content-Encoding": "gzip"}) as response:
            assert response.status == 400
            assert "broken encoding" in (await response.json())["error"]
        assert (await outcomes.only()).error_origin == "client"


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
async def test_an_encoding_that_is_not_taken_is_a_415_in_the_words_of_the_route(shop, encoding):
    async with (
        scripted_upstream() as claude,
        shop(claude) as (caller, _),
        caller.post("/v1/messages", b"packed", **{"Content-Encoding": encoding}) as response,
    ):
        assert response.status == 415
        assert (await response.json())["error"]["type"] == "invalid_request_error"


async def test_a_body_that_says_twice_how_it_is_packed_is_not_taken(shop):
    """Who stands before us may go by the other one."""
    async with scripted_upstream() as claude, shop(claude) as (caller, _):
        ask = request_bytes(
            "POST", CHAT, f"x-api-key: {caller.key}", "Content-Encoding: identity", "Content-Encoding: gzip", body=BODY
        )
        async with connected(caller.gateway.url, ask) as connection:
            assert (await connection.answer())[0] == 415


async def test_a_packed_body_that_is_cut_short_is_a_400_that_says_so(shop):
    async with (
        scripted_upstream() as claude,
        shop(claude) as (caller, _),
        caller.post(CHAT, gzip.compress(BODY)[:-9], **{"Content-Encoding": "gzip"}) as response,
    ):
        assert response.status == 400
        assert "incomplete" in (await response.json())["error"]
