"""Upstreams that are not asked, or asked last: their breaker is open, or they said that a limit is reached."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from gateway.core.call import Call
from gateway.core.errors import (
    Draining,
    StreamTooLong,
    UpstreamMalformed,
    UpstreamRefused,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from tests.support.fleet import GOOD, fleet, refuse, reset, silence
from tests.support.scripted_upstream import answer
from tests.support.upstreams import POST, until, within


@pytest.mark.parametrize(
    "scripts",
    [
        [reset],
        [refuse(500)],
        [refuse(529)],
        None,
    ],
)
async def test_an_upstream_that_keeps_failing_is_not_asked_any_more(scripts, spawned):
    async with fleet(spawned, scripts, [GOOD], breaker_failures=3) as of:
        for _ in range(5):
            assert await of.ask() == (200, "second")
        assert of.asked[:-1] in ([3], [])
        assert of.told("breaker") == [("first", "open")]
        assert of.told("failover")[3:] == [("first", "breaker_open")] * 2


@pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 429])
async def test_refusals_are_no_failures(status, spawned):
    async with fleet(spawned, [refuse(status)], breaker_failures=1, retries=0) as of:
        for _ in range(3):
            assert (await of.ask())[0] == status
        assert of.told("breaker") == []


async def test_a_kept_connection_that_was_closed_is_no_failure(spawned):
    async with fleet(spawned, [GOOD, reset, GOOD], breaker_failures=1) as of:
        assert await of.ask() == (200, "first")
        assert await of.ask() == (200, "first")
        assert of.asked == [3]
        assert of.watched.told == []


async def test_when_all_are_open_the_caller_is_told_at_once_when_to_come_back(spawned):
    async with fleet(spawned, None, None, breaker_failures=1, breaker_cooldown=30, retries=2) as of:
        with pytest.raises(UpstreamUnreachable):  # of the request that opened them, without a wait for nothing
            await of.ask()
        with pytest.raises(UpstreamUnavailable) as caught:
            await of.ask()
        assert 25 < caught.value.retry_after <= 30
        assert of.backoffs == []
        assert of.told("breaker") == [("first", "open"), ("second", "open")]


async def test_the_operator_is_told_what_failed(spawned):
    async with fleet(spawned, None, breaker_failures=1, retries=0) as of:
        with capture_logs() as lines, pytest.raises(UpstreamUnreachable) as caught:
            await of.ask()
        causes = [line["cause"] for line in lines if line["event"] == "upstream breaker opened"]
        assert causes == [f"upstream_unreachable: {caught.value.detail}"]


async def test_a_retry_waits_for_a_breaker_that_is_soon_over(spawned):
    async with fleet(spawned, [refuse(500), GOOD], breaker_failures=1, breaker_cooldown=3) as of:
        with pytest.raises(UpstreamUnavailable):  # the waits here take no time, so it is still open then
            await of.ask()
        assert len(of.backoffs) == 1
        assert 2.5 < of.backoffs[0] <= 3


async def test_the_one_that_tries_after_the_cooldown_closes_the_breaker(spawned):
    async with fleet(spawned, [refuse(500), GOOD], [GOOD], breaker_failures=1, breaker_cooldown=0) as of:
        assert await of.ask() == (200, "second")
        assert await of.ask() == (200, "first")
        assert of.told("breaker") == [("first", "open"), ("first", "half_open"), ("first", "closed")]


async def test_while_one_tries_the_others_go_elsewhere(spawned):
    thinking, asked = asyncio.Event(), asyncio.Event()

    async def slow(peer):
        asked.set()
        await thinking.wait()
        await GOOD(peer)

    async with fleet(spawned, [refuse(500), slow], [GOOD], breaker_failures=1, breaker_cooldown=0) as of:
        await of.ask()
        probe = spawned(of.ask())
        await within(asked.wait())
        assert await of.ask() == (200, "second")
        thinking.set()
        assert await within(probe) == (200, "first")
        assert await of.ask() == (200, "first")


@pytest.mark.parametrize("leave_at", ["connecting", "waiting", "answered"])
async def test_a_client_that_leaves_while_it_tries_leaves_its_place(leave_at, spawned):
    async def half(peer):
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        await peer.closed()

    failing = refuse(500, b"connection: close")
    script = {"connecting": GOOD, "waiting": silence, "answered": half}[leave_at]
    async with fleet(spawned, [failing, script, GOOD], breaker_failures=1, breaker_cooldown=0, retries=0) as of:
        await of.ask()
        reached, waits = asyncio.Event(), []

        async def stay():
            reached.set()
            await asyncio.get_running_loop().create_future()

        async def wait(future, _):
            waits.append(future)
            if leave_at == "connecting":
                await stay()
            if leave_at == "waiting" and len(waits) == 2:
                await until(lambda: len(of.claudes[0].requests) == 2)
                await stay()
            await asyncio.wait({future})
            return True

        async def leave():
            attempts = of.attempts(wait)
            try:
                await attempts.answer()
                await stay()
            finally:
                attempts.close()

        task = spawned(leave())
        await within(reached.wait())
        assert of.told("breaker")[-1] == ("first", "closed" if leave_at == "answered" else "half_open")
        task.cancel()
        await within(asyncio.wait({task}))
        assert await of.ask() == (200, "first")
        assert of.told("breaker")[-1] == ("first", "closed")


async def test_one_that_tries_and_finds_the_pool_full_leaves_its_place(spawned):
    settings = {"breaker_failures": 1, "breaker_cooldown": 0, "max_connections": 1, "pool_timeout": 0}
    async with fleet(spawned, [refuse(500), GOOD], [GOOD], **settings) as of:
        await of.ask()
        first = next(iter(of.upstreams))
        await until(lambda: first.pool.busy == 0)
        held = await within(first.pool.acquire())
        assert await of.ask() == (200, "second")
        assert of.told("breaker")[-1] == ("first", "half_open")
        held.close()
        await until(lambda: first.pool.busy == 0)
        assert await of.ask() == (200, "first")


async def test_an_answer_without_an_event_counts_once(spawned):
    async with fleet(spawned, [GOOD], breaker_failures=2, retries=0) as of:
        for _ in range(2):
            assert of.told("breaker") == []
            attempts = of.attempts()
            await attempts.answer()
            attempts.failed(UpstreamMalformed("no event stream"))
            attempts.close()
            attempts.failed(UpstreamMalformed("told once"))
        assert of.told("breaker") == [("first", "open")]


async def test_a_request_counts_once_however_often_it_is_tried(spawned):
    async with fleet(spawned, [refuse(500)], breaker_failures=2, breaker_cooldown=30, retries=5) as of:
        assert await of.ask() == (500, "first")
        assert of.asked == [6]
        assert of.told("breaker") == []
        assert await of.ask() == (500, "first")
        assert of.asked == [7]
        assert of.told("breaker") == [("first", "open")]


@pytest.mark.parametrize(
    "error",
    [
        Draining("ours"),
        UpstreamRefused("no", status=429, claude_type="rate_limit_error", retryable=True),
    ],
)
async def test_what_is_not_the_upstreams_fault_does_not_count(error, spawned):
    async with fleet(spawned, [GOOD], breaker_failures=1) as of:
        attempts = of.attempts()
        await attempts.answer()
        attempts.failed(error)
        attempts.close()
        assert of.told("breaker") == []


WHOLE = Call("POST", "/v1/messages", b"{}", {}, max_tokens=9)


async def test_a_head_is_no_answer_when_the_requests_own_deadline_comes(spawned):
    """Whoever has seen an event does not tell of it."""
    async with fleet(spawned, [GOOD], breaker_failures=1) as of:
        attempts = of.attempts()
        await attempts.answer()
        attempts.failed(StreamTooLong("a minute is over"))
        attempts.close()
        assert of.told("breaker") == [("first", "open")]


@pytest.mark.parametrize(
    ("call", "share", "state"),
    [(POST, 1.0, ["open"]), (POST, 0.6, ["open"]), (POST, 0.4, []), (WHOLE, 1.0, [])],
)
async def test_silence_until_the_requests_own_deadline_counts_if_it_was_most_of_it(call, share, state, spawned):
    """The deadline may come before that of the first event. A whole message is silent while it is made."""
    async with fleet(spawned, [silence], breaker_failures=1) as of:

        async def wait(future, seconds):
            if not waits:
                waits.append(future)
                return await of.wait(future, seconds)
            now = attempts.last_started
            attempts.started, attempts.last_started = now - 60, now - 60 * share
            raise StreamTooLong("a minute is over")

        waits = []
        attempts = of.attempts(wait, call)
        with pytest.raises(StreamTooLong):
            await attempts.answer()
        attempts.close()
        assert [told for _, told in of.told("breaker")] == state


# Limits that the upstream names.

OPUS = Call("POST", "/v1/messages", b"{}", {}, model="claude-opus", stream=True, max_tokens=9)
HAIKU = Call("POST", "/v1/messages", b"{}", {}, model="claude-haiku", stream=True, max_tokens=9)


async def test_others_are_asked_before_the_time_that_a_429_names(spawned):
    async with fleet(spawned, [refuse(429, b"retry-after: 30"), GOOD], [GOOD]) as of:
        assert [await of.ask(OPUS) for _ in range(3)] == [(200, "second")] * 3
        assert of.asked == [1, 3]
        assert [upstream for upstream, _ in of.told("throttled")] == ["first"]
        assert of.told("failover") == [("first", "upstream_rate_limit_error")] + [("first", "throttled")] * 2


async def test_another_model_has_another_limit(spawned):
    async with fleet(spawned, [refuse(429, b"retry-after: 30"), GOOD], [GOOD]) as of:
        await of.ask(OPUS)
        assert await of.ask(HAIKU) == (200, "first")


async def test_without_another_upstream_claudes_own_answer_is_the_last_word(spawned):
    async with fleet(spawned, [refuse(429, b"retry-after: 3600"), refuse(429, b"retry-after: 3590"), GOOD]) as of:
        assert [await of.ask(OPUS) for _ in range(3)] == [(429, "first"), (429, "first"), (200, "first")]


async def test_of_those_that_named_a_time_a_request_asks_one_and_only_when_the_others_failed_it(spawned):
    limit = [refuse(429, b"retry-after: 30")]
    async with fleet(spawned, limit, limit, [refuse(503)], retries=0) as of:
        assert await of.ask(OPUS) == (503, "third")
        assert await of.ask(OPUS) == (429, "first")
        assert of.asked == [2, 1, 2]


async def test_one_that_named_a_time_is_asked_when_nobody_else_can_be_reached(spawned):
    async with fleet(spawned, [refuse(429, b"retry-after: 30"), GOOD], None, retries=0) as of:
        with pytest.raises(UpstreamUnreachable):
            await of.ask(OPUS)
        assert await of.ask(OPUS) == (200, "first")


@pytest.mark.parametrize("headers", [[], [b"retry-after: 0"], [b"retry-after: soon"], [b"retry-after: -5"]])
async def test_a_429_without_a_time_limits_nothing(headers, spawned):
    async with fleet(spawned, [refuse(429, *headers), GOOD], retries=0) as of:
        assert await of.ask() == (429, "first")
        assert await of.ask() == (200, "first")


async def test_where_it_is_not_configured_nobody_is_believed(spawned):
    async with fleet(spawned, [refuse(429, b"retry-after: 300"), GOOD], retries=0, max_throttle=0) as of:
        assert await of.ask() == (429, "first")
        assert await of.ask() == (200, "first")


EXHAUSTED = (b"anthropic-ratelimit-requests-remaining: 0", b"anthropic-ratelimit-requests-reset: 30")


@pytest.mark.parametrize("status", [200, 429])
async def test_one_with_nothing_remaining_is_asked_last(status, spawned):
    low = answer(status, b"{}", *EXHAUSTED)
    async with fleet(spawned, [low], [GOOD, refuse(529)], retries=0) as of:
        first = await of.ask(OPUS)
        assert first == ((200, "first") if status == 200 else (200, "second"))
        if status == 200:
            assert await of.ask(OPUS) == (200, "second")
            assert of.told("failover") == [("first", "asked_last")]
        assert (await of.ask(OPUS))[1] == "first"  # when there is no other way
        assert of.told("throttled") == []


async def test_what_remains_is_no_reason(spawned):
    plenty = answer(200, b"{}", b"anthropic-ratelimit-requests-remaining: 7", EXHAUSTED[1])
    async with fleet(spawned, [plenty], [GOOD]) as of:
        for _ in range(2):
            assert await of.ask(OPUS) == (200, "first")
