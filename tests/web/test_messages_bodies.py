"""Bodies of requests to Claude's own routes: up to Claude's 32 MiB, plain or compressed, and not a byte more."""

from __future__ import annotations

import gzip
import json
from io import BytesIO

import pytest

from tests.support.gateway import configuration, serving
from tests.support.raw_client import connected
from tests.support.scripted_upstream import answer, scripted_upstream

PATH = "/v1/messages"
ASK = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
MESSAGE = b'{"type":"message","content":[]}'


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: serving(configuration(tmp_path, claude.url, **sections))


def post(caller, body: bytes, *headers: str) -> bytes:
    lines = [f"POST {PATH} HTTP/1.1", "host: gateway", f"x-api-key: {caller.key}", "connection: close", *headers]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_over_the_limit_is_a_413(shop, chunked):
    async def pieces():
        for _ in range(33):
            yield b" " * 2**20

    async with scripted_upstream() as claude, shop(claude) as caller:
        data = pieces() if chunked else BytesIO(b" " * (32 * 2**20 + 1))
        async with caller.session.post(caller.gateway.url + PATH, data=data, headers=caller.headers) as response:
            told = await response.json()
    assert response.status == 413
    assert told["error"]["type"] == "request_too_large"
    assert str(32 * 2**20) in told["error"]["message"]
    assert not claude.requests


async def test_a_body_over_the_limit_is_refused_before_it_is_sent(shop):
    async with scripted_upstream() as claude, shop(claude) as caller:
        head = f"POST {PATH} HTTP/1.1\r\nhost: g\r\nx-api-key: {caller.key}\r\ncontent-length: {2**40}\r\n\r\n"
        async with connected(caller.gateway.url, head.encode()) as raw:
            status, _, _ = await raw.answer()
    assert status == 413


async def test_a_body_of_32_mib_is_taken(shop):
    body = json.dumps({**ASK, "system": ""}).encode()
    body = body.replace(b'"system": ""', b'"system": "%b"' % (b"x" * (32 * 2**20 - len(body))))
    assert len(body) == 32 * 2**20
    async with scripted_upstream(answer(200, b'{"type":"message"}')) as claude, shop(claude) as caller:
        async with caller.session.post(
            caller.gateway.url + PATH, data=BytesIO(body), headers=caller.headers
        ) as response:
            assert response.status == 200
        assert claude.requests[0].body == body
        assert caller.gateway.services.bodies.used == 0


async def test_a_small_body_that_unpacks_to_a_large_one_is_a_413(shop):
    bomb = gzip.compress(b" " * (40 * 2**20))
    async with (
        scripted_upstream() as claude,
        shop(claude) as caller,
        caller.post(PATH, bomb, **{"content-encoding": "gzip"}) as response,
    ):
        told = await response.json()
    assert response.status == 413
    assert told["error"]["type"] == "request_too_large"


async def test_a_compressed_request_is_read_and_sent_on_plain(shop):
    body = json.dumps(ASK).encode()
    packed = gzip.compress(body)
    async with (
        scripted_upstream(answer(200, MESSAGE)) as claude,
        shop(claude) as caller,
        caller.post("/v1/messages", packed, **{"Content-Encoding": "gzip"}) as response,
    ):
        assert response.status == 200
    assert claude.requests[0].body == body
    assert "content-encoding" not in claude.requests[0].headers


@pytest.mark.parametrize(
    "packed", [b"no gzip", gzip.compress(json.dumps(ASK).encode())[:-12]], ids=["no gzip", "cut off"]
)
async def test_a_request_that_is_compressed_and_damaged_is_a_400(shop, packed):
    async with (
        scripted_upstream() as claude,
        shop(claude) as caller,
        connected(caller.gateway.url, post(caller, packed, "content-encoding: gzip")) as raw,
    ):
        status, _, body = await raw.answer()
    assert status == 400
    assert b"secret" not in body
    assert not claude.requests
