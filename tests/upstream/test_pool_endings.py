"""The pool's books after any mixture of endings: every place is free again, and nothing is left open."""

from __future__ import annotations

import asyncio
import random

import pytest

from gateway.core.errors import GatewayError
from tests.support.scripted_upstream import SSE_HEAD, scripted_upstream
from tests.support.upstreams import GET, Kept, until, upstream_at, within

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
LIMIT = 3


def behaviour(choice: random.Random):
    """Return an upstream that does something else with every request."""

    async def script(peer):
        match choice.randrange(10):
            case 0 | 1 | 2:
                await peer.send(OK)
            case 3:
                await peer.send(OK)
                peer.writer.close()  # in order, but without having said so: the next one meets a stale connection
            case 4:
                await peer.send(OK, b"\0unasked")
            case 5:
                peer.reset()
            case 6:
                await peer.send(SSE_HEAD + b"3\r\none\r\n")
                peer.reset()
            case 7:
                await peer.send(b"garbage\r\n\r\n")
            case 8:
                await peer.send(b"HTTP/1.0 200 OK\r\n\r\nhello")
                peer.writer.close()
            case _:
                await peer.send(SSE_HEAD + b"3\r\none\r\n")
                await peer.closed()

    return script


class Callers:
    """Callers of one pool, each leaving at a moment of its own."""

    def __init__(self, upstream, choice):
        self.upstream = upstream
        self.choice = choice
        self.most = 0

    async def call(self):
        await self._pause(3)
        future = self.upstream.pool.acquire(fresh=self.choice.random() < 0.2)
        self.most = max(self.most, self.upstream.pool.busy)
        if self.choice.random() < 0.2:
            await self._pause(30)
            if not future.cancel() and future.exception() is None:
                future.result().close()
            return
        try:
            connection = await future
        except GatewayError:
            return
        exchange, kept = self.upstream.send(connection, GET, {}), Kept()
        if self.choice.random() < 0.7:
            exchange.attach(kept)
            if self.choice.random() < 0.3:
                exchange.pause()
                await self._pause(20)
                exchange.resume()
            if self.choice.random() < 0.7:
                leaving = asyncio.get_running_loop().call_later(0.05, kept.over.set)
                await kept.over.wait()
                leaving.cancel()
        else:
            await self._pause(30)
        exchange.abort()

    async def _pause(self, most):
        for _ in range(self.choice.randrange(most)):
            await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_to_its_connections_a_pool_ends_with_none_in_use(seed, spawned):
    choice = random.Random(seed)
    async with scripted_upstream(behaviour(choice)) as claude:
        upstream = upstream_at(claude.url, spawned, max_connections=LIMIT, pool_timeout=0.2, keepalive=2)
        callers = Callers(upstream, choice)
        await within(asyncio.gather(*(callers.call() for _ in range(60))))
        await until(lambda: upstream.pool.busy == 0)
        assert callers.most == LIMIT
        assert len(upstream.pool._idle) <= 2
        assert upstream.pool._open == set(upstream.pool._idle)
        assert not any(connection._paused for connection in upstream.pool._idle)
        assert upstream.pool._waiters == {}
        upstream.pool.close()
        await until(lambda: not upstream.pool._open)
        await within(claude.all_closed.wait())
