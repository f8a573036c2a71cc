"""Budgets come back from the ledger with the counters that requests were held in."""

from __future__ import annotations

import pytest

from gateway.core.plans import AnonymousDefault, Limits, Plan
from gateway.core.principal import Principal
from gateway.core.quota.limits import applied_limits, key_of
from gateway.core.quota.rebuilt import Spent, counters

BUDGETS = Limits(
    requests_per_day=9, usd_per_month=9, tokens_per_day=9, input_tokens_per_month=9, output_tokens_per_day=9
)
PLAN = Plan(**BUDGETS.model_dump(), per_key=BUDGETS, per_user=BUDGETS)
TODAY = "2026-11-23"


def spent(day=TODAY, tenant="acme", key_id="k1", end_user="u1", **amounts):
    used = {"requests": 2, "input_tokens": 30, "output_tokens": 4, "usd_nano": 500} | amounts
    return Spent(day, tenant, key_id, end_user, **used)


@pytest.mark.parametrize(
    ("tenant", "key", "user"),
    [("acme", "k1", "u1"), ("a:b%", "k1", None), ("acme", None, "u1"), ("acme", None, None)],
)
def test_every_counter_that_a_request_meets_is_found_again(tenant, key, user):
    principal = Principal(tenant, key, "plan:x", None, "192.0.2.1", user)
    limits = applied_limits(principal, PLAN, None, AnonymousDefault())
    met = {limit.span: set() for limit in limits if limit.span}
    for limit in limits:
        if limit.span and limit.scope != "address":
            met[limit.span].add(limit.key)
    found = counters([spent(tenant=tenant, key_id=key_of(principal), end_user=user or "")], TODAY)
    assert met["day"] <= set(found["day"])
    assert met["month"] <= set(found["month"])


def test_amounts_of_all_requests_add_up_and_earlier_days_count_for_the_month_only():
    found = counters([spent(), spent(key_id="k2", usd_nano=7), spent(day="2026-11-01", usd_nano=1000)], TODAY)
    assert found["day"]["tenant:acme:usd:day"] == 507
    assert found["month"]["tenant:acme:usd:month"] == 1507
    assert found["day"]["key:acme:k2:usd:day"] == 7
    assert found["month"]["user:acme:u1:tokens:month"] == 3 * 34
    assert found["month"]["tenant:acme:requests:month"] == 6


def test_another_month_counts_nowhere():
    assert counters([spent(day="2026-10-31")], TODAY) == {"day": {}, "month": {}}


def test_stores_that_count_apart_have_their_share_rounded_up():
    found = counters([spent(usd_nano=7)], TODAY, 2)
    assert found["day"]["tenant:acme:usd:day"] == 4
    assert found["day"]["tenant:acme:requests:day"] == 1


def test_what_used_nothing_makes_no_counter():
    found = counters([spent(input_tokens=0, output_tokens=0, usd_nano=0)], TODAY)
    assert set(found["day"]) == {f"{owner}:requests:day" for owner in ("tenant:acme", "key:acme:k1", "user:acme:u1")}
