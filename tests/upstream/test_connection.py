"""One exchange over a real socket: every form in which an answer can come, end, or fail to."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.errors import UpstreamMalformed, UpstreamTruncated, UpstreamUnreachable
from gateway.upstream.connection import Connection
from gateway.upstream.hiding import Secrets
from tests.support.scripted_upstream import SSE_HEAD, answer, scripted_upstream
from tests.support.upstreams import GET, POST, Kept, Wire, until, upstream_at, within

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


def say(*parts: bytes, then: str = "stay"):
    """Send some bytes, each in a packet of its own; then close, reset or stay."""

    async def script(peer):
        for part in parts:
            await peer.send(part)
        if then == "close":
            peer.writer.close()
        elif then == "reset":
            peer.reset()

    return script


async def ask(upstream, call=POST):
    """Return an exchange under way."""
    return upstream.send(await within(upstream.pool.acquire()), call, {})


async def whole(upstream, call=POST):
    """Return an exchange, and what its sink was given in the end."""
    exchange, kept = await ask(upstream, call), Kept()
    exchange.attach(kept)
    await kept.wait()
    return exchange, kept


def on_a_wire(max_headers: int = 4096, read_ahead: int = 256 * 1024):
    """Return an exchange on a connection without a socket, its wire, and what the pool is told."""
    wire, told = Wire(), []
    connection = Connection(lambda _: told.append("idle"), lambda _: told.append("closed"))
    connection.connection_made(wire)
    exchange = connection.start(asyncio.get_running_loop(), b"head", b"", max_headers, read_ahead, Secrets().hide)
    return exchange, connection, wire, told


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("sink", ["from the start", "late"])
async def test_however_an_answer_is_cut_into_reads_it_is_the_same(size, sink):
    answered = b"HTTP/1.1 103 Hint\r\nx: y\r\n\r\n" + SSE_HEAD + b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nx: t\r\n\r\n"
    exchange, connection, _, told = on_a_wire(max_headers=400)
    kept = Kept()
    if sink == "from the start":
        exchange.attach(kept)
    for start in range(0, len(answered), size):
        connection.data_received(answered[start : start + size])
    if sink == "late":
        exchange.attach(kept)
    assert (kept.body, kept.ended) == (b"hello world", True)
    assert exchange.headers["request-id"] == "req_claude"
    assert told == ["idle"]
    assert not connection.closing


@pytest.mark.parametrize("behind", [0, 1, 65_536 - 44, 70_000, 200_000])
async def test_a_large_read_is_taken_in_pieces_and_what_is_behind_the_answer_is_nobodys(behind):
    exchange, connection, wire, told = on_a_wire()
    kept = Kept()
    exchange.attach(kept)
    body = bytes(range(256)) * 512
    head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body)
    connection.data_received(head + body + b"x" * behind)
    assert (kept.body, kept.ended) == (body, True)
    assert max(map(len, kept.parts)) <= 65536
    assert wire.closed is bool(behind)
    assert told in ([], ["idle"])


async def test_framing_that_comes_alone_is_no_head_without_end():
    exchange, connection, _, _ = on_a_wire(max_headers=1024)
    kept = Kept()
    exchange.attach(kept)
    for piece in (SSE_HEAD, *[b"1\r\n", b"x", b"\r\n"] * 600, b"0\r\n\r\n"):
        connection.data_received(piece)
    assert (kept.body, kept.ended) == (b"x" * 600, True)


async def test_a_connection_is_not_used_again_while_a_request_is_still_on_its_way():
    exchange, connection, wire, told = on_a_wire()
    wire.unsent = 1
    connection.data_received(OK)
    assert exchange.complete
    assert wire.closed
    assert told == []


async def test_a_head_that_comes_after_an_abort_is_nobodys():
    exchange, connection, wire, _ = on_a_wire()
    exchange.abort()
    assert wire.closed
    connection.data_received(OK)
    assert exchange.head.cancelled()


@pytest.mark.parametrize(
    ("script", "body", "again"),
    [
        pytest.param(say(OK), b"hello", True, id="content-length"),
        pytest.param(say(SSE_HEAD + b"5\r\nhello\r\n0\r\n\r\n"), b"hello", True, id="chunked"),
        pytest.param(say(b"HTTP/1.1 204 No Content\r\n\r\n"), b"", True, id="204"),
        pytest.param(say(b"HTTP/1.1 304 Not Modified\r\n\r\n"), b"", True, id="304"),
        pytest.param(say(b"HTTP/1.1 100 Continue\r\n\r\n", OK), b"hello", True, id="100 first"),
        pytest.param(say(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK), b"hello", True, id="103 in one read"),
        pytest.param(say(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")), b"hello", False, id="close said"),
        pytest.param(say(b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello"), b"hello", False, id="1.0 with length"),
        pytest.param(say(b"HTTP/1.0 200 OK\r\n\r\nhel", b"lo", then="close"), b"hello", False, id="1.0 until close"),
        pytest.param(say(b"HTTP/1.1 200 OK\r\n\r\nhello", then="close"), b"hello", False, id="1.1 until close"),
        pytest.param(
            say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\n\r\nhello", then="close"), b"hello", False, id="identity"
        ),
        pytest.param(say(OK + OK), b"hello", False, id="two answers in one read"),
        pytest.param(say(OK + b"\0garbage"), b"hello", False, id="garbage after the end"),
        pytest.param(say(SSE_HEAD, b"5\r\n", b"hello", b"\r\n", b"0\r\nx-trailer: 1\r\n\r\n"), b"hello", True, id="trailer"),
    ],
)  # fmt: skip
async def test_an_answer_is_taken_in_every_form(script, body, again, spawned):
    async with scripted_upstream(script) as claude:
        upstream = upstream_at(claude.url, spawned)
        exchange, kept = await whole(upstream)
        assert (kept.body, kept.ended, kept.error) == (body, True, None)
        assert exchange.head.done()
        assert exchange.complete
        await until(lambda: upstream.pool.busy == 0)
        _, kept = await whole(upstream)
        assert kept.body == body
        assert claude.connections == (1 if again else 2)
        upstream.pool.close()
        await within(claude.all_closed.wait())


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param(say(OK[:-1], then="close"), UpstreamTruncated, id="content-length cut"),
        pytest.param(say(SSE_HEAD + b"5\r\nhello\r\n", then="close"), UpstreamTruncated, id="chunks cut"),
        pytest.param(say(SSE_HEAD + b"5\r\nhel", then="reset"), UpstreamTruncated, id="reset"),
        pytest.param(say(b"HTTP/1.1 200 OK\r\ncont", then="close"), UpstreamTruncated, id="head cut"),
        pytest.param(say(then="close"), UpstreamUnreachable, id="closed without a word"),
        pytest.param(say(then="reset"), UpstreamUnreachable, id="reset without a word"),
        pytest.param(say(b"SSH-2.0-OpenSSH_9.6\r\n"), UpstreamMalformed, id="garbage"),
        pytest.param(say(SSE_HEAD + b"zz\r\n"), UpstreamMalformed, id="garbage for a chunk"),
        pytest.param(
            say(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"), UpstreamMalformed, id="upgrade"
        ),
        pytest.param(
            say(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"), UpstreamMalformed, id="two lengths"
        ),
        pytest.param(say(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 5000), UpstreamMalformed, id="head too large"),
        pytest.param(say(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 2000 + b"\r\nhello"), UpstreamMalformed, id="large and whole"),
        pytest.param(say(b"HTTP/1.1 200 OK\r\n", *[b"x: " + b"y" * 900 + b"\r\n"] * 6), UpstreamMalformed, id="large in pieces"),
        pytest.param(say(*[b"HTTP/1.1 103 Hint\r\n\r\n" * 20] * 12), UpstreamMalformed, id="hints without end"),
        pytest.param(say(SSE_HEAD + b"0\r\nx: " + b"x" * 2500, b"x" * 2500), UpstreamMalformed, id="trailer without end"),
    ],
)  # fmt: skip
async def test_what_is_no_answer_fails_and_costs_only_its_connection(script, error, spawned):
    async with scripted_upstream(script, answer(200, b"good")) as claude:
        upstream = upstream_at(claude.url, spawned, max_headers=4096)
        exchange, kept = await whole(upstream)
        assert type(kept.error) is error
        assert not exchange.complete
        await until(lambda: upstream.pool.busy == 0)
        _, kept = await whole(upstream)
        assert kept.body == b"good"
        assert claude.connections == 2
        upstream.pool.close()


async def test_a_large_body_beside_the_head_is_no_large_head(spawned):
    async with scripted_upstream(answer(200, b"x" * 200_000)) as claude:
        upstream = upstream_at(claude.url, spawned, max_headers=4096)
        _, kept = await whole(upstream, GET)
        assert len(kept.body) == 200_000
        upstream.pool.close()


async def test_trailers_do_not_pass_for_headers(spawned):
    body = SSE_HEAD + b"1\r\nx\r\n0\r\ncontent-encoding: gzip\r\nrequest-id: forged\r\n\r\n"
    async with scripted_upstream(say(body)) as claude:
        upstream = upstream_at(claude.url, spawned)
        exchange, _ = await whole(upstream)
        assert exchange.headers["request-id"] == "req_claude"
        assert "content-encoding" not in exchange.headers
        upstream.pool.close()


async def test_hints_leave_no_header_behind(spawned):
    async with scripted_upstream(say(b"HTTP/1.1 103 Early\r\nrequest-id: hint\r\n\r\n", OK)) as claude:
        upstream = upstream_at(claude.url, spawned)
        exchange, _ = await whole(upstream)
        assert exchange.status == 200
        assert exchange.headers == {"content-length": "5"}
        upstream.pool.close()


async def test_a_complete_answer_waits_for_its_sink_after_its_connection_is_with_somebody_else(spawned):
    """Attaching late must not touch the flow control of the exchange that has the connection now."""
    async with scripted_upstream(say(OK), say(SSE_HEAD + b"3\r\none\r\n")) as claude:
        upstream = upstream_at(claude.url, spawned)
        first = await ask(upstream)
        await until(lambda: first.complete)
        second, kept = await ask(upstream), Kept()
        second.attach(kept)
        await until(lambda: kept.parts)
        second.pause()
        late = Kept()
        first.attach(late)
        first.pause()
        first.resume()
        first.abort()
        assert (late.body, late.ended) == (b"hello", True)
        assert second._connection._paused
        assert not second._connection.closing
        assert claude.connections == 1
        upstream.pool.close()
        await kept.wait()


async def test_a_sink_that_is_blocked_by_the_last_bytes_does_not_stall_the_next_exchange(spawned):
    class Blocked(Kept):
        def data(self, chunk):
            super().data(chunk)
            exchange.pause()

    async with scripted_upstream(say(OK)) as claude:
        upstream = upstream_at(claude.url, spawned)
        exchange, kept = await ask(upstream), Blocked()
        exchange.attach(kept)
        await kept.wait()
        _, after = await whole(upstream)
        assert after.body == b"hello"
        assert claude.connections == 1
        upstream.pool.close()


async def test_a_sink_that_pauses_while_it_is_attached_stays_paused(spawned):
    class Paused(Kept):
        def data(self, chunk):
            super().data(chunk)
            exchange.pause()

    async with scripted_upstream(say(SSE_HEAD + b"3\r\none\r\n", b"3\r\ntwo\r\n")) as claude:
        upstream = upstream_at(claude.url, spawned)
        exchange, kept = await ask(upstream), Paused()
        await until(lambda: exchange._batch)
        exchange.attach(kept)
        assert exchange._connection._paused
        exchange.resume()
        await until(lambda: kept.body == b"onetwo")
        upstream.pool.close()
        await kept.wait()


async def test_without_a_sink_little_is_read_ahead(spawned):
    """Until somebody takes it, an endless body is read up to a bound; then all of it comes."""
    size = 8 * 1024 * 1024

    async def endless(peer):
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        await peer.send(b"x" * size)

    async with scripted_upstream(endless) as claude:
        upstream = upstream_at(claude.url, spawned)
        exchange = await ask(upstream)
        await until(lambda: exchange._connection._paused)
        assert sum(map(len, exchange._batch)) <= 2 * 256 * 1024
        kept = Kept()
        exchange.attach(kept)
        await kept.wait()
        assert len(kept.body) == size
        upstream.pool.close()


async def test_what_is_read_ahead_has_the_bound_that_is_set():
    exchange, connection, wire, _ = on_a_wire(read_ahead=8)
    connection.data_received(b"HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n12345678")
    assert wire.reading
    connection.data_received(b"9")
    assert not wire.reading
    kept = Kept()
    exchange.attach(kept)
    assert (kept.body, wire.reading) == (b"123456789", True)


async def test_a_paused_exchange_reads_nothing_and_then_everything(spawned):
    size = 4 * 1024 * 1024
    sent = asyncio.Event()

    async def large(peer):
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\nx" % size)
        peer.writer.write(b"x" * (size - 1))
        sent.set()
        await peer.writer.drain()

    async with scripted_upstream(large) as claude:
        upstream = upstream_at(claude.url, spawned)
        exchange, kept = await ask(upstream), Kept()
        exchange.pause()
        exchange.pause()
        exchange.attach(kept)
        await within(sent.wait())
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(kept.body) <= 256 * 1024
        exchange.resume()
        exchange.resume()
        await kept.wait()
        assert len(kept.body) == size
        upstream.pool.close()


async def test_an_early_refusal_of_a_large_request_is_an_answer(spawned):
    """413 while 30 MB are on their way: the answer counts, the connection is not used again."""
    refusal = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"
    large = POST.__class__("POST", "/v1/messages", b"x" * (30 * 1024 * 1024), {})

    async def early(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refusal)
        await writer.drain()
        await reader.read(1)
        transports.append(writer.transport)
        hold.append(writer)

    transports, hold = [], []
    server = await asyncio.start_server(early, "127.0.0.1", 0, limit=65536)
    upstream = upstream_at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", spawned)
    for _ in range(2):
        exchange, kept = await whole(upstream, large)
        assert (exchange.status, kept.body) == (413, b"no")
        await until(lambda: upstream.pool.busy == 0)
    await until(lambda: len(transports) == 2)
    upstream.pool.close()
    server.close()
    for transport in transports:
        transport.abort()


async def test_an_early_refusal_that_closes_is_an_answer_too(spawned):
    """The upstream answers, closes, and resets what still comes."""

    async def early(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(early, "127.0.0.1", 0)
    upstream = upstream_at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", spawned)
    large = POST.__class__("POST", "/v1/messages", b"x" * (30 * 1024 * 1024), {})
    exchange, kept = await whole(upstream, large)
    assert (exchange.status, kept.body) == (413, b"no")
    await until(lambda: upstream.pool.busy == 0)
    upstream.pool.close()
    server.close()


async def test_an_abort_closes_at_once_and_nobody_is_told(spawned):
    closed = asyncio.Event()

    async def silent(peer):
        await peer.send(SSE_HEAD + b"3\r\none\r\n")
        await peer.closed()
        closed.set()

    async with scripted_upstream(silent) as claude:
        upstream = upstream_at(claude.url, spawned)
        exchange, kept = await ask(upstream), Kept()
        exchange.attach(kept)
        await until(lambda: kept.parts)
        exchange.abort()
        exchange.abort()
        await within(closed.wait())
        await until(lambda: upstream.pool.busy == 0)
        assert not kept.over.is_set()


async def test_an_abort_before_the_head_cancels_the_wait_for_it(spawned):
    async def silent(peer):
        await peer.closed()

    async with scripted_upstream(silent) as claude:
        upstream = upstream_at(claude.url, spawned)
        exchange = await ask(upstream)
        exchange.abort()
        assert exchange.head.cancelled()
        await within(claude.all_closed.wait())
        await until(lambda: upstream.pool.busy == 0)


async def test_a_request_on_a_connection_that_was_lost_fails_at_once(spawned):
    async with scripted_upstream(say(OK)) as claude:
        upstream = upstream_at(claude.url, spawned)
        connection = await within(upstream.pool.acquire())
        connection.close()
        closing = upstream.send(connection, POST, {})
        assert isinstance(closing.head.exception(), UpstreamUnreachable)
        await until(lambda: upstream.pool.busy == 0)
        lost = upstream.send(connection, POST, {})
        assert isinstance(lost.head.exception(), UpstreamUnreachable)
        lost.resume()
        lost.abort()
        connection.close()
        assert upstream.pool.busy == 0


async def test_a_body_until_close_that_we_closed_ourselves_is_not_whole(spawned):
    async with scripted_upstream(say(b"HTTP/1.1 200 OK\r\n\r\nhel")) as claude:
        upstream = upstream_at(claude.url, spawned)
        exchange, kept = await ask(upstream), Kept()
        exchange.attach(kept)
        await until(lambda: kept.parts)
        upstream.pool.close()
        await kept.wait()
        assert isinstance(kept.error, UpstreamTruncated)


async def test_bytes_that_nobody_asked_for_close_an_idle_connection(spawned):
    talk = asyncio.Event()

    async def chatty(peer):
        await peer.send(OK)
        await talk.wait()
        await peer.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        await peer.closed()

    async with scripted_upstream(chatty) as claude:
        upstream = upstream_at(claude.url, spawned)
        await whole(upstream)
        talk.set()
        await within(claude.all_closed.wait())
        assert upstream.pool.busy == 0
        claude.play(say(OK))
        _, kept = await whole(upstream)
        assert kept.body == b"hello"
        assert claude.connections == 2
        upstream.pool.close()


async def test_the_fault_of_a_sink_ends_the_exchange(spawned):
    """A bug of ours closes the connection; it must not leave a place taken."""
    seen = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context["exception"]))

    class Broken(Kept):
        def data(self, _):
            raise ZeroDivisionError

    attached = asyncio.Event()

    async def script(peer):
        await peer.send(SSE_HEAD)
        await attached.wait()
        await peer.chunk(b"one")

    async with scripted_upstream(script) as claude:
        upstream = upstream_at(claude.url, spawned)
        exchange, kept = await ask(upstream), Broken()
        exchange.attach(kept)
        attached.set()
        await kept.wait()
        assert isinstance(kept.error, UpstreamTruncated)
        assert isinstance(seen[0], ZeroDivisionError)
        await until(lambda: upstream.pool.busy == 0)


async def test_headers_quote_no_credential_and_the_body_can_be_freed_of_it(spawned):
    head = b"HTTP/1.1 400 Bad\r\nx-sk-ant-Key-1: a\r\nx: <sk-ant-Key-1>\r\ncontent-length: 12\r\n\r\n"
    async with scripted_upstream(say(head, b"sk-ant-Key-1")) as claude:
        exchange, kept = await whole(upstream_at(claude.url, spawned, key=" sk-ant-Key-1\n"))
    assert exchange.headers == {"x-***": "a", "x": "<***>", "content-length": "12"}
    assert exchange.hide(kept.body) == b"***"
