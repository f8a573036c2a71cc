"""What is counted of the connections to upstreams."""

from __future__ import annotations

from dataclasses import dataclass

import pytest


@dataclass(eq=False)
class Pool:
    busy: int = 0
    idle: int = 0


@pytest.fixture
def value(value):
    """Of the upstream that most tests are about."""
    return lambda name, **labels: value(f"upstream_{name}", upstream="claude", **labels)


def test_an_upstream_in_which_nothing_happened_is_shown(metrics, value):
    metrics.pools.of("claude")
    for step in ("dns", "tcp", "proxy", "tls"):
        assert value("connect_failures_total", step=step) == 0
    assert value("connections", state="busy") == 0
    assert value("connections", state="idle") == 0
    assert value("connect_seconds_count") == 0
    assert value("pool_wait_seconds_count") == 0
    assert value("pool_timeouts_total") == 0


def test_what_the_pools_of_one_name_hold_is_added_up_when_somebody_asks(metrics, value):
    old, new = Pool(busy=3, idle=1), Pool()
    metrics.pools.of("claude").opened(old)
    metrics.pools.of("claude").opened(new)
    metrics.pools.of("other").opened(Pool(busy=100))
    new.busy, new.idle = 2, 4
    assert value("connections", state="busy") == 5
    assert value("connections", state="idle") == 5
    metrics.pools.of("claude").closed(old)
    assert value("connections", state="busy") == 2
    assert value("connections", state="idle") == 4


def test_connects_and_their_failures_are_counted(metrics, value):
    told = metrics.pools.of("claude")
    told.connected(0.02)
    told.connected(0.04)
    told.connect_failed("tls")
    assert value("connect_seconds_count") == 2
    assert value("connect_seconds_sum") == pytest.approx(0.06)
    assert value("connect_failures_total", step="tls") == 1


def test_waits_are_counted_and_those_in_vain_apart(metrics, value):
    told = metrics.pools.of("claude")
    told.waited(0.5, in_vain=False)
    told.waited(5.0, in_vain=True)
    assert value("pool_wait_seconds_count") == 2
    assert value("pool_wait_seconds_sum") == 5.5
    assert value("pool_timeouts_total") == 1
