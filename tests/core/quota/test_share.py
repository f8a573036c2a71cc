"""A worker's share of each limit: together never more than the limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.plans import AnonymousDefault, Limits, Plan
from gateway.core.quota.share import counted_limits, shared_default, shared_plan

DEFAULT = AnonymousDefault()
FULL = Plan(
    requests_per_minute=60,
    concurrent_streams=11,
    max_output_tokens=8192,
    models=("claude-*",),
    per_key=Limits(requests_per_minute=20),
    per_user=Limits(concurrent_streams=4),
    per_address=Limits(requests_per_minute=9),
)


def test_every_counted_limit_is_divided_and_rounded_down():
    shared = shared_plan(FULL, 2)
    assert (shared.requests_per_minute, shared.concurrent_streams) == (30, 5)
    assert shared.per_key == Limits(requests_per_minute=10)
    assert shared.per_user == Limits(concurrent_streams=2)
    assert shared.per_address == Limits(requests_per_minute=4)


def test_what_is_not_counted_stays_as_it_is():
    shared = shared_plan(FULL, 4)
    assert (shared.max_output_tokens, shared.models) == (8192, ("claude-*",))
    assert shared_plan(Plan(), 4) == Plan()


@given(st.integers(1, 10**9), st.integers(1, 256))
def test_all_shares_together_are_at_most_the_limit_and_none_is_nothing(amount, workers):
    share = shared_plan(Plan(requests_per_minute=amount), workers).requests_per_minute
    assert share >= 1
    assert share * workers <= amount or amount < workers


def test_the_limit_that_is_there_unasked_is_divided_too():
    assert shared_default(AnonymousDefault(requests=10, window=60), 3) == AnonymousDefault(requests=3, window=60)


def test_limits_in_force_are_named_by_their_key():
    assert dict(counted_limits({"default": FULL}, (), DEFAULT)) == {
        "plans.default.requests_per_minute": 60,
        "plans.default.concurrent_streams": 11,
        "plans.default.per_key.requests_per_minute": 20,
        "plans.default.per_user.concurrent_streams": 4,
        "plans.default.per_address.requests_per_minute": 9,
    }


def test_the_limit_that_is_there_unasked_is_in_force_where_an_anonymous_plan_sets_none():
    plans = {"open": Plan(), "full": FULL}
    assert dict(counted_limits(plans, ("open",), DEFAULT))["anonymous_default.requests"] == 10
    assert "anonymous_default.requests" not in dict(counted_limits(plans, ("full",), DEFAULT))
    assert "anonymous_default.requests" not in dict(counted_limits(plans, (), DEFAULT))


def test_without_limits_none_is_in_force():
    assert list(counted_limits({"default": Plan()}, (), DEFAULT)) == []


def test_dollars_are_divided_to_the_last_billionth():
    assert shared_plan(Plan(usd_per_month=50, tokens_per_day=7), 4) == Plan(usd_per_month=12.5, tokens_per_day=1)
