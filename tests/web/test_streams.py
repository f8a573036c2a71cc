"""Requests in flight: how many, and how they are ended from outside."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.errors import Draining, Overloaded
from gateway.core.principal import Principal
from gateway.web.streams import Streams
from tests.support.gateway import configuration
from tests.support.observed import observed
from tests.support.scripted_upstream import SSE_HEAD, START, scripted_upstream


class Job:
    """A call in flight that notes how it was ended."""

    def __init__(self, principal: Principal | None, held_bytes: int = 0) -> None:
        self.principal = principal
        self.held_bytes = held_bytes
        self.error = None

    def cut(self, error) -> None:
        self.error = error


def _of(tenant: str) -> Principal:
    return Principal(tenant, "k", "default", None, "192.0.2.1")


def test_past_the_limit_a_request_is_refused_and_not_counted():
    streams = Streams(2)
    streams.enter()
    streams.enter()
    with pytest.raises(Overloaded) as refused:
        streams.enter()
    assert refused.value.retry_after == 1.0
    assert len(streams) == 2
    streams.leave()
    streams.enter()


def test_what_is_held_for_all_clients_is_summed_up():
    streams = Streams(9)
    assert streams.held_bytes() == 0
    streams.running.update({Job(None, 7), Job(None), Job(None, 35)})
    assert streams.held_bytes() == 42
    streams.left_bytes = lambda: 8  # of answers that are over
    assert streams.held_bytes() == 50


def test_those_of_some_principals_are_cut_and_the_others_not():
    streams, mine, theirs, nobody = Streams(9), Job(_of("acme")), Job(_of("shop")), Job(None)
    streams.running.update({mine, theirs, nobody})
    error = Draining("x")
    assert streams.cut(error, lambda principal: principal.tenant == "acme") == 1
    assert (mine.error, theirs.error, nobody.error) == (error, None, None)
    assert streams.cut(error) == 3


async def test_waiting_for_the_last_one_ends_with_it_or_with_the_time():
    streams = Streams(9)
    assert await streams.wait_empty(0)
    streams.enter()
    assert not await streams.wait_empty(0)
    asyncio.get_running_loop().call_soon(streams.leave)
    assert await streams.wait_empty(15)


async def test_a_full_gateway_answers_503_before_any_work(tmp_path):
    """No look at the key, none at the body, no call of Claude: the refusal must be cheaper than the request."""

    async def slow(peer):
        await peer.send(SSE_HEAD)
        await peer.chunk(START)
        await peer.closed()

    async with (
        scripted_upstream(slow) as claude,
        observed(configuration(tmp_path, claude.url, server={"max_streams": 1})) as (caller, outcomes),
        caller.post("/api/chat/stream", {"message": "hi"}) as running,
    ):
        assert running.status == 200
        for path, kind in (("/api/chat/stream", "code"), ("/v1/messages", "type")):
            async with caller.post(path, b"no JSON", authorization="Bearer nonsense") as refused:
                assert refused.status == 503
                assert refused.headers["Retry-After"] == "1"
                assert kind in await refused.json()
        assert len(claude.requests) == 1
        chat, messages = await outcomes.reach(2)
    assert (chat.kind, chat.error_code, chat.error_origin) == ("refused", "overloaded", "gateway")
    assert (messages.kind, messages.dialect, messages.tenant) == ("refused", "messages", "")
