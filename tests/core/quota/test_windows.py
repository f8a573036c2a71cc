"""The window's promises, each against a plain list of what was admitted."""

from __future__ import annotations

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.quota.windows import SlidingWindow

# Steps in 1/64 s: sums of them are exact, so that the promises can be checked without a tolerance.
steps = st.lists(
    st.tuples(st.integers(-200, 64 * 70).map(lambda n: n / 64), st.integers(1, 4)), min_size=1, max_size=120
)


def admit(window: SlidingWindow, amount: int, limit: int, now: float) -> bool:
    if window.retry_after(amount, limit, now) != 0.0:
        return False
    window.add(amount, now)
    return True


@given(steps, st.integers(4, 12), st.sampled_from([12, 60]))
def test_no_window_ever_holds_more_than_the_limit_and_refusals_are_early_by_one_bucket_at_most(moves, limit, buckets):
    window = SlidingWindow(60.0, buckets)
    admitted: list[tuple[float, int]] = []
    now = latest = 1000.0
    window.used(now)  # a clock can only go back once it has been seen
    for step, amount in moves:
        now += step
        latest = max(latest, now)
        exact = sum(n for at, n in admitted if at + 60 > latest)
        wider = sum(n for at, n in admitted if at + 60 + 60 / buckets > latest)
        if admit(window, amount, limit, now):
            assert exact + amount <= limit
            admitted.append((latest, amount))
        else:
            assert wider + amount > limit
            wait = window.retry_after(amount, limit, now)
            assert wait is not None
            assert 0 < wait <= 60
            assert deepcopy(window).retry_after(amount, limit, latest + wait) == 0.0
        assert len(window) <= min(buckets + 1, len(admitted))
        assert exact <= window.used(now) <= limit
        assert 0 < window.standing(now)[1] <= 60


def test_the_eleventh_in_any_sixty_seconds_waits_for_the_first_to_leave():
    window = SlidingWindow(60.0)
    assert all(admit(window, 1, 10, now) for now in range(100, 110))
    assert window.retry_after(1, 10, 110) == 50
    assert window.retry_after(1, 10, 159) == 1
    assert admit(window, 1, 10, 160)


def test_what_exceeds_the_limit_by_itself_never_fits():
    assert SlidingWindow(60.0).retry_after(11, 10, 1.0) is None


def test_a_clock_that_goes_back_admits_nothing_more_and_stays_within_the_longest_wait():
    window = SlidingWindow(60.0)
    window.add(1, 1000.0)
    assert window.retry_after(1, 1, 5.0) == 60
    assert window.used(5.0) == 1
    assert window.retry_after(1, 1, 1060.0) == 0


def test_given_back_is_as_if_never_taken():
    window = SlidingWindow(60.0)
    first = window.add(1, 100.0)
    last = window.add(2, 130.0)
    window.adjust(last, -2, 131.0)
    assert (window.used(131.0), len(window)) == (1, 1)
    window.adjust(first, -1, 131.0)
    assert window.standing(131.0) == (0, 60)


def test_a_settlement_may_push_the_count_over_the_limit_and_then_the_next_wait():
    window = SlidingWindow(60.0)
    index = window.add(5, 100.0)
    window.add(3, 110.0)
    window.adjust(index, 20, 111.0)
    assert window.used(111.0) == 28
    assert window.retry_after(1, 10, 111.0) == 49


def test_giving_back_too_much_or_too_late_takes_nothing_from_others():
    window = SlidingWindow(60.0)
    early = window.add(1, 100.0)
    window.add(3, 150.0)
    window.adjust(early, -5, 151.0)
    assert window.used(151.0) == 3
    window.adjust(early, -1, 170.0)
    assert window.used(170.0) == 3


def test_what_was_given_back_to_the_last_can_be_taken_again_at_its_time():
    """A lease ran out at a checkpoint of nothing, and its stream goes on all the same."""
    window = SlidingWindow(60.0)
    at = window.add(5, 100.0)
    window.add(3, 110.0)
    window.adjust(at, -5, 120.0)
    window.adjust(at, 4, 125.0)
    assert window.used(125.0) == 7
    assert window.used(160.0) == 3
    window.adjust(at, 9, 161.0)
    assert window.used(161.0) == 3


@pytest.mark.parametrize(("length", "buckets"), [(0.0, 60), (60.0, 11)])
def test_a_window_too_coarse_to_keep_its_promise_is_an_error(length, buckets):
    with pytest.raises(ValueError, match="at least 12 buckets"):
        SlidingWindow(length, buckets)
