"""Whether, where and when to try again. Only ever asked before the first event has gone to the client.

- What the upstream says wins: ``x-should-retry``, then ``retry-after-ms`` and ``retry-after``. It speaks for itself: a
  refusal that is about its account (credential, credit, rate limit) is no reason not to ask another upstream.
- Else the wait grows twofold from half a second. Either has jitter, so that many requests do not come back together;
  what was asked for is never cut short. A wait of nothing is no wait: it is ours then, as in Claude's SDKs.
- A wait that leaves the time budget is the client's to make: it is told ``retry-after`` instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal

from gateway.core.claude import retryable_status
from gateway.core.errors import GatewayError, Overloaded, UpstreamCredential, UpstreamError

# As in Claude's SDKs. No settings: how long all attempts may take together is one (retry_budget).
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 8.0
# A month: limits of an account come back by then, and larger numbers do not fit where it is told in milliseconds.
_LONGEST_ASKED = 31 * 86400.0
# Of what was asked for, at most so much is added.
_SPREAD = 0.1
CREDENTIAL_STATUSES = frozenset({401, 402, 403})
_OF_THE_ACCOUNT = CREDENTIAL_STATUSES | {429}

# What may follow a failure: nothing; another upstream; another upstream, or after a wait the same.
Next = Literal["nothing", "elsewhere", "anywhere"]


def after_refusal(status: int, headers: Mapping[str, str]) -> Next:
    """Return what may follow an answer with a status of 400 or above."""
    told = should_retry(headers)
    if told or (told is None and retryable_status(status)):
        return "anywhere"
    return "elsewhere" if status in _OF_THE_ACCOUNT else "nothing"


def after_error(error: GatewayError) -> Next:
    """Return what may follow an attempt that failed in some other way, or whose refusal has been read."""
    if isinstance(error, (UpstreamCredential, Overloaded)):
        return "elsewhere"  # the wait for a place in a full pool was wait enough
    return "anywhere" if isinstance(error, UpstreamError) and error.retryable else "nothing"


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


def next_wait(failures: int, asked: float | None, remaining: float, jitter: float) -> float | None:
    """Return the seconds to wait before the next attempt, None when it would start too late.

    Args:
        failures: How often every upstream that there is has failed, from 1.
        asked: What the upstream asked for, if it did.
        remaining: What is left of the time budget.
        jitter: A random number from 0 to 1.
    """
    if not asked:
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** (failures - 1)) * (0.75 + 0.25 * jitter)
    elif asked <= remaining:
        wait = min(remaining, asked * (1.0 + _SPREAD * jitter))
    else:
        return None
    return wait if wait <= remaining else None
