"""What Prometheus scrapes: one observation per request, made from its ``Outcome``; see docs/metrics.md."""

from __future__ import annotations

from gateway.metrics.lag import sample_loop_lag
from gateway.metrics.recorder import Metrics
from gateway.metrics.settings import MetricsSettings

__all__ = ["Metrics", "MetricsSettings", "sample_loop_lag"]
