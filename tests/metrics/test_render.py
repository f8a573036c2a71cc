"""The exposition is negotiated, shared between scrapes, and rendered off the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

from gateway.metrics import Metrics


class Gate(Collector):
    """A collector that holds every scrape until it is opened, and counts them."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.scrapes = 0
        self.thread = ""

    def collect(self) -> Iterable[Metric]:
        self.scrapes += 1
        self.thread = threading.current_thread().name
        self.entered.set()
        self.open.wait(5)
        yield GaugeMetricFamily("gate", "gate", value=self.scrapes)


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def metrics(gate):
    registry = CollectorRegistry()
    made = Metrics(registry=registry)
    registry.register(gate)  # registering collects once, to learn the names
    gate.scrapes = 0
    gate.entered.clear()
    yield made
    gate.open.set()
    made.close()


@pytest.fixture(autouse=True)
def _open_at_registration(gate, request):
    gate.open.set()
    request.getfixturevalue("metrics")


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain", "application/openmetrics-text;version=x"])
async def test_plain_text_is_what_a_scraper_gets_that_asks_for_nothing_we_know(metrics, accept):
    body, content_type = await metrics.render(accept)
    assert content_type.startswith("text/plain; version=0.0.4")
    assert "tokenweir_streams_active" in {family.name for family in parse_text(body.decode())}


async def test_openmetrics_is_rendered_when_asked_for(metrics):
    body, content_type = await metrics.render("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert "tokenweir_requests" in {family.name for family in parse_openmetrics(body.decode())}


async def test_no_created_series_are_exposed(metrics):
    body, _ = await metrics.render()
    assert b"_created" not in body


async def test_rendering_happens_in_a_thread_of_its_own(metrics, gate):
    await metrics.render()
    assert gate.thread.startswith("metrics")


async def test_scrapes_at_the_same_time_share_one_rendering(metrics, gate):
    gate.open.clear()
    async with asyncio.TaskGroup() as group:
        scrapes = [group.create_task(metrics.render()) for _ in range(5)]
        await asyncio.to_thread(gate.entered.wait, 5)
        gate.open.set()
    assert gate.scrapes == 1
    assert len({scrape.result() for scrape in scrapes}) == 1
    await metrics.render()
    assert gate.scrapes == 2


async def test_a_scraper_that_leaves_does_not_take_the_answer_from_the_others(metrics, gate):
    gate.open.clear()
    async with asyncio.TaskGroup() as group:
        leaving, staying = (group.create_task(metrics.render()) for _ in range(2))
        await asyncio.to_thread(gate.entered.wait, 5)
        leaving.cancel()
        gate.open.set()
    assert leaving.cancelled()
    assert b"gate 1.0" in staying.result()[0]
