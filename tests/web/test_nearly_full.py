"""Little left of a budget is counted with each request, and logged once in each period."""

from __future__ import annotations

import structlog

from gateway.core.quota.holds import LimitState
from gateway.core.quota.limits import AppliedLimit
from gateway.web.nearly_full import NearlyFull

DAY = 86_400.0
LIMIT = AppliedLimit("tenant:t:usd:day", "tenant-usd-per-day", "tenant", "usd", 1000, None, "day")
RATE = AppliedLimit("tenant:t:tokens:60", "tenant-tokens-per-minute", "tenant", "tokens", 1000, 60.0)


def state(used, held=0, reset=100.0):
    return LimitState(LIMIT.name, "usd", 1000, used, held, reset, DAY, "day")


def watched(*looks, share=0.8):
    """Return what is counted and logged of some looks: each what is used, what is held, and the time."""
    counted: list[str] = []
    nearly = NearlyFull(share, counted.append)
    with structlog.testing.capture_logs() as logged:
        for used, held, now in looks:
            nearly.look([LIMIT], [state(used, held)], "acme", now)
    return counted, logged


def test_below_the_share_nothing_is_said():
    assert watched((799, 0, 0.0)) == ([], [])


def test_what_is_held_counts_too():
    counted, logged = watched((500, 300, 0.0))
    assert counted == ["tenant-usd-per-day"]
    assert logged == [
        {
            "event": "a limit is nearly used up",
            "log_level": "warning",
            "tenant": "acme",
            "limit": "tenant-usd-per-day",
            "share": 0.8,
        }
    ]


def test_it_is_logged_once_in_a_period_and_counted_each_time():
    counted, logged = watched((900, 0, 0.0), (950, 0, 50.0), (990, 0, 99.0), (900, 0, 100.0))
    assert len(counted) == 4
    assert len(logged) == 2


def test_a_rate_fills_and_empties_all_the_time():
    counted: list[str] = []
    full = LimitState(RATE.name, "tokens", 1000, 1000, 0, 5.0, 60.0)
    NearlyFull(0.8, counted.append).look([RATE], [full], "acme", 0.0)
    assert not counted


def test_what_is_remembered_has_a_bound():
    nearly = NearlyFull(0.8, lambda _: None, most=2)
    with structlog.testing.capture_logs() as logged:
        for number in (0, 1, 2, 0):
            limit = AppliedLimit(f"user:t:{number}:usd:day", LIMIT.name, "user", "usd", 1000, None, "day")
            nearly.look([limit], [state(900)], "acme", 0.0)
    assert len(logged) == 4
