"""What is counted of the connections to upstreams: when one is opened or waited for, never per request.

How many there are is read when somebody asks. During a reload the pools of both configurations are added up.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, Protocol, get_args

from gateway.metrics.families import Families
from gateway.metrics.labels import Values

State = Literal["busy", "idle"]
_STEPS = ("dns", "tcp", "proxy", "tls")


class Pool(Protocol):
    """Connections to one upstream."""

    @property
    def busy(self) -> int:
        """How many carry an exchange, or are being opened for one."""

    @property
    def idle(self) -> int:
        """How many wait for one."""


class UpstreamConnections:
    """Counts for one upstream; it is what its pool tells.

    Args:
        families: The metrics.
        upstream: Its name, as a label.
    """

    def __init__(self, families: Families, upstream: str) -> None:
        self._connects = families.connect_seconds.labels(upstream)
        self._waits = families.pool_wait.labels(upstream)
        self._timeouts = families.pool_timeouts.labels(upstream)
        # A series that starts at its first increment hides that increment from rate().
        self._failures = {step: families.connect_failures.labels(upstream, step) for step in _STEPS}
        self._pools: tuple[Pool, ...] = ()
        for state in get_args(State):
            families.upstream_connections.labels(upstream, state).set_function(partial(self._count, state))

    def opened(self, pool: Pool) -> None:
        """Count a pool's connections from now on."""
        self._pools += (pool,)

    def closed(self, pool: Pool) -> None:
        """Count them no more."""
        self._pools = tuple(other for other in self._pools if other is not pool)

    def connected(self, seconds: float) -> None:
        """Count a connection that was opened."""
        self._connects.observe(seconds)

    def connect_failed(self, step: str) -> None:
        """Count one that could not be opened."""
        self._failures[step].inc()

    def waited(self, seconds: float, *, in_vain: bool) -> None:
        """Count a wait for a free one."""
        self._waits.observe(seconds)
        if in_vain:
            self._timeouts.inc()

    def _count(self, state: State) -> int:
        return sum(pool.busy if state == "busy" else pool.idle for pool in self._pools)


class PoolMetrics:
    """Counts by upstream.

    Args:
        families: The metrics.
        upstream: Bounds the names of upstreams.
    """

    def __init__(self, families: Families, upstream: Values) -> None:
        self._families = families
        self._upstream = upstream
        self._known: dict[str, UpstreamConnections] = {}

    def of(self, upstream: str) -> UpstreamConnections:
        """Return what an upstream's pools tell; always the same for one name."""
        name = self._upstream(upstream)
        if name not in self._known:
            self._known[name] = UpstreamConnections(self._families, name)
        return self._known[name]
