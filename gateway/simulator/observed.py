"""What the pretend Claude has seen: counts for ``/_sim/stats``, and the last request for ``/_sim/last``.

Headers are kept by name; the last request is kept only when asked for, credentials masked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

_SECRET = frozenset({"x-api-key", "authorization", "proxy-authorization", "cookie"})
_SHOWN = 4


@dataclass(slots=True)
class Stats:
    """Counts since the start.

    Attributes:
        requests: All requests but those to ``/_sim/``.
        messages: Of them, calls of ``/v1/messages`` that were answered.
        streams: Of them, streams.
        active: Answers in flight now.
        finished: Answers that came to their end, a cut that was asked for included.
        cancelled: Requests whose client left before the end, also before any of the answer.
        refused: Requests answered with an error status, asked for or deserved.
        tokens: Content deltas sent in streams.
        last_headers: Names of the last request's headers; only the credential has a value, masked.
    """

    requests: int = 0
    messages: int = 0
    streams: int = 0
    active: int = 0
    finished: int = 0
    cancelled: int = 0
    refused: int = 0
    tokens: int = 0
    last_headers: dict[str, str] = field(default_factory=dict)

    def saw(self, headers: Mapping[str, str]) -> None:
        """Note one more request."""
        self.requests += 1
        self.last_headers = {name.lower(): "" for name in headers}
        for name in headers:
            if name.lower() in _SECRET:
                self.last_headers[name.lower()] = mask(headers[name])

    def view(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return asdict(self)


def mask(secret: str) -> str:
    """Keep the last characters, enough to tell two keys apart."""
    return "***" + secret[-_SHOWN:] if len(secret) > 2 * _SHOWN else "***"


def masked(headers: Mapping[str, str]) -> dict[str, str]:
    """All headers, credentials masked."""
    return {name.lower(): mask(value) if name.lower() in _SECRET else value for name, value in headers.items()}
