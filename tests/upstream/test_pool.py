"""Connections to one upstream: kept, bounded, and accounted for under every ending."""

from __future__ import annotations

import asyncio
import resource
import socket

import pytest

from gateway.core.errors import Draining, Overloaded, UpstreamTimeout, UpstreamUnreachable
from gateway.upstream.dial import Address, Dialer
from gateway.upstream.pool import Pool
from gateway.upstream.settings import TransportSettings
from tests.support.scripted_upstream import answer, scripted_upstream
from tests.support.upstreams import GET, Kept, refusing_port, until, upstream_at, within

HELLO = answer(200, b"hello")


async def whole(upstream, connection=None):
    """Ask, and return what came."""
    exchange = upstream.send(connection or await within(upstream.pool.acquire()), GET, {})
    kept = Kept()
    exchange.attach(kept)
    await kept.wait()
    return exchange


async def test_an_idle_connection_is_used_again_the_last_one_first(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned)
        one, two = [await within(upstream.pool.acquire()) for _ in range(2)]
        assert upstream.pool.busy == 2
        await whole(upstream, one)
        await whole(upstream, two)
        assert upstream.pool.busy == 0
        assert await within(upstream.pool.acquire()) is two
        assert await within(upstream.pool.acquire()) is one
        assert claude.connections == 2
        upstream.pool.close()
        await until(lambda: upstream.pool.busy == 0)


async def test_an_exchange_knows_whether_its_connection_was_idle_before(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned)
        assert not (await whole(upstream)).reused
        assert (await whole(upstream)).reused
        fresh = await within(upstream.pool.acquire(fresh=True))
        assert not (await whole(upstream, fresh)).reused
        upstream.pool.close()


async def test_a_connection_whose_waiter_left_is_kept_for_the_next(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned)
        future = upstream.pool.acquire()
        future.cancel()
        await until(lambda: upstream.pool.busy == 0)
        assert (await whole(upstream)).reused  # it was idle: the other side may have closed it meanwhile
        assert claude.connections == 1
        upstream.pool.close()


async def test_no_more_idle_ones_are_kept_than_asked_for(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned, keepalive=1)
        connections = [await within(upstream.pool.acquire()) for _ in range(3)]
        for connection in connections:
            await whole(upstream, connection)
        await until(lambda: claude.open == 1)
        assert upstream.pool.busy == 0
        upstream.pool.close()
        await within(claude.all_closed.wait())


async def test_an_idle_connection_that_the_peer_closes_is_forgotten(spawned):
    async def once(peer):
        await HELLO(peer)
        peer.writer.close()

    async with scripted_upstream(once, HELLO) as claude:
        upstream = upstream_at(claude.url, spawned)
        await whole(upstream)
        await until(lambda: not upstream.pool._open)
        assert upstream.pool._idle == []
        assert upstream.pool.busy == 0
        await whole(upstream)
        assert claude.connections == 2
        upstream.pool.close()


async def test_an_idle_connection_that_is_closing_is_not_given_out(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned)
        connection = await within(upstream.pool.acquire())
        await whole(upstream, connection)
        connection.close()
        other = await within(upstream.pool.acquire())
        assert other is not connection
        assert upstream.pool.busy == 1
        other.close()
        await until(lambda: upstream.pool.busy == 0)


@pytest.mark.parametrize("keepalive_timeout", [0.02, 0])
async def test_idle_connections_are_closed_after_their_time(keepalive_timeout, spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned, keepalive_timeout=keepalive_timeout)
        one, two = [await within(upstream.pool.acquire()) for _ in range(2)]
        await whole(upstream, one)
        await whole(upstream, two)
        await within(claude.all_closed.wait())
        assert upstream.pool._open == set()
        assert upstream.pool._sweeper is None
        assert upstream.pool.busy == 0


async def test_an_idle_connection_is_not_closed_before_its_time(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned, keepalive_timeout=30)
        await whole(upstream)
        upstream.pool._sweep()  # as its timer would, too early
        assert upstream.pool._sweeper is not None
        await whole(upstream)
        assert claude.connections == 1
        upstream.pool.close()


async def test_who_finds_none_free_waits_and_is_served_in_turn(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned, max_connections=1)
        first = await within(upstream.pool.acquire())
        second, left, third = (upstream.pool.acquire() for _ in range(3))
        left.cancel()
        assert not second.done()
        await whole(upstream, first)
        assert second.done()
        assert not third.done()
        assert upstream.pool.busy == 1
        second.result().close()
        await whole(upstream, await within(third))
        assert upstream.pool.busy == 0
        assert upstream.pool._waiters == {}
        assert claude.connections == 2
        upstream.pool.close()


async def test_a_waiter_that_left_just_now_is_passed_over(spawned):
    """Cancelled, but the loop has not called back yet when a place becomes free."""
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned, max_connections=1)
        first = await within(upstream.pool.acquire())
        left, next_one = upstream.pool.acquire(), upstream.pool.acquire()
        left.cancel()
        upstream.pool._on_idle(first)
        assert next_one.result() is first
        upstream.pool.close()
        await until(lambda: upstream.pool.busy == 0)


async def test_a_waiter_that_wants_a_fresh_connection_gets_one(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned, max_connections=1)
        first = await within(upstream.pool.acquire())
        waiter = upstream.pool.acquire(fresh=True)
        await whole(upstream, first)
        assert await within(waiter) is not first
        upstream.pool.close()
        await until(lambda: upstream.pool.busy == 0)


async def test_the_wait_for_a_free_one_is_bounded(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned, max_connections=1, pool_timeout=0.01)
        connection = await within(upstream.pool.acquire())
        with pytest.raises(Overloaded) as caught:
            await within(upstream.pool.acquire())
        assert caught.value.status == 503
        assert caught.value.retry_after == 1.0
        await until(lambda: upstream.pool._waiters == {})
        connection.close()
        await until(lambda: upstream.pool.busy == 0)


async def test_a_wait_that_is_over_as_it_ends_stays_over(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned)
        future = upstream.pool.acquire()
        connection = await within(future)
        upstream.pool._give_up(future)
        assert future.result() is connection
        upstream.pool.close()


async def test_a_port_that_nobody_listens_on_is_unreachable(spawned):
    port = refusing_port()
    upstream = upstream_at(f"http://127.0.0.1:{port}", spawned)
    with pytest.raises(UpstreamUnreachable) as caught:
        await within(upstream.pool.acquire())
    assert caught.value.message == "Claude could not be reached."
    assert caught.value.detail.startswith(f"connecting to 127.0.0.1:{port} failed: ConnectionRefusedError")
    assert upstream.pool.busy == 0


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".example", "x..y"])
async def test_a_name_that_is_none_is_unreachable(host, spawned):
    settings = TransportSettings()
    pool = Pool("claude", Dialer(Address(host, 80, None), None, settings), settings, spawned)
    with pytest.raises(UpstreamUnreachable):
        await within(pool.acquire())
    assert pool.busy == 0


async def test_a_connect_that_takes_too_long_is_a_timeout(spawned):
    """A listener whose queue is full leaves a connect hanging."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        upstream = upstream_at(f"http://127.0.0.1:{listener.getsockname()[1]}", spawned, connect_timeout=0.05)
        with pytest.raises(UpstreamTimeout) as caught:
            await within(upstream.pool.acquire())
        assert caught.value.detail.endswith(" took longer than 0.05 s")
        assert upstream.pool.busy == 0
        for filler in fillers:
            filler.close()


async def test_a_failed_connect_whose_waiter_left_frees_its_place(spawned):
    upstream = upstream_at(f"http://127.0.0.1:{refusing_port()}", spawned)
    upstream.pool.acquire().cancel()
    assert upstream.pool.busy == 1
    await until(lambda: upstream.pool.busy == 0)


async def test_a_failed_connect_lets_the_next_one_try(spawned):
    upstream = upstream_at(f"http://127.0.0.1:{refusing_port()}", spawned, max_connections=1)
    futures = [upstream.pool.acquire() for _ in range(3)]
    for future in futures:
        with pytest.raises(UpstreamUnreachable):
            await within(future)
    assert upstream.pool.busy == 0


@pytest.mark.parametrize("greeting", [b"", b"220 mail.example ESMTP\r\n"])
async def test_a_peer_that_closes_or_talks_before_it_is_asked_costs_no_place(greeting, spawned):
    async def rude(reader, writer):
        writer.write(greeting)
        writer.close()

    server = await asyncio.start_server(rude, "127.0.0.1", 0)
    upstream = upstream_at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", spawned)
    for _ in range(20):
        try:
            connection = await within(upstream.pool.acquire())
        except UpstreamUnreachable:
            continue
        exchange = upstream.send(connection, GET, {})
        await until(exchange.head.done)
        assert exchange.head.exception() is not None
    await until(lambda: upstream.pool.busy == 0)
    assert upstream.pool._open == set()
    server.close()


async def test_a_connection_that_closes_between_its_opening_and_its_handing_over_is_no_connection(spawned):
    async def opened_and_closed(connecting):
        connection = await connecting
        connection.close()
        return connection

    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, lambda connecting: spawned(opened_and_closed(connecting)))
        with pytest.raises(UpstreamUnreachable) as caught:
            await within(upstream.pool.acquire())
        assert caught.value.detail == "closed right after connecting"
        assert upstream.pool.busy == 0
        await within(claude.all_closed.wait())


async def test_a_bug_in_connecting_frees_its_place():
    async def broken(connecting):
        connecting.close()
        raise ZeroDivisionError

    loop = asyncio.get_running_loop()
    upstream = upstream_at("http://127.0.0.1", lambda connecting: loop.create_task(broken(connecting)))
    with pytest.raises(UpstreamUnreachable) as caught:
        await within(upstream.pool.acquire())
    assert caught.value.detail == "ZeroDivisionError()"
    assert upstream.pool.busy == 0


async def test_closing_ends_everything_and_tells_who_waits(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned, max_connections=2)
        await whole(upstream)
        busy = [await within(upstream.pool.acquire()) for _ in range(2)]
        left, waiting = upstream.pool.acquire(), upstream.pool.acquire()
        left.cancel()
        upstream.pool.close()
        assert isinstance(waiting.exception(), Draining)
        assert isinstance(upstream.pool.acquire().exception(), Draining)
        await until(lambda: upstream.pool.busy == 0)
        assert all(connection.closing for connection in busy)
        await within(claude.all_closed.wait())


async def test_a_connection_that_opens_after_the_end_is_closed(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned)
        future = upstream.pool.acquire()
        upstream.pool.close()
        with pytest.raises(Draining):
            await within(future)
        assert upstream.pool.busy == 0
        await within(claude.all_closed.wait())


async def test_a_connect_that_is_cancelled_at_shutdown_tells_who_waits(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned)
        future = upstream.pool.acquire()
        await asyncio.sleep(0)
        await spawned.close()
        with pytest.raises(Draining):
            await within(future)
        assert upstream.pool.busy == 0


async def test_an_exchange_that_ends_after_the_close_is_not_kept(spawned):
    async with scripted_upstream(HELLO) as claude:
        upstream = upstream_at(claude.url, spawned)
        connection = await within(upstream.pool.acquire())
        upstream.pool._closed = True  # as between the close and the callback of a read
        await whole(upstream, connection)
        await until(lambda: upstream.pool.busy == 0)
        assert upstream.pool._idle == []


async def test_without_open_files_a_request_is_refused_and_the_next_one_tries_again(spawned):
    """A descriptor for its socket is all that is missing; the upstream listens."""
    async with scripted_upstream() as claude:
        upstream = upstream_at(claude.url, spawned)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with pytest.raises(Overloaded) as refused:
                await within(upstream.pool.acquire())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert refused.value.limit == "open_files"
        connection = await within(upstream.pool.acquire())
        connection.close()
