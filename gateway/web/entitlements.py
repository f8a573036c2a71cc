"""What a caller may use, worked out once for all its requests: limits and restrictions from its plans."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.call import Restrictions
from gateway.core.errors import StoreUnavailable
from gateway.core.plans import AnonymousDefault, Plan
from gateway.core.principal import Principal
from gateway.core.quota.grants import raised
from gateway.core.quota.limits import LimitSet, limit_set
from gateway.core.quota.share import shared_default, shared_plan
from gateway.core.restrictions import restrictions_of

# About 2 KiB each. No setting: past it the one not used for longest is worked out again, and nothing else happens.
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Entitlement:
    """What everyone with the same tenant, key and plans may use."""

    limits: LimitSet
    restrictions: Restrictions


class Entitlements:
    """Entitlements by caller.

    Args:
        plans: All plans by name.
        anonymous_default: Limit per address of anonymous plans that set none.
        parts: Processes that count apart; each enforces its share of every limit.
    """

    def __init__(self, plans: Mapping[str, Plan], anonymous_default: AnonymousDefault, parts: int = 1) -> None:
        self._plans = {name: shared_plan(plan, parts) for name, plan in plans.items()}
        self._default = shared_default(anonymous_default, parts)
        self._parts = parts
        self._known: OrderedDict[tuple[object, ...], Entitlement] = OrderedDict()

    def of(self, principal: Principal) -> Entitlement:
        """Return what a caller may use.

        Raises:
            StoreUnavailable: Its plan is not in the configuration: without it no limit is known to hold.
        """
        identity = (principal.tenant, principal.key_id, principal.tenant_plan, principal.key_plan, principal.grants)
        known = self._known.get(identity)
        if known is not None:
            self._known.move_to_end(identity)
            return known
        entitlement = self._known[identity] = self._work_out(principal)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return entitlement

    def _work_out(self, principal: Principal) -> Entitlement:
        tenant_plan = raised(self._plan(principal.tenant_plan), principal.grants, self._parts)
        key_plan = None if principal.key_plan is None else self._plan(principal.key_plan)
        plans = (tenant_plan,) if key_plan is None else (tenant_plan, key_plan)
        return Entitlement(
            limit_set(principal, tenant_plan, key_plan, self._default),
            restrictions_of(*plans),
        )

    def _plan(self, name: str) -> Plan:
        plan = self._plans.get(name)
        if plan is None:
            raise StoreUnavailable("Your account's plan is not configured on this gateway. Please tell its operator.")
        return plan
