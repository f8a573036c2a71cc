"""One request, one observation."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from gateway.core.outcome import Outcome, Usage
from gateway.metrics import Metrics, MetricsSettings

DONE = Outcome(
    request_id="req_1",
    upstream_request_id="req_up",
    trace_id="",
    route="/v1/messages",
    method="POST",
    dialect="messages",
    status=200,
    kind="done",
    phase="finished",
    error_code=None,
    error_origin=None,
    limit=None,
    tenant="shop",
    key_id="k7Qm",
    model="claude-a",
    model_answered="claude-a-1",
    stream=True,
    upstream="claude",
    attempts=1,
    usage=Usage(
        input_tokens=10,
        output_tokens=21,
        thinking_tokens=5,
        cache_read_tokens=100,
        cache_write_5m_tokens=30,
        cache_write_1h_tokens=40,
        web_search_requests=2,
    ),
    cost_usd=0.25,
    stop_reason="end_turn",
    first_token=0.3,
    first_text=0.5,
    upstream_first_token=0.29,
    overhead=0.002,
    duration=2.5,
    output_seconds=2.0,
    longest_gap=0.4,
    client_bytes=1234,
)
BARE = replace(
    DONE,
    dialect="none",
    tenant="",
    model="",
    upstream="",
    stream=False,
    usage=None,
    cost_usd=None,
    first_token=None,
    first_text=None,
    upstream_first_token=None,
    overhead=None,
    output_seconds=None,
    longest_gap=None,
    client_bytes=0,
)


def test_a_request_is_counted_by_route_method_status_class_and_kind(metrics, value):
    metrics.observe(DONE)
    metrics.observe(DONE)
    assert value("requests_total", route="/v1/messages", method="POST", status_class="2xx", kind="done") == 2
    assert value("request_duration_seconds_sum", route="/v1/messages", kind="done") == 5.0
    assert value("client_bytes_total", route="/v1/messages") == 2468


@pytest.mark.parametrize(("status", "status_class"), [(499, "4xx"), (529, "5xx"), (101, "1xx"), (0, "other")])
def test_a_status_counts_by_its_class(metrics, value, status, status_class):
    metrics.observe(replace(BARE, status=status))
    assert value("requests_total", route="/v1/messages", method="POST", status_class=status_class, kind="done") == 1


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("time_to_first_token_seconds", {"dialect": "messages", "model": "claude-a"}, 0.3),
        ("time_to_first_text_seconds", {"dialect": "messages", "model": "claude-a"}, 0.5),
        ("upstream_time_to_first_token_seconds", {"upstream": "claude", "model": "claude-a"}, 0.29),
        ("overhead_seconds", {"dialect": "messages"}, 0.002),
        ("output_tokens_per_second", {"model": "claude-a"}, 10.5),
        ("time_per_output_token_seconds", {"model": "claude-a"}, 0.1),
        ("longest_token_gap_seconds", {"model": "claude-a"}, 0.4),
    ],
)
def test_a_stream_is_observed_once_at_its_end(metrics, value, name, labels, expected):
    metrics.observe(DONE)
    assert value(f"{name}_sum", **labels) == expected
    assert value(f"{name}_count", **labels) == 1


@pytest.mark.parametrize(
    ("kind", "tokens"),
    [("input", 10), ("output", 21), ("cache_read", 100), ("cache_write_5m", 30), ("cache_write_1h", 40)],
)
def test_tokens_are_counted_by_price_class(metrics, value, kind, tokens):
    metrics.observe(DONE)
    assert value("tokens_total", model="claude-a", kind=kind) == tokens


def test_thinking_is_a_part_of_the_output_and_so_a_metric_apart(metrics, value):
    metrics.observe(DONE)
    assert value("thinking_tokens_total", model="claude-a") == 5
    assert value("tokens_total", model="claude-a", kind="thinking") is None


def test_cost_searches_and_estimates_are_counted(metrics, value):
    metrics.observe(DONE)
    metrics.observe(replace(DONE, usage=Usage(output_tokens=3, estimated=True)))
    assert value("cost_usd_total", model="claude-a") == 0.5
    assert value("web_search_requests_total", model="claude-a") == 2
    assert value("usage_estimated_total", model="claude-a") == 1


def test_a_tenant_has_three_counters_and_meets_no_other_label(metrics, value):
    metrics.observe(DONE)
    metrics.observe(replace(BARE, tenant="shop"))
    assert value("tenant_requests_total", tenant="shop") == 2
    assert value("tenant_tokens_total", tenant="shop") == 201
    assert value("tenant_cost_usd_total", tenant="shop") == 0.25
    meeting = {
        s.name for f in metrics.registry.collect() for s in f.samples if "tenant" in s.labels and len(s.labels) > 1
    }
    assert meeting == set()


def test_a_request_without_tenant_or_model_leaves_no_series_of_theirs(metrics):
    metrics.observe(BARE)
    labels = {label for f in metrics.registry.collect() for s in f.samples for label in s.labels}
    assert labels.isdisjoint({"tenant", "model", "dialect", "upstream"})


def test_a_stream_that_had_no_text_and_one_token_has_no_pace(metrics, value):
    bare = replace(
        DONE, first_text=None, upstream_first_token=None, overhead=None, output_seconds=0.0, longest_gap=None
    )
    metrics.observe(replace(bare, usage=Usage(output_tokens=1)))
    assert value("time_to_first_token_seconds_count", dialect="messages", model="claude-a") == 1
    for name in ("output_tokens_per_second", "time_per_output_token_seconds", "longest_token_gap_seconds"):
        assert value(f"{name}_count", model="claude-a") is None


def test_a_refusal_is_counted_by_its_limit(metrics, value):
    refused = replace(BARE, kind="refused", status=429, error_code="rate_limited", error_origin="client")
    metrics.observe(replace(refused, limit="tenant-requests-per-minute"))
    metrics.observe(refused)
    assert value("refusals_total", limit="tenant-requests-per-minute") == 1
    assert value("errors_total", code="rate_limited", origin="client") == 2


def test_an_error_without_an_origin_is_still_counted(metrics, value):
    metrics.observe(replace(BARE, kind="error", error_code="internal_error"))
    assert value("errors_total", code="internal_error", origin="none") == 1


@pytest.mark.parametrize("code", ["unauthenticated", "too_many_failed_authentications"])
def test_failed_authentications_are_there_before_the_first_and_counted(metrics, value, code):
    assert value("failed_authentications_total", code=code) == 0
    metrics.observe(replace(BARE, kind="refused", status=401, error_code=code, error_origin="client"))
    assert value("failed_authentications_total", code=code) == 1


@pytest.mark.parametrize("code", ["upstream_credential", "upstream_authentication_error", "upstream_billing_error"])
def test_the_first_refusal_of_our_credential_is_growth(value, code):
    assert value("errors_total", code=code, origin="upstream") == 0


def test_a_client_that_left_is_counted_by_phase(metrics, value):
    assert value("client_disconnects_total", phase="streaming") == 0
    metrics.observe(replace(DONE, kind="disconnected", phase="streaming"))
    assert value("client_disconnects_total", phase="streaming") == 1


def test_streams_active_goes_up_and_down(metrics, value):
    metrics.stream_opened()
    metrics.stream_opened()
    metrics.stream_closed()
    assert value("streams_active") == 1


def test_retries_are_counted_by_upstream_and_cause(metrics, value):
    metrics.upstreams.retry("claude", "upstream_timeout")
    assert value("upstream_retries_total", upstream="claude", code="upstream_timeout") == 1


def test_lag_and_dropped_log_lines_are_exposed():
    metrics = Metrics(dropped_log_lines=lambda: 7)
    metrics.loop_lag(0.02)
    assert metrics.registry.get_sample_value("tokenweir_event_loop_lag_seconds_sum") == 0.02
    assert metrics.registry.get_sample_value("tokenweir_log_lines_dropped_total") == 7


def test_the_default_registry_stays_untouched(metrics):
    assert not [f.name for f in REGISTRY.collect() if f.name.startswith("tokenweir")]


def test_a_model_that_is_not_known_is_other():
    metrics = Metrics(known_model={"claude-a"}.__contains__)
    metrics.observe(DONE)
    metrics.observe(replace(DONE, model="my-secret-model"))
    read = metrics.registry.get_sample_value
    assert read("tokenweir_cost_usd_total", {"model": "claude-a"}) == 0.25
    assert read("tokenweir_cost_usd_total", {"model": "other"}) == 0.25


def _series(metrics: Metrics) -> int:
    return sum(len(family.samples) for family in metrics.registry.collect())


def test_the_number_of_series_is_flat_whatever_callers_send():
    metrics = Metrics(MetricsSettings(max_tenants=20, max_models=5))
    for n in range(100):
        metrics.observe(_weird(n))
        metrics.upstreams.retry(f"up-{n}", f"code-{n}")
    full = _series(metrics)
    for n in range(100, 10_000):
        metrics.observe(_weird(n))
        metrics.upstreams.retry(f"up-{n}", f"code-{n}")
    assert _series(metrics) == full
    assert metrics.registry.get_sample_value("tokenweir_tenant_requests_total", {"tenant": "other"}) == 9980


def test_five_thousand_tenants_cost_a_thousand_and_one():
    metrics = Metrics()
    for n in range(5000):
        metrics.observe(replace(BARE, tenant=f"tenant-{n}"))
    tenants = {s.labels["tenant"] for f in metrics.registry.collect() for s in f.samples if "tenant" in s.labels}
    assert len(tenants) == 1001


def _weird(n: int) -> Outcome:
    return replace(
        DONE,
        route=f"/route/{n}",
        method=f"METHOD{n}",
        dialect=f"dialect-{n}",
        error_code=f"code-{n}",
        limit=f"limit-{n}",
        upstream=f"upstream-{n}",
        model=f"model-{n}",
        tenant=f"tenant-{n}",
    )


def test_a_request_refused_before_the_upstream_leaves_no_stream_and_no_usage(metrics, value):
    metrics.observe(replace(BARE, kind="refused", status=429, model="claude-a", tenant="shop"))
    assert value("tenant_requests_total", tenant="shop") == 1
    assert value("time_to_first_token_seconds_count", dialect="none", model="claude-a") is None
    assert value("tokens_total", model="claude-a", kind="input") is None


def test_usage_without_a_price_counts_tokens_and_no_cost(metrics, value):
    metrics.observe(replace(DONE, cost_usd=None))
    assert value("tokens_total", model="claude-a", kind="input") == 10
    assert value("cost_usd_total", model="claude-a") is None
    assert value("tenant_cost_usd_total", tenant="shop") is None
