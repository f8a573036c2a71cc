"""What tests of the upstream side share: upstreams on their settings, sinks that remember, bounded waits."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import trustme

from gateway.core.call import Call
from gateway.core.errors import GatewayError
from gateway.tasks import TaskOwner
from gateway.upstream.client import Upstream
from gateway.upstream.pool import Observer
from gateway.upstream.settings import TransportSettings, UpstreamSettings

# Only a test that fails waits for so long.
PATIENCE = 10.0
POST = Call("POST", "/v1/messages", b'{"model":"claude-x"}', {"anthropic-version": "2023-06-01"}, stream=True)
GET = Call("GET", "/v1/models", b"", {})


class Spawned:
    """Starts tasks as the gateway does, and knows them."""

    def __init__(self, owner: TaskOwner) -> None:
        self._owner = owner
        self.tasks: list[asyncio.Task[Any]] = []

    def __call__(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._owner.spawn(coroutine)
        self.tasks.append(task)
        return task

    async def close(self) -> None:
        await self._owner.close()
        assert all(task.done() for task in self.tasks)


@dataclass
class Kept:
    """A sink that keeps what it is given."""

    parts: list[bytes] = field(default_factory=list)
    ended: bool = False
    error: GatewayError | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    def data(self, chunk: bytes) -> None:
        assert chunk
        assert not self.over.is_set()
        self.parts.append(chunk)

    def end(self) -> None:
        assert not self.over.is_set()
        self.ended = True
        self.over.set()

    def fail(self, error: GatewayError) -> None:
        assert not self.over.is_set()
        self.error = error
        self.over.set()

    async def wait(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.over.wait()


class Wire:
    """A transport at the byte seam: keeps what is written, and is paused and closed as told."""

    def __init__(self) -> None:
        self.written = b""
        self.reading = True
        self.closed = False
        self.unsent = 0

    def write(self, data: bytes) -> None:
        self.written += data

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Watched:
    """Keeps what is told of upstreams, but that they are there."""

    def __init__(self, told: list[tuple[Any, ...]] | None = None) -> None:
        self.told = [] if told is None else told

    def known(self, upstream: str) -> None:
        assert upstream

    def retry(self, upstream: str, code: str) -> None:
        self.told.append(("retry", upstream, code))

    def failover(self, upstream: str, code: str) -> None:
        self.told.append(("failover", upstream, code))

    def breaker(self, upstream: str, state: str) -> None:
        self.told.append(("breaker", upstream, state))

    def throttled(self, upstream: str, until: float) -> None:
        self.told.append(("throttled", upstream, until))


def upstream_at(
    url: str, spawn: Spawned, observer: Observer | None = None, *, key: str = "sk-ant-key", **settings: Any
) -> Upstream:
    """Return an upstream on some address; settings are laid over the defaults."""
    transport = TransportSettings(**{"warm_connections": 0, **settings})
    return Upstream(UpstreamSettings(name="claude", base_url=url, api_key=key), transport, spawn, observer)


async def whole(upstream: Upstream) -> Kept:
    """Ask for something small; return what the answer's sink was given in the end."""
    exchange, kept = upstream.send(await within(upstream.pool.acquire()), GET, {}), Kept()
    exchange.attach(kept)
    await kept.wait()
    return kept


def serving_as(authority: trustme.CA, *names: str, **given: Any) -> ssl.SSLContext:
    """Return the TLS of a server that has these names for everyone who trusts the authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names, **given).configure_cert(context)
    return context


def refusing_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


async def until(condition: Any) -> None:
    """Let the loop run until a condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the conditions are states of sockets, which announce nothing
            await asyncio.sleep(0)


async def within(awaitable: Any) -> Any:
    """Wait for something that has to come."""
    async with asyncio.timeout(PATIENCE):
        return await awaitable
