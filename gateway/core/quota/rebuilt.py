"""The counters of days and months, made again of what the ledger has: for a store that begins, or was lost.

Addresses are not in the ledger: what was counted for each of them begins anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple, get_args

from gateway.core.quota.calendar import Span
from gateway.core.quota.limits import Unit, counter_key, owners


class Spent(NamedTuple):
    """What some requests used together, who made them, and on which day they were admitted."""

    day: str
    tenant: str
    key_id: str
    end_user: str
    requests: int
    input_tokens: int
    output_tokens: int
    usd_nano: int


def counters(spent: Iterable[Spent], today: str, parts: int = 1) -> dict[Span, dict[str, int]]:
    """Return what counts in the present day and month, by counter.

    Args:
        spent: Sums of the days of this month.
        today: The day, YYYY-MM-DD.
        parts: Among how many stores that count apart it is divided, rounded up.
    """
    found: dict[Span, dict[str, int]] = {span: defaultdict(int) for span in get_args(Span)}
    for some in spent:
        amounts = _amounts(some)
        for owner in owners(some.tenant, some.key_id, some.end_user):
            for unit, amount in amounts.items():
                for span in _spans(some.day, today):
                    found[span][counter_key(owner, unit, span)] += amount
    return {span: {key: -(-amount // parts) for key, amount in used.items() if amount} for span, used in found.items()}


def _spans(day: str, today: str) -> tuple[Span, ...]:
    if day == today:
        return "day", "month"
    return ("month",) if day[:7] == today[:7] else ()


def _amounts(spent: Spent) -> dict[Unit, int]:
    return {
        "requests": spent.requests,
        "input_tokens": spent.input_tokens,
        "output_tokens": spent.output_tokens,
        "tokens": spent.input_tokens + spent.output_tokens,
        "usd": spent.usd_nano,
    }
