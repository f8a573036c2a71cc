"""What stays apart where processes are summed up: who of them has the streams, the memory and the core.

Labelled by the place that a worker takes, never by its process: one that replaces another goes on with its series.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

_PAGE = os.sysconf("SC_PAGE_SIZE")
_STATM = Path("/proc/self/statm")


class OneWorker(Collector):
    """This process, read when scraped.

    Args:
        streams: Reads how many it relays.

    Attributes:
        place: Which worker it is, from 1 on.
    """

    def __init__(self, streams: Callable[[], float]) -> None:
        self.place = 1
        self._streams = streams

    def collect(self) -> Iterable[Metric]:
        """Yield the numbers as they are now."""
        place = (str(self.place),)
        streams = GaugeMetricFamily(
            "tokenweir_worker_streams_active", "Streams that a worker relays now.", labels=("worker",)
        )
        streams.add_metric(place, self._streams())
        memory = GaugeMetricFamily(
            "tokenweir_worker_resident_memory_bytes", "Memory that a worker has.", labels=("worker",)
        )
        memory.add_metric(place, _resident())
        cpu = CounterMetricFamily("tokenweir_worker_cpu_seconds", "CPU time that a worker used.", labels=("worker",))
        cpu.add_metric(place, time.process_time())
        yield from (streams, memory, cpu)


def _resident() -> float:
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * _PAGE
    except OSError:  # no /proc: not on Linux
        return float("nan")
