"""What a tenant's plan is while something is granted."""

from __future__ import annotations

import pytest

from gateway.core.plans import Limits, Plan
from gateway.core.quota.grants import Grant, active, raised

PLAN = Plan(usd_per_month=50, usd_per_day=5, concurrent_streams=9, per_key=Limits(usd_per_day=1))


def test_what_is_granted_is_added_to_the_limits_of_the_tenant_alone():
    plan = raised(PLAN, [Grant("usd_per_month", 20.5, 100.0), Grant("concurrent_streams", 3, 100.0)])
    assert (plan.usd_per_month, plan.usd_per_day, plan.concurrent_streams) == (70.5, 5, 12)
    assert plan.per_key == PLAN.per_key
    assert raised(PLAN, []) is PLAN


@pytest.mark.parametrize("limit", ["tokens_per_day", "models", "gone"])
def test_what_the_plan_does_not_limit_stays_as_it_is(limit):
    assert raised(PLAN, [Grant(limit, 20, 100.0)]) is PLAN


def test_those_who_count_apart_share_it():
    plan = raised(PLAN, [Grant("usd_per_month", 20, 100.0), Grant("concurrent_streams", 5, 100.0)], parts=4)
    assert (plan.usd_per_month, plan.concurrent_streams) == (55, 10)


def test_what_is_over_does_not_count():
    grants = [Grant("usd_per_month", 20, 100.0), Grant("usd_per_day", 2, 101.0)]
    assert active(grants, 99.9) == tuple(grants)
    assert active(grants, 100.0) == (grants[1],)
