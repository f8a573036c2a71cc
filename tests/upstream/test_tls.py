"""TLS towards Claude: verified, and with flow control that loses nothing."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.errors import UpstreamUnreachable
from tests.support.scripted_upstream import answer, scripted_upstream
from tests.support.upstreams import POST, Kept, serving_as, until, upstream_at, whole, within


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
async def test_a_certificate_of_the_right_authority_and_name_is_trusted(name, authority, trusted, spawned):
    async with scripted_upstream(answer(200, b"hello"), tls=serving_as(authority, name)) as claude:
        upstream = upstream_at(claude.url.replace("localhost", name), spawned, ca_file=trusted)
        for _ in range(2):
            kept = await whole(upstream)
            assert (kept.body, kept.error) == (b"hello", None)
        assert claude.connections == 1
        upstream.pool.close()
        await until(lambda: not upstream.pool._open)


@pytest.mark.parametrize(
    ("name", "known", "reason"),
    [("localhost", False, "issuer certificate"), ("other.example", True, "Hostname mismatch")],
)
async def test_any_other_certificate_is_refused_and_only_the_log_is_told_why(
    name, known, reason, authority, trusted, spawned
):
    async with scripted_upstream(tls=serving_as(authority, name)) as claude:
        upstream = upstream_at(claude.url, spawned, ca_file=trusted if known else None)
        with pytest.raises(UpstreamUnreachable) as caught:
            await within(upstream.pool.acquire())
        assert caught.value.message == "Claude could not be reached."
        assert caught.value.detail.startswith(f"TLS with {claude.url[8:]} failed: the certificate is not trusted: ")
        assert reason in caught.value.detail
        assert upstream.pool.busy == 0
        assert claude.requests == []


async def test_a_server_without_tls_is_unreachable(trusted, spawned):
    async def plain(reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream = upstream_at(f"https://localhost:{port}", spawned, ca_file=trusted)
    with pytest.raises(UpstreamUnreachable):
        await within(upstream.pool.acquire())
    assert upstream.pool.busy == 0
    server.close()


@pytest.mark.parametrize("size", [20_000, 200_000])
async def test_what_waits_while_paused_survives_that_claude_closes(size, authority, trusted, spawned):
    """Everything was sent and the connection closed long before the slow client lets us read on."""
    gone = asyncio.Event()

    async def all_at_once(peer):
        head = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % size
        peer.writer.write(head + b"x" * size)
        await until(lambda: peer.writer.transport.get_write_buffer_size() == 0)
        peer.reset()  # without the farewell of TLS; uvloop takes that for the end at once
        gone.set()

    async with scripted_upstream(all_at_once, tls=serving_as(authority, "localhost")) as claude:
        upstream = upstream_at(claude.url, spawned, ca_file=trusted)
        exchange, kept = upstream.send(await within(upstream.pool.acquire()), POST, {}), Kept()
        exchange.pause()
        exchange.attach(kept)
        await within(gone.wait())
        for _ in range(200):
            await asyncio.sleep(0)
        assert kept.body == b""
        exchange.resume()
        await kept.wait()
        assert kept.error is None
        assert len(kept.body) == size
        await until(lambda: upstream.pool.busy == 0)


async def test_a_body_until_close_is_whole_when_tls_says_so(authority, trusted, spawned):
    async def until_close(peer):
        await peer.send(b"HTTP/1.0 200 OK\r\n\r\nhello")
        peer.writer.close()

    async with scripted_upstream(until_close, tls=serving_as(authority, "localhost")) as claude:
        upstream = upstream_at(claude.url, spawned, ca_file=trusted)
        kept = await whole(upstream)
        assert (kept.body, kept.error) == (b"hello", None)
        await until(lambda: upstream.pool.busy == 0)


async def test_an_abort_over_tls_closes_at_once(authority, trusted, spawned):
    closed = asyncio.Event()

    async def silent(peer):
        try:
            await peer.closed()
        finally:
            closed.set()

    async with scripted_upstream(silent, tls=serving_as(authority, "localhost")) as claude:
        upstream = upstream_at(claude.url, spawned, ca_file=trusted)
        exchange = upstream.send(await within(upstream.pool.acquire()), POST, {})
        await until(lambda: claude.requests)
        exchange.abort()
        await within(closed.wait())
        await until(lambda: upstream.pool.busy == 0)


async def test_a_handshake_that_takes_too_long_is_a_timeout(trusted, spawned):
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream = upstream_at(f"https://localhost:{port}", spawned, ca_file=trusted, connect_timeout=0.05)
    with pytest.raises(Exception, match="could not be reached in time") as caught:
        await within(upstream.pool.acquire())
    assert caught.value.code == "upstream_timeout"
    assert upstream.pool.busy == 0
    server.close()
