"""The fields as a client reads them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.quota.holds import LimitState
from gateway.core.ratelimit_headers import ratelimit_headers, retry_after

MINUTE = LimitState("tenant-requests-per-minute", 60, 59, 12.25, 60.0)
STREAMS = LimitState("key-concurrent-streams", 10, 3, None, None)


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
        LimitState("half", 10, 5, 1.0, 60.0),
        LimitState("full", 10, 10, 1.0, 60.0),
        LimitState("most", 10, 9, 1.0, 60.0),
        LimitState("large-and-half", 1000, 500, 1.0, 60.0),
        LimitState("none", 1000, 0, 1.0, 60.0),
    ]
    fields = ratelimit_headers(states)
    assert re.findall(r'"([^"]+)";r', fields["RateLimit"]) == ["none", "half", "large-and-half"]
    assert re.findall(r'"([^"]+)";q', fields["RateLimit-Policy"]) == ["none", "half", "large-and-half"]


_ITEM = r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
_RATE_LIMIT = re.compile(rf"{_ITEM};r=\d{{1,15}}(;t=\d{{1,15}})?")
_POLICY = re.compile(rf'{_ITEM};q=\d{{1,15}}(;w=[1-9]\d{{0,14}}|;qu="concurrent-requests")')
windows = st.one_of(st.none(), st.floats(0.001, 1e18))


@given(st.text(max_size=8), st.integers(1, 10**18), st.integers(0, 10**18), windows)
def test_any_state_gives_valid_structured_fields(name, limit, remaining, window):
    fields = ratelimit_headers([LimitState(name, limit, remaining, window, window)])
    assert _RATE_LIMIT.fullmatch(fields["RateLimit"])
    assert _POLICY.fullmatch(fields["RateLimit-Policy"])


@pytest.mark.parametrize(("seconds", "value"), [(0.0, "1"), (0.2, "1"), (1.0, "1"), (59.2, "60"), (60.0, "60")])
def test_coming_back_after_the_told_time_is_never_too_early(seconds, value):
    assert retry_after(seconds) == value
