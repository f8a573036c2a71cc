"""Every metric that the gateway exposes, declared once; docs/metrics.md has a row for each (a test compares them).

Names and units follow Prometheus (base units, ``_total``), meaning and buckets OpenTelemetry's GenAI conventions:
``gen_ai.server.time_to_first_token``, ``.time_per_output_token`` and ``.request.duration``. Their buckets are kept and
only continued where Claude goes past them: long prompts take tens of seconds, answers up to ten minutes.
"""

from __future__ import annotations

import platform
from typing import Literal

from prometheus_client import CollectorRegistry, Gauge, Info, ProcessCollector

from gateway import __version__
from gateway.metrics.quick import Counter, Histogram

FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 60.0),
)
PER_TOKEN = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
DURATION = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    *(163.84, 327.68, 655.36),
)
GAP = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0)
SPEED = (1, 5, 10, 20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 500)
OVERHEAD = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
TOKEN = (0.000002, 0.000005, 0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.001, 0.0025, 0.01)
CONNECT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STORE = (0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Families:
    """The metrics by name, registered on construction; what is counted when is the recorder's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._requests()
        self._streams()
        self._flow()
        self._upstreams()
        self._usage()
        self._quota()
        self._store()
        self._ledger()
        self._connections()
        self._workers()
        self._process()

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"tokenweir_{name}", what, labels, registry=self._registry)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"tokenweir_{name}", what, labels, registry=self._registry, buckets=buckets)

    def _gauge(self, name: str, what: str, *labels: str, merged: Literal["sum", "max"] = "sum") -> Gauge:
        return Gauge(f"tokenweir_{name}", what, labels, registry=self._registry, multiprocess_mode=merged)

    def _requests(self) -> None:
        self.requests = self._counter("requests_total", "Requests answered.", "route", "method", "status_class", "kind")
        self.duration = self._histogram(
            "request_duration_seconds", "Arrival of a request to its end.", DURATION, "route", "kind"
        )
        self.client_bytes = self._counter("client_bytes_total", "Bytes of body written to clients.", "route")
        self.errors = self._counter("errors_total", "Requests that ended in an error.", "code", "origin")
        self.refusals = self._counter("refusals_total", "Requests refused by a limit of a plan.", "limit")
        self.shed = self._counter("shed_total", "Requests refused by a bound of the gateway's own.", "bound")
        self.disconnects = self._counter(
            "client_disconnects_total", "Clients that left before the end of their answer.", "phase"
        )
        self.failed_authentications = self._counter(
            "failed_authentications_total", "Requests without a valid credential.", "code"
        )

    def _streams(self) -> None:
        self.streams_active = Gauge("tokenweir_streams_active", "Streams being relayed now.", registry=self._registry)
        self.first_token = self._histogram(
            "time_to_first_token_seconds",
            "Arrival of a request to the first content delta written to the client.",
            FIRST_TOKEN,
            "dialect",
            "model",
        )
        self.first_text = self._histogram(
            "time_to_first_text_seconds",
            "Arrival of a request to the first text delta written to the client.",
            FIRST_TOKEN,
            "dialect",
            "model",
        )
        self.upstream_first_token = self._histogram(
            "upstream_time_to_first_token_seconds",
            "Start of the upstream call that answered to its first content delta.",
            FIRST_TOKEN,
            "upstream",
            "model",
        )
        self.overhead = self._histogram(
            "overhead_seconds", "The gateway's own share of the time to first token.", OVERHEAD, "dialect"
        )
        self.speed = self._histogram(
            "output_tokens_per_second", "Output tokens of a stream over the time they took to arrive.", SPEED, "model"
        )
        self.per_token = self._histogram(
            "time_per_output_token_seconds", "Mean time between two output tokens of a stream.", PER_TOKEN, "model"
        )
        self.longest_gap = self._histogram(
            "longest_token_gap_seconds", "Longest silence between two content deltas of a stream.", GAP, "model"
        )

    def _upstreams(self) -> None:
        self.retries = self._counter(
            "upstream_retries_total",
            "Further rounds through the upstreams after a wait, by the last failure before.",
            "upstream",
            "code",
        )
        self.failovers = self._counter(
            "upstream_failovers_total", "Requests that went on to the next upstream.", "upstream", "code"
        )
        self.breaker_state = self._gauge(
            "upstream_breaker_state", "An upstream's breaker: 0 closed, 1 half open, 2 open.", "upstream", merged="max"
        )
        self.breaker_transitions = self._counter(
            "upstream_breaker_transitions_total", "Changes of an upstream's breaker.", "upstream", "state"
        )
        self.throttled_until = self._gauge(
            "upstream_throttled_until_timestamp_seconds",
            "Unix time until which an upstream takes no requests of some kind, as it said last.",
            "upstream",
            merged="max",
        )

        self.upstream_connections = self._gauge(
            "upstream_connections", "Connections to an upstream, busy or idle.", "upstream", "state"
        )
        self.connect_seconds = self._histogram(
            "upstream_connect_seconds", "Time in which a connection was opened, TLS included.", CONNECT, "upstream"
        )
        self.connect_failures = self._counter(
            "upstream_connect_failures_total", "Connections that could not be opened.", "upstream", "step"
        )
        self.pool_wait = self._histogram(
            "upstream_pool_wait_seconds", "Waits for a free connection.", CONNECT, "upstream"
        )
        self.pool_timeouts = self._counter(
            "upstream_pool_timeouts_total", "Waits for a free connection that took too long.", "upstream"
        )

    def _flow(self) -> None:
        self.pauses = self._counter("backpressure_pauses_total", "Times an upstream rested because its client lagged.")
        self.paused = self._counter("backpressure_seconds_total", "Time for which upstreams rested for their clients.")
        self.held_bytes = Gauge(
            "tokenweir_client_held_bytes", "Bytes in memory that clients have not taken yet.", registry=self._registry
        )
        self.merged_frames = self._counter(
            "merged_frames_total", "Frames joined to the one before, for clients that lagged."
        )
        self.slow_clients = self._counter("slow_clients_dropped_total", "Clients dropped because they took nothing.")
        self.heartbeats = self._counter("heartbeats_total", "Comments sent to keep silent streams alive.")
        self.streams_cut = self._counter("streams_cut_total", "Answers in flight that the gateway ended.", "code")
        self.token_overhead = self._histogram(
            "token_overhead_seconds", "A token's way through the gateway, sampled.", TOKEN, "dialect"
        )

    def _usage(self) -> None:
        self.tokens = self._counter("tokens_total", "Tokens by price class.", "model", "kind")
        self.thinking = self._counter(
            "thinking_tokens_total", "Output tokens spent on thinking, a part of the output in tokens_total.", "model"
        )
        self.cost = self._counter("cost_usd_total", "Price of all usage in US dollars.", "model")
        self.estimated = self._counter(
            "usage_estimated_total", "Requests whose output was estimated, Claude having told none.", "model"
        )
        self.web_searches = self._counter("web_search_requests_total", "Web searches that Claude made.", "model")
        self.tenant_requests = self._counter("tenant_requests_total", "Requests by tenant.", "tenant")
        self.tenant_tokens = self._counter("tenant_tokens_total", "Tokens in and out by tenant.", "tenant")
        self.tenant_cost = self._counter("tenant_cost_usd_total", "Price by tenant in US dollars.", "tenant")

    def _quota(self) -> None:
        self.holds = Gauge(
            "tokenweir_quota_holds", "Requests that hold a part of their limits.", registry=self._registry
        )
        self.settlements = self._counter(
            "quota_settlements_total", "Holds that ended: at what Claude told, at an estimate, or given back.", "kind"
        )
        self.expired_holds = self._counter(
            "quota_expired_holds_total", "Holds whose lease ran out: nobody renewed or ended them."
        )
        self.overshoots = self._counter(
            "quota_overshoots_total", "Requests that took a budget past its limit, by the budget's limit.", "limit"
        )
        self.overshoot_usd = self._counter(
            "quota_overshoot_usd_total", "US dollars by which budgets of dollars were passed.", "limit"
        )
        self.quota_warnings = self._counter(
            "quota_warnings_total", "Requests let in past the share of a budget at which it warns.", "limit"
        )
        self.quota_used = self._gauge(
            "tenant_quota_used_ratio",
            "Share of a tenant's fullest budget that is used or held.",
            "tenant",
            merged="max",
        )

    def _store(self) -> None:
        self.store_seconds = self._histogram(
            "limit_store_seconds", "Time that the shared store of limits took to answer.", STORE, "operation"
        )
        self.store_failures = self._counter(
            "limit_store_failures_total", "Operations of the shared store that failed, or took too long.", "operation"
        )
        self.arrears_dropped = self._counter(
            "limit_store_arrears_dropped_total", "Ended requests that the shared store will not be told of."
        )
        self.store_up = Gauge("tokenweir_limit_store_up", "Whether the shared store is asked.", registry=self._registry)
        self.store_arrears = Gauge(
            "tokenweir_limit_store_arrears", "Ended requests that it is still to be told of.", registry=self._registry
        )
        self.store_skew = Gauge(
            "tokenweir_limit_store_clock_skew_seconds",
            "By how much its clock is ahead of this process'.",
            registry=self._registry,
        )

    def _ledger(self) -> None:
        self.unbooked = self._counter("ledger_refusals_total", "Requests whose row nothing could take.")
        self.ledger_waiting = Gauge(
            "tokenweir_ledger_waiting_rows", "Rows that the database does not have yet.", registry=self._registry
        )
        self.ledger_journal = Gauge(
            "tokenweir_ledger_journal_rows",
            "Rows in the journal that the database failed to take.",
            registry=self._registry,
        )
        self.ledger_up = Gauge(
            "tokenweir_ledger_up", "Whether the database takes the ledger's rows.", registry=self._registry
        )

    def _connections(self) -> None:
        self.connections = Gauge(
            "tokenweir_connections", "Connections of clients, idle ones included.", registry=self._registry
        )
        self.connections_refused = self._counter(
            "connections_refused_total", "Connections closed at once because there were too many."
        )
        self.files_exhausted = self._counter(
            "open_files_exhausted_total", "Times that the process ran out of open files."
        )

    def _workers(self) -> None:
        self.workers = self._gauge("workers", "Processes that serve or finish what they have.")
        self.worker_deaths = self._counter(
            "worker_deaths_total", "Workers that ended otherwise than they were told to."
        )
        self.reloads = self._counter("reloads_total", "Reloads of the configuration.", "result")
        self.draining = self._gauge("draining", "Configurations that take nothing new and finish what they have.")

    def _process(self) -> None:
        self.lag = self._histogram(
            "event_loop_lag_seconds", "How late the event loop ran a timer, sampled on a fixed schedule.", LAG
        )
        build = Info("tokenweir_build", "The running version.", registry=self._registry)
        build.info({"version": __version__, "python": platform.python_version()})
        ProcessCollector(registry=self._registry)
