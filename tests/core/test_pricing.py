"""Prices against the package they come from, a recorded price list, and the configuration."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import genai_prices
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.core.outcome import Usage
from gateway.core.price_table import MODELS
from gateway.core.pricing import PriceBook, PriceOverride

RECORDED = Path(__file__).parents[3] / "shared" / "recordings" / "prices.json"
MILLION = 1_000_000
NOW = datetime(2026, 11, 1, tzinfo=UTC)

NAMES = (
    "claude-opus-4-5-20251101",
    "claude-opus-4-20250514",
    "claude-opus-4-1",
    "claude-sonnet-4-5-20250929",
    "claude-sonnet-4-6",
    "claude-haiku-4-5",
    "claude-haiku-5-5-20261014",
    "claude-3-5-sonnet-20241022",
    "Claude-3-7-Sonnet-latest",
    "claude-fable-5-1",
    "claude-opus-5@20260101",
    "some.claude-v2:1",
)
counts = st.integers(0, 300_000)
usages = st.builds(
    Usage,
    input_tokens=counts,
    output_tokens=counts,
    cache_read_tokens=counts,
    cache_write_5m_tokens=counts,
    cache_write_1h_tokens=counts,
    web_search_requests=st.integers(0, 50),
)
CACHE = ("cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")


@given(st.sampled_from(NAMES), usages)
def test_the_cost_is_the_one_of_the_package_that_the_prices_come_from(model, usage):
    if "v2" in model:  # a model without a price for the cache; the package refuses to price it
        usage = Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
    written = usage.cache_creation_tokens
    theirs = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input_tokens + usage.cache_read_tokens + written,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=written,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
            web_searches=usage.web_search_requests,
        ),
        model,
        provider_id="anthropic",
        genai_request_timestamp=NOW,
    )
    assert PriceBook().cost(model, usage) == pytest.approx(float(theirs.total_price), rel=1e-9)


@pytest.mark.skipif(not RECORDED.exists(), reason="no ../shared/recordings/prices.json beside the repository")
def test_every_recorded_model_has_its_recorded_prices():
    recorded = {model["id"]: model["prices"] for model in json.loads(RECORDED.read_text())["models"]}
    assert {model_id for model_id, _, _ in MODELS} == set(recorded)
    for model_id, _, tiers in MODELS:
        prices = recorded[model_id]
        prices = prices[-1] if isinstance(prices, list) else prices
        _, cheapest = tiers[-1]
        for name, ours in zip(
            ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_1h_mtok"),
            cheapest,
            strict=False,
        ):
            theirs = prices.get(name, ours)
            assert ours == (theirs["base"] if isinstance(theirs, dict) else theirs)
            if isinstance(theirs, dict):
                assert [over for over, _ in tiers] == [*(t["from_input_tokens"] for t in theirs["tiers"]), -1]


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        (Usage(input_tokens=MILLION), 3.0),
        (Usage(output_tokens=MILLION), 15.0),
        (Usage(output_tokens=MILLION, thinking_tokens=MILLION), 15.0),
        (Usage(cache_read_tokens=MILLION), 0.3),
        (Usage(cache_write_5m_tokens=MILLION), 3.75),
        (Usage(cache_write_1h_tokens=MILLION), 6.0),
        (Usage(web_search_requests=1000), 10.0),
        (Usage(), 0.0),
    ],
)
def test_each_class_has_its_own_price(usage, dollars):
    assert PriceBook().cost("claude-sonnet-4-20250514", usage) == pytest.approx(dollars)


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        (Usage(input_tokens=200_000), 0.6),
        (Usage(input_tokens=200_001), 1.200006),
        (Usage(cache_read_tokens=200_000, input_tokens=1), 0.120006),
        (Usage(input_tokens=199_000, output_tokens=10_000), 0.747),
    ],
)
def test_a_long_prompt_changes_the_price_of_all_its_tokens(usage, dollars):
    assert PriceBook().cost("claude-sonnet-4-5", usage) == pytest.approx(dollars)


@given(st.sampled_from(NAMES), usages)
def test_an_unknown_model_is_never_cheaper_than_a_known_one(model, usage):
    book = PriceBook()
    assert not book.known("claude-unheard-of-9")
    assert book.cost("claude-unheard-of-9", usage) >= book.cost(model, usage)


def test_the_configuration_replaces_single_prices():
    book = PriceBook({"claude-sonnet-4-5*": PriceOverride(output=1.0, cache_read=0.0)})
    assert book.cost("claude-sonnet-4-5", Usage(output_tokens=MILLION)) == pytest.approx(1.0)
    assert book.cost("claude-sonnet-4-5", Usage(input_tokens=MILLION, output_tokens=MILLION)) == pytest.approx(7.0)
    assert book.cost("claude-sonnet-4-5", Usage(cache_read_tokens=MILLION)) == 0.0
    assert book.cost("claude-opus-4-1", Usage(output_tokens=MILLION)) == pytest.approx(75.0)


def test_the_longest_pattern_counts():
    book = PriceBook(
        {
            "claude-*": PriceOverride(input=1.0),
            "Claude-Opus-*": PriceOverride(input=2.0),
            "claude-o*": PriceOverride(input=3.0),
        }
    )
    assert book.cost("claude-opus-4-1", Usage(input_tokens=MILLION)) == pytest.approx(2.0)


def test_a_price_for_an_unknown_model_makes_it_known_and_the_rest_of_it_the_dearest():
    book = PriceBook({"our-own-*": PriceOverride(input=1.0)})
    assert book.known("our-own-1")
    assert book.cost("our-own-1", Usage(input_tokens=MILLION)) == pytest.approx(1.0)
    assert book.cost("our-own-1", Usage(output_tokens=MILLION)) == PriceBook().cost("x", Usage(output_tokens=MILLION))


def test_the_star_is_the_price_of_unknown_models_only():
    book = PriceBook({"*": PriceOverride(output=1.0)})
    assert not book.known("x")
    assert book.known("claude-opus-4-1")
    assert book.cost("x", Usage(output_tokens=MILLION)) == pytest.approx(1.0)
    assert book.cost("claude-opus-4-1", Usage(output_tokens=MILLION)) == pytest.approx(75.0)


@pytest.mark.parametrize(("input_tokens", "price"), [(0, 3.0), (200_000, 3.0), (200_001, 6.0), (10**9, 6.0)])
def test_the_dearest_rates_are_those_of_the_tiers_that_the_input_can_reach(input_tokens, price):
    assert PriceBook().dearest("claude-sonnet-4-5", input_tokens).input == price


@given(st.sampled_from(NAMES), usages, st.integers(0, 10**6))
def test_nothing_costs_more_than_the_dearest_rates(model, usage, more):
    book = PriceBook()
    entered = usage.input_tokens + usage.cache_read_tokens + usage.cache_creation_tokens
    assert book.dearest(model, entered + more).cost(usage) >= book.cost(model, usage)


def test_a_tier_that_is_cheaper_does_not_lower_the_dearest_rates(monkeypatch):
    tiers = ((100, (1.0, 9.0, 1.0, 1.0, 1.0, 1.0)), (-1, (2.0, 2.0, 2.0, 2.0, 2.0, 2.0)))
    monkeypatch.setattr("gateway.core.pricing.MODELS", (("a", "^a", tiers),))
    assert PriceBook().dearest("a", 101) == (2.0, 9.0, 2.0, 2.0, 2.0, 2.0)
    assert PriceBook().dearest("a", 100) == (2.0, 2.0, 2.0, 2.0, 2.0, 2.0)


def test_names_from_clients_cannot_fill_the_memory():
    book = PriceBook()
    for n in range(3000):
        book.known(f"claude-opus-4-1-{n}")
    assert book._tiers.cache_info().currsize <= 1024


@pytest.mark.parametrize("price", [-1, float("inf"), float("nan")])
def test_a_price_is_a_number_from_zero_on(price):
    with pytest.raises(ValidationError):
        PriceOverride(output=price)


def test_where_a_price_comes_from_is_told():
    book = PriceBook({"claude-own": PriceOverride(output=1.0)})
    assert [book.source(model) for model in ("claude-opus-4-1", "claude-own", "mystery")] == [
        "known",
        "override",
        "fallback",
    ]
