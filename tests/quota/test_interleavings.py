"""Any interleaving of operations, crashes, late arrivals, duplicates and jumps of the clock keeps the rules.

A model that is too slow to be a store (it keeps every request for ever) says what must hold after each step.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from gateway.core.quota.holds import ENDED, FIRST_LEASE, LEASE, Held, Refused, Reservation
from gateway.core.quota.limits import AppliedLimit
from gateway.core.quota.windows import MINUTE_BUCKETS

HOUR = 3600.0
KEYS = ("k1", "k2")
IDS = st.integers(0, 30).map(lambda n: f"r{n}")
# Steps in 1/64 s are exact in binary, so that no promise needs a tolerance; negative ones are a clock set back.
STEPS = st.one_of(st.integers(-2000, 640), st.integers(0, 64 * 90)).map(lambda n: n / 64)


def limits_of(key):
    return (
        AppliedLimit("tenant:t:requests:60", "tenant-requests-per-minute", "tenant", "requests", 6, 60.0),
        AppliedLimit("tenant:t:requests:3600", "tenant-requests-per-hour", "tenant", "requests", 12, HOUR),
        AppliedLimit("tenant:t:concurrent", "tenant-concurrent-streams", "tenant", "concurrent", 4, None),
        AppliedLimit(f"key:t:{key}:requests:60", "key-requests-per-minute", "key", "requests", 3, 60.0),
        AppliedLimit(f"key:t:{key}:concurrent", "key-concurrent-streams", "key", "concurrent", 2, None),
    )


@dataclass
class Request:
    state: str
    counters: frozenset[str]
    admitted: float = 0.0
    lease: float = 0.0
    counted: bool = False


class Interleavings(RuleBasedStateMachine):
    def __init__(self, make_store):
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = make_store()
        self.requests: dict[str, Request] = {}
        self.clock = self.latest = 1000.0
        self.probes = 0

    @initialize(start=st.integers(0, 64 * 100).map(lambda n: n / 64))
    def begin(self, start):
        self.clock = self.latest = 1000.0 + start
        self.run(self.store.renew([], self.clock))

    def run(self, coroutine):
        return self.runner.run(coroutine)

    def tick(self, step):
        self.clock += step
        self.latest = max(self.latest, self.clock)
        for request in self.requests.values():
            if request.state == "live" and request.lease <= self.latest:
                request.state = "expired"

    def running(self, counter):
        return sum(r.state == "live" and counter in r.counters for r in self.requests.values())

    def counted(self, counter, length):
        return sum(
            r.counted and counter in r.counters and r.admitted + length > self.latest for r in self.requests.values()
        )

    def check_states(self, limits, states):
        assert [(s.name, s.limit, s.window) for s in states] == [(x.name, x.amount, x.window) for x in limits]
        for limit, state in zip(limits, states, strict=True):
            if limit.window is None:
                assert state.remaining == max(0, limit.amount - self.running(limit.key))
                assert state.reset is None
            else:
                assert 0 <= state.remaining <= limit.amount - self.counted(limit.key, limit.window)
                assert 0 < state.reset <= limit.window

    def full(self, limit):
        """Whether a refusal by ``limit`` is right: a window may refuse one bucket early, a slot never."""
        if limit.window is None:
            return self.running(limit.key) >= limit.amount
        return self.counted(limit.key, limit.window * (1 + 1 / MINUTE_BUCKETS)) >= limit.amount

    @rule(request_id=IDS, key=st.sampled_from(KEYS), step=STEPS)
    def reserve(self, request_id, key, step):
        self.tick(step)
        limits = limits_of(key)
        answer = self.run(self.store.reserve(Reservation(request_id, limits), self.clock))
        known = self.requests.get(request_id)
        if known is None:
            self.check_first(request_id, limits, answer)
        elif known.state == "live":
            assert isinstance(answer, Held)
            assert answer.lease_until == known.lease
        else:
            assert answer == Refused(ENDED, None, ())

    def check_first(self, request_id, limits, answer):
        if isinstance(answer, Held):
            assert not [x for x in limits if x.window is None and self.running(x.key) >= x.amount]
            assert not [x for x in limits if x.window and self.counted(x.key, x.window) >= x.amount]
            lease = self.latest + FIRST_LEASE
            assert answer.lease_until == lease
            counters = frozenset(limit.key for limit in limits)
            self.requests[request_id] = Request("live", counters, self.latest, lease, counted=True)
        else:
            refusing = next(limit for limit in limits if limit.name == answer.limit)
            assert self.full(refusing)
            assert 0 < answer.retry_after <= (refusing.window or 1.0)
        self.check_states(limits, answer.states)

    @rule(ids=st.sets(IDS, max_size=4), step=STEPS)
    def renew(self, ids, step):
        self.tick(step)
        unknown = self.run(self.store.renew(sorted(ids), self.clock))
        alive = {i for i in ids if i in self.requests and self.requests[i].state in {"live", "expired"}}
        assert unknown == ids - alive
        for request_id in alive:
            self.requests[request_id].state = "live"
            self.requests[request_id].lease = self.latest + LEASE

    @rule(request_id=IDS, how=st.sampled_from(["settle", "cancel"]), step=STEPS)
    def end(self, request_id, how, step):
        self.tick(step)
        self.run(getattr(self.store, how)(request_id, self.clock))
        request = self.requests.setdefault(request_id, Request("unknown", frozenset()))
        if request.state != "ended" and how == "cancel":
            request.counted = False
        request.state = "ended"

    @precondition(lambda self: self.requests)
    @rule()
    def everything_ends_and_nothing_runs(self):
        for request_id in self.requests:
            self.end(request_id, "settle", 0.0)
        for key in KEYS:
            self.probes += 1
            probe_id = f"probe{self.probes}"
            probe = self.run(self.store.reserve(Reservation(probe_id, limits_of(key), {}), self.clock))
            assert [s.remaining for s in probe.states if s.window is None] == [4, 2]
            self.run(self.store.settle(probe_id, self.clock))

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
        machine.reserve(f"r{n}", key, 0.0)
    assert machine.full(limits_of(key)[4])
    assert not machine.full(limits_of(key)[0])
    machine.teardown()
