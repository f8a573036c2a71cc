"""What scripts are told of time and amounts."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import orjson

from gateway.core.quota.calendar import Calendar
from gateway.core.quota.holds import FIRST_LEASE, HELD_RETRY_AFTER, LEASE
from gateway.quota.redis_codec import MOST, Common, amounts, parsed

PARIS = ZoneInfo("Europe/Paris")
DAY = 86_400


def unix(*when):
    return datetime(*when, tzinfo=PARIS).timestamp()


def test_the_days_and_months_around_a_time_are_told_with_the_rules():
    common = Common(Calendar(PARIS), 3600.0)
    *rules, days, months = orjson.loads(common.at(unix(2026, 3, 29, 12)))
    assert rules == [3_600_000, FIRST_LEASE, LEASE, HELD_RETRY_AFTER]
    starts = [unix(2026, 3, n) for n in (28, 29, 30, 31)]
    assert days == [list(pair) for pair in pairwise(starts)]
    assert days[1][1] - days[1][0] == 23 * 3600
    assert months == [
        [unix(2026, 2, 1), unix(2026, 3, 1)],
        [unix(2026, 3, 1), unix(2026, 4, 1)],
        [unix(2026, 4, 1), unix(2026, 5, 1)],
    ]


def test_they_are_made_anew_when_the_day_ends():
    common = Common(Calendar(), 3600.0)
    first = common.at(10 * DAY)
    assert common.at(11 * DAY - 1) is first
    assert orjson.loads(common.at(11 * DAY))[4][1] == [11 * DAY, 12 * DAY]
    assert orjson.loads(common.at(10 * DAY)) == orjson.loads(first)


def test_amounts_are_in_the_order_of_units_and_stay_exact():
    assert amounts({"usd": 1 << 60, "requests": 1}) == [1, 0, 0, 0, 0, MOST]


def test_an_answer_may_be_a_single_word():
    assert parsed(b"REBUILD") == ("REBUILD", 0.0, 0, [])
    assert parsed(b"CLOCK 1.5") == ("CLOCK", 1.5, 0, [])
    assert parsed(b"SETTLED 1.5 2 0 7") == ("SETTLED", 1.5, 2, [b"0", b"7"])
