"""Spans for an OpenTelemetry collector, made when a request has ended: nothing of it runs while tokens flow.

OpenTelemetry's SDK makes and sends them, in a thread of its own. It is an extra of the package, so this file is
imported only where traces are on. The variables that the SDK knows (``OTEL_EXPORTER_OTLP_HEADERS``,
``OTEL_RESOURCE_ATTRIBUTES``, ...) hold here too.
"""

from __future__ import annotations

import random
import time

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from gateway import __version__
from gateway.core.trace import Trace
from gateway.traces.attributes import failed, of_generation, of_request
from gateway.traces.settings import TracesSettings
from gateway.traces.steps import Ended, Step

_NANO = 1_000_000_000


class _Ids(RandomIdGenerator):
    """Gives the span of a request the id that its upstream was told before."""

    def __init__(self) -> None:
        self.told: Trace | None = None

    def generate_trace_id(self) -> int:
        return super().generate_trace_id() if self.told is None else int(self.told.trace_id, 16)

    def generate_span_id(self) -> int:
        return super().generate_span_id() if self.told is None else int(self.told.span_id, 16)


class Exporter:
    """The :class:`~gateway.traces.steps.Traces` that a collector takes. For one thread.

    Args:
        settings: With an endpoint.
    """

    def __init__(self, settings: TracesSettings) -> None:
        self._share = settings.sample
        self._ids = _Ids()
        resource = Resource.create({"service.name": settings.service, "service.version": __version__})
        # Who is traced was decided when the request came: its upstream was told.
        self._provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False, id_generator=self._ids)
        address = f"{str(settings.endpoint).rstrip('/')}/v1/traces"
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(address, timeout=settings.timeout)))
        self._tracer = self._provider.get_tracer("tokenweir", __version__)

    def sampled(self) -> bool:
        """Say whether a request that brought no trace begins one."""
        return random.random() < self._share  # noqa: S311 - a sample, not a secret

    def take(self, ended: Ended) -> None:
        """Make the spans of a request; never waits."""
        since_epoch = time.time() - time.monotonic()
        outcome = ended.outcome
        self._ids.told = ended.trace
        try:
            span = self._tracer.start_span(
                f"{outcome.method} {outcome.route}",
                _context(ended.trace),
                SpanKind.SERVER,
                of_request(outcome),
                start_time=_nanoseconds(ended.started + since_epoch),
            )
        finally:
            self._ids.told = None
        if failed(outcome):
            span.set_status(Status(StatusCode.ERROR, outcome.error_code))
        within = set_span_in_context(span, Context())
        calls = [step for step in ended.steps if step.upstream]
        for step in ended.steps:
            child = self._step(step, within, since_epoch)
            if calls and step is calls[-1]:
                child.set_attributes(of_generation(outcome))
            child.end(_nanoseconds(step.ended + since_epoch))
        span.end(_nanoseconds(ended.ended + since_epoch))

    def close(self) -> None:
        """Hand over what waits. It waits for the collector: call it from a thread."""
        self._provider.shutdown()

    def _step(self, step: Step, within: Context, since_epoch: float) -> Span:
        span = self._tracer.start_span(
            step.name,
            within,
            SpanKind.CLIENT if step.upstream else SpanKind.INTERNAL,
            step.attributes,
            start_time=_nanoseconds(step.started + since_epoch),
        )
        if step.error:
            span.set_attribute("error.type", step.error)
            span.set_status(Status(StatusCode.ERROR, step.error))
        return span


def _context(trace: Trace) -> Context:
    if not trace.parent_id:
        return Context()
    parent = SpanContext(
        int(trace.trace_id, 16), int(trace.parent_id, 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _nanoseconds(seconds: float) -> int:
    return int(seconds * _NANO)
