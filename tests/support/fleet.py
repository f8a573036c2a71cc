"""Several upstreams in order for tests: real sockets, requests whose waits take no time, and what is told of them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

from gateway.upstream.attempts import Attempts
from gateway.upstream.routing import Upstreams
from gateway.upstream.settings import TransportSettings
from tests.support.scripted_upstream import answer, scripted_upstream
from tests.support.upstreams import POST, Watched, refusing_port, until, upstream_at

OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
GOOD = answer(200, b"good")
NAMES = ("first", "second", "third")


def refuse(status: int, *headers: bytes):
    return answer(status, OVERLOADED, b"content-type: application/json", *headers)


async def reset(peer):
    peer.reset()


async def silence(peer):
    await peer.closed()


class Fleet:
    """Some upstreams, what is told of them, and requests to them whose waits take no time."""

    def __init__(self, claudes, upstreams, **settings) -> None:
        self.claudes = claudes
        self.settings = TransportSettings(**settings)
        self.watched = Watched()
        self.upstreams = Upstreams(upstreams, self.settings, self.watched)
        self.backoffs: list[float] = []

    async def wait(self, future, seconds):
        if seconds not in (float("inf"), self.settings.first_event_timeout):
            self.backoffs.append(seconds)
            return False
        async with asyncio.timeout(5):
            await asyncio.wait({future})
        return True

    def attempts(self, wait=None, call=POST) -> Attempts:
        return Attempts(self.upstreams, call, {}, self.settings, wait or self.wait, jitter=lambda: 0.0)

    async def ask(self, call=POST) -> tuple[int, str]:
        """Make a request and let it end; return the status and who answered."""
        attempts = self.attempts(call=call)
        try:
            exchange = await attempts.answer()
            await until(lambda: exchange.complete)
            return exchange.status, attempts.upstream
        finally:
            attempts.close()

    @property
    def asked(self) -> list[int]:
        return [len(claude.requests) for claude in self.claudes]

    @property
    def busy(self) -> list[int]:
        return [upstream.pool.busy for upstream in self.upstreams]

    def told(self, kind: str) -> list[tuple]:
        return [entry[1:] for entry in self.watched.told if entry[0] == kind]


@asynccontextmanager
async def fleet(spawned, *scripts, **settings):
    """Serve one upstream for each list of scripts; None is one that refuses connections."""
    async with AsyncExitStack() as stack:
        claudes, upstreams = [], []
        for name, script in zip(NAMES, scripts, strict=False):
            url = f"http://127.0.0.1:{refusing_port()}"
            if script is not None:
                claude = await stack.enter_async_context(scripted_upstream(*script))
                claudes.append(claude)
                url = claude.url
            upstream = upstream_at(url, spawned, **settings)
            upstream.name = name
            stack.callback(upstream.pool.close)
            upstreams.append(upstream)
        yield Fleet(claudes, upstreams, **settings)
