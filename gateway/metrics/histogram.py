"""The library's histogram, observed at a third of its price: seven of them are, at the end of every stream."""

from __future__ import annotations

from bisect import bisect_left

import prometheus_client


class Histogram(prometheus_client.Histogram):
    """Finds the bucket by halving; takes no exemplars. Observe the children only, where there are labels."""

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:  # noqa: ARG002 - the library's
        """Count ``amount``."""
        self._sum.inc(amount)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(1)
