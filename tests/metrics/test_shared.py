"""Metrics of a worker, in memory that its supervisor reads."""

from __future__ import annotations

import json

import prometheus_client.values
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary

from gateway.core.cells import Cells, numbers_of
from gateway.metrics import Metrics
from gateway.metrics.shared import Sampled, share


@pytest.fixture
def memory():
    """Give shared memory to the metrics that a test makes, and to no others."""
    before = prometheus_client.values.ValueClass
    memory = memoryview(bytearray(1024 * 1024))
    share(Cells(memory))
    yield memory
    prometheus_client.values.ValueClass = before


def read(memory):
    """Return value and merging by sample and labels."""
    found = {}
    for key, value in numbers_of(memory):
        _, _, sample, labels, _, merged = json.loads(key)
        found[(sample, *labels.values())] = value, merged
    return found


def test_every_change_is_there_at_once(memory):
    registry = CollectorRegistry()
    counter = Counter("c", "C.", ["a"], registry=registry)
    gauge = Gauge("g", "G.", registry=registry)
    histogram = Histogram("h", "H.", registry=registry, buckets=(1,))
    counter.labels("x").inc(2)
    gauge.set(5)
    gauge.dec()
    histogram.observe(0.5)
    histogram.observe(3)
    assert read(memory) == {
        ("c_total", "x"): (2.0, "sum"),
        ("g",): (4.0, "sum"),
        ("h_sum",): (3.5, "sum"),
        ("h_bucket", "1.0"): (1.0, "sum"),
        ("h_bucket", "+Inf"): (1.0, "sum"),
    }


def test_the_worker_itself_reads_the_same(memory):
    registry = CollectorRegistry()
    Counter("c", "C.", registry=registry).inc(3)
    Summary("s", "S.", registry=registry).observe(2)
    assert registry.get_sample_value("c_total") == 3
    assert registry.get_sample_value("s_sum") == 2


@pytest.mark.parametrize(("mode", "merged"), [("max", "max"), ("livemin", "min"), ("sum", "sum"), ("all", "sum")])
def test_a_gauge_says_how_it_is_merged(memory, mode, merged):
    Gauge("g", "G.", registry=CollectorRegistry(), multiprocess_mode=mode)
    assert read(memory) == {("g",): (0.0, merged)}


def test_exemplars_do_no_harm(memory):
    registry = CollectorRegistry()
    Counter("c", "C.", registry=registry).inc(1, exemplar={"trace": "x"})
    assert registry.get_sample_value("c_total") == 1


def test_without_room_a_worker_counts_for_itself():
    before = prometheus_client.values.ValueClass
    try:
        share(Cells(memoryview(bytearray(8))))
        registry = CollectorRegistry()
        counter = Counter("c", "C.", registry=registry)
        counter.inc()
        assert registry.get_sample_value("c_total") == 1
    finally:
        prometheus_client.values.ValueClass = before


def test_what_only_a_scrape_would_read_is_copied_when_told(memory):
    registry = CollectorRegistry()
    Gauge("asked", "Read when asked.", registry=registry).set_function(lambda: 7)
    Gauge("plain", "Set.", registry=registry).set(1)
    by_label = Gauge("labelled", "Read when asked.", ["a"], registry=registry)
    by_label.labels("x").set_function(lambda: 8)
    Sampled(registry, Cells(memory)).copy()
    found = {sample: value for (sample, *_), (value, _) in read(memory).items()}
    assert (found["asked"], found["labelled"]) == (7.0, 8.0)


def test_all_that_a_gateway_exposes_is_there(memory):
    """A metric that were forgotten here would be missing wherever there are workers."""
    cells = Cells(memory)
    share(cells)
    metrics = Metrics(dropped_log_lines=lambda: 3)
    Sampled(metrics.registry, cells).copy()
    exposed = {
        (sample.name, *sample.labels.values())
        for family in metrics.registry.collect()
        for sample in family.samples
        if not sample.name.endswith(("_created", "_count"))
    }
    metrics.close()
    found = read(memory)
    assert exposed <= set(found)
    assert found["tokenweir_log_lines_dropped_total",] == (3.0, "sum")
    assert found["process_max_fds",][1] == "min"
    assert found["process_open_fds",][1] == "max"
    assert found["tokenweir_workers",] == (1.0, "sum")


def test_copying_again_changes_the_numbers_in_place(memory):
    copies = memoryview(bytearray(1024))
    registry = CollectorRegistry()
    values = iter(range(10))
    Gauge("asked", "Read when asked.", registry=registry).set_function(lambda: next(values))
    sampled = Sampled(registry, Cells(copies))
    sampled.copy()
    sampled.copy()
    assert read(copies) == {("asked",): (1.0, "sum")}


def test_no_room_for_what_is_copied_is_no_error(memory):
    registry = CollectorRegistry()
    Gauge("asked", "Read when asked.", registry=registry).set_function(lambda: 1)
    Sampled(registry, Cells(memoryview(bytearray(8)))).copy()


def test_a_gauge_that_is_asked_for_is_one_number_and_the_lowest_of_all_workers_where_that_is_the_news(memory):
    """With one number more, which nobody writes, the lowest were always 0."""
    registry = CollectorRegistry()
    Gauge("tokenweir_ledger_up", "L.", registry=registry).set_function(lambda: 1)
    Sampled(registry, Cells(memory)).copy()
    assert read(memory) == {("tokenweir_ledger_up",): (1.0, "min")}
