"""The frames and bodies that the existing frontends understand."""

from __future__ import annotations

import json

import pytest

from gateway.core.call import Summary
from gateway.core.claude import Fold
from gateway.core.dialects.chat import ChatEncoder, answer_body, error_body, metadata_of, sentence
from gateway.core.errors import (
    BodyTooLarge,
    Forbidden,
    GatewayFault,
    InvalidRequest,
    MessageRequired,
    Overloaded,
    RateLimited,
    TooManyFailures,
    Unauthenticated,
    UpstreamCredential,
    UpstreamMalformed,
    UpstreamRefused,
    UpstreamTruncated,
)
from gateway.core.outcome import Usage
from gateway.core.sse import EventSplitter

NOW = 1_764_000_000_000
SUMMARY = Summary(
    request_id="req_gw1",
    model="claude-sonnet-5-5",
    stop_reason="end_turn",
    usage=Usage(10, 20, 5, 30, 7, 8),
    time_to_first_token_ms=312,
    duration_ms=2500,
    tokens_per_second=19.96,
    cost_usd=0.000123456789123,
)


def frames(raw):
    """Read frames as the frontends do: lines that start with ``data: ``."""
    assert raw == b"" or raw.endswith(b"\n\n")
    return [json.loads(line[6:]) for line in raw.decode().split("\n") if line.startswith("data: ")]


def delta(kind, **fields):
    body = {"type": "content_block_delta", "index": 0, "delta": {"type": kind, **fields}}
    return f"event: content_block_delta\ndata: {json.dumps(body)}".encode()


def feed(events, **options):
    return ChatEncoder(Fold(), **options).feed(b"".join(event + b"\n\n" for event in events), events, NOW)


def test_one_text_delta_is_one_frame():
    assert feed([delta("text_delta", text='Hi "you"\n')]) == (
        b'data: {"token":"Hi \\"you\\"\\n","type":"text","timestamp":1764000000000}\n\n'
    )
    several = feed([delta("text_delta", text=text) for text in ("a", "", "b")])
    assert [frame["token"] for frame in frames(several)] == ["a", "", "b"]


def test_a_text_delta_that_comes_alone_is_the_same_frame():
    event = delta("text_delta", text='Hi "you"\n').replace(b": {", b":{").replace(b": ", b":").replace(b", ", b",")
    event = event.replace(b":", b": ", 1).replace(b"data:", b"data: ")
    assert ChatEncoder(Fold()).single(event + b"\n\n", NOW + 0.9) == feed([event])
    assert ChatEncoder(Fold()).single(event, NOW) == b""


def utf_16(texts):
    """Return texts as JavaScript has them, where halves that meet are a character."""
    return "".join(texts).encode("utf-16", "surrogatepass")


def lagging(events, **options):
    """Return the frames for a client that lags, and how many fewer they are."""
    encoder = ChatEncoder(Fold(), **options)
    raw = encoder.feed(b"".join(event + b"\n\n" for event in events), events, NOW, merge=True)
    return frames(raw), encoder.merged


def test_the_texts_of_one_read_are_one_frame_for_a_client_that_lags():
    told, merged = lagging([delta("text_delta", text=text) for text in ("He said", ' "', "", 'Hi"\n', "né")])
    assert [frame["token"] for frame in told] == ['He said "Hi"\nné']
    assert merged == 4


def test_a_single_text_is_not_merged_with_anything():
    assert lagging([delta("text_delta", text="a"), b'event: ping\ndata: {"type": "ping"}'])[1] == 0


def test_what_is_merged_keeps_its_order():
    kinds = [("thinking_delta", "thinking"), ("text_delta", "text")]
    events = [delta(kind, **{name: f"{number}{name[1]}"}) for number in (1, 2) for kind, name in kinds for _ in "ab"]
    told, merged = lagging(events, thinking=True)
    assert [(frame["type"], frame["token"]) for frame in told] == [
        ("thinking", "1h1h"),
        ("text", "1e1e"),
        ("thinking", "2h2h"),
        ("text", "2e2e"),
    ]
    assert merged == 4
    told, _ = lagging(events)
    assert [frame["token"] for frame in told] == ["1e1e2e2e"]


def test_halves_of_a_character_that_are_merged_are_a_character():
    ((frame,), _) = lagging([delta("text_delta", text="\ud83d"), delta("text_delta", text="\ude42")])
    assert frame["token"] == "\U0001f642"


def test_what_follows_an_error_is_not_merged_into_what_came_before():
    told, _ = lagging(
        [delta("text_delta", text="a"), b'event: error\ndata: {"type":"error"}', delta("text_delta", text="b")]
    )
    assert [frame["token"] for frame in told] == ["a"]


@pytest.mark.parametrize("merge", [False, True])
def test_every_recorded_text_arrives_also_when_it_is_merged(recording, merge):
    """In reads of 16 KiB, as a client that lags gets them."""
    splitter, raw = EventSplitter(1 << 24), recording.raw
    encoder = ChatEncoder(Fold())
    sent = b""
    for start in range(0, len(raw), 16384):
        chunk, events = splitter.feed(raw[start : start + 16384])
        sent += encoder.feed(chunk, events, NOW, merge=merge)
    rest = splitter.flush()
    sent += encoder.feed(rest, [rest], NOW, merge=merge)
    told = frames(sent)
    assert utf_16(frame["token"] for frame in told) == utf_16(recording.texts)
    assert len(told) + encoder.merged == len(recording.texts)


@pytest.mark.parametrize("size", [1, 1000, None])
def test_every_recorded_text_delta_is_a_frame(recording, size):
    fold, splitter, raw = Fold(), EventSplitter(1 << 24), recording.raw
    encoder = ChatEncoder(fold)
    size = size or len(raw)
    sent = b""
    for start in range(0, len(raw), size):
        chunk, events = splitter.feed(raw[start : start + size])
        if events:
            sent += encoder.feed(chunk, events, NOW)
    rest = splitter.flush()
    sent += encoder.feed(rest, [rest], NOW)
    assert [frame["token"] for frame in frames(sent)] == recording.texts
    assert {frame["type"] for frame in frames(sent)} <= {"text"}


def test_halves_of_a_character_meet_at_the_client():
    raw = feed([delta("text_delta", text="\ud83d"), delta("text_delta", text="\ude42")])
    assert b"\\ud83d" in raw
    joined = "".join(frame["token"] for frame in frames(raw))
    assert joined.encode("utf-16", "surrogatepass").decode("utf-16") == "\U0001f642"


@pytest.mark.parametrize(
    "event",
    [
        b": comment",
        b'event: ping\ndata: {"type": "ping"}',
        b"event: future\ndata: ?",
        delta("signature_delta", signature="c2ln"),
        delta("input_json_delta", partial_json="{"),
        delta("thinking_delta", thinking="Hm."),
        delta("text_delta"),
        delta("text_delta", text=7),
        b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{}}',
        b'event: error\ndata: {"type":"error"}',
    ],
)
def test_what_the_frontends_do_not_understand_is_not_sent(event):
    assert feed([event]) == feed([event, event]) == b""


def test_thinking_is_sent_to_those_who_asked_for_it():
    raw = feed([delta("thinking_delta", thinking="Hm."), delta("text_delta", text="Hi")], thinking=True)
    assert [(frame["type"], frame["token"]) for frame in frames(raw)] == [("thinking", "Hm."), ("text", "Hi")]


def test_the_encoder_leaves_errors_to_the_error_frame():
    assert ChatEncoder.forwards_errors is False


def test_done_is_the_last_frame_of_a_good_answer():
    (frame,) = frames(ChatEncoder(Fold()).done(SUMMARY, NOW))
    assert frame == {
        "token": "",
        "type": "done",
        "timestamp": NOW,
        "metadata": {
            "requestId": "req_gw1",
            "model": "claude-sonnet-5-5",
            "stopReason": "end_turn",
            "usage": {"inputTokens": 10, "outputTokens": 20, "cacheReadTokens": 30, "cacheCreationTokens": 15},
            "timeToFirstTokenMs": 312,
            "durationMs": 2500,
            "tokensPerSecond": 20.0,
            "costUsd": 0.000123457,
        },
    }


def test_what_is_not_known_is_null_and_no_usage_is_zeros():
    metadata = metadata_of(Summary("r", None, None, None, None, 5, None, None))
    assert metadata["usage"] == {"inputTokens": 0, "outputTokens": 0, "cacheReadTokens": 0, "cacheCreationTokens": 0}
    unknown = {name for name, value in metadata.items() if value is None}
    assert unknown == {"model", "stopReason", "timeToFirstTokenMs", "tokensPerSecond", "costUsd"}


def test_an_error_frame_says_what_a_person_reads_and_what_a_program_does():
    error = Overloaded("Too busy.", retry_after=1.25)
    (frame,) = frames(ChatEncoder(Fold()).error(error, "req_gw1", NOW))
    assert frame == {
        "token": "Too busy.",
        "type": "error",
        "timestamp": NOW,
        "metadata": {"code": "overloaded", "retryable": True, "requestId": "req_gw1", "retryAfterMs": 1250},
    }


def test_an_error_frame_leaves_out_a_wait_that_is_not_known():
    (frame,) = frames(ChatEncoder(Fold()).error(UpstreamTruncated("It ended early."), "req_gw1", NOW))
    assert frame["metadata"] == {"code": "upstream_truncated", "retryable": True, "requestId": "req_gw1"}


def refused(kind, status, message="Overloaded", retry_after=None):
    return UpstreamRefused(message, status=status, claude_type=kind, retryable=True, retry_after=retry_after)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (refused("overloaded_error", 529), "Claude is overloaded at the moment. Please try again shortly."),
        (refused("api_error", 500), "Claude had an internal error. Please try again."),
        (refused("rate_limit_error", 429), "Claude takes no more requests at the moment. Please try again shortly."),
        (refused("timeout_error", 504), "Claude took too long to answer. Please try again."),
        (refused("invalid_request_error", 400, "messages.0: empty"), "messages.0: empty"),
        (InvalidRequest("model: wrong"), "model: wrong"),
    ],
)
def test_a_person_reads_a_sentence(error, words):
    assert sentence(error) == words


@pytest.mark.parametrize(
    ("error", "body"),
    [
        (MessageRequired(), {"error": "Message is required", "code": "message_required"}),
        (InvalidRequest("maxTokens: too small."), {"error": "maxTokens: too small.", "code": "invalid_request"}),
        (
            refused("invalid_request_error", 400, "prompt is too long"),
            {"error": "prompt is too long", "code": "invalid_request"},
        ),
        (refused("not_found_error", 404, "model: x"), {"error": "model: x", "code": "upstream_not_found_error"}),
        (Unauthenticated("Who?"), {"error": "Who?", "code": "unauthenticated"}),
        (Forbidden("No."), {"error": "No.", "code": "forbidden"}),
        (BodyTooLarge("Over 32 MiB."), {"error": "Over 32 MiB.", "code": "request_too_large"}),
        (
            RateLimited("Slow down.", limit="key-requests-per-minute", retry_after=6.2),
            {
                "error": "Too many requests",
                "retryAfter": 7,
                "code": "rate_limited",
                "limit": "key-requests-per-minute",
                "message": "Slow down.",
            },
        ),
        (
            TooManyFailures("Too many failed.", retry_after=0.0),
            {
                "error": "Too many requests",
                "retryAfter": 1,
                "code": "rate_limited",
                "limit": "failed-authentications",
                "message": "Too many failed.",
            },
        ),
        (
            refused("rate_limit_error", 429),
            {
                "error": "Too many requests",
                "retryAfter": 5,
                "code": "rate_limited",
                "limit": "upstream",
                "message": "Claude takes no more requests at the moment. Please try again shortly.",
            },
        ),
        (
            GatewayFault("Something went wrong."),
            {
                "error": "Failed to stream response",
                "message": "Something went wrong.",
                "code": "internal_error",
                "retryable": False,
            },
        ),
        (
            refused("overloaded_error", 529, retry_after=30.0),
            {
                "error": "Failed to stream response",
                "message": "Claude is overloaded at the moment. Please try again shortly.",
                "code": "upstream_overloaded_error",
                "retryAfter": 30,
            },
        ),
        (
            UpstreamCredential("Refused.", detail="invalid x-api-key"),
            {
                "error": "Failed to stream response",
                "message": "Refused.",
                "code": "upstream_credential",
                "retryable": False,
            },
        ),
    ],
)
def test_errors_before_the_stream(error, body):
    assert error_body(error, "req_gw1") == {**body, "requestId": "req_gw1"}


def test_the_answer_without_a_stream_is_all_text():
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "text": "not this"},
        {"type": "text", "text": "Half \ud83d"},
        {"type": "tool_use", "input": {}},
        {"type": "text", "text": "\ude42 and half \ud83d"},
        {"type": "text", "text": None},
        "text",
    ]
    body = answer_body({"content": blocks}, SUMMARY)
    assert body == {"text": "Half \U0001f642 and half \ufffd", "metadata": metadata_of(SUMMARY)}
    assert answer_body({"content": []}, SUMMARY)["text"] == ""


@pytest.mark.parametrize("message", [{}, {"content": None}, {"content": "Hi"}, {"content": {"text": "Hi"}}])
def test_a_message_without_content_is_no_empty_answer(message):
    with pytest.raises(UpstreamMalformed):
        answer_body(message, SUMMARY)
