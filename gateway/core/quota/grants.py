"""What an operator adds to a tenant's limits for a while."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gateway.core.plans import Limits, Plan


class Grant(NamedTuple):
    """More of one limit of a tenant as a whole, until a moment.

    Attributes:
        limit: As a plan has it: ``usd_per_month``, ``concurrent_streams``.
        amount: How much more; dollars, or a whole number.
        until: Unix seconds.
    """

    limit: str
    amount: float
    until: float


def active(grants: Iterable[Grant], now: float) -> tuple[Grant, ...]:
    """Return those that are not over."""
    return tuple([grant for grant in grants if grant.until > now])


def raised(plan: Plan, grants: Iterable[Grant], parts: int = 1) -> Plan:
    """Return a tenant's plan with what was granted; what the plan does not limit stays unlimited.

    Args:
        plan: As it is configured, or the share of one that counts alone.
        grants: What is added to its top.
        parts: Among how many that count apart it is shared.
    """
    amounts = {}
    for grant in grants:
        amount = getattr(plan, grant.limit, None) if grant.limit in Limits.model_fields else None
        if amount is not None:
            more = grant.amount / parts
            amounts[grant.limit] = amount + (more if isinstance(amount, float) else int(more))
    return plan.model_copy(update=amounts) if amounts else plan
