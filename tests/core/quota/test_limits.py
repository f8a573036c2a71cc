"""Which limits a caller meets."""

from __future__ import annotations

from gateway.core.plans import AnonymousDefault, Limits, Plan
from gateway.core.principal import Principal
from gateway.core.quota.limits import (
    AppliedLimit,
    applied_limits,
    key_of,
    limit_set,
    plan_of_anonymous,
    realm_of,
    tenant_of,
)

DEFAULT = AnonymousDefault()
FULL = Plan(
    requests_per_minute=60,
    concurrent_streams=10,
    per_key=Limits(requests_per_minute=20, concurrent_streams=5),
    per_user=Limits(requests_per_minute=6),
    per_address=Limits(concurrent_streams=2),
)


def caller(**changed):
    facts = {
        "tenant": "acme",
        "key_id": "k1",
        "tenant_plan": "default",
        "key_plan": None,
        "address": "192.0.2.1",
        "end_user": "u1",
    }
    return Principal(**(facts | changed))


def amounts(principal, plan, key_plan=None, default=DEFAULT):
    return {limit.key: limit.amount for limit in applied_limits(principal, plan, key_plan, default)}


def test_every_scope_of_the_tenants_plan_applies_to_a_key():
    assert amounts(caller(), FULL) == {
        "tenant:acme:requests:60": 60,
        "tenant:acme:concurrent": 10,
        "key:acme:k1:requests:60": 20,
        "key:acme:k1:concurrent": 5,
        "user:acme:u1:requests:60": 6,
        "address:acme:192.0.2.1:concurrent": 2,
    }


def test_limits_carry_what_headers_and_metrics_need():
    limits = applied_limits(caller(), FULL, None, DEFAULT)
    assert limits[0] == AppliedLimit(
        key="tenant:acme:requests:60",
        name="tenant-requests-per-minute",
        scope="tenant",
        unit="requests",
        amount=60,
        window=60.0,
    )
    assert [limit.name for limit in limits[1:]] == [
        "tenant-concurrent-streams",
        "key-requests-per-minute",
        "key-concurrent-streams",
        "user-requests-per-minute",
        "address-concurrent-streams",
    ]
    assert limits[1].window is None


def test_without_an_end_user_no_user_limit_applies():
    assert not [key for key in amounts(caller(end_user=None), FULL) if key.startswith("user:")]


def test_an_absent_limit_is_no_limit_for_a_key():
    assert amounts(caller(), Plan()) == {}


def test_a_keys_own_plan_narrows_and_never_widens():
    own = Plan(
        requests_per_minute=30,
        concurrent_streams=1,
        per_key=Limits(requests_per_minute=25),
        per_user=Limits(requests_per_minute=3, concurrent_streams=1),
        per_address=Limits(concurrent_streams=4),
    )
    assert amounts(caller(key_plan="narrow"), FULL, own) == {
        "tenant:acme:requests:60": 60,
        "tenant:acme:concurrent": 10,
        "key:acme:k1:requests:60": 20,
        "key:acme:k1:concurrent": 1,
        "user:acme:u1:requests:60": 3,
        "user:acme:u1:concurrent": 1,
        "address:acme:192.0.2.1:concurrent": 2,
    }


def test_a_keys_own_plan_limits_where_the_tenants_does_not():
    assert amounts(caller(key_plan="narrow"), Plan(), Plan(requests_per_minute=1)) == {"key:acme:k1:requests:60": 1}


def test_anonymous_browsers_have_ten_requests_a_minute_per_address_unless_set():
    browser = caller(key_id=None, tenant_plan="browser", end_user=None)
    key = "address:acme:anonymous:browser:192.0.2.1:requests:60"
    assert amounts(browser, Plan()) == {key: 10}
    assert amounts(browser, Plan(per_address=Limits(requests_per_minute=3))) == {key: 3}


def test_the_anonymous_default_follows_the_old_deployments_window():
    browser = caller(key_id=None, tenant_plan="browser", end_user=None)
    (limit,) = applied_limits(browser, Plan(), None, AnonymousDefault(requests=5, window=90.0))
    assert (limit.name, limit.amount, limit.window) == ("address-requests-per-90s", 5, 90.0)
    assert limit.key.endswith(":requests:90")


def test_anonymous_browsers_are_counted_apart_from_keys_and_have_no_key_limit():
    browser = caller(key_id=None, tenant_plan="browser")
    limits = amounts(browser, FULL)
    assert set(limits).isdisjoint(amounts(caller(), FULL))
    assert sorted(limits.values()) == [2, 6, 10, 10, 60]
    assert not [key for key in limits if key.startswith("key:")]


def test_counters_of_different_owners_never_meet_whatever_they_are_called():
    key_of_a = caller(tenant="a:b", key_id="c")
    key_of_b = caller(tenant="a", key_id="b:c")
    odd = caller(tenant="a%3Ab", key_id="c")
    sets = [set(amounts(principal, FULL)) for principal in (key_of_a, key_of_b, odd)]
    assert sets[0].isdisjoint(sets[1])
    assert sets[0].isdisjoint(sets[2])
    user = caller(tenant="a", end_user="b:u")
    assert set(amounts(user, FULL)).isdisjoint(amounts(caller(tenant="a:b", end_user="u"), FULL))


def test_what_does_not_depend_on_the_request_is_computed_once():
    """Without rules for users and addresses even the tuple is shared."""
    plan = Plan(requests_per_minute=60, per_user=Limits(requests_per_minute=1))
    kept = limit_set(caller(), plan, None, DEFAULT)
    assert kept.of_caller("192.0.2.9", None) is kept.shared
    assert [limit.key for limit in kept.of_caller("192.0.2.9", "u9")] == [
        "tenant:acme:requests:60",
        "user:acme:u9:requests:60",
    ]


def test_every_unit_can_be_limited_over_every_span():
    units = ("requests", "input_tokens", "output_tokens", "tokens", "usd")
    spans = {"minute": "60", "hour": "3600", "day": "day", "month": "month"}
    plan = Plan(**{f"{unit}_per_{span}": 7 for unit in units for span in spans})
    limits = {limit.key: limit for limit in applied_limits(caller(), plan, None, DEFAULT)}
    assert set(limits) == {f"tenant:acme:{unit}:{span}" for unit in units for span in spans.values()}
    month = limits["tenant:acme:input_tokens:month"]
    assert (month.name, month.amount) == ("tenant-input-tokens-per-month", 7)
    assert (month.window, month.span) == (None, "month")
    hour = limits["tenant:acme:tokens:3600"]
    assert (hour.name, hour.window, hour.span) == ("tenant-tokens-per-hour", 3600.0, None)


def test_dollars_are_counted_in_billionths():
    (limit,) = applied_limits(caller(), Plan(usd_per_month=0.000_001), None, DEFAULT)
    assert (limit.unit, limit.amount) == ("usd", 1000)
    (limit,) = applied_limits(caller(), Plan(usd_per_day=12.34), None, DEFAULT)
    assert (limit.name, limit.amount) == ("tenant-usd-per-day", 12_340_000_000)


def test_what_the_ledger_calls_a_caller_leads_back_to_plan_and_tenant():
    browser = caller(tenant="a:b%", key_id=None, tenant_plan="public")
    assert plan_of_anonymous(key_of(browser)) == "public"
    assert plan_of_anonymous(key_of(caller())) is None
    for key in (key_of(browser), "k1"):
        assert tenant_of(realm_of("a:b%", key)) == "a:b%"
