"""What a trace is made of, and who takes it. Times are of the monotonic clock, in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from gateway.core.outcome import Outcome
from gateway.core.trace import Trace

Value = str | int | float | bool | Sequence[str]


class Step(NamedTuple):
    """A part of a request that took its time.

    Attributes:
        error: The stable code of what it failed with, '' if it did not.
        upstream: Whether it was a call to an upstream.
    """

    name: str
    started: float
    ended: float
    error: str = ""
    attributes: Mapping[str, Value] = {}
    upstream: bool = False


class Ended(NamedTuple):
    """A request that ended and is to be traced."""

    outcome: Outcome
    trace: Trace
    started: float
    ended: float
    steps: Sequence[Step]


class Traces(Protocol):
    """Where spans go."""

    def sampled(self) -> bool:
        """Say whether a request that brought no trace begins one."""

    def take(self, ended: Ended) -> None:
        """Make the spans of a request; never waits."""

    def close(self) -> None:
        """Hand over what waits. It waits for the collector: call it from a thread."""
