"""How many connections are opened ahead of need, and when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.warm import Warmth


def failed(times: int, jitter: float = 1.0) -> Warmth:
    warmth = Warmth(4, lambda: jitter)
    warmth.failures = times
    return warmth


def test_what_is_missing_is_opened_at_once():
    warmth = Warmth(4)
    assert warmth.pause() < 0.1
    assert [warmth.missing(there, 100) for there in range(6)] == [4, 3, 2, 1, 0, 0]


def test_no_more_than_there_is_room_for():
    assert [Warmth(4).missing(0, room) for room in (3, 1, 0, -1)] == [3, 1, 0, 0]


def test_after_a_failure_one_is_tried_at_a_time_after_longer_and_longer_pauses():
    assert [failed(times).pause() for times in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert failed(1).missing(0, 100) == 1
    assert failed(1).missing(0, 0) == 0
    assert failed(1).missing(4, 100) == 0


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_pauses_differ_by_half_at_most_and_have_a_longest(times, jitter):
    assert 0.5 <= failed(times, jitter).pause() <= 60
    assert failed(times, jitter).pause() >= failed(times).pause() / 2


def test_what_closes_at_once_is_a_failure_and_what_lasted_is_none():
    warmth = Warmth(4)
    warmth.closed(0.2)
    warmth.closed(0.0)
    assert warmth.failures == 2
    warmth.closed(30.0)
    assert warmth.failures == 0
