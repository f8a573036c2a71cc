"""What a process may let in alone: a share of what was left when the shared store was last heard of."""

from __future__ import annotations

from functools import partial

import pytest

from gateway.core.errors import StoreUnavailable
from gateway.core.quota.holds import Held, LimitState, Refused, Reservation
from gateway.core.quota.limits import AppliedLimit
from gateway.quota import local_share
from gateway.quota.local_share import LocalShare
from tests.quota.conftest import Clock, memory

DAY = 86_400.0


def budget(amount=1000, n=0):
    return AppliedLimit(f"user:acme:{n}:usd:day", "user-usd-per-day", "user", "usd", amount, None, "day")


def streams(amount):
    return AppliedLimit("tenant:acme:concurrent", "tenant-concurrent-streams", "tenant", "concurrent", amount, None)


def asking(request_id, *limits, usd=100):
    return Reservation(request_id, limits, {"concurrent": 1, "usd": usd}, {"requests": 1}, realm="acme")


def seen(share, limit, used, held=0, reset=100.0):
    state = LimitState(limit.name, limit.unit, limit.amount, used, held, reset, DAY, limit.span)
    share.see(asking("seen", limit), Held(0.0, 0.0, (state,)))


@pytest.fixture
def clock():
    return Clock(DAY / 2)


@pytest.fixture
def share(clock):
    return LocalShare(4, partial(memory, clock), clock)


async def admitted(share, limit, usd=50, most=40):
    answers = [await share.reserve(asking(f"r{n}", limit, usd=usd)) for n in range(most)]
    return sum(isinstance(answer, Held) for answer in answers)


async def test_a_counter_that_was_never_seen_is_shared_as_a_whole(share):
    assert await admitted(share, budget()) == 5


async def test_of_a_budget_what_was_left_is_shared(share):
    seen(share, budget(), 300, 300)
    assert await admitted(share, budget()) == 2


async def test_what_is_known_of_a_period_that_is_over_counts_nothing(share, clock):
    seen(share, budget(), 900)
    clock.now += 100.0
    assert await admitted(share, budget()) == 5


async def test_slots_are_shared_as_a_whole(share):
    seen(share, streams(9), 0, 9, reset=None)
    assert await admitted(share, streams(9)) == 2


async def test_a_limit_that_is_too_small_to_be_shared_admits_nobody(share):
    with pytest.raises(StoreUnavailable):
        await share.reserve(asking("a", streams(3)))


async def test_a_request_that_takes_nothing_of_a_budget_that_is_gone_goes_on(share):
    seen(share, budget(), 2000)
    held = await share.reserve(asking("a", budget(), usd=0))
    assert held.states[0].limit > 0


async def test_a_request_that_is_over_the_limit_itself_is_told_so(share):
    refused = await share.reserve(asking("a", budget(), usd=1001))
    assert isinstance(refused, Refused)
    assert refused.retry_after is None


async def test_how_many_budgets_are_remembered_is_bounded(share, monkeypatch):
    monkeypatch.setattr(local_share, "_MOST_SEEN", 2)
    for n in range(3):
        seen(share, budget(n=n), 900)
    assert await admitted(share, budget(n=0)) == 5
    with pytest.raises(StoreUnavailable):
        await share.reserve(asking("a", budget(n=2)))
