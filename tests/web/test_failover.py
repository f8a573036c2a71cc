"""What clients see when Claude fails and another upstream is there, or none, and what is left behind each time."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from gateway.upstream.settings import UpstreamSettings
from tests.support.frames import frames, joined
from tests.support.gateway import configuration
from tests.support.observed import eventually, observed
from tests.support.raw_client import connected, request_bytes
from tests.support.scripted_upstream import (
    BLOCK,
    HELLO,
    PING,
    SSE_HEAD,
    START,
    answer,
    event,
    scripted_upstream,
    stream,
    text_delta,
)
from tests.support.upstreams import refusing_port

CHAT, MESSAGES = "/api/chat/stream", "/v1/messages"
ASK = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], "stream": True}
OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
LIMITED = b'{"type":"error","error":{"type":"rate_limit_error","message":"of the account"},"request_id":"req_claude"}'
NO_CREDIT = b'{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}'
NO_KEY = b'{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}'
JSON = b"content-type: application/json"


async def silence(peer):
    await peer.closed()


async def silence_after_the_head(peer):
    await peer.send(SSE_HEAD)
    await peer.closed()


def dripping(beginning: bytes, again: bytes):
    """Begin a stream, and then send the same again every few milliseconds until the gateway has enough of it."""

    async def script(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(beginning)
        while not peer.reader.at_eof():
            await peer.chunk(again)
            await asyncio.sleep(0.02)

    return script


HANGS = [
    pytest.param(silence, id="before headers"),
    pytest.param(silence_after_the_head, id="after headers"),
    pytest.param(dripping(PING, PING), id="nothing but pings"),
    pytest.param(dripping(PING, b": working\n\n"), id="nothing but comments"),
    pytest.param(dripping(b"event: ", b"x"), id="a byte at a time"),
]
LATER = {"chat_timeout": 5, "total_timeout": 5}
FIRST_EVENT = {"first_event_timeout": 0.2, "chat_first_event_timeout": 0.2, **LATER}


async def cut_before_the_first_event(peer):
    await peer.send(SSE_HEAD)
    await peer.chunk(b"event: message_st")
    peer.writer.close()


async def cut_after_the_first_token(peer):
    await peer.send(SSE_HEAD)
    await peer.chunk(START + BLOCK + text_delta("Hel"))
    peer.reset()


def refusing() -> str:
    return f"http://127.0.0.1:{refusing_port()}"


@pytest.fixture
def shop(tmp_path):
    @asynccontextmanager
    async def serve(*urls: str, **sections):
        config = configuration(tmp_path, urls[0], **sections)
        upstreams = tuple(
            UpstreamSettings(name=name, base_url=url, api_key=f"sk-ant-of-{name}")
            for name, url in zip(("first", "second"), urls, strict=False)
        )
        async with observed(config.model_copy(update={"upstreams": upstreams})) as (caller, outcomes):
            yield caller, outcomes
            services = caller.gateway.services
            await eventually(lambda: len(services.streams) == 0)
            assert services.holds.held == 0
            assert not services.streams.running
            await eventually(lambda: not any(upstream.pool.busy for upstream in services.upstreams))

    return serve


async def chat(caller) -> list[dict]:
    async with caller.post(CHAT, {"message": "hi"}) as response:
        assert response.status == 200
        return frames(await response.read())


async def status(caller, path: str = CHAT) -> tuple[int, dict, str | None]:
    async with caller.post(path, ASK if path == MESSAGES else {"message": "hi"}) as response:
        return response.status, json.loads(await response.read()), response.headers.get("Retry-After")


async def metric(caller, start: str) -> list[str]:
    async with caller.session.get(f"{caller.gateway.ops_url}/metrics") as response:
        return [line for line in (await response.text()).splitlines() if line.startswith(f"tokenweir_upstream_{start}")]


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param(silence, "upstream_timeout", id="hangs before headers"),
        pytest.param(answer(429, LIMITED, JSON, b"retry-after: 60"), "upstream_rate_limit_error", id="429"),
        pytest.param(answer(429, LIMITED), "upstream_rate_limit_error", id="429 without retry-after"),
        pytest.param(answer(529, OVERLOADED, JSON, b"retry-after: 60"), "upstream_overloaded_error", id="529"),
        pytest.param(answer(529, OVERLOADED), "upstream_overloaded_error", id="529 without retry-after"),
        pytest.param(answer(500, b"<html>"), "upstream_api_error", id="500"),
        pytest.param(answer(401, NO_KEY), "upstream_authentication_error", id="401"),
        pytest.param(answer(400, NO_CREDIT), "upstream_credential", id="no credit"),
        pytest.param(answer(200, b"<html>", b"content-type: text/html"), "upstream_malformed", id="no stream"),
        pytest.param(answer(204, b""), "upstream_malformed", id="no content"),
        pytest.param(stream(event("error", f',"error":{OVERLOADED.decode()}')), "upstream_api_error", id="error event"),
        pytest.param(cut_before_the_first_event, "upstream_truncated", id="cut before the first event"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_the_clients_first_token_comes_from_the_next_upstream(shop, script, code, path):
    async with (
        scripted_upstream(script) as first,
        scripted_upstream() as second,
        shop(first.url, second.url, upstream=FIRST_EVENT) as (caller, outcomes),
    ):
        async with caller.post(path, ASK if path == MESSAGES else {"message": "hi"}) as response:
            assert response.status == 200
            body = await response.read()
        assert body == HELLO if path == MESSAGES else joined(frames(body)) == "Hello"
        outcome = await outcomes.only()
        assert (outcome.kind, outcome.upstream, outcome.attempts) == ("done", "second", 2)
        assert (len(first.requests), len(second.requests)) == (1, 1)
        assert second.requests[0].headers["x-api-key"] == "sk-ant-of-second"
        assert second.requests[0].body == first.requests[0].body
        assert await metric(caller, "failovers_total{") == [
            f'tokenweir_upstream_failovers_total{{code="{code}",upstream="first"}} 1.0'
        ]
        assert await metric(caller, "retries_total{") == []


@pytest.mark.parametrize("hang", HANGS)
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_the_clients_stream_is_whole_when_the_first_upstream_never_begins_one(shop, hang, path):
    settings = {**FIRST_EVENT, "breaker_failures": 1}
    async with (
        scripted_upstream(hang) as first,
        scripted_upstream() as second,
        shop(first.url, second.url, upstream=settings) as (caller, outcomes),
    ):
        for _ in range(2):
            async with caller.post(path, ASK if path == MESSAGES else {"message": "hi"}) as response:
                assert response.status == 200
                body = await response.read()
            if path == MESSAGES:  # pings and comments are forwarded, whoever sends them
                assert body.replace(PING, b"").replace(b": working\n\n", b"") == HELLO.replace(PING, b"")
                assert body.endswith(HELLO)
            else:
                assert joined(frames(body)) == "Hello"
                assert [frame["type"] for frame in frames(body)] == ["text", "text", "done"]
        told = [(outcome.kind, outcome.upstream, outcome.attempts) for outcome in await outcomes.reach(2)]
        assert told == [("done", "second", 2), ("done", "second", 1)]  # the breaker knows after one
        assert await metric(caller, "failovers_total{") == [
            'tokenweir_upstream_failovers_total{code="upstream_timeout",upstream="first"} 1.0',
            'tokenweir_upstream_failovers_total{code="breaker_open",upstream="first"} 1.0',
        ]
        await eventually(lambda: first.open == 0)


@pytest.mark.parametrize("hang", HANGS)
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_without_another_upstream_the_client_is_told_and_the_breaker_knows(shop, hang, path):
    settings = {**FIRST_EVENT, "breaker_failures": 1, "retries": 0}
    async with scripted_upstream(hang) as claude, shop(claude.url, upstream=settings) as (caller, outcomes):
        async with caller.post(path, ASK if path == MESSAGES else {"message": "hi"}) as response:
            assert response.status == (504 if hang is silence else 200)
            said = await response.read()
        assert b"Claude did not begin an answer in time." in said
        assert b"error" in said
        assert (await status(caller, path))[0] == 503
        assert [outcome.error_code for outcome in await outcomes.reach(2)] == [
            "upstream_timeout",
            "upstream_unavailable",
        ]
        assert len(claude.requests) == 1
        await eventually(lambda: claude.open == 0)


@pytest.mark.parametrize("hang", HANGS)
async def test_a_hang_is_tried_again_as_often_as_any_other_failure(shop, hang):
    settings = {**FIRST_EVENT, "retries": 1}
    async with (
        scripted_upstream(hang, stream(HELLO)) as claude,
        shop(claude.url, upstream=settings) as (caller, outcomes),
    ):
        assert joined(await chat(caller)) == "Hello"
        assert (await outcomes.only()).attempts == len(claude.requests) == 2


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_an_answer_that_comes_byte_by_byte_ends_when_an_event_takes_too_long(shop, path):
    begun = dripping(START + BLOCK + text_delta("Hel") + b"data: ", b"x")
    async with (
        scripted_upstream(begun) as first,
        scripted_upstream() as second,
        shop(first.url, second.url, upstream={"idle_timeout": 0.2, "breaker_failures": 1, **LATER}) as (
            caller,
            outcomes,
        ),
    ):
        for count in (1, 2):
            async with caller.post(path, ASK if path == MESSAGES else {"message": "hi"}) as response:
                said = await response.read()
            assert b"Hel" in said
            assert b"Claude went silent in the middle of the answer." in said
            assert (await outcomes.reach(count))[-1].error_code == "upstream_timeout"
        assert (len(first.requests), len(second.requests)) == (2, 0)  # what came counts for it


async def test_an_answer_that_has_begun_is_not_hurried(shop):
    async def thinks(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(START)
        for _ in range(20):
            await peer.chunk(PING)
            await asyncio.sleep(0.02)
        await peer.chunk(HELLO.removeprefix(START))
        await peer.end()

    async with scripted_upstream(thinks) as claude, shop(claude.url, upstream=FIRST_EVENT) as (caller, outcomes):
        assert joined(await chat(caller)) == "Hello"
        assert (await outcomes.only()).attempts == 1


async def test_the_chat_route_has_its_own_time_for_a_first_event(shop):
    settings = {"first_event_timeout": 60, "chat_first_event_timeout": 0.2, "retries": 0}
    async with (
        scripted_upstream(silence) as claude,
        scripted_upstream() as second,
        shop(claude.url, second.url, upstream=settings) as (caller, _),
    ):
        assert joined(await chat(caller)) == "Hello"
    settings = {"first_event_timeout": 0.2, "chat_first_event_timeout": 60, "retries": 0}
    async with scripted_upstream(silence) as claude, shop(claude.url, upstream=settings) as (caller, _):
        assert (await status(caller, MESSAGES))[1]["error"]["type"] == "timeout_error"


async def test_where_nobody_else_could_answer_a_client_of_the_chat_route_waits(shop):
    settings = {"chat_first_event_timeout": 0.05, "chat_timeout": 0.3}
    async with scripted_upstream(silence) as claude, shop(claude.url, upstream=settings) as (caller, outcomes):
        assert (await status(caller))[0] == 504
        assert (await outcomes.only()).error_code == "deadline_exceeded"


@pytest.mark.parametrize("url", [refusing, lambda: "http://does-not-exist.invalid"])
async def test_an_upstream_that_cannot_be_reached_costs_the_client_nothing(shop, url):
    async with scripted_upstream() as second, shop(url(), second.url) as (caller, outcomes):
        assert joined(await chat(caller)) == "Hello"
        assert (await outcomes.only()).upstream == "second"


async def test_a_client_that_was_given_its_200_still_gets_the_next_upstreams_tokens(shop):
    """Heartbeats are no event."""
    go_on = asyncio.Event()

    async def late(peer):
        await go_on.wait()
        await answer(529, OVERLOADED)(peer)

    async with (
        scripted_upstream(late) as first,
        scripted_upstream() as second,
        shop(first.url, second.url, server={"commit_after": 0}) as (caller, _),
        caller.post(CHAT, {"message": "hi"}) as response,
    ):
        assert response.status == 200
        assert await response.content.readexactly(3) == b":\n\n"
        go_on.set()
        assert joined(frames(b":\n\n" + await response.read())) == "Hello"


async def test_after_the_first_token_nobody_else_is_asked(shop):
    async with (
        scripted_upstream(cut_after_the_first_token) as first,
        scripted_upstream() as second,
        shop(first.url, second.url) as (caller, outcomes),
    ):
        read = await chat(caller)
        assert [frame["type"] for frame in read] == ["text", "error"]
        assert len(second.requests) == 0
        assert (await outcomes.only()).error_code == "upstream_truncated"


@pytest.mark.parametrize(("path", "kind"), [(CHAT, "upstream_unavailable"), (MESSAGES, "overloaded_error")])
async def test_when_all_are_down_clients_are_told_and_soon_told_at_once(shop, path, kind):
    settings = {"retries": 1, "breaker_failures": 2, "breaker_cooldown": 30}
    async with shop(refusing(), refusing(), upstream=settings) as (caller, outcomes):
        for _ in range(2):
            assert (await status(caller, path))[0] == 502
        got, body, after = await status(caller, path)
        assert got == 503
        assert body.get("code") == kind or body["error"]["type"] == kind
        assert 25 <= int(after) <= 30
        refused, _, told = await outcomes.reach(3)
        assert (refused.kind, refused.attempts, refused.error_code) == ("error", 4, "upstream_unreachable")
        assert (told.kind, told.attempts, told.error_code) == ("error", 0, "upstream_unavailable")
        assert told.error_origin == "upstream"
        assert await metric(caller, "breaker_state{") == [
            'tokenweir_upstream_breaker_state{upstream="first"} 2.0',
            'tokenweir_upstream_breaker_state{upstream="second"} 2.0',
        ]
        async with caller.session.get(f"{caller.gateway.ops_url}/readyz") as response:
            assert response.status == 200  # this replica is as good as any other


async def test_an_upstream_that_is_back_is_found_by_one_request(shop):
    settings = {"retries": 0, "breaker_failures": 1, "breaker_cooldown": 0}
    script = answer(500, b"{}")
    async with scripted_upstream(script, stream(HELLO)) as claude, shop(claude.url, upstream=settings) as (caller, _):
        assert (await status(caller))[0] == 500
        assert joined(await chat(caller)) == "Hello"
        assert await metric(caller, "breaker_transitions_total{") == [
            'tokenweir_upstream_breaker_transitions_total{state="closed",upstream="first"} 1.0',
            'tokenweir_upstream_breaker_transitions_total{state="open",upstream="first"} 1.0',
            'tokenweir_upstream_breaker_transitions_total{state="half_open",upstream="first"} 1.0',
        ]


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_streams_that_break_off_after_their_first_event_say_nothing_of_the_next_one(shop, path):
    async with (
        scripted_upstream(cut_after_the_first_token) as claude,
        shop(claude.url, upstream={"breaker_failures": 1}) as (caller, _),
    ):
        for _ in range(3):
            async with caller.post(path, ASK if path == MESSAGES else {"message": "hi"}) as response:
                assert response.status == 200
                await response.read()
        assert len(claude.requests) == 3


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_streams_without_an_event_open_the_breaker(shop, path):
    settings = {"breaker_failures": 2, "retries": 0}
    async with (
        scripted_upstream(cut_before_the_first_event) as claude,
        shop(claude.url, upstream=settings) as (caller, _),
    ):
        for _ in range(2):
            async with caller.post(path, ASK if path == MESSAGES else {"message": "hi"}) as response:
                assert response.status == 200
                assert b"error" in await response.read()
        assert (await status(caller, path))[0] == 503
        assert len(claude.requests) == 2


async def test_whole_answers_that_break_off_open_the_breaker_too(shop):
    async def half(peer):
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{")
        peer.writer.close()

    settings = {"retries": 0, "breaker_failures": 1}
    async with scripted_upstream(half) as claude, shop(claude.url, upstream=settings) as (caller, _):
        for expected in (502, 503):
            async with caller.post(MESSAGES, {**ASK, "stream": False}) as response:
                assert response.status == expected
        assert len(claude.requests) == 1


async def test_streams_that_end_well_keep_it_closed(shop):
    broken, good = cut_before_the_first_event, stream(HELLO)
    async with (
        scripted_upstream(broken, good, broken, good, broken, good) as claude,
        shop(claude.url, upstream={"breaker_failures": 2, "retries": 0}) as (caller, _),
    ):
        for _ in range(3):
            assert [frame["type"] for frame in await chat(caller)] == ["error"]
            assert joined(await chat(caller)) == "Hello"
        assert len(claude.requests) == 6


@pytest.mark.parametrize("hang", HANGS)
async def test_silence_until_the_chat_routes_own_deadline_opens_it(shop, hang):
    settings = {"chat_timeout": 0.2, "chat_first_event_timeout": 60, "breaker_failures": 1}
    async with scripted_upstream(hang) as claude, shop(claude.url, upstream=settings) as (caller, outcomes):
        async with caller.post(CHAT, {"message": "hi"}) as response:
            assert response.status == (504 if hang is silence else 200)
            await response.read()
        assert (await status(caller))[1]["code"] == "upstream_unavailable"
        assert [outcome.error_code for outcome in outcomes.all] == ["deadline_exceeded", "upstream_unavailable"]


async def test_clients_that_leave_open_nothing_and_keep_no_place_in_it(shop):
    """Half open, the place of one that left is the next one's."""
    settings = {"retries": 0, "breaker_failures": 1, "breaker_cooldown": 0}
    scripts = answer(500, b"{}", b"connection: close"), silence, silence, stream(HELLO)
    async with scripted_upstream(*scripts) as claude, shop(claude.url, upstream=settings) as (caller, outcomes):
        assert (await status(caller))[0] == 500
        for count in (2, 3):
            ask = request_bytes("POST", CHAT, f"x-api-key: {caller.key}", body=b'{"message":"hi"}')
            async with connected(caller.gateway.url, ask):
                await eventually(lambda count=count: len(claude.requests) == count)
            await outcomes.reach(count)
        assert joined(await chat(caller)) == "Hello"
        assert [outcome.kind for outcome in outcomes.all] == ["error", "disconnected", "disconnected", "done"]


async def test_a_429_with_a_time_is_passed_on_and_the_next_request_is_claudes_to_judge(shop):
    limited = answer(429, LIMITED, JSON, b"retry-after: 300")
    async with scripted_upstream(limited, limited, stream(HELLO)) as claude, shop(claude.url) as (caller, outcomes):
        got, body, after = await status(caller, MESSAGES)
        assert (got, body["error"]["message"], after) == (429, "of the account", "300")
        got, body, _ = await status(caller)
        assert (got, body["code"], body["retryAfter"]) == (429, "rate_limited", 300)
        for outcome in await outcomes.reach(2):
            assert (outcome.error_code, outcome.error_origin) == ("upstream_rate_limit_error", "upstream")
        assert joined(await chat(caller)) == "Hello"
        for line in await metric(caller, "throttled_until_timestamp_seconds{"):
            assert float(line.split()[1]) > 1_600_000_000


async def test_what_a_failed_attempt_brought_does_not_wait_for_the_next_one(shop):
    """On Claude's own route its pings are passed on, though no answer began with them."""
    async with (
        scripted_upstream(answer(200, event("ping"), b"content-type: text/event-stream")) as first,
        scripted_upstream(silence) as second,
        shop(first.url, second.url, server={"heartbeat": 3600}) as (caller, _),
        asyncio.timeout(30),
        caller.post(MESSAGES, ASK) as response,
    ):
        assert response.status == 200
        assert await response.content.readuntil(b"\n\n") == event("ping")
        response.close()
