"""What a caller may use, worked out once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.errors import StoreUnavailable
from gateway.core.plans import AnonymousDefault, Plan
from gateway.core.principal import Principal
from gateway.core.quota.grants import Grant
from gateway.web import entitlements
from gateway.web.entitlements import Entitlements
from tests.support.gateway import configuration
from tests.support.observed import observed
from tests.support.scripted_upstream import scripted_upstream

PLANS = {
    "default": Plan(requests_per_minute=60, max_output_tokens=100),
    "narrow": Plan(requests_per_minute=5, max_output_tokens=50),
}


def _made() -> Entitlements:
    return Entitlements(PLANS, AnonymousDefault())


def _caller(key: str | None = "k", *, key_plan: str | None = None, tenant_plan: str = "default") -> Principal:
    return Principal("acme", key, tenant_plan, key_plan, "192.0.2.1")


def test_a_keys_own_plan_comes_on_top_of_the_tenants():
    entitlement = _made().of(_caller(key_plan="narrow"))
    names = {limit.name: limit.amount for limit in entitlement.limits.of_caller("192.0.2.1", None)}
    assert names == {"tenant-requests-per-minute": 60, "key-requests-per-minute": 5}
    assert entitlement.restrictions.max_output_tokens == 50


def test_browsers_have_a_limit_per_address():
    names = [limit.name for limit in _made().of(_caller(None)).limits.of_caller("192.0.2.1", None)]
    assert any(name.startswith("address-") for name in names)


def test_what_was_granted_counts_while_it_is_told():
    made, more = _made(), replace(_caller(), grants=(Grant("requests_per_minute", 5, 1e12),))
    assert [made.of(caller).limits.shared[0].amount for caller in (more, _caller(), more)] == [65, 60, 65]


def test_who_counts_apart_has_a_share():
    made = Entitlements(PLANS, AnonymousDefault(), 4)
    more = replace(_caller(), grants=(Grant("requests_per_minute", 10, 1e12),))
    assert [made.of(caller).limits.shared[0].amount for caller in (_caller(), more)] == [15, 17]


def test_the_same_caller_is_worked_out_once():
    made = _made()
    assert made.of(_caller()) is made.of(_caller())
    assert made.of(_caller("other")) is not made.of(_caller())


def test_the_one_not_used_for_longest_is_forgotten_first():
    made = _made()
    first, second = made.of(_caller("first")), made.of(_caller("second"))
    for number in range(entitlements._REMEMBERED - 1):
        made.of(_caller("first"))
        made.of(_caller(f"k{number}"))
    assert made.of(_caller("first")) is first
    assert made.of(_caller("second")) is not second


@pytest.mark.parametrize("caller", [_caller(tenant_plan="gone"), _caller(key_plan="gone")])
def test_a_plan_that_is_not_configured_is_no_plan_without_limits(caller):
    with pytest.raises(StoreUnavailable):
        _made().of(caller)


async def test_a_tenant_whose_plan_was_taken_out_of_the_configuration_is_a_503(tmp_path):
    async with scripted_upstream() as claude:
        config = configuration(tmp_path, claude.url)
        async with observed(config, plan="gone") as (caller, outcomes):
            async with caller.post("/api/chat/stream", {"message": "hi"}) as response:
                assert response.status == 503
                assert (await response.json())["code"] == "store_unavailable"
            assert (await outcomes.only()).error_origin == "gateway"
    assert not claude.requests
