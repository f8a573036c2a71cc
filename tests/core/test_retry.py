"""When an upstream is tried again: what it says wins, and a wait that is too long is the client's."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import (
    Draining,
    Overloaded,
    StreamTooLong,
    UpstreamCredential,
    UpstreamRefused,
    UpstreamTimeout,
)
from gateway.core.retry import after_error, after_refusal, next_wait, retry_after, should_retry

NOW = 1_764_000_000.0  # Monday, 24 November 2025, 16:00:00 GMT
MONTH = 31 * 86400.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        (" 2 ", 2.0),
        ("Mon, 24 Nov 2025 16:00:30 GMT", 30.0),
        ("Mon, 24 Nov 2025 17:00:30 +0100", 30.0),
        ("Mon, 24 Nov 2025 16:00:30 -0000", 30.0),
        ("Monday, 24-Nov-25 16:00:30 GMT", 30.0),
        ("Mon Nov 24 16:00:30 2025", 30.0),
        ("Mon, 24 Nov 2025 15:59:00 GMT", 0.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("1e999", None),
        ("", None),
        ("soon", None),
        ("Mon, 99 Nov 2025 16:00:30 GMT", None),
        ("01 Feb 99999999999999 00:00:00", None),
        ("Mon, 24 Nov 2025 16:00:30 +99999999999999999999", None),
        ("1e300", MONTH),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MONTH),
    ],
)
def test_retry_after_in_every_form(text, seconds):
    assert retry_after({"retry-after": text}, NOW) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after-ms": "-5"}, None),
    ],
)
def test_milliseconds_come_first(headers, seconds):
    assert retry_after(headers, NOW) == seconds


PIECES = st.sampled_from(["Mon,", "24", "Nov", "9999999999", "16:00:30", "-1", "+9999999999", ":"])


@given(st.one_of(st.text(max_size=40), st.lists(PIECES).map(" ".join)))
def test_no_text_whatever_breaks_it(text):
    seconds = retry_after({"retry-after": text}, NOW)
    assert seconds is None or 0 <= seconds <= MONTH


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"x-should-retry": "true"}, True),
        ({"x-should-retry": "false"}, False),
        ({"x-should-retry": "True"}, True),
        ({"x-should-retry": "maybe"}, None),
        ({}, None),
    ],
)
def test_the_upstream_may_say_whether_to_retry(headers, told):
    assert should_retry(headers) is told


@pytest.mark.parametrize(
    ("status", "told", "following"),
    [
        (400, None, "nothing"),
        (404, None, "nothing"),
        (413, None, "nothing"),
        (401, None, "elsewhere"),
        (402, None, "elsewhere"),
        (403, None, "elsewhere"),
        (408, None, "anywhere"),
        (409, None, "anywhere"),
        (429, None, "anywhere"),
        (500, None, "anywhere"),
        (529, None, "anywhere"),
        (400, "true", "anywhere"),
        (401, "true", "anywhere"),
        (429, "false", "elsewhere"),
        (401, "false", "elsewhere"),
        (529, "false", "nothing"),
        (400, "false", "nothing"),
    ],
)
def test_what_may_follow_a_refusal(status, told, following):
    """What is refused for our account's sake may pass with another's, whatever is said of a retry with ours."""
    assert after_refusal(status, {} if told is None else {"x-should-retry": told}) == following


@pytest.mark.parametrize(
    ("error", "following"),
    [
        (UpstreamTimeout("x"), "anywhere"),
        (UpstreamRefused("x", status=529, claude_type="overloaded_error", retryable=True), "anywhere"),
        (UpstreamRefused("x", status=400, claude_type="invalid_request_error", retryable=False), "nothing"),
        (UpstreamCredential("x"), "elsewhere"),
        (Overloaded("x"), "elsewhere"),
        (Draining("x"), "nothing"),
        (StreamTooLong("x"), "nothing"),
    ],
)
def test_what_may_follow_an_error(error, following):
    assert after_error(error) == following


def test_waits_grow_twofold_up_to_eight_seconds():
    assert [next_wait(failures, None, math.inf, 1.0) for failures in range(1, 8)] == [0.5, 1, 2, 4, 8, 8, 8]


def test_jitter_takes_up_to_a_quarter():
    assert next_wait(1, None, math.inf, 0.0) == 0.375


def test_what_was_asked_for_is_waited_and_up_to_a_tenth_more():
    """Never less; and not more than there is time for."""
    assert next_wait(3, 10.0, 20.0, 0.0) == 10.0
    assert next_wait(3, 10.0, 20.0, 0.5) == 10.5
    assert next_wait(3, 20.0, 20.0, 1.0) == 20.0


def test_whoever_asks_for_no_wait_gets_ours():
    assert next_wait(1, 0.0, 20.0, 1.0) == 0.5


def test_a_wait_that_is_not_over_in_time_is_not_begun():
    assert next_wait(1, 20.1, 20.0, 0.0) is None
    assert next_wait(5, None, 5.0, 0.5) is None
    assert next_wait(1, 1.0, -1.0, 0.0) is None


@given(
    st.integers(1, 11),
    st.none() | st.floats(0, MONTH),
    st.floats(-100, 1e6),
    st.floats(0, 1),
)
def test_a_wait_is_within_the_budget_and_not_under_what_was_asked(failures, asked, remaining, jitter):
    wait = next_wait(failures, asked, remaining, jitter)
    assert wait is None or (asked or 0) <= wait <= remaining
