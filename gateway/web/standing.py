"""Where all limits of a tenant stand, for its operator: the tenant's, those of its keys, and of one end user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.core.principal import Principal
from gateway.core.quota.grants import active
from gateway.core.quota.holds import HoldStore, LimitState
from gateway.core.quota.limits import AppliedLimit, LimitSet
from gateway.core.quota.told import as_json, shown
from gateway.identity.records import KeyRow, TenantRow
from gateway.web.entitlements import Entitlements

# Counters that are asked for in one step of the store.
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a limit stands.

    Attributes:
        owner: The id of the key, the end user's pseudonym, or the tenant's name.
        limit: The limit.
        state: What is used and held; None where the store does not say.
    """

    owner: str
    limit: AppliedLimit
    state: LimitState | None

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        described = {"scope": self.limit.scope, "owner": self.owner}
        if self.state is None:
            amount = shown(self.limit.unit, self.limit.amount)
            return {**described, "name": self.limit.name, "unit": self.limit.unit, "limit": amount}
        return {**described, **as_json(self.state)}


async def standing(
    tenant: TenantRow,
    keys: Sequence[KeyRow],
    entitlements: Entitlements,
    holds: HoldStore,
    now: float,
    end_user: str | None = None,
) -> list[Standing]:
    """Return all limits of a tenant, and where they stand.

    Args:
        tenant: The tenant.
        keys: Its keys; those that have ended are passed over.
        entitlements: What its plans allow.
        holds: The store.
        now: Unix seconds.
        end_user: Pseudonym of an end user whose limits are to be among them.

    Raises:
        StoreUnavailable: A plan is not configured, or the store is away.
    """
    found: dict[str, tuple[str, AppliedLimit]] = {}
    realm = ""
    for principal in _callers(tenant, keys, now, end_user):
        limits = entitlements.of(principal).limits
        realm = limits.realm
        for owner, limit in _owned(principal, limits):
            found.setdefault(limit.key, (owner, limit))
    states = await states_of(holds, realm, [limit for _, limit in found.values()])
    return [Standing(owner, limit, states.get(limit.key)) for owner, limit in found.values()]


def _callers(tenant: TenantRow, keys: Sequence[KeyRow], now: float, end_user: str | None) -> Iterator[Principal]:
    """Yield one caller for the tenant itself, then one for each key."""
    grants = active(tenant.grants, now)
    yield Principal(tenant.name, "", tenant.plan, None, "", end_user, grants)
    for key in keys:
        if not key.ended(now):
            yield Principal(tenant.name, key.id, tenant.plan, key.plan, "", end_user, grants)


def _owned(principal: Principal, limits: LimitSet) -> Iterator[tuple[str, AppliedLimit]]:
    for limit in limits.of_caller("", principal.end_user):
        if limit.scope == "tenant":
            yield principal.tenant, limit
        elif limit.scope == "key" and principal.key_id:
            yield principal.key_id, limit
        elif limit.scope == "user" and principal.end_user:
            yield principal.end_user, limit


async def states_of(holds: HoldStore, realm: str, limits: Sequence[AppliedLimit]) -> dict[str, LimitState]:
    """Return where limits stand by their counters' keys, of any number; without those that the store does not tell."""
    found: dict[str, LimitState] = {}
    for start in range(0, len(limits), _AT_ONCE):
        some = tuple(limits[start : start + _AT_ONCE])
        states = await holds.look(realm, some)
        found.update((limit.key, state) for limit, state in zip(some, states, strict=False))
    return found
