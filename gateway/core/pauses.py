"""What an upstream says of its own limits: for which calls, and until when, it is asked last.

- A limit is per model at Claude, and counting tokens has its own: a pause is for one kind of call, never for all.
- A pause says who is asked last, never who is not asked: the last word on a limit is Claude's own answer.
- A *refusal* that names a time (429 with ``retry-after``) is the strongest: an earlier request is expected to fail.
- *Nothing remaining* is a hint. The reset it comes with is when the limit is whole again, and it refills all the time;
  not to ask until then would throw most of it away.
- A credential that was refused is a hint too: another upstream is the better choice, and none is no choice.
- What is said is believed for a bounded time, because clocks differ and headers lie.
- The kinds that are remembered are bounded, because models are named by callers: the oldest makes room.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.core.call import Call

# Models that are limited at a time, at one upstream; Claude has about ten.
MAX_PAUSES = 64
# Names of Claude's limits with the header that says what remains, and the one that says when it is whole again.
_LIMITS = tuple(
    (f"anthropic-ratelimit-{name}-remaining", f"anthropic-ratelimit-{name}-reset")
    for name in ("requests", "tokens", "input-tokens", "output-tokens")
)
# A number over this is a Unix time, below it a number of seconds; compatible upstreams send either.
_UNIX_TIMES = 1e9

Kind = tuple[str, str]


def kind_of(call: Call) -> Kind:
    """Return what a call is, as far as limits go: its route and its model."""
    return call.target.partition("?")[0], call.model


def until_refilled(headers: Mapping[str, str], unix_now: float) -> float | None:
    """Return the seconds until a limit of which nothing remains is whole again, None when something of each remains."""
    longest = None
    for remaining, reset in _LIMITS:
        if headers.get(remaining) == "0":
            seconds = _seconds_until(headers.get(reset, ""), unix_now)
            longest = seconds if longest is None else max(longest, seconds)
    return longest


def _seconds_until(text: str, unix_now: float) -> float:
    """Return the seconds until a time in RFC 3339, in Unix seconds, or from now on; 0 for what is none of these."""
    try:
        number = float(text)
    except ValueError:
        number = _unix_time(text)
    seconds = number - unix_now if number > _UNIX_TIMES else number
    return seconds if 0 < seconds < math.inf else 0.0


def _unix_time(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


@dataclass(frozen=True, slots=True)
class Pause:
    """One kind of call that is better made elsewhere.

    Attributes:
        until: Monotonic time until which that is believed.
        hint: Whether it may succeed all the same; an upstream that named a time has said that it will not.
    """

    until: float
    hint: bool


class Pauses:
    """The pauses of one upstream. Times are on the monotonic clock.

    Args:
        believe: Most seconds that a pause is believed; 0 for none at all.
    """

    __slots__ = ("_believe", "_pauses")

    def __init__(self, believe: float) -> None:
        self._believe = believe
        self._pauses: dict[Kind, Pause] = {}

    def add(self, kind: Kind, now: float, seconds: float, *, hint: bool) -> bool:
        """Pause a kind of call; return whether that is news."""
        if not self._believe or seconds <= 0:
            return False
        before = self.of(kind, now)
        if before is not None and hint and not before.hint:
            return False  # it is known already, and better
        self._pauses.pop(kind, None)
        if len(self._pauses) >= MAX_PAUSES:
            del self._pauses[next(iter(self._pauses))]
        self._pauses[kind] = Pause(now + min(seconds, self._believe), hint)
        return before is None or before.hint != hint

    def of(self, kind: Kind, now: float) -> Pause | None:
        """Return the pause of a kind of call, None without one."""
        if not self._pauses:
            return None
        pause = self._pauses.get(kind)
        if pause is not None and pause.until <= now:
            del self._pauses[kind]
            return None
        return pause
