"""Connections opened ahead of need: there when they are wanted, and never tried in a hurry."""

from __future__ import annotations

import asyncio
from contextlib import closing

import pytest
from structlog.testing import capture_logs

from gateway.core.errors import UpstreamUnreachable
from gateway.upstream.pool import Pool
from tests.support.scripted_upstream import answer, scripted_upstream
from tests.support.upstreams import GET, Kept, refusing_port, until, upstream_at, within

HELLO = answer(200, b"hello")


class Told:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.pools: list[Pool] = []
        self.connects: list[float] = []
        self.failures: list[str] = []
        self.waits: list[bool] = []

    def connected(self, seconds: float) -> None:
        assert seconds >= 0
        self.connects.append(seconds)

    def connect_failed(self, step: str) -> None:
        self.failures.append(step)

    def waited(self, seconds: float, *, in_vain: bool) -> None:
        assert seconds >= 0
        self.waits.append(in_vain)

    def opened(self, pool: Pool) -> None:
        self.pools.append(pool)

    def closed(self, pool: Pool) -> None:
        self.pools.remove(pool)


async def whole(upstream, connection=None):
    exchange, kept = upstream.send(connection or await within(upstream.pool.acquire()), GET, {}), Kept()
    exchange.attach(kept)
    await kept.wait()
    return exchange


async def test_they_are_open_before_the_first_request_and_hold_no_place(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned, warm_connections=2)
        assert claude.connections == 0
        upstream.pool.warm_up()
        await until(lambda: claude.connections == 2)
        await until(lambda: upstream.pool.idle == 2)
        assert upstream.pool.busy == 0
        assert (await whole(upstream)).reused  # it was idle: the other side may have closed it meanwhile
        upstream.pool.close()
        await within(claude.all_closed.wait())


async def test_one_that_is_taken_is_replaced(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned, warm_connections=2)
        upstream.pool.warm_up()
        await until(lambda: upstream.pool.idle == 2)
        taken = [upstream.pool.acquire().result() for _ in range(2)]
        await until(lambda: upstream.pool.idle == 2)
        assert claude.connections == 4
        for connection in taken:
            await whole(upstream, connection)
        assert (upstream.pool.idle, upstream.pool.busy) == (4, 0)
        upstream.pool.close()


async def test_they_stay_when_the_others_are_too_old(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned, warm_connections=1, keepalive_timeout=0.01)
        upstream.pool.warm_up()
        for connection in [await within(upstream.pool.acquire()) for _ in range(3)]:
            await whole(upstream, connection)
        await until(lambda: upstream.pool.idle == 1)
        await until(lambda: upstream.pool._sweeper is None)
        assert upstream.pool.idle == 1
        assert (await whole(upstream)).reused
        upstream.pool.close()
        await within(claude.all_closed.wait())


async def test_one_that_the_upstream_closes_is_replaced(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned, warm_connections=1)
        upstream.pool.warm_up()
        await until(lambda: upstream.pool.idle == 1)
        upstream.pool._idle[0].idle_since -= 10  # it has lasted
        upstream.pool._idle[0].close()
        await until(lambda: claude.connections == 2)
        await until(lambda: upstream.pool.idle == 1)
        assert upstream.pool._warmth.failures == 0
        upstream.pool.close()


async def test_an_upstream_that_closes_them_at_once_is_tried_less_and_less(spawned):
    async def rude(_reader, writer):
        writer.close()

    server = await asyncio.start_server(rude, "127.0.0.1", 0)
    with closing(server):
        upstream = upstream_at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", spawned, warm_connections=3)
        pool = upstream.pool
        pool.warm_up()
        await until(lambda: pool._warmth.failures >= 3 and not pool._warming and not pool.idle)
        pool._warmer.cancel()
        opened = len(spawned.tasks)
        pool._open_warm()
        assert len(spawned.tasks) == opened + 1  # one at a time now
        await until(lambda: pool._warmth.failures >= 4)
        pool.close()


async def test_an_upstream_that_is_away_is_tried_again_and_told_of_once(spawned):
    port, told = refusing_port(), Told()
    with capture_logs() as logged:
        await away_and_back(spawned, port, told)
    away, back = logged
    assert (away["event"], away["log_level"], away["upstream"]) == ("upstream cannot be reached", "warning", "claude")
    assert away["reason"].startswith(f"connecting to 127.0.0.1:{port} failed: ConnectionRefusedError")
    assert back == {"event": "upstream can be reached again", "log_level": "info", "upstream": "claude"}


async def away_and_back(spawned, port, told):
    upstream = upstream_at(f"http://127.0.0.1:{port}", spawned, told, warm_connections=2)
    upstream.pool.warm_up()
    await until(lambda: told.failures == ["tcp", "tcp"])
    with pytest.raises(UpstreamUnreachable):
        await within(upstream.pool.acquire())
    assert told.failures == ["tcp", "tcp", "tcp"]
    upstream.pool._warmer.cancel()

    async def hello(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hello, "127.0.0.1", port)
    with closing(server):
        upstream.pool._open_warm()
        await until(lambda: upstream.pool.idle == 1)
        await whole(upstream)  # all is well: the second is opened without a pause
        assert upstream.pool._warmth.failures == 0
        await until(lambda: upstream.pool.idle == 2)
        assert len(told.connects) == 2
        upstream.pool.close()


async def test_none_are_opened_where_there_is_no_room(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned, warm_connections=3, max_connections=2)
        connection = await within(upstream.pool.acquire())
        upstream.pool.warm_up()
        await until(lambda: upstream.pool.idle == 1)
        await until(lambda: upstream.pool._warmer is None)
        assert claude.connections == 2
        connection.close()
        await until(lambda: upstream.pool.busy == 0)
        upstream.pool.close()


async def test_never_more_than_are_kept(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned, warm_connections=5, keepalive=1)
        upstream.pool.warm_up()
        await until(lambda: upstream.pool.idle == 1)
        assert upstream.pool._warmer is None
        assert claude.connections == 1
        upstream.pool.close()


async def test_none_are_opened_after_the_end(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned, warm_connections=2)
        upstream.pool.warm_up()
        upstream.pool._warmer.cancel()
        upstream.pool._open_warm()  # under way …
        upstream.pool.close()  # … when it ends
        await until(lambda: not upstream.pool._warming)
        assert (upstream.pool.idle, upstream.pool._open) == (0, set())
        assert upstream.pool._warmer is None
        await within(claude.all_closed.wait())


async def test_waits_and_connects_are_told(spawned):
    told = Told()
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned, told, max_connections=1, pool_timeout=0.01)
        assert told.pools == [upstream.pool]
        connection = await within(upstream.pool.acquire())
        assert (len(told.connects), told.waits) == (1, [])
        with pytest.raises(Exception, match="All connections to Claude are in use"):
            await within(upstream.pool.acquire())
        await until(lambda: told.waits == [True])
        left = upstream.pool.acquire()
        left.cancel()
        await until(lambda: told.waits == [True, False])
        served = upstream.pool.acquire()
        await whole(upstream, connection)
        assert await within(served) is connection
        assert told.waits == [True, False, False]
        upstream.pool.close()
        assert told.pools == []
        await until(lambda: upstream.pool.busy == 0)
