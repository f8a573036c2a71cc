"""The one outcome of each request: how it ended, how far it had come, and when things happened."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.core.claude import Fold
from gateway.core.errors import AccessCut, InvalidRequest, RateLimited
from gateway.core.pricing import PriceBook
from gateway.web.record import Record
from tests.support.gateway import configuration
from tests.support.observed import observed
from tests.support.scripted_upstream import (
    BLOCK,
    END,
    HELLO,
    SSE_HEAD,
    START,
    answer,
    scripted_upstream,
    stream,
    text_delta,
)

CHAT = "/api/chat/stream"
ASK = {"model": "claude-sonnet-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
MESSAGE = (
    b'{"type":"message","model":"claude-sonnet-5-5","content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn",'
    b'"usage":{"input_tokens":7,"output_tokens":2}}'
)


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: observed(configuration(tmp_path, claude.url, **sections))


def _record() -> Record:
    return Record("req_1", "POST", "192.0.2.1")


def test_the_first_reason_counts():
    record = _record()
    record.fail(InvalidRequest("first"))
    record.fail(AccessCut("second"))
    assert record.outcome(PriceBook({})).error_code == "invalid_request"


def test_a_request_that_got_no_status_is_a_499():
    assert _record().outcome(PriceBook({})).status == 499


def test_the_limit_that_refused_is_named():
    record = _record()
    record.fail(RateLimited("x", limit="tenant-requests-per-minute", retry_after=1))
    assert record.outcome(PriceBook({})).limit == "tenant-requests-per-minute"


@pytest.mark.parametrize("fold", [None, Fold()])
def test_what_generated_nothing_costs_nothing(fold):
    record = _record()
    record.fold = fold
    assert record.bill(PriceBook({})) == (None, None)


async def test_a_good_stream_leaves_everything_that_is_known_of_it(shop):
    first = asyncio.Event()

    async def script(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("Hel"))
        await first.wait()
        await peer.chunk(text_delta("lo") + END)
        await peer.end()

    async with scripted_upstream(script) as claude, shop(claude) as (caller, outcomes):
        async with caller.post(CHAT, {"message": "hi", "model": "claude-sonnet-5-5"}) as response:
            await response.content.readuntil(b"Hel")
            first.set()
            rest = await response.content.read()
        outcome = await outcomes.only()
    assert (outcome.kind, outcome.phase, outcome.status) == ("done", "finished", 200)
    assert (outcome.route, outcome.method, outcome.dialect) == (CHAT, "POST", "chat")
    assert (outcome.tenant, outcome.key_id) == ("acme", caller.key.split("_")[1])
    assert (outcome.model, outcome.model_answered, outcome.stop_reason) == (
        "claude-sonnet-5-5",
        "claude-sonnet-5-5",
        "end_turn",
    )
    assert (outcome.upstream, outcome.upstream_request_id, outcome.attempts) == ("claude", "req_claude", 1)
    assert outcome.stream
    assert outcome.usage is not None
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens, outcome.usage.cache_read_tokens) == (12, 5, 3)
    assert outcome.cost_usd is not None
    assert outcome.cost_usd > 0
    told = json.loads(rest.decode().strip().rpartition("data: ")[2])["metadata"]
    assert told["requestId"] == outcome.request_id
    assert told["costUsd"] == pytest.approx(outcome.cost_usd)
    assert outcome.client_bytes > len(rest)
    assert outcome.first_token is not None
    assert outcome.first_token == outcome.first_text
    assert outcome.upstream_first_token is not None
    assert outcome.overhead is not None
    assert outcome.longest_gap is not None
    assert outcome.output_seconds is not None
    assert 0 < outcome.upstream_first_token < outcome.first_token
    assert 0 < outcome.overhead < outcome.first_token
    # The gateway's share and Claude's are the whole of it, and the output ends before the request does.
    assert outcome.overhead + outcome.upstream_first_token == pytest.approx(outcome.first_token)
    assert 0 < outcome.longest_gap <= outcome.output_seconds < outcome.duration
    assert outcome.first_token + outcome.output_seconds <= outcome.duration


async def test_waiting_for_a_retry_is_not_the_gateways_own_share(shop):
    """Overhead is what the gateway itself took; attempts that failed are the upstream's."""
    overloaded = answer(529, b"{}", b"content-type: application/json", b"retry-after: 0")
    async with scripted_upstream(overloaded, stream(HELLO)) as claude, shop(claude) as (caller, outcomes):
        async with caller.post(CHAT, {"message": "hi"}) as response:
            await response.read()
        outcome = await outcomes.only()
    assert outcome.attempts == 2
    assert outcome.upstream_first_token is not None
    assert outcome.overhead is not None
    assert outcome.first_token is not None
    assert outcome.overhead + outcome.upstream_first_token < outcome.first_token


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
async def test_an_answer_in_one_piece_has_usage_and_no_time_to_first_token(shop, path):
    body = ASK if path == "/v1/messages" else {"message": "hi", "stream": False}
    async with scripted_upstream(answer(200, MESSAGE)) as claude, shop(claude) as (caller, outcomes):
        async with caller.post(path, body) as response:
            sent = await response.read()
        outcome = await outcomes.only()
    assert (outcome.kind, outcome.phase, outcome.stream) == ("done", "finished", False)
    assert outcome.usage is not None
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (7, 2)
    assert outcome.client_bytes == len(sent)
    assert outcome.first_token is None
    assert outcome.overhead is None


async def _never(peer) -> None:
    await peer.closed()


async def _head_only(peer) -> None:
    await peer.send(SSE_HEAD)
    await peer.closed()


async def _first_token(peer) -> None:
    await peer.send(SSE_HEAD)
    await peer.chunk(START + BLOCK + text_delta("Hel"))
    await peer.closed()


@pytest.mark.parametrize(
    ("script", "server", "phase", "status"),
    [
        (_never, {}, "upstream_wait", 499),
        (_never, {"commit_after": 0}, "before_first_token", 200),
        (_head_only, {}, "before_first_token", 200),
        (_first_token, {}, "streaming", 200),
    ],
    ids=["before the head", "after a heartbeat", "before the first token", "in mid-stream"],
)
async def test_a_client_that_leaves_is_one_outcome_with_the_phase(shop, script, server, phase, status):
    asked = asyncio.Event()

    async def noting(peer):
        asked.set()
        await script(peer)

    async with scripted_upstream(noting) as claude, shop(claude, server=server) as (caller, outcomes):
        call = asyncio.get_running_loop().create_task(_begin(caller, b"Hel" if script is _first_token else b""))
        async with asyncio.timeout(15):
            await asked.wait()
            if status == 200:
                response = await call
                response.close()
            else:
                call.cancel()
            await claude.all_closed.wait()
        outcome = await outcomes.only()
    assert (outcome.kind, outcome.phase, outcome.status) == ("disconnected", phase, status)
    assert (outcome.error_code, outcome.error_origin) == (None, None)
    assert outcome.attempts == 1
    assert outcome.tenant == "acme"
    if phase == "streaming":
        # Paid for by Claude's count of the input, and by an estimate of the output that nobody told.
        assert outcome.usage is not None
        assert outcome.usage.estimated
        assert outcome.usage.input_tokens == 12


async def _begin(caller, until: bytes):
    response = await caller.post(CHAT, {"message": "hi"})
    if until:
        await response.content.readuntil(until)
    return response


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "origin"),
    [
        ({"message": ""}, {}, 400, "message_required", "client"),
        ({"message": "hi", "nonsense": 1}, {}, 400, "invalid_request", "client"),
        ({"message": "hi"}, {"authorization": "Bearer nonsense"}, 401, "unauthenticated", "client"),
        ({"message": "hi", "model": "gpt-9"}, {}, 403, "model_not_allowed", "client"),
    ],
)
async def test_a_refused_request_is_one_outcome_without_a_call(shop, body, headers, status, code, origin):
    plans = {"default": {"models": ["claude-*"]}}
    async with scripted_upstream() as claude, shop(claude, plans=plans) as (caller, outcomes):
        async with caller.post(CHAT, body, **headers) as response:
            assert response.status == status
        outcome = await outcomes.only()
    assert (outcome.kind, outcome.status, outcome.error_code, outcome.error_origin) == ("refused", status, code, origin)
    assert (outcome.attempts, outcome.usage, outcome.cost_usd) == (0, None, None)
    assert not claude.requests


@pytest.mark.parametrize("target", ["/health", "/nothing", "/api/chat/stream"])
async def test_preflights_and_pages_are_one_outcome_each(shop, target):
    async with scripted_upstream() as claude, shop(claude) as (caller, outcomes):
        headers = {"Origin": "https://x.example", "Access-Control-Request-Method": "GET"}
        async with caller.session.options(caller.gateway.url + target, headers=headers) as response:
            assert response.status in {403, 404}
        outcome = await outcomes.only()
    assert (outcome.method, outcome.dialect, outcome.kind) == ("OPTIONS", "none", "refused")


async def test_the_trace_of_the_request_is_kept_and_passed_on(shop):
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01", "tracestate": "vendor=1"}
    async with scripted_upstream() as claude, shop(claude) as (caller, outcomes):
        async with caller.post(CHAT, {"message": "hi"}, **headers) as response:
            await response.read()
        assert (await outcomes.only()).trace_id == trace
    assert claude.requests[0].headers["traceparent"].startswith(f"00-{trace}-")
    assert claude.requests[0].headers["tracestate"] == "vendor=1"
