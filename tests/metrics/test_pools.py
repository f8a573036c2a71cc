"""What is counted of the connections to upstreams."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gateway.metrics import Metrics


@dataclass(eq=False)
class Pool:
    busy: int = 0
    idle: int = 0


@pytest.fixture
def metrics():
    metrics = Metrics()
    yield metrics
    metrics.close()


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(f"tokenweir_upstream_{name}", {"upstream": "claude", **labels})


def test_an_upstream_in_which_nothing_happened_is_shown(metrics):
    metrics.pools.of("claude")
    for step in ("dns", "tcp", "proxy", "tls"):
        assert value(metrics, "connect_failures_total", step=step) == 0
    assert value(metrics, "connections", state="busy") == 0
    assert value(metrics, "connections", state="idle") == 0
    assert value(metrics, "connect_seconds_count") == 0
    assert value(metrics, "pool_wait_seconds_count") == 0
    assert value(metrics, "pool_timeouts_total") == 0


def test_what_the_pools_of_one_name_hold_is_added_up_when_somebody_asks(metrics):
    old, new = Pool(busy=3, idle=1), Pool()
    metrics.pools.of("claude").opened(old)
    metrics.pools.of("claude").opened(new)
    metrics.pools.of("other").opened(Pool(busy=100))
    new.busy, new.idle = 2, 4
    assert value(metrics, "connections", state="busy") == 5
    assert value(metrics, "connections", state="idle") == 5
    metrics.pools.of("claude").closed(old)
    assert value(metrics, "connections", state="busy") == 2
    assert value(metrics, "connections", state="idle") == 4


def test_connects_and_their_failures_are_counted(metrics):
    told = metrics.pools.of("claude")
    told.connected(0.02)
    told.connected(0.04)
    told.connect_failed("tls")
    assert value(metrics, "connect_seconds_count") == 2
    assert value(metrics, "connect_seconds_sum") == pytest.approx(0.06)
    assert value(metrics, "connect_failures_total", step="tls") == 1


def test_waits_are_counted_and_those_in_vain_apart(metrics):
    told = metrics.pools.of("claude")
    told.waited(0.5, in_vain=False)
    told.waited(5.0, in_vain=True)
    assert value(metrics, "pool_wait_seconds_count") == 2
    assert value(metrics, "pool_wait_seconds_sum") == 5.5
    assert value(metrics, "pool_timeouts_total") == 1
