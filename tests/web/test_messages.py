"""Claude's own routes: what is asked and what is answered go through as they came."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.support.gateway import configuration, serving
from tests.support.raw_client import connected, dechunked, parse_head
from tests.support.scripted_upstream import (
    BLOCK,
    END,
    HELLO,
    PING,
    START,
    answer,
    event,
    scripted_upstream,
    stream,
    text_delta,
)

MESSAGE = (
    b'{ "id":"msg_1","type":"message", "role":"assistant","model":"claude-sonnet-5-5","content":[{"type":"text",'
    b'"text":"Hello"}],"stop_reason":"end_turn","a_field_of_tomorrow": [1.0, 1e3],"usage":{"input_tokens":12,'
    b'"output_tokens":5} }  '
)
ASK = {"model": "claude-sonnet-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
STREAM = {**ASK, "stream": True}


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: serving(configuration(tmp_path, claude.url, **sections))


def post(caller, body: bytes, *headers: str, path: str = "/v1/messages") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "host: gateway", f"x-api-key: {caller.key}", "connection: close", *headers]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


@pytest.mark.parametrize("size", [1, 7, 0])
async def test_every_event_arrives_byte_for_byte_whatever_it_is(shop, size):
    odd = (
        b": a comment\n\n"
        + START
        + b'event: content_block_start\ndata:   {"type":"content_block_start",  "index": 0}   \n\n'
        + PING
        + b'event: an_event_of_tomorrow\nid: 7\ndata: {"type":"an_event_of_tomorrow"}\ndata: {"more":1}\n\n'
        + b"event: content_block_delta\r\ndata: "
        + b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"\\u0048\\ud83d"}}\r\n\r\n'
        + 'event: x\ndata: {"ü":"你好"}\n\n'.encode()
        + END
    )  # fmt: skip
    async with (
        scripted_upstream(stream(odd, size)) as claude,
        shop(claude) as caller,
        caller.post("/v1/messages", STREAM) as response,
    ):
        body = await response.read()
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store, no-transform"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert body == odd


async def test_the_request_goes_upstream_byte_for_byte_with_its_query(shop):
    body = b'{ "stream":true,"model":"claude-x" , "max_tokens":5,"messages":[],"system":[{"b":2,"a":1}],"new":1.0 }\n'
    path = "/v1/messages?beta=true&x=%2F%20y"
    async with (
        scripted_upstream() as claude,
        shop(claude) as caller,
        connected(caller.gateway.url, post(caller, body, path=path)) as raw,
    ):
        await raw.answer()
    (request,) = claude.requests
    assert request.line == f"POST {path} HTTP/1.1"
    assert request.body == body
    assert request.headers["content-length"] == str(len(body))
    assert request.headers["content-type"] == "application/json"


async def test_an_answer_that_is_no_stream_arrives_byte_for_byte(shop):
    async with (
        scripted_upstream(answer(200, MESSAGE)) as claude,
        shop(claude) as caller,
        caller.post("/v1/messages", ASK) as response,
    ):
        body = await response.read()
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/json"
    assert body == MESSAGE
    assert claude.requests[0].line == "POST /v1/messages HTTP/1.1"


async def test_an_answer_that_a_proxy_compressed_arrives_plain(shop):
    script = answer(200, gzip.compress(MESSAGE), b"content-type: application/json", b"content-encoding: gzip")
    async with (
        scripted_upstream(script) as claude,
        shop(claude) as caller,
        caller.post("/v1/messages", ASK) as response,
    ):
        assert await response.read() == MESSAGE
    assert "Content-Encoding" not in response.headers


async def test_a_large_answer_arrives_whole(shop):
    large = MESSAGE.replace(b"Hello", b"x" * 3_000_000)
    async with (
        scripted_upstream(answer(200, large)) as claude,
        shop(claude) as caller,
        caller.post("/v1/messages", ASK) as response,
    ):
        assert await response.read() == large


async def test_tokens_are_counted_by_claude_and_take_no_slot(shop):
    counted = b'{"input_tokens": 14}'
    plans = {"default": {"concurrent_streams": 1}}
    async with scripted_upstream(answer(200, counted)) as claude, shop(claude, plans=plans) as caller:
        body = {"model": "claude-sonnet-5-5", "messages": []}
        async with caller.post("/v1/messages/count_tokens?beta=true", body) as response:
            assert await response.read() == counted
    assert claude.requests[0].line == "POST /v1/messages/count_tokens?beta=true HTTP/1.1"
    assert json.loads(claude.requests[0].body) == body
    assert response.headers["RateLimit"] == '"tenant-concurrent-streams";r=1'


@pytest.mark.parametrize(
    "path",
    ["/v1/models", "/v1/models?limit=2&after_id=x", "/v1/models/claude-sonnet-5-5", "/v1/models/a.b:c@d-1"],
)
async def test_models_are_those_of_claude(shop, path):
    listed = b'{"data": [ {"type":"model","id":"claude-sonnet-5-5"} ], "has_more":false}'
    async with scripted_upstream(answer(200, listed)) as claude, shop(claude) as caller, caller.get(path) as response:
        assert await response.read() == listed
    assert response.status == 200
    assert claude.requests[0].line == f"GET {path} HTTP/1.1"
    assert claude.requests[0].body == b""


@pytest.mark.parametrize("name", ["..", "%2e%2e", "..%2Ffiles", "a%2Fb", "a/b", "", "%20", "-x"])
async def test_a_models_name_leads_nowhere_else(shop, name):
    async with scripted_upstream(answer(200, b"{}")) as claude, shop(claude) as caller:
        head = (
            f"GET /v1/models/{name} HTTP/1.1\r\nhost: gateway\r\nx-api-key: {caller.key}\r\nconnection: close\r\n\r\n"
        )
        async with connected(caller.gateway.url, head.encode()) as raw:
            status, _, _ = await raw.answer()
    assert status == 404
    assert not claude.requests


async def test_the_probe_of_the_root_is_answered_without_a_key(shop):
    async with (
        scripted_upstream() as claude,
        shop(claude) as caller,
        caller.session.head(caller.gateway.url + "/") as response,
    ):
        assert response.status == 200
    assert response.headers["X-Request-Id"]
    assert not claude.requests


async def test_an_http_1_0_client_gets_the_bytes_unframed(shop):
    async with scripted_upstream(stream(HELLO, 7)) as claude, shop(claude) as caller:
        request = post(caller, json.dumps(STREAM).encode()).replace(b"HTTP/1.1", b"HTTP/1.0")
        async with connected(caller.gateway.url, request) as raw:
            _, headers = parse_head(await raw.until(b"\r\n\r\n"))
            body = await raw.rest()
    assert "Transfer-Encoding" not in headers
    assert body == HELLO


async def test_a_truncated_stream_ends_in_an_error_event_of_claudes_shape(shop):
    cut = START + BLOCK + text_delta("Hel")
    async with (
        scripted_upstream(stream(cut + b"event: content_bl")) as claude,
        shop(claude) as caller,
        connected(caller.gateway.url, post(caller, json.dumps(STREAM).encode())) as raw,
    ):
        _, headers = parse_head(await raw.until(b"\r\n\r\n"))
        body = dechunked(await raw.rest())
    assert body.startswith(cut + b"event: error\ndata: ")
    error = json.loads(body.removeprefix(cut + b"event: error\ndata: "))
    assert error["type"] == "error"
    assert error["error"]["type"] == "api_error"
    assert error["request_id"] == headers["X-Request-Id"]
    assert body.endswith(b"\n\n")


async def test_a_cut_where_only_a_blank_line_is_missing_keeps_the_events_apart(shop):
    cut = START + BLOCK + text_delta("Hel")
    async with (
        scripted_upstream(stream(cut[:-2])) as claude,
        shop(claude) as caller,
        caller.post("/v1/messages", STREAM) as response,
    ):
        body = await response.read()
    assert body.startswith(cut[:-2] + b"\n\nevent: error\ndata: ")


async def test_an_error_event_arrives_as_it_came_and_ends_the_stream(shop):
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Over"},  "request_id":"req_x"}\n\n'
    body = START + BLOCK + text_delta("Hel") + error
    async with (
        scripted_upstream(stream(body)) as claude,
        shop(claude) as caller,
        caller.post("/v1/messages", STREAM) as response,
    ):
        assert await response.read() == body


async def test_an_error_event_before_any_other_is_tried_again_and_then_arrives_as_it_came(shop):
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Over"}}\n\n'
    async with (
        scripted_upstream(stream(error)) as claude,
        shop(claude, upstream={"retries": 1}) as caller,
        caller.post("/v1/messages", STREAM) as response,
    ):
        assert await response.read() == error
    assert len(claude.requests) == 2


async def test_an_error_event_about_our_key_does_not_arrive(shop):
    error = event("error", ',"error":{"type":"authentication_error","message":"invalid sk-ant-secret"}')
    async with (
        scripted_upstream(stream(START + error)) as claude,
        shop(claude) as caller,
        caller.post("/v1/messages", STREAM) as response,
    ):
        body = await response.read()
    assert body.startswith(START + b"event: error\ndata: ")
    assert b"sk-ant" not in body
    assert json.loads(body.removeprefix(START + b"event: error\ndata: "))["error"]["type"] == "api_error"


async def test_the_clients_own_length_of_an_answer_does_not_end_it(tmp_path):
    """The chat route's minute is its clients' patience; SDKs wait ten."""
    assert configuration(tmp_path, "http://127.0.0.1:1").upstream.total_timeout == 600
