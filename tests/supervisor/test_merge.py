"""One set of metrics of many workers."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from gateway.core.cells import Cells, key_of
from gateway.supervisor.merge import Totals


def worker(*numbers):
    """Return the memory of a worker that counted ``(kind, family, sample, labels, value[, merged])``."""
    memory = memoryview(bytearray(65_536))
    cells = Cells(memory)
    for kind, family, sample, labels, value, *merged in numbers:
        cells.numbers[cells.index(key_of(kind, family, sample, labels, f"About {family}.", *merged))] = value
    return memory


def requests(value, **labels):
    return "counter", "requests", "requests_total", labels, value


def gauge(value, merged="sum"):
    return "gauge", "g", "g", {}, value, merged


def histogram(*counts, total=0.0, **labels):
    bounds = ("0.1", "1.0", "+Inf")
    buckets = [("histogram", "h", "h_bucket", labels | {"le": b}, c) for b, c in zip(bounds, counts, strict=True)]
    return [("histogram", "h", "h_sum", labels, total), *buckets]


def exposed(totals, *living, accept=""):
    body, _ = totals.look(living).render(accept)
    return [line for line in body.decode().splitlines() if not line.startswith("#")]


def test_counters_of_all_workers_are_summed_by_their_labels():
    lines = exposed(Totals(), worker(requests(1, a="x"), requests(2, a="y")), worker(requests(10, a="x")))
    assert lines == ['requests_total{a="x"} 11.0', 'requests_total{a="y"} 2.0']


def test_what_a_dead_worker_counted_stays():
    totals, living = Totals(), worker(requests(10))
    totals.retire(worker(requests(1)))
    totals.retire(worker(requests(2)))
    assert exposed(totals, living) == ["requests_total 13.0"]
    assert exposed(totals) == ["requests_total 3.0"]


def test_what_a_dead_worker_had_is_gone():
    totals = Totals()
    totals.retire(worker(gauge(5)))
    assert exposed(totals, worker(gauge(2))) == ["g 2.0"]


@pytest.mark.parametrize(("merged", "value"), [("sum", "7.0"), ("min", "2.0"), ("max", "5.0")])
def test_gauges_are_merged_as_their_key_says(merged, value):
    assert exposed(Totals(), worker(gauge(2, merged)), worker(gauge(5, merged))) == [f"g {value}"]


def test_histograms_are_summed_and_their_buckets_stand_on_each_other():
    totals = Totals()
    totals.retire(worker(*histogram(1, 1, 1, total=9.5, a="x")))
    lines = exposed(totals, worker(*histogram(1, 0, 2, total=3.0, a="x")), worker(*histogram(0, 0, 1, a="y")))
    assert lines == [
        'h_bucket{a="x",le="0.1"} 2.0', 'h_bucket{a="x",le="1.0"} 3.0', 'h_bucket{a="x",le="+Inf"} 6.0',
        'h_count{a="x"} 6.0', 'h_sum{a="x"} 12.5',
        'h_bucket{a="y",le="0.1"} 0.0', 'h_bucket{a="y",le="1.0"} 0.0', 'h_bucket{a="y",le="+Inf"} 1.0',
        'h_count{a="y"} 1.0', 'h_sum{a="y"} 0.0',
    ]  # fmt: skip


def test_the_build_is_told_once():
    info = ("info", "build", "build_info", {"version": "1"}, 1, "max")
    assert exposed(Totals(), worker(info), worker(info)) == ['build_info{version="1"} 1.0']


def test_openmetrics_is_what_a_scraper_gets_that_asks_for_it():
    living = worker(requests(1), *histogram(1, 0, 0), gauge(1))
    body, kind = Totals().look([living]).render("application/openmetrics-text;version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    families = {family.name: family for family in parse_openmetrics(body.decode())}
    assert set(families) == {"requests", "h", "g"}
    assert families["requests"].documentation == "About requests."


def test_an_accept_header_that_the_library_stumbles_over_gets_plain_text():
    _, kind = Totals().look([]).render("application/openmetrics-text;version=x")
    assert kind.startswith("text/plain")


def test_a_look_does_not_change_with_what_is_counted_after_it():
    living, totals = worker(requests(1)), Totals()
    look = totals.look([living])
    totals.retire(worker(requests(5)))
    Cells(living)
    assert b"requests_total 1.0" in look.render("")[0]


def test_what_is_kept_of_the_dead_is_bounded_and_nothing_of_it_is_lost():
    totals = Totals(most_kept=2)
    for tenant in "abcd":
        totals.retire(worker(requests(1, tenant=tenant)))
    assert exposed(totals) == [
        'requests_total{tenant="a"} 1.0', 'requests_total{tenant="b"} 1.0', 'requests_total{tenant="other"} 2.0',
    ]  # fmt: skip


def test_a_bucket_that_is_counted_as_other_keeps_its_bound():
    totals = Totals(most_kept=0)
    totals.retire(worker(*histogram(1, 2, 3, total=1.0, a="x")))
    assert 'h_bucket{a="other",le="1.0"} 3.0' in exposed(totals)
