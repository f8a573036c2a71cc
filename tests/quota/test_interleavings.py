"""Any interleaving of operations, crashes, late arrivals, duplicates and jumps of the clock keeps the rules.

A model that is too slow to be a store (it keeps every request for ever) says what must hold after each step.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from gateway.core.quota.holds import ENDED, FIRST_LEASE, LEASE, Held, Refused, Reservation
from gateway.core.quota.limits import AppliedLimit
from gateway.core.quota.windows import MINUTE_BUCKETS
from tests.quota.conftest import Clock

HOUR, DAY = 3600.0, 86_400.0
KEYS = ("k1", "k2")
IDS = st.integers(0, 30).map(lambda n: f"r{n}")
# Steps in 1/64 s are exact in binary, so that no promise needs a tolerance; negative ones are a clock set back.
STEPS = st.one_of(
    st.integers(-2000, 640), st.integers(0, 64 * 90), st.integers(0, 64 * 90), st.just(int(64 * DAY / 3))
).map(lambda n: n / 64)
TOKENS, DOLLARS = st.integers(0, 50), st.integers(0, 170)


def limits_of(key):
    return (
        AppliedLimit("tenant:t:requests:60", "tenant-requests-per-minute", "tenant", "requests", 6, 60.0),
        AppliedLimit("tenant:t:requests:3600", "tenant-requests-per-hour", "tenant", "requests", 12, HOUR),
        AppliedLimit("tenant:t:concurrent", "tenant-concurrent-streams", "tenant", "concurrent", 4, None),
        AppliedLimit("tenant:t:tokens:60", "tenant-tokens-per-minute", "tenant", "tokens", 100, 60.0),
        AppliedLimit("tenant:t:usd:day", "tenant-usd-per-day", "tenant", "usd", 400, None, "day"),
        AppliedLimit(f"key:t:{key}:requests:60", "key-requests-per-minute", "key", "requests", 3, 60.0),
        AppliedLimit(f"key:t:{key}:concurrent", "key-concurrent-streams", "key", "concurrent", 2, None),
        AppliedLimit(f"key:t:{key}:usd:day", "key-usd-per-day", "key", "usd", 150, None, "day"),
    )


@dataclass
class Request:
    state: str
    reservation: Reservation = field(default_factory=lambda: Reservation("", ()))
    admitted: float = 0.0
    lease: float = 0.0
    counted: dict[str, int] = field(default_factory=dict)

    def held(self, limit):
        return self.reservation.amount(limit) if self.state == "live" and self.concerns(limit) else 0

    def used(self, limit):
        return self.counted.get(limit.unit, 0) if self.state != "live" and self.concerns(limit) else 0

    def concerns(self, limit):
        return any(limit.key == own.key for own in self.reservation.limits)


class Interleavings(RuleBasedStateMachine):
    def __init__(self, make_store):
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = Clock(1000.0)
        self.store = make_store(self.clock, tombstone_ttl=100 * DAY)
        self.requests: dict[str, Request] = {}
        self.latest = 1000.0

    @initialize(start=st.integers(0, 64 * 100).map(lambda n: n / 64))
    def begin(self, start):
        self.clock.now = self.latest = 1000.0 + start
        self.run(self.store.renew({}))

    def run(self, coroutine):
        return self.runner.run(coroutine)

    def tick(self, step):
        self.clock.now += step
        self.latest = max(self.latest, self.clock.now)
        for request in self.requests.values():
            if request.state == "live" and request.lease <= self.latest:
                request.state = "expired"

    def amounts(self, limit, length=None):
        """Return what is used and what is held of a limit, of requests admitted within its window or period."""
        within = [
            request
            for request in self.requests.values()
            if (limit.span and request.admitted // DAY == self.latest // DAY)
            or (limit.window and request.admitted + (length or limit.window) > self.latest)
            or limit.unit == "concurrent"
        ]
        return sum(request.used(limit) for request in within), sum(request.held(limit) for request in within)

    def check_states(self, limits, states):
        told = [(state.name, state.unit, state.limit) for state in states]
        assert told == [(limit.name, limit.unit, limit.amount) for limit in limits]
        for limit, state in zip(limits, states, strict=True):
            used, held = self.amounts(limit)
            if limit.unit == "concurrent":
                assert (state.used, state.held, state.reset) == (0, held, None)
            elif limit.span:
                assert (state.used, state.held, state.window) == (used, held, DAY)
                assert state.reset == DAY - self.latest % DAY
            else:
                wide = sum(self.amounts(limit, limit.window * (1 + 1 / MINUTE_BUCKETS)))
                assert used + held <= state.used + state.held <= wide
                assert 0 < state.reset <= limit.window == state.window

    def full(self, limit, amount):
        """Whether a refusal by ``limit`` is right: a window may refuse one bucket early, nothing else does."""
        length = limit.window and limit.window * (1 + 1 / MINUTE_BUCKETS)
        return sum(self.amounts(limit, length)) + amount > limit.amount

    @rule(request_id=IDS, key=st.sampled_from(KEYS), step=STEPS, tokens=TOKENS, usd=DOLLARS, spent=DOLLARS)
    def reserve(self, request_id, key, step, tokens=0, usd=0, spent=0):
        self.tick(step)
        reservation = Reservation(
            request_id,
            limits_of(key),
            {"requests": 1, "concurrent": 1, "usd": usd},
            {"requests": 1, "tokens": tokens},
            {"requests": 1, "tokens": tokens // 2, "usd": min(usd, spent)},
        )
        answer = self.run(self.store.reserve(reservation))
        known = self.requests.get(request_id)
        if known is None:
            self.check_first(reservation, answer)
        elif known.state == "live":
            assert isinstance(answer, Held)
            assert (answer.lease_until, answer.admitted_at) == (known.lease, known.admitted)
        else:
            assert answer == Refused(ENDED, None, False, ())

    def check_first(self, reservation, answer):
        limits = reservation.limits
        if isinstance(answer, Held):
            for limit in limits:
                amount = reservation.amount(limit)
                assert not amount or sum(self.amounts(limit)) + amount <= limit.amount
            lease = self.latest + FIRST_LEASE
            assert (answer.lease_until, answer.admitted_at) == (lease, self.latest)
            self.requests[reservation.id] = Request("live", reservation, self.latest, lease, dict(reservation.spent))
        else:
            refusing = next(limit for limit in limits if limit.name == answer.limit)
            amount = reservation.amount(refusing)
            assert self.full(refusing, amount)
            if amount > refusing.amount:
                assert (answer.retry_after, answer.spent) == (None, False)
            elif answer.spent:
                assert self.amounts(refusing)[0] + amount > refusing.amount
                assert answer.retry_after == DAY - self.latest % DAY
            else:
                assert 0 < answer.retry_after <= (refusing.window or 1.0)
        self.check_states(limits, answer.states)

    @rule(ids=st.sets(IDS, max_size=4), step=STEPS, tokens=TOKENS, usd=DOLLARS)
    def renew(self, ids, step, tokens=0, usd=0):
        self.tick(step)
        spent = {"requests": 1, "tokens": tokens, "usd": usd}
        unknown = self.run(self.store.renew(dict.fromkeys(sorted(ids), spent)))
        alive = {i for i in ids if i in self.requests and self.requests[i].state in {"live", "expired"}}
        assert unknown == ids - alive
        for request_id in alive:
            request = self.requests[request_id]
            request.state, request.lease, request.counted = "live", self.latest + LEASE, spent

    @rule(request_id=IDS, how=st.sampled_from(["settle", "cancel"]), step=STEPS, tokens=TOKENS, usd=DOLLARS)
    def end(self, request_id, how, step, tokens=0, usd=0):
        self.tick(step)
        used = {"requests": 1, "tokens": tokens, "usd": usd} if how == "settle" else {}
        request = self.requests.setdefault(request_id, Request("unknown"))
        before = [max(0, self.amounts(limit)[0] - limit.amount) for limit in request.reservation.limits]
        over = self.run(self.store.settle(request_id, used) if used else self.store.cancel(request_id))
        if request.state != "ended":
            request.counted = used
        request.state = "ended"
        limits = request.reservation.limits
        excess = {
            limit.name: max(0, self.amounts(limit)[0] - limit.amount) - was
            for limit, was in zip(limits, before, strict=True)
            if limit.span
        }
        if used:
            assert {told.limit: told.amount for told in over} == {name: n for name, n in excess.items() if n > 0}

    @precondition(lambda self: self.requests)
    @rule()
    def everything_ends_and_nothing_is_held(self):
        for request_id in self.requests:
            self.end(request_id, "settle", 0.0)
        for key in KEYS:
            states = self.run(self.store.look(limits_of(key)))
            assert not any(state.held for state in states)
            self.check_states(limits_of(key), states)

    def teardown(self):
        self.runner.close()


def test_any_interleaving_keeps_the_rules(make_store):
    run_state_machine_as_test(
        lambda: Interleavings(make_store), settings=settings(max_examples=100, stateful_step_count=50, deadline=None)
    )


@pytest.mark.parametrize("key", KEYS)
def test_the_model_knows_a_full_counter(make_store, key):
    """The model itself refuses: without this a model that agrees to everything would go unnoticed."""
    machine = Interleavings(make_store)
    for n in range(2):
        machine.reserve(f"r{n}", key, 0.0, 40, 70)
    limits = {limit.name: limit for limit in limits_of(key)}
    assert machine.full(limits["key-concurrent-streams"], 1)
    assert machine.full(limits["tenant-tokens-per-minute"], 21)
    assert machine.full(limits["key-usd-per-day"], 11)
    assert not machine.full(limits["tenant-requests-per-minute"], 1)
    assert not machine.full(limits["key-usd-per-day"], 10)
    machine.teardown()
