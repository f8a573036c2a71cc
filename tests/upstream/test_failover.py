"""Several upstreams in order: who is asked, how often, and what is left behind."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from structlog.testing import capture_logs

from gateway.core.call import Call
from gateway.core.errors import (
    Draining,
    Overloaded,
    StreamTooLong,
    UpstreamCredential,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamTruncated,
    UpstreamUnavailable,
    UpstreamUnreachable,
)
from gateway.upstream.attempts import Attempts
from gateway.upstream.routing import Upstreams
from gateway.upstream.settings import TransportSettings
from tests.support.scripted_upstream import answer, scripted_upstream
from tests.support.upstreams import POST, Watched, refusing_port, until, upstream_at, within

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
        if seconds not in (float("inf"), self.settings.first_byte_timeout):
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
    async with fleet(spawned, [silence], [GOOD], first_byte_timeout=0.05) as of:

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


# Breakers.


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


async def test_an_answer_that_breaks_off_after_its_first_event_counts(spawned):
    async with fleet(spawned, [GOOD], breaker_failures=2, retries=0) as of:
        for _ in range(2):
            attempts = of.attempts()
            await attempts.answer()
            attempts.failed(UpstreamTruncated("the relay saw no end"))
            attempts.close()
            attempts.failed(UpstreamTruncated("told once"))
        assert of.told("breaker") == [("first", "open")]


@pytest.mark.parametrize(
    "error",
    [
        StreamTooLong("ours"),
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


@pytest.mark.parametrize(
    ("call", "share", "state"),
    [(POST, 1.0, ["open"]), (POST, 0.6, ["open"]), (POST, 0.4, []), (WHOLE, 1.0, [])],
)
async def test_silence_until_the_requests_own_deadline_counts_if_it_was_most_of_it(call, share, state, spawned):
    """On the chat route the deadline comes before that of the first byte. A whole message is silent while it is made."""
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


async def test_nothing_is_sent_before_the_time_that_a_429_names(spawned):
    async with fleet(spawned, [refuse(429, b"retry-after: 30"), GOOD], [GOOD]) as of:
        assert [await of.ask(OPUS) for _ in range(3)] == [(200, "second")] * 3
        assert of.asked == [1, 3]
        assert [upstream for upstream, _ in of.told("throttled")] == ["first"]
        assert of.told("failover") == [("first", "upstream_rate_limit_error")] + [("first", "throttled")] * 2


async def test_another_model_has_another_limit(spawned):
    async with fleet(spawned, [refuse(429, b"retry-after: 30"), GOOD], [GOOD]) as of:
        await of.ask(OPUS)
        assert await of.ask(HAIKU) == (200, "first")


async def test_without_another_upstream_callers_are_told_the_time_that_remains(spawned):
    async with fleet(spawned, [refuse(429, b"retry-after: 3600")]) as of:
        assert await of.ask(OPUS) == (429, "first")  # Claude's own words
        with pytest.raises(UpstreamRefused) as caught:
            await of.ask(OPUS)
        assert (caught.value.status, caught.value.code) == (429, "upstream_rate_limit_error")
        assert 3590 < caught.value.retry_after <= 3600
        assert of.asked == [1]


async def test_of_all_times_the_caller_is_told_the_first(spawned):
    """One is limited, the other one's breaker is open: whichever is over first."""
    limited = [refuse(429, b"retry-after: 300")]
    async with fleet(spawned, limited, [refuse(500)], breaker_failures=1, breaker_cooldown=40) as of:
        await of.ask(OPUS)
        with pytest.raises(UpstreamRefused) as caught:
            await of.ask(OPUS)
        assert 30 < caught.value.retry_after <= 40


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


async def test_before_the_first_attempt_there_is_nothing_to_repeat_or_to_tell(spawned):
    async with fleet(spawned, [GOOD]) as of:
        attempts = of.attempts()
        assert not await attempts.again(UpstreamTimeout("silent"))
        attempts.close()
        assert of.asked == [0]
