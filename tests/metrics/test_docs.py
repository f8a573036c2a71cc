"""docs/metrics.md and the registry say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import Metric

from gateway.metrics import Metrics, MetricsSettings

DOCS = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
DOCUMENTED = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in ROW.findall(DOCS)}


def _exposed_name(family: Metric) -> str:
    return family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")


@pytest.fixture(scope="module")
def exposed():
    metrics = Metrics()
    # Those that are read when scraped have no names of labels, only samples.
    labels = {f"{v._name}": tuple(v._labelnames) for v in vars(metrics._families).values() if hasattr(v, "_labelnames")}
    found = {}
    for family in metrics.registry.collect():
        kind = "gauge" if family.type == "info" else family.type
        sample_labels = tuple(family.samples[0].labels) if family.samples else ()
        found[_exposed_name(family)] = (kind, labels.get(family.name, sample_labels))
    metrics.close()
    return found


def test_every_metric_is_documented_and_every_documented_one_exists(exposed):
    assert set(DOCUMENTED) == set(exposed)


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_type_and_labels_are_documented_as_they_are(exposed, name):
    assert DOCUMENTED[name] == exposed[name]


def test_no_metric_is_documented_twice():
    assert len(ROW.findall(DOCS)) == len(DOCUMENTED)


@pytest.mark.parametrize("key", MetricsSettings.model_fields)
def test_every_setting_is_mentioned_and_described(key):
    assert f"`[metrics] {key}`" in DOCS
    assert MetricsSettings.model_fields[key].description
