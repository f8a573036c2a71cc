"""From the configuration to where spans go."""

from __future__ import annotations

from importlib.util import find_spec

from gateway.traces.settings import TracesSettings
from gateway.traces.steps import Traces

_NEEDED = ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.exporter.otlp")


def installed() -> bool:
    """Say whether the package's extra ``otel`` is there."""
    return all(find_spec(name) is not None for name in _NEEDED)


def open_traces(settings: TracesSettings) -> Traces | None:
    """Return where spans go; None where there are none. Whoever opens it closes it."""
    if settings.endpoint is None:
        return None
    from gateway.traces.exporter import Exporter  # noqa: PLC0415 - an extra of the package, and 15 MiB

    return Exporter(settings)
