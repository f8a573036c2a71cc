"""Calendar days and months in one time zone, as budgets are counted in.

A period is found by the time of admission. One that is over never comes back: whoever asks with an earlier time than
before is a clock that was set back, and is the caller's to refuse.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, NamedTuple

Span = Literal["day", "month"]


class Period(NamedTuple):
    """One day or month.

    Attributes:
        name: ``2026-11-23`` or ``2026-11``; it sorts by time within its span.
        start: Unix seconds of its first moment.
        end: Unix seconds of the first moment after it.
    """

    name: str
    start: float
    end: float


class Calendar:
    """Finds the period of a time; the same one again costs a comparison.

    Args:
        zone: Where midnight is.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._latest: dict[Span, Period] = {}

    def at(self, span: Span, unix: float) -> Period:
        """Return the period that ``unix`` (seconds) is in."""
        period = self._latest.get(span)
        if period is None or not period.start <= unix < period.end:
            period = self._latest[span] = self._find(span, unix)
        return period

    def _find(self, span: Span, unix: float) -> Period:
        day = datetime.fromtimestamp(unix, self._zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if span == "day":
            following = day + timedelta(days=1)  # by the wall clock: a day has 23 or 25 hours when clocks change
            return Period(f"{day:%Y-%m-%d}", day.timestamp(), following.timestamp())
        first = day.replace(day=1)
        following = (first + timedelta(days=31)).replace(day=1)
        return Period(f"{first:%Y-%m}", first.timestamp(), following.timestamp())
