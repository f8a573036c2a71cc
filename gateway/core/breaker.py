"""A circuit breaker: whether an upstream is worth asking, judged by what became of those who asked.

    closed ──(too many failures)──> open ──(the cooldown is over)──> half_open ──(the probe fails)──> open, for longer
       ^                                                                 │
       └──────────────────────(the probe is answered)────────────────────┘

- Everyone who may ask is given a ticket, and reports with it how it went. Reports of an earlier state count for
  nothing: what began before the breaker opened says little about the time after.
- Half open lets one through at a time. Whoever leaves without having learnt anything gives the place back.
- A probe's answer closes the breaker as soon as it begins, because it may take minutes to end. It is on probation until
  one has ended well: a single failure opens it again, for twice as long.
- What counts are requests, however often each of them was tried.
- It opens after ``failures`` in a row, or when at least ``min_calls`` ended within the window and more than
  ``error_rate`` of them failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gateway.core.errors import GatewayError, UpstreamCredential, UpstreamError, UpstreamRefused

State = Literal["closed", "open", "half_open"]
# Beyond it a doubled cooldown is over any bound, and the power would overflow.
_MOST_DOUBLINGS = 30
_SERVER_ERROR = 500


def is_failure(error: GatewayError) -> bool:
    """Say whether an error speaks against its upstream: not when it is about the request, a limit or our credential."""
    if isinstance(error, UpstreamRefused):
        return error.status >= _SERVER_ERROR
    return isinstance(error, UpstreamError) and not isinstance(error, UpstreamCredential)


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens, and for how long.

    Attributes:
        failures: In a row; 0 means that it never opens.
        error_rate: Share of failures within the window, from 0 to 1; 0 means that only failures in a row count.
        window: Seconds that the share is taken over, at most; at least half of them.
        min_calls: Fewest calls that have a share.
        cooldown: Seconds that it is open for the first time; doubled each time that no answer ended well in between.
        max_cooldown: Most seconds.
    """

    failures: int
    error_rate: float
    window: float
    min_calls: int
    cooldown: float
    max_cooldown: float


class Breaker:
    """The breaker of one upstream. Times are on the monotonic clock.

    Args:
        policy: When it opens, and for how long.

    Attributes:
        state: Where it is in the picture above.
    """

    __slots__ = (
        "_ended",
        "_ended_before",
        "_failed",
        "_failed_before",
        "_in_a_row",
        "_policy",
        "_probing",
        "_ticket",
        "_trips",
        "_until",
        "_window_started",
        "state",
    )

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._ticket = 0
        self._until = 0.0
        self._trips = 0
        self._probing = False
        self._in_a_row = 0
        self._ended = self._failed = self._ended_before = self._failed_before = 0
        self._window_started = float("-inf")
        self.state: State = "closed"

    def admit(self, now: float) -> int | None:
        """Return a ticket for one call, None when none is to be made.

        Hand the ticket to ``succeeded``, ``failed`` or ``released`` when it is known how the call went.
        """
        if self.state == "closed":
            return self._ticket
        if now < self._until or self._probing:
            return None
        self.state = "half_open"
        self._probing = True
        self._ticket += 1
        return self._ticket

    def opens_at(self, now: float) -> float:
        """Return the earliest time at which ``admit`` may give a ticket; it need not."""
        if self.state == "closed" or (now >= self._until and not self._probing):
            return now
        # A probe is under way, and nobody knows for how long.
        return self._until if now < self._until else now + self._policy.cooldown

    def answered(self, ticket: int, now: float) -> None:
        """An answer has begun; how it ends is still to be reported."""
        if ticket == self._ticket and self.state == "half_open":
            self.state = "closed"
            self._probing = False
            self._forget(now)
            self._in_a_row = self._policy.failures - 1

    def succeeded(self, ticket: int, now: float) -> None:
        """An answer has ended well."""
        if ticket != self._ticket:
            return
        self.answered(ticket, now)
        self._in_a_row = self._trips = 0
        self._count(now, failed=0)

    def failed(self, ticket: int, now: float, *, again: bool = False) -> None:
        """The upstream failed; for a request that it failed before, ``again``, that is told by a probe alone."""
        if ticket != self._ticket or not self._policy.failures:
            return
        if self.state == "closed":
            if again:
                return
            self._in_a_row += 1
            self._count(now, failed=1)
            if self._in_a_row < self._policy.failures and not self._mostly_failing():
                return
        self._open(now)

    def released(self, ticket: int) -> None:
        """The call ended in a way that says nothing of the upstream: its place is the next one's."""
        if ticket == self._ticket and self.state == "half_open":
            self._probing = False

    def _open(self, now: float) -> None:
        policy = self._policy
        doublings = min(self._trips, _MOST_DOUBLINGS)
        self._until = now + min(policy.max_cooldown, policy.cooldown * 2.0**doublings)
        self._trips += 1
        self._ticket += 1
        self._probing = False
        self.state = "open"

    def _count(self, now: float, *, failed: int) -> None:
        half = self._policy.window / 2
        age = now - self._window_started
        if age >= half:
            recent = age < 2 * half
            self._ended_before, self._failed_before = (self._ended, self._failed) if recent else (0, 0)
            self._ended = self._failed = 0
            self._window_started = now
        self._ended += 1
        self._failed += failed

    def _mostly_failing(self) -> bool:
        policy = self._policy
        ended, failed = self._ended + self._ended_before, self._failed + self._failed_before
        return policy.error_rate > 0 and ended >= policy.min_calls and failed > policy.error_rate * ended

    def _forget(self, now: float) -> None:
        self._in_a_row = 0
        self._ended = self._failed = self._ended_before = self._failed_before = 0
        self._window_started = now
