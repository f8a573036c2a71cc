"""Which upstream is asked next, by what is known of each: its breaker, and what it said of its own limits.

- In the order of the configuration, those first that have nothing against them, then those with a hint against them,
  then those that said when to come back (429 with ``retry-after``). Not at all: whose breaker is open.
- What is known is learnt from the answers to requests alone, and shared by all requests of the process.
- Every change is logged once and counted; nothing here waits, and a request to an upstream without troubles costs a
  few comparisons.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

import structlog

from gateway.core.breaker import Breaker, BreakerPolicy, State
from gateway.core.errors import GatewayError, UpstreamUnavailable
from gateway.core.pauses import MAX_PAUSES, Kind, Pauses, until_refilled
from gateway.core.retry import CREDENTIAL_STATUSES, retry_after
from gateway.upstream.interface import Upstream
from gateway.upstream.settings import TransportSettings

_RATE_LIMITED = 429
# What speaks against asking, from the least.
_HINTED, _THROTTLED, _OPEN = "asked_last", "throttled", "breaker_open"

log = structlog.get_logger()


class Watch(Protocol):
    """Who counts what happens to the upstreams."""

    def known(self, upstream: str) -> None:
        """An upstream is there, and its breaker is closed."""

    def retry(self, upstream: str, code: str) -> None:
        """All upstreams have failed a request, this one last, and they are tried again."""

    def failover(self, upstream: str, code: str) -> None:
        """A request goes on to the next upstream, because this one failed it or cannot be asked."""

    def breaker(self, upstream: str, state: State) -> None:
        """An upstream's breaker has changed."""

    def throttled(self, upstream: str, until: float) -> None:
        """An upstream said that it takes no requests of some kind until some Unix time."""


class Candidate:
    """One upstream and what is known of it. Times are on the monotonic clock.

    Args:
        upstream: The upstream.
        settings: When its breaker opens, and how long it is believed.
        watch: Who counts.
    """

    def __init__(self, upstream: Upstream, settings: TransportSettings, watch: Watch) -> None:
        self.upstream = upstream
        self._watch = watch
        self._believe = settings.max_throttle
        self._breaker = Breaker(_policy(settings))
        self._state: State = self._breaker.state
        self._pauses = Pauses(settings.max_throttle)
        self._refused: dict[Kind, None] = {}
        watch.known(upstream.name)

    @property
    def name(self) -> str:
        """Its name in logs and metrics."""
        return self.upstream.name

    def obstacle(self, kind: Kind, now: float) -> str:
        """Return why a call is made only when there is no other way; empty without a reason.

        The breaker is not asked: whoever asks it is given a place in it.
        """
        pause = self._pauses.of(kind, now)
        if pause is None:
            return ""
        return _HINTED if pause.hint else _THROTTLED

    def admit(self, now: float) -> int | None:
        """Return the breaker's ticket for a call, None when none is to be made."""
        ticket = self._breaker.admit(now)
        self._tell()
        return ticket

    def free_at(self, now: float) -> float:
        """Return the earliest time at which a call may be made."""
        return self._breaker.opens_at(now)

    def answered(self, ticket: int, kind: Kind, headers: Mapping[str, str], now: float) -> None:
        """A good answer has begun; its end is still to be reported."""
        self._breaker.answered(ticket, now)
        if self._refused:
            self._accepted(kind)
        self._hint(kind, headers, now)
        self._tell()

    def declined(self, ticket: int, kind: Kind, status: int, headers: Mapping[str, str], now: float) -> None:
        """It refused the request, which is no failure of its own."""
        self._breaker.succeeded(ticket, now)
        if status == _RATE_LIMITED:
            self._limited(kind, headers, now)
        elif status in CREDENTIAL_STATUSES:
            self.refused(kind, f"status {status}", now)
        self._tell()

    def ended(self, ticket: int, now: float) -> None:
        """An answer has come to a good end."""
        self._breaker.succeeded(ticket, now)
        self._tell()

    def refused(self, kind: Kind, cause: str, now: float) -> None:
        """Our credential was refused: the operator is told once, and others are asked first for a while."""
        self._pauses.add(kind, now, self._believe, hint=True)
        if kind in self._refused:
            return
        if len(self._refused) >= MAX_PAUSES:
            del self._refused[next(iter(self._refused))]
        self._refused[kind] = None
        log.error("upstream refuses our credential", upstream=self.name, model=kind[1], cause=cause)

    def failed(self, ticket: int, now: float, cause: str, *, again: bool = False) -> None:
        """The upstream failed, or did so ``again`` for the same request."""
        self._breaker.failed(ticket, now, again=again)
        self._tell(cause, now)

    def released(self, ticket: int) -> None:
        """Nothing was learnt."""
        self._breaker.released(ticket)

    def _limited(self, kind: Kind, headers: Mapping[str, str], now: float) -> None:
        unix_now = time.time()
        asked = retry_after(headers, unix_now)
        if not asked:
            self._hint(kind, headers, now)
        elif self._pauses.add(kind, now, asked, hint=False):
            self._watch.throttled(self.name, unix_now + asked)
            log.warning("upstream is rate limited", upstream=self.name, model=kind[1], seconds=round(asked, 3))

    def _hint(self, kind: Kind, headers: Mapping[str, str], now: float) -> None:
        # Claude sends them all or none: most of them need not be looked for where there are none.
        if "anthropic-ratelimit-requests-remaining" in headers or "anthropic-ratelimit-tokens-remaining" in headers:
            seconds = until_refilled(headers, time.time())
            if seconds:
                self._pauses.add(kind, now, seconds, hint=True)

    def _accepted(self, kind: Kind) -> None:
        if kind in self._refused:
            del self._refused[kind]
            log.info("upstream takes our credential again", upstream=self.name, model=kind[1])

    def _tell(self, cause: str = "", now: float = 0.0) -> None:
        state = self._breaker.state
        if state is self._state:
            return
        self._state = state
        self._watch.breaker(self.name, state)
        if state == "open":
            seconds = round(self._breaker.opens_at(now) - now, 3)
            log.warning("upstream breaker opened", upstream=self.name, cause=cause, seconds=seconds)
        elif state == "half_open":
            log.info("upstream breaker half open", upstream=self.name)
        else:
            log.info("upstream breaker closed", upstream=self.name)


class Upstreams:
    """All upstreams, in the order of the configuration.

    Args:
        upstreams: They.
        settings: When breakers open, and how long upstreams are believed.
        watch: Who counts.
    """

    def __init__(self, upstreams: Sequence[Upstream], settings: TransportSettings, watch: Watch) -> None:
        self._candidates = [Candidate(upstream, settings, watch) for upstream in upstreams]
        self.watch = watch

    def __iter__(self) -> Iterator[Upstream]:
        """Return the upstreams themselves."""
        return iter([candidate.upstream for candidate in self._candidates])

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._candidates)

    def choose(
        self, kind: Kind, tried: Collection[Candidate], now: float, *, limited: bool = False
    ) -> tuple[Candidate, int] | None:
        """Return the best upstream that has not been tried, with its breaker's ticket; None when none can be asked.

        Args:
            kind: The kind of call.
            tried: Those that are not to be asked.
            now: Monotonic time.
            limited: Whether one of them has said that a limit is reached: then no other that says so is asked.
        """
        obstacles: dict[Candidate, str] = {}
        for candidate in self._candidates:
            if candidate in tried:
                continue
            obstacle = candidate.obstacle(kind, now)
            if not obstacle:
                ticket = candidate.admit(now)
                if ticket is not None:
                    if not tried:
                        self._passed_over(obstacles)
                    return candidate, ticket
                obstacle = _OPEN
            obstacles[candidate] = obstacle
        for last in (_HINTED,) if limited else (_HINTED, _THROTTLED):
            for candidate, obstacle in obstacles.items():
                if obstacle == last and (ticket := candidate.admit(now)) is not None:
                    if not tried:
                        self._passed_over({one: why for one, why in obstacles.items() if why == _OPEN})
                    return candidate, ticket
        return None

    def free_at(self, now: float) -> float:
        """Return the earliest time at which any upstream can be asked."""
        return min(candidate.free_at(now) for candidate in self._candidates)

    def unavailable(self, now: float) -> GatewayError:
        """Return what a caller is told when no upstream can be asked."""
        seconds = max(0.0, self.free_at(now) - now)
        return UpstreamUnavailable("Claude is not available at the moment. Try again shortly.", retry_after=seconds)

    def _passed_over(self, obstacles: Mapping[Candidate, str]) -> None:
        for candidate, obstacle in obstacles.items():
            self.watch.failover(candidate.name, obstacle)


def _policy(settings: TransportSettings) -> BreakerPolicy:
    return BreakerPolicy(
        failures=settings.breaker_failures,
        error_rate=settings.breaker_error_rate,
        window=settings.breaker_window,
        min_calls=settings.breaker_min_calls,
        cooldown=settings.breaker_cooldown,
        max_cooldown=settings.breaker_max_cooldown,
    )
