"""Several upstreams in order: who is asked, how often, and what is left behind."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.errors import (
    Draining,
    Overloaded,
    UpstreamCredential,
    UpstreamTimeout,
)
from tests.support.fleet import GOOD, fleet, refuse, reset, silence
from tests.support.upstreams import until, upstream_at, within


async def test_the_first_upstream_answers_while_it_can(spawned):
    async with fleet(spawned, [GOOD], [GOOD]) as of:
        for _ in range(3):
            assert await of.ask() == (200, "first")
        assert of.asked == [3, 0]
        assert of.watched.told == []


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 529, 401, 402, 403])
async def test_what_one_refuses_the_next_answers_at_once(status, spawned):
    async with fleet(spawned, [refuse(status)], [GOOD]) as of:
        assert await of.ask() == (200, "second")
        assert of.asked == [1, 1]
        assert of.backoffs == []
        assert [upstream for upstream, _ in of.told("failover")] == ["first"]
        assert of.told("retry") == []


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_request_that_is_wrong_is_wrong_everywhere(status, spawned):
    async with fleet(spawned, [refuse(status)], [GOOD]) as of:
        assert await of.ask() == (status, "first")
        assert of.asked == [1, 0]


@pytest.mark.parametrize(
    ("status", "answered"),
    [(529, (529, "first")), (429, (200, "second")), (401, (200, "second"))],
)
async def test_dont_retry_is_said_of_a_request_or_of_an_account(status, answered, spawned):
    async with fleet(spawned, [refuse(status, b"x-should-retry: false")], [GOOD]) as of:
        assert await of.ask() == answered


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (None, "upstream_unreachable"),
        ([reset], "upstream_unreachable"),
        ([lambda peer: peer.send(b"garbage\r\n\r\n")], "upstream_malformed"),
    ],
)
async def test_what_cannot_be_reached_or_understood_is_passed_over(script, code, spawned):
    async with fleet(spawned, script, [GOOD]) as of:
        assert await of.ask() == (200, "second")
        assert of.told("failover") == [("first", code)]
        assert of.backoffs == []
        await until(lambda: of.busy == [0, 0])


async def test_a_name_that_does_not_exist_is_passed_over(spawned):
    async with fleet(spawned, [GOOD], [GOOD]) as of:
        of.upstreams._candidates[0].upstream = nowhere = upstream_at("http://does-not-exist.invalid", spawned)
        assert await of.ask() == (200, "second")
        nowhere.pool.close()


async def test_one_that_says_nothing_is_passed_over_when_its_time_is_over(spawned):
    async with fleet(spawned, [silence], [GOOD], first_event_timeout=0.05) as of:

        async def wait(future, seconds):
            await asyncio.wait({future}, timeout=None if seconds == float("inf") else seconds)
            return future.done()

        attempts = of.attempts(wait)
        exchange = await attempts.answer()
        assert (exchange.status, attempts.upstream) == (200, "second")
        assert of.told("failover") == [("first", "upstream_timeout")]
        await within(of.claudes[0].all_closed.wait())
        await until(lambda: exchange.complete)
        attempts.close()
        await until(lambda: of.busy == [0, 0])


async def test_a_full_pool_is_passed_over_and_is_no_failure(spawned):
    async with fleet(spawned, [GOOD], [GOOD], max_connections=1, pool_timeout=0, breaker_failures=1) as of:
        first = next(iter(of.upstreams))
        held = await within(first.pool.acquire())
        assert await of.ask() == (200, "second")
        assert of.told("failover") == [("first", "overloaded")]
        held.close()
        await until(lambda: first.pool.busy == 0)
        assert await of.ask() == (200, "first")


async def test_when_all_pools_are_full_nobody_waits_twice(spawned):
    async with fleet(spawned, [GOOD], [GOOD], max_connections=1, pool_timeout=0) as of:
        held = [await within(upstream.pool.acquire()) for upstream in of.upstreams]
        with pytest.raises(Overloaded):
            await of.ask()
        assert of.backoffs == []
        for connection in held:
            connection.close()
        await until(lambda: of.busy == [0, 0])


async def test_a_gateway_that_stops_does_not_go_from_pool_to_pool(spawned):
    async with fleet(spawned, [GOOD], [GOOD]) as of:
        next(iter(of.upstreams)).pool.close()
        with pytest.raises(Draining):
            await of.ask()
        assert of.asked == [0, 0]


async def test_after_all_were_tried_there_is_a_wait_and_they_are_tried_again_in_order(spawned):
    async with fleet(spawned, [refuse(529)], [refuse(500)], [refuse(503)], retries=1) as of:
        assert await of.ask() == (503, "third")
        assert of.asked == [2, 2, 2]
        assert of.backoffs == [0.375]
        assert of.told("retry") == [("third", "upstream_api_error")]
        assert (
            of.told("failover")
            == [
                ("first", "upstream_overloaded_error"),
                ("second", "upstream_api_error"),
            ]
            * 2
        )


async def test_each_round_may_end_with_an_answer(spawned):
    async with fleet(spawned, [refuse(529), GOOD], [refuse(529)]) as of:
        assert await of.ask() == (200, "first")
        assert of.asked == [2, 1]


async def test_without_retries_every_upstream_is_still_tried_once(spawned):
    async with fleet(spawned, [refuse(529)], [refuse(529)], [GOOD], retries=0) as of:
        assert await of.ask() == (200, "third")
        assert of.asked == [1, 1, 1]


async def test_no_round_begins_after_the_budget_but_the_first_is_finished(spawned):
    async with fleet(spawned, [refuse(529)], [GOOD], retry_budget=0) as of:
        assert await of.ask() == (200, "second")
    async with fleet(spawned, [refuse(529)], [refuse(529)], retry_budget=0) as of:
        assert await of.ask() == (529, "second")
        assert of.asked == [1, 1]


async def test_a_second_round_stops_when_the_budget_is_over(spawned):
    async with fleet(spawned, [refuse(529)], [refuse(529)], retries=5, retry_budget=10) as of:
        attempts = of.attempts()

        async def wait(future, seconds):
            if not future.done() and seconds == 0.375:
                attempts.started -= 60  # so long it took
            return await of.wait(future, seconds)

        attempts._wait = wait
        exchange = await attempts.answer()
        assert exchange.status == 529
        assert of.asked == [2, 1]
        attempts.close()


async def test_the_wait_is_the_shortest_that_was_asked_for(spawned):
    """Of those who asked; whoever did not can be tried after our own."""
    asked = [refuse(529, b"retry-after: 7"), GOOD], [refuse(529, b"retry-after: 3")]
    async with fleet(spawned, *asked) as of:
        await of.ask()
        assert of.backoffs == [3.0]
    async with fleet(spawned, asked[0], [refuse(529)]) as of:
        await of.ask()
        assert of.backoffs == [0.375]


async def test_what_was_asked_in_one_round_is_over_in_the_next(spawned):
    async with fleet(spawned, [refuse(529), refuse(529, b"retry-after: 3"), GOOD]) as of:
        await of.ask()
        assert of.backoffs == [0.375, 3.0]


async def test_a_wait_that_leaves_the_budget_is_not_asked_of_the_next_upstream(spawned):
    async with fleet(spawned, [refuse(529, b"retry-after: 3600")], [GOOD]) as of:
        assert await of.ask() == (200, "second")


async def test_a_bad_credential_is_not_retried(spawned):
    async with fleet(spawned, [refuse(401)], [refuse(403)], retries=3) as of:
        assert await of.ask() == (403, "second")
        assert of.asked == [1, 1]
        assert of.backoffs == []


async def test_a_credential_that_only_the_text_says_is_bad_moves_on(spawned):
    """Claude says "credit balance is too low" with status 400."""
    async with fleet(spawned, [refuse(400)], [GOOD]) as of:
        attempts = of.attempts()
        assert (await attempts.answer()).status == 400
        assert await attempts.again(UpstreamCredential("no credit"))
        exchange = await attempts.answer()
        assert (exchange.status, attempts.upstream) == (200, "second")
        await until(lambda: exchange.complete)
        attempts.close()
        assert await of.ask() == (200, "second")  # who has credit is asked first for a while
        assert of.asked == [1, 2]
        assert of.told("failover") == [("first", "upstream_credential"), ("first", "asked_last")]


async def test_a_bad_credential_alone_is_asked_every_time(spawned):
    """It is the only way to learn that it is good again."""
    async with fleet(spawned, [refuse(401), refuse(401), GOOD], breaker_failures=1) as of:
        assert [await of.ask() for _ in range(3)] == [(401, "first"), (401, "first"), (200, "first")]


async def test_before_the_first_attempt_there_is_nothing_to_repeat_or_to_tell(spawned):
    async with fleet(spawned, [GOOD]) as of:
        attempts = of.attempts()
        assert not await attempts.again(UpstreamTimeout("silent"))
        attempts.close()
        assert of.asked == [0]
