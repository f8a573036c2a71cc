"""Our histogram counts as the library's does."""

from __future__ import annotations

import prometheus_client
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from gateway.metrics.quick import Histogram

BUCKETS = (0.001, 0.5, 1.0, 2.5)


@given(st.lists(st.one_of(st.sampled_from([0.0, *BUCKETS]), st.floats(-1, 10)), max_size=20))
def test_every_amount_lands_where_the_library_puts_it(amounts):
    exposed = []
    for kind in (Histogram, prometheus_client.Histogram):
        registry = CollectorRegistry()
        child = kind("seconds", "Some.", ("model",), registry=registry, buckets=BUCKETS).labels("a")
        for amount in amounts:
            child.observe(amount)
        exposed.append([line for line in generate_latest(registry).splitlines() if b"_created" not in line])
    assert exposed[0] == exposed[1]
