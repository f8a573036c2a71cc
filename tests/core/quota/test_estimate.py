"""The estimate of a request's input: what counts how much, and how far off it is from Claude's own count."""

from __future__ import annotations

import time
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.quota.estimate import LARGEST_CONTEXT, NEWER, OLDER, estimate_input, weights_of
from tests.support.recordings import all_recordings, recorded

BOTH = pytest.mark.parametrize("weights", [OLDER, NEWER], ids=["older", "newer"])
PIXELS = "iVBORw0KGgo" * 1000


def asked(content, **fields):
    return {"model": "claude-opus-5-5", "max_tokens": 10, "messages": [{"role": "user", "content": content}]} | fields


def tokens(content, weights=NEWER, **fields):
    return estimate_input(asked(content, **fields), weights).tokens


def added(content, weights=NEWER, **fields):
    """Return what ``content`` and ``fields`` add to a request without them."""
    return tokens(content, weights, **fields) - tokens([], weights)


def source(kind, **fields):
    return {"type": kind, **fields}


# Against Claude's count.


def answers():
    """Yield each recorded answer that is text alone: what Claude put out, and how many tokens that was."""
    seen = set()
    for recording in all_recordings():
        blocks = [
            body["content_block"]["type"] for body in recording.bodies if body.get("type") == "content_block_start"
        ]
        text = "".join(recording.texts)
        real = recording.path.parent.name not in {"composites", "streams"} and recording.end == "done"
        if real and set(blocks) == {"text"} and recording.output_told and len(text) >= 200 and text not in seen:
            seen.add(text)
            model = next(body["message"]["model"] for body in recording.bodies if body.get("type") == "message_start")
            yield model, text, recording.usage["output_tokens"]


def test_the_texts_of_all_recorded_answers_are_not_underestimated():
    """The requests were not recorded; but what Claude wrote has a count too, by the same tokenizer."""
    ratios = [tokens(text, weights_of(model)) / count for model, text, count in answers()]
    assert len(ratios) > 40
    assert min(ratios) > 1.35
    assert 1.7 < median(ratios) < 1.9
    assert max(ratios) < 2.8


def test_every_recorded_model_has_the_weights_of_its_generation():
    newer = ("opus-4-7", "opus-4-8", "sonnet-5", "fable-", "opus-5", "haiku-5", "mythos-")
    recordings = recorded()
    names = {
        body["message"].get("model") or ""
        for recording in recordings
        for body in recording.bodies
        if body.get("type") == "message_start" and body["message"].get("model", "").startswith("claude-")
    }
    assert not recordings or len(names) > 10
    for name in names:
        assert (weights_of(name) == NEWER) == any(part in name for part in newer), name


@pytest.mark.parametrize(
    "model",
    [
        "claude-2.1",
        "claude-instant-1.2",
        "claude-3-haiku-20240307",
        "claude-3.5-sonnet",
        "claude-opus-4",
        "claude-opus-4-0",
        "claude-opus-4-20250514",
        "claude-opus-4-1-20250805",
        "Claude-Sonnet-4.5",
        "claude-opus-4-6",
        "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "claude-sonnet-4@20250514",
        "anthropic.claude-v2",
    ],
)
def test_models_up_to_opus_4_6_have_the_older_weights(model):
    assert weights_of(model) == OLDER


@pytest.mark.parametrize(
    "model",
    [
        "claude-opus-4-7",
        "claude-opus-4-8-20260501",
        "claude-opus-4.7",
        "claude-opus-4-10",
        "claude-opus-40",
        "claude-opus-5",
        "claude-haiku-5-5",
        "claude-fable-5-2",
        "claude-30",
        "gpt-4",
        "",
    ],
)
def test_later_and_unknown_models_have_the_newer_weights(model):
    assert weights_of(model) == NEWER


def test_the_newer_weights_are_nowhere_lower():
    assert all(newer >= older for newer, older in zip(NEWER, OLDER, strict=True))


# Text.


@BOTH
def test_the_shortest_request_has_a_few_tokens(weights):
    assert 30 < tokens("hi", weights) < 70


@pytest.mark.parametrize(
    ("text", "older", "newer"),
    [
        ("tell me of tides ", 5.6, 8.5),
        ("TELL ME", 4.5, 5.3),
        ("3.14159, {}", 7.3, 8.5),
        ("潮汐", 4.2, 4.8),
        ("прилив", 8.4, 9.6),
        ("🌊", 2.8, 3.2),
    ],
)
def test_letters_are_lighter_than_what_else_there_is(text, older, newer):
    for expected, weights in ((older, OLDER), (newer, NEWER)):
        assert tokens(text * 1000, weights) - tokens("", weights) == pytest.approx(expected * 1000, rel=0.02)


@pytest.mark.parametrize(
    "brought",
    [
        {"system": "x" * 1000},
        {"system": [{"type": "text", "text": "x" * 1000}]},
        {"thinking": {"something": "x" * 1000}},
        {"unheard_of": [["x" * 1000]]},
        {"tools": [{"name": "x" * 1000}]},
        {"tools": [{"name": "a", "input_schema": {"properties": {"x" * 1000: {}}}}]},
    ],
)
def test_whatever_is_not_known_to_be_no_text_counts(brought):
    assert added([], **brought) >= 500


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_result", "tool_use_id": "a", "content": "x" * 1000},
        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "x" * 1000}]},
        {"type": "tool_use", "id": "a", "name": "b", "input": {"c": "x" * 1000}},
        {"type": "thinking", "thinking": "x" * 1000, "signature": ""},
        {"type": "redacted_thinking", "data": "x" * 1000},
        {"type": "web_search_tool_result", "content": [{"encrypted_content": "x" * 1000}]},
        {"type": "search_result", "source": "a", "title": "b", "content": [{"type": "text", "text": "x" * 1000}]},
        {"type": "document", "source": source("text", data="x" * 1000)},
        {"type": "document", "source": source("content", content=[{"type": "text", "text": "x" * 1000}])},
        {"type": "compaction", "content": "x" * 1000},
        {"type": ["no", "name"], "text": "x" * 1000},
    ],
)
def test_the_text_of_every_block_counts(block):
    assert 500 <= added([block]) < 1300


@pytest.mark.parametrize("name", ["metadata", "model", "stop_sequences"])
def test_what_claude_does_not_read_does_not_count(name):
    assert added("", **{name: ["x" * 10_000]}) < 100


def test_numbers_count_their_digits():
    grown = tokens("", tools=[{"name": 10**1000}]) - tokens("", tools=[{"name": 1}])
    assert 800 <= grown <= 1000
    assert tokens("", tools=[{"name": [0.1] * 100}]) - tokens("", tools=[{"name": []}]) >= 1000
    assert tokens("", tools=[{"name": [None] * 100}]) - tokens("", tools=[{"name": []}]) >= 100


# Media.


@BOTH
@pytest.mark.parametrize(
    "origin",
    [
        source("base64", media_type="image/png", data=PIXELS),
        source("url", url="https://example.com/a.png"),
        source("file", file_id="file_1"),
    ],
)
def test_an_image_counts_as_the_largest_and_its_bytes_do_not(origin, weights):
    image = {"type": "image", "source": origin}
    assert 0 < added([image], weights) - weights.image < 100
    in_result = {"type": "tool_result", "tool_use_id": "a", "content": [image]}
    assert 0 < added([in_result], weights) - weights.image < 150
    assert estimate_input(asked([image]), weights).unbounded is None


def test_an_image_of_no_known_source_is_text():
    assert added([{"type": "image", "source": source("text", data="x" * 10_000)}]) > 5000 + NEWER.image
    assert added([{"type": "image", "source": "x" * 10_000}]) > 5000 + NEWER.image


@pytest.mark.parametrize("kind", ["tool_use", "server_tool_use", "mcp_tool_use"])
def test_what_a_tool_is_called_with_is_text_even_if_it_looks_like_an_image(kind):
    image = {"type": "image", "source": source("base64", data="x" * 100_000)}
    assert added([{"type": kind, "id": "a", "name": "b", "input": {"c": image}}]) > 50_000
    assert added([], tools=[{"name": "a", "input_schema": image}]) > 50_000


@BOTH
@pytest.mark.parametrize(("size", "pages"), [(4095, 1), (40_960, 11), (30_000_000, 600)])
def test_a_pdf_counts_as_the_pages_that_its_size_allows(size, pages, weights):
    document = {"type": "document", "source": source("base64", media_type="application/pdf", data="A" * size)}
    expected = min(pages * (3000 + weights.image), LARGEST_CONTEXT)
    assert added([document], weights) == pytest.approx(expected, abs=800)
    assert estimate_input(asked([document]), weights).unbounded is None


@pytest.mark.parametrize("kind", ["url", "file"])
def test_a_document_from_elsewhere_has_no_bound(kind):
    estimate = estimate_input(asked([{"type": "document", "source": source(kind)}]), NEWER)
    assert estimate.unbounded == f"document.{kind}"
    assert estimate.tokens > 100_000


@pytest.mark.parametrize("kind", ["container_upload", "tool_addition"])
def test_blocks_that_bring_what_is_not_there_have_no_bound(kind):
    assert estimate_input(asked([{"type": kind, "file_id": "file_1"}]), NEWER).unbounded == kind


# What Claude adds.


@BOTH
def test_tools_bring_a_prompt_of_their_own(weights):
    tool = {"name": "a", "input_schema": {"type": "object"}}
    assert 0 < added([], weights, tools=[tool]) - weights.tools < 100
    assert 0 < added([], weights, tools=[tool | {"type": "custom"}]) - weights.tools < 100
    assert added([], weights, tools=[]) < 20


def test_a_tool_that_claude_brings_has_its_description_there():
    assert 3000 < added([], tools=[{"type": "bash_20250124", "name": "bash"}]) - NEWER.tools < 3100
    assert added([], tools="no list") < 1200


@pytest.mark.parametrize("name", ["output_config", "output_format"])
def test_a_format_of_the_output_brings_a_prompt(name):
    assert 400 < added([], **{name: {"format": {}}}) < 500


# The cache.


@pytest.mark.parametrize(
    ("fields", "cache"),
    [
        ({}, ""),
        ({"cache_control": {"type": "ephemeral"}}, "5m"),
        ({"cache_control": {"type": "ephemeral", "ttl": "5m"}}, "5m"),
        ({"cache_control": {"type": "ephemeral", "ttl": "1h"}}, "1h"),
        ({"system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}, "1h"),
        ({"tools": [{"name": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]}, "1h"),
        ({"tools": [{"name": "1h"}]}, ""),
    ],
)
def test_a_request_writes_to_the_cache_for_as_long_as_it_says(fields, cache):
    assert estimate_input(asked("within 1h", **fields), NEWER).cache == cache


# Bounds.

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(), inner)
        | st.fixed_dictionaries(
            {"type": st.sampled_from(["image", "document", "tool_use", "text"]) | inner},
            optional={
                "source": st.fixed_dictionaries({"type": st.sampled_from(["base64", "url"])}, optional={"data": inner}),
                "input": inner,
                "content": inner,
            },
        )
    ),
    max_leaves=20,
)
names = st.sampled_from(["messages", "system", "tools", "model", "output_config", "cache_control"]) | st.text()


@given(st.dictionaries(names, json), st.sampled_from([OLDER, NEWER]))
def test_any_json_has_an_estimate(fields, weights):
    assert 0 < estimate_input(fields, weights).tokens <= LARGEST_CONTEXT


@given(st.lists(st.text(), max_size=5), st.text(), st.sampled_from([OLDER, NEWER]))
def test_more_text_is_never_fewer_tokens(texts, more, weights):
    blocks = [{"type": "text", "text": text} for text in texts]
    before = tokens(blocks, weights)
    assert tokens([*blocks, {"type": "text", "text": more}], weights) >= before
    assert tokens(blocks, weights, system=more) >= before


@given(st.text(max_size=50), st.sampled_from([OLDER, NEWER]))
def test_no_script_is_more_than_a_token_per_byte(text, weights):
    grown = tokens("x" + text, weights) - tokens("x", weights)
    assert grown <= len(text.encode()) + 1


@BOTH
def test_nothing_is_over_the_largest_context(weights):
    assert tokens("ä" * 1_600_000, weights) == LARGEST_CONTEXT
    assert tokens("x" * 30_000_000, weights) == LARGEST_CONTEXT
    assert tokens("x" * 1_000_000, weights) < LARGEST_CONTEXT


def test_a_request_of_too_many_values_counts_as_a_whole_context():
    estimate = estimate_input(asked([[]] * 200_001), NEWER)
    assert estimate == (LARGEST_CONTEXT, "1h", "values")
    assert tokens([{"type": "text", "text": ""}] * 10_000) < LARGEST_CONTEXT


def test_deep_nesting_is_read_to_its_end():
    deep = "x" * 1000
    for _ in range(5000):
        deep = [deep]
    assert added(deep) >= 500
    assert added([{"type": "document", "source": source("base64", data=deep)}]) > 3000


def test_a_hostile_body_takes_about_as_long_as_a_plain_one_of_its_size():
    """Two seconds for what takes 30 ms here: only what grows faster than the body could take that long."""
    began = time.process_time()
    tokens([[[]] * 1000] * 1000)
    tokens([{}] * 1_000_000)
    tokens("x" * 30_000_000)
    assert time.process_time() - began < 2
