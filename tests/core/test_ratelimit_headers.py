"""The fields as a client reads them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.quota.holds import LimitState
from gateway.core.ratelimit_headers import quota_warning, ratelimit_headers, retry_after

MINUTE = LimitState("tenant-requests-per-minute", "requests", 60, 1, 0, 12.25, 60.0)
STREAMS = LimitState("key-concurrent-streams", "concurrent", 10, 0, 7, None, None)


def left(name, limit, remaining, unit="requests", window=60.0, span=None):
    used = (limit - remaining) // 2
    return LimitState(name, unit, limit, used, limit - remaining - used, window, window, span)


def test_a_rate_has_a_window_and_a_time_and_concurrency_has_a_unit():
    assert ratelimit_headers([MINUTE, STREAMS]) == {
        "RateLimit": '"key-concurrent-streams";r=3, "tenant-requests-per-minute";r=59;t=13',
        "RateLimit-Policy": '"key-concurrent-streams";q=10;qu="concurrent-requests", '
        '"tenant-requests-per-minute";q=60;w=60',
    }


def test_without_limits_there_are_no_fields():
    assert ratelimit_headers([]) == {}


def test_the_tightest_three_are_shown_in_both_fields():
    """By the share that is left, then by the number."""
    states = [
        left("half", 10, 5),
        left("full", 10, 10),
        left("most", 10, 9),
        left("large-and-half", 1000, 500),
        left("none", 1000, 0),
    ]
    fields = ratelimit_headers(states)
    assert re.findall(r'"([^"]+)";r', fields["RateLimit"]) == ["none", "half", "large-and-half"]
    assert re.findall(r'"([^"]+)";q', fields["RateLimit-Policy"]) == ["none", "half", "large-and-half"]


def test_units_other_than_requests_are_named_and_dollars_are_millionths():
    states = [
        left("budget", 50_000_000_000, 12_345_678_901, "usd", 2_592_000.0, "month"),
        left("input", 1000, 900, "input_tokens"),
        left("all", 1000, 950, "tokens"),
    ]
    assert ratelimit_headers(states) == {
        "RateLimit": '"budget";r=12345678;t=2592000, "input";r=900;t=60, "all";r=950;t=60',
        "RateLimit-Policy": '"budget";q=50000000;qu="usd-millionths";w=2592000, '
        '"input";q=1000;qu="input-tokens";w=60, "all";q=1000;qu="tokens";w=60',
    }


def test_only_budgets_that_are_nearly_used_up_are_warned_of():
    states = [
        left("month", 1000, 199, "usd", 2_592_000.0, "month"),
        left("day", 1000, 0, "usd", 86_400.0, "day"),
        left("enough", 1000, 201, "tokens", 86_400.0, "day"),
        left("rate", 1000, 0, "tokens"),
    ]
    assert quota_warning(states, 0.8) == {"X-Tokenweir-Quota-Warning": "month;used=80%, day;used=100%"}
    assert quota_warning(states[2:], 0.8) == {}


_ITEM = r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
_RATE_LIMIT = re.compile(rf"{_ITEM};r=\d{{1,15}}(;t=\d{{1,15}})?")
_POLICY = re.compile(rf'{_ITEM};q=\d{{1,15}}(;qu="[a-z-]+")?(;w=[1-9]\d{{0,14}})?')
_UNITS = st.sampled_from(["requests", "concurrent", "input_tokens", "output_tokens", "tokens", "usd"])
windows = st.one_of(st.none(), st.floats(0.001, 1e18))


@given(st.text(max_size=8), _UNITS, st.integers(1, 10**18), st.integers(0, 10**18), windows)
def test_any_state_gives_valid_structured_fields(name, unit, limit, used, window):
    fields = ratelimit_headers([LimitState(name, unit, limit, used, 0, window, window)])
    assert _RATE_LIMIT.fullmatch(fields["RateLimit"])
    assert _POLICY.fullmatch(fields["RateLimit-Policy"])


@pytest.mark.parametrize(("seconds", "value"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (59.2, "60"), (60.0, "60")])
def test_coming_back_after_the_told_time_is_never_too_early(seconds, value):
    assert retry_after(seconds) == value
