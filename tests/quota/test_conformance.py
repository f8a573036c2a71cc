"""What every hold store does, case by case; the interleavings are in test_interleavings."""

from __future__ import annotations

import pytest

from gateway.core.quota.holds import (
    CONCURRENCY_RETRY_AFTER,
    ENDED,
    FIRST_LEASE,
    LEASE,
    ONE_REQUEST,
    RENEW_EVERY,
    Held,
    LimitState,
    Refused,
    Reservation,
)
from gateway.core.quota.limits import AppliedLimit


def requests(amount, key="tenant:acme:requests:60", window=60.0):
    return AppliedLimit(key, f"{key.partition(':')[0]}-requests-per-minute", "tenant", "requests", amount, window)


def streams(amount, key="key:acme:k1:concurrent"):
    return AppliedLimit(key, f"{key.partition(':')[0]}-concurrent-streams", "key", "concurrent", amount, None)


async def reserve(store, request_id, now, *limits, **kind):
    return await store.reserve(Reservation(request_id, limits, **kind), now)


async def remaining(store, now, *limits):
    """Ask with a reservation that takes nothing, and end it."""
    held = await reserve(store, f"probe-{now}", now, *limits, amounts={})
    assert isinstance(held, Held)
    await store.cancel(f"probe-{now}", now)
    return [state.remaining for state in held.states]


async def test_a_hold_tells_its_lease_and_the_state_of_each_limit(store):
    held = await reserve(store, "a", 100.0, requests(10), streams(2))
    assert held == Held(
        100.0 + FIRST_LEASE,
        (
            LimitState("tenant-requests-per-minute", 10, 9, 60.0, 60.0),
            LimitState("key-concurrent-streams", 2, 1, None, None),
        ),
    )


async def test_the_eleventh_request_is_refused_until_the_first_leaves_the_window(store):
    for n in range(10):
        await reserve(store, f"r{n}", 100.0 + n, requests(10))
    refused = await reserve(store, "r10", 110.0, requests(10))
    assert isinstance(refused, Refused)
    assert (refused.limit, refused.retry_after) == ("tenant-requests-per-minute", 50.0)
    assert refused.states == (LimitState("tenant-requests-per-minute", 10, 0, 50.0, 60.0),)
    assert isinstance(await reserve(store, "r11", 160.0, requests(10)), Held)


@pytest.mark.parametrize("end", ["settle", "cancel"])
async def test_a_slot_is_free_the_moment_its_request_ends(store, end):
    await reserve(store, "a", 100.0, streams(1))
    refused = await reserve(store, "b", 100.0, streams(1))
    assert (refused.limit, refused.retry_after) == ("key-concurrent-streams", CONCURRENCY_RETRY_AFTER)
    await getattr(store, end)("a", 100.0)
    assert isinstance(await reserve(store, "c", 100.0, streams(1)), Held)


async def test_a_refused_request_holds_nothing_and_costs_nothing(store):
    await reserve(store, "a", 100.0, streams(1))
    for n in range(5):
        await reserve(store, f"no{n}", 100.0, requests(10), streams(1))
    assert await remaining(store, 100.0, requests(10), streams(1)) == [10, 0]
    await store.settle("a", 101.0)
    assert isinstance(await reserve(store, "no1", 101.0, requests(10), streams(1)), Held)


async def test_of_several_refusing_limits_the_longest_wait_is_named(store):
    hour = requests(1, "user:acme:u:requests:3600", 3600.0)
    minute = requests(1)
    await reserve(store, "a", 100.0, streams(1), hour, minute)
    refused = await reserve(store, "b", 101.0, streams(1), hour, minute)
    assert (refused.limit, refused.retry_after) == ("user-requests-per-minute", 3599.0)


async def test_a_request_over_the_limit_by_itself_is_told_that_waiting_does_not_help(store):
    refused = await reserve(store, "a", 100.0, requests(3), amounts={"requests": 4})
    assert (refused.limit, refused.retry_after) == ("tenant-requests-per-minute", None)


async def test_a_request_without_a_stream_takes_no_slot(store):
    await reserve(store, "a", 100.0, requests(10), streams(1), amounts=ONE_REQUEST)
    assert await remaining(store, 100.0, requests(10), streams(1)) == [9, 1]


async def test_settle_keeps_the_request_in_its_windows_and_cancel_gives_it_back(store):
    await reserve(store, "kept", 100.0, requests(10))
    await reserve(store, "back", 101.0, requests(10))
    await store.settle("kept", 102.0)
    await store.cancel("back", 102.0)
    assert await remaining(store, 102.0, requests(10)) == [9]


async def test_a_second_reserve_of_the_same_request_takes_nothing_more(store):
    first = await reserve(store, "a", 100.0, requests(10), streams(2))
    assert await reserve(store, "a", 100.0, requests(10), streams(2)) == first


@pytest.mark.parametrize("first", ["settle", "cancel"])
@pytest.mark.parametrize("second", ["settle", "cancel"])
async def test_the_first_end_of_a_request_counts(store, first, second):
    await reserve(store, "a", 100.0, requests(10), streams(2))
    await getattr(store, first)("a", 101.0)
    after_first = await remaining(store, 102.0, requests(10), streams(2))
    await getattr(store, second)("a", 103.0)
    assert await remaining(store, 104.0, requests(10), streams(2)) == after_first


@pytest.mark.parametrize("end", ["settle", "cancel"])
async def test_a_reserve_that_arrives_after_its_end_takes_nothing(store, end):
    """The caller gave up on a reserve whose answer it never saw."""
    await getattr(store, end)("late", 100.0)
    assert await reserve(store, "late", 100.5, requests(10), streams(1)) == Refused(ENDED, None, ())
    assert await remaining(store, 100.5, requests(10), streams(1)) == [10, 1]


async def test_a_renewed_lease_lasts(store):
    await reserve(store, "a", 100.0, streams(1))
    for now in (109.0, 109.0 + RENEW_EVERY, 109.0 + 2 * RENEW_EVERY):
        assert await store.renew(["a"], now) == frozenset()
    last = 109.0 + 2 * RENEW_EVERY
    assert isinstance(await reserve(store, "b", last + LEASE - 0.5, streams(1)), Refused)
    assert isinstance(await reserve(store, "b", last + LEASE, streams(1)), Held)


async def test_a_lease_that_runs_out_frees_the_slot_and_stays_in_the_window(store):
    await reserve(store, "crashed", 100.0, requests(10), streams(1))
    assert await remaining(store, 100.0 + FIRST_LEASE - 0.5, requests(10), streams(1)) == [9, 0]
    assert await remaining(store, 100.0 + FIRST_LEASE, requests(10), streams(1)) == [9, 1]


async def test_a_late_renew_takes_the_slot_again_even_over_the_limit(store):
    """The stream does run: counting it is honest, and the next ones wait."""
    await reserve(store, "a", 100.0, streams(1))
    await reserve(store, "b", 120.0, streams(1))
    assert await store.renew(["a"], 121.0) == frozenset()
    await store.settle("b", 122.0)
    assert await remaining(store, 122.0, streams(1)) == [0]
    assert isinstance(await reserve(store, "c", 122.0, streams(1)), Refused)
    await store.settle("a", 123.0)
    assert await remaining(store, 123.0, streams(1)) == [1]


async def test_over_the_limit_the_remainder_is_zero_and_what_takes_nothing_is_admitted(store):
    await reserve(store, "a", 100.0, streams(1))
    await reserve(store, "b", 120.0, streams(1))
    await store.renew(["a", "b"], 121.0)
    assert await remaining(store, 122.0, streams(1)) == [0]


async def test_a_late_settle_ends_an_expired_request_for_good(store):
    await reserve(store, "a", 100.0, requests(10), streams(1))
    await store.settle("a", 130.0)
    assert await store.renew(["a"], 131.0) == {"a"}
    assert await remaining(store, 132.0, requests(10), streams(1)) == [9, 1]


async def test_a_late_cancel_of_an_expired_request_gives_back(store):
    await reserve(store, "a", 100.0, requests(10), streams(1))
    await store.cancel("a", 130.0)
    assert await remaining(store, 132.0, requests(10), streams(1)) == [10, 1]


async def test_an_expired_request_is_not_admitted_again(store):
    await reserve(store, "a", 100.0, requests(10))
    assert (await reserve(store, "a", 130.0, requests(10))).limit == ENDED


async def test_renew_names_what_it_does_not_know(store):
    await reserve(store, "a", 100.0, streams(1))
    await reserve(store, "b", 100.0, streams(1), amounts={})
    await store.settle("b", 101.0)
    assert await store.renew(["a", "b", "never"], 101.0) == {"b", "never"}


async def test_a_clock_that_goes_back_frees_nothing_and_admits_nothing_more(store):
    await reserve(store, "a", 1000.0, requests(1), streams(1))
    assert isinstance(await reserve(store, "b", 1.0, requests(1)), Refused)
    assert isinstance(await reserve(store, "c", 1.0, streams(1)), Refused)
    assert isinstance(await reserve(store, "d", 1060.0, requests(1), streams(1)), Held)
