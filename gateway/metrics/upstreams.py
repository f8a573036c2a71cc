"""What is counted of upstreams beside the requests they serve: retries, failovers, breakers, rate limits.

A series that starts at its first increment hides that increment from ``rate()``: what is known of an upstream at the
start is set then.
"""

from __future__ import annotations

from typing import get_args

from gateway.core.breaker import State
from gateway.metrics.families import Families
from gateway.metrics.labels import Children, Values

# As the gauge shows them, so that its maximum over replicas is the worst.
_LEVELS: dict[State, int] = {"closed": 0, "half_open": 1, "open": 2}


class UpstreamMetrics:
    """Counts what happens to upstreams.

    Args:
        families: The metrics.
        upstream: Bounds the names of upstreams.
        code: Bounds the reasons.
    """

    def __init__(self, families: Families, upstream: Values, code: Values) -> None:
        self._upstream = upstream
        self._code = code
        self._retries, self._failovers = Children(families.retries), Children(families.failovers)
        self._transitions = Children(families.breaker_transitions)
        self._state = families.breaker_state
        self._throttled_until = families.throttled_until

    def known(self, upstream: str) -> None:
        """Show an upstream in which nothing has happened yet."""
        name = self._upstream(upstream)
        self._state.labels(name).set(_LEVELS["closed"])
        self._throttled_until.labels(name).set(0)
        for state in get_args(State):
            self._transitions[name, state]

    def retry(self, upstream: str, code: str) -> None:
        """Count another round through all upstreams, begun because this one, the last, failed with ``code``."""
        self._retries[self._upstream(upstream), self._code(code)].inc()

    def failover(self, upstream: str, code: str) -> None:
        """Count a request that went on to the next upstream because of ``code``."""
        self._failovers[self._upstream(upstream), self._code(code)].inc()

    def breaker(self, upstream: str, state: State) -> None:
        """Count a change of an upstream's breaker."""
        name = self._upstream(upstream)
        self._state.labels(name).set(_LEVELS[state])
        self._transitions[name, state].inc()

    def throttled(self, upstream: str, until: float) -> None:
        """Show the Unix time until which an upstream takes no requests of some kind."""
        self._throttled_until.labels(self._upstream(upstream)).set(until)
