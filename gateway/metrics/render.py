"""The exposition, rendered beside the serving loop.

Rendering is pure Python at about 5 µs a series, so it runs in one thread of its own. A scrape that comes while one is
rendered in the same format gets the same bytes. The thread still shares the interpreter lock, which it would keep for
5 ms at a time; so it sleeps a moment after every few dozen lines, and the loop takes the lock then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from gateway.core.exposition import exposed, negotiated

_BREATH = 0.00005  # sleep(0) gives the lock back too early for the loop to take it


class Counted(Collector):
    """A counter that someone else keeps, read when scraped."""

    def __init__(self, name: str, what: str, read: Callable[[], int]) -> None:
        self._name = name
        self._what = what
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Yield the count as it is now."""
        yield CounterMetricFamily(self._name, self._what, value=self._read())


class Renderer:
    """Renders a registry for scrapers, one at a time."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="metrics")
        self._running: dict[str, asyncio.Future[bytes]] = {}

    async def render(self, accept: str) -> tuple[bytes, str]:
        """Return the exposition in the best format for ``accept``, and its content type."""
        openmetrics, content_type = negotiated(accept)
        running = self._running.get(content_type)
        if running is None:
            loop = asyncio.get_running_loop()
            running = loop.run_in_executor(self._thread, self._rendered, openmetrics)
            self._running[content_type] = running
            running.add_done_callback(lambda _: self._running.pop(content_type, None))
        await asyncio.wait((running,))  # unlike a bare await, a scraper that leaves does not cancel it for the others
        return running.result(), content_type

    def close(self) -> None:
        """Stop the thread once it is idle."""
        self._thread.shutdown(wait=False)

    def _rendered(self, openmetrics: bool) -> bytes:  # noqa: FBT001 - executors take no keywords
        return exposed(self._registry.collect(), openmetrics=openmetrics, pause=partial(time.sleep, _BREATH))
