"""What is particular to the store of one process: its memory is bounded and it never switches tasks."""

from __future__ import annotations

import pytest

from gateway.core.quota.holds import FIRST_LEASE, Held, Refused, Reservation
from gateway.core.quota.limits import AppliedLimit
from gateway.quota.memory import MemoryHoldStore


def address(n, amount=10, window=60.0):
    name = "address-requests-per-minute"
    return AppliedLimit(f"address:t:{n}:requests:{window:g}", name, "address", "requests", amount, window)


def stream(n=0):
    return AppliedLimit(f"key:t:k{n}:concurrent", "key-concurrent-streams", "key", "concurrent", 1, None)


async def test_operations_finish_without_a_task_switch():
    store = MemoryHoldStore()
    for operation in (
        store.reserve(Reservation("a", (address(1),)), 1.0),
        store.renew(["a"], 2.0),
        store.settle("a", 3.0),
        store.cancel("a", 4.0),
    ):
        with pytest.raises(StopIteration):
            operation.send(None)


async def test_counters_of_addresses_that_went_away_are_dropped():
    store = MemoryHoldStore()
    for n in range(1000):
        now = 100.0 + n
        await store.reserve(Reservation(f"r{n}", (address(n), address(n, window=600.0), stream(n))), now)
        await store.settle(f"r{n}", now)
        assert store.counters <= 61 + 601
    await store.settle("later", 5000.0)
    assert (store.counters, store.held) == (0, 0)


async def test_a_counter_in_use_outlives_idle_ones_and_does_not_keep_them():
    store = MemoryHoldStore()
    for n in range(100):
        await store.reserve(Reservation(f"r{n}", (address("busy", 1000), address(n))), 100.0 + n)
    refused = await store.reserve(Reservation("no", (address("busy", 40),)), 200.0)
    assert isinstance(refused, Refused)
    assert store.counters <= 1 + 61


async def test_a_refused_request_makes_no_counter():
    store = MemoryHoldStore()
    await store.reserve(Reservation("a", (stream(),)), 100.0)
    for n in range(100):
        await store.reserve(Reservation(f"r{n}", (stream(), address(n))), 100.0)
    assert store.counters == 1


async def test_a_counter_given_back_is_dropped_too():
    store = MemoryHoldStore()
    await store.reserve(Reservation("a", (address(1),)), 100.0)
    await store.cancel("a", 101.0)
    await store.settle("other", 102.0)
    assert store.counters == 0


async def test_past_the_bound_new_addresses_are_refused_and_known_ones_are_not():
    """Forgetting a counter instead would lift its limit."""
    store = MemoryHoldStore(max_windows=3)
    for n in range(3):
        assert isinstance(await store.reserve(Reservation(f"r{n}", (address(n),)), 100.0 + n), Held)
    refused = await store.reserve(Reservation("new", (address(9),)), 103.0)
    assert (refused.limit, refused.retry_after) == ("address-requests-per-minute", 60.0)
    assert refused.states[0].remaining == 10
    assert isinstance(await store.reserve(Reservation("known", (address(1),)), 103.0), Held)
    assert isinstance(await store.reserve(Reservation("new", (address(9),)), 160.0), Held)


async def test_ended_requests_are_remembered_for_a_time_and_up_to_a_number():
    store = MemoryHoldStore(tombstone_ttl=100.0, max_tombstones=5)
    for n in range(20):
        await store.cancel(f"r{n}", 100.0 + n)
    assert store.tombstones == 5
    assert isinstance(await store.reserve(Reservation("r19", ()), 120.0), Refused)
    await store.renew([], 300.0)
    assert store.tombstones == 0


async def test_expired_requests_are_remembered_for_a_time_and_up_to_a_number():
    store = MemoryHoldStore(tombstone_ttl=100.0, max_tombstones=5)
    for n in range(20):
        await store.reserve(Reservation(f"r{n}", (stream(n),)), 100.0 + n)
    assert store.held == 10
    assert store.tombstones == 5
    assert await store.renew(["r3", "r8"], 119.0) == {"r3"}
    await store.settle("r8", 119.5)
    await store.renew([], 119.0 + FIRST_LEASE + 100.0)
    assert (store.held, store.tombstones) == (0, 0)


async def test_many_settled_requests_do_not_push_out_an_expired_one():
    """Its stream may still run, and its late renew must count it."""
    store = MemoryHoldStore(max_tombstones=5)
    await store.reserve(Reservation("slow", (stream(),)), 100.0)
    for n in range(50):
        await store.settle(f"r{n}", 150.0)
    assert await store.renew(["slow"], 151.0) == frozenset()
