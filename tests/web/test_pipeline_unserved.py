"""What never gets to Claude through a fault of ours takes nothing from the caller's limits; everything else does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from gateway.core.errors import (
    AccessCut,
    Draining,
    GatewayError,
    GatewayFault,
    StoreUnavailable,
    StreamTooLong,
    Unauthenticated,
    UpstreamUnreachable,
)
from gateway.web.record import Record
from gateway.web.taking import _unserved
from tests.support.gateway import configuration
from tests.support.observed import eventually, observed
from tests.support.raw_client import connected, request_bytes
from tests.support.scripted_upstream import BLOCK, END, SSE_HEAD, START, scripted_upstream, text_delta

CHAT = "/api/chat/stream"
MESSAGES = "/v1/messages"
NOWHERE = "http://127.0.0.1:1"
ASK = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def shop(tmp_path):
    return lambda claude, **sections: observed(configuration(tmp_path, claude.url, **sections))


def key_of(caller) -> str:
    """Return a key of the tenant that has one request a minute."""
    store = caller.gateway.store
    store.ensure_tenant("other", "other")
    return store.create_key("other", caller.gateway.peppers)[1].text


async def status(caller, key: str | None = None) -> int:
    sent = {"Authorization": f"Bearer {key or caller.key}"}
    async with caller.session.post(caller.gateway.url + CHAT, json={"message": "hi"}, headers=sent) as response:
        await response.read()
        return response.status


FULL = {"max_connections": 1, "pool_timeout": "10ms"}
ONCE = {"default": {"requests_per_minute": 2}, "other": {"requests_per_minute": 1}}


@asynccontextmanager
async def full(shop, **sections):
    """Serve a tenant whose plan takes one request, while the only connection to Claude is in use."""
    upstream = {**FULL, **sections.pop("upstream", {})}
    async with scripted_upstream(gated := Gated()) as claude:
        async with shop(claude, plans=ONCE, upstream=upstream, **sections) as (caller, outcomes):
            key = key_of(caller)
            async with caller.post(CHAT, {"message": "hi"}) as first:
                await first.content.readuntil(b"Hel")
                yield caller, outcomes, {"Authorization": f"Bearer {key}"}
                gated.go_on.set()
                await first.read()
            assert await status(caller, key) == 200
            assert await status(caller, key) == 429


class Gated:
    """Answers in pieces, the second of which waits; the next requests are answered at once."""

    def __init__(self):
        self.go_on = asyncio.Event()

    async def __call__(self, peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(START + BLOCK + text_delta("Hel"))
        async with asyncio.timeout(20):
            await self.go_on.wait()
        await peer.chunk(END)
        await peer.end()


@pytest.mark.parametrize(
    ("path", "body"), [(CHAT, {"message": "hi"}), (CHAT, {"message": "hi", "stream": False}), (MESSAGES, ASK)]
)
async def test_a_request_for_which_there_is_no_connection_takes_nothing_and_says_so(shop, path, body):
    async with full(shop) as (caller, _, other), caller.post(path, body, **other) as response:
        assert response.status == 503
        assert '"tenant-requests-per-minute";r=1' in response.headers["RateLimit"]


async def test_a_stream_that_fails_so_after_its_200_takes_nothing_either(shop):
    async with (
        full(shop, server={"commit_after": 0}) as (caller, _, other),
        caller.post(CHAT, {"message": "hi"}, **other) as response,
    ):
        assert response.status == 200
        assert b'"code":"overloaded"' in await response.read()


async def test_a_request_that_is_sent_away_while_it_waits_takes_nothing(shop):
    async with full(shop, upstream={"pool_timeout": 30}) as (caller, _, other), asyncio.TaskGroup() as group:
        streams = caller.gateway.services.streams
        waiting = group.create_task(status(caller, other["Authorization"].removeprefix("Bearer ")))
        await eventually(lambda: len(streams.running) == 2)
        streams.cut(Draining("restarting"), lambda principal: principal.tenant == "other")
        assert await waiting == 503


async def test_a_client_that_leaves_before_claude_was_asked_has_made_its_request(shop):
    async with scripted_upstream(gated := Gated()) as claude:
        upstream = {**FULL, "pool_timeout": 30}
        async with shop(claude, plans=ONCE, upstream=upstream) as (caller, outcomes):
            key = key_of(caller)
            async with caller.post(CHAT, {"message": "hi"}) as first:
                await first.content.readuntil(b"Hel")
                async with connected(caller.gateway.url) as wire:
                    await wire.send(request_bytes("GET", f"{CHAT}?message=hi", f"x-api-key: {key}"))
                    await eventually(lambda: len(caller.gateway.services.streams.running) == 2)
                    wire.reset()
                assert (await outcomes.only()).kind == "disconnected"
                assert await status(caller, key) == 429
                gated.go_on.set()
                await first.read()


async def test_a_request_that_claude_did_not_take_has_been_made(shop):
    """Whoever asks again and again while Claude is away is slowed down by the limits."""
    plans, retries = {"default": {"requests_per_minute": 1}}, {"retries": 0}
    async with shop(SimpleNamespace(url=NOWHERE), plans=plans, upstream=retries) as (caller, _):
        assert await status(caller) == 502
        assert await status(caller) == 429


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (GatewayFault("x"), True),
        (StoreUnavailable("x"), True),
        (StreamTooLong("x"), True),
        (AccessCut("x"), False),
        (Unauthenticated("x"), False),
        (UpstreamUnreachable("x"), False),
        (RuntimeError("a bug"), True),
        (ConnectionResetError(), False),
        (asyncio.CancelledError(), False),
    ],
)
@pytest.mark.parametrize("told", [True, False])
def test_faults_of_ours_before_claude_was_asked_are_told_from_all_others(error, ours, told):
    record = Record("req_1", "POST", "192.0.2.1")
    assert not _unserved(record, None)
    if told and isinstance(error, GatewayError):
        record.fail(error)
        assert _unserved(record, None) is ours
    assert _unserved(record, error) is ours
    record.asked = True
    assert not _unserved(record, error)
