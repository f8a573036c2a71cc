"""What people read when a limit stops them."""

from __future__ import annotations

import pytest

from gateway.core.quota.holds import LimitState, Refused, Reservation
from gateway.core.quota.limits import AppliedLimit
from gateway.core.quota.told import as_json, in_words, refused_in_words, too_much_in_words

MONTH = AppliedLimit("tenant:t:usd:month", "tenant-usd-per-month", "tenant", "usd", 50 * 10**9, None, "month")
MINUTE = AppliedLimit("tenant:t:tokens:60", "tenant-tokens-per-minute", "tenant", "tokens", 5000, 60.0)


@pytest.mark.parametrize(
    ("unit", "amount", "words"),
    [
        ("tokens", 20_000, "20,000 tokens"),
        ("input_tokens", 1, "1 input tokens"),
        ("requests", 5, "5 requests"),
        ("usd", 12_500_000_000, "12.5 dollars"),
        ("usd", 50 * 10**9, "50 dollars"),
        ("usd", 30, "0.00000003 dollars"),
        ("usd", 1_234 * 10**9, "1,234 dollars"),
    ],
)
def test_amounts_are_told_as_people_count_them(unit, amount, words):
    assert in_words(unit, amount) == words


def test_a_rate_is_reached():
    refused = Refused(MINUTE.name, 12.0, False, ())
    assert refused_in_words(refused, 0.0) == "The limit tenant-tokens-per-minute of your plan is reached."


def test_a_budget_says_when_it_begins_anew():
    refused = Refused(MONTH.name, 86_400.0 * 7, True, ())
    assert refused_in_words(refused, 1_795_478_400.0) == (
        "The budget tenant-usd-per-month of your plan does not have enough left for this request. "
        "It begins anew at 2026-12-01T00:00:00Z."
    )


def test_what_can_never_pass_is_told_with_both_numbers_and_what_to_change():
    asked = Reservation("r", (MONTH, MINUTE), {"usd": 51 * 10**9}, {"tokens": 6000})
    assert too_much_in_words(Refused(MINUTE.name, None, False, ()), asked) == (
        "This request may use up to 6,000 tokens; tenant-tokens-per-minute of your plan is 5,000 tokens. "
        "Lower max_tokens, or send less at a time."
    )
    assert too_much_in_words(Refused(MONTH.name, None, False, ()), asked) == (
        "This request may use up to 51 dollars; tenant-usd-per-month of your plan is 50 dollars. "
        "Lower max_tokens, send less at a time, or take a cheaper model."
    )


def test_a_limit_as_json_is_in_dollars_and_seconds():
    state = LimitState(MONTH.name, "usd", 50 * 10**9, 12 * 10**9, 500_000_000, 3600.12345, 2_592_000.0, "month")
    assert as_json(state) == {
        "name": "tenant-usd-per-month",
        "unit": "usd",
        "limit": 50.0,
        "used": 12.0,
        "held": 0.5,
        "remaining": 37.5,
        "resetSeconds": 3600.123,
    }
    streams = as_json(LimitState("key-concurrent-streams", "concurrent", 5, 0, 2, None, None))
    assert (streams["held"], streams["remaining"], streams["resetSeconds"]) == (2, 3, None)
