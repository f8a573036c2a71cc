"""One set of metrics from those of all workers, alive and dead.

- Counters and histograms are summed over every worker that there ever was: what a dead one counted last is kept, so a
  counter never goes back. Gauges are merged over the living as their key says: sum, min or max.
- What is kept of the dead is bounded. Past the bound, series met for the first time count as ``other``.
- Numbers are read where workers keep them, so those of a worker that hangs or was killed a moment ago are there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import Metric
from prometheus_client.registry import Collector

from gateway.core.cells import copy_of, key_of, numbers_of
from gateway.core.exposition import exposed, negotiated

_MOST_KEPT = 200_000
_OTHER = "other"
_LAST = ("counter", "histogram", "summary")  # kinds that outlive a worker
_BY_NAME: Mapping[str, Callable[[float, float], float]] = {"sum": float.__add__, "min": min, "max": max}


@dataclass(frozen=True, slots=True)
class _Key:
    """What a number is: see ``key_of``."""

    kind: str
    family: str
    sample: str
    labels: dict[str, str]
    text: str
    merged: str


@dataclass(slots=True)
class _Family:
    """The merged numbers of one metric."""

    kind: str
    text: str
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)


class Totals:
    """What the dead have counted.

    Args:
        most_kept: Series kept of them.
    """

    def __init__(self, most_kept: int = _MOST_KEPT) -> None:
        self._most_kept = most_kept
        self._kept: dict[bytes, float] = {}
        self._keys = _Keys(2 * most_kept)

    def retire(self, memory: memoryview) -> None:
        """Keep what a worker counted that is gone; its memory is not needed any more."""
        for written, number in numbers_of(memory):
            key = self._keys[written]
            if key.kind not in _LAST:
                continue
            kept = written if written in self._kept or len(self._kept) < self._most_kept else _as_other(key)
            self._kept[kept] = self._kept.get(kept, 0.0) + number

    def look(self, living: Iterable[memoryview]) -> Look:
        """Return a copy of all numbers as they are now, of the living and the dead, to be rendered elsewhere."""
        return Look([copy_of(memory) for memory in living], dict(self._kept), self._keys)


class Look(Collector):
    """All numbers of one moment."""

    def __init__(self, living: list[memoryview], kept: dict[bytes, float], keys: _Keys) -> None:
        self._living = living
        self._kept = kept
        self._keys = keys

    def collect(self) -> list[Metric]:
        """Return all metrics, as the library's encoders take them."""
        families: dict[str, _Family] = {}
        for memory in self._living:
            for written, number in numbers_of(memory):
                self._add(families, written, number)
        for written, number in self._kept.items():
            self._add(families, written, number)
        return [_metric(name, families[name]) for name in sorted(families)]

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the exposition in the best format for ``accept``, and its content type; takes 10 us a series."""
        openmetrics, content_type = negotiated(accept)
        return exposed(self.collect(), openmetrics=openmetrics), content_type

    def _add(self, families: dict[str, _Family], written: bytes, number: float) -> None:
        key = self._keys[written]
        family = families.get(key.family)
        if family is None:
            family = families[key.family] = _Family(key.kind, key.text)
        series = key.sample, tuple(key.labels.items())
        before = family.samples.get(series)
        family.samples[series] = number if before is None else _BY_NAME[key.merged](before, number)


class _Keys(dict[bytes, _Key]):
    """Keys as they were read once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __missing__(self, written: bytes) -> _Key:
        if len(self) >= self._most:  # of labels that nobody has any more
            self.clear()
        key = self[written] = _Key(*json.loads(written))
        return key


def _as_other(key: _Key) -> bytes:
    labels = {name: value if name == "le" else _OTHER for name, value in key.labels.items()}
    return key_of(key.kind, key.family, key.sample, labels, key.text, key.merged)


def _metric(name: str, family: _Family) -> Metric:
    metric = Metric(name, family.text, family.kind)
    if family.kind == "histogram":
        _add_histogram(metric, family)
        return metric
    for (sample, labels), number in family.samples.items():
        metric.add_sample(sample, dict(labels), number)
    return metric


def _add_histogram(metric: Metric, family: _Family) -> None:
    """Add the buckets of each series one on top of the other, as the format has them, then its count and its sum."""
    series: dict[tuple[tuple[str, str], ...], list[tuple[str, float]]] = {}
    for (sample, labels), number in family.samples.items():
        if sample.endswith("_bucket"):
            series.setdefault(labels[:-1], []).append((labels[-1][1], number))
    for labels, buckets in series.items():
        below, plain = 0.0, dict(labels)
        for bound, number in sorted(buckets, key=_bound):
            below += number
            metric.add_sample(f"{metric.name}_bucket", {**plain, "le": bound}, below)
        metric.add_sample(f"{metric.name}_count", plain, below)
        metric.add_sample(f"{metric.name}_sum", plain, family.samples.get((f"{metric.name}_sum", labels), 0.0))


def _bound(bucket: tuple[str, Any]) -> float:
    return float(bucket[0])
