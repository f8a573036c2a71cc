"""Claude's usage is cumulative: of every count the last value that was told is the one that holds."""

from __future__ import annotations

import pytest

from gateway.core.outcome import Usage
from gateway.core.usage import Tally


def tally(*usages, final=True):
    folded = Tally()
    for usage in usages:
        folded.fold(usage, final=final)
    return folded


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        ([{"input_tokens": 25, "output_tokens": 1}, {"output_tokens": 9}], Usage(25, 9)),
        ([{"input_tokens": 25, "output_tokens": 1}, {"input_tokens": 40, "output_tokens": 9}], Usage(40, 9)),
        ([{"input_tokens": 25, "output_tokens": 9}, {"input_tokens": 0, "output_tokens": 0}], Usage(0, 0)),
        ([{"input_tokens": 25, "output_tokens": 9}, {"input_tokens": None, "output_tokens": 9}], Usage(25, 9)),
        ([{"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}], Usage(0, 9, 4)),
        ([{"output_tokens": 9, "output_tokens_details": None, "server_tool_use": "none"}], Usage(0, 9)),
        ([{"output_tokens": 9, "server_tool_use": {"web_search_requests": 2}}], Usage(0, 9, web_search_requests=2)),
        ([{"output_tokens": 9, "cache_read_input_tokens": 70}], Usage(0, 9, cache_read_tokens=70)),
        ([{"output_tokens": True, "input_tokens": "7"}, {"output_tokens": -1}, {"output_tokens": 2.5}], None),
    ],
)
def test_the_last_value_of_each_count_wins(told, usage):
    assert tally(*told).usage() == usage


@pytest.mark.parametrize("nothing", [None, [], "12", 7, {}, {"output_tokens": None}])
def test_nothing_told_is_no_usage(nothing):
    assert tally(nothing).usage() is None


@pytest.mark.parametrize(
    ("told", "five_minutes", "one_hour"),
    [
        ({"cache_creation_input_tokens": 70}, 70, 0),
        ({"cache_creation_input_tokens": 70, "cache_creation": {"ephemeral_1h_input_tokens": 30}}, 40, 30),
        ({"cache_creation_input_tokens": 20, "cache_creation": {"ephemeral_1h_input_tokens": 30}}, 0, 20),
        ({"cache_creation": {"ephemeral_1h_input_tokens": 30, "ephemeral_5m_input_tokens": 5}}, 5, 30),
        ({"cache_creation_input_tokens": None, "cache_creation": {"ephemeral_5m_input_tokens": 5}}, 5, 0),
        ({"cache_creation_input_tokens": 0, "cache_creation": None}, 0, 0),
    ],
)
def test_cache_writes_are_split_by_lifetime_and_never_add_up_to_more_than_their_sum(told, five_minutes, one_hour):
    usage = tally(told).usage()
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (five_minutes, one_hour)


def test_the_split_of_the_start_holds_when_only_the_sum_grows():
    """``message_delta`` repeats the sum without the split; what is new counts as five minutes."""
    start = {"cache_creation_input_tokens": 70, "cache_creation": {"ephemeral_1h_input_tokens": 30}}
    usage = tally(start, {"cache_creation_input_tokens": 90}).usage()
    assert (usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (60, 30)


def test_the_first_count_of_a_stream_is_no_sum():
    """``message_start`` counts what was there then; the estimate of what came since holds if it is more."""
    started = tally({"input_tokens": 25, "output_tokens": 3}, final=False)
    assert started.usage(50) == Usage(25, 50, estimated=True)
    assert started.usage(1) == Usage(25, 3, estimated=True)


def test_an_explicit_sum_is_believed_whatever_was_received():
    assert tally({"output_tokens": 0}).usage(50) == Usage(0, 0)


def test_an_estimate_alone_is_a_usage():
    assert Tally().usage(50) == Usage(0, 50, estimated=True)


def test_compaction_and_advisors_are_charged_beside_the_sums():
    folded = tally(
        {
            "output_tokens": 8,
            "iterations": [
                {"type": "message", "input_tokens": 1, "output_tokens": 8},
                {"type": "compaction", "input_tokens": 100, "output_tokens": 83, "cache_read_input_tokens": 5},
                {"type": "advisor_message", "model": "claude-opus-5", "input_tokens": 800, "output_tokens": 70},
                {"type": "advisor_message", "model": 5},
                {"type": "compaction", "model": None, "output_tokens": 0},
                {"type": "something_new", "input_tokens": 7},
                {"type": ["compaction"]},
                "compaction",
            ],
        }
    )
    assert folded.usage() == Usage(0, 8)
    assert folded.beside() == [
        (None, Usage(100, 83, cache_read_tokens=5)),
        ("claude-opus-5", Usage(800, 70)),
        (None, Usage(0, 0)),
    ]


def test_iterations_are_cumulative_too():
    entry = {"type": "compaction", "output_tokens": 5}
    assert len(tally({"iterations": [entry]}, {"iterations": [entry, entry]}, {"iterations": None}).beside()) == 2


@pytest.mark.parametrize(
    ("iterations", "model"),
    [
        ([], None),
        ([{"type": "message", "model": "a"}], None),
        ([{"type": "message", "model": "a"}, {"type": "fallback_message", "model": "b"}], "b"),
        ([{"type": "fallback_message", "model": "b"}, {"type": "fallback_message", "model": "c"}], "c"),
        ([{"type": "fallback_message", "model": "b"}, {"type": "fallback_message"}], "b"),
        ([{"type": "fallback_message", "model": None}], None),
    ],
)
def test_a_fallback_message_names_the_model_that_served_the_turn(iterations, model):
    assert tally({"iterations": iterations}).served_by() == model
