"""The circuit breaker: when it opens, who may try while it is half open, and that no place in it is ever lost."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.breaker import Breaker, BreakerPolicy, is_failure
from gateway.core.errors import (
    Draining,
    InvalidRequest,
    Overloaded,
    SlowClient,
    StreamTooLong,
    UpstreamCredential,
    UpstreamMalformed,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)


def breaker(**changes: float) -> Breaker:
    policy = {"failures": 3, "error_rate": 0.5, "window": 30, "min_calls": 20, "cooldown": 5, "max_cooldown": 60}
    return Breaker(BreakerPolicy(**{**policy, **changes}))


def fail(of: Breaker, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        of.failed(of.admit(now), now)


def tripped(**changes: float) -> Breaker:
    """Return one that opened at 0."""
    of = breaker(**changes)
    fail(of, 3)
    assert of.state == "open"
    return of


def refused(status: int) -> UpstreamRefused:
    return UpstreamRefused("no", status=status, claude_type="x", retryable=False)


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (UpstreamUnreachable("x"), True),
        (UpstreamTimeout("x"), True),
        (UpstreamTruncated("x"), True),
        (UpstreamMalformed("x"), True),
        (refused(500), True),
        (refused(529), True),
        (refused(429), False),
        (refused(400), False),
        (UpstreamCredential("x"), False),
        (StreamTooLong("x"), False),
        (SlowClient("x"), False),
        (Overloaded("x"), False),
        (Draining("x"), False),
        (InvalidRequest("x"), False),
    ],
)
def test_only_what_is_the_upstreams_own_speaks_against_it(error, counts):
    assert is_failure(error) is counts


def test_it_opens_after_failures_in_a_row():
    of = breaker()
    fail(of, 2)
    assert of.state == "closed"
    fail(of, 1)
    assert of.state == "open"
    assert of.admit(4.9) is None


def test_a_request_that_fails_again_counts_once():
    of = breaker(min_calls=1)
    for now in range(9):
        of.failed(of.admit(now), now, again=True)
    assert of.state == "closed"
    fail(of, 3)
    of.failed(of.admit(5.0), 5.0, again=True)  # but whoever tries for all has tried
    assert of.state == "open"


def test_a_success_in_between_starts_the_row_anew():
    of = breaker()
    for _ in range(5):
        fail(of, 2)
        of.succeeded(of.admit(0.0), 0.0)
    assert of.state == "closed"


@pytest.mark.parametrize(("successes", "state"), [(9, "open"), (10, "closed")])
def test_it_opens_when_more_than_the_share_fails(successes, state):
    of = breaker(failures=1000)
    for _ in range(successes):
        of.succeeded(of.admit(0.0), 0.0)
    fail(of, 20 - successes if state == "open" else 10)
    assert of.state == state


def test_few_calls_have_no_share():
    of = breaker(failures=1000)
    fail(of, 19)
    assert of.state == "closed"
    fail(of, 1)
    assert of.state == "open"


def test_without_a_share_only_failures_in_a_row_count():
    of = breaker(failures=1000, error_rate=0)
    fail(of, 999)
    assert of.state == "closed"


@pytest.mark.parametrize(("later", "state"), [(14.9, "open"), (15.1, "open"), (31.0, "closed")])
def test_the_share_forgets_what_is_older_than_the_window(later, state):
    of = breaker(failures=1000)
    fail(of, 15, 0.0)
    fail(of, 5, later)
    assert of.state == state


def test_the_share_forgets_half_a_window_at_a_time():
    of = breaker(failures=1000)
    fail(of, 15, 0.0)
    of.succeeded(of.admit(16.0), 16.0)
    of.succeeded(of.admit(32.0), 32.0)
    fail(of, 10, 33.0)
    assert of.state == "closed"


def test_with_no_failures_to_open_after_it_never_opens():
    of = breaker(failures=0)
    fail(of, 1000)
    assert of.state == "closed"
    of.answered(of.admit(0.0), 0.0)
    of.released(of.admit(0.0))
    assert of.opens_at(7.0) == 7.0


def test_half_open_lets_one_through_at_a_time():
    of = tripped()
    assert of.opens_at(1.0) == 5.0
    probe = of.admit(5.0)
    assert probe is not None
    assert of.state == "half_open"
    assert of.admit(5.0) is None
    assert of.opens_at(6.0) == 11.0  # nobody knows how long the probe takes


def test_a_probe_that_is_answered_closes_it_before_the_answer_ends():
    of = tripped()
    probe = of.admit(5.0)
    of.answered(probe, 6.0)
    assert of.state == "closed"
    assert of.admit(6.0) is not None


def test_a_probe_whose_answer_breaks_off_opens_it_again_for_twice_as_long():
    of = tripped()
    probe = of.admit(5.0)
    of.answered(probe, 6.0)
    of.failed(probe, 20.0)
    assert of.state == "open"
    assert of.opens_at(20.0) == 30.0


def test_after_a_probe_that_ended_well_it_takes_as_many_failures_as_ever():
    of = tripped()
    probe = of.admit(5.0)
    of.answered(probe, 6.0)
    of.succeeded(probe, 7.0)
    fail(of, 2, 8.0)
    assert of.state == "closed"
    fail(of, 1, 8.0)
    assert of.opens_at(8.0) == 13.0  # and it is open for as long as the first time


def test_a_probe_may_be_answered_and_ended_in_one():
    of = tripped()
    of.succeeded(of.admit(5.0), 5.0)
    fail(of, 2, 6.0)
    assert of.state == "closed"


def test_it_is_open_for_longer_each_time_up_to_a_bound():
    of = tripped()
    now, times = 0.0, []
    for _ in range(6):
        end = of.opens_at(now)
        times.append(end - now)
        of.failed(of.admit(end), end)
        now = end
    assert times == [5, 10, 20, 40, 60, 60]


def test_a_breaker_that_has_failed_for_years_still_knows_its_bound():
    of = tripped()
    for _ in range(2000):
        end = of.opens_at(0.0)
        of.failed(of.admit(end), end)
    assert of.opens_at(end) == end + 60


def test_a_probe_that_leaves_gives_its_place_to_the_next():
    of = tripped()
    first = of.admit(5.0)
    of.released(first)
    assert of.opens_at(6.0) == 6.0
    second = of.admit(6.0)
    assert second is not None
    of.released(first)  # a second time, when the place is another's
    assert of.admit(6.0) is None
    of.succeeded(second, 7.0)
    assert of.state == "closed"


def test_reports_from_before_it_opened_count_for_nothing():
    of = breaker()
    early = [of.admit(0.0) for _ in range(6)]
    for ticket in early[:3]:
        of.failed(ticket, 0.0)
    assert of.opens_at(0.0) == 5.0
    of.failed(early[3], 4.0)
    of.succeeded(early[4], 4.0)
    of.answered(early[4], 4.0)
    assert (of.state, of.opens_at(4.0)) == ("open", 5.0)
    probe = of.admit(5.0)
    of.failed(early[5], 5.0)
    of.released(early[5])
    assert of.state == "half_open"
    assert of.admit(5.0) is None
    of.succeeded(probe, 6.0)


def test_a_single_failure_can_be_enough():
    of = breaker(failures=1)
    fail(of, 1)
    probe = of.admit(5.0)
    of.answered(probe, 5.0)
    assert of.state == "closed"
    of.failed(probe, 5.0)
    assert of.state == "open"


class Machine(RuleBasedStateMachine):
    """Any number of calls that begin, are answered, and end in any way and any order, as time goes by."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = breaker(min_calls=4)
        self.now = 0.0
        self.tickets: list[int] = []
        self.opened_at = 0.0

    def _noting_when_it_opens(self, act) -> None:
        before = self.breaker.state
        act()
        if self.breaker.state == "open" and before != "open":
            self.opened_at = self.now

    @rule(seconds=st.sampled_from([0.0, 0.5, 5.0, 16.0, 70.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def call(self):
        earliest = self.breaker.opens_at(self.now)
        ticket = self.breaker.admit(self.now)
        assert (ticket is not None) == (earliest == self.now)
        if ticket is not None:
            self.tickets.append(ticket)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data())
    def answer(self, data):
        self.breaker.answered(data.draw(st.sampled_from(self.tickets)), self.now)

    @precondition(lambda self: self.tickets)
    @rule(data=st.data(), how=st.sampled_from(["succeeded", "failed", "released"]))
    def end(self, data, how):
        ticket = self.tickets.pop(data.draw(st.integers(0, len(self.tickets) - 1)))
        arguments = (ticket,) if how == "released" else (ticket, self.now)
        self._noting_when_it_opens(lambda: getattr(self.breaker, how)(*arguments))

    @invariant()
    def half_open_has_at_most_one_probe(self):
        """Tickets of an earlier state may be out in any number: they count for nothing."""
        if self.breaker.state == "half_open":
            assert self.tickets.count(self.breaker._ticket) <= 1

    @invariant()
    def open_is_never_for_longer_than_the_bound(self):
        if self.breaker.state == "open":
            assert self.breaker.opens_at(self.opened_at) <= self.opened_at + 60

    def teardown(self):
        """Whatever happened: when all calls have ended, the next one is let through in time, and can close it."""
        for ticket in self.tickets:
            self.breaker.released(ticket)
        later = self.now + 61
        ticket = self.breaker.admit(later)
        assert ticket is not None
        self.breaker.succeeded(ticket, later)
        assert self.breaker.state == "closed"


TestMachine = Machine.TestCase
