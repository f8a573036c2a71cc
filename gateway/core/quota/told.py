"""What callers are told of limits: in sentences, and as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway.core.quota.holds import LimitState, Refused, Reservation
from gateway.core.quota.limits import NANO, Unit

_WORDS = {"input_tokens": "input tokens", "output_tokens": "output tokens", "usd": "dollars"}
_ADVICE = {
    "requests": "It takes no request at all.",
    "concurrent": "It takes no request at all.",
    "input_tokens": "Send less at a time.",
    "output_tokens": "Lower max_tokens.",
    "tokens": "Lower max_tokens, or send less at a time.",
    "usd": "Lower max_tokens, send less at a time, or take a cheaper model.",
}


def in_words(unit: Unit, amount: int) -> str:
    """Return an amount with its unit: ``20,000 tokens``, ``12.5 dollars``."""
    number = f"{shown(unit, amount):,}" if unit != "usd" else f"{shown(unit, amount):,.9f}".rstrip("0").rstrip(".")
    return f"{number} {_WORDS.get(unit, unit)}"


def shown(unit: Unit, amount: int) -> float:
    """Return an amount as people count it: dollars, not their billionths."""
    return amount / NANO if unit == "usd" else amount


def refused_in_words(refused: Refused, unix_now: float) -> str:
    """Return why a request may not go on, and what helps, where waiting does."""
    if not refused.spent or refused.retry_after is None:
        return f"The limit {refused.limit} of your plan is reached."
    begins = datetime.fromtimestamp(unix_now + refused.retry_after, UTC)
    return (
        f"The budget {refused.limit} of your plan does not have enough left for this request. "
        f"It begins anew at {begins:%Y-%m-%dT%H:%M:%SZ}."
    )


def too_much_in_words(refused: Refused, asked: Reservation) -> str:
    """Return why a request could never go on, and what to change."""
    limit = next(limit for limit in asked.limits if limit.name == refused.limit)
    most, amount = in_words(limit.unit, limit.amount), in_words(limit.unit, asked.amount(limit))
    return f"This request may use up to {amount}; {limit.name} of your plan is {most}. {_ADVICE[limit.unit]}"


def as_json(state: LimitState) -> dict[str, Any]:
    """Return a limit as ``GET /api/quota`` and the ``done`` frame tell it."""
    return {
        "name": state.name,
        "unit": state.unit,
        "limit": shown(state.unit, state.limit),
        "used": shown(state.unit, state.used),
        "held": shown(state.unit, state.held),
        "remaining": shown(state.unit, state.remaining),
        "resetSeconds": None if state.reset is None else round(state.reset, 3),
    }
