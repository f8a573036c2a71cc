"""Several attempts behind one stream: what the client sees of them, and when no other may follow."""

from __future__ import annotations

import pytest

from gateway.core.errors import AccessCut, Draining, UpstreamMalformed, UpstreamRefused, UpstreamTruncated
from gateway.relay import HEARTBEAT
from tests.support.relaying import Stage
from tests.support.scripted_upstream import HELLO, PING, START, event, text_delta

ERROR = event("error", ',"error":{"type":"overloaded_error","message":"Overloaded"}')


@pytest.mark.parametrize("dialect", ["messages", "chat"])
async def test_an_error_as_the_first_event_is_held_for_another_attempt_to_follow(dialect):
    stage = Stage(dialect=dialect).begin().read(ERROR)
    await stage.run()
    assert isinstance(stage.relay.failure, UpstreamRefused)
    assert stage.relay.held == ERROR
    assert not stage.relay.taken
    assert stage.client.body == b""
    assert stage.source.aborted
    stage.begin().read(HELLO)
    assert (stage.relay.failure, stage.relay.held) == (None, b"")
    stage.relay.end()
    await stage.run()
    assert stage.relay.failure is None
    if dialect == "messages":
        assert stage.client.body == HELLO
    stage.close()


async def test_a_ping_is_no_first_event():
    stage = Stage().begin().read(PING, PING + ERROR)
    await stage.run()
    assert not stage.relay.taken
    assert stage.relay.held == PING + ERROR
    assert stage.client.body == PING
    stage.close()


async def test_nonsense_as_the_first_event_may_be_tried_again():
    stage = Stage().begin().read(b"event: message_start\ndata: {garbage\n\n")
    await stage.run()
    assert isinstance(stage.relay.failure, UpstreamMalformed)
    assert not stage.relay.taken
    assert stage.client.body == b""
    stage.close()


async def test_content_before_an_error_in_one_read_counts_as_the_first_event():
    stage = Stage().begin().read(text_delta("x") + ERROR)
    assert stage.relay.taken
    assert stage.client.body == text_delta("x") + ERROR
    stage.close()


@pytest.mark.parametrize("first", [START, b"event: new_in_2027\ndata: {}\n\n", text_delta("x")])
async def test_after_any_event_no_other_attempt_may_follow(first):
    stage = Stage().begin().read(first)
    assert stage.relay.taken
    stage.relay.fail(UpstreamTruncated("cut"))
    assert stage.relay.taken
    await stage.run()
    stage.close()


async def test_before_any_event_a_break_leaves_room_for_another():
    stage = Stage().begin().read(b"event: message_st")
    stage.relay.end()
    await stage.run()
    assert isinstance(stage.relay.failure, UpstreamTruncated)
    assert not stage.relay.taken
    stage.begin().read(HELLO)
    stage.relay.end()
    await stage.run()
    assert stage.client.body == HELLO  # nothing of the first attempt's half event
    stage.close()


async def test_between_two_attempts_the_client_is_kept_awake():
    stage = Stage(deadline=50.0).begin()
    stage.relay.fail(UpstreamTruncated("cut"))
    await stage.run()
    await stage.after(49)
    assert stage.client.body == HEARTBEAT * 3
    await stage.after(20)  # over the deadline: whoever waits for the next attempt says so
    assert stage.client.body == HEARTBEAT * 4
    assert isinstance(stage.relay.failure, UpstreamTruncated)
    stage.close()


async def test_each_attempt_has_its_own_silence():
    stage = Stage(idle_timeout=10.0).begin()
    stage.relay.fail(UpstreamTruncated("cut"))
    await stage.run()
    await stage.after(12)
    stage.begin()
    await stage.run()
    assert stage.now == pytest.approx(22)
    stage.close()


async def test_a_deadline_that_is_near_when_an_attempt_begins_is_kept():
    """The timer was set for a heartbeat, which is later."""
    stage = Stage(deadline=16.0, heartbeat=15.0).begin()
    stage.relay.fail(UpstreamTruncated("cut"))
    await stage.run()
    await stage.after(15.5)
    stage.begin()
    await stage.run()
    assert stage.now == pytest.approx(16)
    assert stage.relay.failure.code == "deadline_exceeded"
    stage.close()


@pytest.mark.parametrize("committed", [True, False])
async def test_a_cut_before_the_first_attempt_is_not_forgotten(committed):
    stage = Stage()
    if committed:
        stage.relay.commit(stage.client)
    stage.relay.cut(error := AccessCut("by the operator"))
    stage.begin()
    stage.relay.data(HELLO)
    await stage.run()
    assert stage.relay.failure is error
    assert stage.source.aborted
    assert stage.client.body == b""
    stage.close()


async def test_a_cut_between_two_attempts_is_not_forgotten():
    stage = Stage().begin()
    stage.relay.fail(first := UpstreamTruncated("cut"))
    await stage.run()
    stage.relay.cut(error := Draining("restarting"))
    assert stage.relay.failure is first
    stage.begin()
    await stage.run()
    assert stage.relay.failure is error
    stage.close()
