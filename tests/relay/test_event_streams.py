"""Event streams as the WHATWG standard has them, however they are written and cut, against an independent reader."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.support.frames import frames
from tests.support.relaying import Stage
from tests.support.whatwg import interpret

TEXTS = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from('"\\\n\r é\u2028\U0001f642')), max_size=6
)
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])
# Cut anywhere: in a character, a CRLF, a field's name.
SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=20)
# Lines that change nothing about an event: comments, other fields, fields without a colon, names that are none.
IDLE_LINES = st.sampled_from(
    [": comment", ":", "id: 7", "id", "retry: 10", "retry", "future: x", "Data: no", " data: no", "é"]
)


@st.composite
def bodies(draw):
    """Draw one of Claude's events: its name and the lines of its data."""
    kind = draw(st.sampled_from(["text", "text", "text", "thinking", "ping", "future", "block"]))
    if kind in ("text", "thinking"):
        delta = {"type": f"{kind}_delta", kind: draw(TEXTS)}
        body = {"type": "content_block_delta", "index": draw(st.integers(0, 11)), "delta": delta}
    elif kind == "block":
        body = {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": "not shown"}}
    else:
        body = {"type": kind}
    escaped, spaced, lines = draw(st.booleans()), draw(st.booleans()), draw(st.sampled_from([None, None, 1]))
    separators = None if spaced else (",", ":")
    text = json.dumps(body, ensure_ascii=escaped, separators=separators, indent=lines)
    if draw(st.booleans()) and lines is None:  # Claude's padding
        text = text[:-1] + "   }"
    return body["type"], text.split("\n")


@st.composite
def written(draw):
    """Draw one event as some server may write it."""
    name, data = draw(bodies())
    colon = draw(st.sampled_from([": ", ":"]))
    lines = [f"event{colon}{name}", *(f"data{colon}{line}" for line in data)]
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        lines.insert(draw(st.integers(0, len(lines))), draw(IDLE_LINES))
    end = draw(LINE_ENDS)
    blank = draw(st.sampled_from([end, end, end * 2]))
    return end.join(lines) + end + blank


STOP = 'event: message_stop\ndata: {"type":"message_stop"}\n\n'
STREAMS = st.tuples(
    st.sampled_from(["", "\ufeff", ": hello\n\n", "\n\n"]),
    st.lists(written(), max_size=12),
    st.sampled_from(["", ": bye\n\n"]),
).map(lambda parts: (parts[0] + "".join(parts[1]) + STOP + parts[2]).encode())


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    chunks, start = [], 0
    while start < len(stream):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(stream[start : start + size])
        start += size
    return chunks


def texts_of(stream: bytes) -> list[str]:
    """Return what a plain reading finds, of an independent reader's events."""
    found = []
    for _, data in interpret(stream):
        body = json.loads(data)
        if body["type"] == "content_block_delta" and body["delta"]["type"] == "text_delta":
            found.append(body["delta"]["text"])
    return found


async def relayed(chunks: list[bytes], dialect: str, **limits) -> Stage:
    stage = Stage(dialect=dialect, **limits).begin()
    for chunk in chunks:
        stage.relay.data(chunk)
    stage.relay.end()
    stage.client.take(10**9)
    await stage.run()
    stage.close()
    return stage


def told(stage: Stage) -> list:
    return frames(stage.client.body) if stage.client.body else []


@given(STREAMS, SIZES)
async def test_claudes_own_events_pass_byte_for_byte(stream, sizes):
    whole = await relayed([stream], "messages")
    pieces = await relayed(cut(stream, sizes), "messages")
    assert whole.client.body == pieces.client.body == stream
    assert whole.relay.failure is pieces.relay.failure is None
    assert whole.relay.fold.deltas == pieces.relay.fold.deltas
    assert whole.relay.fold.usage() == pieces.relay.fold.usage()


@given(STREAMS, SIZES)
async def test_a_text_is_a_frame_wherever_its_bytes_were_cut(stream, sizes):
    whole = await relayed([stream], "chat")
    pieces = await relayed(cut(stream, sizes), "chat")
    assert whole.client.body == pieces.client.body
    assert [frame["token"] for frame in told(pieces)] == texts_of(stream)
    assert whole.relay.failure is pieces.relay.failure is None
    assert whole.relay.fold.usage() == pieces.relay.fold.usage()


@given(STREAMS, SIZES)
async def test_what_is_joined_for_a_client_that_lags_is_the_same_text(stream, sizes):
    stage = await relayed(cut(stream, [size * 20 for size in sizes]), "chat", blocked=True, merge_after=0)
    shown, texts = told(stage), texts_of(stream)
    assert "".join(frame["token"] for frame in shown) == "".join(texts)
    assert len(shown) + stage.relay.encoder.merged == len(texts)


GARBAGE = st.lists(
    st.one_of(
        written().map(str.encode),
        st.binary(max_size=8),
        st.sampled_from(
            [b"data: {\n\n", b"event: error\n\n", b"event: message_stop\ndata: x\n\n", b"\n", b"\r", b"\xef\xbb\xbf"]
        ),
    ),
    max_size=12,
).map(b"".join)


@given(GARBAGE, SIZES)
async def test_garbage_is_the_same_garbage_wherever_it_was_cut(stream, sizes):
    """Never an exception, never more than what came, and never an end in order where there is none."""
    for dialect in ("messages", "chat"):
        whole = await relayed([stream], dialect)
        pieces = await relayed(cut(stream, sizes), dialect)
        assert type(whole.relay.failure) is type(pieces.relay.failure)
        assert (pieces.relay.failure is None) == pieces.relay.fold.stopped
        if not whole.relay.taken or not pieces.relay.taken:
            continue  # an error in the first read lets another attempt follow, and nothing of that read is shown
        if dialect == "chat":
            assert whole.client.body == pieces.client.body
        else:
            assert stream.startswith(pieces.client.body.removesuffix(b"\n\n"))
            assert interpret(whole.client.body) == interpret(pieces.client.body)
