"""What is promised, and past which marks somebody is told: the numbers to change, and nothing else.

After a change run ``tools/gen_dashboards.py``.
"""

from __future__ import annotations

from typing import NamedTuple

# Where the sections are that alerts and panels link to. A fork, or a copy in a wiki, has another address.
RUNBOOK = "https://github.com/tokenweir/tokenweir/blob/main/docs/runbook.md"
# The name under which Prometheus scrapes the gateway; only what is about the scrape itself goes by it.
JOB = "tokenweir"


class Objective(NamedTuple):
    """A promise to users, over 30 days.

    Attributes:
        name: As rules name it.
        title: As people do.
        share: Of the requests that count, those that have to be good.
    """

    name: str
    title: str
    share: float

    @property
    def budget(self) -> float:
        """The share that may be bad."""
        return round(1 - self.share, 6)


# Claude's own is counted as ours, for users cannot tell them apart; no fallback is promised by it.
AVAILABILITY = Objective("availability", "Availability", 0.995)
FIRST_TOKEN = Objective("first_token", "Time to first token", 0.95)
# Seconds in which the first token has to be there; one of the histogram's buckets.
FIRST_TOKEN_WITHIN = "5.0"


class Burn(NamedTuple):
    """How fast a budget burns when somebody is told, by a long window and a short one that says it still does.

    https://sre.google/workbook/alerting-on-slos/ chapter 5, approach 6: 2 % of the budget in an hour, 5 % in six, 10 %
    in three days.
    """

    rate: float
    long: str
    short: str
    severity: str


BURNS = (
    Burn(14.4, "1h", "5m", "page"),
    Burn(6, "6h", "30m", "page"),
    Burn(3, "1d", "2h", "ticket"),
    Burn(1, "3d", "6h", "ticket"),
)
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
PERIOD = "30d"
# A night with one request that fails is no outage: so many have to be bad within the long window.
FEWEST_BAD = 10

SLOW_STREAM = "5.0"  # tokens per second; one of the histogram's buckets
SLOW_STREAMS = 0.2  # share of the streams
FEWEST_STREAMS = 20

UPSTREAM_FAILS = 0.1  # calls that failed for a request, those that a retry made good included
UPSTREAM_THROTTLES = 0.02
STORE_SLOW = 0.05  # seconds, 99th percentile; its time limit is 0.25
JOURNAL_ROWS = 1000
QUOTA_USED = 0.9
LOOP_LAG = 0.1  # seconds, 99th percentile
MEMORY_PER_WORKER = 1.5 * 2**30  # bytes; an idle one has 90 MB
FILES_USED = 0.8
CLOCK_SKEW = 1.0  # seconds
