"""Failed authentications of an address: a few in any minute, then 429 before a key is looked at.

The web layer asks ``check`` only for a credential that is not in the directory's cache: whoever shares an address with
an attacker (an office, a proxy) goes on working with the keys in use. A request without any credential is no failure,
nor is one of a suspended tenant: neither guesses. ``now`` is any clock that does not go back.
"""

from __future__ import annotations

from collections import deque

from gateway.core.errors import TooManyFailures
from gateway.identity.lru import Lru
from gateway.identity.settings import KeySettings

WINDOW = 60.0


class FailureThrottle:
    """A sliding window for each of a bounded number of addresses; the one without failures for longest is forgotten.

    Args:
        settings: The bounds.
        workers: How many processes count apart from each other; each enforces its share.
    """

    def __init__(self, settings: KeySettings, workers: int = 1) -> None:
        self._limit = max(1, settings.failures_per_minute // workers)
        self._failures: Lru[str, deque[float]] = Lru(settings.throttle_addresses)

    def check(self, address: str, now: float) -> None:
        """Raise TooManyFailures, with the seconds to wait, if the address has used up its failures."""
        failures = self._failures.get(address)
        if failures is None or len(failures) < self._limit:
            return
        wait = failures[0] + WINDOW - now
        if wait > 0:
            raise TooManyFailures("Too many failed authentications from this address.", retry_after=wait)

    def failed(self, address: str, now: float) -> None:
        """Count a failure."""
        failures = self._failures.get(address)
        if failures is None:
            failures = deque(maxlen=self._limit)
        failures.append(now)
        self._failures.put(address, failures)
