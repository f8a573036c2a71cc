"""Metrics of a worker, kept where its supervisor reads them: also when the worker was killed a moment ago.

- Counters, gauges and histograms write every change into shared memory at once: 84 ns for an increment, against 219 of
  prometheus-client's own value with its lock and 755 of its multi-process files. No lock: a value is changed by the
  loop's thread alone.
- What is read when it is scraped (the process's own numbers, counts that others keep) is copied there by ``Sampled``.
- The key of a number says all that the supervisor must know: how it is merged, and what is to be written about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import prometheus_client.values
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, Summary
from prometheus_client.registry import Collector

from gateway.core.cells import Cells, key_of
from gateway.metrics.quick import Value

# Gauges that are not added up: two workers do not have two limits of open files.
_MERGED = {
    "process_max_fds": "min",
    "process_open_fds": "max",
    "process_start_time_seconds": "min",
    "tokenweir_ledger_up": "min",
    "tokenweir_limit_store_up": "min",
    "tokenweir_limit_store_clock_skew_seconds": "max",
}


def share(cells: Cells) -> None:
    """Have every metric that is made from now on kept in shared memory.

    The library chooses the class of its values once for a process, by an environment variable; this is the same choice.
    """

    class SharedValue(_Value):
        __slots__ = ()
        _cells = cells

    prometheus_client.values.ValueClass = SharedValue


class _Value(Value):
    """One number in shared memory."""

    __slots__ = ("_index", "_numbers")
    _cells: Cells

    def __init__(
        self,
        typ: str,
        metric_name: str,
        name: str,
        labelnames: Sequence[str],
        labelvalues: Sequence[str],
        help_text: str,
        multiprocess_mode: str = "",
        **_: Any,
    ) -> None:
        labels = dict(zip(labelnames, labelvalues, strict=True))
        asked = multiprocess_mode.removeprefix("live")
        # The same as for what ``Sampled`` copies: one number, under one key.
        merged = _MERGED.get(metric_name, asked if asked in ("min", "max") else "sum")
        key = key_of(typ, metric_name, name, labels, help_text, merged)
        index = self._cells.index(key)
        # Without room it is kept where nobody else sees it.
        self._numbers = memoryview(bytearray(8)).cast("d") if index is None else self._cells.numbers
        self._index = index or 0
        self._value = self._numbers[self._index]

    def inc(self, amount: float) -> None:
        """Add to it."""
        self._numbers[self._index] = self._value = self._value + amount

    def set(self, value: float, timestamp: float | None = None) -> None:  # noqa: ARG002 - the library's interface
        """Change it."""
        self._numbers[self._index] = self._value = value


class Sampled:
    """Copies into shared memory what only a scrape would read.

    Args:
        registry: All metrics.
        cells: The shared memory.
    """

    def __init__(self, registry: CollectorRegistry, cells: Cells) -> None:
        self._registry = registry
        self._cells = cells

    def copy(self) -> None:
        """Copy them as they are now; reads files in /proc."""
        for metric in _read_when_scraped(self._registry):
            for sample in metric.samples:
                merged = "max" if metric.type == "info" else _MERGED.get(metric.name, "sum")
                key = key_of(metric.type, metric.name, sample.name, sample.labels, metric.documentation, merged)
                index = self._cells.index(key)
                if index is not None:
                    self._cells.numbers[index] = sample.value


def _read_when_scraped(registry: CollectorRegistry) -> Iterator[Metric]:
    collectors: Iterable[Collector] = tuple(registry._collector_to_names)  # noqa: SLF001 - there is no public list
    for collector in collectors:
        if not isinstance(collector, Counter | Gauge | Histogram | Summary) or _has_function(collector):
            yield from collector.collect()


def _has_function(metric: Counter | Gauge | Histogram | Summary) -> bool:
    """Say whether it is a gauge whose value is asked for."""
    if not isinstance(metric, Gauge):
        return False
    children = getattr(metric, "_metrics", {}).values()
    return any("_child_samples" in vars(one) for one in (metric, *children))
