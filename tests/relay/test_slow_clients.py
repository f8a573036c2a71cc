"""A client that takes its time: what it costs is bounded, and it is dropped only when it takes nothing at all."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.errors import AccessCut, SlowClient, StreamTooLong, UpstreamTruncated
from gateway.relay import HEARTBEAT
from tests.support.relaying import HIGH_WATER, Stage
from tests.support.scripted_upstream import END, HELLO, PING, START, event, text_delta

READ = b"".join(text_delta("x" * 100) for _ in range(10))  # more than the high-water mark


async def running(stage: Stage) -> asyncio.Task[None]:
    task = asyncio.get_running_loop().create_task(stage.run())
    await asyncio.sleep(0)
    return task


async def test_the_upstream_rests_while_the_client_lags_and_goes_on_below_the_low_mark():
    stage = Stage(blocked=True).begin().read(START)
    task = await running(stage)
    assert not stage.source.paused
    stage.read(READ)
    assert stage.source.paused
    await stage.after(1)
    stage.client.take(stage.client.waiting_bytes - HIGH_WATER // 4 - 1)
    await stage.after(1)
    assert stage.source.paused
    stage.client.take(1)
    await stage.after(1)
    assert not stage.source.paused
    assert (stage.source.pauses, stage.relay.pauses) == (1, 1)
    stage.client.blocked = False
    stage.read(END)
    stage.relay.end()
    await task
    assert stage.client.body == START + READ + END
    stage.close()


async def test_a_blocked_client_costs_its_buffer_and_one_read():
    stage = Stage(blocked=True).begin()
    task = await running(stage)
    for _ in range(50):
        while not stage.source.paused:
            stage.read(READ)
        stage.client.take(700)
        await stage.after(1)
    assert stage.client.most_waiting <= HIGH_WATER + len(READ)
    assert stage.relay.pauses > 5
    task.cancel()
    stage.close()


async def test_there_is_no_heartbeat_for_who_does_not_take_what_waits():
    stage = Stage(blocked=True, slow_client_timeout=1000.0).begin().read(START, READ)
    task = await running(stage)
    await stage.after(100)
    assert stage.relay.heartbeats == 0
    stage.client.take(100_000)
    await stage.after(0.01)
    assert stage.relay.heartbeats == 1  # long due
    await stage.after(15)
    assert stage.relay.heartbeats == 2
    task.cancel()
    stage.close()


async def test_a_client_that_takes_nothing_is_dropped_after_its_time():
    stage = Stage(blocked=True).begin().read(START, READ)
    await stage.run()
    assert stage.now == pytest.approx(30)
    assert isinstance(stage.relay.failure, SlowClient)
    assert stage.client.aborted
    assert stage.source.aborted
    stage.close()


async def test_a_client_that_takes_a_little_now_and_then_stays():
    stage = Stage(blocked=True, heartbeat=1000.0).begin().read(START, READ)
    task = await running(stage)
    for _ in range(20):
        await stage.after(29)
        stage.client.take(10)
    assert not stage.client.aborted
    assert not task.done()
    took = stage.now
    await task
    assert isinstance(stage.relay.failure, SlowClient | StreamTooLong)
    assert stage.now >= min(took + 30, 600)
    stage.close()


async def test_a_client_that_stops_taking_is_dropped_soon_after_its_time():
    stage = Stage(blocked=True).begin().read(START, READ)
    stage.loop.call_later(2, stage.client.take, 10)
    await stage.run()
    assert 32 <= stage.now <= 2 + 30 * 1.25 + 7.5
    assert isinstance(stage.relay.failure, SlowClient)
    stage.close()


async def test_our_own_pause_is_no_silence_of_claudes():
    stage = Stage(blocked=True, idle_timeout=10.0, slow_client_timeout=1000.0).begin().read(START, READ)
    task = await running(stage)
    await stage.after(300)
    assert not task.done()
    stage.client.take(100_000)
    await stage.after(9)
    assert not task.done()
    await task
    assert stage.now == pytest.approx(310)
    assert stage.relay.failure.code == "upstream_timeout"
    stage.close()


async def test_an_answer_that_is_complete_waits_for_its_client():
    stage = Stage(blocked=True).begin().read(START, READ + END)
    stage.relay.end()
    task = await running(stage)
    await stage.after(20)
    assert not task.done()
    stage.client.take(100_000)
    await task
    assert stage.relay.failure is None
    assert not stage.source.aborted
    stage.close()


async def test_but_not_for_ever():
    """Neither does the timer spin meanwhile."""
    stage = Stage(blocked=True).begin().read(START, READ + END)
    stage.relay.end()
    await stage.run()
    assert stage.now == pytest.approx(30)
    assert isinstance(stage.relay.failure, SlowClient)
    assert stage.client.aborted
    assert stage.loop.timers_set < 10
    stage.close()


async def test_a_failure_waits_for_its_client_too():
    """The error frame comes after everything that was said before."""
    stage = Stage(blocked=True).begin().read(START, READ)
    task = await running(stage)
    stage.relay.fail(error := UpstreamTruncated("cut"))
    await stage.after(10)
    assert not task.done()
    stage.client.take(100_000)
    await task
    assert stage.relay.failure is error
    stage.close()


async def test_a_client_that_never_takes_a_failure_is_dropped_with_that_reason():
    stage = Stage(blocked=True).begin().read(START, READ)
    stage.relay.fail(error := UpstreamTruncated("cut"))
    await stage.run()
    assert stage.client.aborted
    assert stage.relay.failure is error
    stage.close()


async def test_the_deadline_holds_for_a_blocked_client_which_cannot_be_told():
    stage = Stage(blocked=True, deadline=20.0).begin().read(START, READ)
    await stage.run()
    assert stage.now == pytest.approx(20)
    assert isinstance(stage.relay.failure, StreamTooLong)
    assert stage.client.aborted
    stage.close()


async def test_a_cut_holds_for_a_blocked_client_too():
    stage = Stage(blocked=True).begin().read(START, READ)
    stage.loop.call_later(5, stage.relay.cut, error := AccessCut("by the operator"))
    await stage.run()
    assert stage.now == pytest.approx(5)
    assert stage.relay.failure is error
    assert stage.client.aborted
    stage.close()


async def test_the_end_of_the_body_lingers_only_after_the_client_goes_on():
    stage = Stage(blocked=True).begin().read(START, READ + END)
    task = await running(stage)
    await stage.after(20)
    assert not stage.source.aborted
    stage.client.take(100_000)
    await task
    assert stage.now == pytest.approx(20, abs=0.01)
    assert stage.relay.failure is None
    assert stage.source.aborted
    stage.close()


async def test_last_bytes_that_come_while_it_is_blocked_are_no_lack_of_progress():
    """The rest of a body without its blank line is written at its end, whatever waits."""
    rest = event("message_stop").rstrip()
    stage = Stage(blocked=True).begin().read(START, READ + rest)
    task = await running(stage)
    await stage.after(1)
    stage.relay.end()
    stage.client.take(len(rest) // 2)
    await stage.after(34)
    assert not stage.client.aborted
    stage.client.take(100_000)
    await task
    assert stage.relay.failure is None
    assert stage.client.body == START + READ + rest
    stage.close()


async def test_heartbeats_can_block_a_client_and_the_next_attempt_begins_paused():
    stage = Stage(blocked=True, heartbeat=0.001, deadline=10_000.0, slow_client_timeout=100.0)
    stage.relay.commit(stage.client)
    while stage.client.waiting_bytes <= HIGH_WATER:
        await stage.after(0.01)
    await stage.after(10)
    beats = stage.relay.heartbeats
    assert stage.client.waiting_bytes == beats * len(HEARTBEAT) <= HIGH_WATER + len(HEARTBEAT)
    stage.begin()
    assert stage.source.paused
    task = await running(stage)
    stage.client.take(100_000)
    await stage.after(0)
    assert not stage.source.paused
    stage.client.blocked = False
    stage.read(HELLO)
    stage.relay.end()
    await task
    assert stage.client.events == HELLO
    stage.close()


async def test_a_client_that_heartbeats_alone_have_blocked_is_dropped_as_well():
    stage = Stage(blocked=True, heartbeat=0.001, deadline=10_000.0)
    stage.relay.commit(stage.client)
    while not stage.client.aborted:
        await stage.after(1)
    assert isinstance(stage.relay.failure, SlowClient)
    assert 30 <= stage.now <= 35
    stage.close()


async def test_pings_do_not_free_a_client():
    stage = Stage(blocked=True).begin().read(START, READ)
    stage.relay.data(PING)  # one that was on its way when the source was paused
    assert stage.source.pauses == 1
    await stage.run()
    assert isinstance(stage.relay.failure, SlowClient)
    stage.close()
