"""Answers that are sent whole, and what can happen to any answer before its client has been given a status."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from gateway.core.errors import AccessCut
from gateway.upstream.settings import UpstreamSettings
from tests.support.gateway import configuration, serving
from tests.support.observed import eventually, observed
from tests.support.scripted_upstream import answer, scripted_upstream

CHAT = ("/api/chat/stream", {"message": "Hi", "stream": False})
CHAT_STREAM = ("/api/chat/stream", {"message": "Hi"})
MESSAGES = ("/v1/messages", {"model": "m", "max_tokens": 5, "messages": []})
MESSAGES_STREAM = ("/v1/messages", {"model": "m", "max_tokens": 5, "messages": [], "stream": True})
ALL = [CHAT, CHAT_STREAM, MESSAGES, MESSAGES_STREAM]
BEGUN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{"


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: serving(configuration(tmp_path, claude.url, **sections))


async def mute(peer):
    await peer.closed()


async def begun(peer):
    await peer.send(BEGUN)
    await peer.closed()


def code_of(told: dict) -> str:
    return told["code"] if "code" in told else told["error"]["type"]


@pytest.mark.parametrize(("ask", "code"), [(CHAT, "upstream_timeout"), (MESSAGES, "timeout_error")])
async def test_an_answer_that_stalls_in_its_middle_is_a_504(shop, ask, code):
    async with (
        scripted_upstream(begun) as claude,
        shop(claude, upstream={"idle_timeout": "50ms"}) as caller,
        caller.post(*ask) as response,
    ):
        assert code_of(await response.json()) == code
        async with asyncio.timeout(10):
            await claude.all_closed.wait()
    assert response.status == 504


@pytest.mark.parametrize(("ask", "code"), [(CHAT, "upstream_truncated"), (MESSAGES, "api_error")])
async def test_an_answer_that_is_cut_is_a_502(shop, ask, code):
    async def cut(peer):
        await peer.send(BEGUN)
        peer.writer.close()

    async with scripted_upstream(cut) as claude, shop(claude) as caller, caller.post(*ask) as response:
        assert code_of(await response.json()) == code
    assert response.status == 502


@pytest.mark.parametrize(("ask", "code"), [(CHAT, "upstream_malformed"), (MESSAGES, "api_error")])
async def test_an_answer_over_the_limit_is_a_502(shop, ask, code):
    async with (
        scripted_upstream(answer(200, b" " * 2000)) as claude,
        shop(claude, upstream={"max_answer": 1000}) as caller,
        caller.post(*ask) as response,
    ):
        assert code_of(await response.json()) == code
    assert response.status == 502


@pytest.mark.parametrize("ask", ALL)
async def test_the_deadline_of_the_whole_answer_is_a_504_before_the_commit(shop, ask):
    limits = {"chat_timeout": "1s", "total_timeout": "1s"}
    async with (
        scripted_upstream(mute) as claude,
        shop(claude, upstream=limits) as caller,
        caller.post(*ask) as response,
    ):
        assert code_of(await response.json()) in {"deadline_exceeded", "timeout_error"}
        async with asyncio.timeout(10):
            await claude.all_closed.wait()
    assert response.status == 504


@pytest.mark.parametrize("ask", ALL)
async def test_access_that_ends_before_the_commit_is_a_403(shop, ask):
    asked = asyncio.Event()

    async def script(peer):
        asked.set()
        await peer.closed()

    async def cut(caller):
        await asked.wait()
        assert caller.gateway.services.streams.cut(AccessCut("Access was ended.")) == 1

    async with scripted_upstream(script) as claude, shop(claude) as caller, asyncio.timeout(20):
        async with asyncio.TaskGroup() as group:
            group.create_task(cut(caller))
            async with caller.post(*ask) as response:
                assert code_of(await response.json()) in {"access_cut", "permission_error"}
        await claude.all_closed.wait()
    assert response.status == 403


@pytest.mark.parametrize("ask", [CHAT, MESSAGES])
async def test_a_connection_that_was_closed_while_idle_is_replaced_unseen(shop, ask):
    """Claude may close a connection between two answers; the request on it was never read, and is sent again."""
    body = b'{"type":"message","content":[],"model":"m","usage":{"input_tokens":1,"output_tokens":1}}'
    first = answer(200, body)

    async def hang_up(peer):
        peer.writer.close()

    async with (
        scripted_upstream(first, hang_up, first) as claude,
        shop(claude, upstream={"retries": 0}) as caller,
    ):
        for _ in range(2):
            async with caller.post(*ask) as response:
                assert response.status == 200
    assert claude.connections == 2
    assert len(claude.requests) == 3


# What is no answer is none, and another may follow: nothing of it has reached the client.

MESSAGE = b'{"type":"message","content":[],"model":"m","usage":{"input_tokens":1,"output_tokens":1}}'
COUNT = ("/v1/messages/count_tokens", {"model": "m", "messages": []})
MODELS = ("/v1/models", None)
OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
NO_REQUEST = b'{"type":"error","error":{"type":"invalid_request_error","message":"No."}}'
NO_KEY = b'{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}'
HTML = b"content-type: text/html"


async def cut(peer):
    await peer.send(BEGUN)
    peer.writer.close()


async def reset(peer):
    await peer.send(BEGUN)
    peer.reset()


NO_ANSWERS = {
    "garbage": (answer(200, b"garbage"), "upstream_malformed"),
    "no object": (answer(200, b"[]"), "upstream_malformed"),
    "nothing": (answer(200, b""), "upstream_malformed"),
    "a page": (answer(200, b"<html>", HTML), "upstream_malformed"),
    "an answer that is said to be a page": (answer(200, MESSAGE, HTML), "upstream_malformed"),
    "cut": (cut, "upstream_truncated"),
    "reset": (reset, "upstream_truncated"),
    "stalled": (begun, "upstream_timeout"),
    "an error": (answer(200, OVERLOADED), "upstream_overloaded_error"),
}
NO = pytest.mark.parametrize(("script", "code"), NO_ANSWERS.values(), ids=NO_ANSWERS)
WHOLE = pytest.mark.parametrize("ask", [CHAT, MESSAGES, COUNT, MODELS], ids=lambda ask: ask[0])


@pytest.fixture
def shops(tmp_path):
    @asynccontextmanager
    async def serve(*claudes, **upstream):
        config = configuration(tmp_path, claudes[0].url, upstream={"idle_timeout": "100ms", **upstream})
        upstreams = tuple(
            UpstreamSettings(name=name, base_url=claude.url, api_key="sk-ant-key")
            for name, claude in zip(("first", "second"), claudes, strict=False)
        )
        async with observed(config.model_copy(update={"upstreams": upstreams})) as (caller, outcomes):
            yield caller, outcomes
            pools = [each.pool for each in caller.gateway.services.upstreams]
            await eventually(lambda: not any(pool.busy for pool in pools))

    return serve


async def status(caller, ask) -> int:
    path, body = ask
    async with caller.get(path) if body is None else caller.post(path, body) as response:
        await response.read()
        return response.status


@NO
@WHOLE
async def test_what_is_no_answer_comes_from_the_next_upstream(shops, ask, script, code):
    async with (
        scripted_upstream(script) as first,
        scripted_upstream(answer(200, MESSAGE)) as second,
        shops(first, second) as (caller, outcomes),
    ):
        assert await status(caller, ask) == 200
        outcome = await outcomes.only()
        assert (outcome.kind, outcome.upstream, outcome.attempts) == ("done", "second", 2)
        async with caller.session.get(f"{caller.gateway.ops_url}/metrics") as response:
            told = await response.text()
        assert f'failovers_total{{code="{code}",upstream="first"}} 1.0' in told


@NO
@pytest.mark.parametrize("ask", [CHAT, MESSAGES])
async def test_with_one_upstream_it_is_asked_again(shops, ask, script, code):
    async with (
        scripted_upstream(script, answer(200, MESSAGE)) as claude,
        shops(claude) as (caller, outcomes),
    ):
        assert await status(caller, ask) == 200
        outcome = await outcomes.only()
        assert (outcome.kind, outcome.attempts, outcome.error_code) == ("done", 2, None), code


@NO
@WHOLE
async def test_it_is_told_in_the_end_and_opens_the_breaker(shops, ask, script, code):
    settings = {"retries": 0, "breaker_failures": 2, "breaker_cooldown": 30}
    async with scripted_upstream(script) as claude, shops(claude, **settings) as (caller, outcomes):
        told = [await status(caller, ask) for _ in range(3)]
        assert told[0] >= 500
        assert told[2] == 503
        codes = [outcome.error_code for outcome in await outcomes.reach(3)]
        assert codes == [code, code, "upstream_unavailable"]
        assert len(claude.requests) == 2


@WHOLE
async def test_as_often_as_retries_says(shops, ask):
    async with scripted_upstream(answer(200, b"garbage")) as claude, shops(claude, retries=2) as (caller, outcomes):
        assert await status(caller, ask) == 502
        outcome = await outcomes.only()
        assert (outcome.kind, outcome.attempts, outcome.error_code) == ("error", 3, "upstream_malformed")
        assert len(claude.requests) == 3


@pytest.mark.parametrize(
    ("script", "settings"),
    [
        pytest.param(answer(200, NO_REQUEST), {}, id="the request is at fault"),
        pytest.param(answer(200, MESSAGE), {"max_answer": 50}, id="too large"),
    ],
)
@WHOLE
async def test_what_another_attempt_would_not_mend_is_told_at_once(shops, ask, script, settings):
    async with (
        scripted_upstream(script) as first,
        scripted_upstream(answer(200, MESSAGE)) as second,
        shops(first, second, **settings) as (caller, outcomes),
    ):
        assert await status(caller, ask) >= 400
        assert (await outcomes.only()).attempts == 1
        assert not second.requests


@WHOLE
async def test_an_error_about_our_credential_is_for_another_upstream_only(shops, ask):
    refusing = scripted_upstream(answer(200, NO_KEY))
    async with refusing as first, shops(first) as (caller, outcomes):
        assert await status(caller, ask) == 502
        assert (await outcomes.only()).attempts == 1


@pytest.mark.parametrize("kind", [b"content-type: application/json; charset=utf-8", b"content-type: A/X+JSON", b"x: y"])
@WHOLE
async def test_json_has_several_names(shops, ask, kind):
    async with scripted_upstream(answer(200, MESSAGE, kind)) as claude, shops(claude) as (caller, _):
        assert await status(caller, ask) == 200


@pytest.mark.parametrize("ask", [CHAT, MESSAGES])
async def test_access_that_ends_while_the_next_attempt_is_waited_for_is_a_403(shops, ask):
    async with scripted_upstream(answer(200, b"garbage")) as claude, shops(claude) as (caller, outcomes):
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(status(caller, ask))
            await eventually(lambda: len(claude.requests) == 1)
            await eventually(lambda: caller.gateway.services.streams.cut(AccessCut("Access was ended.")) == 1)
        assert asked.result() == 403
        assert (await outcomes.only()).error_code == "access_cut"
