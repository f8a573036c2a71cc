import random

import orjson

from gateway.core.claude import Fold, load_json
from gateway.core.sse import EventSplitter, parse_event
from gateway.simulator.cache import InputUsage
from gateway.simulator.script import Block, Script
from gateway.simulator.wire import Head, Pace, delta_event, message, stream

HEAD = Head("msg_01x", "claude-x", InputUsage(10, 20, 30, 40))
TEXT = Script((Block("text", ("Hello", ' "you"', "\ud83d")),), "end_turn")
TOOL = Script(
    (
        Block("thinking", ("Hm",), signature="sig"),
        Block("text", ("Wait",)),
        Block("tool_use", ('{"a"', ": 1}"), id="toolu_01x", name="look"),
    ),
    "tool_use",
    thinking_asked=True,
)


def pace(first=1.0, spacing=0.5, jitter=0.0, seed=0):
    return Pace(first / 2, first, spacing, jitter, random.Random(seed))


def events(script, **options):
    data = b"".join(frame.data for frame in stream(script, HEAD, pace(**options)))
    return [parse_event(event) for event in EventSplitter(1 << 20).feed(data)[1]]


def names(script):
    return [name.decode() for name, _ in events(script)]


def test_the_events_come_in_claudes_order_with_a_ping_after_the_first_block_start():
    assert names(TEXT) == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_an_answer_without_content_has_its_ping_before_the_end():
    assert names(Script((), "refusal")) == ["message_start", "ping", "message_delta", "message_stop"]


def test_the_bytes_are_claudes_but_for_the_padding():
    first = events(Script((), "end_turn"))[0][1]
    assert first.replace(b" ", b"") == (
        b'{"type":"message_start","message":{"model":"claude-x","id":"msg_01x","type":"message","role":"assistant",'
        b'"content":[],"stop_reason":null,"stop_sequence":null,"stop_details":null,"usage":{"input_tokens":10,'
        b'"cache_creation_input_tokens":70,"cache_read_input_tokens":20,"cache_creation":'
        b'{"ephemeral_5m_input_tokens":30,"ephemeral_1h_input_tokens":40},"output_tokens":1,'
        b'"service_tier":"standard","inference_geo":"not_available"}}}'
    )


def test_some_events_are_padded_before_their_last_brace():
    padded = [data for _, data in events(TEXT) if data is not None and data.endswith(b" }")]
    assert padded
    assert all(load_json(data) for data in padded)


def test_usage_is_cumulative_and_thinking_is_told_when_it_was_asked_for():
    usage = orjson.loads(events(TOOL)[-2][1])["usage"]
    assert usage == {
        "input_tokens": 10,
        "cache_creation_input_tokens": 70,
        "cache_read_input_tokens": 20,
        "output_tokens": 4,
        "output_tokens_details": {"thinking_tokens": 1},
    }
    assert "output_tokens_details" not in orjson.loads(events(TEXT)[-2][1])["usage"]


def test_a_tools_input_starts_empty_and_comes_in_pieces():
    partial = [
        body["delta"]["partial_json"]
        for name, data in events(TOOL)
        if name == b"content_block_delta" and (body := orjson.loads(data))["delta"]["type"] == "input_json_delta"
    ]
    assert partial == ["", '{"a"', ": 1}"]


def test_hidden_thinking_sends_an_empty_delta_and_its_signature():
    hidden = Script((Block("thinking", ("Hm", "!"), signature="sig", hidden=True),), "end_turn", thinking_asked=True)
    deltas = [orjson.loads(data)["delta"] for name, data in events(hidden) if name == b"content_block_delta"]
    assert deltas == [
        {"type": "thinking_delta", "thinking": ""},
        {"type": "signature_delta", "signature": "sig"},
    ]
    assert orjson.loads(message(hidden, HEAD))["content"][0]["thinking"] == ""


def test_the_gateways_own_reader_agrees_on_the_usage():
    fold = Fold()
    for frame in stream(TOOL, HEAD, pace()):
        fold.read(frame.data.rstrip(b"\n"))
    usage = fold.usage()
    assert usage is not None
    assert (usage.output_tokens, usage.cache_write_1h_tokens, usage.estimated) == (4, 40, False)
    assert fold.stopped


def test_the_whole_message_says_what_the_stream_says():
    whole = orjson.loads(message(TOOL, HEAD))
    assert [block["type"] for block in whole["content"]] == ["thinking", "text", "tool_use"]
    assert whole["content"][2]["input"] == {"a": 1}
    assert whole["usage"]["output_tokens"] == 4
    assert whole["stop_reason"] == "tool_use"


def test_a_tools_input_that_was_cut_is_empty_in_the_whole_message():
    cut = Script((Block("tool_use", ('{"a"',), id="t", name="look"),), "max_tokens")
    assert orjson.loads(message(cut, HEAD))["content"][0]["input"] == {}


def test_a_refusal_carries_its_details():
    details = {"type": "refusal", "category": None, "explanation": None}
    refused = Script((), "refusal")
    assert orjson.loads(message(refused, HEAD))["stop_details"] == details
    assert orjson.loads(events(refused)[-2][1])["delta"]["stop_details"] == details


def test_tokens_follow_an_absolute_schedule():
    script = Script((Block("text", ("a", "b", "c")),), "end_turn")
    moments = [frame.at for frame in stream(script, HEAD, pace(first=1.0, spacing=0.5)) if frame.tokens]
    assert moments == [1.0, 1.5, 2.0]
    assert next(iter(stream(script, HEAD, pace(first=1.0)))).at == 0.5


def test_jitter_is_late_only_and_never_reorders():
    script = Script((Block("text", ("a",) * 200),), "end_turn")
    moments = [frame.at for frame in stream(script, HEAD, pace(first=0.0, spacing=0.01, jitter=0.1)) if frame.tokens]
    assert moments == sorted(moments)
    assert all(0 <= at - number * 0.01 <= 0.1 for number, at in enumerate(moments))
    again = [frame.at for frame in stream(script, HEAD, pace(first=0.0, spacing=0.01, jitter=0.1)) if frame.tokens]
    assert moments == again


def test_half_a_character_is_sent_escaped():
    assert b'"text":"\\ud83d"' in delta_event(0, "text_delta", "text", "\ud83d")
