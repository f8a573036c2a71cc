"""How much a request takes of each unit: at most, to begin with, and in the end.

- A budget is held the most that the request can use, so that no other request finds it free.
- A rate is held what requests usually use: with ``max_tokens`` of 64,000 a plan of 80,000 tokens per minute would admit
  one request a minute, whatever it says. What was really used is counted at the end.
- Input tokens are all that Claude reads: what the prompt cache held or took is among them.
"""

from __future__ import annotations

from math import ceil

from gateway.core.outcome import Usage
from gateway.core.quota.holds import ONE_REQUEST, ONE_STREAM, Amounts, LimitState, Reservation
from gateway.core.quota.limits import NANO, AppliedLimit, Unit
from gateway.core.quota.worst import Worst

_ONLY_REQUESTS: frozenset[Unit] = frozenset(ONE_STREAM)


def reservation(
    request_id: str, realm: str, limits: tuple[AppliedLimit, ...], worst: Worst | None, rate_hold: int
) -> Reservation:
    """Return what a request holds.

    Args:
        request_id: Its id.
        realm: Whose limits they are.
        limits: What applies to it.
        worst: The most that it can use; None for one that generates nothing and takes no slot.
        rate_hold: Most output tokens that it holds of a rate.
    """
    if worst is None:
        return Reservation(request_id, limits, ONE_REQUEST, realm=realm)
    if _ONLY_REQUESTS.issuperset([limit.unit for limit in limits]):  # what nobody limits nobody has to remember
        return Reservation(request_id, limits, realm=realm)
    output = min(worst.output_tokens, rate_hold)
    rest = worst.usd_nano - worst.input_usd_nano
    usual = worst.input_usd_nano + ceil(rest * output / max(1, worst.output_tokens))
    return Reservation(
        request_id,
        limits,
        {**ONE_STREAM, **_tokens(worst.input_tokens, worst.output_tokens), "usd": worst.usd_nano},
        {**ONE_REQUEST, **_tokens(worst.entered_tokens, output), "usd": usual},
        {**ONE_REQUEST, **_tokens(worst.entered_tokens, 0), "usd": worst.input_usd_nano},
        realm,
    )


def used(usage: Usage | None, cost_usd: float | None) -> Amounts:
    """Return what a request used: of one that generated nothing it is the request itself."""
    if usage is None:
        return ONE_REQUEST
    entered = usage.input_tokens + usage.cache_read_tokens + usage.cache_creation_tokens
    return {**ONE_REQUEST, **_tokens(entered, usage.output_tokens), "usd": nano(cost_usd or 0.0)}


def nano(usd: float) -> int:
    """Return dollars as limits count them, rounded up but for what binary fractions add."""
    return ceil(round(usd * NANO, 3))


def settled(states: tuple[LimitState, ...], held: Reservation, amounts: Amounts) -> tuple[LimitState, ...]:
    """Return where limits stand when what a request holds is replaced by what it used; nothing is known of others."""
    if len(states) != len(held.limits):
        return states
    return tuple(
        [
            state._replace(held=state.held - held.amount(limit), used=state.used + amounts.get(limit.unit, 0))
            if limit.unit != "concurrent"
            else state
            for state, limit in zip(states, held.limits, strict=True)
        ]
    )


def _tokens(entered: int, output: int) -> dict[Unit, int]:
    return {"input_tokens": entered, "output_tokens": output, "tokens": entered + output}
