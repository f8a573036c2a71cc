"""The way to an answer: what is tried again, when, and what is left behind by whoever gives up."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from gateway.core.call import Call
from gateway.core.errors import (
    Draining,
    Overloaded,
    UpstreamMalformed,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.upstream.attempts import Attempts
from gateway.upstream.routing import Upstreams
from gateway.upstream.settings import TransportSettings
from tests.support.scripted_upstream import SSE_HEAD, answer, scripted_upstream
from tests.support.upstreams import POST, Kept, Watched, refusing_port, until, upstream_at, within

OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
GOOD = answer(200, b"good")


class Waits:
    """Waits as a job does, but back-off takes no time; remembers what was waited for."""

    def __init__(self) -> None:
        self.backoffs: list[float] = []

    async def __call__(self, future, seconds):
        if seconds not in (float("inf"), 120.0):
            self.backoffs.append(seconds)
            return False
        async with asyncio.timeout(5):
            await asyncio.wait({future})
        return True


def attempts_at(*upstreams, call=POST, wait=None, jitter=lambda: 1.0, told=None, **settings):
    transport = TransportSettings(**settings)
    watch = Watched() if told is None else Watched(told)
    return Attempts(Upstreams(upstreams, transport, watch), call, {}, transport, wait or Waits(), jitter=jitter)


def refuse(status: int, *headers: bytes):
    return answer(status, OVERLOADED, b"content-type: application/json", *headers)


async def closed_silently(peer):
    peer.reset()


async def test_an_answer_is_the_first_attempts_when_it_is_good(spawned):
    async with scripted_upstream(GOOD) as claude:
        upstream = upstream_at(claude.url, spawned)
        attempts = attempts_at(upstream, wait=(waits := Waits()), told=(told := []))
        exchange = await attempts.answer()
        assert exchange.status == 200
        assert (attempts.count, attempts.upstream) == (1, "claude")
        assert attempts.started == attempts.last_started
        assert waits.backoffs == told == []
        upstream.pool.close()


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
async def test_what_may_pass_is_tried_again(status, spawned):
    async with scripted_upstream(refuse(status), GOOD) as claude:
        upstream = upstream_at(claude.url, spawned)
        attempts = attempts_at(upstream, wait=(waits := Waits()), told=(told := []))
        exchange = await attempts.answer()
        assert exchange.status == 200
        assert attempts.count == 2
        assert attempts.last_started >= attempts.started
        assert waits.backoffs == [0.5]
        assert [entry[:2] for entry in told] == [("retry", "claude")]
        upstream.pool.close()


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
async def test_what_will_not_pass_is_the_answer(status, spawned):
    async with scripted_upstream(refuse(status), GOOD) as claude:
        upstream = upstream_at(claude.url, spawned)
        exchange = await attempts_at(upstream).answer()
        assert exchange.status == status
        assert len(claude.requests) == 1
        upstream.pool.close()


@pytest.mark.parametrize(
    ("status", "header", "attempts"),
    [
        (529, b"x-should-retry: false", 1),
        (429, b"X-Should-Retry: FALSE", 1),
        (400, b"x-should-retry: true", 2),
        (200, b"x-should-retry: true", 1),
        (529, b"x-should-retry: maybe", 2),
    ],
)
async def test_what_claude_says_about_a_retry_wins(status, header, attempts, spawned):
    async with scripted_upstream(refuse(status, header), GOOD) as claude:
        upstream = upstream_at(claude.url, spawned)
        await attempts_at(upstream).answer()
        assert len(claude.requests) == attempts
        upstream.pool.close()


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ([b"retry-after: 3"], 3.0),
        ([b"retry-after: 0"], 0.375),
        ([b"retry-after: -1"], 0.375),
        ([b"retry-after: nan"], 0.375),
        ([b"retry-after: 1e999"], 0.375),
        ([b"retry-after: Mon, 24 Nov 2025 16:00:00 GMT"], 0.375),
        ([b"retry-after: Fri, 31 Dec 9999 23:59:59 GMT"], None),
        ([b"retry-after: 1e300"], None),
        ([b"retry-after-ms: 1500", b"retry-after: 3"], 1.5),
        ([b"retry-after: soon"], 0.375),
        ([b"retry-after: 20.5"], None),
        ([b"retry-after: 3600"], None),
    ],
)
async def test_the_wait_is_the_one_asked_for_unless_it_leaves_the_budget(headers, wait, spawned):
    """A longer one is the client's to make: the refusal is the answer."""
    async with scripted_upstream(refuse(429, *headers), GOOD) as claude:
        upstream = upstream_at(claude.url, spawned)
        attempts = attempts_at(upstream, wait=(waits := Waits()), jitter=lambda: 0.0, retry_budget=20)
        exchange = await attempts.answer()
        assert exchange.status == (429 if wait is None else 200)
        assert waits.backoffs == ([] if wait is None else [wait])
        upstream.pool.close()


@pytest.mark.parametrize(("jitter", "waits"), [(0.0, [0.375, 0.75, 1.5]), (1.0, [0.5, 1.0, 2.0])])
async def test_the_wait_grows_and_is_spread(jitter, waits, spawned):
    async with scripted_upstream(refuse(529)) as claude:
        upstream = upstream_at(claude.url, spawned)
        attempts = attempts_at(upstream, wait=(waited := Waits()), jitter=lambda: jitter, retries=3)
        exchange = await attempts.answer()
        assert waited.backoffs == waits
        assert exchange.status == 529
        assert attempts.count == len(claude.requests) == 4
        upstream.pool.close()


async def test_the_last_refusal_can_be_read(spawned):
    async with scripted_upstream(refuse(529)) as claude:
        upstream = upstream_at(claude.url, spawned)
        exchange, kept = await attempts_at(upstream, retries=1).answer(), Kept()
        exchange.attach(kept)
        await kept.wait()
        assert kept.body == OVERLOADED
        assert claude.connections == 1  # the refusal that was passed over had come whole
        upstream.pool.close()


@pytest.mark.parametrize("settings", [{"retries": 0}, {"retry_budget": 0}])
async def test_without_retries_or_time_for_them_the_first_failure_counts(settings, spawned):
    async with scripted_upstream(closed_silently) as claude:
        upstream = upstream_at(claude.url, spawned)
        with pytest.raises(UpstreamUnreachable):
            await attempts_at(upstream, **settings).answer()
        assert len(claude.requests) == 1
        await until(lambda: upstream.pool.busy == 0)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (closed_silently, UpstreamUnreachable),
        (lambda peer: peer.send(b"garbage\r\n\r\n"), UpstreamMalformed),
    ],
)
async def test_a_connection_that_breaks_or_talks_nonsense_is_tried_again(script, error, spawned):
    async with scripted_upstream(script, GOOD) as claude:
        upstream = upstream_at(claude.url, spawned)
        attempts = attempts_at(upstream, told=(told := []))
        assert (await attempts.answer()).status == 200
        assert attempts.count == 2
        assert told == [("retry", "claude", error.code)]
        upstream.pool.close()


async def test_a_full_pool_is_no_failure_of_claudes(spawned):
    async with scripted_upstream(GOOD) as claude:
        upstream = upstream_at(claude.url, spawned, max_connections=1, pool_timeout=0)
        held = await within(upstream.pool.acquire())
        attempts = attempts_at(upstream, told=(told := []))
        with pytest.raises(Overloaded):
            await attempts.answer()
        assert told == []
        held.close()
        await until(lambda: upstream.pool.busy == 0)
        upstream.pool.close()
        with pytest.raises(Draining):
            await attempts_at(upstream, told=told).answer()
        assert told == []


async def stale_pool(claude, spawned):
    """Return an upstream with an idle connection that the other side will close as soon as it is asked."""
    upstream = upstream_at(claude.url, spawned)
    exchange = await attempts_at(upstream).answer()
    await until(lambda: exchange.complete)
    return upstream


async def test_a_kept_connection_that_closes_as_we_send_is_replaced_silently(spawned):
    async with scripted_upstream(GOOD, closed_silently, GOOD) as claude:
        upstream = await stale_pool(claude, spawned)
        attempts = attempts_at(upstream, wait=(waits := Waits()), told=(told := []), retries=0)
        assert (await attempts.answer()).status == 200
        assert attempts.count == 1
        assert waits.backoffs == told == []
        assert claude.connections == 2
        await until(lambda: upstream.pool.busy == 0)
        upstream.pool.close()


async def test_it_is_replaced_once(spawned):
    async with scripted_upstream(GOOD, closed_silently) as claude:
        upstream = await stale_pool(claude, spawned)
        with pytest.raises(UpstreamUnreachable):
            await attempts_at(upstream, retries=0).answer()
        assert len(claude.requests) == 3
        await until(lambda: upstream.pool.busy == 0)


async def test_a_kept_connection_that_breaks_within_an_answer_counts(spawned):
    async def half_a_head(peer):
        await peer.send(b"HTTP/1.1 200 OK\r\n")
        peer.writer.close()

    async with scripted_upstream(GOOD, half_a_head, GOOD) as claude:
        upstream = await stale_pool(claude, spawned)
        attempts = attempts_at(upstream)
        assert (await attempts.answer()).status == 200
        assert attempts.count == 2
        upstream.pool.close()


async def silence(peer):
    await peer.closed()


async def test_silence_on_a_kept_connection_counts_and_is_not_asked_again_in_secret(spawned):
    """Whoever is silent may be thinking: asking twice would be billed twice."""

    async def impatient(future, seconds):
        return future.done() or (seconds == float("inf") and await Waits()(future, seconds))

    async with scripted_upstream(GOOD, silence) as claude:
        upstream = await stale_pool(claude, spawned)
        with pytest.raises(UpstreamTimeout):
            await attempts_at(upstream, wait=impatient, retries=0).answer()
        await within(claude.all_closed.wait())
        assert len(claude.requests) <= 2
        assert upstream.pool.busy == 0


@pytest.mark.parametrize(
    ("call", "seconds"),
    [
        (Call("POST", "/v1/messages", b"{}", {}, stream=True, max_tokens=9), 7.0),
        (Call("POST", "/v1/messages/count_tokens", b"{}", {}), 7.0),
        (Call("POST", "/v1/messages", b"{}", {}, max_tokens=9), float("inf")),
    ],
)
async def test_a_whole_message_may_take_as_long_as_the_request_does(call, seconds, spawned):
    """Its head comes when all of it has been generated."""
    waited = []

    async def wait(future, seconds):
        if not future.done() or future.result() is None:
            waited.append(seconds)
        async with asyncio.timeout(5):
            await asyncio.wait({future})
        return True

    async with scripted_upstream(GOOD) as claude:
        upstream = upstream_at(claude.url, spawned)
        await attempts_at(upstream, call=call, wait=wait, first_event_timeout=7).answer()
        assert waited == [float("inf"), seconds]
        upstream.pool.close()


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (UpstreamTimeout("silent"), True),
        (UpstreamRefused("no", status=529, claude_type="overloaded_error", retryable=True), True),
        (UpstreamRefused("no", status=400, claude_type="invalid_request_error", retryable=False), False),
        (Draining("ours"), False),
    ],
)
async def test_only_claudes_passing_failures_ask_for_another_attempt(error, again, spawned):
    async with scripted_upstream(GOOD) as claude:
        upstream = upstream_at(claude.url, spawned)
        attempts = attempts_at(upstream, told=(told := []))
        assert not await attempts.again(error)  # before the first attempt there is none to repeat
        await attempts.answer()
        assert await attempts.again(error) is again
        assert told == ([("retry", "claude", error.code)] if again else [])
        upstream.pool.close()


class Leaves(Exception):
    """The caller gives up."""


@pytest.mark.parametrize("leave_at", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("how", ["cancelled", "gives up"])
async def test_whoever_leaves_at_any_wait_leaves_nothing_behind(leave_at, how, spawned):
    """Connecting, waiting for the head and backing off, twice over: each wait is left once."""
    waits = 0
    reached = asyncio.Event()

    async def wait(future, seconds):
        nonlocal waits
        waits += 1
        if waits == leave_at:
            reached.set()
            if how == "gives up":
                raise Leaves
            await asyncio.get_running_loop().create_future()
        if seconds not in (float("inf"), 120.0):
            return False
        await asyncio.wait({future})
        return True

    connections_close = refuse(529, b"connection: close")
    async with scripted_upstream(connections_close, connections_close, silence) as claude:
        upstream = upstream_at(claude.url, spawned)
        task = spawned(leaving(attempts_at(upstream, wait=wait)))
        await within(reached.wait())
        if how == "cancelled":
            task.cancel()
        await within(asyncio.wait({task}))
        await until(lambda: upstream.pool.busy == 0)
        upstream.pool.close()
        await within(claude.all_closed.wait())
        assert upstream.pool._open == set()


async def leaving(attempts):
    with suppress(Leaves):
        await attempts.answer()


async def test_a_connection_that_comes_just_as_the_caller_leaves_is_closed(spawned):
    async def wait(future, _):
        await asyncio.wait({future})
        raise Leaves

    async with scripted_upstream(GOOD) as claude:
        upstream = upstream_at(claude.url, spawned)
        with pytest.raises(Leaves):
            await attempts_at(upstream, wait=wait).answer()
        await within(claude.all_closed.wait())
        await until(lambda: upstream.pool.busy == 0)


async def test_a_failure_that_comes_just_as_the_caller_leaves_is_nobodys(spawned):
    async def wait(future, _):
        await asyncio.wait({future})
        raise Leaves

    upstream = upstream_at(f"http://127.0.0.1:{refusing_port()}", spawned)
    with pytest.raises(Leaves):
        await attempts_at(upstream, wait=wait).answer()
    assert upstream.pool.busy == 0


async def test_an_abort_ends_what_is_under_way(spawned):
    async def begun(peer):
        await peer.send(SSE_HEAD)
        await peer.closed()

    async with scripted_upstream(begun) as claude:
        upstream = upstream_at(claude.url, spawned)
        attempts = attempts_at(upstream)
        attempts.abort()
        await attempts.answer()
        attempts.abort()
        await within(claude.all_closed.wait())
        await until(lambda: upstream.pool.busy == 0)
