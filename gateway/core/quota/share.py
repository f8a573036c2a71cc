"""Limits for one of several workers that count apart from each other: each has its share.

Shares of what is counted in whole numbers are rounded down, so that together they never admit more than the limit. A
limit that is smaller than the number of workers has no share for each of them, and is to be refused before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TypeVar

from gateway.core.plans import AnonymousDefault, Limits, Plan

_SCOPES = ("per_key", "per_user", "per_address")
_ANONYMOUS_REQUESTS = "requests_per_minute"

L = TypeVar("L", bound=Limits)


def counted_limits(
    plans: Mapping[str, Plan], anonymous: Collection[str], default: AnonymousDefault
) -> Iterator[tuple[str, float]]:
    """Yield the limits in force that are counted, each by its key in the configuration.

    Args:
        plans: All plans by name.
        anonymous: Names of those that browsers without a key have.
        default: Limit per address of such a plan that sets none.
    """
    for name, plan in plans.items():
        for scope in ("", *_SCOPES):
            limits: Limits = getattr(plan, scope) if scope else plan
            key = f"plans.{name}.{scope}." if scope else f"plans.{name}."
            yield from ((key + what, amount) for what, amount in _amounts(limits).items())
    if any(getattr(plans[name].per_address, _ANONYMOUS_REQUESTS) is None for name in anonymous):
        yield "anonymous_default.requests", default.requests


def shared_plan(plan: Plan, workers: int) -> Plan:
    """Return the plan as one worker enforces it."""
    scopes = {scope: _shared(getattr(plan, scope), workers) for scope in _SCOPES}
    return _shared(plan, workers).model_copy(update=scopes)


def shared_default(default: AnonymousDefault, workers: int) -> AnonymousDefault:
    """Return the default of anonymous plans as one worker enforces it."""
    return default.model_copy(update={"requests": _part(default.requests, workers)})


def _shared(limits: L, workers: int) -> L:
    return limits.model_copy(update={what: _part(amount, workers) for what, amount in _amounts(limits).items()})


def _part(amount: float, workers: int) -> float:
    return amount / workers if isinstance(amount, float) else max(1, amount // workers)


def _amounts(limits: Limits) -> dict[str, float]:
    """Return what ``Limits`` itself declares; what a plan has beside it is allowed or not, and counted nowhere."""
    found = {what: getattr(limits, what) for what in Limits.model_fields}
    return {what: amount for what, amount in found.items() if amount is not None}
