"""What one read brings: a token that leaves alone, or many, in pieces, joined for who lags; and what is counted of it."""

from __future__ import annotations

import json

import pytest

from gateway.core.errors import UpstreamMalformed
from gateway.core.flow import Flow
from tests.support.frames import frames, joined
from tests.support.relaying import HIGH_WATER, Stage
from tests.support.scripted_upstream import BLOCK, END, HELLO, PING, START, event, text_delta

OPEN = START + BLOCK
THOUGHT = event("content_block_delta", ',"index":0,"delta":{"type":"thinking_delta","thinking":"hm"}')
TEN = b"".join(text_delta(f"{number} ") for number in range(10))
MERGE_AFTER = 300


@pytest.fixture(params=["messages", "chat"])
def dialect(request):
    return request.param


async def test_a_token_that_comes_alone_leaves_alone(dialect):
    stage = Stage(dialect=dialect).begin().read(OPEN)
    before = len(stage.client.written)
    stage.read(text_delta("Hel"), text_delta("lo"))
    told = stage.client.written[before:]
    assert len(told) == 2
    if dialect == "messages":
        assert told == [text_delta("Hel"), text_delta("lo")]
    else:
        assert [frame["token"] for frame in frames(b"".join(told))] == ["Hel", "lo"]
    assert stage.relay.sent == len(stage.client.body)
    stage.close()


async def test_alone_or_together_tokens_are_in_the_same_books(dialect):
    books = []
    for reads in ([text_delta("a"), text_delta("b"), THOUGHT], [text_delta("a") + text_delta("b") + THOUGHT]):
        stage = Stage(dialect=dialect).begin().read(OPEN, *reads)
        fold, timing = stage.relay.fold, stage.relay.timing
        books.append(
            (fold.usage(), fold.deltas, fold.text_seen, stage.relay.taken, timing.first_text, timing.last_token)
        )
        stage.close()
    assert books[0][:4] == books[1][:4]


async def test_tokens_that_come_alone_are_timed(dialect):
    stage = Stage(dialect=dialect).begin()
    for seconds in (1, 2, 5, 3):
        await stage.after(seconds)
        stage.read(text_delta("x"))
    timing = stage.relay.timing
    moments = [round(moment - stage.began, 6) for moment in (timing.first_token, timing.first_text, timing.last_token)]
    assert moments == [1, 1, 11]
    assert timing.longest_gap == pytest.approx(5)
    stage.close()


async def test_one_token_has_no_gap():
    stage = Stage().begin().read(text_delta("x"))
    assert stage.relay.timing.longest_gap is None
    stage.close()


async def test_a_token_that_is_the_first_event_is_taken(dialect):
    stage = Stage(dialect=dialect).begin().read(text_delta("x"))
    assert stage.relay.taken
    stage.close()


async def test_a_token_in_the_middle_of_another_is_not_alone(dialect):
    """What looks like a whole event can be the rest of one."""
    stage = Stage(dialect=dialect).begin().read(OPEN, b"data: 7\n", text_delta("x"))
    assert isinstance(stage.relay.failure, UpstreamMalformed)
    assert stage.relay.fold.deltas == 0
    stage.close()


async def test_timestamps_go_on_with_the_clock():
    stage = Stage(dialect="chat").begin().read(text_delta("a"))
    await stage.after(1.25)
    stage.read(text_delta("b"), text_delta("c") + text_delta("d"))
    assert [frame["timestamp"] for frame in frames(stage.client.body)] == [1764000000000, *[1764000001250] * 3]
    stage.close()


async def test_a_token_alone_can_be_the_one_too_many():
    stage = Stage(dialect="chat", blocked=True).begin()
    while not stage.source.paused:
        stage.read(text_delta("x" * 50))
    assert stage.relay.pauses == 1
    assert HIGH_WATER < stage.client.waiting_bytes < HIGH_WATER + 200
    stage.close()


# Large reads.


async def test_a_large_read_leaves_in_pieces_and_unchanged():
    body = OPEN + b"".join(text_delta("x" * number) for number in range(2000)) + END
    stage = Stage(max_event=10_000_000).begin().read(body)
    assert stage.client.body == body
    assert len(stage.client.written) == -(-len(body) // 65536) > 10
    assert max(map(len, stage.client.written)) < 65536 + 3000
    stage.close()


async def test_after_an_error_in_a_large_read_nothing_of_it_counts(dialect):
    body = OPEN + text_delta("a") + event("error", ',"error":{"type":"api_error"}') + text_delta("b") * 2000
    stage = Stage(dialect=dialect).begin().read(body)
    assert stage.relay.failure.code == "upstream_api_error"
    assert len(stage.client.written) == 1
    stage.close()


async def test_a_stream_over_its_limit_ends_in_an_error_and_its_upstream_is_closed(dialect):
    stage = Stage(dialect=dialect, max_stream=len(OPEN) + 3 * len(text_delta("x"))).begin()
    stage.read(OPEN, *[text_delta("x")] * 3)
    assert stage.relay.failure is None
    stage.read(PING)
    await stage.run()
    assert isinstance(stage.relay.failure, UpstreamMalformed)
    assert stage.relay.fold.deltas == 3
    assert stage.source.aborted
    stage.close()


async def test_the_limit_is_of_one_attempt():
    stage = Stage(max_stream=len(HELLO)).begin().read(b": " * 10)
    stage.relay.end()
    await stage.run()
    stage.begin().read(HELLO)
    assert stage.relay.failure is None
    stage.close()


# Clients that lag.


async def test_a_client_that_keeps_up_gets_every_token_in_a_frame_of_its_own():
    stage = Stage(dialect="chat", merge_after=MERGE_AFTER).begin().read(OPEN, TEN, TEN)
    assert [frame["token"] for frame in frames(stage.client.body)] == [f"{number} " for number in range(10)] * 2
    assert stage.relay.flow() is None
    stage.close()


async def test_a_client_that_lags_gets_the_tokens_of_one_read_in_one_frame():
    stage = Stage(dialect="chat", blocked=True, merge_after=MERGE_AFTER).begin().read(OPEN)
    while stage.client.waiting_bytes <= MERGE_AFTER:
        stage.read(text_delta("x"))
    stage.client.written.clear()
    stage.read(TEN, text_delta("alone"), TEN + PING + TEN)
    tokens = [frame["token"] for frame in frames(stage.client.body)]
    assert tokens == ["0 1 2 3 4 5 6 7 8 9 ", "alone", "0 1 2 3 4 5 6 7 8 9 " * 2]
    assert stage.relay.flow() == Flow(merged_frames=28)
    stage.client.take(10_000)
    stage.client.written.clear()
    stage.read(TEN)
    assert len(frames(stage.client.body)) == 10
    stage.close()


async def test_what_is_read_after_a_pause_is_joined_until_the_client_has_caught_up():
    stage = Stage(dialect="chat", blocked=True).begin()  # its mark for merging is far above the one for pausing
    while not stage.source.paused:
        stage.read(text_delta("x" * 50))
    stage.client.written.clear()
    stage.relay.data(OPEN + TEN * 100)
    assert len(frames(stage.client.body)) == 2  # one for each piece
    assert joined(frames(stage.client.body)) == "0 1 2 3 4 5 6 7 8 9 " * 100
    stage.close()


async def test_claudes_own_events_are_never_joined():
    stage = Stage(blocked=True, merge_after=0).begin().read(OPEN, TEN)
    stage.relay.data(TEN)
    assert stage.client.body == OPEN + TEN * 2
    stage.close()


# What is counted.


async def test_pauses_and_their_time_are_counted():
    stage = Stage(dialect="chat", blocked=True, heartbeat=1000.0, slow_client_timeout=1000.0).begin()
    task = stage.loop.create_task(stage.run())
    for seconds in (3, 5):
        while not stage.source.paused:
            stage.read(text_delta("x" * 50))
        await stage.after(seconds)
        stage.client.take(10_000)
        await stage.after(1)
    flow = stage.relay.flow()
    assert flow.pauses == 2
    assert flow.paused == pytest.approx(8)
    while not stage.source.paused:
        stage.read(text_delta("x" * 50))
    await stage.after(4)
    assert stage.relay.flow().paused == pytest.approx(12)  # the pause that is not over counts, too
    task.cancel()
    stage.close()


async def test_heartbeats_are_counted():
    stage = Stage().begin()
    await stage.after(31)
    assert stage.relay.flow() == Flow(heartbeats=2)
    stage.close()


async def test_a_stream_that_never_began_has_nothing_to_tell():
    stage = Stage()
    assert stage.relay.flow() is None
    assert stage.relay.held_bytes == 0
    stage.close()


async def test_what_is_held_for_a_client_is_known_at_any_time():
    stage = Stage(blocked=True).begin().read(START, PING[:7])
    assert stage.relay.held_bytes == len(START) + 7
    stage.client.take(100)
    assert stage.relay.held_bytes == len(START) - 100 + 7
    stage.close()


@pytest.mark.parametrize("together", [1, 5])
async def test_now_and_then_a_token_is_timed_on_its_way_through(dialect, together):
    stage = Stage(dialect=dialect).begin()
    tick = iter(range(10**9))
    stage.relay._monotonic = lambda: next(tick) * 0.25  # every look at the clock is a quarter of a second later
    stage.read(*[text_delta("x") * together] * (640 // together))
    assert stage.relay.flow().overheads == (0.25 / together,) * 10
    stage.read(*[text_delta("x") * together] * (10_000 // together))
    assert len(stage.relay.flow().overheads) == 64
    stage.close()


async def test_the_first_tokens_of_a_stream_are_no_sample():
    """They are the ones that start everything up, and a short answer is not to pay for the sample."""
    stage = Stage().begin().read(*[text_delta("x")] * 63)
    assert stage.relay.flow() is None
    stage.close()


async def test_a_frame_is_json_whatever_is_joined():
    stage = Stage(dialect="chat", blocked=True, merge_after=0).begin().read(text_delta("x"))
    stage.relay.data(
        text_delta('\\"') + text_delta("\\\\") + text_delta("\\n") + text_delta("\\ud83d") + text_delta("\\ude42")
    )
    last = frames(stage.client.body)[-1]
    assert json.loads(json.dumps(last["token"])) == '"\\\n\U0001f642'
    stage.close()
