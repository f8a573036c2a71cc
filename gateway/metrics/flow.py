"""What is counted of how streams flow to their clients: at a stream's end, from what its relay has counted."""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.errors import AccessCut, Draining, SlowClient
from gateway.core.flow import Flow
from gateway.metrics.families import Families
from gateway.metrics.labels import Children

_CUTS = (Draining.code, AccessCut.code)


class FlowMetrics:
    """Counts pauses, merged frames, heartbeats, and streams that we ended.

    Args:
        families: The metrics.
    """

    def __init__(self, families: Families) -> None:
        self._pauses, self._paused = families.pauses, families.paused
        self._merged, self._heartbeats = families.merged_frames, families.heartbeats
        self._dropped = families.slow_clients
        self._held = families.held_bytes
        self._cut, self._overhead = Children(families.streams_cut), Children(families.token_overhead)
        for code in _CUTS:  # a series that starts at its first increment hides that increment from rate()
            self._cut[code,]

    def held_bytes(self, read: Callable[[], int]) -> None:
        """Have the bytes held for clients read whenever somebody asks for them."""
        self._held.set_function(read)

    def ended(self, code: str) -> None:
        """Count an error, if it is one by which we end a stream."""
        if code in _CUTS:
            self._cut[code,].inc()
        elif code == SlowClient.code:
            self._dropped.inc()

    def observe(self, flow: Flow, dialect: str) -> None:
        """Count what a relay tells of its stream."""
        if flow.pauses:
            self._pauses.inc(flow.pauses)
            self._paused.inc(flow.paused)
        if flow.merged_frames:
            self._merged.inc(flow.merged_frames)
        if flow.heartbeats:
            self._heartbeats.inc(flow.heartbeats)
        for seconds in flow.overheads:
            self._overhead[dialect,].observe(seconds)
