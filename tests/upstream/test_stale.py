"""Kept connections that Claude closes at the worst moment: the request goes out again, silently, once.

Claude's side is a bare socket that the test itself works, so that it closes exactly when the test says.
"""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from gateway.core.call import Call
from gateway.core.errors import UpstreamTruncated, UpstreamUnreachable
from gateway.upstream.attempts import Attempts
from gateway.upstream.routing import Upstreams
from gateway.upstream.settings import TransportSettings
from tests.support.upstreams import POST, Kept, Watched, until, upstream_at, within

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
_NO_LINGER = struct.pack("ii", 1, 0)


class Claude:
    """One listening socket, worked by hand."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.open: list[socket.socket] = []

    async def accept(self) -> socket.socket:
        sock, _ = await within(asyncio.get_running_loop().sock_accept(self.listener))
        self.open.append(sock)
        return sock

    async def request(self, sock: socket.socket) -> bytes:
        received = b""
        while not received.endswith(POST.body):
            received += await within(asyncio.get_running_loop().sock_recv(sock, 65536))
        return received

    def fin(self, sock: socket.socket) -> None:
        sock.close()
        self.open.remove(sock)

    def rst(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self.fin(sock)

    def close(self) -> None:
        for sock in (self.listener, *self.open):
            sock.close()


@pytest.fixture
async def claude():
    claude = Claude()
    yield claude
    claude.close()


class Asked:
    """A request on its way to an answer, with what was told of it."""

    def __init__(self, upstream, call=POST) -> None:
        self.told: list = []
        transport = TransportSettings(retries=0)
        upstreams = Upstreams([upstream], transport, Watched(self.told))
        self.attempts = Attempts(upstreams, call, {}, transport, self._wait)
        self.answer = asyncio.get_running_loop().create_task(self.attempts.answer())

    async def _wait(self, future, seconds):
        done, _ = await asyncio.wait({future}, timeout=min(seconds, 10))
        return bool(done)


async def body(exchange) -> bytes:
    exchange.attach(kept := Kept())
    await kept.wait()
    return kept.body


async def kept_connection(upstream, claude) -> socket.socket:
    """Have one exchange, and return Claude's end of its connection."""
    asked = Asked(upstream)
    sock = await claude.accept()
    await claude.request(sock)
    sock.send(ANSWER)
    assert await body(await within(asked.answer)) == b"hello"
    assert upstream.pool.idle == 1
    return sock


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_closed_while_idle_and_noticed_only_in_sending(how, claude, spawned):
    upstream = upstream_at(claude.url, spawned)
    sock = await kept_connection(upstream, claude)
    asked = Asked(upstream)
    getattr(claude, how)(sock)  # on loopback it is in our kernel now, and the loop has not run
    again = await claude.accept()
    await claude.request(again)
    again.send(ANSWER)
    assert await body(await within(asked.answer)) == b"hello"
    assert (asked.attempts.count, asked.told) == (1, [])
    upstream.pool.close()


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("read", [True, False], ids=["read", "unread"])
async def test_closed_when_the_request_has_come(how, read, claude, spawned):
    """Unread bytes make a reset of the closing, too."""
    upstream = upstream_at(claude.url, spawned)
    sock = await kept_connection(upstream, claude)
    asked = Asked(upstream)
    if read:
        await claude.request(sock)
    else:
        await until(lambda: upstream.pool.busy == 1)
    getattr(claude, how)(sock)
    again = await claude.accept()
    await claude.request(again)
    again.send(ANSWER)
    assert await body(await within(asked.answer)) == b"hello"
    assert (asked.attempts.count, asked.told) == (1, [])
    upstream.pool.close()


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_the_second_connection_is_new_even_if_others_are_kept(how, claude, spawned):
    """Whatever closed one of them may have closed all."""
    upstream = upstream_at(claude.url, spawned)
    at_once = [Asked(upstream) for _ in range(3)]
    socks = [await claude.accept() for _ in at_once]
    for sock in socks:
        await claude.request(sock)
        sock.send(ANSWER)
    for asked in at_once:
        await body(await within(asked.answer))
    assert upstream.pool.idle == 3
    asked = Asked(upstream)
    for sock in socks:
        getattr(claude, how)(sock)
    again = await claude.accept()
    await claude.request(again)
    again.send(ANSWER)
    assert await body(await within(asked.answer)) == b"hello"
    assert asked.attempts.count == 1
    upstream.pool.close()


async def test_a_reset_that_meets_a_large_body_halfway(claude, spawned):
    upstream = upstream_at(claude.url, spawned)
    sock = await kept_connection(upstream, claude)
    call = Call("POST", "/v1/messages", b"x" * 30_000_000, {}, stream=True)
    asked = Asked(upstream, call)
    await within(asyncio.get_running_loop().sock_recv(sock, 65536))
    claude.rst(sock)
    again = await claude.accept()
    received = 0
    while received < len(call.body):
        received += len(await within(asyncio.get_running_loop().sock_recv(again, 2**20)))
    again.send(ANSWER)
    assert await body(await within(asked.answer)) == b"hello"
    assert asked.attempts.count == 1
    upstream.pool.close()


@pytest.mark.parametrize("first", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n", b"H"])
async def test_closed_after_any_word_is_a_failure(first, claude, spawned):
    """Claude has read the request: whether to send it again is not a matter of the connection any more."""
    upstream = upstream_at(claude.url, spawned)
    sock = await kept_connection(upstream, claude)
    asked = Asked(upstream)
    await claude.request(sock)
    sock.send(first)
    claude.fin(sock)
    with pytest.raises(UpstreamTruncated):
        await within(asked.answer)
    upstream.pool.close()


async def test_a_new_connection_that_closes_without_a_word_is_a_failure(claude, spawned):
    upstream = upstream_at(claude.url, spawned)
    asked = Asked(upstream)
    sock = await claude.accept()
    await claude.request(sock)
    claude.fin(sock)
    with pytest.raises(UpstreamUnreachable):
        await within(asked.answer)
    assert upstream.pool.busy == 0
    upstream.pool.close()


async def test_a_farewell_on_an_idle_connection_is_nobodys_answer(claude, spawned):
    """Some servers say 408 to an idle connection before they close it."""
    upstream = upstream_at(claude.url, spawned)
    sock = await kept_connection(upstream, claude)
    sock.send(b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
    await until(lambda: upstream.pool.idle == 0)
    asked = Asked(upstream)
    again = await claude.accept()
    await claude.request(again)
    again.send(ANSWER)
    assert await body(await within(asked.answer)) == b"hello"
    assert asked.attempts.count == 1
    upstream.pool.close()
