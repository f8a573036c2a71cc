"""The exposition: the same as the library's, byte for byte."""

from __future__ import annotations

import math

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Metric, Summary
from prometheus_client.exposition import generate_latest as library_text
from prometheus_client.openmetrics.exposition import generate_latest as library_openmetrics

from gateway.core.exposition import exposed, negotiated

AWKWARD = 'a"b\\c\nd ä'
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


@pytest.fixture
def registry():
    made = CollectorRegistry()
    Counter("requests", 'Counted "so".\\ Twice\nover.', ["b", "a"], registry=made).labels(AWKWARD, "").inc(3)
    for number, value in enumerate(
        (0, -1.5, 999_999, 1e6, 12_345_678.25, -2e9, 1e300, 1e-9, math.inf, -math.inf, math.nan)
    ):
        Gauge(f"value_{number}", "A value.", registry=made).set(value)
    seconds = Histogram("seconds", "A histogram.", ["a"], buckets=(0.1, 1, 2_500_000), registry=made)
    for amount in (0.05, 0.5, 7, 1e9):
        seconds.labels("x").observe(amount, {"trace_id": "ab" * 16})
    Summary("sizes", "A summary.", registry=made).observe(3)
    Info("build", "What it is.", registry=made).info({"version": "1"})
    Metric("mystery", "Nobody knows.", "unknown")
    return made


def without_created(text):
    return "".join(line for line in text.splitlines(keepends=True) if "_created" not in line)


def test_the_text_is_the_librarys(registry):
    found = exposed(registry.collect(), openmetrics=False).decode()
    assert found == without_created(library_text(registry).decode())


def test_openmetrics_is_the_librarys_with_exemplars(registry):
    found = exposed(registry.collect(), openmetrics=True).decode()
    assert found == without_created(library_openmetrics(registry).decode())
    assert '# {trace_id="abab' in found


def test_others_have_their_turn_while_it_is_written(registry):
    pauses = []
    many = Gauge("many", "Many.", ["n"], registry=registry)
    for n in range(200):
        many.labels(str(n)).set(n)
    exposed(registry.collect(), openmetrics=False, pause=lambda: pauses.append(1))
    assert len(pauses) >= 3


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        (PROMETHEUS, True),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", True),
        ("text/plain, application/openmetrics-text", True),
        ("application/openmetrics-text;version=0.0.1", False),
        ("text/plain", False),
        ("", False),
        (";,;", False),
    ],
)
def test_who_asks_for_openmetrics_gets_it(accept, openmetrics):
    found, content_type = negotiated(accept)
    assert (found, content_type.partition(";")[0]) == (
        openmetrics,
        "application/openmetrics-text" if openmetrics else "text/plain",
    )
