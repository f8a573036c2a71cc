"""Connections to a Redis that is restarted, frozen, or does not want us."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import NoScriptError

from gateway.core.errors import StoreUnavailable
from gateway.quota.redis_link import RedisLink
from tests.support.observed import eventually


@pytest.fixture
async def link(own_redis):
    made = RedisLink(own_redis.url, most=2)
    yield made
    await made.close()


async def refusal(link):
    with pytest.raises(StoreUnavailable) as refused:
        await link.call("PING")
    return refused.value


async def test_a_connection_serves_one_call_after_the_other(link):
    for _ in range(3):
        assert await link.call("ECHO", b"hello") == b"hello"
    assert link.connections == 1


async def test_more_calls_than_connections_wait_for_one(link):
    assert await asyncio.gather(*[link.call("ECHO", n) for n in range(20)]) == [b"%d" % n for n in range(20)]
    assert link.connections == 2


async def test_what_the_others_wait_for_does_not_wait_behind_them(own_redis, link):
    order = []

    async def call(n, **how):
        order.append(int(await link.call("ECHO", n, **how)))

    own_redis.freeze()
    async with asyncio.TaskGroup() as calls:
        for n in range(20):
            calls.create_task(call(n))
        calls.create_task(call(20, ahead=True))
        await asyncio.sleep(0)
        own_redis.thaw()
    assert order.index(20) < 10
    assert link.connections == 3


async def test_several_calls_are_one_round_trip(link):
    assert await link.calls([("ECHO", "a"), ("ECHO", "b")]) == [b"a", b"b"]


async def test_an_error_of_the_server_is_its_callers_alone(link):
    with pytest.raises(StoreUnavailable) as refused:
        await link.calls([("NONSENSE",), ("ECHO", "b")])
    assert "NONSENSE" in refused.value.detail
    assert await link.call("ECHO", "c") == b"c"
    assert link.connections == 1


async def test_a_script_that_the_server_does_not_have_is_said(link):
    with pytest.raises(NoScriptError):
        await link.call("EVALSHA", "0" * 40, 0)


async def test_connections_that_the_server_closed_meanwhile_are_no_failure(own_redis, link):
    await asyncio.gather(link.call("PING"), link.call("PING"))
    assert link.connections == 2
    own_redis.kill()
    own_redis.start()
    assert await link.call("PING") == b"PONG"
    assert link.connections == 1


async def test_a_server_that_is_not_there_is_said_at_once(own_redis, link):
    own_redis.kill()
    with pytest.raises(StoreUnavailable) as gone:
        await link.call("PING")
    assert "ConnectionError" in gone.value.detail
    assert link.connections == 0


async def test_a_server_that_dies_over_a_call_is_said_at_once(own_redis, link):
    await link.call("PING")
    own_redis.freeze()
    async with asyncio.TaskGroup() as calls:
        call = calls.create_task(refusal(link))
        await asyncio.sleep(0)
        own_redis.kill()
    assert "ConnectionError" in (await call).detail


async def test_the_answer_to_a_call_that_was_given_up_is_nobody_elses(own_redis, link):
    await link.call("PING")
    own_redis.freeze()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await link.call("ECHO", "late")
    assert link.connections == 0
    own_redis.thaw()
    assert await link.call("ECHO", "next") == b"next"


async def test_giving_up_while_connecting_leaves_nothing_open(own_redis, link):
    own_redis.freeze()
    for _ in range(4):  # more often than there are places
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await link.call("PING")
    assert link.connections == 0
    own_redis.thaw()
    assert await link.call("PING") == b"PONG"
    await eventually(lambda: own_redis.ask("INFO", "clients")["connected_clients"] == 2)


async def test_a_wrong_password_is_said(own_redis):
    link = RedisLink(own_redis.url.replace("unix://", "unix://:wrong@"))
    with pytest.raises(StoreUnavailable) as refused:
        await link.call("PING")
    assert "AUTH" in refused.value.detail
    await link.close()


async def test_closing_ends_what_waits(own_redis, link):
    await link.call("PING")
    await link.close()
    assert link.connections == 0
    await eventually(lambda: own_redis.ask("INFO", "clients")["connected_clients"] == 1)
