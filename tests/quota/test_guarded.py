"""Requests while Redis is frozen, killed, slow, full or empty: what they wait, what they are told, what is left."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from gateway.core.breaker import BreakerPolicy
from gateway.core.errors import StoreUnavailable
from gateway.core.quota.holds import FIRST_LEASE, Checkpoint, Held, Refused, Reservation
from gateway.core.quota.limits import AppliedLimit
from gateway.quota.guarded import GuardedHoldStore, GuardPolicy, Watcher
from gateway.quota.redis_link import RedisLink
from gateway.quota.redis_rebuild import Rebuilt
from gateway.quota.redis_store import RedisHoldStore
from gateway.tasks import TaskOwner
from tests.support.observed import eventually
from tests.support.redis import LateAnswers

LIMIT = 0.25
QUICK = BreakerPolicy(failures=3, error_rate=0, window=10, min_calls=1, cooldown=0.05, max_cooldown=0.1)
# Nothing asks the store again within a test.
LONG = BreakerPolicy(failures=3, error_rate=0, window=10, min_calls=1, cooldown=1000, max_cooldown=1000)
BUDGET = AppliedLimit("tenant:acme:usd:day", "tenant-usd-per-day", "tenant", "usd", 1000, None, "day")
STREAMS = AppliedLimit("tenant:acme:concurrent", "tenant-concurrent-streams", "tenant", "concurrent", 8, None)
LIMITS = (BUDGET, STREAMS)
SLACK = 0.2  # for a machine that has other things to do


def asking(request_id, usd=100, realm="acme"):
    return Reservation(request_id, LIMITS, {"concurrent": 1, "usd": usd}, realm=realm)


class Process:
    """A gateway's process: its store behind a guard, and what is told of it."""

    def __init__(self, url, policy, **options):
        self.failed, self.dropped = Counter(), []
        self.owner = TaskOwner(lambda error: pytest.fail(repr(error)))
        self.link = RedisLink(url)
        self.shared = RedisHoldStore(self.link, self.owner.spawn, **options)
        self.took = []
        watcher = Watcher(
            took=lambda *told: self.took.append(told),
            failed=lambda operation: self.failed.update([operation]),
            dropped=lambda: self.dropped.append(1),
        )
        self.store = GuardedHoldStore(self.shared, policy, self.owner.spawn, watcher=watcher)

    async def close(self):
        await self.owner.close()
        await self.link.close()

    async def standing(self):
        return [(state.used, state.held) for state in await self.store.look("acme", LIMITS)]

    async def warm(self):
        """Have the server know all scripts."""
        await self.store.reserve(asking("warm"))
        await self.store.renew([Checkpoint(asking("warm"), {})])
        await self.store.cancel(asking("warm"))
        assert await self.standing() == [(0, 0), (0, 0)]

    async def until(self, standing):
        """Wait until the limits stand so."""
        async with asyncio.timeout(30):
            while await self.standing() != standing:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0.002)  # a store that is not asked answers at once, and nothing else would run

    async def trip(self):
        """Ask until the breaker opens."""
        for n in range(3):
            with pytest.raises(StoreUnavailable):
                await self.store.reserve(asking(f"trip{n}"))
        assert not self.store.working

    async def recovered(self):
        await eventually(lambda: self.store.working and not self.store.arrears)


@asynccontextmanager
async def running(url, on_failure="deny", breaker=QUICK, limit=LIMIT, replicas=1, most_arrears=1000, **options):
    process = Process(url, GuardPolicy(on_failure, limit, replicas, most_arrears, breaker), **options)
    try:
        yield process
    finally:
        await process.close()


async def test_a_store_that_works_is_asked(own_redis):
    async with running(own_redis.url) as process:
        store = process.store
        assert isinstance(await store.reserve(asking("a")), Held)
        assert await store.renew([Checkpoint(asking("a"), {"usd": 5}), Checkpoint(asking("b"), {})]) == {"b"}
        assert await process.standing() == [(0, 100), (0, 1)]
        (over,) = await store.settle(asking("a"), {"usd": 1001})
        assert over.amount == 1
        await store.cancel(asking("b"))
        assert not process.failed
        assert (store.working, store.arrears) == (True, 0)


async def test_a_frozen_store_costs_the_time_limit_and_then_nothing_and_keeps_no_hold(own_redis):
    async with running(own_redis.url) as process:
        await process.store.reserve(asking("before"))
        own_redis.freeze()
        started = time.monotonic()
        answers = await asyncio.gather(
            *[process.store.reserve(asking(f"r{n}", 1)) for n in range(7)], return_exceptions=True
        )
        assert LIMIT <= time.monotonic() - started < LIMIT + SLACK
        assert all(isinstance(answer, StoreUnavailable) for answer in answers)
        assert not process.store.working
        started = time.monotonic()
        for n in range(100):
            with pytest.raises(StoreUnavailable):
                await process.store.reserve(asking(f"later{n}"))
        assert await process.store.settle(asking("before"), {"usd": 50}) == ()
        assert await process.store.renew([Checkpoint(asking("x"), {})]) == frozenset()
        assert await process.standing() == []
        assert time.monotonic() - started < SLACK
        assert process.store.arrears == 7 + 1
        own_redis.thaw()
        await process.recovered()
        assert await process.standing() == [(50, 0), (0, 0)]
        assert process.failed["reserve"] == 7


async def test_a_reservation_that_was_made_but_not_answered_is_taken_back(own_redis, tmp_path):
    async with LateAnswers(own_redis, tmp_path) as late, running(late.url) as process, running(own_redis.url) as other:
        await process.warm()
        late.answered.clear()
        with pytest.raises(StoreUnavailable) as told:
            await process.store.reserve(asking("a"))
        assert "in time" in told.value.detail
        assert await other.standing() == [(0, 100), (0, 1)]
        late.answered.set()
        await process.recovered()
        assert await other.standing() == [(0, 0), (0, 0)]


async def test_a_client_that_leaves_while_its_reservation_is_made_leaves_no_hold(own_redis, tmp_path):
    async with LateAnswers(own_redis, tmp_path) as late, running(late.url) as process, running(own_redis.url) as other:
        await process.warm()
        late.answered.clear()
        task = process.owner.spawn(process.store.reserve(asking("a")))
        await other.until([(0, 100), (0, 1)])
        task.cancel()
        late.answered.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await process.recovered()
        assert await other.standing() == [(0, 0), (0, 0)]


@pytest.mark.parametrize(("used", "left"), [({"usd": 70}, 70), (None, 0)])
async def test_a_client_that_leaves_while_its_request_is_settled_is_counted_once(own_redis, tmp_path, used, left):
    async with LateAnswers(own_redis, tmp_path) as late, running(late.url) as process, running(own_redis.url) as other:
        await process.warm()
        await process.store.reserve(asking("a"))
        late.answered.clear()
        store = process.store
        task = process.owner.spawn(store.cancel(asking("a")) if used is None else store.settle(asking("a"), used))
        await other.until([(left, 0), (0, 0)])
        task.cancel()
        late.answered.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await process.recovered()
        assert await other.standing() == [(left, 0), (0, 0)]


async def test_one_failure_is_not_a_store_that_is_away(own_redis, tmp_path):
    async with LateAnswers(own_redis, tmp_path) as late, running(late.url) as process:
        await process.warm()
        await process.store.reserve(asking("a"))
        late.answered.clear()
        assert await process.store.settle(asking("a"), {"usd": 70}) == ()
        assert await process.store.renew([Checkpoint(asking("a"), {})]) == frozenset()
        assert process.failed == {"settle": 1, "renew": 1}
        late.answered.set()
        await process.recovered()
        assert await process.standing() == [(70, 0), (0, 0)]
        late.answered.clear()
        assert await process.standing() == []
        late.answered.set()
        await process.recovered()


async def test_a_store_that_stays_away_is_looked_for_until_it_is_back(own_redis):
    async with running(own_redis.url) as process:
        own_redis.kill()
        await process.trip()
        await eventually(lambda: process.failed["ping"] >= 3)
        own_redis.start()
        own_redis.freeze()
        before = process.failed["ping"]
        await eventually(lambda: process.failed["ping"] >= before + 2)
        own_redis.thaw()
        await process.recovered()


async def test_it_is_said_once_that_the_store_is_away_and_once_that_it_is_back(own_redis):
    async with running(own_redis.url) as process:
        own_redis.kill()
        with capture_logs() as logs:
            await process.trip()
            for n in range(5):
                with pytest.raises(StoreUnavailable):
                    await process.store.reserve(asking(f"r{n}"))
            assert [entry["event"] for entry in logs] == ["limits cannot be counted"]
            assert (logs[0]["policy"], logs[0]["log_level"]) == ("deny", "warning")
            assert "ConnectionError" in logs[0]["cause"]
            own_redis.start()
            await process.recovered()
        events = [entry["event"] for entry in logs if entry["event"] != "limits rebuilt"]
        assert events == ["limits cannot be counted", "limits are counted again"]


async def test_who_is_let_in_without_the_store_counts_when_it_is_back(own_redis):
    async def rebuild(*_):
        return Rebuilt({BUDGET.key: 300})

    async with running(own_redis.url, "allow", rebuild=rebuild) as process:
        store = process.store
        await store.reserve(asking("ends"))
        own_redis.kill()
        before = time.time()
        for n in range(4):
            held = await store.reserve(asking(f"r{n}", 900))
            assert before <= held.admitted_at <= time.time()
            assert (held.lease_until - held.admitted_at, held.states) == (pytest.approx(FIRST_LEASE), ())
        assert await store.settle(asking("ends"), {"usd": 40}) == ()
        assert await store.settle(asking("r0", 900), {"usd": 7}) == ()
        await store.cancel(asking("r1", 900))
        own_redis.start()
        await process.recovered()
        assert await process.standing() == [(347, 1800), (0, 2)]
        for n in (2, 3):
            await store.settle(asking(f"r{n}", 900), {"usd": 1})
        assert await process.standing() == [(349, 0), (0, 0)]


async def test_who_was_let_in_and_had_been_reserved_all_the_same_counts_once(own_redis, tmp_path):
    async with LateAnswers(own_redis, tmp_path) as late, running(late.url, "allow") as process:
        await process.warm()
        late.answered.clear()
        assert isinstance(await process.store.reserve(asking("a")), Held)
        late.answered.set()
        await process.until([(0, 100), (0, 1)])
        await process.store.settle(asking("a"), {"usd": 60})
        assert await process.standing() == [(60, 0), (0, 0)]


async def test_a_request_waits_for_a_store_that_went_silent_once_and_not_at_its_end_again(own_redis):
    async with running(own_redis.url, "allow") as process:
        await process.warm()
        own_redis.freeze()
        started = time.monotonic()
        assert isinstance(await process.store.reserve(asking("a")), Held)
        assert await process.standing() == []
        assert await process.store.settle(asking("a"), {"usd": 60}) == ()
        assert LIMIT <= time.monotonic() - started < LIMIT + SLACK
        assert process.failed["reserve"] == 1
        own_redis.thaw()
        await process.until([(60, 0), (0, 0)])


async def test_alone_a_process_lets_in_its_share_of_what_was_left(own_redis):
    async with running(own_redis.url, "local", replicas=2) as process:
        store = process.store
        await store.reserve(asking("a", 600))
        await store.settle(asking("a", 600), {"usd": 600})
        await store.reserve(asking("b", 100))
        own_redis.kill()
        answers = [await store.reserve(asking(f"r{n}", 50)) for n in range(5)]
        assert [isinstance(answer, Held) for answer in answers] == [True, True, True, False, False]
        assert isinstance(answers[4], Refused)
        assert answers[4].limit == "tenant-usd-per-day"
        with pytest.raises(StoreUnavailable) as told:
            await store.reserve(asking("more than its share", 200))
        assert "share" in told.value.detail
        assert (await store.reserve(asking("more than the limit", 1001))).retry_after is None
        await store.renew([Checkpoint(asking("r0", 50), {"usd": 1})])
        await store.settle(asking("r0", 50), {"usd": 10})
        assert isinstance(await store.reserve(asking("r9", 40)), Held)
        own_redis.start()
        await process.recovered()
        await store.settle(asking("b"), {"usd": 90})
        # What was used before is the books' to say: this store began empty.
        assert await process.standing() == [(100, 140), (0, 3)]


async def test_a_refusal_by_the_share_takes_back_what_the_store_may_have_let_in(own_redis, tmp_path):
    async with (
        LateAnswers(own_redis, tmp_path) as late,
        running(late.url, "local", replicas=20) as process,
        running(own_redis.url) as other,
    ):
        await process.warm()
        late.answered.clear()
        with pytest.raises(StoreUnavailable):
            await process.store.reserve(asking("a"))
        late.answered.set()
        await process.recovered()
        assert await other.standing() == [(0, 0), (0, 0)]


async def test_each_time_that_the_store_is_away_the_share_begins_anew(own_redis):
    async with running(own_redis.url, "local", replicas=2) as process:
        for n in range(2):
            own_redis.kill()
            held = [await process.store.reserve(asking(f"{n}-{m}", 250)) for m in range(3)]
            assert [isinstance(answer, Held) for answer in held] == [True, True, False]
            for m in range(2):
                await process.store.cancel(asking(f"{n}-{m}", 250))
            own_redis.start()
            await process.recovered()


async def test_what_must_be_remembered_is_bounded_and_what_is_dropped_is_told(own_redis):
    async with running(own_redis.url, "allow", LONG, most_arrears=5) as process:
        own_redis.kill()
        for n in range(8):
            await process.store.reserve(asking(f"r{n}"))
            await process.store.settle(asking(f"r{n}"), {"usd": 1})
            await process.store.settle(asking(f"r{n}"), {"usd": 1})
        assert process.store.arrears == 5
        assert len(process.dropped) >= 3
        assert process.shared.held == 5


async def test_a_full_store_is_away_until_it_takes_writes_again(own_redis):
    async with running(own_redis.url) as process:
        await process.standing()
        own_redis.ask("CONFIG", "SET", "maxmemory", "1")
        with capture_logs() as logs:
            await process.trip()
        assert "used memory > 'maxmemory'" in logs[0]["cause"]
        own_redis.ask("CONFIG", "SET", "maxmemory", "0")
        await process.recovered()
        assert isinstance(await process.store.reserve(asking("a")), Held)


async def test_a_tenant_whose_books_are_slow_keeps_nobody_else_waiting(own_redis):
    ready = asyncio.Event()

    async def rebuild(realm, _):
        if realm == "acme":
            await ready.wait()
        return Rebuilt({})

    async with running(own_redis.url, "allow", limit=2.0, rebuild=rebuild) as process:
        store = process.store
        for n in range(4):
            assert isinstance(await store.reserve(asking(f"r{n}")), Held)  # let in without its counters
        assert store.working
        for n in range(2):
            await store.settle(asking(f"r{n}"), {"usd": 5})
        assert isinstance(await store.reserve(asking("other", realm="other")), Held)
        assert await store.settle(asking("other", realm="other"), {"usd": 5}) == ()
        assert store.arrears == 2
        assert store.working
        ready.set()
        await eventually(lambda: not store.arrears)
        assert await process.standing() == [(10, 200), (0, 2)]


async def test_a_store_that_was_emptied_is_no_store_that_is_away(own_redis):
    async def rebuild(*_):
        return Rebuilt({BUDGET.key: 400})

    async with running(own_redis.url, rebuild=rebuild) as process:
        await process.store.reserve(asking("a"))
        own_redis.ask("FLUSHALL")
        assert isinstance(await process.store.reserve(asking("b")), Held)
        await process.store.settle(asking("a"), {"usd": 30})
        assert await process.standing() == [(430, 100), (0, 1)]
        assert not process.failed


@pytest.mark.parametrize("cooldown", [0, 1000])
async def test_a_process_that_stops_does_not_wait_for_a_store_that_is_away(own_redis, cooldown):
    """Whether it is looking for the store at that moment or not."""
    breaker = replace(LONG, cooldown=cooldown, max_cooldown=cooldown)
    async with running(own_redis.url, "allow", breaker) as process:
        own_redis.kill()
        for n in range(4):
            await process.store.reserve(asking(f"r{n}"))
        assert not process.store.working
        own_redis.start()
        own_redis.freeze()
        before = process.failed["ping"]
        await eventually(lambda: cooldown or process.failed["ping"] > before)


@pytest.mark.parametrize("back", [True, False])
async def test_a_process_that_ends_tells_the_store_what_it_missed_or_says_that_it_cannot(own_redis, back):
    async with running(own_redis.url, "allow", LONG) as process:
        await process.warm()
        assert isinstance(await process.store.reserve(asking("a")), Held)
        own_redis.freeze()
        for n in range(3):
            assert isinstance(await process.store.reserve(asking(f"r{n}")), Held)
        await process.store.settle(asking("a"), {"usd": 7})
        for n in range(3):
            await process.store.settle(asking(f"r{n}"), {"usd": 10})
        assert process.store.arrears == 4
        if back:
            own_redis.thaw()
        with capture_logs() as logs:
            await process.store.close()
        assert [line["requests"] for line in logs] == ([] if back else [4])
        assert process.store.arrears == (0 if back else 4)
        own_redis.thaw()
        if back:
            assert [(state.used, state.held) for state in await process.shared.look("acme", LIMITS)] == [
                (37, 0),
                (0, 0),
            ]


async def test_how_long_each_operation_took_is_told(own_redis):
    async with running(own_redis.url) as process:
        await process.warm()
        own_redis.freeze()
        with pytest.raises(StoreUnavailable):
            await process.store.reserve(asking("a"))
        own_redis.thaw()
    assert [operation for operation, _ in process.took] == ["reserve", "renew", "cancel", "look", "reserve"]
    *quick, frozen = [seconds for _, seconds in process.took]
    assert min(quick) > 0
    assert frozen >= LIMIT
