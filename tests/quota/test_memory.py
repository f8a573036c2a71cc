"""What is particular to the store of one process: its memory is bounded and it never switches tasks."""

from __future__ import annotations

import pytest

from gateway.core.quota.holds import FIRST_LEASE, HELD_RETRY_AFTER, Held, Refused, Reservation
from gateway.core.quota.limits import AppliedLimit
from tests.quota.conftest import At, memory

DAY = 86_400.0


def address(n, amount=10, window=60.0):
    name = "address-requests-per-minute"
    return AppliedLimit(f"address:t:{n}:requests:{window:g}", name, "address", "requests", amount, window)


def stream(n=0):
    return AppliedLimit(f"key:t:k{n}:concurrent", "key-concurrent-streams", "key", "concurrent", 1, None)


def budget(n, amount=1000):
    return AppliedLimit(f"user:t:{n}:usd:day", "user-usd-per-day", "user", "usd", amount, None, "day")


@pytest.fixture
def at_store(clock):
    """Return what makes a store with some bounds, spoken to at times."""
    return lambda **bounds: At(memory(clock, **bounds), clock)


async def test_operations_finish_without_a_task_switch(clock):
    store = memory(clock)
    for operation in (
        store.reserve(Reservation("a", (address(1),))),
        store.renew({"a": {}}),
        store.settle("a", {}),
        store.cancel("a"),
        store.look((address(1),)),
    ):
        with pytest.raises(StopIteration):
            operation.send(None)


async def test_counters_of_addresses_that_went_away_are_dropped(at_store):
    at = at_store()
    for n in range(1000):
        now = 100.0 + n
        await at.reserve(f"r{n}", now, address(n), address(n, window=600.0), stream(n))
        await at.settle(f"r{n}", now)
        assert at.store.counters <= 61 + 601
    await at.settle("later", 5000.0)
    assert (at.store.counters, at.store.held) == (0, 0)


async def test_a_counter_in_use_outlives_idle_ones_and_does_not_keep_them(at_store):
    at = at_store()
    for n in range(100):
        await at.reserve(f"r{n}", 100.0 + n, address("busy", 1000), address(n))
        await at.settle(f"r{n}", 100.0 + n)
    refused = await at.reserve("no", 200.0, address("busy", 40))
    assert isinstance(refused, Refused)
    assert at.store.counters <= 1 + 61


async def test_a_window_that_somebody_still_holds_of_stays_and_keeps_no_idle_one(at_store):
    at = at_store()
    await at.reserve("long", 100.0, address("held"))
    await at.renew(["long"], 105.0)
    for n in range(100):
        await at.reserve(f"r{n}", 106.0 + n, address(n))
        await at.settle(f"r{n}", 106.0 + n)
        await at.renew(["long"], 106.0 + n)
    assert at.store.counters <= 1 + 61
    await at.settle("long", 206.0)
    assert await at.standing(206.0, address("held")) == [(0, 0)]
    await at.settle("later", 400.0)
    assert at.store.counters == 0


async def test_a_refused_request_makes_no_counter(at_store):
    at = at_store()
    await at.reserve("a", 100.0, stream())
    for n in range(100):
        await at.reserve(f"r{n}", 100.0, stream(), address(n), budget(n), budgets={"concurrent": 1, "usd": 5})
    assert at.store.counters == 1


async def test_a_counter_given_back_is_dropped_too(at_store):
    at = at_store()
    await at.reserve("a", 100.0, address(1))
    await at.cancel("a", 101.0)
    await at.settle("other", 102.0)
    assert at.store.counters == 0


async def test_budgets_are_dropped_with_their_period(at_store):
    at = at_store()
    for n in range(10):
        await at.reserve(f"r{n}", 100.0, budget(n), budgets={"usd": 5})
    assert at.store.counters == 10
    await at.renew([], DAY + 1)
    assert at.store.counters == 0


@pytest.mark.parametrize(("limit", "wait"), [(address, 60.0), (budget, HELD_RETRY_AFTER)])
async def test_past_the_bound_new_counters_are_refused_and_known_ones_are_not(at_store, limit, wait):
    """Forgetting a counter instead would lift its limit."""
    at = at_store(max_windows=3)
    amounts = {"budgets": {"usd": 1}}
    for n in range(3):
        assert isinstance(await at.reserve(f"r{n}", 100.0 + n, limit(n), **amounts), Held)
    refused = await at.reserve("new", 103.0, limit(9), **amounts)
    assert (refused.limit, refused.retry_after) == (limit(9).name, wait)
    assert refused.states[0].remaining == limit(9).amount
    assert isinstance(await at.reserve("known", 103.0, limit(1), **amounts), Held)
    await at.settle("r0", 104.0)
    assert isinstance(await at.reserve("new", DAY + 160.0, limit(9), **amounts), Held)


async def test_ended_requests_are_remembered_for_a_time_and_up_to_a_number(at_store):
    at = at_store(tombstone_ttl=100.0, max_tombstones=5)
    for n in range(20):
        await at.cancel(f"r{n}", 100.0 + n)
    assert at.store.tombstones == 5
    assert isinstance(await at.reserve("r19", 120.0), Refused)
    await at.renew([], 300.0)
    assert at.store.tombstones == 0


async def test_expired_requests_are_remembered_for_a_time_and_up_to_a_number(at_store):
    at = at_store(tombstone_ttl=100.0, max_tombstones=5)
    for n in range(20):
        await at.reserve(f"r{n}", 100.0 + n, stream(n))
    assert at.store.held == 10
    assert at.store.tombstones == 5
    assert await at.renew(["r3", "r8"], 119.0) == {"r3"}
    await at.settle("r8", 119.5)
    await at.renew([], 119.0 + FIRST_LEASE + 100.0)
    assert (at.store.held, at.store.tombstones) == (0, 0)


async def test_many_settled_requests_do_not_push_out_an_expired_one(at_store):
    """Its stream may still run, and its late renew must count it."""
    at = at_store(max_tombstones=5)
    await at.reserve("slow", 100.0, stream())
    for n in range(50):
        await at.settle(f"r{n}", 150.0)
    assert await at.renew(["slow"], 151.0) == frozenset()


async def test_what_the_ledger_has_of_a_period_counts(at_store):
    at = at_store()
    at.clock.now = 100.0
    at.store.restore("day", {budget(1).key: 900})
    at.store.restore("day", {budget(1).key: 50, budget(2).key: 3})
    assert await at.standing(100.0, budget(1), budget(2)) == [(950, 0), (3, 0)]
    refused = await at.reserve("a", 100.0, budget(1), budgets={"usd": 51})
    assert refused.spent
    assert await at.standing(DAY, budget(1), budget(2)) == [(0, 0), (0, 0)]
