"""What a request costs at most: classes, tiers, fallbacks, searches, and what has no bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.outcome import Usage
from gateway.core.pricing import PriceBook, PriceOverride
from gateway.core.quota.estimate import LARGEST_CONTEXT, OLDER, estimate_input
from gateway.core.quota.worst import Worst, worst_case
from tests.support.recordings import all_recordings

PRICES = PriceBook()
SONNET = "claude-sonnet-4-20250514"  # 3, 15, 0.3, 3.75 and 6 dollars per million tokens
HAIKU = "claude-haiku-4-5"  # 1, 5, 0.1, 1.25 and 2
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}


def asked(content="How high is the tide?", **fields):
    return {"model": SONNET, "max_tokens": 1000, "messages": [{"role": "user", "content": content}]} | fields


def worst(content="How high is the tide?", prices=PRICES, **fields):
    return worst_case(asked(content, **fields), prices)


def entered(**fields):
    return estimate_input(asked(**fields), OLDER).tokens


# What is counted.


def test_a_plain_request_costs_its_input_and_all_of_max_tokens():
    tokens = entered()
    assert 40 < tokens < 60
    assert worst() == Worst(tokens, 1000, tokens * 3000 + 1000 * 15_000, tokens * 3000, tokens, None)


@pytest.mark.parametrize(
    ("cache", "nano"),
    [
        ({"type": "ephemeral"}, 3750),
        ({"type": "ephemeral", "ttl": "1h"}, 6000),
        ({"type": "ephemeral", "ttl": "5m"}, 3750),
    ],
)
@pytest.mark.parametrize("place", ["request", "block"])
def test_input_is_priced_as_a_write_where_the_request_can_write(cache, nano, place):
    block = {"type": "text", "text": "a", "cache_control": cache}
    fields = {"cache_control": cache} if place == "request" else {"system": [block]}
    assert worst(**fields).input_usd_nano == entered(**fields) * nano


@pytest.mark.parametrize("name", ["input", "cache_read", "cache_write_5m", "cache_write_1h"])
def test_the_dearest_class_counts_whatever_the_configuration_says(name):
    book = PriceBook({SONNET: PriceOverride(**{name: 100.0})})
    fields = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    assert worst(prices=book, **fields).input_usd_nano == entered(**fields) * 100_000


def test_billionths_are_rounded_up():
    book = PriceBook({SONNET: PriceOverride(input=0.0001, output=0.0)})
    assert worst(prices=book).usd_nano == -(-entered() // 10)


def test_prices_that_binary_cannot_hold_are_not_rounded_up():
    book = PriceBook({SONNET: PriceOverride(input=0.1, output=0.7)})
    assert worst(prices=book, max_tokens=3).usd_nano == entered() * 100 + 3 * 700


def test_a_long_prompt_is_priced_at_the_tier_that_it_can_reach():
    long = worst("x" * 650_000, model="claude-sonnet-4-5")
    assert long.input_tokens > 200_000
    assert long.input_usd_nano == long.input_tokens * 6000
    assert long.usd_nano - long.input_usd_nano == 1000 * 22_500


def test_models_from_opus_4_7_on_have_more_tokens():
    assert worst(model="claude-opus-4-7").input_tokens > worst(model="claude-opus-4-6").input_tokens


def test_an_unknown_model_is_priced_at_the_fallback():
    assert worst(model="x").usd_nano >= worst(model="claude-opus-4-7").usd_nano


# Fallbacks.


def test_each_fallback_is_one_more_attempt_and_reads_what_was_put_out_before():
    both = worst(fallbacks=[{"model": HAIKU}])
    tokens = entered()
    nano = tokens * 3000 + 1000 * 15_000 + (tokens + 1000) * 1000 + 1000 * 5000
    assert both == Worst(2 * tokens + 1000, 2000, nano, tokens * 3000, tokens, None)


def test_a_fallback_has_its_own_max_tokens():
    assert worst(fallbacks=[{"model": HAIKU, "max_tokens": 5000}]).output_tokens == 6000
    assert worst(fallbacks=[{"model": HAIKU, "max_tokens": None}]).output_tokens == 2000


def test_a_dearer_fallback_says_what_reading_the_request_costs():
    assert worst(model=HAIKU, fallbacks=[{"model": SONNET}]).input_usd_nano == entered() * 3000


def test_a_fallback_that_cuts_text_smaller_counts_for_all():
    assert worst(fallbacks=[{"model": "claude-opus-5"}]).input_tokens > worst(fallbacks=[{"model": HAIKU}]).input_tokens


# Searches.


def test_searches_are_paid_and_everything_is_read_again_after_each():
    tokens = entered(tools=[SEARCH])
    searched = worst(tools=[SEARCH])
    assert searched.input_tokens == 3 * tokens + 2 * 1000 + 3 * 20_000
    assert searched.usd_nano == searched.input_tokens * 3000 + 1000 * 15_000 + 2 * 10_000_000
    assert searched.input_usd_nano == tokens * 3000
    assert searched.unbounded is None


def test_no_reading_is_longer_than_a_context():
    assert worst(tools=[SEARCH | {"max_uses": 1000}]).input_tokens == 1001 * LARGEST_CONTEXT


def test_searches_can_reach_a_tier():
    often = [SEARCH | {"max_uses": 8}]
    assert worst(model="claude-sonnet-4-5", tools=often).input_usd_nano == entered(tools=often) * 6000


def test_no_recorded_search_read_more():
    checked = 0
    for recording in all_recordings():
        blocks = [body["content_block"] for body in recording.bodies if body.get("type") == "content_block_start"]
        searches = sum(block["type"] == "web_search_tool_result" for block in blocks)
        code = any("code_execution" in block["type"] for block in blocks)
        if not searches or code or not recording.output_told or recording.path.parent.name in {"composites", "streams"}:
            continue
        start = next(body["message"]["usage"] for body in recording.bodies if body.get("type") == "message_start")
        first, last = (read(usage) for usage in (start, recording.usage))
        again = searches * (first + recording.usage["output_tokens"]) + 10_000 * searches * (searches + 1)
        assert last <= first + again, recording.path
        checked += 1
    assert checked >= 16


def read(usage):
    return sum(
        usage.get(name) or 0 for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    )


# What has no bound.


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tools": [{"type": "web_search_20250305"}]}, "tools.web_search_20250305"),
        ({"tools": [SEARCH | {"max_uses": None}]}, "tools.web_search_20250305"),
        ({"tools": [SEARCH | {"allowed_callers": ["direct", "code_execution_20260120"]}]}, "tools.web_search_20250305"),
        ({"tools": [SEARCH | {"type": "web_search_20260209"}]}, "tools.web_search_20260209"),
        ({"tools": [SEARCH | {"type": "web_fetch_20250910"}]}, "tools.web_fetch_20250910"),
        ({"tools": [{"type": "code_execution_20250825"}]}, "tools.code_execution_20250825"),
        ({"tools": [{"type": "bash_code_execution_20250825"}]}, "tools.bash_code_execution_20250825"),
        ({"tools": [{"type": "advisor_20260301", "max_uses": 1}]}, "tools.advisor_20260301"),
        ({"tools": [{"type": "tool_search_tool_bm25_20251119"}]}, "tools.tool_search_tool_bm25_20251119"),
        ({"tools": [{"type": "mcp_toolset"}]}, "tools.mcp_toolset"),
        ({"tools": [{"type": ["no", "name"]}]}, "tools"),
        ({"tools": [{"type": "x" * 100}]}, "tools." + "x" * 64),
        ({"mcp_servers": [{"url": "https://example.com"}]}, "mcp_servers"),
        ({"container": "container_1"}, "container"),
        ({"thread": {"type": "create"}}, "thread"),
        ({"compaction": {"type": "summarize"}}, "compaction"),
        ({"context_management": {"edits": [{"type": "compact_20260112"}]}}, "context_management"),
        ({"context_management": {"edits": ["clear_"]}}, "context_management"),
        ({"context_management": "compact"}, "context_management"),
        ({"speed": "fast"}, "speed"),
        ({"fallbacks": [{"model": HAIKU, "speed": "fast"}]}, "speed"),
        ({"fallbacks": "default"}, "fallbacks"),
        ({"system": [{"type": "document", "source": {"type": "url"}}]}, "document.url"),
    ],
)
def test_what_has_no_bound_is_named(fields, named):
    assert worst(**fields).unbounded == named


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [SEARCH, SEARCH | {"allowed_callers": ["direct"]}]},
        {"tools": [{"name": "a"}, {"type": "custom"}, {"type": "bash_20250124"}, {"type": "text_editor_20250728"}]},
        {"tools": [{"type": "computer_20251124"}, {"type": "memory_20250818"}, {"type": "browser_toolset_20260801"}]},
        {"mcp_servers": [], "container": None, "thread": None, "compaction": None, "context_management": None},
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}, {"type": "clear_thinking_20251015"}]}},
        {"context_management": {}},
        {"speed": "standard", "fallbacks": [{"model": HAIKU, "speed": None}]},
        {"service_tier": "auto", "inference_geo": "us"},
    ],
)
def test_what_the_client_runs_or_what_is_not_asked_for_has_a_bound(fields):
    assert worst(**fields).unbounded is None


@pytest.mark.parametrize(("region", "factor"), [(None, 1.0), ("global", 1.0), ("us", 1.1), ("eu", 1.1)])
def test_inference_in_one_region_is_a_tenth_dearer(region, factor):
    usual, there = worst(inference_geo="global"), worst(inference_geo=region)
    assert there.usd_nano == pytest.approx(usual.usd_nano * factor)
    assert there.input_usd_nano == pytest.approx(usual.input_usd_nano * factor)


# Any request.

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "model", "max_tokens", "max_uses", "edits", "speed", "source", "allowed_callers"]),
            inner | st.just("web_search_20250305"),
        )
    ),
    max_leaves=15,
)
NAMES = [
    "model",
    "max_tokens",
    "messages",
    "system",
    "tools",
    "fallbacks",
    "speed",
    "context_management",
    "mcp_servers",
    "inference_geo",
]


@given(st.dictionaries(st.sampled_from(NAMES), anything))
def test_any_json_has_a_worst_case(fields):
    found = worst_case(fields, PRICES)
    assert found.input_tokens > 0
    assert found.output_tokens >= 0
    assert found.usd_nano >= found.input_usd_nano > 0


@given(st.integers() | st.just(10**500))
def test_no_number_of_tokens_is_too_large(number):
    assert 0 <= worst(max_tokens=number, tools=[SEARCH | {"max_uses": number}]).output_tokens < 1 << 31


@given(st.text(), st.text(), st.integers(0, 10_000))
def test_more_text_and_more_output_never_cost_less(text, more, output):
    before, after = worst(text, max_tokens=output), worst(text + more, max_tokens=output + 1)
    assert after.input_usd_nano >= before.input_usd_nano
    assert after.usd_nano > before.usd_nano


@given(
    st.sampled_from([SONNET, HAIKU, "claude-sonnet-4-5", "claude-opus-5", "x"]),
    st.lists(st.integers(0, 1000), min_size=4, max_size=4),
    st.sampled_from(["", "5m", "1h"]),
)
def test_no_usage_within_the_tokens_costs_more(model, parts, cache):
    """However the input is split among the classes that can apply, it costs no more than was said."""
    control = {"cache_control": {"type": "ephemeral", "ttl": cache}} if cache else {}
    said = worst("x" * 600_000, model=model, **control)
    whole = [said.input_tokens * part // max(sum(parts), 1) for part in parts]
    fresh, hit, short, long = whole if cache == "1h" else [*whole[:3], 0] if cache else [sum(whole), 0, 0, 0]
    usage = Usage(
        fresh, said.output_tokens, cache_read_tokens=hit, cache_write_5m_tokens=short, cache_write_1h_tokens=long
    )
    assert PRICES.cost(model, usage) * 1e9 <= said.usd_nano + 1
