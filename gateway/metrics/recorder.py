"""Counting: ``observe`` once per request, from its ``Outcome`` and nothing else.

Rules of this file: no label value that did not pass a ``Values``; tenant never meets another label and never labels a
histogram; nothing here runs per token (a stream counts locally and is observed at its end); all of one ``observe``
stays below 60 µs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from prometheus_client import CollectorRegistry

from gateway.core.errors import Overloaded, TooManyFailures, Unauthenticated, UpstreamCredential
from gateway.core.outcome import Outcome, Phase, Usage
from gateway.metrics.families import Families
from gateway.metrics.flow import FlowMetrics
from gateway.metrics.labels import NONE, OTHER, Children, Values
from gateway.metrics.pools import PoolMetrics
from gateway.metrics.quota import QuotaMetrics
from gateway.metrics.render import Counted, Renderer
from gateway.metrics.settings import MetricsSettings
from gateway.metrics.upstreams import UpstreamMetrics
from gateway.metrics.worker import OneWorker

_OWN_VALUES = 64  # routes, codes, limits, upstreams: named by our code and configuration, so the cap is only a net
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_AUTHENTICATION = (Unauthenticated.code, TooManyFailures.code)
_BOUNDS = (
    *("server.max_streams", "server.max_bodies", "server.max_loop_lag"),
    *("upstream.max_connections", "keys.max_lookups", "open_files", "local_ports"),
)
# What no retry cures is told at its first time: somebody is paged.
_CREDENTIAL = (
    UpstreamCredential.code,
    *("upstream_authentication_error", "upstream_billing_error", "upstream_permission_error"),
)
_STATUS_CLASSES = {n: f"{n}xx" for n in range(1, 6)}


def _none_dropped() -> int:
    return 0


class Metrics:
    """All metrics of one process, in a registry of their own.

    Args:
        settings: The bounds.
        known_model: Whether a model's name may be a label; asked for each unknown one, so a set lookup at most.
        dropped_log_lines: Reads the count of log lines that could not be written.
        registry: Where to register; a fresh one unless given.
    """

    def __init__(
        self,
        settings: MetricsSettings | None = None,
        *,
        known_model: Callable[[str], bool] | None = None,
        dropped_log_lines: Callable[[], int] = _none_dropped,
        registry: CollectorRegistry | None = None,
    ) -> None:
        settings = settings or MetricsSettings()
        self.registry = registry or CollectorRegistry()
        self._families = Families(self.registry)
        self.registry.register(
            Counted("tokenweir_log_lines_dropped", "Log lines that could not be written.", dropped_log_lines)
        )
        self._worker = OneWorker(self._families.streams_active._value.get)  # noqa: SLF001 - the library has no reader
        self.registry.register(self._worker)
        self._renderer = Renderer(self.registry)
        self._values(settings, known_model)
        self._children()
        for phase in get_args(Phase):  # a series that starts at its first increment hides that increment from rate()
            self._disconnects[phase,]
        for code in _AUTHENTICATION:
            self._failed_authentications[code,]
        self._families.workers.set(1)
        for result in ("done", "refused"):
            self._families.reloads.labels(result)
        for bound in _BOUNDS:
            self._shed[self._limit(bound),]
        for code in _CREDENTIAL:
            self._errors[self._code(code), "upstream"]

    def _values(self, settings: MetricsSettings, known_model: Callable[[str], bool] | None) -> None:
        self._route = Values(_OWN_VALUES)
        self._method = Values(len(_METHODS), _METHODS.__contains__)
        self._dialect = Values(_OWN_VALUES)
        self._code = Values(_OWN_VALUES)
        self._limit = Values(_OWN_VALUES)
        self._upstream = Values(_OWN_VALUES)
        self._model = Values(settings.max_models, known_model)
        self._tenant = Values(settings.max_tenants)

    def _children(self) -> None:
        of = self._families
        self._requests, self._duration = Children(of.requests), Children(of.duration)
        self._client_bytes, self._errors = Children(of.client_bytes), Children(of.errors)
        self._refusals, self._shed = Children(of.refusals), Children(of.shed)
        self._disconnects = Children(of.disconnects)
        self._failed_authentications = Children(of.failed_authentications)
        self._first_token, self._first_text = Children(of.first_token), Children(of.first_text)
        self._upstream_first_token = Children(of.upstream_first_token)
        self._overhead, self._speed = Children(of.overhead), Children(of.speed)
        self._per_token, self._longest_gap = Children(of.per_token), Children(of.longest_gap)
        self.flow = FlowMetrics(of)
        self.upstreams = UpstreamMetrics(of, self._upstream, self._code)
        self.pools = PoolMetrics(of, self._upstream)
        self.quota = QuotaMetrics(of, self._limit, self._tenant)
        self._tokens, self._thinking = Children(of.tokens), Children(of.thinking)
        self._cost, self._estimated = Children(of.cost), Children(of.estimated)
        self._web_searches = Children(of.web_searches)
        self._tenant_requests, self._tenant_tokens = Children(of.tenant_requests), Children(of.tenant_tokens)
        self._tenant_cost = Children(of.tenant_cost)

    def observe(self, outcome: Outcome) -> None:
        """Count a request that ended. Call it exactly once for each, whatever its end."""
        self._observe_request(outcome)
        self._observe_end(outcome)
        if outcome.model:
            model = self._model(outcome.model)
            self._observe_stream(outcome, model)
            self._observe_usage(outcome, model)
            if outcome.flow is not None:
                self.flow.observe(outcome.flow, self._dialect(outcome.dialect))
        if outcome.tenant:
            self._observe_tenant(outcome)

    def _observe_request(self, outcome: Outcome) -> None:
        route = self._route(outcome.route)
        status_class = _STATUS_CLASSES.get(outcome.status // 100, OTHER)
        self._requests[route, self._method(outcome.method), status_class, outcome.kind].inc()
        self._duration[route, outcome.kind].observe(outcome.duration, _exemplar(outcome))
        if outcome.client_bytes:
            self._client_bytes[route,].inc(outcome.client_bytes)

    def _observe_end(self, outcome: Outcome) -> None:
        if outcome.kind == "disconnected":
            self._disconnects[outcome.phase,].inc()
        if outcome.error_code is None:
            return
        code = self._code(outcome.error_code)
        self._errors[code, outcome.error_origin or NONE].inc()
        self.flow.ended(code)
        if outcome.limit:
            counters = self._shed if code == Overloaded.code else self._refusals
            counters[self._limit(outcome.limit),].inc()
        if code in _AUTHENTICATION:
            self._failed_authentications[code,].inc()

    def _observe_stream(self, outcome: Outcome, model: str) -> None:
        if outcome.first_token is None:
            return
        dialect, exemplar = self._dialect(outcome.dialect), _exemplar(outcome)
        self._first_token[dialect, model].observe(outcome.first_token, exemplar)
        if outcome.first_text is not None:
            self._first_text[dialect, model].observe(outcome.first_text, exemplar)
        if outcome.upstream_first_token is not None:
            upstream = self._upstream(outcome.upstream)
            self._upstream_first_token[upstream, model].observe(outcome.upstream_first_token, exemplar)
        if outcome.overhead is not None:
            self._overhead[dialect,].observe(outcome.overhead, exemplar)
        self._observe_pace(outcome, model)

    def _observe_pace(self, outcome: Outcome, model: str) -> None:
        speed, usage, seconds = outcome.tokens_per_second, outcome.usage, outcome.output_seconds
        if speed:
            self._speed[model,].observe(speed)
        if usage is not None and seconds and usage.output_tokens > 1:
            self._per_token[model,].observe(seconds / (usage.output_tokens - 1))
        if outcome.longest_gap is not None:
            self._longest_gap[model,].observe(outcome.longest_gap)

    def _observe_usage(self, outcome: Outcome, model: str) -> None:
        usage = outcome.usage
        if usage is None:
            return
        for kind, tokens in _by_kind(usage):
            if tokens:
                self._tokens[model, kind].inc(tokens)
        if usage.thinking_tokens:
            self._thinking[model,].inc(usage.thinking_tokens)
        if usage.web_search_requests:
            self._web_searches[model,].inc(usage.web_search_requests)
        if usage.estimated:
            self._estimated[model,].inc()
        if outcome.cost_usd:
            self._cost[model,].inc(outcome.cost_usd)

    def _observe_tenant(self, outcome: Outcome) -> None:
        tenant = (self._tenant(outcome.tenant),)
        self._tenant_requests[tenant].inc()
        if outcome.usage is not None:
            self._tenant_tokens[tenant].inc(sum(tokens for _, tokens in _by_kind(outcome.usage)))
        if outcome.cost_usd:
            self._tenant_cost[tenant].inc(outcome.cost_usd)

    def place(self, worker: int) -> None:
        """Say which of several workers this process is, from 1 on."""
        self._worker.place = worker

    def stream_opened(self) -> None:
        """Count a stream in; pair every call with ``stream_closed``."""
        self._families.streams_active.inc()

    def stream_closed(self) -> None:
        """Count a stream out."""
        self._families.streams_active.dec()

    def loop_lag(self, seconds: float) -> None:
        """Count one sample of how late the event loop was."""
        self._families.lag.observe(seconds)

    def connections(self, more: int) -> None:
        """Take how many more connections clients have, or fewer."""
        self._families.connections.inc(more)

    def connection_refused(self) -> None:
        """Count a connection that was one too many."""
        self._families.connections_refused.inc()

    def files_exhausted(self) -> None:
        """Count that the process ran out of open files."""
        self._families.files_exhausted.inc()

    def reloaded(self, result: str) -> None:
        """Count a reload of the configuration: ``done`` or ``refused``."""
        self._families.reloads.labels(result).inc()

    def drain_begun(self) -> None:
        """Count a configuration that takes nothing new; pair with ``drain_ended``."""
        self._families.draining.inc()

    def drain_ended(self) -> None:
        """Count one whose drain is over."""
        self._families.draining.dec()

    async def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return the exposition and its content type for a scraper that sent ``accept``."""
        return await self._renderer.render(accept)

    def close(self) -> None:
        """Let the rendering thread go."""
        self._renderer.close()


def _exemplar(outcome: Outcome) -> dict[str, str] | None:
    return {"trace_id": outcome.trace_id} if outcome.traced else None


def _by_kind(usage: Usage) -> tuple[tuple[str, int], ...]:
    return (
        ("input", usage.input_tokens),
        ("output", usage.output_tokens),
        ("cache_read", usage.cache_read_tokens),
        ("cache_write_5m", usage.cache_write_5m_tokens),
        ("cache_write_1h", usage.cache_write_1h_tokens),
    )
