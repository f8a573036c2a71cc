"""A stream of events is the same however it is cut into chunks, and its bytes pass unchanged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.sse import EventSplitter, EventTooLarge, parse_event
from tests.support.whatwg import interpret

PLENTY = 1 << 24


def split(stream, sizes=(), max_event=PLENTY):
    """Feed a stream in chunks of the given sizes, the last of them again and again; return bytes, events and rest."""
    splitter = EventSplitter(max_event)
    sizes = iter(sizes)
    size = next(sizes, len(stream) or 1)
    passed, events, position = b"", [], 0
    while position < len(stream):
        raw, found = splitter.feed(stream[position : position + size])
        passed += raw
        events += found
        position += size
        size = next(sizes, size)
    return passed, events, splitter.flush()


def dispatched(events):
    """Return name and data of the events that have data, as the standard's reader does."""
    parsed = [parse_event(event) for event in events]
    return [(name.decode(), data.decode()) for name, data in parsed if data is not None]


LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
FIELDS = st.sampled_from(
    [
        *("event: ping", "event:", "event", "data: {}", "data:{}", "data:  two", "data", "data:", ": comment", ":"),
        *("id: 7", "retry: 10", "Data: no", "data : no", "dat", "data: a: b", "data: é\U0001f642", " data: no"),
    ]
)
LINES = st.tuples(st.one_of(FIELDS, st.just(""), st.text("dat: \u2028\x0b\x00", max_size=4)), LINE_ENDS).map("".join)
STREAMS = st.tuples(st.sampled_from([b"", b"\xef\xbb\xbf"]), st.lists(LINES, max_size=30).map("".join)).map(
    lambda parts: parts[0] + parts[1].encode()
)
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=20)


@given(STREAMS, SIZES)
def test_no_cut_into_chunks_changes_events_or_bytes(stream, sizes):
    whole, cut = split(stream), split(stream, sizes)
    assert cut == whole
    assert b"".join((cut[0], cut[2])) == stream


@given(STREAMS)
def test_events_are_those_of_the_standard(stream):
    """At the end of the body what waits for its blank line is ours to judge; the standard throws it away."""
    _, events, rest = split(stream + b"\n\n:")
    assert dispatched(events) == interpret(stream + b"\n\n")
    assert rest in {b":", b"\n:"}


@pytest.mark.parametrize("size", [1, 7, 1000, PLENTY])
def test_recorded_streams_come_through_any_chunks(recording, size):
    passed, events, rest = split(recording.raw, [size])
    assert passed + rest == recording.raw
    assert dispatched([*events, rest]) == recording.events


@pytest.mark.parametrize(
    ("event", "name", "data"),
    [
        (b"event: ping\ndata: {}", b"ping", b"{}"),
        (b"data: {}\nevent: ping", b"ping", b"{}"),
        (b"event: a\nevent: b\ndata: 1", b"b", b"1"),
        (b"data: 1\ndata: 2\rdata: 3\r\ndata: 4", b"", b"1\n2\n3\n4"),
        (b"data", b"", b""),
        (b"data:", b"", b""),
        (b"data:\ndata:", b"", b"\n"),
        (b"data:  two spaces", b"", b" two spaces"),
        (b"data:x:y", b"", b"x:y"),
        (b"event\ndata: 1", b"", b"1"),
        (b": data: 1", b"", None),
        (b"id: 1\nretry: 5\nfoo: bar", b"", None),
        (b"event: alone", b"alone", None),
        (b"", b"", None),
        (b"\xef\xbb\xbfevent: first\ndata: 1", b"first", b"1"),
        (b"\n\nevent: late\ndata: 1\n\n", b"late", b"1"),
    ],
)
def test_fields_of_an_event(event, name, data):
    assert parse_event(event) == (name, data)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_an_event_is_complete_with_the_last_byte_of_its_blank_line(end):
    """Not one byte later: the next may take minutes."""
    splitter = EventSplitter(PLENTY)
    assert splitter.feed(b"data: 1" + end) == (b"", [])
    assert splitter.feed(end) == (b"data: 1" + end + end, [b"data: 1"])
    assert splitter.flush() == b""


def test_a_line_end_that_is_cut_in_two_is_one_line_end():
    splitter = EventSplitter(PLENTY)
    assert splitter.feed(b"data: 1\r\n\r") == (b"", [])
    assert splitter.feed(b"\ndata: 2") == (b"data: 1\r\n\r\n", [b"data: 1"])
    assert splitter.feed(b"\r\n\r") == (b"", [])
    assert splitter.flush() == b"data: 2\r\n\r"


def test_several_events_of_one_read_leave_together():
    raw, events = EventSplitter(PLENTY).feed(b"data: 1\n\ndata: 2\r\n\r\ndata: 3\n\ndata")
    assert raw == b"data: 1\n\ndata: 2\r\n\r\ndata: 3\n\n"
    assert events == [b"data: 1", b"data: 2", b"data: 3"]


@pytest.mark.parametrize("end", [b"", b"\r"])
def test_an_unfinished_event_over_the_limit_is_refused(end):
    splitter = EventSplitter(10)
    assert splitter.feed(b"data: 1\n\n" + end + b"data:") == (b"data: 1\n\n", [b"data: 1"])
    splitter.feed(b"12345"[len(end) :])
    with pytest.raises(EventTooLarge):
        splitter.feed(b"6")


def test_the_limit_is_of_one_event_not_of_the_stream():
    stream = b"data: 1\n\n" * 100
    assert len(split(stream, [4], max_event=9)[1]) == 100


def test_after_a_flush_nothing_is_left():
    splitter = EventSplitter(10)
    splitter.feed(b"data: 12")
    assert splitter.flush() == b"data: 12"
    assert splitter.flush() == b""
    assert splitter.feed(b"data: 34\n\n") == (b"data: 34\n\n", [b"data: 34"])


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_events_before_one_that_is_too_large_are_not_lost(end):
    good = b"data: 1" + end + end
    with pytest.raises(EventTooLarge) as caught:
        EventSplitter(10).feed(good + b"data: 12345")
    assert (caught.value.raw, caught.value.events) == (good, [b"data: 1"])


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_event_over_the_limit_is_refused_however_it_was_cut(size):
    splitter = EventSplitter(50)
    stream = b"data: small\n\n" + b"data: " + b"x" * 60 + b"\n\n" + b"data: after\n\n"
    raw, events = b"", []

    def feed(chunk: bytes) -> bool:
        nonlocal raw, events
        try:
            taken, found = splitter.feed(chunk)
        except EventTooLarge as error:
            taken, found, chunk = error.raw, error.events, b""
        raw, events = raw + taken, events + found
        return not chunk

    assert any(feed(stream[start : start + size]) for start in range(0, len(stream), size))
    assert (raw, events) == (b"data: small\n\n", [b"data: small"])


def test_a_chunk_over_the_limit_of_events_below_it_is_taken():
    assert EventSplitter(20).feed(b"data: a\n\n" * 10)[1] == [b"data: a"] * 10
