"""Limits through the whole pipeline: counted per scope, told on every answer, and free again however a request ends."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from gateway.app import renew
from gateway.core.quota.holds import FIRST_LEASE, Refused, Reservation
from gateway.web.streams import Streams
from tests.support.gateway import configuration
from tests.support.observed import eventually, observed
from tests.support.raw_client import connected, request_bytes
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
MESSAGES = "/v1/messages"
ONE = {"default": {"concurrent_streams": 1}}
ASK = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
MESSAGE = b'{"type":"message","model":"claude-x","content":[],"usage":{"input_tokens":1,"output_tokens":1}}'
OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
BAD = b'{"type":"error","error":{"type":"invalid_request_error","message":"no"}}'
DENIED = b'{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}'


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: observed(configuration(tmp_path, claude.url, **sections))


def key_of(caller, tenant: str = "acme", *, plan: str | None = None, tenant_plan: str = "default") -> str:
    store = caller.gateway.store
    store.ensure_tenant(tenant, tenant_plan)
    return store.create_key(tenant, caller.gateway.peppers, plan=plan)[1].text


async def status(caller, key: str | None = None, body: object = None, path: str = CHAT, **headers: str):
    sent = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with caller.post(path, body or {"message": "hi"}, **sent, **headers) as response:
        await response.read()
        return response.status


async def refusal(caller, key: str | None = None, body: object = None, **headers: str):
    sent = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with caller.post(CHAT, body or {"message": "hi"}, **sent, **headers) as response:
        assert response.status == 429
        assert 1 <= int(response.headers["Retry-After"]) <= 60
        return (await response.json())["limit"]


# Requests per minute, scope by scope.


async def test_a_tenants_limit_holds_for_all_its_keys_together_and_for_no_other_tenant(shop):
    plans = {"default": {"requests_per_minute": 2}}
    async with scripted_upstream() as claude, shop(claude, plans=plans) as (caller, outcomes):
        second, other = key_of(caller), key_of(caller, "other")
        assert [await status(caller), await status(caller, second)] == [200, 200]
        assert await refusal(caller) == "tenant-requests-per-minute"
        assert await refusal(caller, second) == "tenant-requests-per-minute"
        assert await status(caller, other) == 200
        assert len(claude.requests) == 3
    refused = [outcome for outcome in outcomes.all if outcome.kind == "refused"]
    assert {outcome.limit for outcome in refused} == {"tenant-requests-per-minute"}
    assert {(outcome.status, outcome.error_origin, outcome.attempts) for outcome in refused} == {(429, "client", 0)}


async def test_a_limit_per_key_holds_for_each_key_by_itself(shop):
    plans = {"default": {"per_key": {"requests_per_minute": 1}}}
    async with scripted_upstream() as claude, shop(claude, plans=plans) as (caller, _):
        second = key_of(caller)
        assert [await status(caller), await status(caller, second)] == [200, 200]
        assert await refusal(caller) == "key-requests-per-minute"


async def test_a_keys_own_plan_narrows_the_tenants(shop):
    plans = {"default": {"requests_per_minute": 9}, "trial": {"requests_per_minute": 1}}
    async with scripted_upstream() as claude, shop(claude, plans=plans) as (caller, _):
        trial = key_of(caller, plan="trial")
        assert await status(caller, trial) == 200
        assert await refusal(caller, trial) == "key-requests-per-minute"
        assert await status(caller) == 200


async def test_a_limit_per_user_holds_for_each_user_across_keys_and_routes(shop):
    plans = {"default": {"per_user": {"requests_per_minute": 1}}}
    ann, bob = ({"message": "hi", "metadata": {"userId": name}} for name in ("ann", "bob"))
    async with scripted_upstream() as claude, shop(claude, plans=plans) as (caller, _):
        second = key_of(caller)
        assert [await status(caller, body=ann), await status(caller, body=bob)] == [200, 200]
        assert await refusal(caller, second, ann) == "user-requests-per-minute"
        assert await status(caller, body={**ASK, "metadata": {"user_id": "ann"}}, path=MESSAGES) == 429
        assert await status(caller) == 200


async def test_a_limit_per_address_holds_for_each_address_and_counts_ipv6_by_64(shop):
    plans = {"default": {"per_address": {"requests_per_minute": 1}}}
    server = {"trusted_proxies": ["127.0.0.0/8"]}
    async with scripted_upstream() as claude, shop(claude, plans=plans, server=server) as (caller, outcomes):

        async def at(address: str) -> int:
            return await status(caller, **{"X-Forwarded-For": address})

        assert [await at("192.0.2.1"), await at("192.0.2.2")] == [200, 200]
        assert [await at("192.0.2.1"), await at("203.0.113.9, 192.0.2.2")] == [429, 429]
        assert [await at("2001:db8:0:1::1"), await at("2001:db8:0:1:ffff::2"), await at("2001:db8:0:2::1")] == [
            200,
            429,
            200,
        ]
    assert outcomes.addresses[:2] == ["192.0.2.1", "192.0.2.2"]


async def test_without_trusted_proxies_the_connections_address_counts(shop):
    plans = {"default": {"per_address": {"requests_per_minute": 1}}}
    async with scripted_upstream() as claude, shop(claude, plans=plans) as (caller, outcomes):
        assert await status(caller, **{"X-Forwarded-For": "192.0.2.1"}) == 200
        assert await status(caller, **{"X-Forwarded-For": "192.0.2.2"}) == 429
    assert outcomes.addresses == ["127.0.0.1"] * 2


async def test_what_is_refused_for_its_content_takes_nothing_from_the_limits(shop):
    plans = {"default": {"requests_per_minute": 1, "models": ["claude-*"]}}
    async with scripted_upstream() as claude, shop(claude, plans=plans) as (caller, _):
        assert await status(caller, body={"message": ""}) == 400
        assert await status(caller, body={"message": "hi", "model": "gpt-9"}) == 403
        assert await status(caller) == 200


async def test_counting_tokens_takes_a_request_and_no_stream(shop):
    """It is free, and must work while all streams are taken."""

    async def count_tokens(peer):
        await answer(200, b'{"input_tokens":9}')(peer)

    async def slow(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(START)
        await peer.closed()

    plans = {"default": {"concurrent_streams": 1, "requests_per_minute": 2}}
    ask = {name: value for name, value in ASK.items() if name != "max_tokens"}
    async with (
        scripted_upstream(slow, count_tokens) as claude,
        shop(claude, plans=plans) as (caller, _),
        caller.post(CHAT, {"message": "hi"}),
    ):
        async with caller.post(f"{MESSAGES}/count_tokens", ask) as response:
            assert response.status == 200
            assert '"tenant-requests-per-minute";r=0' in response.headers["RateLimit"]
        assert await status(caller, body=ask, path=f"{MESSAGES}/count_tokens") == 429


# What the answers say about the limits.


LIMITED = {"default": {"requests_per_minute": 3, "concurrent_streams": 2}}


@pytest.mark.parametrize(
    ("script", "path", "body", "expected"),
    [
        (stream(HELLO), CHAT, {"message": "hi"}, 200),
        (answer(200, MESSAGE), CHAT, {"message": "hi", "stream": False}, 200),
        (stream(HELLO), MESSAGES, {**ASK, "stream": True}, 200),
        (answer(200, MESSAGE), MESSAGES, ASK, 200),
        (answer(400, BAD), MESSAGES, ASK, 400),
        (answer(401, DENIED), MESSAGES, ASK, 502),
        (answer(529, OVERLOADED), CHAT, {"message": "hi"}, 529),
    ],
    ids=["stream", "json", "events", "message", "400", "502", "529"],
)
async def test_every_answer_to_an_admitted_caller_tells_its_limits(shop, script, path, body, expected):
    async with (
        scripted_upstream(script) as claude,
        shop(claude, plans=LIMITED, upstream={"retries": 0}) as (caller, _),
        caller.post(path, body) as response,
    ):
        assert response.status == expected
        assert response.headers["RateLimit-Policy"] == (
            '"tenant-concurrent-streams";q=2;qu="concurrent-requests", "tenant-requests-per-minute";q=3;w=60'
        )
        assert response.headers["RateLimit"].startswith(
            '"tenant-concurrent-streams";r=1, "tenant-requests-per-minute";r=2;t='
        )


async def test_a_refusal_tells_the_limits_too(shop):
    plans = {"default": {"requests_per_minute": 1}}
    async with scripted_upstream() as claude, shop(claude, plans=plans) as (caller, _):
        await status(caller)
        async with caller.post(MESSAGES, ASK) as response:
            assert response.status == 429
            assert response.headers["RateLimit"].startswith('"tenant-requests-per-minute";r=0;t=')
            assert (await response.json())["error"]["type"] == "rate_limit_error"


async def test_what_is_refused_for_its_content_tells_the_limits_as_they_stand(shop):
    """All answers with a principal have the fields: a client that sends nonsense can still see what it has left."""
    async with (
        scripted_upstream() as claude,
        shop(claude, plans=LIMITED) as (caller, _),
        caller.post(CHAT, {"message": ""}) as response,
    ):
        assert response.status == 400
        assert '"tenant-requests-per-minute";r=3' in response.headers["RateLimit"]
        assert caller.gateway.services.holds.held == 0


async def test_without_limits_and_without_a_principal_nothing_is_told(shop):
    async with scripted_upstream() as claude, shop(claude) as (caller, _):
        async with caller.post(CHAT, {"message": "hi"}) as response:
            assert "RateLimit" not in response.headers
        async with caller.post(CHAT, {"message": "hi"}, authorization="Bearer nonsense") as response:
            assert response.status == 401
            assert "RateLimit" not in response.headers


# A slot is free the moment its stream ends, however it ends.


async def _begun(peer) -> None:
    await peer.send(SSE_HEAD)
    await peer.chunk(START + BLOCK + text_delta("Hel"))


async def _done(peer) -> None:
    await _begun(peer)
    await peer.chunk(END)
    await peer.end()


async def _error_event(peer) -> None:
    await _begun(peer)
    await peer.chunk(b"event: error\ndata: " + OVERLOADED + b"\n\n")
    await peer.end()


async def _cut_short(peer) -> None:
    await _begun(peer)
    await peer.end()


async def _reset(peer) -> None:
    await _begun(peer)
    peer.reset()


async def _garbage(peer) -> None:
    await _begun(peer)
    await peer.send(b"this is no chunk")
    await peer.closed()


@pytest.mark.parametrize(
    ("script", "kind", "code"),
    [
        (_done, "done", None),
        (_error_event, "error", "upstream_overloaded_error"),
        (_cut_short, "error", "upstream_truncated"),
        (_reset, "error", "upstream_truncated"),
        (_garbage, "error", "upstream_malformed"),
        (answer(529, OVERLOADED), "error", "upstream_overloaded_error"),
        (answer(401, DENIED), "error", "upstream_credential"),
        (answer(200, b"{}"), "error", "upstream_malformed"),
    ],
    ids=["done", "error event", "cut short", "reset", "garbage", "529", "401", "no stream"],
)
async def test_a_slot_is_free_when_its_stream_has_ended(shop, script, kind, code):
    async with (
        scripted_upstream(script) as claude,
        shop(claude, plans=ONE, upstream={"retries": 0}) as (caller, outcomes),
    ):
        for count in (1, 2):
            await status(caller)
            outcome = (await outcomes.reach(count))[-1]
            assert (outcome.kind, outcome.error_code) == (kind, code)
        assert caller.gateway.services.holds.held == 0


async def _silent(peer) -> None:
    await _begun(peer)
    await peer.closed()


@pytest.mark.parametrize("how", ["cut", "leave"])
async def test_a_slot_is_free_when_its_stream_was_ended_from_outside(shop, how):
    async with scripted_upstream(_silent, _done) as claude, shop(claude, plans=ONE) as (caller, outcomes):
        services = caller.gateway.services
        running = await caller.post(CHAT, {"message": "hi"})
        await running.content.readuntil(b"Hel")
        assert await status(caller) == 429
        if how == "cut":
            caller.gateway.store.suspend("acme", cut_streams=True)
            caller.gateway.store.resume("acme")
            last = (await running.read()).decode().strip().rpartition("\n\n")[2]
            assert json.loads(last.removeprefix("data: "))["metadata"]["code"] == "access_cut"
        else:
            running.close()
        await outcomes.reach(2)
        assert services.holds.held == 0
        assert await status(caller) == 200
        refused, ended, done = outcomes.all
    assert refused.limit == "tenant-concurrent-streams"
    assert (ended.kind, ended.phase) == (("error" if how == "cut" else "disconnected"), "streaming")
    assert done.kind == "done"


async def test_a_slot_that_was_taken_is_free_when_the_request_is_refused_after_it(shop):
    """Suspended while its body came: refused after the reservation, without a call to Claude."""
    async with scripted_upstream() as claude, shop(claude, plans=ONE, keys={"refresh": "10ms"}) as (caller, outcomes):
        services = caller.gateway.services
        head = request_bytes("POST", CHAT, f"x-api-key: {caller.key}", body=b'{"message":"hi"}')
        async with connected(caller.gateway.url, head[:-4]) as raw:
            await eventually(lambda: len(services.streams) == 1)
            await eventually(lambda: services.directory.cached(caller.key, time.time()) is not None)
            caller.gateway.store.suspend("acme")
            await eventually(lambda: services.directory.cached(caller.key, time.time()) is None)
            await raw.send(head[-4:])
            refused, _, body = await raw.answer()
        assert (refused, json.loads(body)["code"]) == (403, "tenant_suspended")
        assert (await outcomes.only()).kind == "refused"
        assert services.holds.held == 0
        assert not services.streams.holds
        assert not claude.requests


async def test_an_unforeseen_fault_frees_the_slot(shop):
    """A bug behind the reservation must not take a place for ever."""
    async with scripted_upstream() as claude, shop(claude, plans=ONE) as (caller, outcomes):
        services = caller.gateway.services
        services.upstreams._candidates.clear()  # the soonest of none is asked for
        assert await status(caller) == 500
        outcome = await outcomes.only()
        assert (outcome.kind, outcome.error_code, outcome.error_origin) == ("error", "internal_error", "gateway")
        assert services.holds.held == 0
        assert len(services.streams) == 0


# Leases.


async def test_holds_are_renewed_for_as_long_as_their_stream_runs(shop):
    """The first lease is ten seconds, streams last minutes: a second one must not slip in after it."""
    async with scripted_upstream(_silent) as claude, shop(claude, plans=ONE) as (caller, _):
        services = caller.gateway.services
        async with caller.post(CHAT, {"message": "hi"}) as running:
            await running.content.readuntil(b"Hel")
            (request_id,) = services.streams.holds
            assert request_id == running.headers["X-Request-Id"]
            renewed = asyncio.Event()

            class Store:
                async def renew(self, checkpoints):
                    unknown = await services.holds.renew(checkpoints)
                    assert not unknown
                    renewed.set()

            started = time.monotonic()
            services.holds._monotonic = lambda: started + FIRST_LEASE / 2
            task = asyncio.get_running_loop().create_task(renew(Store(), services.streams, every=0))
            async with asyncio.timeout(15):
                await renewed.wait()
            task.cancel()
            limits = services.holds._renewed[request_id].reservation.limits
            services.holds._monotonic = lambda: started + 2 * FIRST_LEASE
            late = await services.holds.reserve(Reservation("req_2", limits))
            assert isinstance(late, Refused)


async def test_nothing_is_renewed_when_nothing_runs():
    """A remote store is not asked for nothing."""

    class Store:
        async def renew(self, *_):
            raise AssertionError

    task = asyncio.get_running_loop().create_task(renew(Store(), Streams(1), every=0))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    task.cancel()
