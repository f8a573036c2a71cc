"""How streams flowed is counted once, at their end; what is held for clients is read when somebody asks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.flow import Flow
from gateway.core.outcome import Outcome

FIELDS = dict.fromkeys(Outcome.__dataclass_fields__)
STREAM = Outcome(
    **FIELDS
    | {"route": "/api/chat/stream", "method": "POST", "dialect": "chat", "status": 200, "kind": "done"}
    | {"phase": "finished", "tenant": "", "model": "claude-a", "upstream": "claude", "duration": 2.5, "client_bytes": 7}
)


def test_all_that_a_stream_tells_is_counted(metrics, value):
    for _ in range(2):
        metrics.observe(replace(STREAM, flow=Flow(3, 4.5, 2, 60, (0.000004, 0.002))))
    counted = {
        name: value(name)
        for name in (
            "backpressure_pauses_total",
            "backpressure_seconds_total",
            "heartbeats_total",
            "merged_frames_total",
        )
    }
    assert list(counted.values()) == [6, 9, 4, 120]
    assert value("token_overhead_seconds_count", dialect="chat") == 4
    assert value("token_overhead_seconds_bucket", dialect="chat", le="5e-06") == 2


@pytest.mark.parametrize("flow", [None, Flow()])
def test_a_stream_that_has_nothing_to_tell_leaves_no_trace(metrics, value, flow):
    metrics.observe(replace(STREAM, flow=flow))
    assert value("backpressure_pauses_total") == 0
    assert value("token_overhead_seconds_count", dialect="chat") is None


@pytest.mark.parametrize(
    ("code", "name", "labels"),
    [
        ("slow_client", "slow_clients_dropped_total", {}),
        ("draining", "streams_cut_total", {"code": "draining"}),
        ("access_cut", "streams_cut_total", {"code": "access_cut"}),
    ],
)
def test_what_we_end_is_counted_by_its_reason(metrics, value, code, name, labels):
    assert value(name, **labels) == 0
    metrics.observe(replace(STREAM, kind="error", error_code=code, error_origin="gateway"))
    metrics.observe(replace(STREAM, kind="error", error_code="upstream_timeout", error_origin="upstream"))
    assert value(name, **labels) == 1


def test_what_is_held_is_read_when_asked_for(metrics, value):
    held = [10]
    assert value("client_held_bytes") == 0
    metrics.flow.held_bytes(lambda: held[0])
    assert value("client_held_bytes") == 10
    held[0] = 20
    assert value("client_held_bytes") == 20
