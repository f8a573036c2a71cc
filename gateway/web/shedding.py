"""Load shedding: new requests are refused while the event loop lags, before the running streams feel it.

- What counts is the lag that lasts: its mean over about a second. One late wake-up of the sampler by itself, however
  late, is a pause (a large body, a stopped machine) and never sheds.
- It starts above the limit and ends below half of it, so that it does not flutter.
- Only ``Streams`` is told: a request pays nothing for it, and health, readiness and metrics never pass there.
"""

from __future__ import annotations

import math

import structlog

from gateway.web.streams import Streams

_OVER = 1.0  # seconds that the mean goes over
_ALONE = 0.9  # of the limit: the most that one wake-up adds to it

log = structlog.get_logger()


class Shedder:
    """Sheds by the event loop's lag.

    Args:
        streams: Whose door is closed.
        limit: Seconds of lag; 0 never sheds.
        interval: Seconds between two wake-ups of a loop that does not lag.
    """

    def __init__(self, streams: Streams, limit: float, interval: float) -> None:
        self._streams = streams
        self._limit = limit
        self._interval = interval
        self._mean = 0.0
        self._active = False

    def woke(self, lag: float) -> None:
        """Take how late a wake-up was."""
        weight = 1.0 - math.exp(-(self._interval + lag) / _OVER)
        self._mean += min((lag - self._mean) * weight, self._limit * _ALONE)
        if self._active:
            if self._mean < self._limit / 2:
                self._switch(active=False)
        elif self._mean > self._limit:
            self._switch(active=True)

    def _switch(self, *, active: bool) -> None:
        self._active = active
        self._streams.shed(active)
        if active:
            log.warning("shedding load: the event loop lags", lag=round(self._mean, 3), limit=self._limit)
        else:
            log.info("no longer shedding load", in_flight=len(self._streams))
