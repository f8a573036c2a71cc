"""What is particular to the store in Redis: many processes, its clock, its keys, and what happens when it is lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from gateway.core.errors import StoreUnavailable
from gateway.core.quota.holds import (
    ENDED,
    FIRST_LEASE,
    HELD_RETRY_AFTER,
    ONE_REQUEST,
    Checkpoint,
    Held,
    Refused,
    Reservation,
)
from gateway.core.quota.limits import AppliedLimit
from gateway.quota.redis_codec import MOST
from gateway.quota.redis_rebuild import Rebuilt
from gateway.quota.redis_store import Clocks
from tests.quota.conftest import At, Clock

DAY = 86_400.0
NOON = 20_000 * DAY + DAY / 2


def budget(amount, owner="tenant:acme", span="day"):
    return AppliedLimit(f"{owner}:usd:{span}", f"tenant-usd-per-{span}", "tenant", "usd", amount, None, span)


def streams(amount, owner="tenant:acme"):
    return AppliedLimit(f"{owner}:concurrent", "tenant-concurrent-streams", "tenant", "concurrent", amount, None)


def requests(amount, owner="tenant:acme", window=60.0):
    return AppliedLimit(
        f"{owner}:requests:{window:g}", "tenant-requests-per-minute", "tenant", "requests", amount, window
    )


def asking(request_id, *limits, usd=1, realm="acme"):
    return Reservation(request_id, limits, {"concurrent": 1, "usd": usd}, realm=realm)


async def standing(store, *limits, realm="acme"):
    return [(state.used, state.held) for state in await store.look(realm, limits)]


def told(used):
    """Return what loads the same for every tenant, and counts how often it was asked."""

    async def rebuild(realm, _):
        rebuild.asked[realm] += 1
        return Rebuilt(used)

    rebuild.asked = Counter()
    return rebuild


# Many processes.


async def test_two_hundred_at_once_over_two_processes_admit_exactly_the_twenty_that_fit(process):
    one, two = process(), process()
    limits = budget(2000), streams(100), requests(500)
    asked = [asking(f"r{n}", *limits, usd=100) for n in range(200)]
    answers = await asyncio.gather(*[(one, two)[n % 2].reserve(each) for n, each in enumerate(asked)])
    admitted = [each for each, answer in zip(asked, answers, strict=True) if isinstance(answer, Held)]
    assert len(admitted) == 20
    assert {answer.limit for answer in answers if isinstance(answer, Refused)} == {"tenant-usd-per-day"}
    await asyncio.gather(*[two.settle(each, {"usd": 90, "requests": 1}) for each in admitted])
    assert await standing(one, *limits) == [(1800, 0), (0, 0), (20, 0)]


async def test_another_process_may_end_a_request(process):
    one, two = process(), process()
    await one.reserve(asking("a", budget(1000), streams(1), usd=500))
    assert await two.settle(Reservation("a", (), realm="acme"), {"usd": 2000}) == ()
    assert await one.renew([Checkpoint(asking("a"), ONE_REQUEST)]) == {"a"}
    assert await standing(one, budget(1000), streams(1)) == [(2000, 0), (0, 0)]


async def test_one_renewal_is_for_several_tenants(process):
    store = process()
    held = [asking(f"r{n}", streams(1, f"tenant:t{n}"), realm=f"t{n}") for n in range(3)]
    for each in held:
        await store.reserve(each)
    await store.settle(held[1], {})
    unheard = asking("never", realm="t0")
    checkpoints = [Checkpoint(each, {}) for each in (*held, unheard)]
    assert await store.renew(checkpoints) == {"r1", "never"}
    assert await store.renew([]) == frozenset()


async def test_whoever_notices_that_leases_ran_out_counts_them(process):
    clock, noticed = Clock(NOON), []
    store = process(Clocks(clock, clock), on_expired=noticed.append)
    for n in range(3):
        await store.reserve(asking(f"r{n}", streams(5)))
    clock.now += FIRST_LEASE
    assert await standing(store, streams(5)) == [(0, 0)]
    assert noticed == [3]


async def test_any_number_of_leases_that_are_due_frees_its_slots_before_anybody_is_refused(process):
    clock, noticed = Clock(NOON), []
    store = process(Clocks(clock, clock), on_expired=noticed.append)
    most = streams(1100), requests(5000)
    await standing(store, *most)
    await asyncio.gather(*[store.reserve(asking(f"r{n}", *most)) for n in range(1100)])
    assert (await store.reserve(asking("no", *most))).retry_after == HELD_RETRY_AFTER
    clock.now += FIRST_LEASE
    assert isinstance(await store.reserve(asking("yes", *most)), Held)
    assert await standing(store, *most) == [(0, 1), (1100, 1)]
    assert sum(noticed) == 1100


async def test_a_tenant_whose_leases_never_stop_running_out_is_told_so(process, monkeypatch):
    """Nobody waits for ever for a store that always has something to do first."""
    clock = Clock(NOON)
    store = process(Clocks(clock, clock))
    monkeypatch.setattr("gateway.quota.redis_store._MOST_TRIES", 2)
    await standing(store, streams(1100))
    await asyncio.gather(*[store.reserve(asking(f"r{n}", streams(1100))) for n in range(1001)])
    clock.now += FIRST_LEASE
    with pytest.raises(StoreUnavailable, match="cannot be counted"):
        await store.reserve(asking("no", streams(1100)))
    assert isinstance(await store.reserve(asking("yes", streams(1100))), Held)


# The clock.


async def test_the_servers_clock_counts_whatever_the_processes_think(process):
    fast, slow = process(Clocks(lambda: time.time() + 40 * DAY)), process(Clocks(lambda: time.time() - 3 * DAY))
    for n, store in enumerate((fast, slow)):
        before = time.time()
        answer = await store.reserve(asking(f"r{n}", budget(2000), requests(9), usd=900))
        assert before - 0.001 <= answer.admitted_at <= time.time()
        assert 0 < answer.states[0].reset <= DAY
    assert await standing(slow, budget(2000)) == await standing(fast, budget(2000)) == [(0, 1800)]
    assert (round(fast.skew / DAY), round(slow.skew / DAY)) == (-40, 3)
    assert (await fast.reserve(asking("no", budget(2000), usd=900))).limit == "tenant-usd-per-day"


async def test_a_process_that_is_behind_does_not_reopen_a_period(process):
    late, early = Clock(NOON + DAY), Clock(NOON)
    ahead, behind = process(Clocks(late, late)), process(Clocks(early, early))
    await ahead.reserve(asking("a", budget(10), usd=10))
    refused = await behind.reserve(asking("b", budget(10), usd=1))
    assert (refused.limit, refused.spent, refused.states[0].reset) == ("tenant-usd-per-day", False, DAY / 2)


async def test_it_learns_the_clock_of_the_server(process):
    store = process()
    await store.reserve(asking("a", requests(9)))
    assert abs(store.skew) < 1


# Its keys.


async def test_all_keys_of_a_tenant_are_in_one_place_and_none_stays_for_ever(redis, process):
    store = process(tombstone_ttl=500.0)
    limits = budget(10**9), budget(10**9, span="month"), streams(9), requests(9), requests(90, "key:acme:k")
    for name in ("runs", "ends", "expires"):
        await store.reserve(asking(name, *limits))
    await store.settle(asking("ends", *limits), {"usd": 5, "requests": 1})
    await store.cancel(asking("never"))
    keys = redis.ask("KEYS", f"*{process.prefix}*")
    of_nobody = f"{process.prefix}:begun"  # and not asked for together with others
    assert all(key.startswith(f"{{{process.prefix}:acme}}:") for key in keys if key != of_nobody)
    left = {key.partition("}:")[2]: redis.ask("PTTL", key) / 1000 for key in keys}
    assert min(left.values()) > 0
    assert max(left["hold:ends"], left["hold:never"]) <= 500
    assert left["c:tenant:acme:usd:day"] <= DAY + 3600
    assert left["c:tenant:acme:usd:month"] <= 31 * DAY + 3600
    assert max(left.values()) <= 40 * DAY
    assert {"clock", "generation", "leases", "hold:runs", "c:tenant:acme:concurrent"} < set(left)


async def test_a_counter_that_counts_nothing_is_gone(redis, process):
    store = process()
    await store.reserve(asking("a", streams(9), requests(9)))
    await store.cancel(asking("a"))
    assert not redis.ask("KEYS", f"*{process.prefix}*:c:*")


async def test_a_window_goes_with_its_length_once_nobody_holds_of_it(redis, process):
    store = process()
    await store.reserve(asking("a", requests(9)))
    await store.settle(asking("a", requests(9)), ONE_REQUEST)
    (key,) = redis.ask("KEYS", f"*{process.prefix}*:c:*")
    assert 60_000 <= redis.ask("PTTL", key) <= 66_000


async def test_amounts_are_exact_up_to_nine_million_dollars(process):
    store, most = process(), budget(MOST)
    assert isinstance(await store.reserve(asking("a", most, usd=MOST - 1)), Held)
    assert isinstance(await store.reserve(asking("b", most, usd=1)), Held)
    assert isinstance(await store.reserve(asking("c", most, usd=1)), Refused)
    await store.settle(asking("a", most), {"usd": MOST - 2})
    assert await standing(store, most) == [(MOST - 2, 1)]


async def test_beyond_that_a_limit_is_as_high_as_it_can_be(process):
    store, most = process(), budget(10**17)
    assert isinstance(await store.reserve(asking("a", most, usd=MOST)), Held)
    assert (await store.reserve(asking("b", most, usd=10**17 + 1))).retry_after is None


async def test_nothing_to_look_at_asks_nobody(process):
    assert await process().look("acme", ()) == ()


# A store that was lost.


async def test_a_store_that_was_lost_is_filled_before_anybody_is_let_in_and_by_one_process(redis, process):
    rebuild = told({budget(0).key: 700, budget(0, span="month").key: 900})
    stores = [process(rebuild=rebuild) for _ in range(3)]
    day, month = budget(1000), budget(1000, span="month")
    answers = await asyncio.gather(*[stores[n % 3].reserve(asking(f"r{n}", day, month, usd=50)) for n in range(12)])
    assert sum(isinstance(answer, Held) for answer in answers) == 2
    assert rebuild.asked == {"acme": 1}
    process.lose()
    assert await standing(stores[0], day, month) == [(700, 0), (900, 0)]
    assert rebuild.asked == {"acme": 2}


async def test_what_runs_is_held_again_with_its_renewal(redis, process):
    store, other = process(), process()
    limits = budget(1000), streams(2), requests(9)
    asked = asking("a", *limits, usd=300)
    held = await store.reserve(asked)
    process.lose()
    assert await other.renew([Checkpoint(asked, {})]) == {"a"}
    assert await store.renew([Checkpoint(asked, {"usd": 120})]) == frozenset()
    assert await standing(store, *limits) == [(0, 300), (0, 1), (0, 1)]
    assert (await store.reserve(asked)).admitted_at == held.admitted_at
    await store.settle(asked, {"usd": 200, "requests": 1})
    assert await standing(store, *limits) == [(200, 0), (0, 0), (1, 0)]


async def test_what_ends_in_a_store_that_was_lost_counts_once(redis, process):
    store = process()
    limits = budget(1000), streams(2), requests(9)
    asked = asking("a", *limits, usd=300)
    await store.reserve(asked)
    process.lose()
    (over,) = await store.settle(asked, {"usd": 1200, "requests": 1})
    assert over.amount == 200
    await store.settle(asked, {"usd": 1200, "requests": 1})
    assert await standing(store, *limits) == [(1200, 0), (0, 0), (1, 0)]
    assert store.held == 0


async def test_what_was_given_back_before_the_loss_is_noticed_holds_nothing(redis, process):
    store = process()
    await store.reserve(asking("a", streams(1)))
    process.lose()
    await store.cancel(asking("a", streams(1)))
    assert (await store.reserve(asking("a", streams(1)))).limit == ENDED
    assert await standing(store, streams(1)) == [(0, 0)]


async def test_what_ended_meanwhile_is_not_held_again(redis, process):
    store = process()
    asked = asking("a", streams(1))
    await store.reserve(asked)
    process.lose()
    await process().cancel(asked)
    assert await store.renew([Checkpoint(asked, {})]) == {"a"}
    store.forget(asked)
    assert await store.renew([Checkpoint(asking("b"), {})]) == {"b"}


async def test_what_was_let_in_without_the_store_is_held_from_its_renewal(process):
    clock = Clock(NOON)
    store = process(Clocks(clock, clock))
    asked = asking("a", budget(1000), requests(9), streams(2), usd=300)
    store.adopt(asked, NOON - 30)
    await store.renew([Checkpoint(asked, {})])
    await store.renew([Checkpoint(asked, {})])
    assert await standing(store, *asked.limits) == [(0, 300), (0, 1), (0, 1)]
    clock.now += 30  # a minute after its admission
    assert await standing(store, *asked.limits) == [(0, 300), (0, 0), (0, 1)]


async def test_what_began_before_midnight_is_not_held_of_the_new_day(process):
    clock = Clock(NOON)
    store = process(Clocks(clock, clock))
    asked = asking("a", budget(1000), usd=300)
    store.adopt(asked, NOON - DAY)
    assert await store.renew([Checkpoint(asked, {})]) == frozenset()
    assert await standing(store, *asked.limits) == [(0, 0)]


async def test_whoever_takes_away_the_generation_has_the_counters_loaded_anew_and_keeps_what_is_held(redis, process):
    """How an operator corrects counters that differ from the books."""
    used = {}
    store, day = process(rebuild=told(used)), budget(1000)
    await store.reserve(asking("a", day, usd=300))
    used[day.key] = 42
    redis.ask("DEL", f"{{{process.prefix}:acme}}:generation")
    assert await standing(store, day) == [(42, 300)]


async def test_a_server_that_lost_its_scripts_is_given_them_again(redis, process):
    at, clock = process(), Clock()
    await at.reserve(asking("a", streams(1)))
    redis.ask("SCRIPT", "FLUSH")
    assert isinstance(await At(at, clock).reserve("b", 0.0, streams(1)), Refused)


async def test_a_full_server_refuses_whole_requests_and_takes_their_ends(redis, process):
    store = process()
    limits = budget(1000), streams(5), requests(9)
    await store.reserve(asking("a", *limits, usd=300))
    await store.reserve(asking("b", *limits, usd=300))
    before = await standing(store, *limits)
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable) as refused:
            await store.reserve(asking("c", *limits))
        assert "used memory > 'maxmemory'" in refused.value.detail
        with pytest.raises(StoreUnavailable):
            await store.ping()
        await store.renew([Checkpoint(asking("b"), {"usd": 5})])
        await store.settle(asking("a", *limits), {"usd": 100, "requests": 1})
    finally:
        redis.ask("CONFIG", "SET", "maxmemory", "0")
    assert before == [(0, 600), (0, 2), (0, 2)]
    assert await standing(store, *limits) == [(100, 300), (0, 1), (1, 1)]
    await store.ping()
