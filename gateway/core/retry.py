"""Whether and when to try an upstream again. Only ever asked before the first event has gone to the client.

- What the upstream says wins: ``x-should-retry``, then ``retry-after-ms`` and ``retry-after``.
- Else the wait grows twofold from half a second, with jitter, so that many clients do not come back together.
- A wait that leaves the time budget is the client's to make: it is told ``retry-after`` instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

# As in Claude's SDKs. No settings: how long all attempts may take together is one (retry_budget).
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 8.0
# A month: limits of an account come back by then, and larger numbers do not fit where it is told in milliseconds.
_LONGEST_ASKED = 31 * 86400.0


def retry_after(headers: Mapping[str, str], unix_now: float) -> float | None:
    """Return the seconds that an answer asks to wait: ``retry-after-ms``, or ``retry-after`` in seconds or a date."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name)
        if text is None:
            continue
        try:
            seconds = float(text) * scale
        except ValueError:
            seconds = _until(text, unix_now)
        if 0 <= seconds < math.inf:
            return min(seconds, _LONGEST_ASKED)
    return None


def _until(date: str, unix_now: float) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return -1.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - unix_now)


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """Return what ``x-should-retry`` says, None when it says nothing."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower())


def next_wait(attempt: int, asked: float | None, remaining: float, jitter: float) -> float | None:
    """Return the seconds to wait before the next attempt, None when it would start too late.

    Args:
        attempt: Number of the attempt that failed, from 1.
        asked: What the upstream asked for, if it did.
        remaining: What is left of the time budget.
        jitter: A random number from 0 to 1.
    """
    if asked is not None:
        wait = asked
    else:
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** (attempt - 1)) * (0.75 + 0.25 * jitter)
    return wait if wait <= remaining else None
