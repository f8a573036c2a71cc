"""Which limits apply to a caller, and what its plans allow.

- The top of a tenant's plan holds for the tenant as a whole; ``per_key``, ``per_user`` and ``per_address`` hold for
  each key, end user and client address of it.
- A key's own plan adds to the tenant's: its top and its ``per_key`` hold for that key.
- All scopes add up. Where two plans limit the same counter, the tightest amount is kept, so a counter occurs once.
- Users and addresses are counted within their tenant, whichever keys they come through.
- Anonymous browsers are counted apart from the tenant's keys, by their plan: nobody without a key can use up what is
  meant for those with one. Their plan always has a limit of requests per address.
- Names come from a fixed set (scope, unit, window), so that they can be labels of metrics; tenants, keys, users and
  addresses are in the counter's identity only.
- Dollars are counted in billionths, because a single token of some models costs 30 of them.

What does not depend on the user and the address is computed once, in :class:`LimitSet`; callers keep it per plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple, cast

from gateway.core.plans import AnonymousDefault, Limits, Plan
from gateway.core.principal import Principal
from gateway.core.quota.calendar import Span

Scope = Literal["tenant", "key", "user", "address"]
Unit = Literal["requests", "concurrent", "input_tokens", "output_tokens", "tokens", "usd"]

NANO = 1_000_000_000
_ANONYMOUS = "@"  # in no key's id
_CONCURRENT = "concurrent_streams"
_WINDOWS = {"minute": 60.0, "hour": 3600.0}
_WINDOW_NAMES = {60.0: "minute", 3600.0: "hour", 86400.0: "day"}


@dataclass(frozen=True, slots=True)
class AppliedLimit:
    """One limit, ready to be held.

    Attributes:
        key: Identity of the counter, the same in every process: ``tenant:acme:requests:60``, ``tenant:acme:usd:month``.
        name: As in the RateLimit header: ``tenant-requests-per-minute``.
        scope: Whose limit it is.
        unit: What is counted.
        amount: The most that is admitted; of dollars in billionths.
        window: Seconds of a window that slides, None for the others.
        span: The calendar's period, None for the others. With neither it is held only while the request runs.
    """

    key: str
    name: str
    scope: Scope
    unit: Unit
    amount: int
    window: float | None
    span: Span | None = None


class _Counted(NamedTuple):
    """What a limit counts."""

    unit: Unit
    window: float | None
    span: Span | None


def _counted(field: str) -> _Counted:
    """Return what a field of :class:`~gateway.core.plans.Limits` counts."""
    if field == _CONCURRENT:
        return _Counted("concurrent", None, None)
    unit, _, over = field.partition("_per_")
    window = _WINDOWS.get(over)
    return _Counted(cast("Unit", unit), window, None if window else cast("Span", over))


_COUNTED = {field: _counted(field) for field in Limits.model_fields}


@dataclass(frozen=True, slots=True)
class _Rule:
    """A limit of a scope, before it is known who it is counted for."""

    counted: _Counted
    amount: int

    def applied(self, scope: Scope, owner: str) -> AppliedLimit:
        """Return the limit on the counter of ``owner``."""
        suffix, name = _names(self.counted, scope)
        unit, window, span = self.counted
        return AppliedLimit(f"{owner}:{suffix}", name, scope, unit, self.amount, window, span)


@cache
def _names(counted: _Counted, scope: Scope) -> tuple[str, str]:
    """Return the end of a counter's identity, and the limit's public name: it says the window's length."""
    unit, window, span = counted
    if span is not None:
        return counter_key("", unit, span)[1:], f"{scope}-{unit.replace('_', '-')}-per-{span}"
    if window is None:
        return unit, f"{scope}-concurrent-streams"
    over = _WINDOW_NAMES.get(window, f"{window:g}s")
    return f"{unit}:{window:g}", f"{scope}-{unit.replace('_', '-')}-per-{over}"


def counter_key(owner: str, unit: Unit, span: Span) -> str:
    """Return the identity of the counter of a day or month."""
    return f"{owner}:{unit}:{span}"


def _rules(*limits: Limits) -> tuple[_Rule, ...]:
    """Return the rules of all ``limits``; of those on the same counter the tightest."""
    tightest: dict[_Counted, int] = {}
    for source in limits:
        for field, counted in _COUNTED.items():
            told = getattr(source, field)
            if told is not None:
                amount = round(told * NANO) if counted.unit == "usd" else told
                tightest[counted] = min(amount, tightest.get(counted, amount))
    return tuple(_Rule(counted, amount) for counted, amount in tightest.items())


def _escaped(part: str) -> str:
    """Keep ``:`` as the separator of a counter's identity, whatever a tenant or plan is called."""
    return part.replace("%", "%25").replace(":", "%3A")


def _anonymous_realm(tenant: str, plan_name: str) -> str:
    return f"{_escaped(tenant)}:anonymous:{_escaped(plan_name)}"


@dataclass(frozen=True, slots=True)
class LimitSet:
    """The limits of everyone who shares tenant, key and plans; only :meth:`of_caller` depends on the request.

    Attributes:
        shared: Limits of the tenant and the key.
        realm: Start of the identity of every counter of a user or address.
        user: Rules for each end user.
        address: Rules for each client address.
    """

    shared: tuple[AppliedLimit, ...]
    realm: str
    user: tuple[_Rule, ...]
    address: tuple[_Rule, ...]

    @classmethod
    def of_key(cls, tenant: str, key_id: str, tenant_plan: Plan, key_plan: Plan | None) -> LimitSet:
        """Return the limits of a key; ``key_plan`` is its own plan, if it has one."""
        own = key_plan or Plan()
        realm = _escaped(tenant)
        key_owner = f"key:{realm}:{_escaped(key_id)}"
        shared = [rule.applied("tenant", f"tenant:{realm}") for rule in _rules(tenant_plan)]
        shared += [rule.applied("key", key_owner) for rule in _rules(tenant_plan.per_key, own, own.per_key)]
        return cls(
            tuple(shared),
            realm,
            _rules(tenant_plan.per_user, own.per_user),
            _rules(tenant_plan.per_address, own.per_address),
        )

    @classmethod
    def of_anonymous(cls, tenant: str, plan_name: str, plan: Plan, default: AnonymousDefault) -> LimitSet:
        """Return the limits of the browsers that a mapping attributes to ``tenant`` under ``plan``."""
        realm = _anonymous_realm(tenant, plan_name)
        address = _rules(plan.per_address)
        if plan.per_address.requests_per_minute is None:
            address = (_Rule(_Counted("requests", default.window, None), default.requests), *address)
        shared = tuple(rule.applied("tenant", f"tenant:{realm}") for rule in _rules(plan))
        return cls(shared, realm, _rules(plan.per_user), address)

    def of_caller(self, address: str, end_user: str | None) -> tuple[AppliedLimit, ...]:
        """Return all limits of one request, in the order tenant, key, user, address."""
        if not self.address and (end_user is None or not self.user):
            return self.shared
        applied = list(self.shared)
        if end_user is not None:
            applied += [rule.applied("user", f"user:{self.realm}:{end_user}") for rule in self.user]
        applied += [rule.applied("address", f"address:{self.realm}:{address}") for rule in self.address]
        return tuple(applied)


def key_of(principal: Principal) -> str:
    """Return what the ledger calls the key of a caller: of browsers without one it is their plan."""
    return f"{_ANONYMOUS}{principal.tenant_plan}" if principal.key_id is None else principal.key_id


def plan_of_anonymous(key_id: str) -> str | None:
    """Return the plan of a browser without a key, given what :func:`key_of` calls its key; None for a key."""
    return key_id.removeprefix(_ANONYMOUS) if key_id.startswith(_ANONYMOUS) else None


def realm_of(tenant: str, key_id: str) -> str:
    """Return whose limits a request counts in, as :attr:`LimitSet.realm`; ``key_id`` is as :func:`key_of` has it."""
    if key_id.startswith(_ANONYMOUS):
        return _anonymous_realm(tenant, key_id.removeprefix(_ANONYMOUS))
    return _escaped(tenant)


def tenant_of(realm: str) -> str:
    """Return the tenant of a realm."""
    return realm.partition(":")[0].replace("%3A", ":").replace("%25", "%")


def owners(tenant: str, key_id: str, end_user: str) -> list[str]:
    """Return the start of the identity of the counters that a request counts in, but for its address'.

    Args:
        tenant: Whose request it is.
        key_id: As :func:`key_of` has it.
        end_user: Pseudonym, empty without one.
    """
    realm = realm_of(tenant, key_id)
    found = [f"tenant:{realm}"]
    if not key_id.startswith(_ANONYMOUS):
        found.append(f"key:{realm}:{_escaped(key_id)}")
    return [*found, f"user:{realm}:{end_user}"] if end_user else found


def limit_set(
    principal: Principal, tenant_plan: Plan, key_plan: Plan | None, anonymous_default: AnonymousDefault
) -> LimitSet:
    """Return what may be kept for all requests with the same tenant, key and plans."""
    if principal.key_id is None:
        return LimitSet.of_anonymous(principal.tenant, principal.tenant_plan, tenant_plan, anonymous_default)
    return LimitSet.of_key(principal.tenant, principal.key_id, tenant_plan, key_plan)


def applied_limits(
    principal: Principal, tenant_plan: Plan, key_plan: Plan | None, anonymous_default: AnonymousDefault
) -> tuple[AppliedLimit, ...]:
    """Return all limits of a request of ``principal``; address and end user are taken as they are."""
    kept = limit_set(principal, tenant_plan, key_plan, anonymous_default)
    return kept.of_caller(principal.address, principal.end_user)
