"""What a request holds at most, and what it turns out to have used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.outcome import Usage
from gateway.core.quota.amounts import nano, reservation, settled, used
from gateway.core.quota.holds import LimitState
from gateway.core.quota.limits import AppliedLimit
from gateway.core.quota.worst import Worst

# 100 tokens are read, three times over; of 1,000 that may be written each is 15,000 nano-dollars.
WORST = Worst(300, 1000, 15_900_000, 300_000, 100, None)
MONTH = AppliedLimit("tenant:t:usd:month", "tenant-usd-per-month", "tenant", "usd", 10**9, None, "month")
MINUTE = AppliedLimit("tenant:t:tokens:60", "tenant-tokens-per-minute", "tenant", "tokens", 5000, 60.0)
STREAMS = AppliedLimit("tenant:t:concurrent", "tenant-concurrent-streams", "tenant", "concurrent", 5, None)


def test_a_budget_holds_the_most_a_rate_the_usual_and_asking_costs_the_input():
    held = reservation("r", "acme", (MONTH,), WORST, 200)
    assert held.budgets == {
        "requests": 1,
        "concurrent": 1,
        "input_tokens": 300,
        "output_tokens": 1000,
        "tokens": 1300,
        "usd": 15_900_000,
    }
    assert held.rates == {
        "requests": 1,
        "input_tokens": 100,
        "output_tokens": 200,
        "tokens": 300,
        "usd": 300_000 + 15_600_000 // 5,
    }
    assert held.spent == {"requests": 1, "input_tokens": 100, "output_tokens": 0, "tokens": 100, "usd": 300_000}


def test_a_rate_holds_no_more_than_the_request_can_use():
    assert reservation("r", "acme", (MINUTE,), WORST, 64_000).rates["output_tokens"] == 1000
    assert reservation("r", "acme", (MINUTE,), WORST, 64_000).rates["usd"] == WORST.usd_nano


def test_units_that_no_limit_counts_are_not_remembered():
    held = reservation("r", "acme", (STREAMS,), WORST, 200)
    assert (held.budgets, held.rates, held.spent) == (
        {"requests": 1, "concurrent": 1},
        {"requests": 1},
        {"requests": 1},
    )


def test_a_request_that_generates_nothing_takes_no_slot_and_no_tokens():
    held = reservation("r", "acme", (), None, 200)
    assert (held.budgets, held.rates, held.spent) == ({"requests": 1},) * 3


@pytest.mark.parametrize("worst", [WORST, None])
def test_it_says_whose_limits_they_are(worst):
    assert reservation("r", "acme", (), worst, 200).realm == "acme"


def test_all_that_claude_read_is_input():
    usage = Usage(10, 20, 5, 300, 4000, 50_000)
    assert used(usage, 0.25) == {
        "requests": 1,
        "input_tokens": 54_310,
        "output_tokens": 20,
        "tokens": 54_330,
        "usd": 250_000_000,
    }


def test_what_generated_nothing_was_a_request():
    assert used(None, None) == {"requests": 1}
    assert used(Usage(1, 1), None)["usd"] == 0


@pytest.mark.parametrize(("usd", "counted"), [(0.1 + 0.2, 300_000_000), (0.000_000_000_2, 1), (0.0, 0), (3e-8, 30)])
def test_dollars_are_rounded_up_but_not_for_what_binary_fractions_add(usd, counted):
    assert nano(usd) == counted


@given(st.integers(0, 10**12))
def test_whole_billionths_are_counted_exactly(amount):
    assert nano(amount / 10**9) == amount


def test_when_a_request_ends_its_hold_is_replaced_by_what_it_used():
    held = reservation("r", "acme", (MONTH, MINUTE, STREAMS), WORST, 200)
    states = (
        LimitState(MONTH.name, "usd", 10**9, 5, 20_000_000, 9.0, 99.0, "month"),
        LimitState(MINUTE.name, "tokens", 5000, 7, 400, 9.0, 60.0),
        LimitState(STREAMS.name, "concurrent", 5, 0, 2, None, None),
    )
    month, minute, streams = settled(states, held, {"tokens": 150, "usd": 1_000_000})
    assert (month.used, month.held) == (1_000_005, 4_100_000)
    assert (minute.used, minute.held) == (157, 100)
    assert streams == states[2]


def test_states_of_other_limits_stay_as_they_are():
    states = (LimitState(MONTH.name, "usd", 10**9, 5, 20, 9.0, 99.0, "month"),)
    assert settled(states, reservation("r", "acme", (), WORST, 200), {}) == states
