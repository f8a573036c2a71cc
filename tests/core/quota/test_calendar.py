"""Days and months begin at midnight where the operator says, also where clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.quota.calendar import Calendar, Period

PARIS = ZoneInfo("Europe/Paris")
HOUR = 3600.0


def moment(*parts, zone=UTC):
    return datetime(*parts, tzinfo=zone).timestamp()


def test_a_day_is_named_and_ends_at_midnight():
    period = Calendar().at("day", moment(2026, 11, 23, 12, 30))
    assert period == Period("2026-11-23", moment(2026, 11, 23), moment(2026, 11, 24))


@pytest.mark.parametrize(("month", "name", "days"), [(2, "2028-02", 29), (12, "2028-12", 31), (11, "2028-11", 30)])
def test_a_month_is_as_long_as_it_is(month, name, days):
    period = Calendar().at("month", moment(2028, month, 15, 23, 59))
    assert period == Period(name, moment(2028, month, 1), moment(2028, month, 1) + days * 24 * HOUR)


def test_midnight_is_the_time_zones():
    calendar = Calendar(timezone(timedelta(hours=5, minutes=30)))
    period = calendar.at("day", moment(2026, 11, 23, 20, 0))
    assert (period.name, period.start) == ("2026-11-24", moment(2026, 11, 23, 18, 30))


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 7, 1), 24)])
def test_a_day_on_which_clocks_change_is_shorter_or_longer(day, hours):
    period = Calendar(PARIS).at("day", moment(*day, 12, zone=PARIS))
    assert period.end - period.start == hours * HOUR
    assert period.start == moment(*day, zone=PARIS)


def test_the_same_period_is_found_again_until_its_end():
    calendar = Calendar()
    first = calendar.at("day", moment(2026, 11, 23))
    assert calendar.at("day", moment(2026, 11, 24) - 0.001) is first
    assert calendar.at("day", moment(2026, 11, 24)).name == "2026-11-24"
    assert calendar.at("day", moment(2026, 11, 22)).name == "2026-11-22"


@given(
    st.floats(0, 4e9), st.sampled_from(["day", "month"]), st.sampled_from(["Europe/Paris", "America/Sao_Paulo", "UTC"])
)
def test_every_moment_is_in_its_period_and_the_next_begins_where_it_ends(unix, span, zone):
    calendar = Calendar(ZoneInfo(zone))
    period = calendar.at(span, unix)
    assert period.start <= unix < period.end
    following = calendar.at(span, period.end)
    assert following.start == period.end
    assert following.name > period.name
