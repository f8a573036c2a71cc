"""What is said to the scripts of the Redis store and what they answer; ``lua/common.lua`` has the other side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, get_args

import orjson

from gateway.core.quota.calendar import Calendar, Period, Span
from gateway.core.quota.holds import (
    FIRST_LEASE,
    HELD_RETRY_AFTER,
    LEASE,
    Amounts,
    Held,
    LimitState,
    Overshoot,
    Refused,
    Reservation,
)
from gateway.core.quota.limits import AppliedLimit, Unit

# Scripts count in doubles: whole numbers are exact up to here. As dollars that is nine million.
MOST = (1 << 53) - 1
_UNITS: tuple[Unit, ...] = get_args(Unit)
_NUMBER = {unit: number for number, unit in enumerate(_UNITS, 1)}
_SPANS: tuple[Span, ...] = ("day", "month")
_OF_STATE = 3


class Reply(NamedTuple):
    """What a script said.

    Attributes:
        kind: Its first word.
        now: The store's clock, Unix seconds; 0 where it is not told.
        expired: Holds whose lease ran out.
        rest: All that follows.
    """

    kind: str
    now: float
    expired: int
    rest: list[bytes]


def parsed(raw: bytes) -> Reply:
    """Return a script's answer in its parts."""
    words = raw.split(b" ")
    now = float(words[1]) if len(words) > 1 else 0.0
    return Reply(words[0].decode(), now, int(words[2]) if len(words) > 2 else 0, words[3:])  # noqa: PLR2004


def amounts(told: Amounts) -> list[int]:
    """Return amounts in the order of the units."""
    get = told.get
    return [min(get(unit, 0), MOST) for unit in _UNITS]


def limits(held: Reservation) -> list[list[float]]:
    """Return the limits of a reservation with what it holds of each."""
    return [_entry(limit, held.amount(limit)) for limit in held.limits]


def limits_to_see(seen: Sequence[AppliedLimit]) -> list[list[float]]:
    """Return limits of which nothing is held."""
    return [_entry(limit, 0) for limit in seen]


def _entry(limit: AppliedLimit, amount: int) -> list[float]:
    most, unit = min(limit.amount, MOST), _NUMBER[limit.unit]
    # Just above what any limit can be, so that it is refused.
    amount = min(amount, MOST + 1)
    if limit.window is not None:
        return [1, limit.window, most, amount, unit]
    if limit.span is None:
        return [0, 0, most, amount, unit]
    return [2 if limit.span == "day" else 3, 0, most, amount, unit]


class Common:
    """What every script is told: the rules, and the periods around a time.

    Lua knows no time zones. So the one before, the current and the next day and month are named, and the script picks
    by its own clock; they are made anew when the day ends.

    Args:
        calendar: Where days and months begin.
        tombstone_ttl: Seconds for which an ended request is remembered.
    """

    def __init__(self, calendar: Calendar, tombstone_ttl: float) -> None:
        self._calendar = calendar
        self._rules = [round(tombstone_ttl * 1000), FIRST_LEASE, LEASE, HELD_RETRY_AFTER]
        self._day = Period("", 0.0, 0.0)
        self._text = b""

    def at(self, unix: float) -> bytes:
        """Return what scripts are told around ``unix`` (seconds)."""
        if not self._day.start <= unix < self._day.end:
            self._text = orjson.dumps([*self._rules, *[self._around(span, unix) for span in _SPANS]])
            self._day = self._calendar.at("day", unix)
        return self._text

    def period(self, span: Span, unix: float) -> Period:
        """Return the period that ``unix`` is in."""
        return self._calendar.at(span, unix)

    def _around(self, span: Span, unix: float) -> list[tuple[float, float]]:
        find = self._calendar.at
        current = find(span, unix)
        around = (find(span, current.start - 1), current, find(span, current.end))
        return [(period.start, period.end) for period in around]


def states(
    seen: Sequence[AppliedLimit], words: list[bytes], now: float, period: Callable[[Span, float], Period]
) -> tuple[LimitState, ...]:
    """Return where limits stand, as a script told it."""
    return tuple([_state(limit, words, n * _OF_STATE, now, period) for n, limit in enumerate(seen)])


def _state(
    limit: AppliedLimit, words: list[bytes], at: int, now: float, period: Callable[[Span, float], Period]
) -> LimitState:
    used, held, span = int(words[at]), int(words[at + 1]), limit.span
    if span is not None:
        _, start, end = period(span, now)
        return LimitState(limit.name, limit.unit, limit.amount, used, held, end - now, end - start, span)
    reset = None if limit.window is None else float(words[at + 2])
    return LimitState(limit.name, limit.unit, limit.amount, used, held, reset, limit.window)


def admission(reply: Reply, asked: Reservation, period: Callable[[Span, float], Period]) -> Held | Refused:
    """Return what a reservation was answered."""
    if reply.kind == "HELD":
        lease, admitted, *rest = reply.rest
        return Held(float(lease), float(admitted), states(asked.limits, rest, reply.now, period))
    refusing, seconds, spent, *rest = reply.rest
    wait = float(seconds)
    told = states(asked.limits, rest, reply.now, period)
    return Refused(asked.limits[int(refusing)].name, None if wait < 0 else wait, spent == b"1", told)


def overshoots(reply: Reply, held: Reservation) -> tuple[Overshoot, ...]:
    """Return the budgets that a settlement took past their limit; those that ``held`` does not name are left out."""
    told, named = reply.rest, held.limits
    passed = [(int(told[n]), int(told[n + 1])) for n in range(0, len(told), 2)]
    return tuple([Overshoot(named[at].name, named[at].unit, by) for at, by in passed if at < len(named)])
