"""Heartbeats and deadlines, exact to the second on virtual time."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.errors import AccessCut, StreamTooLong, UpstreamTimeout
from gateway.relay import HEARTBEAT, Relay
from tests.support.relaying import LIMITS, Stage
from tests.support.scripted_upstream import HELLO, PING, START, text_delta


async def test_the_client_hears_something_every_so_often_before_the_first_event():
    stage = Stage()
    stage.relay.commit(stage.client)
    await stage.after(14.9)
    assert stage.client.body == b""
    await stage.after(0.2)
    assert stage.client.body == HEARTBEAT
    stage.begin()
    await stage.after(45)
    assert stage.client.body == HEARTBEAT * 4
    assert stage.relay.heartbeats == 4
    assert stage.relay.sent == 4 * len(HEARTBEAT)
    stage.close()


async def test_a_token_puts_the_heartbeat_off():
    stage = Stage().begin()
    for _ in range(5):
        await stage.after(10)
        stage.read(START)
    assert stage.relay.heartbeats == 0
    await stage.after(14.9)
    assert stage.relay.heartbeats == 0
    await stage.after(0.2)
    assert stage.relay.heartbeats == 1
    stage.close()


async def test_what_the_client_does_not_see_does_not():
    """On the chat route a ping is no frame."""
    stage = Stage(dialect="chat").begin()
    for _ in range(3):
        await stage.after(10)
        stage.read(PING)
    assert stage.client.body == HEARTBEAT * 2
    stage.close()


async def test_a_heartbeat_never_falls_into_an_event():
    stage = Stage(first_event=300.0, idle_timeout=300.0).begin()
    for byte in HELLO[:40]:
        await stage.after(5)
        stage.read(bytes([byte]))
    stage.read(HELLO[40:])
    assert stage.relay.heartbeats > 10
    assert stage.client.events == HELLO
    assert stage.client.written[-1] == HELLO
    stage.close()


SILENCES = {
    "nothing": b"",
    "pings": PING,
    "comments": b": working\n\n",
    "blank lines": b"\n\n",
    "half an event": b"x",
}


@pytest.mark.parametrize("dialect", ["messages", "chat"])
@pytest.mark.parametrize("silence", SILENCES)
async def test_the_first_event_has_a_deadline_and_nothing_else_is_one(dialect, silence):
    stage = Stage(dialect=dialect, first_event=30.0).begin()
    running = stage.loop.create_task(stage.run())
    while not running.done():
        stage.relay.data(SILENCES[silence] or HEARTBEAT)
        await stage.after(1)
    assert stage.now == pytest.approx(30, abs=1.01)
    assert isinstance(stage.relay.failure, UpstreamTimeout)
    assert "begin" in stage.relay.failure.message
    assert not stage.relay.taken
    assert stage.source.aborted
    stage.close()


async def test_a_client_is_kept_awake_until_the_first_event_is_overdue():
    stage = Stage(first_event=40.0).begin()
    await stage.run()
    assert stage.now == pytest.approx(40)
    assert stage.client.body == HEARTBEAT * 2
    stage.close()


@pytest.mark.parametrize("first", [START, text_delta("x"), b"event: new_in_2027\ndata: {}\n\n"])
async def test_an_answer_that_has_begun_may_take_its_time(first):
    stage = Stage(first_event=30.0, idle_timeout=50.0).begin()
    await stage.after(29.9)
    stage.read(first)
    await stage.run()
    assert stage.now == pytest.approx(79.9)
    assert "silent" in stage.relay.failure.message
    stage.close()


async def test_each_attempt_has_its_own_time_for_a_first_event():
    stage = Stage(first_event=30.0).begin()
    await stage.run()
    await stage.after(5)
    stage.begin()
    await stage.run()
    assert stage.now == pytest.approx(65)
    stage.close()


async def test_the_time_of_a_first_event_does_not_pass_while_nothing_is_read():
    """Claude may have begun long ago: the gateway has not looked, for its client takes nothing."""
    stage = Stage(blocked=True, first_event=30.0, idle_timeout=1000.0).begin()
    await stage.after(20)
    stage.read(PING * 30)
    assert stage.source.paused
    running = stage.loop.create_task(stage.run())
    await stage.after(25)
    stage.client.take(2000)
    await stage.after(9)
    assert not running.done()
    await running
    assert stage.now == pytest.approx(55)
    stage.close()


async def test_the_whole_answer_has_a_deadline_whatever_comes():
    stage = Stage(deadline=60.0).begin().read(START)
    running = asyncio.get_running_loop().create_task(stage.run())
    while not running.done():
        await stage.after(1)
        stage.relay.data(text_delta("x"))
    await running
    assert stage.now == pytest.approx(60, abs=1.01)
    assert isinstance(stage.relay.failure, StreamTooLong)
    assert stage.source.aborted
    assert not stage.client.aborted  # it is told
    stage.close()


async def test_a_deadline_that_comes_before_an_attempt_is_kept():
    stage = Stage(deadline=5.0)
    stage.relay.commit(stage.client)
    await stage.after(6)
    assert isinstance(stage.relay.failure, StreamTooLong)
    stage.close()


async def test_a_cut_ends_a_running_stream_with_its_error():
    stage = Stage().begin().read(START)
    stage.loop.call_later(3, stage.relay.cut, error := AccessCut("by the operator"))
    await stage.run()
    assert stage.now == pytest.approx(3)
    assert stage.relay.failure is error
    assert stage.source.aborted
    assert not stage.client.aborted
    stage.close()


async def test_a_relay_that_is_closed_starts_no_timer_and_ends_its_upstream():
    stage = Stage().begin().read(START)
    stage.close()
    assert stage.source.aborted
    stage.relay.cut(AccessCut("late"))
    stage.close()
    await stage.after(1000)
    assert stage.client.body == START


async def test_without_a_client_nothing_is_written():
    stage = Stage().begin(commit=False)
    stage.relay.heartbeat()
    stage.read(HELLO)
    stage.relay.end()
    await stage.run()
    assert (stage.relay.sent, stage.relay.heartbeats) == (0, 0)
    assert not stage.relay.committed
    stage.close()


async def test_before_an_attempt_there_is_nothing_to_read():
    stage = Stage()
    stage.relay.data(HELLO)
    assert not stage.relay.taken
    stage.close()


async def test_whoever_waits_can_be_cancelled():
    stage = Stage().begin()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await stage.relay.run()
    stage.close()
    assert stage.source.aborted


async def test_its_clocks_are_the_systems_unless_told_otherwise():
    relay = Relay(LIMITS, 0.0)
    assert not relay.committed
    relay.close()
