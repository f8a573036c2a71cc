"""Traces: a span for each request that was relayed, with what it spent its time on; see docs/traces.md."""

from __future__ import annotations

from gateway.traces.settings import TracesSettings
from gateway.traces.steps import Ended, Step, Traces

__all__ = ["Ended", "Step", "Traces", "TracesSettings"]
