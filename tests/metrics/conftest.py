"""Metrics of one gateway, and what they say."""

from __future__ import annotations

import pytest

from gateway.metrics import Metrics


@pytest.fixture
def metrics():
    made = Metrics()
    yield made
    made.close()


@pytest.fixture
def value(metrics):
    def read(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"tokenweir_{name}", labels)

    return read
