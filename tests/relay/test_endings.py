"""How a stream ends: in order, broken, or with what Claude says is wrong, however its bytes are cut."""

from __future__ import annotations

import pytest

from gateway.core.errors import (
    GatewayFault,
    UpstreamMalformed,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from tests.support.relaying import Stage
from tests.support.scripted_upstream import BLOCK, END, HELLO, PING, START, event, text_delta

ERROR = event("error", ',"error":{"type":"overloaded_error","message":"Overloaded"}')
STOP = event("message_stop")
OPEN = START + BLOCK + text_delta("Hel")


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
async def test_however_a_stream_is_cut_its_bytes_arrive_unchanged(size):
    stage = Stage().begin()
    stage.read(*(HELLO[start : start + size] for start in range(0, len(HELLO), size)))
    stage.relay.end()
    await stage.run()
    assert stage.relay.failure is None
    assert stage.client.body == HELLO
    assert stage.relay.sent == len(HELLO)
    assert stage.relay.fold.stop_reason == "end_turn"
    stage.close()
    assert not stage.source.aborted


async def test_what_one_read_brings_leaves_in_one_write():
    stage = Stage().begin().read(HELLO)
    assert stage.client.written == [HELLO]
    stage.close()


async def test_a_dialect_of_its_own_gets_its_frames():
    stage = Stage(dialect="chat").begin().read(HELLO)
    stage.relay.end()
    await stage.run()
    assert stage.client.body == (
        b'data: {"token":"Hel","type":"text","timestamp":1764000000000}\n\n'
        b'data: {"token":"lo","type":"text","timestamp":1764000000000}\n\n'
    )
    stage.close()


@pytest.mark.parametrize(
    "body", [b"", PING, OPEN, OPEN + b'event: content_block_delta\ndata: {"ty', START + b"event: x"]
)
async def test_an_end_without_message_stop_is_a_failure(body):
    stage = Stage().begin()
    stage.read(*([body] if body else []))
    stage.relay.end()
    await stage.run()
    assert isinstance(stage.relay.failure, UpstreamTruncated)
    assert stage.client.body == b"".join(body.rpartition(b"\n\n")[:2])
    stage.close()


@pytest.mark.parametrize("missing", [b"\n", b"\n\n"])
async def test_a_last_event_that_lacks_its_blank_line_counts(missing):
    body = HELLO.removesuffix(missing)
    stage = Stage().begin().read(body)
    stage.relay.end()
    await stage.run()
    assert stage.relay.failure is None
    assert stage.client.body == body
    stage.close()


async def test_any_other_event_that_lacks_its_blank_line_is_given_one_before_the_error_frame():
    """The error frame would become a part of it."""
    stage = Stage().begin().read(OPEN, event("content_block_stop", ',"index":0').rstrip())
    stage.relay.end()
    await stage.run()
    assert isinstance(stage.relay.failure, UpstreamTruncated)
    assert stage.client.body.endswith(b'"index":0}\n\n')
    stage.close()


async def test_an_error_event_that_lacks_its_blank_line_is_told_all_the_same():
    stage = Stage().begin().read(OPEN, ERROR.rstrip())
    stage.relay.end()
    await stage.run()
    assert isinstance(stage.relay.failure, UpstreamRefused)
    assert stage.client.body == OPEN + ERROR
    stage.close()


async def test_a_marker_of_other_protocols_after_the_end_passes():
    stage = Stage().begin().read(HELLO, b"data: [DONE]")
    stage.relay.end()
    await stage.run()
    assert stage.relay.failure is None
    assert stage.client.body == HELLO + b"data: [DONE]\n\n"
    stage.close()


@pytest.mark.parametrize("ends", [b"\n", b"\n\n\n", b"\r\n\r\n"])
async def test_line_ends_after_the_last_event_pass(ends):
    stage = Stage().begin().read(HELLO + ends)
    stage.relay.end()
    await stage.run()
    assert stage.relay.failure is None
    assert stage.client.body == HELLO + ends
    stage.close()


@pytest.mark.parametrize("dialect", ["messages", "chat"])
@pytest.mark.parametrize("together", [True, False])
async def test_an_error_event_ends_the_stream_and_the_upstream(dialect, together):
    stage = Stage(dialect=dialect).begin()
    stage.read(*([OPEN + ERROR] if together else [OPEN, ERROR]))
    await stage.run()
    assert isinstance(stage.relay.failure, UpstreamRefused)
    assert stage.relay.failure.status == 529
    assert stage.relay.taken
    assert stage.relay.held == b""
    assert stage.source.aborted
    assert (stage.client.body == OPEN + ERROR) is (dialect == "messages")
    stage.close()


@pytest.mark.parametrize("dialect", ["messages", "chat"])
@pytest.mark.parametrize("together", [True, False])
async def test_an_error_event_after_message_stop_is_an_error(dialect, together):
    """Claude knows best whether its answer was good; a client that was told so already is told all the same."""
    stage = Stage(dialect=dialect).begin()
    stage.read(*([HELLO + ERROR] if together else [HELLO, ERROR]))
    await stage.run()
    assert isinstance(stage.relay.failure, UpstreamRefused)
    stage.close()


async def test_a_break_after_message_stop_spoils_nothing():
    stage = Stage().begin().read(HELLO)
    stage.relay.fail(UpstreamTruncated("the last chunk was missing"))
    await stage.run()
    assert stage.relay.failure is None
    stage.close()


@pytest.mark.parametrize(
    "error", [UpstreamTruncated("cut"), UpstreamMalformed("no HTTP"), UpstreamUnreachable("reset")]
)
async def test_a_break_before_it_is_the_failure(error):
    stage = Stage().begin().read(OPEN)
    stage.relay.fail(error)
    stage.relay.fail(UpstreamTruncated("again"))
    await stage.run()
    assert stage.relay.failure is error
    assert stage.client.body == OPEN
    stage.close()


async def test_what_comes_after_the_end_is_ignored():
    stage = Stage().begin().read(OPEN + ERROR)
    stage.relay.data(text_delta("late"))
    stage.relay.end()
    await stage.run()
    assert stage.client.body == OPEN + ERROR
    assert isinstance(stage.relay.failure, UpstreamRefused)
    stage.close()
    stage.relay.data(text_delta("later"))


@pytest.mark.parametrize("grace", [1.0, 0.25])
async def test_a_body_that_lingers_after_message_stop_keeps_nobody_waiting(grace):
    stage = Stage(stop_grace=grace).begin().read(HELLO)
    await stage.run()
    assert stage.now == pytest.approx(grace)
    assert stage.relay.failure is None
    assert stage.source.aborted
    stage.close()


async def test_pings_after_message_stop_do_not_make_it_linger_longer():
    stage = Stage().begin().read(HELLO)
    for _ in range(8):
        await stage.after(0.1)
        stage.read(PING)
    await stage.run()
    assert stage.now == pytest.approx(1.0)
    stage.close()


@pytest.mark.parametrize("cut", [True, False])
async def test_an_event_over_the_limit_ends_the_stream_after_what_came_before_it(cut):
    giant = b"data: " + b"x" * 10_001
    stage = Stage().begin()
    stage.read(*([OPEN, giant[:6000], giant[6000:]] if cut else [OPEN + giant]))
    await stage.run()
    assert isinstance(stage.relay.failure, UpstreamMalformed)
    assert stage.client.body == OPEN
    assert stage.source.aborted
    stage.close()


async def test_an_event_over_the_limit_after_an_error_event_changes_nothing():
    stage = Stage().begin().read(OPEN + ERROR + b"data: " + b"x" * 10_001)
    await stage.run()
    assert isinstance(stage.relay.failure, UpstreamRefused)
    stage.close()


@pytest.mark.parametrize("dialect", ["messages", "chat"])
async def test_an_event_that_is_not_json_is_a_failure(dialect):
    stage = Stage(dialect=dialect).begin().read(OPEN, b"event: message_delta\ndata: {garbage\n\n")
    await stage.run()
    assert isinstance(stage.relay.failure, UpstreamMalformed)
    stage.close()


async def test_a_fault_of_ours_is_told_to_the_client_at_once():
    class Broken:
        def single(self, *_):
            raise ZeroDivisionError

    stage = Stage().begin()
    stage.relay.encoder = Broken()
    with pytest.raises(ZeroDivisionError):
        stage.read(OPEN)
    await stage.run()
    assert isinstance(stage.relay.failure, GatewayFault)
    assert stage.source.aborted
    stage.close()


async def test_silence_is_a_failure_after_its_time():
    stage = Stage(idle_timeout=20.0).begin().read(OPEN)
    await stage.after(19)
    stage.read(PING)
    await stage.run()
    assert stage.now == pytest.approx(39)
    assert isinstance(stage.relay.failure, UpstreamTimeout)
    assert stage.source.aborted
    stage.close()


@pytest.mark.parametrize("dialect", ["messages", "chat"])
@pytest.mark.parametrize("last", [OPEN, text_delta("x"), PING], ids=["several", "one token", "a ping"])
async def test_a_byte_now_and_then_is_silence_since_the_last_whole_event(dialect, last):
    stage = Stage(dialect=dialect, idle_timeout=20.0).begin().read(OPEN)
    await stage.after(5)
    stage.read(last)
    running = stage.loop.create_task(stage.run())
    for byte in event("content_block_delta", ',"index":0,"delta":{"type":"text_delta","text":"slow"}'):
        if running.done():
            break
        stage.relay.data(bytes([byte]))
        await stage.after(0.5)
    assert running.done()
    assert stage.now == pytest.approx(25, abs=0.51)
    assert isinstance(stage.relay.failure, UpstreamTimeout)
    stage.close()


async def test_a_slow_event_that_is_whole_in_time_is_none():
    stage = Stage(idle_timeout=20.0).begin().read(OPEN)
    for part in (text_delta("slow")[:9], text_delta("slow")[9:], PING, PING):
        await stage.after(9.9)
        stage.read(part)
    await stage.run()
    assert stage.now == pytest.approx(4 * 9.9 + 20)
    stage.close()


async def test_tokens_are_timed():
    stage = Stage().begin().read(START + BLOCK)
    thinking = event("content_block_delta", ',"index":0,"delta":{"type":"thinking_delta","thinking":"hm"}')
    for seconds, chunk in (
        (1, thinking),
        (2, text_delta("a") + text_delta("b")),
        (4, PING),
        (1, text_delta("c")),
        (1, END),
    ):
        await stage.after(seconds)
        stage.read(chunk)
    stage.relay.end()
    await stage.run()
    timing = stage.relay.timing
    moments = [round(moment - stage.began, 6) for moment in (timing.first_token, timing.first_text, timing.last_token)]
    assert moments == [1, 3, 8]
    assert timing.longest_gap == pytest.approx(5)
    stage.close()
